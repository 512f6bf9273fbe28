// The scenario of the AWS SDK for JavaScript v3, which speaks HTTP/2: agreed on by ALPN with an https:// endpoint, without
// asking (h2c) with an http:// one. Create, put, split, encrypt, read with lineage, subscribe, delete.
// Usage: node scenario.mjs ENDPOINT STREAM

import assert from "node:assert/strict";
import {
  CreateStreamCommand,
  DeleteStreamCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  ResourceNotFoundException,
  SplitShardCommand,
  StartStreamEncryptionCommand,
  SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";

const [endpoint, StreamName] = process.argv.slice(2);
const client = new KinesisClient({
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY },
});
const send = (Command, input) => client.send(new Command(input));

async function until(what, condition) {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `after 30 s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function summary() {
  return (await send(DescribeStreamSummaryCommand, { StreamName })).StreamDescriptionSummary;
}

const isActive = () => until("the stream is ACTIVE", async () => (await summary()).StreamStatus === "ACTIVE");

async function put(from, count, encryption) {
  const numbers = Array.from({ length: count }, (_, index) => from + index);
  const Records = numbers.map((number) => ({ PartitionKey: `key-${number}`, Data: Buffer.from(`record ${number}`) }));
  const answer = await send(PutRecordsCommand, { StreamName, Records });
  assert.equal(answer.FailedRecordCount, 0);
  assert.equal(answer.EncryptionType, encryption);
}

const textOf = (record) => Buffer.from(record.Data).toString();

// All records of a shard, and what follows it.
async function read(ShardId) {
  const records = [];
  let next = (await send(GetShardIteratorCommand, { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" })).ShardIterator;
  while (next) {
    const page = await send(GetRecordsCommand, { ShardIterator: next });
    records.push(...page.Records.map(textOf));
    if (page.ChildShards?.length) return { records, children: page.ChildShards.map((child) => child.ShardId) };
    if (page.MillisBehindLatest === 0) return { records, children: [] };
    next = page.NextShardIterator;
  }
  return { records, children: [] };
}

await send(CreateStreamCommand, { StreamName, ShardCount: 1 });
await isActive();
await put(0, 20);
const [parent] = (await send(ListShardsCommand, { StreamName })).Shards;
await send(SplitShardCommand, {
  StreamName,
  ShardToSplit: parent.ShardId,
  NewStartingHashKey: (2n ** 127n).toString(),
});
await isActive();
await send(StartStreamEncryptionCommand, { StreamName, EncryptionType: "KMS", KeyId: "alias/aws/kinesis" });
await isActive();
await put(20, 20, "KMS");

const first = await read(parent.ShardId);
assert.equal(first.children.length, 2);
assert.deepEqual(first.records, Array.from({ length: 20 }, (_, number) => `record ${number}`));
const rest = (await Promise.all(first.children.map(read))).flatMap((shard) => shard.records);
assert.deepEqual(rest.sort(), Array.from({ length: 20 }, (_, index) => `record ${20 + index}`).sort());

const { StreamARN } = await summary();
const { Consumer } = await send(RegisterStreamConsumerCommand, { StreamARN, ConsumerName: "javascript" });
const { ConsumerARN } = Consumer;
await until("the consumer is ACTIVE", async () => {
  const described = await send(DescribeStreamConsumerCommand, { ConsumerARN });
  return described.ConsumerDescription.ConsumerStatus === "ACTIVE";
});

// The whole parent is pushed, then the end, with the children.
const parentEvents = await send(SubscribeToShardCommand, {
  ConsumerARN,
  ShardId: parent.ShardId,
  StartingPosition: { Type: "TRIM_HORIZON" },
});
const pushed = [];
let last;
for await (const event of parentEvents.EventStream) {
  last = event.SubscribeToShardEvent;
  pushed.push(...last.Records.map(textOf));
}
assert.deepEqual(pushed, first.records);
assert.deepEqual(last.ChildShards.map((child) => child.ShardId), first.children);
assert.equal(last.ContinuationSequenceNumber, undefined);

// What is put while a subscription runs is pushed.
const [ShardId] = first.children;
const live = await send(SubscribeToShardCommand, { ConsumerARN, ShardId, StartingPosition: { Type: "LATEST" } });
const Records = [{ PartitionKey: "live", ExplicitHashKey: "0", Data: Buffer.from("live") }];
await send(PutRecordsCommand, { StreamName, Records });
for await (const event of live.EventStream) {
  const records = event.SubscribeToShardEvent.Records.map(textOf);
  if (records.length > 0) {
    assert.deepEqual(records, ["live"]);
    break;
  }
}

await send(DeleteStreamCommand, { StreamName, EnforceConsumerDeletion: true });
await until("the stream is gone", async () => {
  try {
    await summary();
    return false;
  } catch (error) {
    if (error instanceof ResourceNotFoundException) return true;
    throw error;
  }
});
client.destroy();
console.log("ok");
process.exit(0);
