"""`anabranch ctl user`, `key` and `policy`: users, their access keys and their policies."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import create_stream, status
from support.waiting import wait_until

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "kinesis:PutRecord", "Resource": "*"}],
}


def run(cluster, *arguments, node=None, stdin=None):
    """Runs `anabranch ctl` and returns its output unchanged."""
    node = node or cluster.nodes[0]
    command = [str(part) for part in (cluster.binary, "ctl", "--node", node.grpc, *arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def ctl(cluster, *arguments, node=None, stdin=None):
    """Runs `anabranch ctl --json` and returns its parsed output."""
    return json.loads(run(cluster, "--json", *arguments, node=node, stdin=stdin))


def refused(cluster, *arguments, stdin=None):
    """The error message of a command that must fail."""
    with pytest.raises(RuntimeError) as error:
        run(cluster, *arguments, stdin=stdin)
    return str(error.value)


@pytest.fixture
def user(one, stream_name):
    """A user that no other test uses. It is deleted after the test."""
    name = f"u-{stream_name.split('-', 1)[1]}"
    created = ctl(one, "user", "create", name)
    assert (created["user"], created["keys"], created["policies"]) == (name, [], [])
    yield name
    ctl(one, "user", "delete", name)


def test_users_are_created_listed_shown_and_deleted(one, user):
    assert re.fullmatch(r"[0-9]{12}", ctl(one, "user", "show", user)["account"])
    assert user in [listed["user"] for listed in ctl(one, "user", "list")]
    assert f"user {user} already exists" in refused(one, "user", "create", user)
    other = ctl(one, "user", "create", f"{user}.other", "--account", "123456789012")
    assert other["account"] == "123456789012"
    assert ctl(one, "user", "delete", f"{user}.other") == {"deleted": f"{user}.other"}
    for command in (("user", "show"), ("user", "delete"), ("key", "create"), ("key", "session"), ("policy", "list")):
        assert f"user {user}.other not found" in refused(one, *command, f"{user}.other")
    assert "64 characters" in refused(one, "user", "create", "a b")
    assert "twelve digits" in refused(one, "user", "create", "ann", "--account", "1")


def test_a_key_shows_its_secret_once_and_can_be_disabled_and_deleted(one, user):
    first = ctl(one, "key", "create", user)
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", first["access_key_id"])
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", first["secret_access_key"])
    lines = run(one, "key", "create", user).splitlines()
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    assert set(exported) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    second = exported["AWS_ACCESS_KEY_ID"]
    assert "access keys: 3 is over the limit of 2" in refused(one, "key", "create", user)

    listed = {key["access_key_id"]: key["enabled"] for key in ctl(one, "key", "list", user)}
    assert listed == {first["access_key_id"]: True, second: True}
    assert ctl(one, "key", "disable", second) == {"access_key_id": second, "enabled": False}
    assert {key["access_key_id"]: key["enabled"] for key in ctl(one, "key", "list")}[second] is False
    assert ctl(one, "key", "enable", second)["enabled"] is True
    assert ctl(one, "key", "delete", second) == {"deleted": second}
    for command in ("enable", "disable", "delete"):
        assert f"access key {second} not found" in refused(one, "key", command, second)
    for shown in (run(one, "user", "show", user), run(one, "key", "list"), json.dumps(ctl(one, "user", "list"))):
        assert first["secret_access_key"] not in shown


def test_temporary_credentials_expire_at_the_requested_time(one, user):
    before = time.time()
    session = ctl(one, "key", "session", user, "--seconds", "900")
    assert re.fullmatch(r"ASIA[A-Z2-7]{16}", session["access_key_id"])
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", session["secret_access_key"])
    assert before + 900 - 1 <= session["expires_millis"] / 1000 <= time.time() + 900 + 1
    assert session["secret_access_key"] not in session["session_token"]
    assert ctl(one, "key", "list", user) == [], "nothing of it is kept"
    for seconds in ("899", "43201"):
        assert "seconds: must be 900 to 43200" in refused(one, "key", "session", user, "--seconds", seconds)


def test_policies_are_returned_as_they_were_written(one, user, tmp_path):
    document = json.dumps(POLICY, indent=2)
    file = tmp_path / "policy.json"
    file.write_text(document)
    assert ctl(one, "policy", "put", user, "put-orders", file) == {"user": user, "policy": "put-orders"}
    assert ctl(one, "policy", "get", user, "put-orders")["document"] == document
    assert run(one, "policy", "get", user, "put-orders") == document + "\n"
    ctl(one, "policy", "put", user, "other", "-", stdin=json.dumps(POLICY))
    assert ctl(one, "policy", "list", user)["policies"] == ["other", "put-orders"]
    assert ctl(one, "policy", "delete", user, "other") == {"user": user, "deleted": "other"}
    assert ctl(one, "user", "show", user)["policies"] == ["put-orders"]
    assert f"user {user} has no policy other" in refused(one, "policy", "get", user, "other")
    assert f"user {user} has no policy other" in refused(one, "policy", "delete", user, "other")
    assert "name: " in refused(one, "policy", "put", user, "a/b", file)
    assert "document: " in refused(one, "policy", "put", user, "long", "-", stdin=" " * 6_145)
    assert "no-file" in refused(one, "policy", "put", user, "p", tmp_path / "no-file")


@pytest.mark.parametrize(
    "document", ["", "nothing", "[]", "{}", '{"Statement": 1}', '{"Statement": [{"Effect": "May"}]}']
)
def test_an_invalid_policy_is_refused(one, user, document):
    assert "document: " in refused(one, "policy", "put", user, "p", "-", stdin=document)
    assert ctl(one, "policy", "list", user)["policies"] == []


def test_users_survive_the_catalogs_leader_and_reach_every_node(three):
    ctl(three, "user", "create", "ann", node=three.nodes[0])
    key = ctl(three, "key", "create", "ann", node=three.nodes[1])
    ctl(three, "policy", "put", "ann", "p", "-", node=three.nodes[2], stdin=json.dumps(POLICY))
    for node in three.nodes:
        wait_until(
            "the node knows the change",
            lambda node=node: ctl(three, "user", "show", "ann", node=node)["policies"] == ["p"],
        )
    # The catalog changes with streams, but no user changes: the users must stay.
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, "orders", shards=1)
    for node in (three.nodes[2], three.nodes[0]):
        three.kill(node)
        three.restart(node)
        wait_until("the node knows the change", lambda node=node: known(three, "ann", node) == [key["access_key_id"]])
    assert status(client, "orders") == "ACTIVE"
    # No file of a node contains the secret in plain.
    secret = key["secret_access_key"].encode()
    files = [path for path in Path(three.data_dir).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret in path.read_bytes()]


def test_a_node_without_a_catalog_replica_knows_users_and_keeps_them_when_streams_change(tmp_path):
    with Cluster(tmp_path / "four", nodes=4) as cluster:
        first, outside = cluster.nodes[0], cluster.nodes[-1]
        wait_until("three nodes hold the catalog", lambda: ctl(cluster, "status")["catalog_nodes"] == [1, 2, 3])
        ctl(cluster, "user", "create", "ann", node=outside)
        key = ctl(cluster, "key", "create", "ann", node=first)["access_key_id"]
        wait_until("the node knows the change", lambda: known(cluster, "ann", outside) == [key])
        # These versions of the catalog are sent without users.
        client = kinesis(outside.endpoint)
        for name in ("a", "b", "c"):
            create_stream(client, name, shards=1)
            assert known(cluster, "ann", outside) == [key]
        ctl(cluster, "key", "delete", key, node=first)
        wait_until("the node knows the change", lambda: known(cluster, "ann", outside) == [])
        cluster.kill(outside)
        ctl(cluster, "user", "create", "bob", node=first)
        cluster.restart(outside)
        wait_until("the node knows the change", lambda: known(cluster, "bob", outside) == [])
        assert known(cluster, "ann", outside) == []


def known(cluster, name, node):
    """The access key ids of the user, as a node knows them. None if the command fails."""
    try:
        return [key["access_key_id"] for key in ctl(cluster, "user", "show", name, node=node)["keys"]]
    except RuntimeError:
        return None
