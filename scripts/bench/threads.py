"""CPU seconds of processes by component. The name of a thread tells its component."""

import contextlib
import os
from collections import Counter
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Component by the beginning of the thread's name. Async workers run the gateway, Raft and the streams between nodes.
COMPONENTS = {
    "tokio-rt": "async workers",
    "anabranch": "async workers",
    "storage-write": "log writer",
    "storage-prepare": "segment preparer",
    "storage-maintai": "log maintenance",
    "rocksdb": "RocksDB",
}
OTHER = "other threads"


def cpu_seconds(pids):
    """CPU seconds of each component up to now, over all processes. Ended threads count as other threads."""
    seconds = Counter()
    for pid in pids:
        threads = Counter()
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                name, used = of_stat((task / "stat").read_text())
                threads[component(name)] += used
        _, whole = of_stat(Path(f"/proc/{pid}/stat").read_text())
        seconds.update(threads)
        seconds[OTHER] += max(whole - threads.total(), 0)
    return seconds


def since(before, pids):
    """CPU seconds of each component since `before`."""
    now = cpu_seconds(pids)
    return {name: round(max(now[name] - before[name], 0), 3) for name in now}


def of_stat(text):
    """The name and the CPU seconds in the text of a `stat` file of /proc."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def component(name):
    """The component of a thread with this name."""
    for beginning, meaning in COMPONENTS.items():
        if name.startswith(beginning):
            return meaning
    return OTHER
