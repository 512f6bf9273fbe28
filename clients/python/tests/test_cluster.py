"""The copy of the catalog."""

import pytest
from anabranch import Closed, Cluster, StreamNotFound, Unavailable
from anabranch._proto import log_pb2
from fake import STREAM, FakeCluster, Refusal
from waiting import wait_until


def test_the_catalog_is_known_and_followed(fake, cluster):
    assert cluster.streams == [STREAM]
    assert sorted(cluster.nodes) == [1, 2, 3]
    assert [shard.id for shard in cluster.stream(STREAM).shards.values()] == ["shardId-000000000000"]
    fake.split(0)
    assert len(cluster.stream(STREAM).shards) == 3, "the newest version"
    with pytest.raises(StreamNotFound):
        cluster.stream("other")


def test_the_catalog_is_followed_at_another_node_when_one_is_lost(fake, cluster):
    for node in (1, 2):
        fake.stop_node(node)
        fake.split(max(fake.shards))
        wait_until("the client sees the change", lambda: cluster.view.version == fake.version)


def test_listeners_are_told_of_each_version(fake, cluster):
    versions = []
    cluster.listen(lambda: versions.append(cluster.view.version))
    fake.publish()
    wait_until("the listener was told", lambda: versions == [2])


def test_a_catalog_that_is_behind_is_asked_for_elsewhere(fake, cluster, monkeypatch):
    monkeypatch.setattr("anabranch.cluster._CATALOG_PATIENCE", 0.1)
    watched = [node for call, node in fake.calls if call == "WatchCatalog"][-1]
    fake.behind.add(watched)
    fake.publish()
    assert cluster.newest_view().version == 2


def test_the_newest_version_needs_one_node_that_answers(fake, cluster):
    fake.fail("Newest", *[Refusal(log_pb2.ERROR_KIND_NOT_LEADER)] * 5)
    assert cluster.newest_view().version == 1
    fake.fail("Newest", *[Refusal(log_pb2.ERROR_KIND_NOT_LEADER)] * 1000)
    with pytest.raises(Unavailable):
        cluster.newest_view(timeout=0.3)


def test_without_a_node_there_is_no_cluster():
    with FakeCluster() as fake:
        seeds = fake.seeds
    with pytest.raises(Unavailable, match="no node sent the catalog"):
        Cluster(seeds, timeout=0.5)


@pytest.mark.parametrize("seeds", [[], "127.0.0.1:4568"])
def test_seeds_are_a_list_of_addresses(seeds):
    with pytest.raises(ValueError, match="seeds"):
        Cluster(seeds)


def test_a_closed_cluster_makes_no_calls(fake):
    cluster = Cluster(fake.seeds)
    cluster.close()
    cluster.close()
    with pytest.raises(Closed):
        cluster.peer(1)
