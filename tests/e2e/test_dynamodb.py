"""The DynamoDB subset for the Kinesis Client Library: what a lease table needs, through every node and after kills."""

import itertools
import threading
import zlib

import pytest
from botocore.exceptions import ClientError

from support.clients import dynamodb
from support.cluster import Cluster
from support.waiting import wait_until

LEASES = "app"
INDEX = "LeaseOwnerToLeaseKeyIndex"


def create_leases(client, name=LEASES):
    """The lease table of the Kinesis Client Library 2 and 3."""
    return client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )["TableDescription"]


def key(shard):
    return {"leaseKey": {"S": f"shardId-{shard:012}"}}


def create_lease(client, shard, table=LEASES):
    """As `createLeaseIfNotExists`."""
    client.put_item(
        TableName=table,
        Item={**key(shard), "leaseCounter": {"N": "0"}, "checkpoint": {"S": "TRIM_HORIZON"}},
        Expected={"leaseKey": {"Exists": False}},
    )


def renew(client, shard, counter, owner, **more):
    """As `renewLease`, in the older style of conditions that the library uses."""
    return client.update_item(
        TableName=LEASES,
        Key=key(shard),
        AttributeUpdates={
            "leaseCounter": {"Action": "PUT", "Value": {"N": str(counter + 1)}},
            "leaseOwner": {"Action": "PUT", "Value": {"S": owner}},
        },
        Expected={"leaseCounter": {"Value": {"N": str(counter)}}},
        **more,
    )


def add_index(client):
    """The index that the Kinesis Client Library 3 adds to its lease table."""
    return client.update_table(
        TableName=LEASES,
        AttributeDefinitions=[
            {"AttributeName": "leaseKey", "AttributeType": "S"},
            {"AttributeName": "leaseOwner", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": INDEX,
                    "KeySchema": [
                        {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                        {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )["TableDescription"]


def owned(client, owner):
    """The leases of a worker, from the index."""
    pages = client.get_paginator("query").paginate(
        TableName=LEASES,
        IndexName=INDEX,
        KeyConditionExpression="leaseOwner = :leaseOwner",
        ExpressionAttributeValues={":leaseOwner": {"S": owner}},
        PaginationConfig={"PageSize": 2},
    )
    return [item["leaseKey"]["S"] for page in pages for item in page["Items"]]


def index_is_active(client):
    [index] = client.describe_table(TableName=LEASES)["Table"]["GlobalSecondaryIndexes"]
    return index["IndexStatus"] == "ACTIVE"


def refused(call, *arguments, **named):
    """The error of a call that must fail."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **named)
    return raised.value.response


@pytest.fixture(scope="module")
def tables(endpoint):
    """A client of the shared node, with the lease table."""
    client = dynamodb(endpoint)
    assert create_leases(client)["TableStatus"] == "ACTIVE"
    return client


def test_a_table_is_there_at_once_and_only_once(tables):
    described = tables.describe_table(TableName=LEASES)["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert described["TableArn"].endswith(f":table/{LEASES}")
    assert refused(create_leases, tables)["Error"]["Code"] == "ResourceInUseException"
    assert LEASES in tables.list_tables()["TableNames"]
    tables.get_waiter("table_exists").wait(TableName=LEASES, WaiterConfig={"Delay": 20, "MaxAttempts": 1})
    missing = refused(tables.describe_table, TableName="missing")["Error"]
    assert missing["Code"] == "ResourceNotFoundException"


def test_a_deleted_table_is_gone_and_begins_empty_again(tables):
    create_leases(tables, "short")
    create_lease(tables, 1, "short")
    tables.delete_table(TableName="short")
    tables.get_waiter("table_not_exists").wait(TableName="short", WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    assert refused(tables.scan, TableName="short")["Error"]["Code"] == "ResourceNotFoundException"
    create_leases(tables, "short")
    assert tables.scan(TableName="short")["Count"] == 0


def test_a_lease_is_renewed_by_its_counter(tables):
    create_lease(tables, 1)
    assert refused(create_lease, tables, 1)["Error"]["Code"] == "ConditionalCheckFailedException"
    renewed = renew(tables, 1, 0, "ann", ReturnValues="ALL_NEW")["Attributes"]
    assert (renewed["leaseCounter"], renewed["leaseOwner"]) == ({"N": "1"}, {"S": "ann"})
    error = refused(renew, tables, 1, 0, "bob", ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert error["Error"]["Code"] == "ConditionalCheckFailedException"
    assert error["Item"]["leaseOwner"] == {"S": "ann"}


def test_an_index_is_filled_and_followed(tables):
    for shard in range(20, 30):
        create_lease(tables, shard)
        renew(tables, shard, 0, f"worker-{shard % 2}")
    create_lease(tables, 30)  # without an owner, so it is not in the index
    updated = add_index(tables)
    assert [index["IndexName"] for index in updated["GlobalSecondaryIndexes"]] == [INDEX]

    wait_until("the index is ACTIVE", lambda: index_is_active(tables))
    assert owned(tables, "worker-0") == [key(shard)["leaseKey"]["S"] for shard in range(20, 30, 2)]
    renew(tables, 20, 1, "worker-1")
    assert owned(tables, "worker-0") == [key(shard)["leaseKey"]["S"] for shard in range(22, 30, 2)]
    assert key(20)["leaseKey"]["S"] in owned(tables, "worker-1")


def test_segments_of_a_scan_are_the_whole_table(tables):
    create_leases(tables, "scanned")
    for shard in range(40):
        create_lease(tables, shard, "scanned")
    found = []
    for segment in range(4):
        pages = tables.get_paginator("scan").paginate(
            TableName="scanned", Segment=segment, TotalSegments=4, PaginationConfig={"PageSize": 3}
        )
        found += [item["leaseKey"]["S"] for page in pages for item in page["Items"]]
    assert sorted(found) == [key(shard)["leaseKey"]["S"] for shard in range(40)]


def test_a_transaction_happens_as_a_whole(tables):
    create_leases(tables, "locks")
    put = {"TableName": "locks", "Item": {"leaseKey": {"S": "Leader"}, "ownerName": {"S": "ann"}}}
    tables.transact_write_items(TransactItems=[{"Put": put}])
    check = {
        "TableName": "locks",
        "Key": {"leaseKey": {"S": "Leader"}},
        "ConditionExpression": "ownerName = :owner",
        "ExpressionAttributeValues": {":owner": {"S": "bob"}},
    }
    lease = {"TableName": LEASES, "Item": {**key(900)}}
    error = refused(tables.transact_write_items, TransactItems=[{"Put": lease}, {"ConditionCheck": check}])
    assert error["Error"]["Code"] == "TransactionCanceledException"
    assert [reason["Code"] for reason in error["CancellationReasons"]] == ["None", "ConditionalCheckFailed"]
    assert "Item" not in tables.get_item(TableName=LEASES, Key=key(900))
    check["ExpressionAttributeValues"] = {":owner": {"S": "ann"}}
    tables.transact_write_items(TransactItems=[{"Put": lease}, {"ConditionCheck": check}])
    assert "Item" in tables.get_item(TableName=LEASES, Key=key(900))


def test_what_is_not_supported_is_named(tables):
    error = refused(tables.batch_get_item, RequestItems={LEASES: {"Keys": [key(1)]}})["Error"]
    assert error == {"Code": "ValidationException", "Message": "BatchGetItem is not supported by this endpoint"}


def test_workers_that_start_together_make_one_table_and_one_index(three):
    """Each worker of the library creates the table and the index at its start, through its own node."""
    clients = [dynamodb(node.endpoint) for node in three.nodes] * 2
    codes, lock = [], threading.Lock()

    def at_once(call):
        def attempt(client):
            try:
                call(client)
                code = "done"
            except ClientError as error:
                code = error.response["Error"]["Code"]
            with lock:
                codes.append(code)

        threads = [threading.Thread(target=attempt, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found, codes[:] = sorted(codes), []
        return found

    assert at_once(create_leases) == ["ResourceInUseException"] * 5 + ["done"]
    for shard in range(10):
        create_lease(clients[0], shard)
        renew(clients[0], shard, 0, "ann")
    made = at_once(add_index)
    assert made.count("done") == 1, made
    wait_until("the index is ACTIVE", lambda: index_is_active(clients[0]))
    for client in clients[:3]:
        assert owned(client, "ann") == [key(shard)["leaseKey"]["S"] for shard in range(10)]
    renew(clients[1], 3, 1, "bob")
    assert owned(clients[2], "bob") == [key(3)["leaseKey"]["S"]]


def test_of_many_writers_of_one_counter_each_value_has_one(three):
    """Workers race for one lease through all nodes, while nodes die: each counter value is written once."""
    clients = [dynamodb(node.endpoint, retries={"total_max_attempts": 1}) for node in three.nodes]
    create_leases(clients[0])
    create_lease(clients[0], 1)
    won, numbers, done = [], itertools.count(), threading.Event()
    lock = threading.Lock()

    def race(client):
        while not done.is_set():
            try:
                item = client.get_item(TableName=LEASES, Key=key(1), ConsistentRead=True)["Item"]
                counter, owner = int(item["leaseCounter"]["N"]), f"attempt-{next(numbers)}"
                renew(client, 1, counter, owner)
            except Exception:  # noqa: BLE001 - a lost race, or a node that is down
                continue
            with lock:
                won.append((counter + 1, owner))

    def has_won(count):
        target = len(won) + count
        wait_until(f"{count} more renewals", lambda: len(won) >= target, timeout=60)

    threads = [threading.Thread(target=race, args=(client,)) for client in clients * 2]
    for thread in threads:
        thread.start()
    try:
        has_won(30)
        for node in list(three.nodes):
            three.kill(node)
            has_won(20)
            three.restart(node)
            has_won(20)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    counters = [counter for counter, _ in won]
    assert len(counters) == len(set(counters)), "two writers were told that they wrote one value"
    last = wait_until(
        "a node that answers",
        lambda: dynamodb(three.nodes[0].endpoint).get_item(TableName=LEASES, Key=key(1), ConsistentRead=True)["Item"],
    )
    assert int(last["leaseCounter"]["N"]) >= max(counters), "no acknowledged renewal is lost"


def test_rows_survive_the_death_of_all_nodes(tmp_path):
    with Cluster(tmp_path / "all", nodes=3) as cluster:
        clients = [dynamodb(node.endpoint) for node in cluster.nodes]
        create_leases(clients[0])
        for shard in range(50):
            create_lease(clients[shard % 3], shard)
        cluster.kill_everything()
    with Cluster(tmp_path / "all", nodes=3) as cluster:
        for node in cluster.nodes:
            found = dynamodb(node.endpoint).scan(TableName=LEASES, ConsistentRead=True)
            assert found["Count"] == 50, f"through node {node.id}"


def test_responses_have_the_checksum_that_dynamodb_sends(one):
    client, bodies = dynamodb(one.nodes[0].endpoint), []
    client.meta.events.register("response-received.dynamodb.*", lambda response_dict, **_: bodies.append(response_dict))
    client.list_tables()
    [response] = bodies
    assert int(response["headers"]["x-amz-crc32"]) == zlib.crc32(response["body"])
