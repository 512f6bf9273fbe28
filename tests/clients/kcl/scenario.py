"""The scenario for the Kinesis Client Library (KCL): some workers, as processes, share the leases of a stream.

Records are put all the time. Two workers share eight shards. A shard is split, and two are merged. Every node of the
cluster is restarted in turn. One worker is killed, and its leases move to the other one and to a third one.

A worker gets its arguments as NAME=VALUE: `endpoint`, `stream`, `application`, `worker`, `how` (polling or fanout) and,
if they differ from the library's, `leases` (the most that it takes), `idle` (milliseconds between reads) and `failover`
(milliseconds). It makes a checkpoint after each batch. It prints what happens, a line each:

    init SHARD                            it has the lease
    record SHARD NUMBER MILLIS DATA       a record, and the clock when its batch came
    saved SHARD NUMBER                    the checkpoint is stored
    unsaved SHARD ERROR                   the checkpoint was refused
    ended SHARD                           all records are processed
    lost SHARD                            another worker has the lease

Checks:
- Every acknowledged record is processed.
- All records of a parent are processed before the first one of its children.
- Within a worker, the records of a shard come in order, and from behind the last stored checkpoint.
- A record is processed again only after its worker was killed or lost the lease.
- A node shows the metrics that the library sends to CloudWatch by default.
"""

import itertools
import os
import statistics
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.waiting import wait_until

REGION = "us-east-1"
SHARDS = 8
# Seconds. KCL 3 needs two minutes until another worker may assign the leases of a killed leader.
PATIENCE = 360
# Records of one PutRecords, and the seconds between two calls.
BATCH, PAUSE = 10, 0.5


class Target(NamedTuple):
    """A cluster, as clients see it."""

    # Endpoints of nodes. They serve Kinesis, DynamoDB and CloudWatch.
    endpoints: list
    # Environment variables with an access key, and with what a program in Java needs to trust the cluster.
    environment: dict
    # `HOST:PORT` of the nodes' metrics.
    metrics: list
    # The file of the certificate authority that signed the nodes' certificates.
    ca: object = None


class Plan(NamedTuple):
    """What happens after the workers share the leases, and with which settings."""

    # Polling or fanout.
    how: str
    shards: int = SHARDS
    workers: int = 2
    # Further arguments of each worker.
    settings: MappingProxyType = MappingProxyType({})
    reshard: bool = True
    # Functions that restart a node each.
    restarts: tuple = ()
    # The worker to kill, counted from 0. None kills no worker.
    kill: int | None = 0
    # Seconds for which latencies are measured.
    measure: int = 0


class Worker:
    """One worker process."""

    def __init__(self, name, process):
        self.name, self.process = name, process
        self.began = time.monotonic()
        self.killed = False
        # The leases that it has, with the number of the last record that it processed.
        self.leases = {}
        # Shards whose leases it had lost.
        self.lost = set()


class Application:
    """The workers of one application, and all that they have printed."""

    def __init__(self, version, target, stream, how, directory):
        self.version, self.target, self.stream, self.how = version, target, stream, how
        self.name = f"{stream}-app"
        self.directory = Path(directory)
        self.workers = []
        self.lock = threading.Lock()
        # When each acknowledged record was put, by shard and number, in seconds since 1970.
        self.put = {}
        # The acknowledged records that no worker has processed yet.
        self.missing = set()
        # Which workers processed a record, in order, and when the first one did.
        self.processed = {}
        self.processed_at = {}
        self.saved = {}
        self.ended = set()
        # Which shards had ended before the first record of a shard was processed.
        self.ended_before = {}
        self.parents = {}
        self.faults = []

    def start(self, name, settings):
        """Starts a worker."""
        endpoints = self.target.endpoints
        named = {
            "endpoint": endpoints[len(self.workers) % len(endpoints)],
            "stream": self.stream,
            "application": self.name,
            "worker": name,
            "how": self.how,
            **settings,
        }
        own = [self.directory / f"{name}.properties"] if self.version.name == "kclpy" else []
        command = [*self.version.command, *own, *(f"{key}={value}" for key, value in named.items())]
        environment = {**os.environ, **self.version.environment, **self.target.environment}
        with (self.directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={variable: str(value) for variable, value in environment.items()},
                start_new_session=True,
            )
        worker = Worker(name, process)
        self.workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        return worker

    def _read(self, worker):
        for line in worker.process.stdout:
            with self.lock:
                self._follow(worker, line.split())

    def _follow(self, worker, words):
        match words:
            case ["init", shard]:
                worker.leases[shard] = self.saved.get(shard, 0)
            case ["record", shard, number, millis, _]:
                self._process(worker, shard, int(number), int(millis) / 1000)
            case ["saved", shard, number] if number.isdecimal():
                self.saved[shard] = max(self.saved.get(shard, 0), int(number))
            case ["ended", shard]:
                self.ended.add(shard)
                worker.leases.pop(shard, None)
            case ["lost", shard]:
                worker.lost.add(shard)
                worker.leases.pop(shard, None)

    def _process(self, worker, shard, number, at):
        record = (shard, number)
        if number <= worker.leases.get(shard, 0):
            self.faults.append(f"{worker.name} processed {record} out of order, or after its checkpoint")
        worker.leases[shard] = number
        if record not in self.processed:
            self.processed[record], self.processed_at[record] = [], at
            if shard in self.ended:
                self.faults.append(f"{record} was processed only after the end of its shard")
            self.ended_before.setdefault(shard, frozenset(self.ended))
        self.processed[record].append(worker)
        self.missing.discard(record)

    def acknowledge(self, record, at):
        """A record is stored, and was put at this time."""
        with self.lock:
            self.put[record] = at
            if record not in self.processed:
                self.missing.add(record)

    def is_shared(self, shards):
        """Whether the living workers have all leases, and each has more than one."""
        with self.lock:
            numbers = [len(worker.leases) for worker in self.workers if not worker.killed]
        return sum(numbers) >= shards and min(numbers) > 1

    def flow(self, what):
        """Waits until more records are put, and until all are processed."""
        with self.lock:
            before = len(self.put)
        self.wait(f"{what}: records are put", lambda: len(self.put) > before)
        self.catch_up(what)

    def catch_up(self, what):
        """Waits until every record that is acknowledged by now is processed."""
        with self.lock:
            wanted = set(self.missing)
        self.wait(f"{what}: all records are processed", lambda: not wanted & self.missing)

    def wait(self, what, condition):
        """Waits until a condition holds. Fails if a check fails or if a worker ends by itself meanwhile."""

        def holds():
            for worker in self.workers:
                if not worker.killed and worker.process.poll() is not None:
                    raise AssertionError(f"{worker.name} ended with {worker.process.returncode}")
            with self.lock:
                if self.faults:
                    raise AssertionError("\n".join(self.faults[:20]))
            return condition()

        try:
            wait_until(what, holds, PATIENCE, 0.05)
        except TimeoutError as error:
            leases = {worker.name: sorted(worker.leases) for worker in self.workers}
            raise AssertionError(f"{error}; {len(self.missing)} records are missing; leases: {leases}") from None

    def kill(self, worker):
        """Kills a worker. Returns the shards whose leases it had."""
        worker.killed = True
        worker.process.kill()
        worker.process.wait()
        with self.lock:
            return set(worker.leases)

    def have_moved(self, shards):
        """Whether other workers have the leases of these shards."""
        with self.lock:
            held = {shard for worker in self.workers if not worker.killed for shard in worker.leases}
            return shards <= held | self.ended

    def judge(self):
        """Raises AssertionError for a broken promise. Returns how many records were processed again."""
        with self.lock:
            faults = [*self.faults, *(f"{record} was skipped" for record in self.missing)]
            for shard, ended in self.ended_before.items():
                if not self.parents.get(shard, set()) <= ended:
                    faults.append(f"{shard} was processed before the end of its parents {self.parents[shard]}")
            again = 0
            for (shard, number), workers in self.processed.items():
                again += len(workers) - 1
                for before in workers[:-1]:
                    if not before.killed and shard not in before.lost:
                        faults.append(f"{shard} {number} was processed again, but {before.name} had not lost the lease")
        if faults:
            raise AssertionError("\n".join(faults[:20]))
        return again

    def latencies(self, begin, end):
        """Seconds between the call that puts a record and its processing, of records put in this time."""
        with self.lock:
            return [self.processed_at[record] - at for record, at in self.put.items() if begin <= at < end]

    def end(self):
        """Kills every worker."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()

    def logs(self):
        """The last lines that each worker has logged, without the stacks of Java."""
        for log in sorted(self.directory.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            told = [line[:300] for line in lines if not line.startswith("\t")]
            yield "\n".join([f"--- {log.name}", *told[-30:]])


class Producer(threading.Thread):
    """Puts records all the time. If a call fails, it goes on with the next endpoint."""

    def __init__(self, clients, application):
        super().__init__(daemon=True)
        self.clients, self.application = clients, application
        self.stopped = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped.set()
        self.join()

    def run(self):
        clients, numbers = itertools.cycle(self.clients), itertools.count()
        client = next(clients)
        while not self.stopped.wait(PAUSE):
            entries = [{"Data": f"record-{next(numbers)}", "PartitionKey": os.urandom(8).hex()} for _ in range(BATCH)]
            at = time.time()
            try:
                answer = client.put_records(StreamName=self.application.stream, Records=entries)
            except (BotoCoreError, ClientError):
                client = next(clients)
                continue
            for stored in answer["Records"]:
                if "SequenceNumber" in stored:
                    self.application.acknowledge((stored["ShardId"], int(stored["SequenceNumber"])), at)


def play(version, target, stream, plan, directory):
    """Runs the scenario. Returns what it measured, as a text. Raises AssertionError if a check fails."""
    clients = [client_of(endpoint, target) for endpoint in target.endpoints]
    application = Application(version, target, stream, plan.how, directory)
    try:
        return _play(application, clients, plan)
    except Exception as error:
        raise AssertionError("\n".join([f"{type(error).__name__}: {error}", *application.logs()])) from error
    finally:
        application.end()


def _play(application, clients, plan):
    kinesis, stream, figures = clients[0], application.stream, []
    kinesis.create_stream(StreamName=stream, ShardCount=plan.shards)
    await_active(kinesis, stream)
    with Producer(clients, application) as producer:
        # The library moves leases between workers only when their loads differ. A limit makes them share at once. Some
        # leases must stay free: with a limit of five of eight, one child of the merge stayed without a worker.
        most = {"leases": plan.shards * 3 // (2 * plan.workers)}
        first = application.start("worker-0", {**most, **plan.settings})
        # The workers of a new application must not start in the same second: the library (3.5.1) gives up the one that
        # loses the race for the row of its own version.
        application.wait("the first worker has leases", lambda: first.leases)
        figures.append(f"first lease after {time.monotonic() - first.began:.0f} s")
        for number in range(1, plan.workers):
            application.start(f"worker-{number}", {**most, **plan.settings})
        application.wait("the workers share the leases", lambda: application.is_shared(plan.shards))
        figures.append(f"all leases shared after {time.monotonic() - first.began:.0f} s")
        application.flow("at the start")
        if plan.measure:
            figures.append(measure(application, plan.measure))
        if plan.reshard:
            reshard(kinesis, application)
        for restart in plan.restarts:
            restart()
            application.flow("after the restart of a node")
        if plan.kill is not None:
            figures.append(kill(application, application.workers[plan.kill], plan.settings))
        producer.stop()
        application.catch_up("at the end")
    application.wait("a node shows the metrics of the library", lambda: has_metrics(application))
    again = application.judge()
    kinesis.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)
    return "; ".join([f"{len(application.processed)} records", f"{again} processed again", *figures])


def measure(application, seconds):
    """The latencies of the records of some seconds."""
    begin = time.time()
    time.sleep(seconds)
    end = time.time()
    application.catch_up("of the measurement")
    sample = sorted(application.latencies(begin, end))
    p99 = sample[len(sample) * 99 // 100]
    return f"put to processRecords p50 {statistics.median(sample) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


def reshard(kinesis, application):
    """Splits a shard and merges two others. Waits until records of all children are processed."""
    stream = application.stream
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey="1" + "0" * 37)
    await_active(kinesis, stream)
    merged = {"ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"}
    kinesis.merge_shards(StreamName=stream, **merged)
    await_active(kinesis, stream)
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    keys = ("ParentShardId", "AdjacentParentShardId")
    parents = {shard["ShardId"]: {shard[key] for key in keys if key in shard} for shard in shards}
    application.parents = parents
    children = {shard for shard, its in parents.items() if its}
    assert len(children) == 3, parents
    application.wait("records of all children are processed", lambda: children <= processed_shards(application))
    application.catch_up("after the split and the merge")


def processed_shards(application):
    """The shards of which a record was processed."""
    with application.lock:
        return {shard for shard, _ in application.processed}


def kill(application, worker, settings):
    """Kills a worker, and starts another one. Waits until the leases have moved."""
    shards = application.kill(worker)
    began = time.monotonic()
    application.start(f"worker-{len(application.workers)}", settings)
    application.wait("the leases of the killed worker move", lambda: application.have_moved(shards))
    return f"{len(shards)} leases of the killed worker moved after {time.monotonic() - began:.0f} s"


def has_metrics(application):
    """Whether a node shows a metric of the application."""
    labels = [f'application="{application.name}"', 'metric="RecordsProcessed"']
    return any(
        line.startswith("anabranch_cloudwatch_samples_total{") and all(label in line for label in labels)
        for address in application.target.metrics
        for line in metrics_of(address).splitlines()
    )


def metrics_of(address):
    """The metrics of a node."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return response.read().decode()


def client_of(endpoint, target):
    """A boto3 client that gives up soon, because the producer has other endpoints."""
    return boto3.session.Session().client(
        "kinesis",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=target.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=target.environment["AWS_SECRET_ACCESS_KEY"],
        verify=str(target.ca) if target.ca else None,
        config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2}),
    )


def await_active(kinesis, stream):
    """Waits until a stream is ACTIVE."""

    def is_active():
        summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
        return summary["StreamStatus"] == "ACTIVE"

    wait_until(f"{stream} is ACTIVE", is_active)
