"""Load that tells the oracle, and measures how long nothing was acknowledged."""

import itertools
import threading
import time

from support.oracle import put_records


class Writer:
    """Threads that put distinct records through boto3 clients until they are stopped.

    A context manager: leaving the block stops the threads. An error that reaches a client in spite of its retries
    ends that thread, and is kept in `errors`.
    """

    def __init__(self, oracle, stream, clients, records_per_call=20, record_bytes=200):
        self.oracle = oracle
        self.stream = stream
        self.errors = []
        self.call_seconds = []
        self._records_per_call = records_per_call
        self._filler = b"." * record_bytes
        self._acknowledged_at = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(client, number), daemon=True)
            for number, client in enumerate(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError("a put has neither been acknowledged nor failed for two minutes")

    def longest_silence(self, since):
        """The longest time without an acknowledgement, from the moment `since` on (of `time.monotonic`)."""
        moments = [since, *sorted(moment for moment in list(self._acknowledged_at) if moment >= since)]
        return max((later - earlier for earlier, later in zip(moments, moments[1:])), default=float("inf"))

    def acknowledged_since(self, moment):
        """How many calls were acknowledged after `moment`."""
        return sum(at > moment for at in list(self._acknowledged_at))

    def _write(self, client, writer):
        for call in itertools.count():
            if self._stop.is_set():
                return
            mark = f"{writer}-{call}"
            records = [
                (f"{mark}-{number}", f"{mark}-{number}".encode() + self._filler)
                for number in range(self._records_per_call)
            ]
            start = time.monotonic()
            try:
                put_records(client, self.oracle, self.stream, records)
            except Exception as error:  # noqa: BLE001 - whatever reaches a client is what is looked for
                self.errors.append(error)
                return
            end = time.monotonic()
            self._acknowledged_at.append(end)
            self.call_seconds.append(end - start)
