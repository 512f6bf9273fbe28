"""`anabranch-bench` against one node: its reports match the content of the stream."""

import json
import subprocess

import pytest

from support.cluster import release_binary
from support.oracle import read_stream
from support.waiting import wait_until

FIGURES = {
    "records_per_s", "mb_per_s", "p50_us", "p99_us", "p999_us", "errors", "cpu_s", "server_cpu_s", "disk_bytes",
}  # fmt: skip


@pytest.fixture
def bench(one, stream):
    node = one.nodes[0]

    def run(what, *arguments, api="kinesis"):
        endpoint = node.endpoint if api == "kinesis" else f"http://{node.grpc}"
        command = [release_binary("anabranch-bench"), what, "--api", api, "--endpoint", endpoint, "--stream", stream]
        command += ["--server-pids", node.pid, *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        report = json.loads(line)
        assert report.keys() >= FIGURES
        assert report["errors"] == 0
        return report

    return run


@pytest.mark.parametrize("http", [[], ["--http2"]], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("records_per_call", [1, 10])
def test_put_writes_as_many_records_as_it_reports(bench, client, stream, http, records_per_call):
    arguments = ["--count", 100, "--connections", 3, "--record-size", 500, "--records-per-call", records_per_call]
    report = bench("put", *arguments, *http)
    read = [record for records in read_stream(client, stream).values() for record in records]
    assert report["records"] == len(read) == 100
    assert {len(record.data) for record in read} == {500}


def test_an_open_loop_sends_every_due_call(bench):
    report = bench("put", "--rate", 200, "--duration", "500ms", "--connections", 2)
    assert report["records"] == 100


def test_get_reads_every_record(bench):
    bench("put", "--count", 300, "--records-per-call", 100)
    report = bench("get", "--connections", 2, "--limit", 40)
    assert (report["records"], report["shards"]) == (300, 2)


def test_e2e_receives_every_acknowledged_record(bench):
    report = bench("e2e", "--count", 50, "--connections", 2)
    assert (report["records"], report["missing"], report["unexpected"]) == (50, 0, 0)


def test_e2e_with_push_receives_every_acknowledged_record_and_leaves_no_consumer(bench, client, stream):
    report = bench("e2e", "--count", 50, "--connections", 2, "--push")
    assert (report["records"], report["missing"], report["unexpected"], report["push"]) == (50, 0, 0, True)
    summary = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    wait_until("the consumer is gone", lambda: not consumers(client, summary["StreamARN"]))


def consumers(client, stream_arn):
    return client.list_stream_consumers(StreamARN=stream_arn)["Consumers"]


def test_the_native_api_is_measured_in_the_same_way(bench, client, stream):
    put = bench("put", "--count", 100, "--connections", 2, "--records-per-call", 10, api="grpc")
    assert put["records"] == 100
    assert bench("get", api="grpc")["records"] == bench("get")["records"] == 100
    report = bench("e2e", "--count", 20, api="grpc")
    assert (report["records"], report["missing"], report["unexpected"]) == (20, 0, 0)
    assert sum(len(records) for records in read_stream(client, stream).values()) == 120
