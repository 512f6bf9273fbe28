"""`anabranch dev --limits aws`: shards and operations within the service's limits. The SDK's own retries are off."""

import contextlib

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import create_stream, iterator
from support.waiting import wait_until


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("limited"), arguments=["--limits", "aws"]) as cluster:
        yield kinesis(cluster.nodes[0].endpoint, retries={"total_max_attempts": 1})


@pytest.fixture
def shard(limited, stream_name):
    """A stream of one shard; its name. Others may have made one this second."""

    def create():
        with contextlib.suppress(limited.exceptions.LimitExceededException):
            return create_stream(limited, stream_name, shards=1)

    return wait_until("the stream is there", create, pause=0.3)


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


def often(call):
    """More calls than any limit of a second allows."""
    for _ in range(50):
        call()
