"""Clients that misbehave do not prevent other clients from being served."""

import contextlib
import resource
import socket
from urllib.parse import urlsplit

import pytest

from support.clients import kinesis

IDLE_CONNECTIONS = 10_000
HEAD = (
    "POST / HTTP/1.1\r\nHost: {host}\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
    "Content-Type: application/x-amz-json-1.1\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host, Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\n{more}\r\n\r\n"
)


@pytest.fixture
def address(endpoint):
    parts = urlsplit(endpoint)
    return parts.hostname, parts.port


def connect(address, more):
    """A connection that has sent the head of a PutRecord with one additional header."""
    connection = socket.create_connection(address, timeout=10)
    connection.sendall(HEAD.format(host=f"{address[0]}:{address[1]}", more=more).encode())
    return connection


def still_serves(endpoint, stream):
    """Whether a put of a new client succeeds."""
    put = kinesis(endpoint).put_record(StreamName=stream, PartitionKey="k", Data=b"x")
    return put["SequenceNumber"]


def test_ten_thousand_idle_connections_do_not_stop_puts(endpoint, address, stream):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as idle:
        idle.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(IDLE_CONNECTIONS):
            idle.enter_context(socket.create_connection(address, timeout=10))
        assert still_serves(endpoint, stream)


def test_bodies_that_never_end_do_not_stop_puts(endpoint, address, stream):
    with contextlib.ExitStack() as endless:
        for more in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
            for _ in range(50):
                connection = endless.enter_context(connect(address, more))
                connection.sendall(b'5\r\n{"Dat\r\n')
        assert still_serves(endpoint, stream)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(endpoint, address, stream):
    with connect(address, "Content-Length: 1000000000") as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"
    assert still_serves(endpoint, stream)


def test_input_that_is_not_http_ends_only_its_connection(endpoint, address, stream):
    for garbage in (b"\x00" * 100, b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100):
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
    assert still_serves(endpoint, stream)


def test_a_get_is_refused(endpoint, address):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 403"
