"""Encryption at rest: the content of the disks, the key providers, and the effect of a disabled key."""

import contextlib
import json
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EventStreamError

from support.clients import ACCESS_KEY, REGION, SECRET_KEY, cli, kinesis
from support.cluster import Cluster, release_binary
from support.servers import Servers, free_ports
from support.streams import create_stream, data_at, iterator, shards, status
from support.waiting import wait_until

DEFAULT_KEY = "alias/aws/kinesis"
FIRST = "shardId-000000000000"
# A client without retries, so that tests see refusals.
ONCE = {"retries": {"total_max_attempts": 1}}


def master_key(*arguments):
    """Runs `anabranch ctl master-key` and returns its JSON."""
    command = [release_binary(), "ctl", "--json", "master-key", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def set_encryption(client, stream, key=DEFAULT_KEY, on=True):
    """Switches encryption on or off, and waits until the stream is ACTIVE again."""
    change = client.start_stream_encryption if on else client.stop_stream_encryption
    change(StreamName=stream, EncryptionType="KMS", KeyId=key)
    wait_until(f"stream {stream} is ACTIVE", lambda: status(client, stream) == "ACTIVE")


def summary(client, stream):
    """Encryption type and key id, from DescribeStreamSummary and DescribeStream."""
    said = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    whole = client.describe_stream(StreamName=stream)["StreamDescription"]
    assert {name: said.get(name) for name in ("EncryptionType", "KeyId")} == {
        name: whole.get(name) for name in ("EncryptionType", "KeyId")
    }
    return said["EncryptionType"], said.get("KeyId")


def records(client, stream, shard=FIRST):
    """All records of a shard."""
    found, position = [], iterator(client, stream, "TRIM_HORIZON", shard)
    while position:
        page = client.get_records(ShardIterator=position)
        found += page["Records"]
        position = page.get("NextShardIterator") if page["Records"] else None
    return found


def put(client, stream, data, key="k"):
    """Puts one record."""
    return client.put_record(StreamName=stream, PartitionKey=key, Data=data)


def code_of(call):
    """The error code of a call that must fail."""
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"]


def files_with(folder, text):
    """The files below the folder that contain the text in plain."""
    return [path for path in Path(folder).rglob("*") if path.is_file() and text in path.read_bytes()]


def test_a_stream_is_encrypted_and_decrypted_while_it_is_read_and_written(client, stream_name):
    create_stream(client, stream_name, shards=1)
    assert summary(client, stream_name) == ("NONE", None)
    assert "EncryptionType" not in put(client, stream_name, b"before")
    set_encryption(client, stream_name)
    assert summary(client, stream_name) == ("KMS", DEFAULT_KEY)
    set_encryption(client, stream_name)
    answer = client.put_records(StreamName=stream_name, Records=[{"PartitionKey": "k", "Data": b"during"}])
    assert (answer["FailedRecordCount"], answer["EncryptionType"]) == (0, "KMS")
    assert put(client, stream_name, b"more")["EncryptionType"] == "KMS"
    set_encryption(client, stream_name, on=False)
    assert summary(client, stream_name) == ("NONE", None)
    put(client, stream_name, b"after")
    assert [(record["Data"], record.get("EncryptionType")) for record in records(client, stream_name)] == [
        (b"before", None),
        (b"during", "KMS"),
        (b"more", "KMS"),
        (b"after", None),
    ]


def test_invalid_requests_are_refused_and_change_nothing(client, stream):
    start = client.start_stream_encryption
    assert code_of(lambda: start(StreamName=stream, EncryptionType="NONE", KeyId="k")) == "InvalidArgumentException"
    assert code_of(lambda: start(StreamName=stream, EncryptionType="KMS", KeyId="alias/none")) == "KMSNotFoundException"
    missing = {"StreamName": f"{stream}-none", "EncryptionType": "KMS", "KeyId": DEFAULT_KEY}
    assert code_of(lambda: start(**missing)) == "ResourceNotFoundException"
    assert code_of(lambda: client.stop_stream_encryption(**missing)) == "ResourceNotFoundException"
    assert (summary(client, stream), status(client, stream)) == (("NONE", None), "ACTIVE")
    client.stop_stream_encryption(StreamName=stream, EncryptionType="KMS", KeyId=DEFAULT_KEY)
    assert status(client, stream) == "ACTIVE"


def test_the_command_line_encrypts_a_stream(endpoint, client, stream):
    cli(
        endpoint,
        "start-stream-encryption",
        "--stream-name",
        stream,
        "--encryption-type",
        "KMS",
        "--key-id",
        DEFAULT_KEY,
    )
    wait_until("the stream is ACTIVE", lambda: status(client, stream) == "ACTIVE")
    assert summary(client, stream) == ("KMS", DEFAULT_KEY)


def test_no_record_of_an_encrypted_stream_is_on_a_disk_in_plain(three):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, "open", shards=1)
    create_stream(client, "secret", shards=2)
    set_encryption(client, "secret")
    words = {name: (secrets.token_hex(24).encode(), secrets.token_hex(24)) for name in ("open", "secret", "child")}

    def put_words(stream, name):
        data, key = words[name]
        for number in range(20):
            put(client, stream, b"%d " % number + data * 40, f"{number} {key}")

    put_words("open", "open")
    put_words("secret", "secret")
    [lower, upper] = shards(client, "secret")
    client.merge_shards(StreamName="secret", ShardToMerge=lower["ShardId"], AdjacentShardToMerge=upper["ShardId"])
    wait_until("the merge is done", lambda: status(client, "secret") == "ACTIVE")
    put_words("secret", "child")
    three.stop()
    for word in words["open"]:
        # Proves that the search works: plain text is found on each of the three disks.
        assert len(files_with(three.data_dir, word if isinstance(word, bytes) else word.encode())) == 3
    for name in ("secret", "child"):
        for word in words[name]:
            assert files_with(three.data_dir, word if isinstance(word, bytes) else word.encode()) == []
    with Cluster(three.data_dir, nodes=3) as again:
        client = kinesis(again.nodes[0].endpoint)
        ids = [shard["ShardId"] for shard in shards(client, "secret")]
        read = [record["Data"] for shard in ids for record in records(client, "secret", shard)]
    assert len(read) == 40 and sum(words["secret"][0] in record for record in read) == 20


def test_encrypted_records_survive_the_death_of_their_leader(three):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, "kept", shards=1)
    set_encryption(client, "kept")
    acknowledged = []
    for node in list(three.nodes):
        for number in range(10):
            data = f"{node.id} {number}".encode()
            put(client, "kept", data)
            acknowledged.append(data)
        leader = wait_until("the shard has a leader", lambda: three.leader_of_most("kept", shards=1))
        three.kill(leader)
        other = next(known for known in three.nodes if known.id != leader.id)
        client = kinesis(other.endpoint)
        # Until there is a leader again, any replica may answer, and it may not know yet that the last record is
        # committed.
        wait_until("all records are read", lambda at=client: data_at(at, "kept", "TRIM_HORIZON") == acknowledged)
        three.restart(leader)


@pytest.fixture
def keys(tmp_path):
    """A key file with one key."""
    file = tmp_path / "keys.toml"
    master_key("create", file)
    return file


def test_a_key_file_must_be_readable_for_its_owner_only(keys, tmp_path):
    assert keys.stat().st_mode & 0o777 == 0o600
    [key] = master_key("list", keys)
    assert (key["aliases"], key["state"], len(key["id"])) == ([DEFAULT_KEY], "enabled", 36)
    with pytest.raises(RuntimeError, match="is there already"):
        master_key("create", keys)
    keys.chmod(0o644)
    with pytest.raises(RuntimeError, match="chmod 600"):
        master_key("list", keys)
    settings = [ANY, "[encryption]", f'key-file = "{keys}"']
    with pytest.raises(RuntimeError, match="chmod 600"), Servers(tmp_path / "data", settings=settings):
        pass


# These tests accept any credentials, because they do not test authentication.
ANY = 'authentication = "any"'


def test_a_disabled_key_stops_puts_and_reads_until_it_is_enabled(keys, tmp_path):
    other = master_key("add", keys, "--alias", "alias/other")["added"]
    settings = [ANY, "[encryption]", f'key-file = "{keys}"', "data-key-cache-seconds = 0"]
    with Servers(tmp_path / "data", settings=settings) as servers:
        client = kinesis(servers.nodes[0].endpoint, **ONCE)
        create_stream(client, "s", shards=1)
        set_encryption(client, "s", key=f"arn:aws:kms:us-east-1:000000000000:key/{other}")
        put(client, "s", b"one")
        position = iterator(client, "s", "TRIM_HORIZON")
        consumer = client.register_stream_consumer(
            StreamARN="arn:aws:kinesis:us-east-1:000000000000:stream/s", ConsumerName="app"
        )["Consumer"]["ConsumerARN"]
        master_key("disable", keys, "alias/other")
        disabled = "KMSDisabledException"
        wait_until("puts are refused", lambda: refusal(lambda: put(client, "s", b"two")) == disabled)
        batch = [{"PartitionKey": "k", "Data": b"two"}]
        assert code_of(lambda: client.put_records(StreamName="s", Records=batch)) == disabled
        assert code_of(lambda: client.get_records(ShardIterator=position)) == disabled
        start = {"StreamName": "s", "EncryptionType": "KMS", "KeyId": "alias/other"}
        assert code_of(lambda: client.start_stream_encryption(**start)) == disabled
        wait_until("the consumer is ACTIVE", lambda: consumer_status(client, consumer) == "ACTIVE")
        assert event_error(client, consumer) == disabled
        master_key("enable", keys, other)
        wait_until("puts are accepted", lambda: refusal(lambda: put(client, "s", b"three")) is None)
        assert data_at(client, "s", "TRIM_HORIZON") == [b"one", b"three"]


def refusal(call):
    """The error code of a call, or None if it succeeds."""
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def consumer_status(client, consumer):
    """The status of the consumer."""
    return client.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]["ConsumerStatus"]


def event_error(client, consumer):
    """The error code with which a subscription ends."""
    answer = client.subscribe_to_shard(ConsumerARN=consumer, ShardId=FIRST, StartingPosition={"Type": "TRIM_HORIZON"})
    with pytest.raises(EventStreamError) as error:
        for _event in answer["EventStream"]:
            pass
    return error.value.response["Error"]["Code"]


def test_without_a_key_provider_a_stream_cannot_be_encrypted(tmp_path):
    with Servers(tmp_path, settings=[ANY]) as servers:
        client = kinesis(servers.nodes[0].endpoint, **ONCE)
        create_stream(client, "s", shards=1)
        start = {"StreamName": "s", "EncryptionType": "KMS", "KeyId": DEFAULT_KEY}
        assert code_of(lambda: client.start_stream_encryption(**start)) == "KMSOptInRequired"
        assert summary(client, "s") == ("NONE", None)


def test_data_keys_are_replaced_by_age_and_old_records_stay_readable(keys, tmp_path):
    settings = [ANY, "[encryption]", f'key-file = "{keys}"', "data-key-max-age-seconds = 1"]
    with Servers(tmp_path / "data", nodes=3, settings=settings) as servers:
        client = kinesis(servers.nodes[0].endpoint)
        create_stream(client, "s", shards=1)
        set_encryption(client, "s")
        put(client, "s", b"0")
        wrapped = key_numbers(servers, "s")

        def replaced():
            put(client, "s", b"0")
            return len(key_numbers(servers, "s")) >= len(wrapped) + 2

        wait_until("the data key was replaced twice", replaced)
        count = len(records(client, "s"))
        servers.restart(servers.nodes[0])
        assert len(records(kinesis(servers.nodes[0].endpoint), "s")) == count


def key_numbers(servers, stream):
    """The numbers of the stream's data keys, as a node knows them."""
    with urllib.request.urlopen(f"{servers.nodes[0].endpoint}/cluster", timeout=5) as response:
        return json.load(response)["data_keys"].get(stream, [])


@contextlib.contextmanager
def moto(folder, port=None):
    """Runs a KMS (moto) in a process of its own. Yields its endpoint and the process."""
    port = port or free_ports(1)[0]
    log = (folder / "moto").open("wb")
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        wait_until("moto answers", lambda: answers(f"{endpoint}/moto-api/"), 60)
        yield endpoint, process
    finally:
        process.kill()
        process.wait()
        log.close()


def answers(url):
    """Whether the URL answers a GET."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_a_key_management_service_can_hold_the_master_keys(tmp_path):
    credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with moto(tmp_path) as (endpoint, service):
        kms = boto3.session.Session().client(
            "kms",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/streams", TargetKeyId=key)
        settings = [ANY, "[encryption]", f'kms-endpoint = "{endpoint}"', "data-key-cache-seconds = 0"]
        with Servers(tmp_path / "data", nodes=3, settings=settings, environment=credentials) as servers:
            client = kinesis(servers.nodes[0].endpoint, **ONCE)
            create_stream(client, "s", shards=1)
            start = {"StreamName": "s", "EncryptionType": "KMS"}
            unknown = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
            assert code_of(lambda: client.start_stream_encryption(**start, KeyId=unknown)) == "KMSNotFoundException"
            set_encryption(client, "s", key="alias/streams")
            put(client, "s", b"one")
            assert data_at(client, "s", "TRIM_HORIZON") == [b"one"]
            service.kill()
            service.wait()
            # While the KMS is away, the data key stays in use for a limited time.
            put(client, "s", b"four")
            assert data_at(client, "s", "TRIM_HORIZON") == [b"one", b"four"]
            assert code_of(lambda: client.start_stream_encryption(**start, KeyId=key)) == "KMSThrottlingException"
            # A new KMS takes its place. It does not know the key.
            with moto(tmp_path, port=int(endpoint.rpartition(":")[2])):
                lost = {"KMSAccessDeniedException", "KMSNotFoundException"}
                wait_until("puts are refused", lambda: refusal(lambda: put(client, "s", b"five")) in lost)
