"""`anabranch server` with configurations of our own, for what `anabranch dev` decides by itself."""

import contextlib
import secrets
import signal
import socket
import subprocess
from pathlib import Path

from support.cluster import Node, release_binary, status_of
from support.waiting import wait_until

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


def free_port():
    """A port that nobody listens on, for now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Servers:
    """Nodes of one cluster, each a `server` process. As a context manager it leaves nothing behind.

    `extra` is TOML that every node's configuration ends with; its first lines may be keys of the file itself.
    """

    def __init__(self, data_dir, nodes=1, extra="", environment=None):
        self.data_dir = Path(data_dir)
        self.extra = extra
        self.binary = release_binary()
        self.environment = environment
        self.ports = {number: (free_port(), free_port()) for number in range(1, nodes + 1)}
        self.token_key = secrets.token_hex(32)
        self.nodes = []
        self._processes = {}

    def __enter__(self):
        try:
            for number in self.ports:
                self.launch(number)
            for node in self.nodes:
                self.wait_ready(node)
            return self
        except BaseException:
            self.kill_everything()
            raise

    def __exit__(self, *_):
        self.kill_everything()

    def launch(self, number):
        """Starts a node, and waits for nothing."""
        api, grpc = self.ports[number]
        folder = self.data_dir / f"node-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "node.toml"
        config.write_text(self.config(number, folder))
        log = (folder / "log").open("ab")
        command = (str(self.binary), "server", "--config", str(config))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
        )
        log.close()
        self._processes[number] = process
        node = Node(number, process.pid, f"127.0.0.1:{api}", f"127.0.0.1:{grpc}", str(folder), command)
        self.nodes = sorted([node, *(known for known in self.nodes if known.id != number)], key=lambda node: node.id)
        return node

    def config(self, number, folder):
        """What the node's configuration says."""
        api, grpc = self.ports[number]
        top, _, tables = self.extra.partition("\n[")
        peers = "".join(
            f'[[nodes]]\nnode = {peer}\ngrpc = "127.0.0.1:{port}"\n' for peer, (_, port) in self.ports.items()
        )
        return (
            f'node = {number}\ncluster = "e2e"\nlisten-api = "127.0.0.1:{api}"\nlisten-grpc = "127.0.0.1:{grpc}"\n'
            f'data-dir = "{folder}"\ntoken-key = "{self.token_key}"\n{top}\n{peers}' + (f"[{tables}" if tables else "")
        )

    def restart(self, number):
        """SIGKILL, and the same node again; returns it once it is ready."""
        self._processes[number].kill()
        self._processes[number].wait(timeout=STOP_TIMEOUT)
        node = self.launch(number)
        self.wait_ready(node)
        return node

    def stop(self):
        """SIGTERM to all; returns when they have ended."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(timeout=STOP_TIMEOUT)

    def wait_ready(self, node):
        """Returns when the node answers 200 on /readyz."""

        def ready():
            if self._processes[node.id].poll() is not None:
                raise RuntimeError(f"node {node.id} ended:\n{self.log(node)}")
            return status_of(f"{node.endpoint}/readyz") == 200

        wait_until(f"node {node.id} is ready", ready, START_TIMEOUT)

    def log(self, node):
        """What the node printed."""
        return (Path(node.data_dir) / "log").read_text(errors="replace")

    def kill_everything(self):
        """SIGKILL to all."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(timeout=STOP_TIMEOUT)
