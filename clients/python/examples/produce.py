"""Puts each line of the standard input as a record. The text before the first tab is the partition key.

printf 'alice\tone coffee\n' | python produce.py 127.0.0.1:4568 orders
"""

import sys

from anabranch import AnabranchError, Cluster, Producer, UnknownOutcome


def report(line, future):
    """Says what became of a line, once it is decided."""
    try:
        stored = future.result()
        print(f"{line!r} is in {stored.shard_id} at {stored.log_index}.{stored.offset}")
    except UnknownOutcome as error:
        print(f"{line!r} may have been written: {error}", file=sys.stderr)
    except AnabranchError as error:
        print(f"{line!r} was not written: {error}", file=sys.stderr)


def main(seeds, stream):
    with Cluster(seeds.split(",")) as cluster, Producer(cluster, stream) as producer:
        for line in map(str.strip, sys.stdin):
            key, _, data = line.partition("\t")
            future = producer.put(key, data.encode())
            future.add_done_callback(lambda future, line=line: report(line, future))


if __name__ == "__main__":
    main(*sys.argv[1:])
