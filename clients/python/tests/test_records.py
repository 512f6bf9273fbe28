"""Hash keys, positions, and the times of starts."""

from datetime import datetime, timezone

import pytest
from anabranch import LATEST, Position, hash_key
from anabranch._proto import log_pb2
from anabranch.catalog import _position
from anabranch.records import millis_of, records_of, start_fields, time_of


def test_a_hash_key_is_the_md5_of_the_partition_key():
    assert hash_key("a") == 0x0CC175B9C0F1B6A831C399E269772661


def test_positions_follow_each_other():
    assert Position(7, 0).next() == Position(7, 1)
    assert Position(7, 65_535).next() == Position(8, 0)
    assert Position(7, 2) < Position(8, 0)


def test_a_position_is_read_from_a_sequence_number():
    # A number of the service: see the layout in crates/types/src/sequence_number.rs.
    number = 2 << 184 | 0x123 << 148 | (41 << 16 | 7) << 80 | 0x456 << 36 | 2
    assert _position(number) == Position(41, 7)


def test_times_are_milliseconds_in_utc():
    time = datetime(2024, 5, 1, 12, 0, 0, 123_000, tzinfo=timezone.utc)
    assert time_of(millis_of(time)) == time
    assert start_fields(time) == {"at_millis": millis_of(time)}
    assert start_fields(LATEST) == {"latest": log_pb2.Empty()}


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (datetime(2024, 5, 1), "must have a time zone"),
        (datetime(1969, 5, 1, tzinfo=timezone.utc), "must not be before 1970"),
    ],
)
def test_a_time_without_a_zone_or_before_1970_is_no_start(start, error):
    with pytest.raises(ValueError, match=error):
        start_fields(start)


def test_a_page_may_show_a_part_of_a_batch():
    batch = log_pb2.RecordBatch()
    for number in range(5):
        batch.records.add(data=b"%d" % number, partition_key=b"k")
    part = log_pb2.PageBatch(log_index=9, arrival_millis=1000, first=2, records=2, batch=batch.SerializeToString())
    records = records_of(log_pb2.ReadResponse(batches=[part]), "shardId-000000000000")
    assert [(record.data, record.log_index, record.offset) for record in records] == [(b"2", 9, 2), (b"3", 9, 3)]
    assert records[0].arrival == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
