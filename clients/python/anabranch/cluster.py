"""The connection to a cluster: its catalog, and gRPC connections to its nodes.

Order of events: a thread watches the catalog at one node, and goes on at another node when the connection breaks.
Each version becomes a `View`, and then waiting callers and listeners are told. A version that is older than the
newest one is ignored, so a client that changes from one node to another never goes back.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc

from ._proto import catalog_pb2, consumer_pb2_grpc, log_pb2, log_pb2_grpc
from .catalog import Node, Stream, View
from .errors import CallError, Closed, Kind, StreamNotFound, Unavailable, call_error

logger = logging.getLogger("anabranch")

# How long the thread waits before it asks the nodes again, once none of them sent the catalog.
_FOLLOW_AGAIN = 0.1
# How long the watched node may take to show a version that another node knows, before the thread asks another node.
_CATALOG_PATIENCE = 2.0
_NEWEST_TIMEOUT = 5.0

_OPTIONS = [
    # A page may contain whole batches of which only a part belongs to it.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # A node that hangs, or that the network lost, breaks the connection after three seconds, if calls are open. TCP
    # alone would take minutes.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),  # this one applies to a process that hangs; its default is a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 3000),  # also the time limit of a connection attempt
    ("grpc.max_reconnect_backoff_ms", 500),
    # Channels to the same address would share one connection otherwise.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class Tls:
    """Mutual TLS with the nodes: paths of PEM files, as `anabranch ctl certs` makes them.

    Renewed files are used for new connections.
    """

    # A node's certificate names it by a URI, anabranch://CLUSTER/node/ID, and nodes and the Rust client compare that
    # name. Python's gRPC library cannot: it compares the host of the address with the DNS names and IP addresses in
    # the certificate, and has no hook for another check. So this client checks that the certificate is of the
    # cluster's authority, is made for servers (those of operators and clients are not), and names the host. That is
    # less than the Rust client checks: if certificates name the hosts of all nodes, a node is accepted in the place of
    # another node of the authority.

    ca: str
    """Certificate of the cluster's authority."""
    certificate: str
    """Certificate of this program, with the role client."""
    key: str
    """Private key of that certificate."""
    server_name: str | None = None
    """Name that every node's certificate contains, for nodes at addresses that their certificates do not contain (see
    `--hosts` of `anabranch ctl certs`). Default: the host of the node's address."""

    def _version(self) -> tuple[int, ...]:
        """Changes when a file is replaced."""
        return tuple(os.stat(path).st_mtime_ns for path in (self.ca, self.certificate, self.key))

    def _credentials(self) -> grpc.ChannelCredentials:
        def read(path: str) -> bytes:
            with open(path, "rb") as file:
                return file.read()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.certificate))


class Peer:
    """The connections to one node. They are made when they are first used."""

    def __init__(self, address: str, tls: Tls | None):
        self._channels = [_channel(address, tls), _channel(address, tls)]
        calls, reads = self._channels
        self.log = log_pb2_grpc.LogServiceStub(calls)
        self.catalog = log_pb2_grpc.CatalogServiceStub(calls)
        self.groups = consumer_pb2_grpc.ConsumerGroupServiceStub(calls)
        # On a connection of their own: pages of megabytes delay neither appends nor heartbeats.
        self.reads = log_pb2_grpc.LogServiceStub(reads)

    def close(self) -> None:
        """Cancels all open calls."""
        for channel in self._channels:
            channel.close()


def _channel(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, _OPTIONS)
    name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.secure_channel(address, tls._credentials(), _OPTIONS + name)


class Cluster:
    """A connection to a cluster. Programs share one `Cluster` among their producers, readers and groups.

    It keeps a copy of the catalog up to date in a thread. Safe to use from many threads. A context manager: it closes
    itself at the end.
    """

    def __init__(self, seeds: Iterable[str], tls: Tls | None = None, *, timeout: float = 15.0):
        """Connects to the cluster, and returns once a node has sent the catalog.

        Args:
            seeds: gRPC addresses of some nodes, `host:port`. The other nodes are found through them.
            tls: Files for mutual TLS; None if the nodes' gRPC ports are plain.
            timeout: Seconds to wait for the first catalog.

        Raises:
            ValueError: `seeds` is empty or a string.
            OSError: A file of `tls` cannot be read.
            Unavailable: No node sent the catalog in time.
        """
        if isinstance(seeds, str):
            raise ValueError("seeds: must be a list of addresses")
        self._seeds = list(seeds)
        if not self._seeds:
            raise ValueError("seeds: must have at least one address")
        self._tls = tls
        if tls is not None:
            tls._credentials()  # tells at once whether a file is missing
        self.leaders: dict[int, int] = {}  # group: the node that led it when it was called last; a guess
        self._changed = threading.Condition()
        self._view = View(catalog_pb2.Catalog())
        self._listeners: list[Callable[[], None]] = []
        self._peers: dict[str, tuple[object, Peer]] = {}
        self._watch: grpc.Call | None = None
        self._last_error = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="anabranch-catalog", daemon=True)
        self._thread.start()
        if not self._reaches(1, timeout):
            self.close()
            raise Unavailable(f"no node sent the catalog within {timeout:g} s: {self._last_error}")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def view(self) -> View:
        """The newest version of the catalog that has reached this client. Does not wait."""
        return self._view

    @property
    def nodes(self) -> dict[int, Node]:
        """The nodes by number, as this client knows them now."""
        return self._view.nodes

    @property
    def streams(self) -> list[str]:
        """Names of all streams, as this client knows them now."""
        return self._view.stream_names

    def stream(self, name: str) -> Stream:
        """A stream with its shards, in the newest version of the catalog.

        Raises:
            StreamNotFound: There is no such stream.
            Unavailable: No node could tell the newest version.
        """
        found = self.newest_view().stream(name)
        if found is None:
            raise StreamNotFound(f"there is no stream {name}")
        return found

    def newest_view(self, timeout: float = 15.0) -> View:
        """A version of the catalog that has every change that was acknowledged before this call.

        Raises:
            Unavailable: No node could tell the newest version within `timeout` seconds, or this client did not get it.
        """
        deadline = time.monotonic() + timeout
        version = self._newest_version(deadline)
        while not self._reaches(version, min(_CATALOG_PATIENCE, max(deadline - time.monotonic(), 0.0))):
            if time.monotonic() >= deadline:
                raise Unavailable(f"the newest version of the catalog did not come within {timeout:g} s")
            self.watch_elsewhere()
        return self._view

    def close(self) -> None:
        """Closes all connections. Close producers, readers and groups before."""
        self._closed.set()
        with self._changed:
            if self._watch is not None:
                self._watch.cancel()
            peers = [peer for _, peer in self._peers.values()]
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for peer in peers:
            peer.close()

    def peer(self, node: int) -> Peer:
        """The connections to a node. For this package only.

        Raises CallError if the catalog does not know the node, and Closed.
        """
        known = self._view.nodes.get(node)
        if known is None:
            raise CallError(Kind.NOT_SENT, f"the catalog does not know node {node}")
        return self._peer_at(known.address)

    def forget_leader(self, group: int, node: int) -> None:
        """Forgets that `node` leads `group`, unless another node is known to lead by now. For this package only."""
        if self.leaders.get(group) == node:
            self.leaders.pop(group, None)

    def watch_elsewhere(self) -> None:
        """Follows the catalog at another node, because the present one seems to be behind. For this package only."""
        with self._changed:
            if self._watch is not None:
                self._watch.cancel()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after each new version of the catalog. It must return soon. For this package only."""
        with self._changed:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Ends `listen`. For this package only."""
        with self._changed:
            self._listeners.remove(listener)

    def _peer_at(self, address: str) -> Peer:
        # Files that are being replaced may be missing for a moment. Then the known connections go on.
        try:
            version = self._tls._version() if self._tls else None
        except OSError:
            version = None
        with self._changed:
            if self._closed.is_set():
                raise Closed("the cluster object is closed")
            known_version, peer = self._peers.get(address, (None, None))
            if peer is None or (version is not None and version != known_version):
                # Open calls keep the former connections until they end.
                peer = Peer(address, self._tls)
                self._peers[address] = (version, peer)
            return peer

    def _addresses(self) -> list[str]:
        """Where nodes are: the nodes of the catalog in any order, then the seeds."""
        addresses = [node.address for node in self._view.nodes.values()]
        random.shuffle(addresses)
        return list(dict.fromkeys(addresses + self._seeds))

    def _newest_version(self, deadline: float) -> int:
        error = CallError(Kind.NOT_SENT)
        while True:
            for address in self._addresses():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Unavailable(f"no node told the newest version of the catalog in time: {error}")
                try:
                    request = log_pb2.NewestRequest()
                    newest = self._peer_at(address).catalog.Newest(request, timeout=min(left, _NEWEST_TIMEOUT))
                except grpc.RpcError as failure:
                    error = call_error(failure)
                    if error.is_final():
                        raise error.public() from failure
                else:
                    return newest.version
            time.sleep(_FOLLOW_AGAIN)

    def _reaches(self, version: int, timeout: float) -> bool:
        """Waits until the copy is at `version` or later. Returns whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._view.version >= version or self._closed.is_set(), timeout)
            return self._view.version >= version

    def _follow(self) -> None:
        while not self._closed.is_set():
            for address in self._addresses():
                try:
                    self._follow_at(address)
                except grpc.RpcError as failure:
                    self._last_error = f"{address}: {call_error(failure)}"
                    logger.debug("the catalog cannot be watched any more: %s", self._last_error)
                except Closed:
                    return
                except Exception:
                    # Without this thread nothing works, so it goes on, for example when a TLS file is broken.
                    logger.exception("the catalog cannot be watched at %s", address)
            self._closed.wait(_FOLLOW_AGAIN)

    def _follow_at(self, address: str) -> None:
        # Users are not needed here: the first response has them, and later ones may leave them out.
        request = log_pb2.WatchRequest(known_version=self._view.version, known_users_version=0)
        call = self._peer_at(address).catalog.Watch(request)
        with self._changed:
            self._watch = call
            if self._closed.is_set():
                call.cancel()
        for response in call:
            self._publish(View(catalog_pb2.Catalog.FromString(response.catalog)))

    def _publish(self, view: View) -> None:
        with self._changed:
            if view.version < self._view.version:
                return  # from a node that is behind
            self._view = view
            addresses = {node.address for node in view.nodes.values()}.union(self._seeds)
            self._peers = {address: known for address, known in self._peers.items() if address in addresses}
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener()
