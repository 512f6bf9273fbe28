#!/usr/bin/env python3
"""Runs real clients: `make test-clients`. Three nodes verify their signatures.

The AWS SDKs of five languages run one scenario: create, put, split, encrypt, read in the order of the lineage,
subscribe, delete. Four versions of the Kinesis Client Library run another one, see tests/clients/kcl/scenario.py.
Producers and connectors run with the settings of their pages in docs/clients, see tests/clients/producers/every.py.
Each client uses its own protocol, first over HTTPS with certificates by `anabranch ctl certs`, then in the clear. The
script installs the clients from their registries into the user's cache. If the toolchain of a client is missing, the
script skips the client and says so.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "e2e"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "clients"))

from kcl import versions
from kcl.scenario import Plan, Target, play
from producers import every, pages
from producers.target import Target as Endpoint

from support.cluster import STOP_TIMEOUT, is_running, release_binary
from support.ctl import ctl
from support.servers import Servers, free_ports
from support.waiting import wait_until

CLIENTS = Path(__file__).resolve().parents[1] / "tests" / "clients"
CACHE = versions.CACHE
# Seconds that one command may take, for example the installation of an SDK.
TIMEOUT = 1200
# The number of the node whose Kinesis API is in the clear. The other nodes use HTTPS.
PLAIN = 1


class Client(NamedTuple):
    """A client of one language."""

    # The folder in which its commands run.
    place: Path
    # The commands that build it.
    build: list
    # The command that runs it. The endpoint and the stream name are appended.
    run: list
    # The environment variables that name the trusted certificate authority.
    trust: dict


def python(ca):
    """botocore: JSON over HTTP/1.1."""
    return Client(CLIENTS / "python", [], [sys.executable, "scenario.py"], {"AWS_CA_BUNDLE": ca})


def javascript(ca):
    """JavaScript v3: JSON over HTTP/2."""
    place = copy_of("javascript")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
    return Client(place, [install], ["node", "scenario.mjs"], {"NODE_EXTRA_CA_CERTS": ca})


def java(ca):
    """Java v2, asynchronous: CBOR over HTTP/2."""
    made = CACHE / "java"
    places = [f"-DbuildDirectory={made}", f"-Dmdep.outputFile={made / 'classpath'}"]
    build = ["mvn", "-q", "-B", "compile", "dependency:build-classpath", *places]
    script = 'exec java -cp "$0/classes:$(cat "$0/classpath")" Scenario "$@"'
    return Client(CLIENTS / "java", [build], ["sh", "-c", script, made], java_trusts(ca))


def java_trusts(ca):
    """The environment variables that make programs in Java trust the certificate authority."""
    store, password = ca.with_name("java.p12"), "changeit"
    if not store.exists():
        command = ["keytool", "-importcert", "-noprompt", "-alias", "anabranch", "-file", ca]
        subprocess.run([*command, "-keystore", store, "-storepass", password], check=True, capture_output=True)
    return {"JDK_JAVA_OPTIONS": f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={password}"}


def go(ca):
    """Go v2: JSON."""
    program = CACHE / "go" / "scenario"
    return Client(CLIENTS / "go", [["go", "build", "-o", program, "."]], [program], {"AWS_CA_BUNDLE": ca})


def rust(ca):
    """The SDK for Rust: JSON."""
    target = CACHE / "rust"
    build = ["cargo", "build", "-q", "--locked", "--target-dir", target]
    return Client(CLIENTS / "rust", [build], [target / "debug" / "anabranch-test-clients"], {"SSL_CERT_FILE": ca})


# What some arguments stand for.
GROUPS = {name: [member.__name__ for member in all] for name, all in (("kcl", versions.ALL), ("producers", every.ALL))}
# The programs that each language needs.
LANGUAGES = {
    python: [],
    javascript: ["node", "npm"],
    java: ["java", "keytool", "mvn"],
    go: ["go"],
    rust: ["cargo"],
    **{version: ["keytool", *versions.PROGRAMS] for version in versions.ALL},
    **{producer: ["keytool", *needs.programs] for producer, needs in every.ALL.items()},
}


class Monitored(Servers):
    """Nodes that show their metrics on a port of its own. On the port of the API a cluster with users does not."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        # `HOST:PORT` by node id.
        self.metrics = {}

    def _launch(self, node):
        if node.id not in self.metrics:
            [port] = free_ports(1)
            self.metrics[node.id] = f"127.0.0.1:{port}"
            config = Path(node.data_dir) / "node.toml"
            config.write_text(f'listen-metrics = "{self.metrics[node.id]}"\n{config.read_text()}')
        return super()._launch(node)


def main():
    wanted = [name for argument in sys.argv[1:] for name in GROUPS.get(argument, [argument])]
    unknown = set(wanted) - {language.__name__ for language in LANGUAGES}
    if unknown:
        sys.exit(f"test-clients: no such language: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="anabranch-clients-") as temporary:
        directory = Path(temporary)
        certs, settings = certificates(directory / "certs"), encryption(directory / "keys.toml")
        with Monitored(directory / "data", nodes=3, settings=settings, certs=certs, plain=[PLAIN]) as cluster:
            credentials = credentials_of(cluster)
            for language, programs in LANGUAGES.items():
                if not wanted or language.__name__ in wanted:
                    failed += [] if passes(language, programs, cluster, credentials) else [language.__name__]
            cluster.stop()
    if failed:
        sys.exit(f"test-clients: FAILED: {', '.join(failed)}")


def certificates(directory):
    """Makes the certificates of three nodes. Returns their folder."""
    anabranch("certs", directory, "--cluster", "e2e", "--nodes", "1,2,3")
    return directory


def encryption(key_file):
    """Makes the master keys. Returns the lines of a node's configuration that name them."""
    anabranch("master-key", "create", key_file)
    return ["[encryption]", f'key-file = "{key_file}"']


def anabranch(*arguments):
    subprocess.run([release_binary(), "ctl", *arguments], check=True, stdout=subprocess.DEVNULL)


def credentials_of(cluster, user="root", policy=None):
    """Makes a user, root or one with a policy. Returns the environment variables with its access key."""
    tls = ("--tls-dir", cluster.certs)
    ctl(cluster.binary, cluster.nodes[0], "user", "create", user, *tls)
    if policy:
        ctl(cluster.binary, cluster.nodes[0], "policy", "put", user, "page", "-", *tls, stdin=policy)
    key = ctl(cluster.binary, cluster.nodes[0], "key", "create", user, *tls)
    return {"AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}


def passes(language, programs, cluster, credentials):
    """Runs the scenario of a language, over HTTPS and in the clear. Prints and returns the result."""
    name = language.__name__
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"test-clients: {name}: SKIPPED, not installed: {', '.join(missing)}", flush=True)
        return True
    began = time.monotonic()
    if language in versions.ALL:
        return shares(language, cluster, credentials)
    if language in every.ALL:
        return produces(language, cluster, credentials)
    client = language(cluster.certs / "ca.pem")
    commands = [(command, {}) for command in client.build]
    for how, node, trust in (("https", cluster.nodes[PLAIN], client.trust), ("http", cluster.nodes[PLAIN - 1], {})):
        assert node.endpoint.startswith(f"{how}://")
        commands.append(([*client.run, node.endpoint, f"{name}-{how}"], {**credentials, **trust}))
    if not all(succeeds(name, command, client.place, environment) for command, environment in commands):
        return False
    print(f"test-clients: {name}: passed ({language.__doc__} {time.monotonic() - began:.0f} s)", flush=True)
    return True


def shares(language, cluster, credentials):
    """Runs the scenario of a version of the KCL, over HTTPS and in the clear. Prints and returns the result."""
    name, ca = language.__name__, cluster.certs / "ca.pem"
    environment = {**credentials, **java_trusts(ca)}
    restarts = [functools.partial(restart, cluster, node.id) for node in cluster.nodes]
    try:
        version = language()
        for protocol, how in zip(("https", "http"), version.hows, strict=True):
            began = time.monotonic()
            endpoints = [node.endpoint for node in cluster.nodes if node.endpoint.startswith(f"{protocol}:")]
            target = Target(endpoints, environment, list(cluster.metrics.values()), ca if protocol == "https" else None)
            directory = cluster.data_dir.with_name(f"{name}-{protocol}")
            directory.mkdir()
            figures = play(version, target, f"{name}-{protocol}", Plan(how, restarts=restarts, measure=20), directory)
            seconds = time.monotonic() - began
            what = f"{language.__doc__} {how} over {protocol}: {figures}; {seconds:.0f} s"
            print(f"test-clients: {name}: passed ({what})", flush=True)
    except (AssertionError, RuntimeError) as error:
        print(f"test-clients: {name}: FAILED: {error}", flush=True)
        return False
    return True


def produces(producer, cluster, credentials):
    """Runs a producer with each protocol that it speaks. Prints and returns the result."""
    name = producer.__name__
    try:
        for protocol in every.ALL[producer].protocols:
            began = time.monotonic()
            figures = figures_of(producer, cluster, protocol, credentials)
            what = f"{producer.__doc__} {protocol}: {figures}; {time.monotonic() - began:.0f} s"
            print(f"test-clients: {name}: passed ({what})", flush=True)
    except AssertionError as error:
        print(f"test-clients: {name}: FAILED: {error}", flush=True)
        return False
    return True


def figures_of(producer, cluster, protocol, root):
    """Runs a producer as a user with the policy of its page. Raises AssertionError if it fails."""
    stream = f"{producer.__name__}-{protocol}"
    directory = cluster.data_dir.with_name(stream)
    directory.mkdir()
    try:
        user = credentials_of(cluster, stream, pages.policy(producer.__name__, stream))
        return producer(endpoint_of(cluster, protocol, user, root), stream, directory)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def endpoint_of(cluster, protocol, user, root):
    """A node that speaks the protocol, as it is for a user."""
    node = next(node for node in cluster.nodes if node.endpoint.startswith(f"{protocol}:"))
    java, metrics = [*versions.JAVA, versions.LOGGING], cluster.metrics[node.id]
    if protocol == "http":
        return Endpoint(node.endpoint, user, root, java, metrics, None)
    ca = cluster.certs / "ca.pem"
    trust = java_trusts(ca)["JDK_JAVA_OPTIONS"].split()
    return Endpoint(node.endpoint, {**user, "AWS_CA_BUNDLE": ca}, root, [*java, *trust], metrics, ca)


def restart(cluster, id):
    """Stops a node with SIGTERM, and starts it again."""
    node = next(node for node in cluster.nodes if node.id == id)
    os.kill(node.pid, signal.SIGTERM)
    wait_until(f"node {id} ends", lambda: not is_running(node.pid), STOP_TIMEOUT)
    cluster.restart(node)


def succeeds(name, command, place, environment):
    """Runs a command. Returns whether it succeeds, and prints its output if not."""
    text = [str(part) for part in command]
    environment = {**os.environ, **{variable: str(value) for variable, value in environment.items()}}
    try:
        done = subprocess.run(
            text,
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        print(f"test-clients: {name}: FAILED, still runs after {error.timeout:.0f} s: {' '.join(text)}", flush=True)
        return False
    if done.returncode != 0:
        print(f"test-clients: {name}: FAILED: {' '.join(text)}\n{done.stdout}", flush=True)
    return done.returncode == 0


def copy_of(name):
    """Copies a client's sources into the cache, so that its packages are not installed into this tree."""
    place = CACHE / name
    place.mkdir(parents=True, exist_ok=True)
    for file in (CLIENTS / name).iterdir():
        shutil.copy2(file, place)
    return place


if __name__ == "__main__":
    main()
