"""A cluster in this process: gRPC servers that answer as nodes do, with faults that a test orders.

Each shard is a list of entries. The node that a shard names as its leader takes appends; every node serves reads. The
coordinator of consumer groups has no rules of its own: a test gives and takes shards.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from anabranch._proto import catalog_pb2, consumer_pb2, consumer_pb2_grpc, log_pb2, log_pb2_grpc

STREAM = "orders"
HASH_KEYS = 1 << 128
_ARRIVAL_MILLIS = 1_700_000_000_000
_CODES = {
    log_pb2.ERROR_KIND_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    log_pb2.ERROR_KIND_THROTTLED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    log_pb2.ERROR_KIND_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    log_pb2.ERROR_KIND_UNKNOWN_OUTCOME: grpc.StatusCode.UNKNOWN,
}


class Refusal(Exception):
    """The answer of a node in the place of a response."""

    def __init__(self, kind: int, leader: int = 0):
        super().__init__(log_pb2.ErrorKind.Name(kind))
        self.kind = kind
        self.leader = leader

    def abort(self, context: grpc.ServicerContext) -> None:
        """Ends the call with this refusal."""
        detail = log_pb2.ErrorDetail(kind=self.kind, leader_node=self.leader)
        context.set_trailing_metadata((("grpc-status-details-bin", detail.SerializeToString()),))
        context.abort(_CODES.get(self.kind, grpc.StatusCode.FAILED_PRECONDITION), str(self))


class LostResponse(Refusal):
    """The call is done, and its response is lost."""

    def __init__(self) -> None:
        super().__init__(log_pb2.ERROR_KIND_UNKNOWN_OUTCOME)


class FakeShard:
    """The log of a shard. Log indexes begin with 1. An entry is the encoded batch."""

    def __init__(self, number: int, start: int, end: int, parents: tuple[int, ...], leader: int):
        self.number = number
        self.group = number + 100
        self.range = (start, end)
        self.parents = parents
        self.leader = leader
        self.is_closed = False
        self.entries: list[bytes] = []

    @property
    def data(self) -> list[bytes]:
        """The data of all records, in order."""
        batches = (log_pb2.RecordBatch.FromString(entry) for entry in self.entries)
        return [record.data for batch in batches for record in batch.records]

    def covers(self, hash_key: int) -> bool:
        """Whether the hash key is in the range of the shard."""
        return self.range[0] <= hash_key <= self.range[1]

    def find(self, batch: log_pb2.RecordBatch) -> int | None:
        """Log index of an earlier attempt of the batch."""
        for place, entry in enumerate(self.entries):
            if log_pb2.RecordBatch.FromString(entry).producer == batch.producer:
                return place + 1
        return None

    def message(self) -> catalog_pb2.Shard:
        """The shard in the catalog."""
        start, end = self.range
        last = len(self.entries), 0xFFFF  # behind every record of the last entry
        ending = str(2 << 184 | (last[0] << 16 | last[1]) << 80 | 2) if self.is_closed else ""
        return catalog_pb2.Shard(
            id=self.number,
            group=self.group,
            hash_key_start=start.to_bytes(16, "big"),
            hash_key_end=end.to_bytes(16, "big"),
            ending_sequence_number=ending,
            replicas=[catalog_pb2.Replica(id=node, node=node) for node in (1, 2, 3)],
            parents=self.parents,
        )


class FakeCluster:
    """Three nodes. A context manager."""

    def __init__(self, shards: int = 1):
        self.changed = threading.Condition()
        self.version = 1
        self.is_stopped = False
        self.has_stream = True
        width = HASH_KEYS // shards
        self.shards = {
            number: FakeShard(number, number * width, (number + 1) * width - 1, (), leader=1 + number % 3)
            for number in range(shards)
        }
        self.calls: list[tuple[str, int]] = []  # name and node of each call, in order
        self.faults: dict[str, deque[Refusal]] = {}  # by the name of the call: what the next ones answer
        self.holds: dict[str, threading.Event] = {}  # by the name of the call: calls wait for the event
        self.held: dict[str, int] = {}  # by the name of the call: how many wait
        self.behind: set[int] = set()  # nodes that get no new version of the catalog
        self.coordinator = Coordinator(self)
        self._servers: dict[int, grpc.Server] = {}
        self.addresses: dict[int, str] = {}

    def __enter__(self) -> FakeCluster:
        for node in (1, 2, 3):
            # Anabranch's nodes have no limit on keep-alive pings.
            options = [("grpc.http2.min_recv_ping_interval_without_data_ms", 100)]
            server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
            log_pb2_grpc.add_LogServiceServicer_to_server(_Log(self, node), server)
            log_pb2_grpc.add_CatalogServiceServicer_to_server(_Catalog(self, node), server)
            consumer_pb2_grpc.add_ConsumerGroupServiceServicer_to_server(_Groups(self, node), server)
            self.addresses[node] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            self._servers[node] = server
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.is_stopped = True
            self.changed.notify_all()
        for hold in self.holds.values():
            hold.set()
        for stopped in [server.stop(0) for server in self._servers.values()]:
            stopped.wait()

    @property
    def seeds(self) -> list[str]:
        """The addresses of the nodes."""
        return list(self.addresses.values())

    def stop_node(self, node: int) -> None:
        """Stops a node for good."""
        self._servers[node].stop(0).wait()

    def fail(self, call: str, *refusals: Refusal) -> None:
        """Orders what the next calls of this name are answered with."""
        self.faults.setdefault(call, deque()).extend(refusals)

    def called(self, call: str) -> int:
        """How often a call of this name has come."""
        return sum(name == call for name, _ in self.calls)

    def publish(self) -> None:
        """Makes a new version of the catalog."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def split(self, number: int, publish: bool = True) -> None:
        """Closes a shard and opens two children. Clients do not see it before `publish`."""
        with self.changed:
            parent = self.shards[number]
            parent.is_closed = True
            start, end = parent.range
            middle = (start + end) // 2
            for lower, upper in ((start, middle), (middle + 1, end)):
                child = max(self.shards) + 1
                self.shards[child] = FakeShard(child, lower, upper, (number,), parent.leader)
        if publish:
            self.publish()

    def catalog(self) -> catalog_pb2.Catalog:
        """The catalog as it is now."""
        nodes = [catalog_pb2.Node(id=node, grpc_address=address) for node, address in self.addresses.items()]
        stream = catalog_pb2.Stream(
            name=STREAM,
            id=1,
            status=catalog_pb2.STREAM_STATUS_ACTIVE,
            max_record_size_kib=1,
            shards=[shard.message() for shard in self.shards.values()],
        )
        return catalog_pb2.Catalog(version=self.version, nodes=nodes, streams=[stream] if self.has_stream else [])

    def shard_of(self, group: int) -> FakeShard:
        """The shard of a group."""
        return self.shards[group - 100]

    def answer(self, call: str, node: int, context: grpc.ServicerContext, respond: Callable[[], Any]) -> Any:
        """Answers a call, unless a fault was ordered."""
        if call in self.holds:
            self.held[call] = self.held.get(call, 0) + 1
            self.holds[call].wait(30)
        with self.changed:
            self.calls.append((call, node))
            fault = self.faults[call].popleft() if self.faults.get(call) else None
            try:
                if fault is not None and not isinstance(fault, LostResponse):
                    raise fault
                response = respond()
                self.changed.notify_all()
                if fault is None:
                    return response
                raise fault
            except Refusal as refusal:
                refused = refusal
        return refused.abort(context)


class _Log(log_pb2_grpc.LogServiceServicer):
    def __init__(self, cluster: FakeCluster, node: int):
        self.cluster = cluster
        self.node = node

    def Append(self, request, context):
        def respond() -> log_pb2.AppendResponse:
            shard = self.cluster.shard_of(request.group)
            if shard.leader != self.node:
                raise Refusal(log_pb2.ERROR_KIND_NOT_LEADER, shard.leader)
            batch = log_pb2.RecordBatch.FromString(request.batch)
            index = shard.find(batch)
            if index is None and shard.is_closed:
                raise Refusal(log_pb2.ERROR_KIND_CLOSED)
            if index is None:
                shard.entries.append(request.batch)
                index = len(shard.entries)
            return log_pb2.AppendResponse(runs=[_run(index, 0, len(batch.records))])

        return self.cluster.answer("Append", self.node, context, respond)

    def Recall(self, request, context):
        def respond() -> log_pb2.RecallResponse:
            shard = self.cluster.shard_of(request.group)
            if not shard.is_closed:
                raise Refusal(log_pb2.ERROR_KIND_FROZEN)
            batch = log_pb2.RecordBatch.FromString(request.batch)
            index = shard.find(batch)
            places = range(len(batch.records)) if index is not None else ()
            records = [log_pb2.RecalledRecord(place=place, run=_run(index, place, 1)) for place in places]
            return log_pb2.RecallResponse(records=records)

        return self.cluster.answer("Recall", self.node, context, respond)

    def Seek(self, request, context):
        def respond() -> log_pb2.SeekResponse:
            shard = self.cluster.shard_of(request.group)
            index = len(shard.entries) + 1 if request.WhichOneof("start") == "latest" else 1
            return log_pb2.SeekResponse(position=log_pb2.Position(log_index=index))

        return self.cluster.answer("Seek", self.node, context, respond)

    def Read(self, request, context):
        return self.cluster.answer(
            "Read", self.node, context, lambda: self._page(request.group, getattr(request, "from"))
        )

    def Tail(self, request, context) -> Iterator[log_pb2.ReadResponse]:
        position = getattr(request, "from")
        self.cluster.answer("Tail", self.node, context, lambda: None)
        context.add_callback(self._wake)
        while context.is_active() and not self.cluster.is_stopped:
            with self.cluster.changed:
                page = self._page(request.group, position)
                if not page.batches:
                    self.cluster.changed.wait(5)
                    continue
            if self.cluster.faults.get("Page"):
                self.cluster.answer("Page", self.node, context, lambda: None)
            yield page
            position = page.next

    def _wake(self) -> None:
        with self.cluster.changed:
            self.cluster.changed.notify_all()

    def _page(self, group: int, position: log_pb2.Position) -> log_pb2.ReadResponse:
        shard = self.cluster.shard_of(group)
        first = max(position.log_index, 1)
        batches = [
            log_pb2.PageBatch(
                log_index=first + place,
                arrival_millis=_ARRIVAL_MILLIS,
                records=len(log_pb2.RecordBatch.FromString(entry).records),
                batch=entry,
            )
            for place, entry in enumerate(shard.entries[first - 1 :])
        ]
        following = log_pb2.Position(log_index=max(len(shard.entries) + 1, first))
        return log_pb2.ReadResponse(batches=batches, next=following)


class _Catalog(log_pb2_grpc.CatalogServiceServicer):
    def __init__(self, cluster: FakeCluster, node: int):
        self.cluster = cluster
        self.node = node

    def Newest(self, request, context):
        def respond() -> log_pb2.NewestResponse:
            return log_pb2.NewestResponse(version=self.cluster.version)

        return self.cluster.answer("Newest", self.node, context, respond)

    def Watch(self, request, context) -> Iterator[log_pb2.WatchResponse]:
        known = request.known_version
        self.cluster.answer("WatchCatalog", self.node, context, lambda: None)
        context.add_callback(self._wake)
        while context.is_active() and not self.cluster.is_stopped:
            with self.cluster.changed:
                if self.cluster.version <= known or self.node in self.cluster.behind:
                    self.cluster.changed.wait(5)
                    continue
                known = self.cluster.version
                catalog = self.cluster.catalog().SerializeToString()
            yield log_pb2.WatchResponse(catalog=catalog)

    def _wake(self) -> None:
        with self.cluster.changed:
            self.cluster.changed.notify_all()


class Coordinator:
    """The coordinator of a group. A test gives and takes shards; the coordinator notes what the members do."""

    def __init__(self, cluster: FakeCluster):
        self._cluster = cluster
        self.node = 1
        self.version = 0
        self.owned: dict[str, dict[int, consumer_pb2.OwnedShard]] = {}  # by member and shard
        self.stored: dict[int, log_pb2.Position] = {}
        self.released: list[int] = []
        self.joins = 0
        self.left: list[str] = []

    def give(self, member: str, number: int, epoch: int, **fields: Any) -> None:
        """Gives a shard to a member, or changes what the member is told of it."""
        with self._cluster.changed:
            shard = self._cluster.shards[number]
            stored = self.stored.get(number)
            self.owned[member][number] = consumer_pb2.OwnedShard(
                shard=number,
                shard_id=f"shardId-{number:012}",
                group=shard.group,
                nodes=[consumer_pb2.Node(id=node) for node in self._cluster.addresses],
                epoch=epoch,
                next=stored,
                trim_horizon=log_pb2.Empty(),
                **fields,
            )
            self._change()

    def take(self, member: str, number: int) -> None:
        """Takes a shard from a member."""
        with self._cluster.changed:
            del self.owned[member][number]
            self._change()

    def remove(self, member: str) -> None:
        """Removes a member."""
        with self._cluster.changed:
            del self.owned[member]
            self._change()

    def move(self, node: int) -> None:
        """Moves the coordinator to another node."""
        with self._cluster.changed:
            self.node = node
            self._change()

    def _change(self) -> None:
        self.version += 1
        self._cluster.changed.notify_all()

    def check(self, node: int, member: str | None = None) -> None:
        """Raises the refusal of a call at the wrong node, or of an unknown member."""
        if node != self.node:
            raise Refusal(log_pb2.ERROR_KIND_NOT_LEADER, self.node)
        if member is not None and member not in self.owned:
            raise Refusal(log_pb2.ERROR_KIND_NOT_FOUND)

    def store(self, member: str, changes: list[consumer_pb2.ShardCheckpoint]) -> list[int]:
        """Stores checkpoints. Returns the refused shards."""
        refused = []
        for change in changes:
            owned = self.owned[member].get(change.shard)
            if owned is None or owned.epoch != change.epoch:
                refused.append(change.shard)
                continue
            if change.HasField("next"):
                self.stored[change.shard] = change.next
            if change.release:
                self.released.append(change.shard)
                del self.owned[member][change.shard]
                self._change()
        return refused


class _Groups(consumer_pb2_grpc.ConsumerGroupServiceServicer):
    def __init__(self, cluster: FakeCluster, node: int):
        self.cluster = cluster
        self.node = node

    def Join(self, request, context):
        def respond() -> consumer_pb2.JoinResponse:
            coordinator = self.cluster.coordinator
            coordinator.check(self.node)
            coordinator.joins += 1
            coordinator.owned.setdefault(request.member, {})
            return consumer_pb2.JoinResponse(session_millis=request.session_millis)

        return self.cluster.answer("Join", self.node, context, respond)

    def Heartbeat(self, request, context):
        def respond() -> consumer_pb2.HeartbeatResponse:
            self.cluster.coordinator.check(self.node, request.member)
            return consumer_pb2.HeartbeatResponse(version=self.cluster.coordinator.version)

        return self.cluster.answer("Heartbeat", self.node, context, respond)

    def Checkpoint(self, request, context):
        def respond() -> consumer_pb2.CheckpointResponse:
            self.cluster.coordinator.check(self.node, request.member)
            refused = self.cluster.coordinator.store(request.member, list(request.shards))
            return consumer_pb2.CheckpointResponse(refused=refused)

        return self.cluster.answer("Checkpoint", self.node, context, respond)

    def Leave(self, request, context):
        def respond() -> consumer_pb2.LeaveResponse:
            coordinator = self.cluster.coordinator
            coordinator.check(self.node)
            coordinator.store(request.member, list(request.shards))
            coordinator.owned.pop(request.member, None)
            coordinator.left.append(request.member)
            return consumer_pb2.LeaveResponse()

        return self.cluster.answer("Leave", self.node, context, respond)

    def Watch(self, request, context) -> Iterator[consumer_pb2.WatchResponse]:
        coordinator = self.cluster.coordinator
        known = -1
        context.add_callback(self._wake)
        while context.is_active() and not self.cluster.is_stopped:
            with self.cluster.changed:
                try:
                    coordinator.check(self.node, request.member)
                except Refusal as refusal:
                    refused: Refusal | None = refusal
                else:
                    refused = None
                    if coordinator.version == known:
                        self.cluster.changed.wait(1)
                        continue
                    known = coordinator.version
                    shards = [owned for _, owned in sorted(coordinator.owned[request.member].items())]
            if refused is not None:
                refused.abort(context)
            yield consumer_pb2.WatchResponse(version=known, shards=shards)

    def _wake(self) -> None:
        with self.cluster.changed:
            self.cluster.changed.notify_all()


def _run(index: int, offset: int, records: int) -> log_pb2.Run:
    first = log_pb2.Position(log_index=index, offset=offset)
    return log_pb2.Run(first=first, records=records, arrival_millis=_ARRIVAL_MILLIS + index)
