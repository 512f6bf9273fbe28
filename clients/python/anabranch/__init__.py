"""Client of Anabranch: producers, readers and consumer groups over its native gRPC API.

```python
from anabranch import Cluster, ConsumerGroup, Producer, tail

with Cluster(["127.0.0.1:4568"]) as cluster:
    with Producer(cluster, "orders") as producer:
        stored = producer.put("alice", b"one coffee").result()
```
"""

from .catalog import Node, Shard, Stream, View
from .cluster import Cluster, Tls
from .errors import (
    AccessDenied,
    AnabranchError,
    BufferFull,
    Closed,
    InvalidRequest,
    KeyUnavailable,
    OwnershipLost,
    ShardNotFound,
    StreamNotFound,
    Throttled,
    Unavailable,
    UnknownOutcome,
)
from .group import Batch, ConsumerGroup
from .producer import Producer
from .reader import Tail, tail
from .records import LATEST, TRIM_HORIZON, Position, Record, Start, Stored, hash_key

__all__ = [
    "LATEST",
    "TRIM_HORIZON",
    "AccessDenied",
    "AnabranchError",
    "Batch",
    "BufferFull",
    "Closed",
    "Cluster",
    "ConsumerGroup",
    "InvalidRequest",
    "KeyUnavailable",
    "Node",
    "OwnershipLost",
    "Position",
    "Producer",
    "Record",
    "Shard",
    "ShardNotFound",
    "Start",
    "Stored",
    "Stream",
    "StreamNotFound",
    "Tail",
    "Throttled",
    "Tls",
    "Unavailable",
    "UnknownOutcome",
    "View",
    "hash_key",
    "tail",
]
