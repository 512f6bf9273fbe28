"""The AWS CLI against one node, as a person would try it."""

import base64

import pytest

from support.clients import cli
from support.waiting import wait_until


def test_a_stream_from_creation_to_deletion(endpoint, stream_name):
    cli(endpoint, "create-stream", "--stream-name", stream_name, "--shard-count", 1)
    cli(endpoint, "wait", "stream-exists", "--stream-name", stream_name)
    assert stream_name in cli(endpoint, "list-streams")["StreamNames"]
    put = cli(endpoint, "put-record", "--stream-name", stream_name, "--partition-key", "k", "--data", "hello")
    assert put["ShardId"] == "shardId-000000000000"
    first = cli(
        endpoint,
        "get-shard-iterator",
        "--stream-name",
        stream_name,
        "--shard-id",
        put["ShardId"],
        "--shard-iterator-type",
        "TRIM_HORIZON",
    )
    page = cli(endpoint, "get-records", "--shard-iterator", first["ShardIterator"])
    assert [base64.b64decode(record["Data"]) for record in page["Records"]] == [b"hello"]
    cli(endpoint, "delete-stream", "--stream-name", stream_name)
    # The CLI's own waiter checks again only after ten seconds.
    wait_until("the stream is gone", lambda: stream_name not in cli(endpoint, "list-streams")["StreamNames"])


def test_an_error_shows_its_code(endpoint):
    with pytest.raises(RuntimeError, match="ResourceNotFoundException"):
        cli(endpoint, "describe-stream", "--stream-name", "no-such-stream")
