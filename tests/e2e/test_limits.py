"""`anabranch dev --limits aws`: limits of the service for shards and operations. The SDK's own retries are off."""

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
    """The name of a new stream with one shard."""
    patiently(limited, lambda: limited.create_stream(StreamName=stream_name, ShardCount=1))
    wait_until("the stream is ACTIVE", lambda: patiently(limited, lambda: status(limited, stream_name)) == "ACTIVE")
    return stream_name


@pytest.fixture
def arn(limited, shard):
    """The ARN of the stream."""
    return patiently(limited, lambda: limited.describe_stream_summary(StreamName=shard))["StreamDescriptionSummary"][
        "StreamARN"
    ]


@pytest.fixture
def consumer(limited, arn):
    """Registers a consumer and waits until it is ACTIVE. Returns its ARN."""
    call = {"StreamARN": arn, "ConsumerName": "app"}
    registered = patiently(limited, lambda: limited.register_stream_consumer(**call))["Consumer"]["ConsumerARN"]

    def is_active():
        described = patiently(limited, lambda: limited.describe_stream_consumer(**call))
        return described["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"

    wait_until("the consumer is ACTIVE", is_active)
    return registered


def test_a_shard_takes_a_thousand_records_a_second_and_more_later(limited, shard):
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

    wait_until("the shard takes records again", taken)


def test_a_shard_can_be_read_five_times_a_second(limited, shard):
    start = iterator(limited, shard, "TRIM_HORIZON")
    with pytest.raises(limited.exceptions.ProvisionedThroughputExceededException):
        often(lambda: limited.get_records(ShardIterator=start))


def test_operations_have_a_limit_per_second(limited):
    with pytest.raises(limited.exceptions.LimitExceededException, match="Rate exceeded: ListStreams"):
        often(limited.list_streams)


def test_a_shard_gives_five_iterators_a_second(limited, shard):
    iterator(limited, shard, "LATEST")
    with pytest.raises(limited.exceptions.ProvisionedThroughputExceededException, match="for each shard"):
        often(lambda: iterator(limited, shard, "LATEST"))
    patiently(limited, lambda: iterator(limited, shard, "LATEST"))


def test_operations_on_consumers_have_a_limit_for_each_stream(limited, arn, consumer):
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


def test_a_consumer_can_subscribe_to_a_shard_once_a_second(limited, consumer):
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


def test_a_stream_can_be_scaled_ten_times_a_day(limited, shard):
    def scale(target):
        return lambda: limited.update_shard_count(
            StreamName=shard, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )

    for time in range(10):
        patiently(limited, scale(2 - time % 2))
    with pytest.raises(limited.exceptions.LimitExceededException, match="scalings in 24 hours: 11 is over"):
        patiently(limited, scale(2))


def test_a_stream_can_change_its_mode_twice_a_day(limited, arn):
    def set_mode(mode):
        return lambda: limited.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": mode})

    patiently(limited, set_mode("ON_DEMAND"))
    patiently(limited, set_mode("PROVISIONED"))
    with pytest.raises(limited.exceptions.LimitExceededException, match="mode switches in 24 hours: 3 is over"):
        patiently(limited, set_mode("ON_DEMAND"))


def test_changes_through_all_gateways_are_counted_together(tmp_path, stream_name):
    with Cluster(tmp_path / "three", nodes=3, arguments=["--limits", "aws"]) as cluster:
        gateways = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in cluster.nodes]
        first = gateways[0]
        patiently(first, lambda: first.create_stream(StreamName=stream_name, ShardCount=1))
        wait_until("the stream is ACTIVE", lambda: status(first, stream_name) == "ACTIVE", pause=0.2)
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


def test_the_key_of_a_stream_can_be_changed_twenty_five_times_a_day(limited, shard):
    def change(time):
        call = limited.stop_stream_encryption if time % 2 else limited.start_stream_encryption
        return lambda: call(StreamName=shard, EncryptionType="KMS", KeyId="alias/aws/kinesis")

    for time in range(25):
        patiently(limited, change(time))
    with pytest.raises(limited.exceptions.LimitExceededException, match="key changes in 24 hours: 26 is over"):
        patiently(limited, change(25))


def often(call):
    """Calls more often than any limit per second allows."""
    for _ in range(50):
        call()


def patiently(client, call):
    """Repeats the call while the rate is exceeded or a change is under way. Returns its result."""

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
