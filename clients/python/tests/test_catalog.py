"""Routing by hash keys, and the order in which shards are read."""

from anabranch import View
from anabranch._proto import catalog_pb2
from fake import HASH_KEYS, STREAM, FakeCluster


def stream(fake: FakeCluster):
    """The stream as a client sees it now."""
    return View(fake.catalog()).stream(STREAM)


def numbers(shards):
    return [shard.number for shard in shards]


def test_every_hash_key_has_one_open_shard():
    fake = FakeCluster(shards=3)
    width = HASH_KEYS // 3
    found = stream(fake)
    for key, number in [(0, 0), (width - 1, 0), (width, 1), (2 * width - 1, 1), (2 * width, 2), (3 * width - 1, 2)]:
        assert found.open_shard(key).number == number


def test_after_a_split_the_children_take_the_hash_keys():
    fake = FakeCluster(shards=2)
    fake.split(0)
    found = stream(fake)
    half, quarter = HASH_KEYS // 2, HASH_KEYS // 4
    assert numbers([found.open_shard(key) for key in (0, quarter - 1, quarter, half - 1, half)]) == [2, 2, 3, 3, 1]
    assert not found.shards[0].is_open
    assert found.shards[2].parents == (0,)


def test_a_hash_key_without_an_open_shard_has_none():
    fake = FakeCluster(shards=2)
    fake.shards[0].is_closed = True
    assert stream(fake).open_shard(0) is None
    assert stream(fake).open_shard(HASH_KEYS - 1).number == 1


def test_children_can_be_read_when_all_their_parents_have_been_read():
    fake = FakeCluster(shards=2)
    fake.split(0)
    found = stream(fake)
    assert numbers(found.readable(begun=(), ended=())) == [0, 1]
    assert numbers(found.readable(begun={0, 1}, ended={1})) == []
    assert numbers(found.readable(begun={0, 1}, ended={0})) == [2, 3]


def test_a_parent_that_has_expired_is_not_waited_for():
    fake = FakeCluster(shards=1)
    fake.split(0)
    del fake.shards[0]
    assert numbers(stream(fake).readable(begun=(), ended=())) == [1, 2]


def test_a_stream_that_is_being_deleted_is_not_there():
    catalog = FakeCluster().catalog()
    catalog.streams[0].status = catalog_pb2.STREAM_STATUS_DELETING
    assert View(catalog).stream(STREAM) is None
