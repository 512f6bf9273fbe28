"""Authentication and policies: signatures of the real SDK against a cluster of `anabranch server`."""

import datetime
import gzip
import hashlib
import itertools
import json
import urllib.error
import urllib.request

import boto3
import botocore.auth
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from support.ctl import ctl
from support.servers import Servers
from support.streams import create_stream
from support.waiting import wait_until

REGION = "eu-central-1"
OTHER = "222222222222"
JSON = "application/x-amz-json-1.1"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three nodes whose configuration does not mention authentication, so it is required."""
    with Servers(tmp_path_factory.mktemp("access"), nodes=3) as servers:
        yield servers


@pytest.fixture(scope="module")
def root(cluster):
    """The root user of the cluster's account."""
    ctl(cluster.binary, cluster.nodes[0], "user", "create", "root")
    return User(cluster, "root", new_key(cluster, "root"))


@pytest.fixture(scope="module")
def orders(root):
    """A stream that the root user made."""
    return create_stream(root.kinesis(), "orders", shards=1)


@pytest.fixture
def ann(cluster):
    """A user without permissions."""
    return new_user(cluster)


class User:
    """A user with credentials."""

    def __init__(self, cluster, name, key, token=None):
        self.cluster, self.name, self.token = cluster, name, token
        self.key_id, self.secret = key["access_key_id"], key["secret_access_key"]

    def kinesis(self, node=0, **changed):
        """A boto3 client of one node that sends each call only once."""
        return self.client("kinesis", node, **changed)

    def client(self, service, node=0, **changed):
        """As `kinesis`, for any service."""
        credentials = {
            "aws_access_key_id": self.key_id,
            "aws_secret_access_key": self.secret,
            "aws_session_token": self.token,
            **changed,
        }
        return boto3.session.Session().client(
            service,
            endpoint_url=self.cluster.nodes[node].endpoint,
            region_name=REGION,
            config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
            **credentials,
        )

    def credentials(self):
        return Credentials(self.key_id, self.secret, self.token)

    def allow(self, *statements):
        """Replaces the permissions of the user."""
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        ctl(self.cluster.binary, self.cluster.nodes[1], "policy", "put", self.name, "p", "-", stdin=document)


def new_key(cluster, name):
    return ctl(cluster.binary, cluster.nodes[0], "key", "create", name)


def new_user(cluster, account=None):
    name = f"user-{next(_numbers)}"
    arguments = ("--account", account) if account else ()
    ctl(cluster.binary, cluster.nodes[0], "user", "create", name, *arguments)
    return User(cluster, name, new_key(cluster, name))


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def put(client, stream="orders", **arguments):
    where = arguments or {"StreamName": stream}
    return client.put_record(Data=b"data", PartitionKey="key", **where)["SequenceNumber"]


def refused(call, *arguments, **named):
    """The error code and message of a call that must fail."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **named)
    error = raised.value.response
    assert "date" in error["ResponseMetadata"]["HTTPHeaders"], "SDKs correct their clocks with this header"
    return error["Error"]["Code"], error["Error"]["Message"]


def denied(call, *arguments, **named):
    """The message of a call that policies must deny."""
    code, message = refused(call, *arguments, **named)
    assert code == "AccessDeniedException", message
    return message


def arn_of(root, stream):
    return root.kinesis().describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]


def send(request):
    """Sends a signed request unchanged. Returns status and body."""
    plain = urllib.request.Request(request.url, data=request.data, headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(plain, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def unsigned_put(node, headers=()):
    body = json.dumps({"StreamName": "orders", "Data": "ZGF0YQ==", "PartitionKey": "key"}).encode()
    headers = {"Content-Type": JSON, "X-Amz-Target": "Kinesis_20131202.PutRecord", **dict(headers)}
    return AWSRequest(method="POST", url=f"{node.endpoint}/", data=body, headers=headers)


def test_a_call_without_the_right_secret_is_refused(root, orders):
    for node in range(3):
        put(root.kinesis(node))
    code, message = refused(put, root.kinesis(aws_secret_access_key="guess"))
    assert code == "InvalidSignatureException"
    assert message.startswith("The request signature we calculated does not match the signature you provided.")
    code, message = refused(put, root.kinesis(aws_access_key_id="AKIAAAAAAAAAAAAAAAAA"))
    assert code == "UnrecognizedClientException"
    assert message == "The security token included in the request is invalid."
    status, answer = send(unsigned_put(root.cluster.nodes[0]))
    assert (status, answer["__type"]) == (400, "MissingAuthenticationTokenException")


def test_the_signature_of_a_gzip_body_covers_the_compressed_bytes(root, orders):
    compressed = unsigned_put(root.cluster.nodes[0], {"Content-Encoding": "gzip"})
    plain = compressed.data
    compressed.data = gzip.compress(plain)
    SigV4Auth(root.credentials(), "kinesis", REGION).add_auth(compressed)
    assert "content-encoding" in compressed.headers["Authorization"]
    assert send(compressed)[0] == 200
    inflated = unsigned_put(root.cluster.nodes[0], {"Content-Encoding": "gzip"})
    SigV4Auth(root.credentials(), "kinesis", REGION).add_auth(inflated)
    inflated.data = compressed.data
    assert send(inflated)[1]["__type"] == "InvalidSignatureException"


def test_a_body_that_was_changed_after_signing_is_refused(root, orders):
    request = unsigned_put(root.cluster.nodes[0])
    SigV4Auth(root.credentials(), "kinesis", REGION).add_auth(request)
    assert send(request)[0] == 200
    request.data = request.data.replace(b"ZGF0YQ", b"ZGF0YR")
    assert send(request)[1]["__type"] == "InvalidSignatureException"


def test_headers_with_spaces_and_a_query_are_signed_as_botocore_signs_them(root, orders):
    request = unsigned_put(root.cluster.nodes[0], {"X-Note": "  a   b  c  "})
    request.url += "?a=%C3%A4&b=%2F&c="
    SigV4Auth(root.credentials(), "kinesis", REGION).add_auth(request)
    assert send(request)[0] == 200


def test_a_signature_of_another_service_is_refused(root, orders):
    request = unsigned_put(root.cluster.nodes[0])
    SigV4Auth(root.credentials(), "firehose", REGION).add_auth(request)
    status, answer = send(request)
    assert (status, answer["__type"]) == (400, "InvalidSignatureException")
    assert "correct service: 'kinesis'" in answer["message"]


@pytest.mark.parametrize(("minutes", "says"), [(-6, "Signature expired: "), (6, "Signature not yet current: ")])
def test_the_error_for_a_wrong_clock_says_in_which_direction_it_is_wrong(root, orders, monkeypatch, minutes, says):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: moment)
    code, message = refused(put, root.kinesis())
    assert code == "InvalidSignatureException"
    assert message.startswith(says)


def test_a_clock_may_be_wrong_by_four_minutes(root, orders, monkeypatch):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=4)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: moment)
    put(root.kinesis())


def test_a_disabled_or_deleted_key_is_refused_by_every_node(cluster, orders, ann):
    ann.allow(allow("kinesis:*"))
    put(ann.kinesis())

    def is_refused():
        return all(refused(put, ann.kinesis(node))[0] == "UnrecognizedClientException" for node in range(3))

    ctl(cluster.binary, cluster.nodes[0], "key", "disable", ann.key_id)
    wait_for_every_node(ann, "UnrecognizedClientException")
    assert is_refused()
    ctl(cluster.binary, cluster.nodes[0], "key", "enable", ann.key_id)
    for node in range(3):
        put(ann.kinesis(node))
    ctl(cluster.binary, cluster.nodes[0], "key", "delete", ann.key_id)
    wait_for_every_node(ann, "UnrecognizedClientException")


def wait_for_every_node(user, code):
    """Waits until every node refuses the user. A node does so once it has the catalog version of the change."""

    def answers():
        codes = []
        for node in range(3):
            try:
                put(user.kinesis(node))
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
        return codes == [code] * 3

    wait_until(f"every node answers {code}", answers)


def test_policies_allow_single_tables(cluster, ann):
    tables = ann.client("dynamodb")
    assert "dynamodb:ListTables" in denied(tables.list_tables)
    ann.allow(allow("dynamodb:*", "arn:aws:dynamodb:*:*:table/app-*"))
    tables.create_table(
        TableName="app-1",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    tables.put_item(TableName="app-1", Item={"k": {"S": "a"}})
    denied(tables.put_item, TableName="other", Item={"k": {"S": "a"}})
    # A transaction needs the rights of all its entries.
    both = [{"Put": {"TableName": name, "Item": {"k": {"S": "b"}}}} for name in ["app-1", "other"]]
    denied(tables.transact_write_items, TransactItems=both)
    tables.transact_write_items(TransactItems=both[:1])
    assert tables.scan(TableName="app-1")["Count"] == 2
    deny = {"Effect": "Deny", "Action": "dynamodb:DeleteItem", "Resource": "*"}
    ann.allow(allow("dynamodb:*", "arn:aws:dynamodb:*:*:table/app-*"), deny)
    delete = {"Delete": {"TableName": "app-1", "Key": {"k": {"S": "a"}}}}
    assert "dynamodb:DeleteItem" in denied(tables.transact_write_items, TransactItems=[*both[:1], delete])


def test_a_session_has_the_policies_of_its_user_and_ends_with_the_user(cluster, orders, ann):
    ann.allow(allow("kinesis:PutRecord"))
    session = ctl(cluster.binary, cluster.nodes[0], "key", "session", ann.name, "--seconds", "900")
    temporary = User(cluster, ann.name, session, session["session_token"])
    put(temporary.kinesis(2))
    denied(temporary.kinesis().list_streams)
    token = session["session_token"]
    for wrong in (None, token[:-8] + "AAAAAAA=", "x"):
        code, _ = refused(put, temporary.kinesis(aws_session_token=wrong))
        assert code == "UnrecognizedClientException"
    code, _ = refused(put, temporary.kinesis(aws_access_key_id=ann.key_id))
    assert code == "UnrecognizedClientException"
    ctl(cluster.binary, cluster.nodes[0], "user", "delete", ann.name)
    wait_for_every_node(temporary, "UnrecognizedClientException")


def test_users_may_do_what_their_policies_allow(root, orders, ann):
    client, arn = ann.kinesis(), arn_of(root, orders)
    user = f"arn:aws:iam::{arn.split(':')[4]}:user/{ann.name}"
    message = denied(put, client)
    assert message == (
        f"User: {user} is not authorized to perform: kinesis:PutRecord on resource: {arn} because no "
        "identity-based policy allows the kinesis:PutRecord action"
    )
    ann.allow(allow(["kinesis:Put*", "kinesis:DescribeStream*"], arn.replace("orders", "ord*")))
    for node in range(3):
        put(ann.kinesis(node))
    client.describe_stream(StreamARN=arn)
    denied(client.get_shard_iterator, StreamName=orders, ShardId="shardId-0", ShardIteratorType="LATEST")
    denied(put, client, stream="invoices")
    assert " on resource: * because " in denied(client.list_streams)
    ann.allow(allow("kinesis:*"), {"Effect": "Deny", "Action": "kinesis:PutRecord", "Resource": arn})
    wait_until("the node applies the Deny statement", lambda: is_denied(client))
    assert denied(put, client).endswith("with an explicit deny in an identity-based policy")
    client.put_records(StreamName=orders, Records=[{"Data": b"1", "PartitionKey": "k"}])


def is_denied(client, **where):
    try:
        put(client, **where)
    except ClientError as error:
        return error.response["Error"]["Code"] == "AccessDeniedException"
    return False


def test_policies_apply_to_the_stream_of_an_iterator(root, orders, ann):
    arn = arn_of(root, orders)
    ann.allow(allow(["kinesis:GetShardIterator", "kinesis:GetRecords"], arn))
    client, of = ann.kinesis(), {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    own = client.get_shard_iterator(StreamName=orders, **of)["ShardIterator"]
    client.get_records(ShardIterator=own)
    other = create_stream(root.kinesis(), "private", shards=1)
    foreign = root.kinesis().get_shard_iterator(StreamName=other, **of)["ShardIterator"]
    denied(client.get_records, ShardIterator=foreign)


def test_conditions_are_checked_against_the_call(root, orders, ann):
    client = ann.kinesis()
    ann.allow(allow("kinesis:PutRecord", Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}))
    put(client)
    ann.allow(allow("kinesis:PutRecord", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    wait_until("the node checks the address", lambda: is_denied(client))
    ann.allow(allow("kinesis:PutRecord", Condition={"StringLike": {"aws:UserAgent": "Boto3/*"}}))
    put(client)
    ann.allow(allow("kinesis:*", Condition={"StringEquals": {"aws:RequestTag/owner": "${aws:username}"}}))
    client.create_stream(StreamName=ann.name, ShardCount=1, Tags={"owner": ann.name})
    denied(client.create_stream, StreamName=f"{ann.name}-2", ShardCount=1, Tags={"owner": "other"})


def test_another_account_needs_the_streams_policy_and_its_arn(cluster, root, orders):
    bob, arn = new_user(cluster, account=OTHER), arn_of(root, orders)
    client = bob.kinesis()
    bob.allow(allow("kinesis:*"))
    assert denied(put, client, StreamARN=arn).endswith(
        "because no resource-based policy allows the kinesis:PutRecord action"
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:user/{bob.name}"},
        "Action": "kinesis:PutRecord",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    root.kinesis().put_resource_policy(ResourceARN=arn, Policy=policy)
    put(client, StreamARN=arn)
    put(bob.kinesis(1), StreamARN=arn)
    denied(client.describe_stream, StreamARN=arn)
    code, message = refused(put, client)
    assert (code, OTHER in message) == ("ResourceNotFoundException", True)
    bob.allow(allow("kinesis:GetRecords"))
    wait_until("the node also checks the user's own policy", lambda: is_denied(client, StreamARN=arn))
    root.kinesis().delete_resource_policy(ResourceARN=arn)


def presigned(user, body, expires):
    """A request with its signature in the query. botocore includes the body's hash only if a header contains it."""
    request = unsigned_put(user.cluster.nodes[0], {"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()})
    request.data = b""
    SigV4QueryAuth(user.credentials(), "kinesis", REGION, expires=expires).add_auth(request)
    request.data = body
    return request


def test_a_signature_may_be_in_the_query(cluster, root, orders, ann, monkeypatch):
    body = unsigned_put(cluster.nodes[0]).data
    assert send(presigned(root, body, 60))[0] == 200
    forged = presigned(root, body, 60)
    forged.data = body.replace(b"ZGF0YQ", b"ZGF0YR")
    assert send(forged)[1]["__type"] == "InvalidSignatureException"
    ann.allow(allow("kinesis:PutRecord"))
    session = ctl(cluster.binary, cluster.nodes[0], "key", "session", ann.name)
    temporary = User(cluster, ann.name, session, session["session_token"])
    assert send(presigned(temporary, body, 60))[0] == 200
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: moment)
    assert send(presigned(root, body, 3600))[0] == 200
    assert send(presigned(root, body, 60))[1]["message"].startswith("Signature expired: ")


def test_a_presigned_url_of_boto3_is_signed_for_an_empty_body_and_refused(root, orders):
    members = {"StreamName": orders, "Data": b"data", "PartitionKey": "key"}
    url = root.kinesis().generate_presigned_url("put_record", Params=members)
    sent = unsigned_put(root.cluster.nodes[0])
    sent.url, body, sent.data = url, sent.data, b""
    assert send(sent)[1]["__type"] == "SerializationException"
    sent.data = body
    assert send(sent)[1]["__type"] == "InvalidSignatureException"


def test_the_cluster_page_is_not_shown_to_unauthenticated_callers(cluster, orders):
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{cluster.nodes[0].endpoint}/cluster", timeout=5)
    assert raised.value.code == 403


def test_secrets_are_in_no_log(cluster, root):
    for node in cluster.nodes:
        assert root.secret not in cluster.output(node)


def test_any_credentials_are_accepted_only_if_the_configuration_says_so(tmp_path):
    with Servers(tmp_path, settings=['authentication = "any"']) as servers:
        anybody = User(servers, "anybody", {"access_key_id": "any", "secret_access_key": "any"})
        create_stream(anybody.kinesis(), "open", shards=1)
        put(anybody.kinesis(), stream="open")
        assert 'warning: authentication = "any"' in servers.output(servers.nodes[0])


def test_calls_are_refused_while_the_catalog_has_no_leader(tmp_path):
    with Servers(tmp_path / "data", nodes=3) as servers:
        ann = new_user(servers)
        for node in servers.nodes[1:]:
            servers.kill(node)
        nobody = ann.kinesis(aws_access_key_id="AKIANOBODYATALL")
        assert refused(put, nobody)[0] == "UnrecognizedClientException"
        assert "no identity-based policy" in denied(put, ann.kinesis())
