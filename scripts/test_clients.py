#!/usr/bin/env python3
"""The same scenario by the AWS SDKs of five languages against three nodes that verify signatures: `make test-clients`.

Create, put, split, encrypt, read with lineage, subscribe, delete: each SDK as it comes, in its own protocol. Installs
the SDKs from their registries into the user's cache. A language whose toolchain isn't there is skipped, and said to be.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "e2e"))

from support.cluster import release_binary
from support.ctl import ctl
from support.servers import Servers

CLIENTS = Path(__file__).resolve().parents[1] / "tests" / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anabranch" / "clients"
# Seconds of one command, the installing of an SDK included.
TIMEOUT = 1200


def python(endpoint, stream):
    """botocore: JSON over HTTP/1.1."""
    yield [sys.executable, CLIENTS / "python" / "scenario.py", endpoint, stream], CLIENTS / "python", {}


def javascript(endpoint, stream):
    """JavaScript v3: JSON over HTTP/2 without TLS."""
    place = copy_of("javascript")
    yield ["npm", "install", "--silent", "--no-audit", "--no-fund"], place, {}
    yield ["node", "scenario.mjs", endpoint, stream], place, {}


def java(endpoint, stream):
    """Java v2, asynchronous: CBOR over HTTP/2 without TLS."""
    place = f"-DbuildDirectory={CACHE / 'java'}"
    run = ["mvn", "-q", "-B", "compile", "exec:java", f"-Dexec.args={endpoint} {stream}", place]
    yield run, CLIENTS / "java", {}


def go(endpoint, stream):
    """Go v2: JSON."""
    yield ["go", "run", ".", endpoint, stream], CLIENTS / "go", {}


def rust(endpoint, stream):
    """The SDK for Rust: JSON."""
    yield ["cargo", "run", "-q", "--", endpoint, stream], CLIENTS / "rust", {"CARGO_TARGET_DIR": str(CACHE / "rust")}


# Each language with the programs that it needs.
LANGUAGES = {
    python: [],
    javascript: ["node", "npm"],
    java: ["java", "mvn"],
    go: ["go"],
    rust: ["cargo"],
}


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - {language.__name__ for language in LANGUAGES}
    if unknown:
        sys.exit(f"test-clients: no such language: {', '.join(sorted(unknown))}")
    failed = []
    with (
        tempfile.TemporaryDirectory(prefix="anabranch-clients-") as directory,
        Servers(Path(directory) / "data", nodes=3, settings=encryption(Path(directory) / "keys.toml")) as cluster,
    ):
        credentials = credentials_of(cluster)
        for language, programs in LANGUAGES.items():
            if not wanted or language.__name__ in wanted:
                failed += [] if passes(language, programs, cluster, credentials) else [language.__name__]
        cluster.stop()
    if failed:
        sys.exit(f"test-clients: FAILED: {', '.join(failed)}")


def encryption(key_file):
    """What a node's configuration says of master keys; makes them."""
    subprocess.run([release_binary(), "ctl", "master-key", "create", key_file], check=True, stdout=subprocess.DEVNULL)
    return ["[encryption]", f'key-file = "{key_file}"']


def credentials_of(cluster):
    """The environment of a new root user."""
    ctl(cluster.binary, cluster.nodes[0], "user", "create", "root")
    key = ctl(cluster.binary, cluster.nodes[0], "key", "create", "root")
    return {"AWS_ACCESS_KEY_ID": key["access_key_id"], "AWS_SECRET_ACCESS_KEY": key["secret_access_key"]}


def passes(language, programs, cluster, credentials):
    """Runs the scenario of a language; says what came of it."""
    name = language.__name__
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"test-clients: {name}: SKIPPED, not installed: {', '.join(missing)}", flush=True)
        return True
    began = time.monotonic()
    for command, place, environment in language(cluster.nodes[1].endpoint, f"{name}-clients"):
        text = [str(part) for part in command]
        try:
            done = subprocess.run(
                text,
                cwd=place,
                env={**os.environ, **credentials, **environment},
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
            return False
    print(f"test-clients: {name}: passed ({language.__doc__} {time.monotonic() - began:.0f} s)", flush=True)
    return True


def copy_of(name):
    """A copy of a client's sources in the cache, where its packages may be installed."""
    place = CACHE / name
    place.mkdir(parents=True, exist_ok=True)
    for file in (CLIENTS / name).iterdir():
        shutil.copy2(file, place)
    return place


if __name__ == "__main__":
    main()
