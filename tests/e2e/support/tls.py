"""Runs `anabranch server` processes with certificates from `anabranch ctl certs`."""

import socket
import ssl
import subprocess
from pathlib import Path

from support.cluster import release_binary
from support.servers import Servers

# The cluster name of all servers in tests.
CLUSTER = "e2e"
TIMEOUT = 60.0


def run(*arguments, binary="anabranch"):
    """Runs a binary and returns its output. Raises RuntimeError with its message if it fails."""
    command = [str(part) for part in (release_binary(binary), *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def refused(*arguments, binary="anabranch"):
    """The error message of a run of a binary that must fail."""
    try:
        said = run(*arguments, binary=binary)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"{arguments}: {said}")


class TlsCluster(Servers):
    """Nodes with TLS on every port that accept any credentials."""

    def __init__(self, directory, nodes=3, days=365):
        certs = Path(directory) / "certs"
        numbers = ",".join(map(str, range(1, nodes + 1)))
        run("ctl", "certs", certs, "--cluster", CLUSTER, "--nodes", numbers, "--days", days)
        super().__init__(Path(directory) / "data", nodes, settings=['authentication = "any"'], certs=certs)
        self.ca = certs / "ca.pem"

    def connect(self, node):
        """A TLS connection to a node's Kinesis API that trusts only the cluster's authority."""
        context = ssl.create_default_context(cafile=self.ca)
        host, port = node.endpoint.removeprefix("https://").rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        return context.wrap_socket(plain, server_hostname="localhost")

    def ctl(self, *arguments):
        """The arguments for `anabranch ctl` against the first node, without a certificate."""
        return ("ctl", "--node", self.nodes[0].grpc, *arguments)

    def shown(self, name):
        """The arguments that make `ctl` use the certificate of this name."""
        return ("--ca", self.ca, "--certificate", self.certs / f"{name}.pem", "--key", self.certs / f"{name}.key")
