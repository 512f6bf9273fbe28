"""Prints all records of a stream, and new ones as they come, until Ctrl-C.

python read.py 127.0.0.1:4568 orders
"""

import sys

from anabranch import Cluster, tail


def main(seeds, stream):
    with Cluster(seeds.split(",")) as cluster, tail(cluster, stream) as records:
        for record in records:
            print(record.arrival.isoformat(timespec="milliseconds"), record.shard_id, record.partition_key, record.data)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
