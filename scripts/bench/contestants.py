"""The measured systems: the settings of each contestant, and how its servers are started."""

import contextlib
import uuid
from functools import partial

from bench import install, protocols
from bench.loads import Load, puts
from bench.processes import Servers, free_ports, listens, wait_until_written
from support.cluster import Cluster
from support.waiting import wait_until

SHARDS = 8
STREAM = "bench"
LATENCY_STREAM = "latency"


class Contestant:
    """A system with one set of settings.

    `serving(directory)` is a context manager of a running system that yields a `Running`.
    """

    name: str
    settings: str
    nodes = 1
    # Whether an acknowledged record is on the disk of a majority, so that it survives a power cut.
    durable = False
    # Seconds for which its loads are sent before the first measurement, in addition to the warm-up before each load.
    # A JVM needs this time to compile frequently used code.
    settling_seconds = 0
    loads: tuple

    def prepare(self):
        """Installs the system and returns its version."""
        raise NotImplementedError

    def serving(self, directory):
        """Runs the system on an empty directory."""
        raise NotImplementedError


class Running:
    """The process ids of a running system, and its addresses by API."""

    def __init__(self, pids, **endpoints):
        self.pids = pids
        self._endpoints = endpoints

    def endpoint(self, api):
        """The value of `--endpoint` for an API."""
        return ",".join(f"http://{address}" for address in self._endpoints[api])


class Anabranch(Contestant):
    """This project's own system."""

    durable = True

    def __init__(self, nodes, binary):
        self.name = f"anabranch, {nodes} node" + ("s" if nodes > 1 else "")
        self.nodes = nodes
        self.settings = f"`anabranch dev --nodes {nodes}`, {SHARDS} shards"
        self._binary = binary
        self.loads = (
            *puts(STREAM),
            Load("native", "put", STREAM, 8, 500, "grpc"),
            Load("open", "put", STREAM, 8, 500, rate_share=0.5),
            Load("get", "get", STREAM),
            Load("e2e-poll", "e2e", LATENCY_STREAM, rate=100),
            Load("e2e-tail", "e2e", LATENCY_STREAM, api="grpc", rate=100),
        )

    def prepare(self):
        return install.output([self._binary, "--version"]).rpartition(" ")[2]

    @contextlib.contextmanager
    def serving(self, directory):
        with Cluster(directory, self.nodes, self._binary) as cluster:
            for stream, shards in ((STREAM, SHARDS), (LATENCY_STREAM, 1)):
                make_led_stream(cluster, stream, shards)
            nodes = cluster.nodes
            wait_until_written([node.pid for node in nodes])
            yield Running([node.pid for node in nodes], kinesis=[n.api for n in nodes], grpc=[n.grpc for n in nodes])
            cluster.stop()


def make_led_stream(cluster, stream, shards):
    """Makes a stream of Anabranch and waits until all its shards have a leader."""
    make_kinesis_stream(cluster.nodes[0].endpoint, stream, shards)

    def led():
        leaders = cluster.leaders(stream)
        return len(leaders) == shards and all(leaders.values())

    wait_until(f"every shard of {stream} has a leader", led, timeout=300)


def make_kinesis_stream(endpoint, stream, shards):
    """Makes a stream of any system with the Kinesis API and waits until it can be used."""
    protocols.kinesis(endpoint, "CreateStream", StreamName=stream, ShardCount=shards)
    wait_until(f"stream {stream} is active", lambda: protocols.is_active(endpoint, stream), timeout=300)


class KinesisPeer(Contestant):
    """One process that serves the Kinesis API on a given port."""

    def command(self, port, directory):
        """The command that starts the server."""
        raise NotImplementedError

    @contextlib.contextmanager
    def serving(self, directory):
        (port,) = free_ports(1)
        with Servers(directory) as servers:
            servers.start("server", self.command(port, directory))
            servers.wait("the port is open", partial(listens, port))
            for stream, shards in ((STREAM, SHARDS), (LATENCY_STREAM, 1)):
                make_kinesis_stream(f"http://127.0.0.1:{port}", stream, shards)
            yield Running(servers.pids, kinesis=[f"127.0.0.1:{port}"])


class Ferrokinesis(KinesisPeer):
    """ferrokinesis, in memory or with its log."""

    def __init__(self, durable):
        self.name = "ferrokinesis, " + ("log" if durable else "memory")
        self.durable = durable
        self.settings = f"{'`--state-dir`' if durable else 'in memory'}, {SHARDS} shards"
        self.loads = (*puts(STREAM), Load("get", "get", STREAM))
        if not durable:  # with its log it takes fewer records than the hundred per second of this load
            self.loads += (Load("e2e-poll", "e2e", LATENCY_STREAM, rate=100),)

    def prepare(self):
        installed = install.ferrokinesis()
        self._binary = installed.path
        return installed.version

    def command(self, port, directory):
        state = ["--state-dir", directory / "state"] if self.durable else []
        return [self._binary, "--port", port, "--shard-limit", 100, *state]


class Kinesalite(KinesisPeer):
    """kinesalite, in memory or with LevelDB."""

    def __init__(self, on_disk):
        self.name = "kinesalite, " + ("LevelDB" if on_disk else "memory")
        self.settings = f"{'`--path`, no fsync' if on_disk else 'in memory'}, {SHARDS} shards"
        self._on_disk = on_disk
        self.loads = tuple(puts(STREAM))

    def prepare(self):
        installed = install.kinesalite()
        self._script = installed.path
        return installed.version

    def command(self, port, directory):
        path = ["--path", directory / "state"] if self._on_disk else []
        return ["node", self._script, "--port", port, "--shardLimit", 100, "--createStreamMs", 0, *path]


class Nats(Contestant):
    """NATS JetStream on three nodes, with streams in files."""

    nodes = 3

    def __init__(self, durable):
        self.name = "NATS JetStream, " + ("sync always" if durable else "default")
        self.durable = durable
        sync = "`sync_interval: always`" if durable else "no fsync before the acknowledgement (every 2 min)"
        self.settings = f"R3, file storage, 4 streams (Raft groups), {sync}"
        self._streams = [f"bench{number}" for number in range(4)]
        self.loads = (
            *puts(",".join(self._streams), api="nats"),
            Load("batch-one", "put", "single", 8, 500, "nats"),
        )

    def prepare(self):
        installed = install.nats()
        self._binary = installed.path
        return installed.version

    @contextlib.contextmanager
    def serving(self, directory):
        ports, routes = free_ports(3), free_ports(3)
        with Servers(directory) as servers:
            for number, port in enumerate(ports):
                node = directory / f"node-{number}"
                config = directory / f"node-{number}.conf"
                directory.mkdir(parents=True, exist_ok=True)
                config.write_text(nats_config(number, port, routes, node, self.durable))
                servers.start(f"node-{number}", [self._binary, "--config", config])
            for stream in (*self._streams, "single"):
                servers.wait(f"stream {stream} is made", partial(protocols.make_jetstream, ports[0], stream, 3))
                servers.wait(f"stream {stream} is current", partial(protocols.jetstream_is_current, ports[0], stream))
            yield Running(servers.pids, nats=[f"127.0.0.1:{port}" for port in ports])


def nats_config(number, port, routes, store, durable):
    """The configuration of one node."""
    peers = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    sync = "sync_interval: always" if durable else ""
    return f"""
server_name: node-{number}
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: "{store}"
  {sync}
}}
cluster {{ name: bench, listen: "127.0.0.1:{routes[number]}", routes: [{peers}] }}
"""


class Kafka(Contestant):
    """Three Kafka brokers that are also controllers (KRaft)."""

    nodes = 3
    settling_seconds = 15

    def __init__(self, durable):
        self.name = "Kafka, " + ("flush.messages=1" if durable else "default")
        self.durable = durable
        flush = "`log.flush.interval.messages=1`" if durable else "no fsync before the acknowledgement"
        self.settings = f"RF 3, `min.insync.replicas=2`, `acks=all`, 8 partitions, heap 1 GiB as shipped, {flush}"
        self.loads = tuple(puts(STREAM, api="kafka"))

    def prepare(self):
        installed = install.kafka()
        self._classes = installed.path / "*"
        return installed.version

    @contextlib.contextmanager
    def serving(self, directory):
        ports, controllers = free_ports(3), free_ports(3)
        cluster = str(uuid.uuid4())
        with Servers(directory) as servers:
            configs = []
            directory.mkdir(parents=True, exist_ok=True)
            for number, port in enumerate(ports, 1):
                config = directory / f"node-{number}.properties"
                config.write_text(kafka_config(number, port, controllers, directory / f"node-{number}", self.durable))
                storage = ["java", "-cp", self._classes, "kafka.tools.StorageTool", "format"]
                install.output([*storage, "-t", cluster, "-c", config])
                configs.append(config)
            for number, config in enumerate(configs, 1):
                servers.start(f"node-{number}", ["java", *JVM_OPTIONS, "-cp", self._classes, "kafka.Kafka", config])
            servers.wait("the topic is made", partial(protocols.make_topic, ports[0], STREAM, SHARDS, 3))
            servers.wait("all are in sync", partial(protocols.topic_in_sync, ports[0], STREAM, SHARDS, 3))
            yield Running(servers.pids, kafka=[f"127.0.0.1:{port}" for port in ports])


# The options that bin/kafka-server-start.sh and bin/kafka-run-class.sh pass to the JVM.
JVM_OPTIONS = (
    *("-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
    *("-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"),
)


def kafka_config(number, port, controllers, logs, durable):
    """The configuration of one node. All other settings have their defaults."""
    voters = ",".join(f"{voter}@127.0.0.1:{address}" for voter, address in enumerate(controllers, 1))
    flush = "log.flush.interval.messages=1" if durable else ""
    return f"""
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controllers[number - 1]}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
{flush}
"""


class Etcd(Contestant):
    """Three members of etcd. The generator's first connection goes to the leader, the others to all members in turn."""

    name = "etcd"
    settings = "3 members as shipped (fsync before the acknowledgement), quota 8 GiB"
    nodes = 3
    durable = True
    loads = tuple(puts(STREAM, batch=100, connections=32, api="etcd"))

    def prepare(self):
        installed = install.etcd()
        self._binary = installed.path
        return installed.version

    @contextlib.contextmanager
    def serving(self, directory):
        ports, peers = free_ports(3), free_ports(3)
        members = ",".join(f"node-{number}=http://127.0.0.1:{peer}" for number, peer in enumerate(peers))
        with Servers(directory) as servers:
            for number, (port, peer) in enumerate(zip(ports, peers, strict=True)):
                name, client, address = f"node-{number}", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
                command = [self._binary, "--name", name, "--data-dir", directory / name]
                command += ["--listen-client-urls", client, "--advertise-client-urls", client]
                command += ["--listen-peer-urls", address, "--initial-advertise-peer-urls", address]
                command += ["--initial-cluster", members, "--initial-cluster-token", "bench"]
                command += ["--quota-backend-bytes", 8 << 30]
                servers.start(name, command)
            leader = servers.wait("a member leads", lambda: next(filter(protocols.leads, ports), None))
            ports.sort(key=lambda port: port != leader)
            yield Running(servers.pids, etcd=[f"127.0.0.1:{port}" for port in ports])


def everyone(binary):
    """All contestants, in the order in which a round runs them."""
    return [
        Anabranch(1, binary),
        Anabranch(3, binary),
        Ferrokinesis(durable=False),
        Ferrokinesis(durable=True),
        Kinesalite(on_disk=False),
        Kinesalite(on_disk=True),
        Nats(durable=False),
        Nats(durable=True),
        Kafka(durable=False),
        Kafka(durable=True),
        Etcd(),
    ]
