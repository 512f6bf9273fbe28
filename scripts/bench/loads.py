"""The loads: the options of the generator. They are the same for every contestant that supports them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One measurement of a contestant."""

    name: str
    command: str
    stream: str
    connections: int = 1
    records_per_call: int = 1
    api: str = "kinesis"
    record_bytes: int = 1024
    # Rate as a share of the rate that the load `batch` reached in the same round. None: as fast as possible.
    rate_share: float | None = None
    rate: int | None = None
    # Counts refused records and goes on, instead of sending them again.
    no_retry: bool = False

    def arguments(self, seconds, saturation=None):
        """The options of the generator, without addresses."""
        arguments = [self.command, "--stream", self.stream, "--api", self.api, "--connections", self.connections]
        if self.command == "get":
            return arguments
        arguments += ["--no-retry"] * self.no_retry
        arguments += ["--record-size", self.record_bytes, "--duration", f"{seconds:g}s"]
        if self.command == "put":
            arguments += ["--records-per-call", self.records_per_call]
        rate = self.rate
        if self.rate_share is not None:
            # The rate counts records. It is at least one call per second.
            rate = max(int(saturation * self.rate_share), self.records_per_call)
        return arguments + (["--rate", rate] if rate else [])


# Titles of the loads by name, in the order of the tables.
TITLES = {
    "batch": "Batches of 500 records, 8 connections (etcd: transactions of 100, 32 connections)",
    "batch-one": "The same into one stream of NATS, that is one Raft group",
    "native": "gRPC append of 500 records, 8 clients",
    "single-1": "One record a call, 1 connection",
    "single-32": "One record a call, 32 connections",
    "open": "PutRecords × 500 as an open loop at half of what the contestant took in the same round",
    "get": "GetRecords from the oldest record to the end, 1 connection",
    "e2e-poll": "From the acknowledged put to a reader that polls without a pause, 100 records a second",
    "e2e-tail": "The same through gRPC, where the server pushes",
}


def puts(stream, batch=500, connections=8, api="kinesis"):
    """The loads for every contestant. Batches come last: some contestants get slower with each stored record."""
    return [
        Load("single-1", "put", stream, 1, 1, api),
        Load("single-32", "put", stream, 32, 1, api),
        Load("batch", "put", stream, connections, batch, api),
    ]
