"""`GET /metrics`: what a node shows is what docs/metrics.md says, and it is true."""

import urllib.error
import urllib.request

import pytest

from support.clients import client_of, kinesis
from support.metrics import documented, parse, scrape
from support.servers import Servers, free_ports
from support.streams import create_stream, iterator
from support.waiting import wait_until

# Labels whose values are in no list: the operations of the API, and what applications send.
OPEN_LABELS = {"operation", "application", "metric", "dimensions"}


def metrics_listener():
    """An address for metrics, and the line that configures it."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    return address, f'listen-metrics = "{address}"'


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A node that takes any credentials, with a listener for metrics, after some calls: a client of it, and the address
    of its metrics."""
    address, setting = metrics_listener()
    with Servers(tmp_path_factory.mktemp("watched"), settings=['authentication = "any"', setting]) as servers:
        client = kinesis(servers.nodes[0].endpoint)
        create_stream(client, "watched", shards=2)
        for number in range(10):
            client.put_record(StreamName="watched", PartitionKey=str(number), Data=b"x" * 100)
        client.get_records(ShardIterator=iterator(client, "watched", "TRIM_HORIZON"))
        application = client_of("cloudwatch", servers.nodes[0].endpoint)
        application.put_metric_data(Namespace="watched", MetricData=[{"MetricName": "Time", "Value": 2.5}])
        yield client, address


def test_the_documentation_lists_every_metric(watched):
    _, address = watched
    shown, rows = scrape(address), documented()
    assert sorted(shown) == sorted(rows)
    for name, family in shown.items():
        row = rows[name]
        assert family.type == row.type, name
        values = family.label_values()
        assert set(values) == row.labels, name
        listed = {value for label in set(values) - OPEN_LABELS for value in values[label]}
        # A label that is explained in an earlier row is only named in later ones.
        assert not row.values or listed <= row.values, name


def test_labels_of_one_name_have_the_same_values_in_all_rows_that_only_name_them(watched):
    _, address = watched
    rows = documented()
    for name, family in scrape(address).items():
        if rows[name].labels and not rows[name].values:
            assert any(rows[name].labels <= row.labels and row.values for row in rows.values()) or (
                set(family.label_values()) <= OPEN_LABELS
            ), name


def test_calls_reach_the_numbers_of_every_part(watched):
    client, address = watched
    before = scrape(address)
    client.put_record(StreamName="watched", PartitionKey="once more", Data=b"y" * 1000)
    after = scrape(address)

    def rise(name, suffix="", **labels):
        return after[name].value(suffix, **labels) - before[name].value(suffix, **labels)

    assert rise("anabranch_replica_appends_total", outcome="acknowledged") == 1
    assert rise("anabranch_replica_append_duration_seconds", "_count") == 1
    assert rise("anabranch_storage_payload_bytes_total") > 1000
    assert rise("anabranch_storage_sync_duration_seconds", "_count") >= 1
    assert rise("anabranch_storage_round_entries", "_sum") >= 1
    assert rise("anabranch_replica_applied_entries_total") >= 1
    put = {"operation": "PutRecord", "protocol": "json", "outcome": "success"}
    assert rise("anabranch_gateway_calls_total", **put) == 1
    assert rise("anabranch_gateway_call_duration_seconds", "_count", operation="PutRecord") == 1


def test_gauges_say_how_a_sound_node_is(watched):
    _, address = watched
    # The catalog and two shards, all led by the only node.
    wait_until(
        "the node leads its groups",
        lambda: scrape(address)["anabranch_replica_groups"].value(role="leader") == 3,
    )
    shown = scrape(address)
    assert shown["anabranch_node_ready"].value() == 1
    assert shown["anabranch_node_leads_catalog"].value() == 1
    assert shown["anabranch_node_shards"].value(state="open") == 2
    assert shown["anabranch_node_replicas"].value(state="wanted") == 3
    assert shown["anabranch_node_replicas"].value(state="working") == 3
    assert shown["anabranch_node_disk_health"].value(state="works") == 1
    assert shown["anabranch_storage_disk_state"].value(state="normal") == 1
    assert shown["anabranch_storage_available_bytes"].value() > 1 << 20
    assert shown["anabranch_replica_leaderless_groups"].value() == 0
    assert shown["anabranch_transport_clock_agreed"].value() == 1
    assert shown["anabranch_transport_clock_ahead_seconds"].value() == 0


def test_where_any_credentials_are_accepted_the_port_of_the_api_shows_metrics(one):
    assert "anabranch_node_ready" in scrape(one.nodes[0].api)
    request = urllib.request.Request(f"{one.nodes[0].endpoint}/metrics", method="HEAD")
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def test_where_signatures_are_required_metrics_have_a_listener_of_their_own(tmp_path):
    address, setting = metrics_listener()
    with Servers(tmp_path, settings=[setting]) as servers:
        node = servers.nodes[0]
        assert f"metrics on {address}" in servers.output(node)
        for path in ("healthz", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://{address}/{path}") as response:
                assert response.status == 200
                if path == "metrics":
                    assert "anabranch_node_ready" in parse(response.read().decode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{node.endpoint}/metrics")
        assert refused.value.code == 403
        with pytest.raises(urllib.error.HTTPError) as unknown:
            urllib.request.urlopen(f"http://{address}/cluster")
        assert unknown.value.code == 404
