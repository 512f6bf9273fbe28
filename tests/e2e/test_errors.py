"""Wrong input through boto3 without its own validation: the error codes are those of the service."""

import pytest
from botocore.exceptions import ClientError

from support.clients import signed_call

SHARD = "shardId-000000000000"
NUMBER = "49590338271490256608559692538361571095921575989136588898"


def code(call, **arguments):
    """The AWS error code of a call that must fail."""
    with pytest.raises(ClientError) as failure:
        call(**arguments)
    error = failure.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] in (400, 413), error
    assert error["Error"]["Message"], error
    return error["Error"]["Code"]


VALIDATION = {
    "no stream name of that form": ("create_stream", {"StreamName": "a b", "ShardCount": 1}),
    "a name of 129 characters": ("create_stream", {"StreamName": "a" * 129, "ShardCount": 1}),
    "no shards": ("create_stream", {"StreamName": "s", "ShardCount": 0}),
    "no data": ("put_record", {"StreamName": "s", "PartitionKey": "k"}),
    "an empty partition key": ("put_record", {"StreamName": "s", "Data": b"", "PartitionKey": ""}),
    "a partition key of 257 characters": ("put_record", {"StreamName": "s", "Data": b"", "PartitionKey": "k" * 257}),
    "a hash key with a leading zero": (
        "put_record",
        {"StreamName": "s", "Data": b"", "PartitionKey": "k", "ExplicitHashKey": "01"},
    ),
    "no records": ("put_records", {"StreamName": "s", "Records": []}),
    "501 records": ("put_records", {"StreamName": "s", "Records": [{"Data": b"", "PartitionKey": "k"}] * 501}),
    "an unknown type of iterator": (
        "get_shard_iterator",
        {"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "SOMEWHERE"},
    ),
    "a limit of zero": ("get_records", {"ShardIterator": "x", "Limit": 0}),
    "an iterator of 513 characters": ("get_records", {"ShardIterator": "x" * 513}),
}


@pytest.mark.parametrize(("operation", "arguments"), VALIDATION.values(), ids=VALIDATION.keys())
def test_input_that_violates_a_constraint_fails_validation(unchecked, operation, arguments):
    assert code(getattr(unchecked, operation), **arguments) == "ValidationException"


NOT_FOUND = {
    "describe_stream": {},
    "describe_stream_summary": {},
    "list_shards": {},
    "delete_stream": {},
    "put_record": {"PartitionKey": "k", "Data": b"x"},
    "put_records": {"Records": [{"PartitionKey": "k", "Data": b"x"}]},
    "get_shard_iterator": {"ShardId": SHARD, "ShardIteratorType": "LATEST"},
}


@pytest.mark.parametrize(("operation", "arguments"), NOT_FOUND.items(), ids=NOT_FOUND.keys())
def test_an_unknown_stream_is_not_found(unchecked, operation, arguments):
    found = code(getattr(unchecked, operation), StreamName="no-such-stream", **arguments)
    assert found == "ResourceNotFoundException"


def test_an_unknown_shard_is_not_found(client, stream):
    arguments = {"StreamName": stream, "ShardId": "shardId-000000000007", "ShardIteratorType": "LATEST"}
    assert code(client.get_shard_iterator, **arguments) == "ResourceNotFoundException"


def test_a_sequence_number_of_another_shard_is_refused(client, stream):
    put = client.put_record(StreamName=stream, PartitionKey="k", Data=b"x", ExplicitHashKey="0")
    arguments = {"StreamName": stream, "ShardId": "shardId-000000000001", "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    found = code(client.get_shard_iterator, StartingSequenceNumber=put["SequenceNumber"], **arguments)
    assert found == "InvalidArgumentException"


def test_iterator_types_need_their_positions(client, stream):
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"):
        arguments = {"StreamName": stream, "ShardId": SHARD, "ShardIteratorType": kind}
        assert code(client.get_shard_iterator, **arguments) == "InvalidArgumentException", kind


def test_a_hash_key_above_the_highest_is_refused(client, stream):
    arguments = {"StreamName": stream, "PartitionKey": "k", "Data": b"x", "ExplicitHashKey": str(2**128)}
    assert code(client.put_record, **arguments) == "InvalidArgumentException"


SERIALIZATION = {
    "no JSON": b"{",
    "no object": b"[]",
    "a number for a name": {"StreamName": 7, "ShardCount": 1},
    "a word for a number": {"StreamName": "s", "ShardCount": "one"},
    "no base64": {"StreamName": "s", "PartitionKey": "k", "Data": "%%%"},
}


@pytest.mark.parametrize("body", SERIALIZATION.values(), ids=SERIALIZATION.keys())
def test_a_body_with_a_value_of_the_wrong_type_fails_serialization(endpoint, body):
    operation = "PutRecord" if isinstance(body, dict) and "Data" in body else "CreateStream"
    status, headers, answer = signed_call(endpoint, operation, body)
    assert (status, headers["x-amzn-ErrorType"]) == (400, "SerializationException"), answer


def test_an_unknown_operation_is_answered_with_unknown_operation_exception(endpoint):
    status, headers, answer = signed_call(endpoint, "MakeCoffee", {})
    assert (status, headers["x-amzn-ErrorType"]) == (400, "UnknownOperationException"), answer


def test_every_answer_has_a_request_id(client, stream):
    good = client.describe_stream_summary(StreamName=stream)["ResponseMetadata"]["RequestId"]
    with pytest.raises(ClientError) as failure:
        client.describe_stream_summary(StreamName="no-such-stream")
    bad = failure.value.response["ResponseMetadata"]["RequestId"]
    assert good and bad and good != bad
