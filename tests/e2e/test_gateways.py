"""Several gateways in front of one cluster: what one of them did, the others know."""

from support.clients import kinesis
from support.streams import create_stream, status

STREAM = "gateways"


def test_what_one_gateway_made_is_there_through_the_others_at_once(three):
    first, *others = [kinesis(node.endpoint) for node in three.nodes]
    for number in range(10):
        name = f"{STREAM}-{number}"
        first.create_stream(StreamName=name, ShardCount=1)
        assert all(status(other, name) in ("CREATING", "ACTIVE") for other in others)


def test_a_stream_that_is_active_takes_records_through_every_gateway(three):
    clients = [kinesis(node.endpoint) for node in three.nodes]
    for number in range(5):
        name = create_stream(clients[0], f"{STREAM}-{number}", shards=1)
        for client in clients:
            client.put_record(StreamName=name, PartitionKey="k", Data=b"x")
