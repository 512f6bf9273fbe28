"""Delivery streams: records that are put, and records of a stream, arrive in a bucket, each once."""

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from support.clients import ACCESS_KEY, SECRET_KEY, client_of
from support.cluster import release_binary
from support.ctl import ctl
from support.firehose import create, describe, lines, objects, s3
from support.s3 import moto, unreliable
from support.servers import Servers
from support.streams import status
from support.waiting import wait_until

NEWLINE = {"Enabled": True, "Processors": [{"Type": "AppendDelimiterToRecord"}]}


@pytest.fixture(scope="module")
def firehose(endpoint):
    return client_of("firehose", endpoint)


@pytest.fixture
def name(stream_name):
    """A name that no other test uses, for a delivery stream and for its bucket."""
    return stream_name.replace("_", "-")[-60:]


@pytest.fixture
def bucket(one, name):
    """The folder of the bucket of this name."""
    return one.data_dir / "buckets" / name


def code(call):
    """The error code of a call."""
    with pytest.raises(ClientError) as refused:
        call()
    return refused.value.response["Error"]["Code"]


def test_the_checks_of_requests_are_those_of_the_service_model():
    script = Path(__file__).parents[2] / "scripts" / "firehose_model.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False)
    assert done.returncode == 0, "crates/firehose/src/model.json differs: run scripts/firehose_model.py"


def test_records_arrive_in_one_object_with_the_name_that_aws_gives_it(firehose, name, bucket):
    create(firehose, name, name, Prefix="logs/", CompressionFormat="GZIP", ProcessingConfiguration=NEWLINE)
    answer = firehose.put_record(DeliveryStreamName=name, Record={"Data": b"0"})
    assert answer["RecordId"] and answer["Encrypted"] is False
    batch = firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": str(n)} for n in range(1, 100)])
    assert batch["FailedPutCount"] == 0
    assert len({entry["RecordId"] for entry in batch["RequestResponses"]}) == 99
    expected = sorted(map(str, range(100)))
    wait_until("all records", lambda: lines(objects(bucket)) == expected)
    date = r"\d{4}(-\d\d){5}"
    key = rf"logs/\d{{4}}/\d\d/\d\d/\d\d/{name}-1-{date}-[0-9a-f-]{{36}}\.gz"
    assert all(re.fullmatch(key, found) for found in objects(bucket)), objects(bucket).keys()


def test_the_records_of_a_stream_arrive_across_a_split(firehose, client, stream, name, bucket):
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"before")
    source = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    create(firehose, name, name, source=source, ProcessingConfiguration=NEWLINE)

    def put(numbers):
        records = [{"PartitionKey": f"key-{n}", "Data": f"{n:04}"} for n in numbers]
        assert client.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0

    put(range(200))
    client.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126))
    wait_until("an active stream", lambda: status(client, stream) == "ACTIVE")
    put(range(200, 400))
    expected = [f"{n:04}" for n in range(400)]
    wait_until("all records", lambda: lines(objects(bucket)) == expected)
    assert (
        code(lambda: firehose.put_record(DeliveryStreamName=name, Record={"Data": b"x"})) == "InvalidArgumentException"
    )


def test_a_delivery_stream_is_described_as_it_was_sent_and_can_be_changed(firehose, client, name, bucket):
    create(firehose, name, name, ErrorOutputPrefix="bad/", FileExtension=".txt")
    description = describe(firehose, name)
    assert description["VersionId"] == "1" and description["HasMoreDestinations"] is False
    [destination] = description["Destinations"]
    extended = destination["ExtendedS3DestinationDescription"]
    assert extended["BufferingHints"] == {"SizeInMBs": 1, "IntervalInSeconds": 1}
    assert (extended["CompressionFormat"], extended["S3BackupMode"]) == ("UNCOMPRESSED", "Disabled")
    assert (extended["ErrorOutputPrefix"], extended["FileExtension"]) == ("bad/", ".txt")
    change = {
        "DeliveryStreamName": name,
        "CurrentDeliveryStreamVersionId": "1",
        "DestinationId": destination["DestinationId"],
        "ExtendedS3DestinationUpdate": {"Prefix": "second/"},
    }
    firehose.update_destination(**change)
    assert describe(firehose, name)["VersionId"] == "2"
    assert code(lambda: firehose.update_destination(**change)) == "ConcurrentModificationException"
    firehose.put_record(DeliveryStreamName=name, Record={"Data": b"data"})
    wait_until("the object", lambda: objects(bucket))
    [(key, data)] = objects(bucket).items()
    assert key.startswith("second/") and f"{name}-2-" in key and key.endswith(".txt") and data == b"data"
    firehose.tag_delivery_stream(DeliveryStreamName=name, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    firehose.untag_delivery_stream(DeliveryStreamName=name, TagKeys=["a"])
    tags = firehose.list_tags_for_delivery_stream(DeliveryStreamName=name)
    assert (tags["Tags"], tags["HasMoreTags"]) == ([{"Key": "b", "Value": "2"}], False)
    assert name in firehose.list_delivery_streams(Limit=1000)["DeliveryStreamNames"]


def test_a_deleted_delivery_stream_frees_its_name_and_shows_no_internal_stream(firehose, client, name):
    create(firehose, name, name)
    assert code(lambda: create(firehose, name, name)) == "ResourceInUseException"
    internal = f".anabranch.firehose.{name}"
    listed = [n for page in client.get_paginator("list_streams").paginate() for n in page["StreamNames"]]
    assert internal not in listed
    assert code(lambda: client.describe_stream(StreamName=internal)) == "InvalidArgumentException"
    assert code(lambda: client.create_stream(StreamName=internal, ShardCount=1)) == "InvalidArgumentException"
    firehose.delete_delivery_stream(DeliveryStreamName=name)
    wait_until(
        "the end of the delivery stream",
        lambda: name not in firehose.list_delivery_streams(Limit=1000)["DeliveryStreamNames"],
    )
    gone = lambda: firehose.put_record(DeliveryStreamName=name, Record={"Data": b"x"})  # noqa: E731
    assert code(gone) == "ResourceNotFoundException"
    create(firehose, name, name)


def test_a_retried_call_makes_no_second_record(firehose, endpoint, name, bucket):
    create(firehose, name, name, ProcessingConfiguration=NEWLINE)
    retrying = client_of("firehose", endpoint)

    def same_call(request, **_):
        request.headers["amz-sdk-invocation-id"] = "6f6e6365-0000-4000-8000-000000000001"

    retrying.meta.events.register("before-send.firehose.*", same_call)
    ids = {retrying.put_record(DeliveryStreamName=name, Record={"Data": b"once"})["RecordId"] for _ in range(3)}
    assert len(ids) == 1
    firehose.put_record(DeliveryStreamName=name, Record={"Data": b"other"})
    wait_until("both records", lambda: lines(objects(bucket)) == ["once", "other"])


def test_records_that_a_processor_refuses_are_in_an_error_object(firehose, name, bucket):
    split = {
        "Type": "RecordDeAggregation",
        "Parameters": [{"ParameterName": "SubRecordType", "ParameterValue": "JSON"}],
    }
    processing = {"Enabled": True, "Processors": [split, {"Type": "AppendDelimiterToRecord"}]}
    copies = s3(f"{name}-copies", Prefix="raw/")
    create(
        firehose,
        name,
        name,
        ErrorOutputPrefix="bad/!{firehose:error-output-type}/",
        ProcessingConfiguration=processing,
        S3BackupMode="Enabled",
        S3BackupConfiguration=copies,
    )
    records = [b'{"a": 1}{"a": 2}', b"no json", b'{"a": 3}']
    firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": data} for data in records])
    wait_until("both objects", lambda: len(objects(bucket)) == 2)
    found = objects(bucket)
    [bad] = [key for key in found if key.startswith("bad/processing-failed/")]
    line = json.loads(found.pop(bad))
    assert base64.b64decode(line["rawData"]) == b"no json"
    assert (line["attemptsMade"], line["errorCode"]) == (1, "RecordDeAggregation.MalformedData")
    assert lines(found) == ['{"a": 1}', '{"a": 2}', '{"a": 3}']
    [(key, copy)] = objects(bucket.with_name(f"{name}-copies")).items()
    assert key.startswith("raw/") and copy == b"".join(records)


def test_records_at_rest_are_encrypted_if_the_user_asks_for_it(firehose, name, bucket):
    def encryption():
        return describe(firehose, name)["DeliveryStreamEncryptionConfiguration"]

    create(firehose, name, name, ProcessingConfiguration=NEWLINE)
    assert encryption() == {"Status": "DISABLED"}
    firehose.start_delivery_stream_encryption(DeliveryStreamName=name)
    wait_until("encryption", lambda: encryption() == {"Status": "ENABLED", "KeyType": "AWS_OWNED_CMK"})
    assert firehose.put_record(DeliveryStreamName=name, Record={"Data": b"sealed"})["Encrypted"] is True
    unknown = {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": "arn:aws:kms:us-east-1:123456789012:key/unknown"}
    start = firehose.start_delivery_stream_encryption
    refused = code(lambda: start(DeliveryStreamName=name, DeliveryStreamEncryptionConfigurationInput=unknown))
    assert refused == "InvalidKMSResourceException"
    firehose.stop_delivery_stream_encryption(DeliveryStreamName=name)
    wait_until("no encryption", lambda: encryption() == {"Status": "DISABLED"})
    assert firehose.put_record(DeliveryStreamName=name, Record={"Data": b"plain"})["Encrypted"] is False
    wait_until("both records", lambda: lines(objects(bucket)) == ["plain", "sealed"])
    refused = code(
        lambda: firehose.create_delivery_stream(
            DeliveryStreamName=f"{name}-2",
            DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"},
            ExtendedS3DestinationConfiguration=s3(name),
        )
    )
    assert refused == "InvalidArgumentException", "records could be put before the encryption begins"


def test_what_is_not_served_is_refused_when_a_delivery_stream_is_created(firehose, unchecked_firehose, name):
    def created(**members):
        return code(lambda: unchecked_firehose.create_delivery_stream(DeliveryStreamName=name, **members))

    splunk = {"HECEndpoint": "http://localhost", "HECEndpointType": "Raw", "HECToken": "t", "S3Configuration": s3(name)}
    assert created(SplunkDestinationConfiguration=splunk) == "InvalidArgumentException"
    assert created() == "InvalidArgumentException"
    conversion = {"DataFormatConversionConfiguration": {"Enabled": True}}
    assert created(ExtendedS3DestinationConfiguration=s3(name, **conversion)) == "InvalidArgumentException"
    assert created(ExtendedS3DestinationConfiguration=s3(name, CompressionFormat="gzip")) == "ValidationException"
    assert created(ExtendedS3DestinationConfiguration=s3(name, Prefix="!{x")) == "InvalidArgumentException"
    assert created(ExtendedS3DestinationConfiguration=s3(name, Prefix=5)) == "SerializationException"
    assert code(lambda: describe(firehose, name)) == "ResourceNotFoundException"


@pytest.fixture(scope="module")
def unchecked_firehose(endpoint):
    return client_of("firehose", endpoint, parameter_validation=False, retries={"total_max_attempts": 1})


def test_every_record_arrives_once_while_each_node_is_killed(three, stream_name):
    name = "orders"
    first = three.nodes[0]
    firehose = client_of("firehose", first.endpoint)
    create(firehose, name, "orders", ProcessingConfiguration=NEWLINE)
    sent, stop = [], threading.Event()

    def put():
        number = 0

        def same_call(request, **_):
            request.headers["amz-sdk-invocation-id"] = f"call-{number}"

        clients = [client_of("firehose", node.endpoint, retries={"total_max_attempts": 1}) for node in three.nodes]
        for client in clients:
            client.meta.events.register("before-send.firehose.*", same_call)
        while not stop.is_set():
            records = [{"Data": f"{number:05}-{part}"} for part in range(10)]
            # What was sent to a node that died may be stored: the call is sent again as the same call.
            for client in itertools.cycle(clients):
                with contextlib.suppress(BotoCoreError, ClientError):
                    client.put_record_batch(DeliveryStreamName=name, Records=records)
                    break
            sent.extend(f"{number:05}-{part}" for part in range(10))
            number += 1

    writer = threading.Thread(target=put)
    writer.start()
    try:
        for _ in range(3):
            [job] = [job for job in ctl(release_binary(), first, "jobs") if job.get("resource") == name]
            owner = next(node for node in three.nodes if node.id == job["node"])
            before = len(sent)
            three.kill(owner)
            three.restart(owner)
            wait_until("more records", lambda n=before: len(sent) > n + 200, timeout=60)
    finally:
        stop.set()
        writer.join()
    bucket = three.data_dir / "buckets" / "orders"
    wait_until("all records", lambda: set(sent) <= set(lines(objects(bucket))), timeout=60)
    assert lines(objects(bucket)) == sorted(sent), "each record once"


STORE = """
[[object-stores]]
name = "s3"
buckets = ["logs-*"]
endpoint = "http://127.0.0.1:{port}"
access-key-id = "{key}"
secret-access-key = "{secret}"
"""


def test_an_s3_server_that_loses_requests_and_answers_gets_each_record_once(tmp_path):
    with moto(tmp_path) as port, unreliable(port) as (proxy, faults):
        bucket = client_of("s3", f"http://127.0.0.1:{port}")
        bucket.create_bucket(Bucket="logs-a")
        store = STORE.format(port=proxy, key=ACCESS_KEY, secret=SECRET_KEY)
        settings = ['authentication = "any"', store]
        with Servers(tmp_path / "server", settings=settings) as servers:
            [node] = servers.nodes
            firehose = client_of("firehose", node.endpoint)
            refused = code(lambda: create(firehose, "orders", "elsewhere"))
            assert refused == "InvalidArgumentException", "no store has the bucket"
            create(firehose, "orders", "logs-a", seconds=0, CompressionFormat="GZIP", ProcessingConfiguration=NEWLINE)
            for number in range(20):
                records = [{"Data": f"{number:02}-{part}"} for part in range(10)]
                firehose.put_record_batch(DeliveryStreamName="orders", Records=records)
                # Each call is in an object of its own, so that there are many puts.
                wait_until("an object", lambda n=number: len(stored(bucket)) > n, timeout=60)
                if number % 5 == 4:
                    servers.restart(node)
        expected = sorted(f"{number:02}-{part}" for number in range(20) for part in range(10))
        assert lines(stored(bucket)) == expected
        assert all(faults.values()), faults
        [first, *_] = bucket.list_objects_v2(Bucket="logs-a")["Contents"]
        head = bucket.head_object(Bucket="logs-a", Key=first["Key"])
        assert (head["ContentType"], head["ContentEncoding"]) == ("application/octet-stream", "gzip")


def stored(bucket):
    """The objects of an S3 bucket: bytes by key."""
    keys = [found["Key"] for found in bucket.list_objects_v2(Bucket="logs-a").get("Contents", ())]
    return {key: bucket.get_object(Bucket="logs-a", Key=key)["Body"].read() for key in keys}


def test_records_are_in_partitions_by_a_query(firehose, name, bucket):
    def parameter(name, value):
        return {"ParameterName": name, "ParameterValue": value}

    query = [
        parameter("MetadataExtractionQuery", '{customer: .customer, day: (.time | strftime("%Y-%m-%d"))}'),
        parameter("JsonParsingEngine", "JQ-1.6"),
    ]
    processors = [{"Type": "MetadataExtraction", "Parameters": query}, {"Type": "AppendDelimiterToRecord"}]
    configuration = {
        **s3(name),
        "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 1},
        "Prefix": "customer=!{partitionKeyFromQuery:customer}/day=!{partitionKeyFromQuery:day}/",
        "ErrorOutputPrefix": "bad/",
        "DynamicPartitioningConfiguration": {"Enabled": True},
        "ProcessingConfiguration": {"Enabled": True, "Processors": processors},
    }
    firehose.create_delivery_stream(DeliveryStreamName=name, ExtendedS3DestinationConfiguration=configuration)
    wait_until("an active delivery stream", lambda: describe(firehose, name)["DeliveryStreamStatus"] == "ACTIVE")
    records = [{"customer": n % 3, "time": 86_400 * (n % 2)} for n in range(60)]
    data = [{"Data": json.dumps(record)} for record in records]
    firehose.put_record_batch(DeliveryStreamName=name, Records=[*data, {"Data": b"no json"}])
    wait_until("all records", lambda: len(lines(objects(bucket))) == 61)
    for customer in range(3):
        for day in ("1970-01-01", "1970-01-02"):
            folder = bucket / f"customer={customer}" / f"day={day}"
            found = [json.loads(line) for line in lines(objects(folder))]
            assert len(found) == 10 and {record["customer"] for record in found} == {customer}
    [bad] = [line for key, text in objects(bucket).items() if key.startswith("bad/") for line in text.splitlines()]
    assert json.loads(bad)["errorCode"] == "DynamicPartitioning.MetadataExtractionFailed"


def test_the_commands_of_the_tutorial_work(one):
    page = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text()
    [commands] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = commands.replace("http://127.0.0.1:4567", one.nodes[0].endpoint)
    # The delivery stream is active within a second; until then the CLI would have to wait.
    create, put = commands.split("aws firehose put-record")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(script):
        environment = {**os.environ, "PATH": path, "AWS_PAGER": ""}
        return subprocess.run(["bash", "-ec", script], env=environment, capture_output=True, text=True, check=False)

    done = run(create)
    assert done.returncode == 0, done.stderr
    exports = create.splitlines()[0]
    wait_until("a put", lambda: run(f"{exports}\naws firehose put-record{put}").returncode == 0)
    bucket = one.data_dir / "buckets" / "orders"
    wait_until("the object", lambda: objects(bucket))
    # Version 2 of the CLI takes base64, version 1 the bytes themselves.
    assert lines(objects(bucket)) in (["eyJvcmRlciI6IDF9"], ['{"order": 1}'])
