"""Which records make a batch, and what follows after an attempt to append it."""

import pytest
from anabranch import InvalidRequest, Shard, Throttled, Unavailable, UnknownOutcome
from anabranch._proto import log_pb2
from anabranch.batching import RETRY_SECONDS, Batch, Lane, PutRecord
from anabranch.errors import CallError, Kind

NODES = (1, 2, 3)
SHARD = Shard(number=0, group=100, hash_key_start=0, hash_key_end=9, parents=(), replicas=NODES, end=None)


def records(*sizes):
    """Records with data of these sizes, and partition keys of one byte."""
    return [PutRecord(b"k", bytes(size), 5) for size in sizes]


def lane(*sizes):
    made = Lane(SHARD)
    for record in records(*sizes):
        made.add(record, now=10.0)
    return made


def batch():
    """A batch whose first attempt begins at 0."""
    made = Batch(SHARD, records(1, 1), log_pb2.Producer(id=b"p"), leader=2)
    assert made.search.next(NODES) == 2
    made.attempt_seconds(0.0)
    return made


def error(kind, leader=None):
    return CallError(kind, "because", leader)


def test_a_batch_is_bounded_by_records_and_bytes():
    waiting = lane(9, 9, 9, 9, 99, 9)
    assert len(waiting.gather(2, 1000, 0)) == 2
    assert len(waiting.gather(10, 20, 0)) == 2
    assert len(waiting.gather(10, 20, 0)) == 1, "a record above the bound is alone"
    assert len(waiting.gather(10, 20, 0)) == 1


def test_a_lane_is_due_after_its_linger_time_or_when_it_is_full():
    waiting = lane(9, 9)
    assert waiting.due(10, 1000, linger=0.5) == 10.5
    assert waiting.due(2, 1000, linger=0.5) == 10.0
    assert waiting.due(10, 20, linger=0.5) == 10.0
    assert Lane(SHARD).due(10, 1000, 0.5) is None
    waiting.is_calling = True
    assert waiting.due(2, 1000, 0.5) is None, "one batch at a time"


def test_each_batch_of_a_lane_has_an_identity_of_its_own():
    first, other = lane(1, 1), lane(1)
    batches = [first.begin(first.gather(1, 1000, 0), None, False) for _ in range(2)]
    batches.append(other.begin(other.gather(1, 1000, 0), None, False))
    producers = [log_pb2.RecordBatch.FromString(batch.encoded).producer for batch in batches]
    assert [producer.sequence for producer in producers] == [0, 1, 0]
    assert producers[0].id == producers[1].id != producers[2].id
    assert len(producers[0].id) == 16


def test_hash_keys_are_sent_only_if_they_are_not_those_of_the_partition_keys():
    keys = Batch(SHARD, records(1, 1), log_pb2.Producer(), send_hash_keys=True).hash_keys
    assert keys == 2 * (5).to_bytes(16, "big")
    assert Batch(SHARD, records(1), log_pb2.Producer()).hash_keys == b""


def test_a_hint_is_followed_at_once():
    sent = batch()
    assert sent.failed(error(Kind.NOT_LEADER, leader=3), NODES, now=1.0) is None
    assert sent.due == 1.0
    assert sent.search.next(NODES) == 3
    assert not sent.may_be_written


def test_after_a_lost_response_the_other_replicas_are_asked():
    sent = batch()
    assert sent.failed(error(Kind.UNKNOWN), NODES, now=1.0) is None
    assert sent.may_be_written
    assert sent.search.next(NODES) == 1


@pytest.mark.parametrize("kind", [Kind.FROZEN, Kind.THROTTLED])
def test_a_frozen_or_throttled_shard_is_asked_again_at_the_same_node_after_a_pause(kind):
    sent = batch()
    assert sent.failed(error(kind), NODES, now=1.0) is None
    assert 1.0 < sent.due <= 1.05
    assert sent.search.next(NODES) == 2


def test_pauses_of_a_throttled_shard_grow_to_a_limit():
    sent = batch()
    pauses = []
    for _ in range(10):
        sent.failed(error(Kind.THROTTLED), NODES, now=1.0)
        pauses.append(sent.due - 1.0)
    assert pauses[0] < 0.06 < pauses[4]
    assert 1.0 <= pauses[-1] <= 2.0


def test_a_closed_shard_is_noted():
    sent = batch()
    assert sent.failed(error(Kind.CLOSED), NODES, now=1.0) is None
    assert sent.is_refused_as_closed


@pytest.mark.parametrize(
    ("kind", "ending"), [(Kind.THROTTLED, Throttled), (Kind.NOT_SENT, Unavailable), (Kind.NOT_LEADER, Unavailable)]
)
def test_a_batch_that_was_always_refused_was_not_written(kind, ending):
    sent = batch()
    assert sent.failed(error(kind), NODES, now=RETRY_SECONDS - 5) is None
    assert type(sent.failed(error(kind), NODES, now=RETRY_SECONDS + 1)) is ending


def test_after_a_lost_response_the_end_of_the_time_is_an_unknown_outcome():
    sent = batch()
    assert sent.failed(error(Kind.UNKNOWN), NODES, now=1.0) is None
    ended = sent.failed(error(Kind.NOT_LEADER), NODES, now=RETRY_SECONDS + 1)
    assert isinstance(ended, UnknownOutcome)


def test_an_invalid_batch_ends_at_once_and_after_a_lost_response_with_an_unknown_outcome():
    assert isinstance(batch().failed(error(Kind.INVALID), NODES, now=1.0), InvalidRequest)
    sent = batch()
    sent.failed(error(Kind.UNKNOWN), NODES, now=1.0)
    assert isinstance(sent.failed(error(Kind.INVALID), NODES, now=2.0), UnknownOutcome)


def test_every_attempt_ends_within_the_deduplication_window():
    sent = batch()
    assert sent.attempt_seconds(RETRY_SECONDS) + RETRY_SECONDS < 120
    assert sent.attempt_seconds(1.0) <= 15


def test_positions_are_those_of_the_runs():
    runs = [
        log_pb2.Run(first=log_pb2.Position(log_index=7, offset=3), records=2, arrival_millis=1),
        log_pb2.Run(first=log_pb2.Position(log_index=9), records=1, arrival_millis=2),
    ]
    stored = batch().stored(runs)
    assert [(place.log_index, place.offset) for place in stored] == [(7, 3), (7, 4), (9, 0)]
    assert stored[0].shard_id == "shardId-000000000000"
