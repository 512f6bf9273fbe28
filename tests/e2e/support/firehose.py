"""Delivery streams for tests: their configuration, and what is in a bucket."""

import gzip
import itertools

from support.waiting import wait_until

ROLE = "arn:aws:iam::123456789012:role/firehose"


def s3(bucket, seconds=1, **members):
    """A configuration of a destination that delivers soon."""
    hints = {"SizeInMBs": 1, "IntervalInSeconds": seconds}
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{bucket}", "BufferingHints": hints, **members}


def create(client, name, bucket, source=None, **members):
    """Creates a delivery stream with an Extended S3 destination, and waits until it is active."""
    kind = {"DeliveryStreamType": "DirectPut"}
    if source is not None:
        configuration = {"KinesisStreamARN": source, "RoleARN": ROLE}
        kind = {"DeliveryStreamType": "KinesisStreamAsSource", "KinesisStreamSourceConfiguration": configuration}
    client.create_delivery_stream(
        DeliveryStreamName=name, ExtendedS3DestinationConfiguration=s3(bucket, **members), **kind
    )
    wait_until("an active delivery stream", lambda: describe(client, name)["DeliveryStreamStatus"] == "ACTIVE")


def describe(client, name):
    return client.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]


def objects(folder):
    """The objects of a bucket that is a folder: bytes by key."""
    files = (path for path in folder.rglob("*") if path.is_file()) if folder.exists() else ()
    # A file with a # is one that the store is about to rename.
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "#" not in path.name}


def lines(found):
    """The lines of all objects, sorted. Objects that end with .gz are decompressed."""
    texts = (gzip.decompress(data) if key.endswith(".gz") else data for key, data in found.items())
    return sorted(itertools.chain.from_iterable(text.decode().splitlines() for text in texts))
