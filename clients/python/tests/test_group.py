"""A member of a consumer group, against a coordinator in this process of which the test decides everything."""

import threading
import time

import pytest
from anabranch import Closed, ConsumerGroup, OwnershipLost, Position, Producer, StreamNotFound
from anabranch._proto import log_pb2
from fake import STREAM, LostResponse, Refusal
from waiting import wait_until

SHARD = "shardId-000000000000"


@pytest.fixture
def coordinator(fake):
    return fake.coordinator


@pytest.fixture
def group(cluster):
    with ConsumerGroup(cluster, STREAM, "readers", member="me", session=3) as group:
        yield group


@pytest.fixture
def put(cluster):
    """Puts numbers as records, each in an entry of its own."""
    with Producer(cluster, STREAM, linger=0) as producer:

        def put_all(numbers):
            for number in numbers:
                producer.put("key", b"%d" % number).result(10)

        yield put_all


def take(group, count):
    """The next batches that together have `count` records, and the numbers in these records."""
    batches, numbers = [], []
    while len(numbers) < count:
        batches.append(next(group))
        numbers += [int(record.data) for record in batches[-1].records]
    return batches, numbers


def stored(coordinator, number=0):
    position = coordinator.stored.get(number)
    return Position.of(position) if position is not None else None


def test_a_member_reads_its_shards_and_stores_checkpoints(coordinator, group, put):
    put(range(5))
    coordinator.give("me", 0, epoch=1)
    batches, numbers = take(group, 5)
    assert numbers == list(range(5))
    assert batches[0].shard_id == SHARD
    assert stored(coordinator) is None, "nothing is stored unless the application says so"
    batches[-1].checkpoint()
    assert stored(coordinator) == Position(6, 0)
    assert group.shards == [SHARD]


def test_a_member_begins_at_the_checkpoint(coordinator, group, put):
    put(range(5))
    coordinator.stored[0] = log_pb2.Position(log_index=4)
    coordinator.give("me", 0, epoch=1)
    assert take(group, 2)[1] == [3, 4]


def test_an_earlier_checkpoint_changes_nothing(coordinator, group, put):
    coordinator.give("me", 0, epoch=1)
    put([1])
    first = next(group)
    put([2])
    second = next(group)
    second.checkpoint()
    first.checkpoint()
    assert stored(coordinator) == Position(3, 0)


def test_a_former_owner_stores_nothing(coordinator, group, put):
    put([1])
    coordinator.give("me", 0, epoch=1)
    batch = next(group)
    coordinator.give("me", 0, epoch=2)
    with pytest.raises(OwnershipLost, match=SHARD):
        batch.checkpoint()
    again = next(group)
    assert again.records == batch.records
    again.checkpoint()
    with pytest.raises(OwnershipLost):
        batch.checkpoint()


def test_a_shard_that_is_taken_is_read_no_more(coordinator, group, put):
    coordinator.give("me", 0, epoch=1)
    put([1])
    batch = next(group)
    put([2, 3])
    wait_until("pages wait", lambda: group._queue)
    coordinator.take("me", 0)
    wait_until("the shard is gone", lambda: not group.shards)
    assert not group._queue
    with pytest.raises(OwnershipLost):
        batch.checkpoint()


def test_a_leaving_shard_is_given_back_once_the_application_is_finished_with_it(coordinator, group, put):
    put([1])
    coordinator.give("me", 0, epoch=1)
    batch = next(group)
    put([2])
    wait_until("a page waits", lambda: group._queue)
    coordinator.give("me", 0, epoch=1, leaving=True)
    wait_until("the page is dropped", lambda: not group._queue)
    time.sleep(0.2)
    assert not coordinator.released
    batch.checkpoint()
    assert stored(coordinator) == Position(2, 0)
    threading.Thread(target=next, args=(group, None), daemon=True).start()
    wait_until("the shard is given back", lambda: coordinator.released == [0])
    assert stored(coordinator) == Position(2, 0)
    coordinator.give("me", 0, epoch=2)
    wait_until("the next ownership is read", lambda: group._current is not None)


def test_a_leaving_shard_without_a_batch_is_given_back_at_once(coordinator, group):
    coordinator.give("me", 0, epoch=1)
    wait_until("the member owns the shard", lambda: group.shards)
    coordinator.give("me", 0, epoch=1, leaving=True)
    wait_until("the shard is given back", lambda: coordinator.released == [0])


def test_the_end_is_stored_when_all_records_are_behind_a_checkpoint(fake, coordinator, group, put):
    coordinator.give("me", 0, epoch=1)
    put([1, 2])
    batches, _ = take(group, 2)
    fake.split(0)
    end = log_pb2.Position(log_index=3)
    coordinator.give("me", 0, epoch=1, end=end)
    wait_until("the shard is read", lambda: group._owned[0].is_read)
    time.sleep(0.2)
    assert stored(coordinator) is None
    batches[-1].checkpoint()
    wait_until("the end is stored", lambda: stored(coordinator) == Position(3, 0))
    batches[-1].checkpoint()


def test_the_end_of_a_shard_without_records_is_stored_at_once(fake, coordinator, group):
    fake.split(0)
    coordinator.give("me", 0, epoch=1, end=log_pb2.Position(log_index=0, offset=1))
    wait_until("the end is stored", lambda: stored(coordinator) is not None)


def test_the_end_of_a_shard_that_was_processed_before_is_stored(fake, coordinator, group, put):
    coordinator.give("me", 0, epoch=1)
    put([1, 2])
    take(group, 2)[0][-1].checkpoint()
    fake.split(0)
    coordinator.give("me", 0, epoch=1, end=log_pb2.Position(log_index=3, offset=0))
    wait_until("the end is stored", lambda: stored(coordinator) == Position(3, 0))


def test_a_removed_member_joins_again(coordinator, group, put):
    put([1])
    coordinator.give("me", 0, epoch=1)
    batch = next(group)
    coordinator.remove("me")
    wait_until("the member has joined again", lambda: coordinator.joins == 2)
    wait_until("the shards are forgotten", lambda: not group.shards)
    with pytest.raises(OwnershipLost):
        batch.checkpoint()
    coordinator.give("me", 0, epoch=2)
    assert next(group).records == batch.records


def test_a_checkpoint_of_a_removed_member_is_refused(coordinator, group, put):
    put([1])
    coordinator.give("me", 0, epoch=1)
    batch = next(group)
    coordinator.owned.pop("me")  # nobody is told
    with pytest.raises(OwnershipLost):
        batch.checkpoint()
    wait_until("the member has joined again", lambda: coordinator.joins == 2)


def test_a_coordinator_that_moves_is_followed(fake, coordinator, group, put):
    coordinator.give("me", 0, epoch=1)
    put([1])
    coordinator.move(2)
    batch = next(group)
    batch.checkpoint()
    assert stored(coordinator) == Position(2, 0)
    coordinator.move(0)  # the group is about to get one
    threading.Timer(0.3, coordinator.move, [3]).start()
    put([2])
    batch = next(group)
    batch.checkpoint()
    assert stored(coordinator) == Position(3, 0)
    assert coordinator.joins == 1


def test_a_lost_coordinator_is_looked_for_at_other_nodes(fake, coordinator, group, put):
    fake.shards[0].leader = 2
    fake.stop_node(1)
    coordinator.move(3)
    coordinator.give("me", 0, epoch=1)
    put([1])
    next(group).checkpoint()
    assert stored(coordinator) == Position(2, 0)


def test_calls_are_sent_again_after_lost_responses(fake, coordinator, group, put):
    fake.fail("Checkpoint", LostResponse(), Refusal(log_pb2.ERROR_KIND_UNKNOWN_OUTCOME))
    put([1])
    coordinator.give("me", 0, epoch=1)
    next(group).checkpoint()
    assert stored(coordinator) == Position(2, 0)
    assert fake.called("Checkpoint") >= 3


def test_heartbeats_are_sent_while_the_application_works(fake, group):
    wait_until("there were heartbeats", lambda: fake.called("Heartbeat") >= 3)


def test_close_leaves_the_group(coordinator, cluster, put):
    group = ConsumerGroup(cluster, STREAM, "readers", member="other")
    put([1])
    coordinator.give("other", 0, epoch=1)
    batch = next(group)
    batch.checkpoint()
    threading.Timer(0.2, group.close).start()
    assert list(group) == []
    wait_until("the member has left", lambda: coordinator.left == ["other"])
    with pytest.raises(Closed):
        batch.checkpoint()


def test_a_group_of_a_stream_that_does_not_exist_is_refused(fake, cluster):
    fake.fail("Join", *[Refusal(log_pb2.ERROR_KIND_NOT_FOUND)] * 3)
    with pytest.raises(StreamNotFound):
        ConsumerGroup(cluster, "other", "readers")
    with pytest.raises(TypeError, match="start"):
        ConsumerGroup(cluster, STREAM, "readers", start="LATEST")


def test_a_node_that_is_behind_is_not_believed(fake, cluster):
    fake.fail("Join", Refusal(log_pb2.ERROR_KIND_NOT_FOUND))
    with ConsumerGroup(cluster, STREAM, "readers", member="other"):
        assert "other" in fake.coordinator.owned
