"""The producer against a cluster in this process: order, retries, resharding, back-pressure."""

import threading
import time
from concurrent.futures import CancelledError

import pytest
from anabranch import (
    BufferFull,
    Closed,
    InvalidRequest,
    Producer,
    StreamNotFound,
    Unavailable,
    UnknownOutcome,
    batching,
    hash_key,
)
from anabranch._proto import log_pb2
from fake import STREAM, LostResponse, Refusal
from waiting import wait_until

UNKNOWN = Refusal(log_pb2.ERROR_KIND_UNKNOWN_OUTCOME)
CLOSED = Refusal(log_pb2.ERROR_KIND_CLOSED)
FROZEN = Refusal(log_pb2.ERROR_KIND_FROZEN)
THROTTLED = Refusal(log_pb2.ERROR_KIND_THROTTLED)
INVALID = Refusal(log_pb2.ERROR_KIND_INVALID)


@pytest.fixture
def producer(cluster):
    with Producer(cluster, STREAM, batch_records=5, linger=0.001) as producer:
        yield producer


def put(producer, numbers, key="key"):
    return [producer.put(key, b"%d" % number) for number in numbers]


def expect(shard, numbers):
    assert shard.data == [b"%d" % number for number in numbers]


def test_a_future_tells_where_the_record_is(fake, producer):
    stored = producer.put("key", b"data").result(10)
    assert (stored.shard_id, stored.log_index, stored.offset) == ("shardId-000000000000", 1, 0)
    assert stored.arrival.year == 2023


def test_records_are_gathered_into_batches_and_keep_their_order(fake, producer):
    fake.holds["Append"] = threading.Event()
    futures = put(producer, range(1, 31))
    wait_until("a batch waits", lambda: fake.held.get("Append"))
    fake.holds["Append"].set()
    places = [future.result(10) for future in futures]
    expect(fake.shards[0], range(1, 31))
    assert places == sorted(places, key=lambda place: (place.log_index, place.offset))
    assert all(len(log_pb2.RecordBatch.FromString(entry).records) <= 5 for entry in fake.shards[0].entries)
    assert len(fake.shards[0].entries) <= 10


def test_one_batch_of_a_shard_is_on_its_way_at_a_time(fake, producer):
    fake.holds["Append"] = threading.Event()
    put(producer, range(20))
    time.sleep(0.2)
    assert fake.held["Append"] == 1
    fake.holds["Append"].set()
    producer.flush(10)
    expect(fake.shards[0], range(20))


def test_records_of_different_shards_go_to_their_leaders(fake, cluster):
    fake.split(0)
    fake.shards[2].leader = 3
    wait_until("the client sees the split", lambda: len(cluster.view.stream(STREAM).shards) == 3)
    with Producer(cluster, STREAM) as producer:
        shards = {producer.put(f"key {number}", b"").result(10).shard_id for number in range(20)}
    assert shards == {"shardId-000000000001", "shardId-000000000002"}
    assert cluster.leaders[fake.shards[2].group] == 3


@pytest.mark.parametrize("lost", [LostResponse(), UNKNOWN], ids=["written", "not written"])
def test_after_a_lost_response_nothing_is_written_twice_and_the_order_stays(fake, producer, lost):
    fake.fail("Append", *[lost] * 5)
    futures = put(producer, range(30))
    assert [future.exception(10) for future in futures] == [None] * 30
    expect(fake.shards[0], range(30))


def test_a_new_leader_is_found(fake, producer):
    put(producer, [1])[0].result(10)
    fake.shards[0].leader = 3
    put(producer, [2])[0].result(10)
    fake.shards[0].leader = 2
    fake.stop_node(3)
    put(producer, [3])[0].result(10)
    expect(fake.shards[0], [1, 2, 3])


def test_a_frozen_or_throttled_shard_is_waited_for(fake, producer):
    fake.fail("Append", FROZEN, THROTTLED, FROZEN)
    put(producer, [1])[0].result(10)
    expect(fake.shards[0], [1])


def test_records_of_a_closed_shard_go_to_its_children_in_order(fake, producer):
    fake.holds["Append"] = threading.Event()
    futures = put(producer, range(23))
    fake.split(0, publish=False)
    fake.holds["Append"].set()
    wait_until("the leader has refused", lambda: fake.called("Append") > 0)
    futures += put(producer, range(23, 40))
    fake.publish()
    futures += put(producer, range(40, 60))
    assert {future.result(10).shard_id for future in futures} == {"shardId-000000000001"}
    expect(fake.shards[1], range(60))
    assert fake.called("Recall") == 0, "no attempt was without an answer"


def test_the_order_of_a_key_stays_through_many_splits(fake, cluster):
    with Producer(cluster, STREAM, batch_records=3, linger=0) as producer:
        futures, shard = [], fake.shards[0]
        for step in range(8):
            futures += put(producer, range(step * 50, step * 50 + 50))
            fake.split(shard.number, publish=step % 2 == 0)
            shard = next(new for new in fake.shards.values() if not new.is_closed and new.covers(hash_key("key")))
            fake.fail("Append", *[LostResponse(), UNKNOWN][: step % 3])
        fake.publish()
        assert [future.exception(30) for future in futures] == [None] * 400
    ancestors = [shard]
    while ancestors[0].parents:
        ancestors.insert(0, fake.shards[ancestors[0].parents[0]])
    assert [data for shard in ancestors for data in shard.data] == [b"%d" % number for number in range(400)]


@pytest.mark.parametrize("lost", [LostResponse(), UNKNOWN], ids=["written", "not written"])
def test_a_closed_shard_is_asked_for_a_batch_of_unknown_outcome(fake, producer, lost):
    fake.holds["Append"] = threading.Event()
    fake.fail("Append", lost, CLOSED)
    futures = put(producer, range(5))
    later = put(producer, range(5, 8))
    fake.holds["Append"].set()
    wait_until("the leader has refused", lambda: fake.called("Append") == 2)
    fake.split(0)
    stored = fake.shards[0].data
    assert [future.exception(10) for future in futures + later] == [None] * 8
    assert fake.called("Recall") == 1
    assert stored + fake.shards[1].data == [b"%d" % number for number in range(8)]
    assert futures[0].result().shard_id == ("shardId-000000000000" if stored else "shardId-000000000001")


def test_a_replica_that_does_not_know_of_the_end_is_not_believed(fake, producer):
    fake.fail("Append", LostResponse(), CLOSED)
    fake.fail("Recall", FROZEN, UNKNOWN)
    future = put(producer, [1])[0]
    wait_until("the leader has refused", lambda: fake.called("Append") == 2)
    fake.split(0)
    assert future.result(10).shard_id == "shardId-000000000000"
    assert fake.called("Recall") == 3
    assert fake.shards[1].data == []


def test_without_an_answer_the_outcome_stays_unknown(fake, producer, monkeypatch):
    monkeypatch.setattr(batching, "RETRY_SECONDS", 0.5)
    fake.fail("Append", *[UNKNOWN] * 1000)
    with pytest.raises(UnknownOutcome):
        put(producer, [1])[0].result(10)
    fake.faults.clear()
    put(producer, [2])[0].result(10)
    expect(fake.shards[0], [2])


def test_without_a_leader_nothing_is_written(fake, producer, monkeypatch):
    monkeypatch.setattr(batching, "RETRY_SECONDS", 0.5)
    fake.shards[0].leader = 0
    with pytest.raises(Unavailable):
        put(producer, [1])[0].result(10)


def test_an_invalid_record_fails_and_the_next_one_does_not(fake, producer):
    fake.fail("Append", INVALID)
    with pytest.raises(InvalidRequest):
        put(producer, [1])[0].result(10)
    put(producer, [2])[0].result(10)


def test_a_full_buffer_blocks_and_then_refuses(fake, cluster):
    fake.holds["Append"] = threading.Event()
    with Producer(cluster, STREAM, buffer_bytes=2000) as producer:
        futures = [producer.put("key", bytes(400)) for _ in range(2)]
        with pytest.raises(BufferFull, match="2000 bytes"):
            producer.put("key", bytes(400), timeout=0.05)
        threading.Timer(0.1, fake.holds["Append"].set).start()
        futures.append(producer.put("key", bytes(400), timeout=10))
        assert [future.result(10).offset for future in futures]


def test_a_record_larger_than_the_buffer_is_taken_alone(fake, cluster):
    with Producer(cluster, STREAM, buffer_bytes=10) as producer:
        assert producer.put("key", b"large enough").result(10)
        assert producer.put("key", b"large enough", timeout=10).result(10)


def test_a_callback_may_put_a_record(fake, cluster):
    with Producer(cluster, STREAM, buffer_bytes=10) as producer:
        second = []
        first = producer.put("key", b"1")
        first.add_done_callback(lambda _: second.append(producer.put("key", b"2", timeout=1)))
        wait_until("the callback has run", lambda: second)
        assert second[0].result(10)


def test_a_record_can_be_cancelled_before_it_is_sent(fake, cluster):
    with Producer(cluster, STREAM, linger=0.3) as producer:
        kept, cancelled = put(producer, [1, 2])
        assert cancelled.cancel()
        kept.result(10)
        with pytest.raises(CancelledError):
            cancelled.result(0)
        producer.flush(10)
        assert producer._used_bytes == 0
    expect(fake.shards[0], [1])


def test_flush_does_not_wait_for_the_linger_time(fake, cluster):
    with Producer(cluster, STREAM, linger=30) as producer:
        future = put(producer, [1])[0]
        producer.flush(10)
        assert future.done()


def test_flush_has_a_time_limit(fake, producer):
    fake.holds["Append"] = threading.Event()
    put(producer, [1])
    with pytest.raises(TimeoutError):
        producer.flush(0.05)
    fake.holds["Append"].set()


def test_close_sends_everything(fake, cluster):
    producer = Producer(cluster, STREAM, linger=30)
    put(producer, range(10))
    producer.close(10)
    expect(fake.shards[0], range(10))
    with pytest.raises(Closed):
        producer.put("key", b"")


def test_close_with_a_time_limit_tells_which_records_were_not_sent(fake, cluster):
    fake.holds["Append"] = threading.Event()
    producer = Producer(cluster, STREAM, batch_records=1)
    sent, waiting = put(producer, [1, 2])
    wait_until("the first record is sent", sent.running)
    producer.close(0.1)
    assert isinstance(sent.exception(0), UnknownOutcome)
    assert isinstance(waiting.exception(0), Closed)


def test_records_of_a_deleted_stream_fail(fake, cluster, producer):
    fake.holds["Append"] = threading.Event()
    sent, *_, waiting = put(producer, range(7))
    wait_until("the first record is sent", sent.running)
    fake.has_stream = False
    fake.publish()
    fake.fail("Append", Refusal(log_pb2.ERROR_KIND_NOT_FOUND))
    fake.holds["Append"].set()
    assert isinstance(sent.exception(10), StreamNotFound)
    assert isinstance(waiting.exception(10), StreamNotFound)
    with pytest.raises(StreamNotFound):
        producer.put("key", b"")


@pytest.mark.parametrize(
    ("key", "data", "error", "text"),
    [
        ("", b"", ValueError, "partition_key: has 0 characters, must have 1 to 256"),
        ("k" * 257, b"", ValueError, "partition_key: has 257 characters"),
        ("\ud800", b"", ValueError, "partition_key: must be encodable"),
        (b"k", b"", TypeError, "partition_key: must be a str"),
        ("k", "text", TypeError, "data: must be bytes"),
        ("kk", bytes(1023), ValueError, "data: has 1023 bytes, and the partition key 2; .* at most 1024"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(producer, key, data, error, text):
    with pytest.raises(error, match=text):
        producer.put(key, data)


def test_settings_out_of_bounds_are_refused(cluster):
    with pytest.raises(ValueError, match="batch_records: is 0, must be 1 to 65536"):
        Producer(cluster, STREAM, batch_records=0)
    with pytest.raises(StreamNotFound, match="there is no stream other"):
        Producer(cluster, "other")
