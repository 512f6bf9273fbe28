"""Processes a stream together with other programs that run this with the same group name, until Ctrl-C.

python consume.py 127.0.0.1:4568 orders billing
"""

import sys

from anabranch import Cluster, ConsumerGroup, OwnershipLost, Unavailable


def process(record):
    """Must do no harm when it is called again with the same record: after a crash, a record comes again."""
    print(record.shard_id, record.partition_key, record.data)


def main(seeds, stream, name):
    with Cluster(seeds.split(",")) as cluster, ConsumerGroup(cluster, stream, name) as group:
        for batch in group:
            for record in batch.records:
                process(record)
            try:
                batch.checkpoint()
            except OwnershipLost as error:
                print(f"another member goes on from the last checkpoint: {error}", file=sys.stderr)
            except Unavailable as error:
                print(f"the next checkpoint will cover this batch too: {error}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        print("left the group", file=sys.stderr)
