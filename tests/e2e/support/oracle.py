"""The oracle of the tests and of the demo: it compares the records that were read with the acknowledgements.

A test may write a payload more than once. The rules are:
- Each record is read once per acknowledgement, byte for byte, at the position that the acknowledgement named.
- The records of each shard are in the order of their sequence numbers.
- A call that ended in an error has an unknown outcome: its records may exist, but need not.
"""

import itertools
import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """A record that was acknowledged or read."""

    shard: str
    sequence_number: int
    key: str
    data: bytes


@dataclass
class Verdict:
    """All problems with the records that were read. A verdict without a problem is true."""

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
    """Remembers the acknowledgements. Safe for any number of threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._acknowledged = []
        self._unknown = Counter()

    def acknowledged(self, shard, sequence_number, key, data):
        """A put of this record was acknowledged with this position."""
        with self._lock:
            self._acknowledged.append(Record(shard, int(sequence_number), key, bytes(data)))

    def unknown(self, key, data):
        """A put of this record got no response, or an error with an unknown outcome."""
        with self._lock:
            self._unknown[key, bytes(data)] += 1

    @property
    def count(self):
        """The number of acknowledgements."""
        with self._lock:
            return len(self._acknowledged)

    def places(self):
        """The positions of the acknowledged records: pairs of shard and sequence number."""
        with self._lock:
            return {(record.shard, record.sequence_number) for record in self._acknowledged}

    def judge(self, read):
        """Compares with `read`: the records of each shard in the order in which they were read."""
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
        # Two acknowledgements with one position: the server assigned the position twice.
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
    """The records whose sequence number is not above that of the previous record."""
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
    """All records of a stream, by shard."""
    shards = client.get_paginator("list_shards").paginate(StreamName=stream).search("Shards[].ShardId")
    return {shard: read_shard(client, stream, shard) for shard in shards}


def read_by_lineage(client, stream):
    """All records in the order in which a consumer gets them if it reads parents to their end before their children.

    Begins with the shards without parents and follows ChildShards, as the Kinesis Client Library does. Checks two
    rules on which such a consumer relies: a shard ends if and only if it names its children, and only after its last
    record.
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
    """The records of a shard and, if it is closed, the children that its last page names."""
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
    """Calls PutRecords until every record is acknowledged. Sends throttled and failed records of a call again.

    `records` are (key, data). Reports the results to the oracle. Returns the number of calls.
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
                # After an internal failure it is unknown whether the record was written. A throttled record was not
                # written.
                if result["ErrorCode"] == "InternalFailure":
                    oracle.unknown(key, data)
                again.append((key, data))
        pending = again
    return calls
