"""Hostile clients against a real process: they cost a bounded amount of memory, and other clients are served."""

import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from support.clients import kinesis, signed_request
from support.cluster import Cluster
from support.streams import create_stream
from support.waiting import wait_until

MIB = 1024 * 1024
# Bodies and responses may take 512 MiB together. The largest of these attacks is a body that is refused at 16 MiB. So
# the attacks may cost as much as a few such bodies at once, with the memory that the allocator keeps.
GROWTH_MIB = 256
ROUNDS = 3
FRAME_HEADERS, FRAME_RESET, FRAME_PING, FRAME_CONTINUATION = 1, 3, 6, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.fixture
def alone(tmp_path):
    """One node that no other test uses, because the test measures its memory."""
    with Cluster(tmp_path / "alone") as cluster:
        yield cluster


def resident_mib(pid):
    """The current resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


def address(node):
    host, port = node.endpoint.removeprefix("http://").split(":")
    return host, int(port)


def connect(node):
    return socket.create_connection(address(node), timeout=30)


def send(node, data, patience=60):
    """Sends the data and reads until the end or until nothing more arrives. The server may close early."""
    answer = b""
    with connect(node) as connection, contextlib.suppress(OSError):
        connection.sendall(data)
        connection.settimeout(patience)
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def post(node, operation, body, content_type="application/x-amz-json-1.1", **headers):
    """A signed call as the bytes of an HTTP/1.1 request that closes its connection."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    request = signed_request(node.endpoint, operation, body, extra, content_type)
    host = ":".join(map(str, address(node)))
    lines = ["POST / HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    assert len(name) < 127 and len(value) < 127
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


HEAD = b"".join(
    field(name, value)
    for name, value in [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")]
)


def gzip_bomb(node):
    bomb = gzip.compress(bytes(100 * MIB))
    answer = send(node, post(node, "PutRecords", bomb, Content_Encoding="gzip"))
    assert b"RequestEntityTooLargeException" in answer, answer[:200]


def deep_cbor(node):
    body = b"\xa1\x61x" + b"\x82\x9f" + b"\x9f" * (15 * MIB)
    call = post(node, "ListStreams", body, "application/x-amz-cbor-1.1")
    assert b"SerializationException" in send(node, call)


def deep_json(node):
    body = b'{"x":' + b"[" * (15 * MIB)
    assert b"SerializationException" in send(node, post(node, "ListStreams", body))


def hundred_megabytes(node):
    head = post(node, "PutRecords", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    send(node, head + chunk * 100)


def many_headers(node):
    send(node, b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000 + b"\r\n")


def rapid_reset(node):
    calls = b"".join(
        frame(FRAME_HEADERS, 5, 2 * number + 1, HEAD) + frame(FRAME_RESET, 0, 2 * number + 1, struct.pack(">I", 8))
        for number in range(50_000)
    )
    send(node, PREFACE + calls, patience=5)


def continuations(node):
    head = frame(FRAME_HEADERS, 1, 1, HEAD)
    piece = frame(FRAME_CONTINUATION, 0, 1, field(b"x", b"y" * 100) * 100)
    send(node, PREFACE + head + piece * 3_000, patience=5)


def pings(node):
    send(node, PREFACE + frame(FRAME_PING, 0, 0, bytes(8)) * 20_000, patience=1)


ATTACKS = [gzip_bomb, deep_cbor, deep_json, hundred_megabytes, many_headers, rapid_reset, continuations, pings]


def test_a_mix_of_attacks_costs_bounded_memory_and_other_calls_succeed(alone):
    node = alone.nodes[0]
    client = kinesis(node.endpoint)
    stream = create_stream(client, "victim", shards=1)
    for number in range(100):
        client.put_record(StreamName=stream, PartitionKey="k", Data=str(number).encode())
    before = resident_mib(node.pid)
    highest, failures, is_over = [before], [], threading.Event()

    def attack(what):
        try:
            for _ in range(ROUNDS):
                what(node)
        except (AssertionError, OSError) as error:
            failures.append(f"{what.__name__}: {error!r}")

    def watch():
        while not is_over.wait(0.01):
            highest.append(resident_mib(node.pid))

    watcher = threading.Thread(target=watch)
    attackers = [threading.Thread(target=attack, args=(what,)) for what in ATTACKS]
    # In addition, connections that send nothing, and heads that never end.
    silent = [connect(node) for _ in range(200)]
    for connection in silent[:100]:
        connection.sendall(b"POST / HTTP/1.1\r\nX: ")
    watcher.start()
    for attacker in attackers:
        attacker.start()
    # Ordinary calls must succeed as long as any attack runs. The SDK may retry them.
    served = 0
    began = time.monotonic()
    while any(attacker.is_alive() for attacker in attackers):
        assert client.put_record(StreamName=stream, PartitionKey="k", Data=b"x")["SequenceNumber"]
        served += 1
        assert time.monotonic() - began < 120, "the attacks never end"
    for attacker in attackers:
        attacker.join()
    is_over.set()
    watcher.join()
    for connection in silent:
        connection.close()
    assert failures == []
    assert served > 0
    growth = max(highest) - before
    print(json.dumps({"before_mib": before, "highest_mib": max(highest), "served": served}))
    assert growth < GROWTH_MIB, f"{growth} MiB more than the {before} MiB before"
    # The attacks' memory is free again: a body of the largest size is accepted.
    largest = b'{"x":"' + b"y" * (15 * MIB) + b'"}'
    call = post(node, "ListStreams", largest)
    wait_until("the largest body is accepted", lambda: b"HasMoreStreams" in send(node, call))
