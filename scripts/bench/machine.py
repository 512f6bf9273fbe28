"""Describes the machine and the revision of a measurement."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path

from bench.processes import file_system
from support.cluster import release_binary

ROOT = Path(__file__).resolve().parent.parent.parent


def binary(name="anabranch"):
    """The path of a binary of the profile `dist`: `anabranch`, which `make dist` ships, or `anabranch-bench`."""
    return release_binary().parents[1] / "dist" / name


def run(directory):
    """The first line of every file of results."""
    return {
        "line": "run",
        "date": time.strftime("%Y-%m-%d"),
        "revision": revision(),
        "machine": describe(directory),
    }


def describe(directory):
    """Processor, memory, kernel and file system."""
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu_model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release(),
        "file_system": file_system(directory),
    }


def cpu_model():
    """The name of the processor, from the kernel."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def revision():
    """The commit, with a mark if files differ from it."""
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def floor(generator, directory):
    """The current cost of syncs and round trips (`anabranch-bench floor`): one object for each."""
    command = [generator, "floor", "--data-dir", directory]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
