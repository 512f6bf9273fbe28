"""Fixtures: running clusters, each on free loopback ports with its data in a temporary directory, and clients."""

import itertools
import os

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import create_stream

# Numbers for stream names. Tests share clusters, so each test needs stream names of its own.
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """`anabranch dev` with one node, shared by the tests of the API."""
    with Cluster(tmp_path_factory.mktemp("one")) as cluster:
        yield cluster


@pytest.fixture
def three(tmp_path):
    """`anabranch dev --nodes 3` for one test only, because the test breaks the cluster."""
    with Cluster(tmp_path / "three", nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def endpoint(one):
    """The endpoint of the shared node."""
    return one.nodes[0].endpoint


@pytest.fixture(scope="session")
def client(endpoint):
    """An unmodified boto3 client of the shared node."""
    return kinesis(endpoint)


@pytest.fixture(scope="session")
def unchecked(endpoint):
    """A boto3 client that does not validate its arguments and sends each call only once."""
    return kinesis(endpoint, parameter_validation=False, retries={"total_max_attempts": 1})


@pytest.fixture
def stream_name(request):
    """A stream name that no other test uses."""
    return f"{request.node.originalname}-{os.getpid()}-{next(_numbers)}"[:128]


@pytest.fixture
def stream(client, stream_name):
    """The name of a new stream with two shards on the shared node."""
    return create_stream(client, stream_name, shards=2)
