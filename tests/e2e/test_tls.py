"""TLS on every port: three nodes with certificates, AWS clients over HTTPS, and ctl with roles."""

import json
import re
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError

from support.clients import ACCESS_KEY, REGION, SECRET_KEY, cli, signed_call
from support.cluster import is_running
from support.streams import create_stream
from support.tls import CLUSTER, TlsCluster, refused, run
from support.waiting import wait_until

STREAM = "tls"
REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """Three `anabranch server` processes with certificates from `anabranch ctl certs`."""
    with TlsCluster(tmp_path_factory.mktemp("tls")) as cluster:
        yield cluster


def https(node, verify):
    """A boto3 client over HTTPS that trusts the authorities in the file `verify`."""
    return boto3.session.Session().client(
        "kinesis",
        endpoint_url=node.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        verify=str(verify),
        config=Config(connect_timeout=5, read_timeout=30),
    )


def read_all(client, stream):
    """Every record of a stream of one shard."""
    shard = client.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return [record["Data"] for record in client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]]


def answer_on(connection):
    """The status line of a GET on an open connection."""
    connection.sendall(REQUEST)
    return connection.recv(4096).split(b"\r\n")[0]


def test_records_go_over_https_through_any_node(secure):
    first, second = (https(node, secure.ca) for node in secure.nodes[:2])
    create_stream(first, STREAM, shards=1)
    for number in range(10):
        first.put_record(StreamName=STREAM, PartitionKey="k", Data=f"{number}".encode())
    assert wait_until("all records are read", lambda: len(found := read_all(second, STREAM)) == 10 and found) == [
        f"{number}".encode() for number in range(10)
    ]


def test_a_client_that_does_not_trust_the_authority_cannot_connect(secure, tmp_path):
    run("ctl", "certs", tmp_path / "other", "--cluster", "other", "--nodes", "1")
    stranger = https(secure.nodes[0], tmp_path / "other" / "ca.pem")
    with pytest.raises(SSLError):
        stranger.list_streams()


def test_a_certificate_is_renewed_while_the_node_runs(secure):
    node = secure.nodes[0]
    old = secure.connect(node)
    before = old.getpeercert()["serialNumber"]
    assert answer_on(old) == b"HTTP/1.1 200 OK"
    run("ctl", "certs", secure.certs, "--nodes", "1", "--renew")

    def serial():
        with secure.connect(node) as fresh:
            return fresh.getpeercert()["serialNumber"]

    wait_until("a new connection sees the new certificate", lambda: serial() != before)
    assert answer_on(old) == b"HTTP/1.1 200 OK"
    assert old.getpeercert()["serialNumber"] == before
    assert is_running(node.pid)
    old.close()
    # A file that cannot be used changes nothing, and the log reports it.
    certificate = secure.certs / "node-1.pem"
    good, after = certificate.read_text(), serial()
    certificate.write_text("nonsense\n")
    wait_until("the log reports the file", lambda: "holds no certificate in PEM" in secure.output(node))
    assert serial() == after
    certificate.write_text(good)


def test_a_certificate_that_expires_soon_is_logged(tmp_path):
    with TlsCluster(tmp_path, nodes=1, days=20) as cluster:
        node = cluster.nodes[0]
        line = wait_until(
            "the log reports the certificate", lambda: re.search(".*certificate expires.*", cluster.output(node))
        )[0]
    assert "WARN" in line
    assert "node-1.pem" in line
    assert "days=19" in line


def test_ctl_does_what_its_certificate_allows(secure):
    directory = ("--tls-dir", secure.certs)
    nodes = json.loads(run(*secure.ctl("--json", "nodes", *directory)))
    assert [node["node"] for node in nodes] == [1, 2, 3]
    assert [node["answers"] for node in nodes] == [True] * 3
    assert "nodes" in run(*secure.ctl("status", *secure.shown("operator")))
    said = refused(*secure.ctl("status", *secure.shown("client")))
    assert said == "anabranch: anabranch.admin.v1.AdminService is for operators and nodes, not for client client"
    assert "anabranch: " in refused(*secure.ctl("status"))
    assert "go together" in refused(*secure.ctl("status", "--ca", secure.ca))


def test_certificates_of_another_authority_are_refused(secure, tmp_path):
    other = tmp_path / "other"
    run("ctl", "certs", other, "--cluster", CLUSTER, "--nodes", "1")
    own = ("--certificate", other / "operator.pem", "--key", other / "operator.key")
    # The node refuses the operator. The operator gets the reason if it arrives before the connection ends. With the
    # other authority the operator refuses the node.
    said = refused(*secure.ctl("status", "--ca", secure.ca, *own))
    assert any(end in said for end in ("received fatal alert", "connection closed", "broken pipe")), said
    assert "invalid peer certificate" in refused(*secure.ctl("status", "--ca", other / "ca.pem", *own))


def test_a_node_starts_only_with_its_own_certificate(secure, tmp_path):
    config, node = tmp_path / "node.toml", secure.nodes[0]
    text = (Path(node.data_dir) / "node.toml").read_text()
    text = re.sub(r'(listen-\w+) = "[^"]*"', r'\1 = "127.0.0.1:0"', text).replace(node.data_dir, str(tmp_path / "data"))
    config.write_text(text.replace("node-1.pem", "node-2.pem"))
    assert "node-1.key: goes not with" in refused("server", "--config", config)
    config.write_text(text.replace("node-1.pem", "node-2.pem").replace("node-1.key", "node-2.key"))
    assert "must be of node 1 of cluster" in refused("server", "--config", config)


def test_plain_http_gets_an_error_on_an_https_port(secure):
    assert signed_call(secure.nodes[0].endpoint.replace("https", "http"), "ListStreams", {})[0] == 400


@pytest.mark.parametrize("http", [[], ["--http2"]], ids=["HTTP/1.1", "HTTP/2"])
def test_bench_measures_https(secure, http):
    client = https(secure.nodes[0], secure.ca)
    stream = create_stream(client, f"bench{len(http)}", shards=1)
    put = ("put", "--endpoint", secure.nodes[1].endpoint, "--stream", stream, "--count", "20", *http)
    report = json.loads(run(*put, "--ca", secure.ca, binary="anabranch-bench"))
    assert (report["records"], report["errors"]) == (20, 0)
    assert len(read_all(client, stream)) == 20
    assert "https:// needs --ca or --tls-dir" in refused(*put, binary="anabranch-bench")


def test_the_aws_cli_works_over_https(secure):
    listed = cli(secure.nodes[2].endpoint, "list-streams", environment={"AWS_CA_BUNDLE": str(secure.ca)})
    assert "StreamNames" in listed
