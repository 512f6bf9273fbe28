"""Runs `anabranch server` as real processes: a cluster whose nodes read configuration files, as in production."""

import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

from support.cluster import START_TIMEOUT, STOP_TIMEOUT, Node, release_binary, status_of
from support.waiting import wait_until


class Servers:
    """Some running nodes. The context manager ends all processes, however the block ends."""

    def __init__(self, data_dir, nodes=1, settings=(), binary=None, environment=None, certs=None, plain=()):
        """`settings` are further lines of each node's configuration file, tables last. `certs` is a folder from `ctl
        certs`: with it every port has TLS, except the Kinesis API of the nodes `plain`."""
        self.data_dir = Path(data_dir)
        self.size = nodes
        self.settings = list(settings)
        self.binary = Path(binary or release_binary())
        self.environment = {**os.environ, **(environment or {})}
        self.certs, self.plain = certs, plain
        self.nodes = []
        self._processes = {}

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill_everything()
            raise

    def __exit__(self, *_):
        self.kill_everything()

    def start(self):
        """Starts every node and waits until all are ready."""
        ports = free_ports(2 * self.size)
        addresses = [(f"127.0.0.1:{ports[2 * i]}", f"127.0.0.1:{ports[2 * i + 1]}") for i in range(self.size)]
        peers = ", ".join(f'{{ node = {id}, grpc = "{grpc}" }}' for id, (_, grpc) in enumerate(addresses, 1))
        token_key = secrets.token_hex(32)
        for id, (api, grpc) in enumerate(addresses, 1):
            directory = self.data_dir / f"node-{id}"
            directory.mkdir(parents=True)
            lines = [
                f"node = {id}",
                'cluster = "e2e"',
                f'listen-api = "{api}"',
                f'listen-grpc = "{grpc}"',
                f'data-dir = "{directory}"',
                f'token-key = "{token_key}"',
                f'clock-offset-file = "{clock_file(directory)}"',
                f"nodes = [{peers}]",
                *self.settings,
                *(self._tls(id) if self.certs else ()),
            ]
            config = directory / "node.toml"
            config.write_text("\n".join(lines) + "\n")
            command = (str(self.binary), "server", "--config", str(config))
            address = f"https://{api}" if self.certs and id not in self.plain else api
            self.nodes.append(self._launch(Node(id, 0, address, grpc, str(directory), command)))
        for node in self.nodes:
            self._wait_ready(node)
        return self

    def _tls(self, id):
        """The TLS lines of a node's configuration file."""
        yield "[tls]"
        yield f'certificate = "{self.certs / f"node-{id}.pem"}"'
        yield f'key = "{self.certs / f"node-{id}.key"}"'
        yield f'ca = "{self.certs / "ca.pem"}"'
        if id in self.plain:
            yield 'api = "plain"'

    def set_clock_ahead(self, node, seconds):
        """Sets a node's wall clock ahead of the machine's clock, or behind it if the seconds are negative."""
        file = clock_file(node.data_dir)
        fresh = file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(file)

    def kill(self, node):
        """Kills a node with SIGKILL."""
        self._processes[node.id].kill()
        self._processes[node.id].wait(timeout=STOP_TIMEOUT)

    def restart(self, node):
        """Kills a node with SIGKILL and starts it again. Returns the node once it is ready."""
        self.kill(node)
        alive = self._launch(node)
        self.nodes = [alive if known.id == node.id else known for known in self.nodes]
        self._wait_ready(alive)
        return alive

    def _launch(self, node):
        with (Path(node.data_dir) / "output.log").open("ab") as output:
            process = subprocess.Popen(
                node.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )
        self._processes[node.id] = process
        return replace(node, pid=process.pid)

    def output(self, node):
        """The output of a node."""
        return (Path(node.data_dir) / "output.log").read_text(errors="replace")

    def stop(self):
        """Stops every node with SIGTERM. Returns their exit statuses."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=STOP_TIMEOUT) for process in self._processes.values()]

    def kill_everything(self):
        """Kills every node that still runs with SIGKILL."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(timeout=STOP_TIMEOUT)

    def _wait_ready(self, node):
        process = self._processes[node.id]

        def answers():
            if process.poll() is not None:
                raise RuntimeError(f"node {node.id} ended with status {process.returncode}:\n{self.output(node)}")
            return status_of(f"{node.endpoint}/readyz", self.certs and self.certs / "ca.pem") == 200

        wait_until(f"node {node.id} answers 200 on /readyz", answers, START_TIMEOUT)


def clock_file(data_dir):
    """The file from which a node reads by how many seconds its clock is ahead."""
    return Path(data_dir) / "clock-offset"


def free_ports(count):
    """Different ports that no process listens on at the moment.

    They are below the ports that the kernel assigns to outgoing connections. Otherwise such a connection could take a
    port before its node does.
    """
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            ports.extend({port} - set(ports))
    return ports
