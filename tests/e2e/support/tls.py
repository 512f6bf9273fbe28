"""`anabranch server` processes with certificates by `anabranch ctl certs`."""

import socket
import ssl
import subprocess
from pathlib import Path

from support.cluster import release_binary
from support.waiting import wait_until

CLUSTER = "e2e-tls"
TIMEOUT = 60.0


def run(*arguments):
    """Runs the binary; what it printed. Raises with what it says when it fails."""
    command = [str(part) for part in (release_binary(), *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def refused(*arguments):
    """What a call of the binary that fails says."""
    try:
        said = run(*arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"{arguments}: {said}")


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


class TlsCluster:
    """Three nodes with TLS on every port. As a context manager it leaves no process behind."""

    def __init__(self, directory, nodes=3):
        self.directory = Path(directory)
        self.certs = self.directory / "certs"
        self.ca = self.certs / "ca.pem"
        self.ids = list(range(1, nodes + 1))
        ports = free_ports(2 * nodes)
        self.api = dict(zip(self.ids, ports[:nodes], strict=True))
        self.grpc = dict(zip(self.ids, ports[nodes:], strict=True))
        self.processes = {}

    def __enter__(self):
        numbers = ",".join(map(str, self.ids))
        run("ctl", "certs", self.certs, "--cluster", CLUSTER, "--nodes", numbers)
        try:
            for node in self.ids:
                self.start(node)
            for node in self.ids:
                wait_until(f"node {node} is ready", lambda node=node: "ready node" in self.log(node), TIMEOUT)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait(timeout=TIMEOUT)

    def start(self, node, certificate=None):
        """Starts a node, with its own certificate or the one of that name."""
        name = certificate or f"node-{node}"
        lines = [
            f"node = {node}",
            f"cluster = '{CLUSTER}'",
            f"listen-api = '127.0.0.1:{self.api[node]}'",
            f"listen-grpc = '127.0.0.1:{self.grpc[node]}'",
            f"data-dir = '{self.directory / f'data-{node}'}'",
            f"token-key = '{'5e' * 32}'",
            "authentication = 'any'",
            "[tls]",
            f"certificate = '{self.certs / name}.pem'",
            f"key = '{self.certs / name}.key'",
            f"ca = '{self.ca}'",
        ]
        for peer in self.ids:
            lines += ["[[nodes]]", f"node = {peer}", f"grpc = '127.0.0.1:{self.grpc[peer]}'"]
        config = self.directory / f"node-{node}.toml"
        config.write_text("\n".join(lines) + "\n")
        with self._log_file(node).open("a") as log:
            command = [str(release_binary()), "server", "--config", str(config)]
            self.processes[node] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self, node):
        """What a node has printed so far."""
        return self._log_file(node).read_text()

    def endpoint(self, node):
        """Where an AWS client finds a node."""
        return f"https://127.0.0.1:{self.api[node]}"

    def connect(self, node):
        """A TLS connection to a node's Kinesis API that trusts the authority alone."""
        context = ssl.create_default_context(cafile=self.ca)
        plain = socket.create_connection(("127.0.0.1", self.api[node]), timeout=TIMEOUT)
        return context.wrap_socket(plain, server_hostname="localhost")

    def ctl(self, *arguments, node=1):
        """The arguments of the binary for `anabranch ctl` on a node, without a certificate."""
        return ("ctl", "--node", f"127.0.0.1:{self.grpc[node]}", *arguments)

    def shown(self, name):
        """The arguments that show the certificate of that name."""
        return ("--ca", self.ca, "--certificate", self.certs / f"{name}.pem", "--key", self.certs / f"{name}.key")

    def _log_file(self, node):
        return self.directory / f"node-{node}.log"
