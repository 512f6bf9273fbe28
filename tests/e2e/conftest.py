"""Running clusters for the tests, each on free loopback ports with its data in a temporary directory."""

import itertools
import os

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import create_stream

# Each test's stream has a name of its own: the clusters are shared.
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """`anabranch dev`: one node, for the tests that look at the API."""
    with Cluster(tmp_path_factory.mktemp("one")) as cluster:
        yield cluster


@pytest.fixture
def three(tmp_path):
    """`anabranch dev --nodes 3`, for one test alone: it will be broken."""
    with Cluster(tmp_path / "three", nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def endpoint(one):
    """Where the one node answers."""
    return one.nodes[0].endpoint


@pytest.fixture(scope="session")
def client(endpoint):
    """boto3 as it comes."""
    return kinesis(endpoint)


@pytest.fixture(scope="session")
def unchecked(endpoint):
    """boto3 that sends what it is given, right or wrong, once."""
    return kinesis(endpoint, parameter_validation=False, retries={"total_max_attempts": 1})


@pytest.fixture
def stream_name(request):
    """A name that no other test has."""
    return f"{request.node.originalname}-{os.getpid()}-{next(_numbers)}"[:128]


@pytest.fixture
def stream(client, stream_name):
    """A stream of two shards on the one node."""
    return create_stream(client, stream_name, shards=2)
