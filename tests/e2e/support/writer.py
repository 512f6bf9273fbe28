"""A write load that reports to the oracle and measures how long no put was acknowledged."""

import itertools
import threading
import time

from support.oracle import put_records


def distinct_batches(records=20, record_bytes=200):
    """Yields endless batches of records as (key, data). All records differ."""
    for call in itertools.count():
        names = [f"{call}-{number}" for number in range(records)]
        yield [(name, name.encode().ljust(record_bytes, b".")) for name in names]


class Writer:
    """One thread per boto3 client. Together they put the batches, each as fast as its calls are answered.

    `put` puts one batch: `put_records`, or a function with the same arguments. Leaving the block of the context manager
    stops the threads. If an error reaches a client in spite of its retries, its thread ends and the error is kept in
    `errors`.
    """

    def __init__(self, oracle, stream, clients, batches, put=put_records):
        self.errors = []
        self.call_seconds = []
        self._oracle = oracle
        self._stream = stream
        self._batches = iter(batches)
        self._put = put
        self._next = threading.Lock()
        self._acknowledged_at = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(client,), daemon=True) for client in clients]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)
        if not self.is_over():
            raise TimeoutError("a put has neither been acknowledged nor failed for two minutes")

    def is_over(self):
        """Whether every batch is written or every client has got an error."""
        return not any(thread.is_alive() for thread in self._threads)

    def longest_silence(self, since):
        """The longest time without an acknowledgement since the time `since` (of `time.monotonic`)."""
        moments = [since, *sorted(moment for moment in list(self._acknowledged_at) if moment >= since)]
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=float("inf"))

    def acknowledged_since(self, moment):
        """The number of calls that were acknowledged after `moment`."""
        return sum(at > moment for at in list(self._acknowledged_at))

    def _write(self, client):
        while not self._stop.is_set():
            with self._next:
                batch = next(self._batches, None)
            if batch is None:
                return
            start = time.monotonic()
            try:
                self._put(client, self._oracle, self._stream, batch)
            except Exception as error:  # noqa: BLE001 - the test checks every error that reaches a client
                self.errors.append(error)
                return
            end = time.monotonic()
            self._acknowledged_at.append(end)
            self.call_seconds.append(end - start)
