"""PutMetricData of CloudWatch and GetCallerIdentity of STS: the real SDK and the AWS CLI against a cluster that
verifies signatures, and bodies that no SDK sends."""

import datetime
import gzip
import itertools
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import urlencode

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from support.clients import client_of
from support.ctl import ctl
from support.metrics import scrape
from support.servers import Servers, free_ports

REGION = "eu-central-1"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
TARGET = "GraniteServiceVersion20100801"
CLOUDWATCH = {"Version": "2010-08-01"}
STS = {"Version": "2011-06-15"}
XMLNS = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"
STS_XMLNS = "{https://sts.amazonaws.com/doc/2011-06-15/}"
VALUES = "anabranch_cloudwatch_values_total"
_numbers = itertools.count(1)


class Cluster:
    """One node that verifies signatures, and the address of its metrics."""

    def __init__(self, servers, metrics):
        self.servers, self.metrics = servers, metrics
        self.node = servers.nodes[0]

    def user(self, name=None, policy=None):
        """A new user, with one policy or none."""
        name = name or f"user-{next(_numbers)}"
        ctl(self.servers.binary, self.node, "user", "create", name)
        if policy:
            document = json.dumps({"Version": "2012-10-17", "Statement": policy})
            ctl(self.servers.binary, self.node, "policy", "put", name, "p", "-", stdin=document)
        key = ctl(self.servers.binary, self.node, "key", "create", name)
        return User(self, name, key["access_key_id"], key["secret_access_key"])

    def value(self, family=VALUES, *, application, metric, operation="", dimensions=""):
        labels = {"application": application, "metric": metric, "operation": operation, "dimensions": dimensions}
        return scrape(self.metrics)[family].value(**labels)

    def applications(self):
        families = scrape(self.metrics)
        return families[VALUES].label_values()["application"] if VALUES in families else set()


class User:
    """A user with credentials."""

    def __init__(self, cluster, name, key_id, secret):
        self.cluster, self.name, self.key_id, self.secret = cluster, name, key_id, secret

    def client(self, service):
        return boto3.session.Session().client(
            service,
            endpoint_url=self.cluster.node.endpoint,
            region_name=REGION,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
        )

    def send(self, body, service="monitoring", content_type=FORM, secret=None, path="/", **headers):
        """Sends a signed request. Returns status, headers and body."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.cluster.node.endpoint}{path}"
        request = AWSRequest("POST", url, data=body, headers={"Content-Type": content_type, **headers})
        SigV4Auth(Credentials(self.key_id, secret or self.secret), service, REGION).add_auth(request)
        return post(url, body, dict(request.headers))

    def cli(self, *arguments):
        """Runs the AWS CLI and returns its parsed output."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": "/nonexistent",
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.cluster.node.endpoint,
        }
        program = [sys.executable, str(Path(sys.executable).with_name("aws")), "--output", "json"]
        command = [*program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


def post(url, body, headers):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    with Servers(tmp_path_factory.mktemp("cloudwatch"), settings=[f'listen-metrics = "{address}"']) as servers:
        yield Cluster(servers, address)


@pytest.fixture(scope="module")
def root(cluster):
    return cluster.user("root")


@pytest.fixture
def application():
    return f"app-{next(_numbers)}"


def form(action="PutMetricData", version=CLOUDWATCH, **fields):
    return urlencode({"Action": action, **version, **fields}).encode()


def one_metric(application, value="2.5"):
    return {
        "Namespace": application,
        "MetricData.member.1.MetricName": "Time",
        "MetricData.member.1.Value": value,
        "MetricData.member.1.Dimensions.member.1.Name": "Operation",
        "MetricData.member.1.Dimensions.member.1.Value": "ProcessTask",
    }


def fault_of(answer, namespace=XMLNS):
    """Status, code and message of an error in the query protocol."""
    status, headers, body = answer
    assert headers["Content-Type"] == "text/xml"
    tree = ElementTree.fromstring(body)
    prefix = namespace if tree.tag.startswith("{") else ""
    assert tree.tag == f"{prefix}ErrorResponse"
    error = tree.find(f"{prefix}Error")
    assert error.findtext(f"{prefix}Type") == ("Receiver" if status >= 500 else "Sender")
    assert tree.findtext(f"{prefix}RequestId") == headers["x-amzn-RequestId"]
    return status, error.findtext(f"{prefix}Code"), error.findtext(f"{prefix}Message")


def kcl_metric(name="RecordsProcessed", shard="shardId-000000000000", **values):
    """A metric as the Kinesis Client Library sends it."""
    return {
        "MetricName": name,
        "Dimensions": [{"Name": "Operation", "Value": "ProcessTask"}, {"Name": "ShardId", "Value": shard}],
        "Timestamp": datetime.datetime.now(datetime.UTC),
        "Unit": "Count",
        "StatisticValues": {"SampleCount": 2.0, "Sum": 6.0, "Minimum": 1.0, "Maximum": 5.0, **values},
    }


def test_metrics_of_the_sdk_are_shown_to_prometheus(cluster, root, application):
    client = root.client("cloudwatch")
    client.put_metric_data(Namespace=application, MetricData=[kcl_metric(), kcl_metric(shard="shardId-000000000001")])
    client.put_metric_data(Namespace=application, MetricData=[{"MetricName": "NumWorkers", "Value": 3.5}])
    of = {"application": application, "metric": "RecordsProcessed", "operation": "ProcessTask"}
    of["dimensions"] = "Operation,ShardId"
    assert cluster.value(**of) == 12
    assert cluster.value("anabranch_cloudwatch_samples_total", **of) == 4
    assert cluster.value("anabranch_cloudwatch_smallest_value", **of) == 1
    assert cluster.value("anabranch_cloudwatch_largest_value", **of) == 5
    assert cluster.value(application=application, metric="NumWorkers") == 3.5


def test_a_large_body_comes_compressed(cluster, root, application):
    metrics = [kcl_metric(shard=f"shardId-{number:012}") for number in range(500)]
    root.client("cloudwatch").put_metric_data(Namespace=application, MetricData=metrics)
    of = {"operation": "ProcessTask", "dimensions": "Operation,ShardId"}
    assert cluster.value(application=application, metric="RecordsProcessed", **of) == 3000


def test_a_form_is_answered_in_xml(cluster, root, application):
    status, headers, body = root.send(form(**one_metric(application)))
    assert (status, headers["Content-Type"]) == (200, "text/xml")
    tree = ElementTree.fromstring(body)
    assert tree.tag == f"{XMLNS}PutMetricDataResponse"
    assert [child.tag for child in tree] == [f"{XMLNS}ResponseMetadata"]
    assert tree[0].findtext(f"{XMLNS}RequestId") == headers["x-amzn-RequestId"]
    compressed = gzip.compress(form(**one_metric(application)))
    assert root.send(compressed, Content_Encoding="gzip")[0] == 200
    of = {"operation": "ProcessTask", "dimensions": "Operation"}
    assert cluster.value(application=application, metric="Time", **of) == 5


def test_rpc_v2_cbor_is_answered_in_cbor(cluster, root, application):
    text = application.encode()
    body = b"\xa2\x69Namespace" + bytes([0x60 + len(text)]) + text
    body += b"\x6aMetricData\x81\xa2\x6aMetricName\x64Time\x65Value\xfb\x40\x04\x00\x00\x00\x00\x00\x00"
    path = f"/service/{TARGET}/operation/PutMetricData"
    headers = {"smithy_protocol": "rpc-v2-cbor"}
    status, answered, answer = root.send(body, content_type="application/cbor", path=path, **headers)
    assert (status, answered["smithy-protocol"], answer) == (200, "rpc-v2-cbor", b"\xbf\xff")
    assert cluster.value(application=application, metric="Time") == 2.5
    status, answered, answer = root.send(b"\xa0", content_type="application/cbor", path=path, **headers)
    assert (status, answered["smithy-protocol"]) == (400, "rpc-v2-cbor")
    assert answered["x-amzn-query-error"] == "MissingParameter;Sender"
    assert b"MissingRequiredParameterException" in answer


def test_the_cli_sends_metrics_and_asks_who_it_is(cluster, root, application):
    arguments = ("--namespace", application, "--metric-name", "Time", "--value", "7", "--unit", "Seconds")
    assert root.cli("cloudwatch", "put-metric-data", *arguments) is None
    assert cluster.value(application=application, metric="Time") == 7
    identity = root.cli("sts", "get-caller-identity")
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:root"


@pytest.mark.parametrize(
    ("metric", "code", "text"),
    [
        (
            {"MetricName": "m", "Value": float("nan")},
            "InvalidParameterValue",
            "The value NaN for parameter MetricData.member.1.Value is invalid.",
        ),
        (
            {"MetricName": "m", "Value": 1, "Values": [1.0]},
            "InvalidParameterCombination",
            "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you "
            "have specified both.",
        ),
        ({"MetricName": "m"}, "MissingParameter", "At least one of the parameters"),
        (
            {"MetricName": "m", "Value": 1, "Timestamp": datetime.datetime(2020, 1, 1)},
            "InvalidParameterValue",
            "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks.",
        ),
    ],
)
def test_wrong_metrics_get_the_codes_that_programs_compare(cluster, root, application, metric, code, text):
    client = root.client("cloudwatch")
    with pytest.raises(ClientError) as raised:
        client.put_metric_data(Namespace=application, MetricData=[metric])
    error = raised.value.response["Error"]
    assert error["Code"] == code
    assert error["Message"].startswith(text)
    assert application not in cluster.applications()


def test_operations_that_are_not_supported_are_named(root):
    with pytest.raises(ClientError, match="ListMetrics is not supported by this endpoint"):
        root.client("cloudwatch").list_metrics()
    named = (400, "InvalidAction", "GetMetricData is not supported by this endpoint")
    assert fault_of(root.send(form("GetMetricData"))) == named
    unknown = fault_of(root.send(form("Nonsense")))
    assert unknown == (400, "InvalidAction", "Could not find operation Nonsense for version 2010-08-01")
    with pytest.raises(ClientError, match=r"InvalidAction.*AssumeRole is not supported by this endpoint"):
        root.client("sts").assume_role(RoleArn="arn:aws:iam::000000000000:role/x", RoleSessionName="xx")
    unknown = fault_of(root.send(form("Nonsense", STS), "sts"), STS_XMLNS)
    assert unknown == (400, "InvalidAction", "Could not find operation Nonsense for version 2011-06-15")
    for of_no_service in (b"", b"{}", b"Action=ListQueues&Version=2012-11-05"):
        status, _, body = root.send(of_no_service)
        assert (status, body) == (404, b"<UnknownOperationException/>\n")


def test_only_policies_that_name_the_action_allow_metrics(cluster, application):
    metric = {"Namespace": application, "MetricData": [{"MetricName": "Time", "Value": 1}]}
    nobody = cluster.user()
    with pytest.raises(ClientError) as raised:
        nobody.client("cloudwatch").put_metric_data(**metric)
    assert raised.value.response["Error"]["Code"] == "AccessDenied"
    arn = f"arn:aws:iam::000000000000:user/{nobody.name}"
    message = f"User: {arn} is not authorized to perform: cloudwatch:PutMetricData"
    assert raised.value.response["Error"]["Message"].startswith(message)
    status, code, text = fault_of(nobody.send(form(**one_metric(application))))
    assert (status, code) == (403, "AccessDenied") and text.startswith(message)
    assert application not in cluster.applications()
    one = cluster.user(policy=[{"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"}])
    one.client("cloudwatch").put_metric_data(**metric)
    assert cluster.value(application=application, metric="Time") == 1


def test_signatures_must_be_right_and_for_the_service(cluster, root, application):
    body = form(**one_metric(application))
    for service in ("kinesis", "sts", "nothing"):
        status, code, text = fault_of(root.send(body, service))
        assert (status, code) == (403, "SignatureDoesNotMatch"), service
        assert text == "Credential should be scoped to correct service: 'monitoring'. "
    compressed = gzip.compress(body)
    assert fault_of(root.send(compressed, "kinesis", Content_Encoding="gzip"))[1] == "SignatureDoesNotMatch"
    assert fault_of(root.send(body, secret="wrong"))[:2] == (403, "SignatureDoesNotMatch")
    unsigned = post(f"{cluster.node.endpoint}/", body, {"Content-Type": FORM})
    assert fault_of(unsigned)[:2] == (403, "MissingAuthenticationToken")
    stranger = User(cluster, "stranger", "AKIAAAAAAAAAAAAAAAAA", "secret")
    assert fault_of(stranger.send(body))[:2] == (403, "InvalidClientTokenId")
    assert fault_of(stranger.send(form("GetCallerIdentity", STS), "sts"), STS_XMLNS)[1] == "InvalidClientTokenId"
    assert application not in cluster.applications()
    # A form is never a call of a service that has no forms.
    status, _, answer = root.send(body, content_type=FORM, X_Amz_Target="Nothing.PutMetricData")
    assert (status, answer) == (404, b"<UnknownOperationException/>\n")


def test_each_caller_may_ask_who_it_is(cluster, root):
    identity = root.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["UserId"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"
    denied = cluster.user(policy=[{"Effect": "Deny", "Action": "*", "Resource": "*"}])
    first, second = (denied.client("sts").get_caller_identity() for _ in range(2))
    assert first["Arn"] == f"arn:aws:iam::000000000000:user/{denied.name}"
    assert first["UserId"] == second["UserId"]
    assert first["UserId"].startswith("AIDA") and len(first["UserId"]) == 21
    assert cluster.user().client("sts").get_caller_identity()["UserId"] != first["UserId"]
    status, headers, body = root.send(form("GetCallerIdentity", STS), "sts")
    expected = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId>\
<Account>000000000000</Account></GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>{headers["x-amzn-RequestId"]}</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
"""
    assert (status, body.decode()) == (200, expected)


def test_without_signatures_everybody_is_the_root_user(endpoint):
    identity = client_of("sts", endpoint).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:root"


def test_hostile_bodies_are_refused_and_cost_little(cluster, root, application):
    good = form(**one_metric(application))
    start = form(Namespace=application)
    members = "&".join(f"MetricData.member.{n}.MetricName=m&MetricData.member.{n}.Value=1" for n in range(1, 10_001))
    malformed = {
        "not UTF-8": good + b"&X=\xff",
        "not UTF-8 when decoded": good + b"&X=%ff",
        "a structure as a list": start + b"&MetricData.member.x.Value=1",
        "a value as a list": start + b"&MetricData=1",
        "twice": good + b"&Namespace=other",
        "deep": start + b"&MetricData.member.1.Value" + b".member.1" * 20_000 + b"=1",
    }
    for what, body in malformed.items():
        status, code, _ = fault_of(root.send(body))
        assert (status, code) == (400, "MalformedInput"), what
    too_many = "The collection MetricData must not have a size greater than 1000."
    body = start + b"&" + members.encode()
    assert fault_of(root.send(body)) == (400, "InvalidParameterValue", too_many)
    assert fault_of(root.send(start + b"&a" * 60_000))[:2] == (400, "ValidationError")
    assert fault_of(root.send(start + b"&a=" + b"x" * (1 << 20)))[:2] == (413, "RequestEntityTooLarge")
    bomb = gzip.compress(start + b"&a=" + b"x" * (64 << 20))
    assert fault_of(root.send(bomb, Content_Encoding="gzip"))[:2] == (413, "RequestEntityTooLarge")
    unknown = User(cluster, "stranger", "AKIAAAAAAAAAAAAAAAAA", "secret")
    assert fault_of(unknown.send(bomb, Content_Encoding="gzip"))[:2] == (403, "InvalidClientTokenId")
    assert application not in cluster.applications()
    far = good.replace(b"member.1.MetricName", b"member.999999999.MetricName").replace(
        b"member.1.Value", b"member.999999999.Value"
    )
    fields = [field for field in far.split(b"&") if b"Dimensions" not in field]
    assert root.send(b"&".join(fields))[0] == 200
    assert cluster.value(application=application, metric="Time") == 2.5


def test_applications_beyond_the_first_hundred_are_added_up(tmp_path):
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    settings = ['authentication = "any"', f'listen-metrics = "{address}"']
    with Servers(tmp_path, settings=settings) as servers:
        client = client_of("cloudwatch", servers.nodes[0].endpoint)
        for number in range(103):
            metric = {"MetricName": "Time", "Value": 1.5}
            client.put_metric_data(Namespace=f"app-{number}", MetricData=[metric])
        shown = scrape(address)
        labels = {"metric": "Time", "operation": "", "dimensions": ""}
        assert shown[VALUES].value(application=":other", **labels) == 4.5
        assert shown[VALUES].value(application="app-99", **labels) == 1.5
        assert len(shown[VALUES].samples) == 101
        assert shown["anabranch_cloudwatch_applications"].value() == 100
