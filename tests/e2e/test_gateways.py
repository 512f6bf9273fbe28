"""Several gateways of one cluster: each gateway shows the changes that another one has acknowledged."""

from support.clients import kinesis
from support.streams import create_stream, status
from support.waiting import wait_until

STREAM = "gateways"


def test_a_new_stream_is_visible_through_all_gateways_at_once(three):
    first, *others = [kinesis(node.endpoint) for node in three.nodes]
    for number in range(10):
        name = f"{STREAM}-{number}"
        first.create_stream(StreamName=name, ShardCount=1)
        assert all(status(other, name) in ("CREATING", "ACTIVE") for other in others)


def test_an_active_stream_takes_records_through_every_gateway(three):
    clients = [kinesis(node.endpoint) for node in three.nodes]
    for number in range(5):
        name = create_stream(clients[0], f"{STREAM}-{number}", shards=1)
        for client in clients:
            client.put_record(StreamName=name, PartitionKey="k", Data=b"x")


def test_a_change_is_visible_through_all_gateways_at_once(three):
    clients = [kinesis(node.endpoint) for node in three.nodes]
    name = create_stream(clients[0], f"{STREAM}-changed", shards=1)
    for number in range(20):
        changer, watcher = clients[number % 3], clients[(number + 1) % 3]
        hours = 24 + number + 1
        changer.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=hours)
        summary = watcher.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        assert summary["RetentionPeriodHours"] == hours
        changer.add_tags_to_stream(StreamName=name, Tags={"number": str(number)})
        assert watcher.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "number", "Value": str(number)}]
    for number in range(5):
        changer, watcher = clients[number % 3], clients[(number + 1) % 3]
        changer.split_shard(
            StreamName=name, ShardToSplit=str(max(0, 2 * number - 1)), NewStartingHashKey=str(2 ** (127 - number))
        )
        wait_until("the split is done", lambda watcher=watcher: status(watcher, name) == "ACTIVE")
        for client in clients:
            shards = client.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
            assert len(shards) == number + 2
