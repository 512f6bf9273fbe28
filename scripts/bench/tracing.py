"""Counts system calls, their bytes and copies of memory of some processes with perf. Needs root."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from bench.install import Unavailable

TRACEFS = Path("/sys/kernel/tracing")
NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GROUP = "anabranch"
# The functions behind glibc's memcpy and memmove on x86-64. The processor's features decide which of them is used.
MOVES = re.compile(r"__mem(move|cpy)_\w+_unaligned(_erms)?$")
EXIT = re.compile(r"sys_exit: NR (\d+) = (-?\d+)")
MOVE = re.compile(r"bytes=(\d+)")


class Counters:
    """perf records the processes while this context manager is entered.

    Afterwards it holds the system calls by name, the bytes that they read or wrote, the copies of memory, and the bytes
    copied.
    """

    def __init__(self, pids, directory):
        self.calls = Counter()
        self.bytes = Counter()
        self.copies = 0
        self.copied = 0
        self._pids = pids
        self._directory = directory
        self._probes = []

    def __enter__(self):
        if shutil.which("perf") is None:
            raise Unavailable("perf is missing: install linux-perf")
        try:
            self._probe_moves()
            self._data = tempfile.NamedTemporaryFile(dir=self._directory, prefix="perf-")
            self._perf = self._record()
        except BaseException:
            self._remove_probes()
            raise
        return self

    def __exit__(self, failed, *_):
        try:
            self._perf.send_signal(signal.SIGINT)
            self._perf.wait()
            for pipe in self._pipes:
                os.close(pipe)
            if failed is None:
                self._read()
        finally:
            self._data.close()
            self._remove_probes()

    def _record(self):
        """Starts perf, and returns once perf records."""
        commands, asked = os.pipe()
        acknowledged, answers = os.pipe()
        command = ["perf", "record", "-q", "-c", "1", "-m", "16M", "-o", self._data.name]
        command += ["-D", "-1", f"--control=fd:{commands},{answers}", "-p", ",".join(map(str, self._pids))]
        for event in ("raw_syscalls:sys_exit", *(f"{GROUP}:{name}" for name in self._probes)):
            command += ["-e", event]
        perf = subprocess.Popen(command, pass_fds=(commands, answers), stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self._pipes = (asked, acknowledged)
        os.write(asked, b"enable\n")
        if not os.read(acknowledged, 16).startswith(b"ack"):
            raise Unavailable("perf records nothing")
        return perf

    def _read(self):
        names = syscall_names()
        command = ["perf", "script", "-i", self._data.name, "-F", "event,trace"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
            for line in script.stdout:
                if found := EXIT.search(line):
                    name, result = names.get(int(found[1]), found[1]), int(found[2])
                    self.calls[name] += 1
                    self.bytes[name] += max(result, 0)
                elif found := MOVE.search(line):
                    self.copies += 1
                    self.copied += int(found[1])

    def _probe_moves(self):
        library, offsets = move_functions()
        for number, offset in enumerate(sorted(offsets)):
            name = f"move_{number}"
            write_probe(f"p:{GROUP}/{name} {library}:{offset:#x} bytes=%dx:u64")
            self._probes.append(name)

    def _remove_probes(self):
        for name in self._probes:
            with contextlib.suppress(OSError):
                write_probe(f"-:{GROUP}/{name}")


def write_probe(line):
    """Adds a line to the list of probes. Python's open() would seek, which tracefs refuses."""
    file = os.open(TRACEFS / "uprobe_events", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


def syscall_names():
    """The names of the system calls by number."""
    defined = re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text())
    return {int(number): name for name, number in defined}


def move_functions():
    """The C library, and the offsets of its functions that copy memory, from its debug symbols (libc6-dbg)."""
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    library = Path(re.search(r"libc\.so\.6 \(libc6,x86-64\) => (\S+)", listed)[1]).resolve()
    notes = subprocess.run(["readelf", "-n", library], capture_output=True, text=True, check=True).stdout
    build = re.search(r"Build ID: (\w+)", notes)[1]
    symbols = Path("/usr/lib/debug/.build-id") / build[:2] / f"{build[2:]}.debug"
    if not symbols.exists():
        raise Unavailable(f"{symbols} is missing: install libc6-dbg")
    names = subprocess.run(["nm", symbols], capture_output=True, text=True, check=True).stdout
    found = (line.split() for line in names.splitlines())
    return library, {int(parts[0], 16) for parts in found if len(parts) == 3 and MOVES.match(parts[2])}
