"""Attributes of streams through boto3 (tags, policies, monitoring, record size, distribution of records), and
settings and limits of the account."""

import collections

import pytest

from support.streams import create_stream, data_at, shards, status
from support.waiting import wait_until

POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},'
    '"Action":"kinesis:GetRecords","Resource":"*"}]}'
)


def summary(client, stream):
    return client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]


def test_tags_are_added_paged_and_removed(client, stream):
    client.add_tags_to_stream(StreamName=stream, Tags={f"k{number}": str(number) for number in range(5)})
    client.add_tags_to_stream(StreamARN=summary(client, stream)["StreamARN"], Tags={"k0": "again"})
    page = client.list_tags_for_stream(StreamName=stream, Limit=3)
    assert page["HasMoreTags"] is True
    assert page["Tags"][0] == {"Key": "k0", "Value": "again"}
    rest = client.list_tags_for_stream(StreamName=stream, ExclusiveStartTagKey="k2")
    assert ([tag["Key"] for tag in rest["Tags"]], rest["HasMoreTags"]) == (["k3", "k4"], False)
    client.remove_tags_from_stream(StreamName=stream, TagKeys=["k0", "k1", "none"])
    arn = summary(client, stream)["StreamARN"]
    client.untag_resource(ResourceARN=arn, TagKeys=["k2"])
    client.tag_resource(ResourceARN=arn, Tags={"k5": ""})
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [
        {"Key": "k3", "Value": "3"},
        {"Key": "k4", "Value": "4"},
        {"Key": "k5", "Value": ""},
    ]


def test_bad_tags_are_refused_and_change_nothing(client, stream):
    client.add_tags_to_stream(StreamName=stream, Tags={f"k{number:02}": "v" for number in range(50)})
    invalid = client.exceptions.InvalidArgumentException
    with pytest.raises(invalid, match="more than 50 tags"):
        client.add_tags_to_stream(StreamName=stream, Tags={"one-more": "v"})
    with pytest.raises(invalid, match="reserved"):
        client.add_tags_to_stream(StreamName=stream, Tags={"aws:key": "v"})
    with pytest.raises(invalid, match="invalid characters"):
        client.add_tags_to_stream(StreamName=stream, Tags={"k00": "v;"})
    tags = client.list_tags_for_stream(StreamName=stream)["Tags"]
    assert len(tags) == 50 and all(tag["Value"] == "v" for tag in tags)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.add_tags_to_stream(StreamName=f"{stream}-none", Tags={"k": "v"})
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.tag_resource(ResourceARN=summary(client, stream)["StreamARN"] + "-none", Tags={"k": "v"})


def test_a_policy_is_returned_as_it_was_written(client, stream):
    arn = summary(client, stream)["StreamARN"]
    assert client.get_resource_policy(ResourceARN=arn)["Policy"] == "{}"
    client.put_resource_policy(ResourceARN=arn, Policy=POLICY)
    assert client.get_resource_policy(ResourceARN=arn)["Policy"] == POLICY
    for bad in ("", "[]", "{}", "{", POLICY.replace("Allow", "allow"), POLICY.replace("Principal", "Principals")):
        with pytest.raises(client.exceptions.InvalidArgumentException, match="malformed"):
            client.put_resource_policy(ResourceARN=arn, Policy=bad)
    client.delete_resource_policy(ResourceARN=arn)
    assert client.get_resource_policy(ResourceARN=arn)["Policy"] == "{}"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.delete_resource_policy(ResourceARN=arn)


def test_shard_level_metrics_are_switched_on_and_off(client, stream):
    on = client.enable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["IncomingBytes", "OutgoingRecords"])
    assert (on["CurrentShardLevelMetrics"], on["DesiredShardLevelMetrics"]) == (
        [],
        ["IncomingBytes", "OutgoingRecords"],
    )
    described = client.describe_stream(StreamName=stream)["StreamDescription"]["EnhancedMonitoring"]
    assert described == [{"ShardLevelMetrics": ["IncomingBytes", "OutgoingRecords"]}]
    off = client.disable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["IncomingBytes"])
    assert off["DesiredShardLevelMetrics"] == ["OutgoingRecords"]
    everything = client.enable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["ALL"])
    assert len(everything["DesiredShardLevelMetrics"]) == 7
    client.disable_enhanced_monitoring(StreamName=stream, ShardLevelMetrics=["ALL"])
    assert summary(client, stream)["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}]


def test_update_max_record_size_allows_larger_records(client, stream):
    large = b"x" * (2 << 20)
    with pytest.raises(client.exceptions.InvalidArgumentException):
        client.put_record(StreamName=stream, PartitionKey="k", Data=large)
    client.update_max_record_size(StreamARN=summary(client, stream)["StreamARN"], MaxRecordSizeInKiB=4096)
    assert summary(client, stream)["MaxRecordSizeInKiB"] == 4096
    put = client.put_record(StreamName=stream, PartitionKey="k", Data=large)
    assert data_at(client, stream, "TRIM_HORIZON", put["ShardId"]) == [large]


def test_records_without_keys_are_distributed_over_an_on_demand_stream(client, stream_name):
    client.create_stream(
        StreamName=stream_name, StreamModeDetails={"StreamMode": "ON_DEMAND"}, RecordDistributionStrategy="AUTO"
    )
    wait_until("it is ACTIVE", lambda: status(client, stream_name) == "ACTIVE")
    assert summary(client, stream_name)["RecordDistributionStrategy"] == "AUTO"
    records = [{"Data": b"%d" % number} for number in range(200)]
    records += [{"Data": b"%d" % number, "PartitionKey": "one"} for number in range(200)]
    placed = client.put_records(StreamName=stream_name, Records=records)
    assert placed["FailedRecordCount"] == 0
    per_shard = collections.Counter(record["ShardId"] for record in placed["Records"])
    assert len(per_shard) == 4 and min(per_shard.values()) > 40, per_shard
    keys = collections.Counter()
    for shard in shards(client, stream_name):
        start = client.get_shard_iterator(
            StreamName=stream_name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        page = client.get_records(ShardIterator=start["ShardIterator"])
        keys.update(record.get("PartitionKey") for record in page["Records"])
    assert keys == {None: 200, "one": 200}
    arn = summary(client, stream_name)["StreamARN"]
    client.update_stream_record_distribution_strategy(StreamARN=arn, RecordDistributionStrategy="USER_PARTITION_KEY")
    with pytest.raises(client.exceptions.ClientError, match=r"ValidationException.*records\.2\.member\.partitionKey"):
        client.put_records(StreamName=stream_name, Records=[{"Data": b"", "PartitionKey": "k"}, {"Data": b""}])
    with pytest.raises(client.exceptions.ClientError, match=r"ValidationException.*partitionKey"):
        client.put_record(StreamName=stream_name, Data=b"")


def test_only_on_demand_streams_can_distribute_records(client, stream):
    arn = summary(client, stream)["StreamARN"]
    with pytest.raises(client.exceptions.InvalidArgumentException, match="ON_DEMAND"):
        client.update_stream_record_distribution_strategy(StreamARN=arn, RecordDistributionStrategy="AUTO")
    with pytest.raises(client.exceptions.InvalidArgumentException, match="ON_DEMAND"):
        client.create_stream(StreamName=f"{stream}-2", ShardCount=1, RecordDistributionStrategy="AUTO")


def test_limits_count_open_shards_and_on_demand_streams(client, stream_name):
    before = client.describe_limits()
    create_stream(client, stream_name, shards=3)
    after = client.describe_limits()
    assert after["OpenShardCount"] == before["OpenShardCount"] + 3
    assert after["OnDemandStreamCount"] == before["OnDemandStreamCount"]
    assert after["ShardLimit"] > after["OpenShardCount"]


def test_a_billing_commitment_can_be_enabled_and_ends_after_a_day(client):
    enabled = client.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    assert enabled["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED"
    client.update_account_settings(MinimumThroughputBillingCommitment={"Status": "DISABLED"})
    ending = client.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert ending["Status"] == "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
    assert (ending["EarliestAllowedEndAt"] - ending["StartedAt"]).total_seconds() == 24 * 3600
