"""Tests how scripts/guard.py compares and parses counts. Every run of `make guard` shows that counting itself works."""

import pytest

from guard import Counts, check_repeatable, compare, parse, table

RECORDED = {"a": Counts(1000, 10)}


def verdict(instructions_now, allocations_now=10, **options):
    [row] = compare(RECORDED, {"a": Counts(instructions_now, allocations_now)}, **options)
    return row.verdict


def test_six_percent_more_instructions_fail_and_four_pass():
    assert verdict(1060) == "FAIL: more instructions"
    assert verdict(1050) == ""
    assert verdict(1040) == ""


def test_one_allocation_more_fails():
    assert verdict(1000, 11) == "FAIL: more allocations"
    assert verdict(900, 11) == "FAIL: more allocations"
    assert verdict(1060, 11) == "FAIL: more instructions and allocations"


def test_a_cheaper_test_must_be_recorded():
    assert verdict(940) == "record it: cheaper"
    assert verdict(960) == ""
    assert verdict(1000, 9) == "record it: cheaper"


def test_in_another_environment_only_allocations_are_compared():
    assert verdict(2000, instructions=False) == ""
    assert verdict(500, instructions=False) == ""
    assert verdict(1000, 11, instructions=False) == "FAIL: more allocations"


def test_a_recorded_test_must_exist_and_a_test_must_be_recorded():
    [row] = compare(RECORDED, {})
    assert row.verdict == "FAIL: recorded, but there is no such test"
    assert compare(RECORDED, {}, whole=False) == []
    rows = compare(RECORDED, {"a": Counts(1000, 10), "b": Counts(1, 1)})
    assert [row.verdict for row in rows] == ["", "FAIL: not recorded"]


def test_the_table_shows_both_counts_and_the_change():
    rows = compare(RECORDED, {"a": Counts(1060, 12)})
    line = table(rows).splitlines()[1].split()
    assert line[:7] == ["a", "1,000", "1,060", "+6.0", "%", "10", "12"]


def test_counts_that_are_not_repeatable_are_not_recorded():
    check_repeatable({"a": Counts(10_000, 1)}, {"a": Counts(10_040, 1)})
    with pytest.raises(SystemExit, match="not repeatable"):
        check_repeatable({"a": Counts(10_000, 1)}, {"a": Counts(10_060, 1)})
    with pytest.raises(SystemExit, match="not repeatable"):
        check_repeatable({"a": Counts(10_000, 1)}, {"a": Counts(10_000, 2)})


def test_calls_of_the_allocator_are_summed_over_all_callers():
    dump = """\
fn=(1) work
0 90
cfn=(2) malloc
calls=7 33
0 700
cfn=(3) _int_malloc
calls=5 44
0 50
fn=(2)
0 600
fn=(4) grow
0 10
cfn=(2)
calls=2 33
0 200
cfn=(5) realloc
calls=1 55
0 30
totals: 1234
"""
    assert parse(dump) == Counts(1234, 10)
