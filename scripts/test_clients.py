#!/usr/bin/env python3
"""Runs real clients: `make test-clients`. Three nodes verify their signatures.

The AWS SDKs of five languages run one scenario: create, put, split, encrypt, read in the order of the lineage,
subscribe, delete. The Kinesis Client Library runs another one: two workers share leases, and one is killed. Each client
uses its own protocol, first over HTTPS with certificates by `anabranch ctl certs`, then in the clear. The script
installs the SDKs from their registries into the user's cache. If the toolchain of a language is missing, the script
skips the language and says so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "e2e"))

from support.cluster import release_binary
from support.ctl import ctl
from support.servers import Servers

CLIENTS = Path(__file__).resolve().parents[1] / "tests" / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anabranch" / "clients"
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
    return of_maven("java", ca)


def kcl(ca):
    """The Kinesis Client Library 3 with its leases in this cluster: fan-out over HTTPS, polling over HTTP."""
    return of_maven("kcl", ca)


def of_maven(name, ca):
    """A program in Java, with the packages that its pom.xml names."""
    made, store = CACHE / name, ca.with_name(f"{name}.p12")
    places = [f"-DbuildDirectory={made}", f"-Dmdep.outputFile={made / 'classpath'}"]
    build = ["mvn", "-q", "-B", "compile", "dependency:build-classpath", *places]
    password = "changeit"
    trusted = ["keytool", "-importcert", "-noprompt", "-alias", "anabranch", "-file", ca]
    trusted += ["-keystore", store, "-storepass", password]
    script = 'exec java -cp "$0/classes:$(cat "$0/classpath")" Scenario "$@"'
    options = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={password}"
    return Client(CLIENTS / name, [build, trusted], ["sh", "-c", script, made], {"JDK_JAVA_OPTIONS": options})


def go(ca):
    """Go v2: JSON."""
    program = CACHE / "go" / "scenario"
    return Client(CLIENTS / "go", [["go", "build", "-o", program, "."]], [program], {"AWS_CA_BUNDLE": ca})


def rust(ca):
    """The SDK for Rust: JSON."""
    target = CACHE / "rust"
    build = ["cargo", "build", "-q", "--locked", "--target-dir", target]
    return Client(CLIENTS / "rust", [build], [target / "debug" / "anabranch-test-clients"], {"SSL_CERT_FILE": ca})


# The programs that each language needs.
LANGUAGES = {
    python: [],
    javascript: ["node", "npm"],
    java: ["java", "keytool", "mvn"],
    kcl: ["java", "keytool", "mvn"],
    go: ["go"],
    rust: ["cargo"],
}


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - {language.__name__ for language in LANGUAGES}
    if unknown:
        sys.exit(f"test-clients: no such language: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="anabranch-clients-") as temporary:
        directory = Path(temporary)
        certs, settings = certificates(directory / "certs"), encryption(directory / "keys.toml")
        with Servers(directory / "data", nodes=3, settings=settings, certs=certs, plain=[PLAIN]) as cluster:
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


def credentials_of(cluster):
    """Makes a root user. Returns the environment variables with its access key."""
    tls = ("--tls-dir", cluster.certs)
    ctl(cluster.binary, cluster.nodes[0], "user", "create", "root", *tls)
    key = ctl(cluster.binary, cluster.nodes[0], "key", "create", "root", *tls)
    return {"AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}


def passes(language, programs, cluster, credentials):
    """Runs the scenario of a language, over HTTPS and in the clear. Prints and returns the result."""
    name = language.__name__
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"test-clients: {name}: SKIPPED, not installed: {', '.join(missing)}", flush=True)
        return True
    began = time.monotonic()
    client = language(cluster.certs / "ca.pem")
    commands = [(command, {}) for command in client.build]
    for how, node, trust in (("https", cluster.nodes[PLAIN], client.trust), ("http", cluster.nodes[PLAIN - 1], {})):
        assert node.endpoint.startswith(f"{how}://")
        commands.append(([*client.run, node.endpoint, f"{name}-{how}"], {**credentials, **trust}))
    if not all(succeeds(name, command, client.place, environment) for command, environment in commands):
        return False
    print(f"test-clients: {name}: passed ({language.__doc__} {time.monotonic() - began:.0f} s)", flush=True)
    return True


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
