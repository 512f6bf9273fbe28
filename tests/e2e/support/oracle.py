"""What was acknowledged against what was read: the judge of the tests and of the demo.

A payload may be written more than once; what counts is that it is read once per acknowledgement, byte for byte, at the
place that the acknowledgement named, and that every shard's records come in the order of their sequence numbers.
A call that ended in an error leaves open whether its records were written: they may be there, but need not.
"""

import itertools
import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """A record as it was acknowledged or read."""

    shard: str
    sequence_number: int
    key: str
    data: bytes


@dataclass
class Verdict:
    """Everything wrong with what was read; a verdict without a problem is true."""

    lost: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)
    changed: list = field(default_factory=list)
    out_of_order: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)

    def __bool__(self):
        return not any(vars(self).values())

    def __str__(self):
        counts = ", ".join(f"{len(records)} {name.replace('_', ' ')}" for name, records in vars(self).items())
        examples = [f"{name}: {record}" for name, records in vars(self).items() for record in records[:3]]
        return "\n  ".join([counts, *(example[:300] for example in examples)])


class Oracle:
    """Remembers what was acknowledged. Any number of threads may tell it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._acknowledged = []
        self._unknown = Counter()

    def acknowledged(self, shard, sequence_number, key, data):
        """A put of this record was answered with this place."""
        with self._lock:
            self._acknowledged.append(Record(shard, int(sequence_number), key, bytes(data)))

    def unknown(self, key, data):
        """A put of this record got no answer, or an error that leaves it open."""
        with self._lock:
            self._unknown[key, bytes(data)] += 1

    @property
    def count(self):
        """How many acknowledgements there were."""
        with self._lock:
            return len(self._acknowledged)

    def places(self):
        """Where acknowledged records stand: pairs of shard and sequence number."""
        with self._lock:
            return {(record.shard, record.sequence_number) for record in self._acknowledged}

    def judge(self, read):
        """Compares with `read`: for each shard, its records in the order in which they were read."""
        with self._lock:
            acknowledged, unknown = list(self._acknowledged), Counter(self._unknown)
        verdict = Verdict()
        places = {(record.shard, record.sequence_number): record for record in acknowledged}
        seen = Counter()
        surplus = []
        for shard, records in read.items():
            verdict.out_of_order += out_of_order(records)
            for record in records:
                place = (shard, record.sequence_number)
                seen[place] += 1
                if place not in places:
                    surplus.append(record)
                elif (places[place].key, places[place].data) != (record.key, record.data):
                    verdict.changed.append(record)
        verdict.lost += [record for place, record in places.items() if not seen[place]]
        verdict.duplicated += [places[place] for place, times in seen.items() if times > 1 and place in places]
        # Two acknowledgements at one place: the server gave the place away twice.
        verdict.duplicated += [
            record for record in acknowledged if places[record.shard, record.sequence_number] is not record
        ]
        known = {(record.key, record.data) for record in acknowledged}
        for record in surplus:
            content = (record.key, record.data)
            if unknown[content] > 0:
                unknown[content] -= 1
            else:
                (verdict.duplicated if content in known else verdict.unexpected).append(record)
        return verdict


def out_of_order(records):
    """The records whose sequence number is not above that of the one before."""
    return [later for earlier, later in itertools.pairwise(records) if later.sequence_number <= earlier.sequence_number]


def read_shard(client, stream, shard, limit=10_000):
    """Reads an open shard from its oldest record to its end, in order."""
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator = iterator["ShardIterator"]
    records = []
    while iterator:
        page = client.get_records(ShardIterator=iterator, Limit=limit)
        records += [
            Record(shard, int(record["SequenceNumber"]), record["PartitionKey"], record["Data"])
            for record in page["Records"]
        ]
        if not page["Records"] and page["MillisBehindLatest"] == 0:
            break
        iterator = page.get("NextShardIterator")
    return records


def read_stream(client, stream):
    """Everything in a stream, by shard."""
    shards = client.get_paginator("list_shards").paginate(StreamName=stream).search("Shards[].ShardId")
    return {shard: read_shard(client, stream, shard) for shard in shards}


def read_by_lineage(client, stream):
    """Every record in the order in which a consumer gets it that drains parents before their children.

    Follows ChildShards from the shards without parents on, as the Kinesis Client Library does, and checks what such a
    consumer relies on: a shard ends if and only if it names its children, and only after its last record.
    """
    listed = client.get_paginator("list_shards").paginate(StreamName=stream).search("Shards[]")
    listed = {shard["ShardId"]: shard for shard in listed}
    waiting = [shard for shard, entry in listed.items() if "ParentShardId" not in entry]
    drained, records = set(), []
    while waiting:
        shard = waiting.pop(0)
        found, children = read_to_end(client, stream, shard)
        assert bool(children) == ("EndingSequenceNumber" in listed[shard]["SequenceNumberRange"]), shard
        drained.add(shard)
        records += found
        for child in children:
            if child["ShardId"] not in waiting and set(child["ParentShards"]) <= drained:
                waiting.append(child["ShardId"])
    assert drained == set(listed), f"never reached: {set(listed) - drained}"
    return records


def read_to_end(client, stream, shard, limit=10_000):
    """The records of a shard, and the children that its last page names if it is closed."""
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator, records = iterator["ShardIterator"], []
    while True:
        page = client.get_records(ShardIterator=iterator, Limit=limit)
        records += [
            Record(shard, int(record["SequenceNumber"]), record["PartitionKey"], record["Data"])
            for record in page["Records"]
        ]
        iterator, children = page.get("NextShardIterator"), page.get("ChildShards", [])
        assert bool(iterator) != bool(children), page
        if not iterator or (not page["Records"] and page["MillisBehindLatest"] == 0):
            return records, children


def put_records(client, oracle, stream, records):
    """PutRecords until every record is acknowledged; what was throttled or failed within a call is sent again.

    `records` are (key, data). Tells the oracle, and returns the number of calls.
    """
    pending, calls = list(records), 0
    while pending:
        entries = [{"PartitionKey": key, "Data": data} for key, data in pending]
        try:
            answer = client.put_records(StreamName=stream, Records=entries)
        except Exception:
            for key, data in pending:
                oracle.unknown(key, data)
            raise
        calls += 1
        again = []
        for (key, data), result in zip(pending, answer["Records"], strict=True):
            if "SequenceNumber" in result:
                oracle.acknowledged(result["ShardId"], result["SequenceNumber"], key, data)
            else:
                # An internal failure leaves open whether the record was written; a throttled one was not.
                if result["ErrorCode"] == "InternalFailure":
                    oracle.unknown(key, data)
                again.append((key, data))
        pending = again
    return calls
