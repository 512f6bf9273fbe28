"""Server processes of a contestant: started, watched through /proc, ended by their ids."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.waiting import wait_until

STOP_TIMEOUT = 20.0


class Servers:
    """Processes that run together. As a context manager it leaves none behind, however the block ends."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self._processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pids(self):
        """Process ids, in the order of the starts."""
        return [process.pid for process in self._processes]

    def start(self, name, command, env=None):
        """Starts a server whose output goes to a file in the directory."""
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
        """Waits for a condition for as long as all processes run; their output is in the error."""

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
        """The end of what each server printed."""
        logs = sorted(self.directory.glob("*.log"))
        ends = (log.read_text(errors="replace").splitlines()[-lines:] for log in logs)
        return "\n".join(f"{log.name}:\n" + "\n".join(end) for log, end in zip(logs, ends, strict=True))

    def stop(self):
        """SIGTERM to all, SIGKILL to those that take too long."""
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
    """Ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(port):
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def reset_peak(pids):
    """Lets the peak of resident memory begin anew; where the kernel forbids it, it stays that of the whole life."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            return


def peak_resident_bytes(pids):
    """Most memory that each process had resident since the reset, added up."""
    return sum(status_bytes(pid, "VmHWM") for pid in pids)


def wait_until_written(pids, timeout=60.0):
    """Waits until the processes have written nothing for a second: what a start brings with it is done."""
    wait_until("the servers have nothing left to write", lambda: not writes_within(pids, 1.0), timeout)


def writes_within(pids, seconds):
    """Whether they write in that time."""
    before = written_bytes(pids)
    time.sleep(seconds)
    return written_bytes(pids) - before > 64 << 10  # a heartbeat's log and the like


def written_bytes(pids):
    """What they have had written to disks so far."""
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def resident_bytes(pids):
    """Resident memory of all of them now."""
    return sum(status_bytes(pid, "VmRSS") for pid in pids)


def status_bytes(pid, name):
    """A size from /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def file_system(directory):
    """The kind of file system that a directory lies on."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if Path(directory).resolve().is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]
