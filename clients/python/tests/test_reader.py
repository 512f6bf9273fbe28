"""Reading a stream from a cluster in this process: order, resharding, loss of nodes."""

import threading
from datetime import datetime, timezone
from itertools import islice

import pytest
from anabranch import LATEST, Producer, ShardNotFound, StreamNotFound, tail
from anabranch._proto import log_pb2
from fake import STREAM, Refusal
from waiting import wait_until

UNKNOWN = Refusal(log_pb2.ERROR_KIND_UNKNOWN_OUTCOME)
NOT_LEADER = Refusal(log_pb2.ERROR_KIND_NOT_LEADER)


@pytest.fixture
def put(cluster):
    """Puts numbers as records with one partition key, and waits until they are written."""
    with Producer(cluster, STREAM, linger=0) as producer:

        def put_all(numbers):
            for number in numbers:
                producer.put("key", b"%d" % number)
            producer.flush(10)

        yield put_all


def take(records, count):
    return [int(record.data) for record in islice(records, count)]


def test_records_that_are_there_and_new_ones_are_read(cluster, put):
    put(range(5))
    with tail(cluster, STREAM) as records:
        assert take(records, 5) == [0, 1, 2, 3, 4]
        put(range(5, 8))
        record = next(records)
        assert (record.shard_id, record.partition_key, record.data) == ("shardId-000000000000", "key", b"5")
        assert take(records, 2) == [6, 7]


def test_latest_reads_what_is_put_from_now_on(cluster, put):
    put(range(5))
    with tail(cluster, STREAM, LATEST) as records:
        put(range(5, 8))
        assert take(records, 3) == [5, 6, 7]


def test_parents_are_read_before_children(fake, cluster, put):
    put(range(5))
    fake.split(0)
    wait_until("the client sees the split", lambda: len(cluster.view.stream(STREAM).shards) == 3)
    put(range(5, 10))
    with tail(cluster, STREAM) as records:
        assert take(records, 10) == list(range(10))


def test_a_split_while_the_stream_is_read_loses_nothing(fake, cluster, put):
    with tail(cluster, STREAM, LATEST) as records:
        put(range(5))
        assert take(records, 5) == list(range(5))
        fake.split(0)
        wait_until("the client sees the split", lambda: len(cluster.view.stream(STREAM).shards) == 3)
        put(range(5, 10))
        assert take(records, 5) == list(range(5, 10))


def test_latest_skips_closed_shards(fake, cluster, put):
    put(range(5))
    fake.split(0)
    with tail(cluster, STREAM, LATEST) as records:
        put(range(5, 8))
        assert take(records, 3) == [5, 6, 7]


def test_one_shard_is_read_to_its_end(fake, cluster, put):
    put(range(5))
    fake.split(0)
    records = tail(cluster, STREAM, shard="shardId-000000000000")
    assert [int(record.data) for record in records] == list(range(5))
    assert next(records, None) is None
    records.close()


def test_after_a_broken_tail_reading_goes_on_behind_the_last_record(fake, cluster, put):
    put(range(5))
    fake.fail("Tail", UNKNOWN, NOT_LEADER, UNKNOWN)
    fake.fail("Read", UNKNOWN)
    with tail(cluster, STREAM) as records:
        assert take(records, 3) == [0, 1, 2]
        fake.fail("Page", UNKNOWN, UNKNOWN)
        put(range(5, 10))
        assert take(records, 7) == list(range(3, 10))
        fake.split(0)
        wait_until("the client sees the split", lambda: len(cluster.view.stream(STREAM).shards) == 3)
        put(range(10, 12))
        assert take(records, 2) == [10, 11]


def test_the_loss_of_nodes_is_survived(fake, cluster, put):
    fake.shards[0].leader = 1
    with tail(cluster, STREAM) as records:
        put(range(3))
        assert take(records, 3) == [0, 1, 2]
        fake.stop_node(2)
        put(range(3, 6))
        fake.stop_node(3)
        put(range(6, 9))
        assert take(records, 6) == list(range(3, 9))


def test_a_slow_reader_stops_the_reading_ahead(fake, cluster, put):
    with tail(cluster, STREAM) as records:
        for number in range(30):
            put([number])
        wait_until("the queue is full", lambda: len(records._pages) == 8)
        assert take(records, 30) == list(range(30))


def test_close_ends_an_iterator_that_waits(cluster):
    records = tail(cluster, STREAM)
    threading.Timer(0.2, records.close).start()
    assert list(records) == []
    records.close()


def test_a_deleted_stream_ends_the_iterator_with_an_error(fake, cluster, put):
    put([1])
    with tail(cluster, STREAM) as records:
        assert take(records, 1) == [1]
        fake.has_stream = False
        fake.publish()
        with pytest.raises(StreamNotFound, match="was deleted"):
            next(records)


def test_wrong_arguments_are_refused(cluster):
    with pytest.raises(StreamNotFound, match="there is no stream other"):
        tail(cluster, "other")
    with pytest.raises(ShardNotFound, match="has no shard shardId-000000000007"):
        tail(cluster, STREAM, shard="shardId-000000000007")
    with pytest.raises(TypeError, match="start"):
        tail(cluster, STREAM, "LATEST")
    with pytest.raises(ValueError, match="time zone"):
        tail(cluster, STREAM, datetime(2024, 1, 1))
    with tail(cluster, STREAM, datetime(2024, 1, 1, tzinfo=timezone.utc)):
        pass
