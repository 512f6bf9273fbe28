"""A retry of a call makes no second record."""

import base64
import json
import uuid

from support.clients import signed_call
from support.oracle import read_stream


def put(endpoint, operation, body, invocation, attempt=1):
    headers = {"amz-sdk-invocation-id": invocation, "amz-sdk-request": f"attempt={attempt}; max=3"}
    status, _, answer = signed_call(endpoint, operation, body, headers)
    assert status == 200, answer
    return json.loads(answer)


def record(data, key="k"):
    return {"PartitionKey": key, "Data": base64.b64encode(data).decode()}


def contents(client, stream):
    return sorted(record.data for records in read_stream(client, stream).values() for record in records)


def test_a_retried_put_record_returns_the_first_position(client, endpoint, stream):
    invocation = str(uuid.uuid4())
    body = {"StreamName": stream, **record(b"once")}
    first = put(endpoint, "PutRecord", body, invocation)
    assert put(endpoint, "PutRecord", body, invocation, attempt=2) == first
    assert contents(client, stream) == [b"once"]


def test_a_retried_put_records_returns_the_first_positions(client, endpoint, stream):
    invocation = str(uuid.uuid4())
    data = [f"{number}".encode() for number in range(10)]
    body = {"StreamName": stream, "Records": [record(item, f"key-{index}") for index, item in enumerate(data)]}
    first = put(endpoint, "PutRecords", body, invocation)
    assert put(endpoint, "PutRecords", body, invocation, attempt=2) == first
    assert contents(client, stream) == sorted(data)


def test_two_calls_make_two_records(client, endpoint, stream):
    body = {"StreamName": stream, **record(b"twice")}
    for _ in range(2):
        put(endpoint, "PutRecord", body, str(uuid.uuid4()))
    assert contents(client, stream) == [b"twice", b"twice"]
