"""Tests the oracle: it finds and names each kind of error."""

import pytest

from support.oracle import Oracle, Record

SHARD = "shardId-000000000000"


def record(number, data, key="k"):
    return Record(SHARD, number, key, data)


@pytest.fixture
def oracle():
    oracle = Oracle()
    for number, data in ((1, b"a"), (2, b"b"), (3, b"c")):
        oracle.acknowledged(SHARD, str(number), "k", data)
    return oracle


def problems(oracle, *records):
    verdict = oracle.judge({SHARD: list(records)})
    return {name: [found.data for found in records] for name, records in vars(verdict).items() if records}


def test_every_record_once_and_in_order_is_correct(oracle):
    assert problems(oracle, record(1, b"a"), record(2, b"b"), record(3, b"c")) == {}


def test_a_missing_record_is_lost(oracle):
    assert problems(oracle, record(1, b"a"), record(3, b"c")) == {"lost": [b"b"]}


def test_a_record_written_again_is_duplicated(oracle):
    again = [record(1, b"a"), record(2, b"b"), record(3, b"c"), record(4, b"b")]
    assert problems(oracle, *again) == {"duplicated": [b"b"]}


def test_a_record_read_twice_is_duplicated_and_out_of_order(oracle):
    twice = [record(1, b"a"), record(2, b"b"), record(2, b"b"), record(3, b"c")]
    assert problems(oracle, *twice) == {"duplicated": [b"b"], "out_of_order": [b"b"]}


def test_one_position_for_two_records_is_a_duplicate(oracle):
    oracle.acknowledged(SHARD, "3", "k", b"d")
    found = problems(oracle, record(1, b"a"), record(2, b"b"), record(3, b"d"))
    assert found == {"duplicated": [b"c"]}


def test_different_data_or_a_different_key_is_a_change(oracle):
    assert problems(oracle, record(1, b"a"), record(2, b"B"), record(3, b"c")) == {"changed": [b"B"]}
    assert problems(oracle, record(1, b"a"), record(2, b"b", "other"), record(3, b"c")) == {"changed": [b"b"]}


def test_order_means_the_order_of_the_sequence_numbers(oracle):
    assert problems(oracle, record(1, b"a"), record(3, b"c"), record(2, b"b")) == {"out_of_order": [b"b"]}


def test_a_record_with_an_unknown_outcome_may_exist_or_not(oracle):
    oracle.unknown("k", b"d")
    acknowledged = [record(1, b"a"), record(2, b"b"), record(3, b"c")]
    assert problems(oracle, *acknowledged) == {}
    assert problems(oracle, *acknowledged, record(4, b"d")) == {}
    assert problems(oracle, *acknowledged, record(4, b"d"), record(5, b"d")) == {"unexpected": [b"d"]}


def test_a_record_that_nobody_wrote_is_unexpected(oracle):
    stranger = [record(1, b"a"), record(2, b"b"), record(3, b"c"), record(4, b"x")]
    assert problems(oracle, *stranger) == {"unexpected": [b"x"]}
