"""Runs `anabranch-bench` once against a running contestant."""

import json
import os
import subprocess

from bench.processes import peak_resident_bytes, reset_peak


class Failed(Exception):
    """The generator failed. The message is the reason."""


def measure(generator, running, load, seconds, disk, saturation=None):
    """Measures a load. Returns the generator's JSON object and the peak of the servers' resident memory."""
    command = [generator, *load.arguments(seconds, saturation)]
    command += ["--endpoint", running.endpoint(load.api), "--disk", disk]
    command += ["--server-pids", ",".join(map(str, running.pids))]
    reset_peak(running.pids)
    result = generate(command, seconds)
    result["cpus"] = os.cpu_count()
    result["server_peak_resident_bytes"] = peak_resident_bytes(running.pids)
    return result


def warm_up(generator, running, load, seconds, saturation=None):
    """Sends the load without measuring it."""
    command = [generator, *load.arguments(seconds, saturation), "--endpoint", running.endpoint(load.api)]
    generate(command, seconds)


def generate(command, seconds):
    """Runs the generator. Waits much longer than the measurement, because calls to a slow server may take long."""
    patience = 120 + 10 * seconds
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"the generator did not end within {patience:g} s") from None
    if done.returncode != 0:
        raise Failed(" ".join(done.stderr.split()) or f"the generator ended with status {done.returncode}")
    return json.loads(done.stdout)
