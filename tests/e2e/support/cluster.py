"""Runs `anabranch dev` as real processes on free loopback ports, and kills and restarts its nodes."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from support.waiting import wait_until

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


def release_binary(name="anabranch"):
    """The path of a binary that `make build` builds: `anabranch` or `anabranch-bench`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "anabranch" / "target")
    return target / "release" / name


@dataclass(frozen=True)
class Node:
    """A node, as described in `cluster.json`."""

    id: int
    pid: int
    api: str
    grpc: str
    data_dir: str
    command: tuple

    @property
    def endpoint(self):
        """The endpoint URL of this node for AWS clients."""
        return self.api if self.api.startswith("http") else f"http://{self.api}"


class Cluster:
    """A running `anabranch dev`. The context manager ends all processes, however the block ends.

    `self.nodes` holds the nodes from `cluster.json` as of the start, ordered by id. The process id of a restarted node
    is updated.

    With `clock` (seconds since 1970), the wall clocks of all nodes begin with that time at the start.
    """

    def __init__(self, data_dir, nodes=1, binary=None, environment=None, arguments=(), clock=None):
        self.data_dir = Path(data_dir)
        self.environment = {**os.environ, **(environment or {})}
        self.size = nodes
        self.arguments = list(arguments)
        self.clock_file = self.data_dir.with_name(f"{self.data_dir.name}.clock-offset")
        if clock is not None:
            self.arguments += ["--clock-offset-file", str(self.clock_file)]
            self.set_clock(clock)
        self.binary = Path(binary or release_binary())
        self.nodes = []
        self.output = []
        self._parent = None
        self._reader = None
        self._restarted = {}

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill_everything()
            raise

    def __exit__(self, *_):
        self.kill_everything()

    def start(self):
        """Starts the cluster and waits until every node is ready."""
        if not self.binary.exists():
            raise FileNotFoundError(f"{self.binary} is missing: run `make build`")
        command = [self.binary, "dev", "--listen", "127.0.0.1:0", "--data-dir", self.data_dir]
        command += ["--nodes", str(self.size)] if self.size > 1 else []
        command += self.arguments
        self._parent = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_output, args=(self._parent.stdout,), daemon=True)
        self._reader.start()
        self._wait("anabranch dev prints a line that begins with `ready`", self._is_ready)
        listed = json.loads((self.data_dir / "cluster.json").read_text())["nodes"]
        self.nodes = sorted((self._node(entry) for entry in listed), key=lambda node: node.id)
        for node in self.nodes:
            self.wait_ready(node)
        return self

    def set_clock(self, seconds):
        """Sets the wall clocks of all nodes, forward or back. A node applies the change within 100 ms."""
        fresh = self.clock_file.with_suffix(".new")
        fresh.write_text(str(round(seconds - time.time())))
        fresh.replace(self.clock_file)

    def stop(self):
        """Sends SIGTERM. Returns the exit status of each process that got it, by process id."""
        statuses = {}
        processes = [self._parent, *self._restarted.values()]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in processes:
            statuses[process.pid] = process.wait(timeout=STOP_TIMEOUT)
        wait_until("every process is gone", lambda: not self.running(), STOP_TIMEOUT)
        return statuses

    def kill(self, node):
        """Kills one node with SIGKILL. Returns when the process is dead."""
        os.kill(node.pid, signal.SIGKILL)
        wait_until(f"node {node.id} is dead", lambda: not is_running(node.pid))

    def terminate(self, node):
        """Stops one node with SIGTERM. Returns when the process has ended."""
        os.kill(node.pid, signal.SIGTERM)
        wait_until(f"node {node.id} ends", lambda: not is_running(node.pid), STOP_TIMEOUT)

    def kill_everything(self):
        """Kills every process of this cluster with SIGKILL, including the parent."""
        for pid in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in (self._parent, *self._restarted.values()):
            if process is not None:
                process.wait(timeout=STOP_TIMEOUT)
        wait_until("every process is gone", lambda: not self.running())

    def restart(self, node):
        """Starts a dead node with its command from `cluster.json`. Returns the node once it is ready."""
        process = subprocess.Popen(
            list(node.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,
        )
        self._restarted[node.id] = process
        alive = Node(node.id, process.pid, node.api, node.grpc, node.data_dir, node.command)
        self.nodes = [alive if known.id == node.id else known for known in self.nodes]
        self.wait_ready(alive)
        return alive

    def wait_ready(self, node):
        """Waits until the node answers 200 on /readyz."""
        self._wait(f"node {node.id} answers 200 on /readyz", lambda: status_of(f"{node.endpoint}/readyz") == 200)

    def leaders(self, stream, through=None):
        """The leader of each shard of a stream, by shard id, as a living node knows it (`GET /cluster`)."""
        node = through or self.nodes[0]
        with urllib.request.urlopen(f"{node.endpoint}/cluster", timeout=5) as response:
            shards = json.load(response)["shards"]
        return {shard["shard"]: shard["leader"] for shard in shards if shard["stream"] == stream}

    def leader_of_most(self, stream, shards):
        """The node that leads most shards of a stream. None while a shard has no leader."""
        leaders = [leader for leader in self.leaders(stream).values() if leader]
        if len(leaders) < shards:
            return None
        most = max(leaders, key=leaders.count)
        return next(node for node in self.nodes if node.id == most)

    def running(self):
        """Ids of the cluster's running processes: known ones, and all whose command line names its data folder."""
        mark = str(self.data_dir).encode()
        own = {node.pid for node in self.nodes} | ({self._parent.pid} if self._parent else set())
        named = {pid for pid in all_pids() if pid != os.getpid() and mark in command_line(pid)}
        return sorted(pid for pid in named | own if is_running(pid))

    def _is_ready(self):
        if self._parent.poll() is not None:
            raise RuntimeError(f"anabranch dev ended with status {self._parent.returncode}:\n{self.tail()}")
        return any(line.startswith("ready") for line in self.output)

    def _wait(self, what, condition):
        try:
            wait_until(what, condition, START_TIMEOUT)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\noutput:\n{self.tail()}") from None

    def tail(self, lines=40):
        """The last lines of the processes' output."""
        return "".join(self.output[-lines:])

    def _read_output(self, stream):
        for line in stream:
            self.output.append(line)

    @staticmethod
    def _node(entry):
        known = {name: entry[name] for name in ("id", "pid", "api", "grpc", "data_dir")}
        return Node(**known, command=tuple(entry["command"]))


def status_of(url, ca=None):
    """The HTTP status of a GET, None without a response. With HTTPS only authorities in the file `ca` are trusted."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def all_pids():
    """The ids of all processes of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_line(pid):
    """The command line of a process. Empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_running(pid):
    """Whether the process exists and holds resources.

    The first thread of a process is a zombie as soon as this thread has ended. Meanwhile other threads may still hold
    the ports and the memory, which takes long to free.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False
    return state != "Z" or threads > 1
