"""A cluster of real processes for fault injection. Each node has a network namespace with two networks, and a disk of
its own. Needs root.

    client --- clients' network (10.97.1.0/24) --- node i: the Kinesis API
               peers' network   (10.97.0.0/24) --- node i: gRPC, joined by a bridge

A node that is unplugged from a network loses all packets in both directions, and no connection is reset. A disk is a
file with an ext4 file system. A lab makes everything when it opens, and removes everything when it closes.
"""

import contextlib
import fcntl
import json
import os
import secrets
import signal
import struct
import subprocess
import time
from pathlib import Path

from support.waiting import wait_until

PREFIX = "anab"
SWITCH = f"{PREFIX}-switch"
CLIENT = f"{PREFIX}-client"
PEERS, CLIENTS = 0, 1
API_PORT, GRPC_PORT = 4567, 4568
START_TIMEOUT = 60.0
# The ioctl that makes ext4 fail every later access, without flushing pending writes (include/uapi/linux/fs.h).
EXT4_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def run(*command):
    """Runs a command that must succeed. Returns its output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Node:
    """One node: its process, its networks, its disk."""

    def __init__(self, lab, number):
        self.lab, self.number = lab, number
        self.namespace = f"{PREFIX}-{number}"
        self.directory = lab.directory / f"node-{number}"
        self.mount = self.directory / "disk"
        self.data = self.mount / "data"
        self.offset = self.directory / "offset"
        self.process = None

    def address(self, network):
        """The node's address in one of the networks."""
        return f"10.97.{network}.{self.number}"

    @property
    def api(self):
        """Host and port of the node's Kinesis API."""
        return self.address(CLIENTS), API_PORT

    @property
    def grpc(self):
        """The node's gRPC address."""
        return f"{self.address(PEERS)}:{GRPC_PORT}"

    def make(self, peers):
        """Makes the disk and the configuration file."""
        self.mount.mkdir(parents=True)
        image = self.directory / "disk.img"
        run("truncate", "-s", "1500M", image)
        run("mkfs.ext4", "-q", "-F", image)
        run("mount", "-o", "loop", image, self.mount)
        (self.directory / "node.toml").write_text(f"""node = {self.number}
cluster = "lab"
listen-api = "{self.address(CLIENTS)}:{API_PORT}"
listen-grpc = "{self.grpc}"
data-dir = "{self.data}"
authentication = "any"
token-key = "{self.lab.token_key}"
clock-offset-file = "{self.offset}"
{self.lab.plain_grpc}nodes = [{peers}]
[storage]
segment-bytes = 16777216
ballast-bytes = 16777216
""")

    def start(self):
        """Starts the node's process."""
        # `ip netns exec` would copy all mounts, and the copy would prevent a failed disk from being mounted again.
        command = ["nsenter", f"--net=/run/netns/{self.namespace}", self.lab.binary, "server", "--config"]
        with (self.directory / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, self.directory / "node.toml"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def signal(self, number):
        """Sends a signal to the node's process."""
        if self.runs():
            self.process.send_signal(number)

    def runs(self):
        """Whether the node's process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """Kills the process with SIGKILL."""
        if self.runs():
            self.process.kill()
            self.process.wait()

    def plug(self, network, plugged):
        """Plugs the node into a network, or unplugs it from the network."""
        port = f"p{network}-{self.number}"
        joined = ["master", f"br{network}"] if plugged else ["nomaster"]
        run("ip", "-n", SWITCH, "link", "set", port, *joined)

    def freeze(self, frozen):
        """Makes the file system of the disk hang, or lets it continue."""
        run("fsfreeze", "-f" if frozen else "-u", self.mount)

    def fail_disk(self):
        """Makes every later access to the disk fail."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def repair_disk(self):
        """Mounts a failed disk again."""
        run("umount", self.mount)
        run("mount", "-o", "loop", self.directory / "disk.img", self.mount)

    def output(self):
        """The output of the node's process."""
        return (self.directory / "output.log").read_text(errors="replace")


class Lab:
    """The cluster. The context manager removes everything, however the block ends."""

    def __init__(self, directory, nodes, binary):
        self.directory, self.binary = Path(directory), Path(binary)
        self.token_key = secrets.token_hex(32)
        # Older binaries do not know this setting and refuse it.
        self.plain_grpc = "plain-grpc = true\n" if b"plain-grpc" in self.binary.read_bytes() else ""
        self.nodes = [Node(self, number) for number in range(1, nodes + 1)]

    def __enter__(self):
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_):
        self._close()

    def _open(self):
        run("ip", "netns", "add", SWITCH)
        for network in (PEERS, CLIENTS):
            run("ip", "-n", SWITCH, "link", "add", f"br{network}", "type", "bridge")
            run("ip", "-n", SWITCH, "link", "set", f"br{network}", "up")
        run("ip", "netns", "add", CLIENT)
        self._join(CLIENT, CLIENTS, "c", "10.97.1.250/24")
        self._join(CLIENT, PEERS, "c", "10.97.0.250/24")
        peers = ", ".join(f'{{ node = {node.number}, grpc = "{node.grpc}" }}' for node in self.nodes)
        for node in self.nodes:
            run("ip", "netns", "add", node.namespace)
            for network in (PEERS, CLIENTS):
                self._join(node.namespace, network, node.number, f"{node.address(network)}/24")
            node.make(peers)
        for node in self.nodes:
            node.start()
        self.wait_ready()

    def _join(self, namespace, network, name, address):
        port, device = f"p{network}-{name}", f"eth{network}"
        run("ip", "-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", device, "netns", namespace)
        run("ip", "-n", SWITCH, "link", "set", port, "master", f"br{network}", "up")
        run("ip", "-n", namespace, "addr", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")

    def _close(self):
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            with contextlib.suppress(RuntimeError):
                node.freeze(False)
            node.kill()
            subprocess.run(["umount", node.mount], capture_output=True)
        for namespace in [node.namespace for node in self.nodes] + [CLIENT, SWITCH]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def wait_ready(self, nodes=None):
        """Waits until nodes answer 200 on /readyz."""
        for node in nodes or self.nodes:
            wait_until(f"node {node.number} is ready", lambda node=node: self._is_ready(node), START_TIMEOUT, pause=0.1)

    def _is_ready(self, node):
        if not node.runs():
            raise RuntimeError(f"node {node.number} ended with status {node.process.returncode}:\n{node.output()}")
        host, port = node.api
        probe = ["ip", "netns", "exec", CLIENT, "curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}"]
        answer = subprocess.run([*probe, f"http://{host}:{port}/readyz"], capture_output=True, text=True)
        return answer.stdout == "200"

    def ctl(self, *arguments, node=None):
        """Runs `anabranch ctl` against a node. Returns its JSON."""
        node = node or self.nodes[0]
        command = ["ip", "netns", "exec", CLIENT, self.binary, "ctl", "--node", node.grpc, *arguments, "--json"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"ctl {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def lead(self, groups, node):
        """Makes `node` the leader of all these groups."""

        def leads():
            led = True
            for group in groups:
                if self.ctl("group", str(group), node=node).get("leader") == node.number:
                    continue
                led = False
                with contextlib.suppress(RuntimeError):
                    self.ctl("transfer-leader", str(group), str(node.number), node=node)
            return led

        wait_until(f"node {node.number} leads", leads, START_TIMEOUT, pause=0.5)
        time.sleep(0.5)
