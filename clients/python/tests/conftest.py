"""Fixtures: a cluster in this process, and a client of it."""

import threading

import pytest
from anabranch import Cluster
from fake import FakeCluster
from waiting import wait_until


@pytest.fixture
def fake():
    """A cluster in this process, with one shard."""
    with FakeCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(fake):
    """A client of it. Afterwards, no thread of the package may be left."""
    with Cluster(fake.seeds) as client:
        yield client

    def is_left(thread: threading.Thread) -> bool:
        return thread.name.startswith("anabranch-")

    wait_until("all threads have ended", lambda: not any(map(is_left, threading.enumerate())), 10)
