"""Starts the server processes of a contestant, watches them through /proc, and ends them by their ids."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.waiting import wait_until

STOP_TIMEOUT = 20.0


class Servers:
    """Processes that run together. The context manager ends all of them, however the block ends."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self._processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pids(self):
        """The process ids, in the order of the starts."""
        return [process.pid for process in self._processes]

    def start(self, name, command, env=None):
        """Starts a server. Its output goes to a file in the directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.directory,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def wait(self, what, condition, timeout=90.0):
        """Waits for a condition. If a process ends meanwhile, raises an error with the output of all processes."""

        def met():
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"a server ended with status {process.returncode}\n{self.tail()}")
            return condition()

        try:
            return wait_until(what, met, timeout, pause=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.tail()}") from None

    def tail(self, lines=15):
        """The last lines of each server's output."""
        logs = sorted(self.directory.glob("*.log"))
        ends = (log.read_text(errors="replace").splitlines()[-lines:] for log in logs)
        return "\n".join(f"{log.name}:\n" + "\n".join(end) for log, end in zip(logs, ends, strict=True))

    def stop(self):
        """Sends SIGTERM to all processes, and SIGKILL to each process that takes too long."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def free_ports(count):
    """Free ports of loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(port):
    """Whether a server accepts connections on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def reset_peak(pids):
    """Resets the peak of resident memory. If the kernel forbids it, the peak covers the whole life of the process."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            return


def peak_resident_bytes(pids):
    """The sum of the processes' peaks of resident memory since the reset."""
    return sum(status_bytes(pid, "VmHWM") for pid in pids)


def wait_until_written(pids, timeout=60.0):
    """Waits until the processes have written nothing for a second. The writes of the start are then done."""
    wait_until("the servers have nothing left to write", lambda: not writes_within(pids, 1.0), timeout)


def writes_within(pids, seconds):
    """Whether the processes write to disks within this time."""
    before = written_bytes(pids)
    time.sleep(seconds)
    return written_bytes(pids) - before > 64 << 10  # more than heartbeats write


def written_bytes(pids):
    """Bytes that the processes have written to disks so far."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def resident_bytes(pids):
    """Resident memory of all processes now, in bytes."""
    return sum(status_bytes(pid, "VmRSS") for pid in pids)


def status_bytes(pid, name):
    """A size from /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def file_system(directory):
    """The type of the file system of a directory."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if Path(directory).resolve().is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]
