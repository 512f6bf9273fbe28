"""Checks every operation and member of botocore's service model with four kinds of values: values at the bounds, the
first values beyond the bounds, missing values, and values of a wrong type.

Each call must get the class of error that the service defines for it, with the same text in JSON and in CBOR. No call
may get an internal failure, or an error that the model does not contain."""

import base64
import copy
import datetime
import itertools
import json
from collections.abc import Callable
from typing import NamedTuple

import botocore.session
import pytest

from support import cbor
from support.clients import signed_call
from support.streams import create_stream

MODEL = botocore.session.get_session().get_service_model("kinesis")
# Operations that are not implemented yet. They are answered with UnknownOperationException.
MISSING = {name for name in MODEL.operation_names if "Queue" in name or "Channel" in name}
OPERATIONS = sorted(set(MODEL.operation_names) - MISSING)

ACCOUNT = "000000000000"
NOBODY = "contract-none"
ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{NOBODY}"
NUMBER = "49590338271490256608559692538361571095921575989136588898"
# A valid value of each shape, before encoding. The named things do not exist, so that no call changes anything.
VALUES = {
    "StreamName": NOBODY,
    "KeyId": "alias/none",
    "StreamARN": ARN,
    "ConsumerARN": f"{ARN}/consumer/app:1764000000",
    "ResourceARN": ARN,
    "StreamId": "abcdefghij0123456789-abc",
    "ConsumerName": "app",
    "ShardId": "shardId-000000000000",
    "HashKey": "5",
    "SequenceNumber": NUMBER,
    "ShardIterator": "AAAA",
    "NextToken": "AAAA",
    "PartitionKey": "key",
    "Policy": '{"Statement":{"Effect":"Deny","Principal":"*","Action":"kinesis:GetRecords"}}',
    "TagKey": "key",
    "TagValue": "value",
    "Data": b"data",
    "RetentionPeriodHours": 48,
    "Timestamp": datetime.datetime.fromtimestamp(1764000000, datetime.UTC),
    "MaxRecordSizeInKiB": 2048,
    "PositiveIntegerObject": 2,
    "NaturalIntegerObject": 2,
    "MetricsName": "IncomingBytes",
}
# Members that cannot be combined with all other members of the operation.
LEFT_OUT = {
    "CreateStream": {"StreamModeDetails", "WarmThroughputMiBps", "RecordDistributionStrategy"},
    "ListShards": {"NextToken", "ExclusiveStartShardId", "StreamCreationTimestamp", "ShardFilter"},
    "ListStreams": {"NextToken"},
    "ListStreamConsumers": {"NextToken"},
}
# A text that matches no pattern of the model.
NO_PATTERN = "\x07 \x07"
WRONG_TYPES = {
    "string": [7, True, ["a"], {"a": "b"}],
    "integer": ["seven", True, [1], {"a": 1}],
    "boolean": ["yes", 1, [True]],
    "timestamp": [[1], {"a": 1}, True],
    "blob": [7, ["a"], "not base64!"],
    "list": ["a", 7, {"a": "b"}],
    "map": ["a", 7, ["a"]],
    "structure": ["a", 7, ["a"]],
}
# CBOR distinguishes bytes from text.
BYTES = b"bytes"
VALIDATION, SERIALIZATION = "ValidationException", "SerializationException"


class Format(NamedTuple):
    """An encoding of bodies."""

    content_type: str
    encode: Callable
    decode: Callable
    # Incomplete bodies, bodies of another type, and bytes that are no valid encoding.
    no_requests: tuple[bytes, ...]


def json_value(value):
    """Encodes values that JSON cannot represent, as the service does."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.timestamp()


JSON = Format(
    "application/x-amz-json-1.1",
    lambda value: json.dumps(value, default=json_value).encode(),
    json.loads,
    (b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff\xfe", b'{"StreamName"'),
)
CBOR = Format(
    cbor.CONTENT_TYPE,
    cbor.encode,
    cbor.decode,
    (b"", b"\xbf", b"\x80", b"\x07", b"\xf6", b"\x64text", b"\xff\xfe", b"\xa1\x6aStreamName", b"\xa0\xa0", b"{}"),
)
FORMATS = {"JSON": JSON, "CBOR": CBOR}


def enum_of(shape):
    """The allowed values of a text, if the shape is an enumeration."""
    return getattr(shape, "enum", ())


def value_of(shape):
    """A valid value of a shape."""
    if shape.name in VALUES:
        return VALUES[shape.name]
    if enum_of(shape):
        return enum_of(shape)[0]
    match shape.type_name:
        case "integer":
            return shape.metadata.get("min", 1)
        case "boolean":
            return True
        case "list":
            return [value_of(shape.member)]
        case "map":
            return {value_of(shape.key): value_of(shape.value)}
        case "structure":
            return {name: value_of(member) for name, member in shape.members.items()}
    raise AssertionError(f"no value of {shape.name}")


def request_of(operation):
    """A valid request, without the members that cannot be combined with the others."""
    shape = MODEL.operation_model(operation).input_shape
    request = value_of(shape) if shape else {}
    for member in LEFT_OUT.get(operation, ()):
        request.pop(member)
    request.pop("StreamId", None)
    return request


def members(shape, path=()):
    """All members below a structure, including those of lists and maps: (path, shape, whether it is required)."""
    for name, member in shape.members.items():
        yield from descend(member, (*path, name), name in shape.required_members)


def descend(shape, path, is_required):
    yield path, shape, is_required
    if shape.type_name == "structure":
        yield from members(shape, path)
    if shape.type_name == "list":
        yield from descend(shape.member, (*path, 0), False)


def with_holder(request, shape, path):
    """The request with the first member of the path added."""
    return {path[0]: value_of(shape.members[path[0]]), **request}


def changed(request, path, value):
    """The request with another value at the path, or without the member if the value is None."""
    request = copy.deepcopy(request)
    holder = request
    for step in path[:-1]:
        holder = holder[step]
    if value is None:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return request


def text_of(length, shape):
    """A text of this length that matches the shape's pattern, if there is one."""
    value = VALUES.get(shape.name, "")
    if shape.name in ("StreamARN", "ResourceARN"):
        return value + "x" * (length - len(value)) if length >= len(value) else None
    if shape.name in ("ConsumerARN", "StreamId", "HashKey", "SequenceNumber"):
        return None
    return "x" * length


def values_beyond(shape):
    """Values that violate a constraint of the shape. The service refuses them with ValidationException."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "string":
            if enum_of(shape):
                yield "NO_SUCH_WORD"
                return
            yield from (
                "x" * length for length in (low - 1 if low else None, high + 1 if high else None) if length is not None
            )
            if "pattern" in shape.metadata:
                yield NO_PATTERN
        case "integer":
            yield from (
                value
                for value in (low - 1 if low is not None else None, high + 1 if high else None)
                if value is not None
            )
        case "blob":
            yield bytes(high + 1)
        case "list":
            if low:
                yield []
            if high:
                yield [value_of(shape.member)] * (high + 1)
        case "map":
            if low:
                yield {}
            if high:
                yield {f"key{number}": "v" for number in range(high + 1)}
            yield {"": "v"}
            yield {"k" * 129: "v"}
            yield {"k": "v" * 257}


def values_within(shape):
    """Values at the bounds. They violate no constraint of the shape, but may be refused for another reason."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "string" if enum_of(shape):
            yield from enum_of(shape)
        case "string":
            if low:
                yield text_of(low, shape)
            if high and high <= 4096:
                yield text_of(high, shape)
        case "integer":
            yield from (value for value in (low, high) if value is not None)
        case "blob":
            yield from (b"", bytes(high))
        case "list" if high:
            yield [value_of(shape.member)] * high


class Answer(NamedTuple):
    """HTTP status, the error's code (None for success), and its message."""

    status: int
    code: str | None
    message: str


def answer_of(endpoint, operation, format, body):
    """Sends a call and returns its response."""
    status, headers, answer = signed_call(endpoint, operation, body, content_type=format.content_type)
    assert headers["Content-Type"] == format.content_type
    if status == 200:
        return Answer(status, None, "")
    error = format.decode(answer)
    assert headers["x-amzn-ErrorType"] == error["__type"]
    return Answer(status, error["__type"], error.get("message") or error.get("Message"))


def modelled(operation):
    errors = MODEL.operation_model(operation).error_shapes
    return {shape.name for shape in errors} | {VALIDATION, SERIALIZATION}


@pytest.fixture(scope="module")
def existing(client):
    """A stream that already exists when CreateStream is called with its name."""
    return create_stream(client, "contract-taken", shards=1)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_member_is_validated_according_to_the_model(endpoint, existing, operation):
    shape = MODEL.operation_model(operation).input_shape
    right = request_of(operation)
    if operation == "CreateStream":
        right["StreamName"] = existing
    wrong = []

    def answers(request, what, formats=FORMATS):
        """The responses in each format, with the format's name. One call may succeed and so change the next one."""
        found = {name: answer_of(endpoint, operation, FORMATS[name], FORMATS[name].encode(request)) for name in formats}
        if len({answer for answer in found.values() if answer.code}) > 1:
            wrong.append(f"{what}: the formats differ: {found}")
        return found.items()

    def check(request, expected, what, formats=FORMATS):
        for name, (status, code, message) in answers(request, what, formats):
            known = code is None or (status == 400 and code in modelled(operation))
            as_expected = code == expected if expected else code != SERIALIZATION
            if not known or not as_expected:
                expectation = expected or "no fault of the request"
                wrong.append(f"{what} in {name}: {status} {code} ({message}), expected {expectation}")

    check(right, None, "right")
    for path, member, is_required in members(shape) if shape else ():
        name, full = ".".join(map(str, path)), with_holder(right, shape, path)
        if is_required:
            check(changed(full, path, None), VALIDATION, f"{name} missing")
        for value in WRONG_TYPES[member.type_name]:
            check(changed(full, path, value), SERIALIZATION, f"{name} = {value!r}")
        if member.type_name != "blob":
            check(changed(full, path, BYTES), SERIALIZATION, f"{name} = {BYTES}", formats=["CBOR"])
        for value in values_beyond(member):
            check(changed(full, path, value), VALIDATION, f"{name} = {shown(value)}")
        for value in (value for value in values_within(member) if value is not None):
            what = f"{name} = {shown(value)}"
            for format, (status, code, message) in answers(changed(full, path, value), what):
                if status != 200 and (code not in modelled(operation) or "failed to satisfy constraint" in message):
                    wrong.append(f"{what} in {format}: {status} {code} ({message}), which is within the bounds")
    assert not wrong, "\n".join(wrong)


def shown(value):
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_invalid_body_is_refused(endpoint, operation):
    for format in FORMATS.values():
        for body in format.no_requests:
            answer = answer_of(endpoint, operation, format, body)
            assert (answer.status, answer.code) == (400, SERIALIZATION), body


@pytest.mark.parametrize("operation", sorted(MISSING))
def test_operations_that_are_not_implemented_are_unknown(endpoint, operation):
    for format in FORMATS.values():
        answer = answer_of(endpoint, operation, format, format.encode({}))
        assert (answer.status, answer.code) == (400, "UnknownOperationException")


def test_the_model_has_the_expected_number_of_operations():
    assert len(OPERATIONS) + len(MISSING) == len(MODEL.operation_names)
    assert len(list(itertools.chain(OPERATIONS))) >= 37
