"""`anabranch-bench`, run once against a running contestant."""

import json
import os
import subprocess

from bench.processes import peak_resident_bytes, reset_peak


class Failed(Exception):
    """Why there is no figure."""


def measure(generator, running, load, seconds, disk, saturation=None):
    """One measurement: the generator's JSON object, with the peak of the servers' resident memory."""
    command = [generator, *load.arguments(seconds, saturation)]
    command += ["--endpoint", running.endpoint(load.api), "--disk", disk]
    command += ["--server-pids", ",".join(map(str, running.pids))]
    reset_peak(running.pids)
    result = generate(command, seconds)
    result["cpus"] = os.cpu_count()
    result["server_peak_resident_bytes"] = peak_resident_bytes(running.pids)
    return result


def warm_up(generator, running, load, seconds, saturation=None):
    """The same load, not measured."""
    command = [generator, *load.arguments(seconds, saturation), "--endpoint", running.endpoint(load.api)]
    generate(command, seconds)


def generate(command, seconds):
    """Runs the generator; a call may take much longer than a slow server's measurement should."""
    patience = 120 + 10 * seconds
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"nothing came of it within {patience:g} s") from None
    if done.returncode != 0:
        raise Failed(" ".join(done.stderr.split()) or f"the generator ended with status {done.returncode}")
    return json.loads(done.stdout)
