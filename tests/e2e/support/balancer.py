"""A simple load balancer in front of several boto3 clients."""

import itertools
import threading

from support.waiting import wait_until


class Balancer:
    """Looks like a boto3 client. Each call goes to the next active node, and its retries go to the same node.

    `retried` counts the calls that the SDK sent again. `failed_records` counts the records that PutRecords did not
    acknowledge.
    """

    def __init__(self, clients):
        self._clients = dict(clients)
        self._lock = threading.Lock()
        self._in = set(self._clients)
        self._open = dict.fromkeys(self._clients, 0)
        self._turns = itertools.count()
        self.retried = 0
        self.failed_records = 0

    def take_out(self, node):
        """Sends no more calls to the node. Returns when its open calls are answered."""
        with self._lock:
            self._in.discard(node)
        wait_until(f"node {node} has answered", lambda: self._open[node] == 0)

    def put_in(self, node):
        """Sends calls to the node again."""
        with self._lock:
            self._in.add(node)

    def put_record(self, **call):
        """PutRecord of boto3."""
        return self._call("put_record", call)

    def put_records(self, **call):
        """PutRecords of boto3."""
        answer = self._call("put_records", call)
        with self._lock:
            self.failed_records += answer["FailedRecordCount"]
        return answer

    def _call(self, operation, call):
        with self._lock:
            nodes = sorted(self._in)
            node = nodes[next(self._turns) % len(nodes)]
            self._open[node] += 1
        try:
            answer = getattr(self._clients[node], operation)(**call)
        finally:
            with self._lock:
                self._open[node] -= 1
        with self._lock:
            self.retried += answer["ResponseMetadata"]["RetryAttempts"]
        return answer
