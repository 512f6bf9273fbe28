"""`anabranch dev --limits aws`: shards and operations within the service's limits. The SDK's own retries are off."""

import contextlib

import pytest
from botocore.exceptions import ClientError

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import iterator, status
from support.waiting import wait_until


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("limited"), arguments=["--limits", "aws"]) as cluster:
        yield kinesis(cluster.nodes[0].endpoint, retries={"total_max_attempts": 1})


@pytest.fixture
def shard(limited, stream_name):
    """A stream of one shard; its name."""
    patiently(limited, lambda: limited.create_stream(StreamName=stream_name, ShardCount=1))
    wait_until("it is ACTIVE", lambda: patiently(limited, lambda: status(limited, stream_name)) == "ACTIVE")
    return stream_name


@pytest.fixture
def arn(limited, shard):
    """The stream's ARN."""
    return patiently(limited, lambda: limited.describe_stream_summary(StreamName=shard))["StreamDescriptionSummary"][
        "StreamARN"
    ]


@pytest.fixture
def consumer(limited, arn):
    """A consumer of the stream that is ACTIVE; its ARN."""
    call = {"StreamARN": arn, "ConsumerName": "app"}
    registered = patiently(limited, lambda: limited.register_stream_consumer(**call))["Consumer"]["ConsumerARN"]

    def is_active():
        described = patiently(limited, lambda: limited.describe_stream_consumer(**call))
        return described["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"

    wait_until("the consumer is ACTIVE", is_active)
    return registered


def test_a_shard_takes_a_thousand_records_a_second_and_goes_on_later(limited, shard):
    records = [{"PartitionKey": "k", "Data": b"x"}] * 500

    def put():
        return limited.put_records(StreamName=shard, Records=records)["Records"]

    refused = next(record for _ in range(50) for record in put() if "ErrorCode" in record)
    assert refused["ErrorCode"] == "ProvisionedThroughputExceededException"
    with pytest.raises(limited.exceptions.ProvisionedThroughputExceededException):
        limited.put_record(StreamName=shard, PartitionKey="k", Data=b"x")

    def taken():
        with contextlib.suppress(limited.exceptions.ProvisionedThroughputExceededException):
            return limited.put_record(StreamName=shard, PartitionKey="k", Data=b"x")

    wait_until("it takes records again", taken)


def test_a_shard_is_read_five_times_a_second(limited, shard):
    start = iterator(limited, shard, "TRIM_HORIZON")
    with pytest.raises(limited.exceptions.ProvisionedThroughputExceededException):
        often(lambda: limited.get_records(ShardIterator=start))


def test_operations_may_be_called_so_often(limited):
    with pytest.raises(limited.exceptions.LimitExceededException, match="Rate exceeded: ListStreams"):
        often(limited.list_streams)


def test_iterators_of_a_shard_are_given_five_times_a_second(limited, shard):
    iterator(limited, shard, "LATEST")
    with pytest.raises(limited.exceptions.ProvisionedThroughputExceededException, match="for each shard"):
        often(lambda: iterator(limited, shard, "LATEST"))
    patiently(limited, lambda: iterator(limited, shard, "LATEST"))


def test_operations_on_consumers_may_be_called_so_often_for_each_stream(limited, arn, consumer):
    each = "for each stream"
    limit = limited.exceptions.LimitExceededException
    with pytest.raises(limit, match=each):
        often(lambda: limited.list_stream_consumers(StreamARN=arn))
    with pytest.raises(limit, match=each):
        often(lambda: limited.describe_stream_consumer(ConsumerARN=consumer))

    def deregister():
        with contextlib.suppress(limited.exceptions.ResourceNotFoundException):
            limited.deregister_stream_consumer(StreamARN=arn, ConsumerName="nobody")

    with pytest.raises(limit, match=each):
        often(deregister)


def test_a_consumer_subscribes_to_a_shard_once_a_second(limited, consumer):
    def subscribe():
        return limited.subscribe_to_shard(
            ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "LATEST"}
        )

    def again():
        with contextlib.suppress(limited.exceptions.ResourceInUseException):
            subscribe()

    first = subscribe()["EventStream"]
    with pytest.raises(limited.exceptions.LimitExceededException, match="for each consumer and shard"):
        often(again)
    first.close()


def test_a_stream_is_scaled_ten_times_a_day(limited, shard):
    def scale(target):
        return lambda: limited.update_shard_count(
            StreamName=shard, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )

    for time in range(10):
        patiently(limited, scale(2 - time % 2))
    with pytest.raises(limited.exceptions.LimitExceededException, match="scalings in 24 hours: 11 is over"):
        patiently(limited, scale(2))


def test_a_stream_changes_its_mode_twice_a_day(limited, arn):
    def set_mode(mode):
        return lambda: limited.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": mode})

    patiently(limited, set_mode("ON_DEMAND"))
    patiently(limited, set_mode("PROVISIONED"))
    with pytest.raises(limited.exceptions.LimitExceededException, match="mode switches in 24 hours: 3 is over"):
        patiently(limited, set_mode("ON_DEMAND"))


def test_changes_count_through_whichever_gateway_they_are_made(tmp_path, stream_name):
    with Cluster(tmp_path / "three", nodes=3, arguments=["--limits", "aws"]) as cluster:
        gateways = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in cluster.nodes]
        first = gateways[0]
        patiently(first, lambda: first.create_stream(StreamName=stream_name, ShardCount=1))
        wait_until("it is ACTIVE", lambda: status(first, stream_name) == "ACTIVE", pause=0.2)
        arn = first.describe_stream_summary(StreamName=stream_name)["StreamDescriptionSummary"]["StreamARN"]

        def set_mode(gateway, mode):
            return patiently(
                gateway,
                lambda: gateway.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": mode}),
            )

        set_mode(gateways[0], "ON_DEMAND")
        set_mode(gateways[1], "PROVISIONED")
        for gateway in gateways:
            with pytest.raises(gateway.exceptions.LimitExceededException, match="mode switches in 24 hours"):
                set_mode(gateway, "ON_DEMAND")


def test_the_key_of_a_stream_is_changed_twenty_five_times_a_day(limited, shard):
    def change(time):
        call = limited.stop_stream_encryption if time % 2 else limited.start_stream_encryption
        return lambda: call(StreamName=shard, EncryptionType="KMS", KeyId="alias/aws/kinesis")

    for time in range(25):
        patiently(limited, change(time))
    with pytest.raises(limited.exceptions.LimitExceededException, match="key changes in 24 hours: 26 is over"):
        patiently(limited, change(25))


def often(call):
    """More calls than any limit of a second allows."""
    for _ in range(50):
        call()


def patiently(client, call):
    """What the call returns once nothing is in its way that passes: calls of this second, a change under way."""

    def done():
        try:
            return [call()]
        except client.exceptions.ResourceInUseException:
            return None
        except ClientError as error:
            if "Rate exceeded" not in str(error):
                raise
            return None

    return wait_until("the call is done", done, pause=0.2)[0]
