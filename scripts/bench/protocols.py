"""Requests that prepare the servers for a load: make a stream or a topic, find the leader. Standard library only."""

import json
import socket
import struct
import urllib.error
import urllib.request


def kinesis(endpoint, operation, **parameters):
    """A call of the Kinesis API. The headers of a signature are present, but the signature is not valid."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=BENCH/20260101/us-east-1/kinesis/aws4_request, "
        f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}",
    }
    request = urllib.request.Request(endpoint, json.dumps(parameters).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{operation}: {error.code} {error.read().decode(errors='replace')}") from None


def is_active(endpoint, stream):
    """Whether a Kinesis stream is ACTIVE."""
    described = kinesis(endpoint, "DescribeStreamSummary", StreamName=stream)
    return described["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"


def jetstream(port, subject, payload):
    """A request to the JetStream API. Returns None if there is no response."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            body = json.dumps(payload).encode()
            publish = f"PUB $JS.API.{subject} _INBOX.setup {len(body)}\r\n".encode() + body + b"\r\n"
            connection.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.setup 1\r\n' + publish)
            lines = connection.makefile("rb")
            for line in lines:
                if line.startswith(b"MSG"):
                    return json.loads(lines.read(int(line.split()[-1])))
    except OSError:
        pass
    return None


def make_jetstream(port, name, replicas):
    """Makes a stream of subjects `NAME.*` in files. Returns True once it exists."""
    config = {"name": name, "subjects": [f"{name}.*"], "storage": "file", "num_replicas": replicas}
    answer = jetstream(port, f"STREAM.CREATE.{name}", config)
    return bool(answer) and "error" not in answer


def jetstream_is_current(port, name):
    """Whether the stream can be written and all its replicas are current."""
    answer = jetstream(port, f"STREAM.INFO.{name}", {})
    cluster = (answer or {}).get("cluster", {})
    return bool(cluster.get("leader")) and all(replica["current"] for replica in cluster.get("replicas", []))


def kafka_request(port, key, version, body):
    """A request to a Kafka broker. Returns the response without its header."""
    head = struct.pack(">hhi", key, version, 0) + kafka_string("bench-setup")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        answers = connection.makefile("rb")
        (length,) = struct.unpack(">i", answers.read(4))
        return answers.read(length)[4:]


def kafka_string(text):
    """A string in Kafka's encoding."""
    return struct.pack(">h", len(text)) + text.encode()


def make_topic(port, name, partitions, replicas):
    """Makes a topic (CreateTopics, version 4). Returns True once it exists."""
    topic = kafka_string(name) + struct.pack(">ihii", partitions, replicas, 0, 0)
    body = struct.pack(">i", 1) + topic + struct.pack(">i?", 20_000, False)
    try:
        answer = kafka_request(port, 19, 4, body)
    except (OSError, struct.error):
        return False
    (error,) = struct.unpack_from(">h", answer, 8 + 2 + len(name))
    already_there = 36
    return error in (0, already_there)


def topic_in_sync(port, name, partitions, replicas):
    """Whether every partition has a leader and all its replicas in sync (Metadata, version 4)."""
    body = struct.pack(">i", 1) + kafka_string(name) + struct.pack(">?", False)
    answer = Reader(kafka_request(port, 3, 4, body)[4:])
    for _ in range(answer.number(">i")):
        answer.number(">i")
        answer.string()
        answer.number(">i")
        answer.string()
    answer.string()
    answer.number(">i")
    answer.number(">i")
    if answer.number(">h") != 0:
        return False
    answer.string()
    answer.number(">?")
    in_sync = []
    for _ in range(answer.number(">i")):
        error, _index, leader = answer.number(">h"), answer.number(">i"), answer.number(">i")
        answer.numbers()
        in_sync.append(error == 0 and leader >= 0 and len(answer.numbers()) == replicas)
    return len(in_sync) == partitions and all(in_sync)


class Reader:
    """Reads the fields of a Kafka response from front to back."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def number(self, form):
        """One number."""
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def numbers(self):
        """An array of 32-bit numbers."""
        return [self.number(">i") for _ in range(self.number(">i"))]

    def string(self):
        """A string. Null becomes the empty string."""
        length = max(self.number(">h"), 0)
        self._at += length
        return self._data[self._at - length : self._at].decode()


def etcd_status(port):
    """The status of a member of etcd. None if there is no response."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", b"{}")
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return json.load(response)
    except OSError:
        return None


def leads(port):
    """Whether a member of etcd is the leader."""
    status = etcd_status(port)
    return bool(status) and status.get("leader") == status["header"]["member_id"]
