//! The scenario of the AWS SDK for Rust: create, put, split, encrypt, read with lineage, subscribe, delete.
//! Arguments: endpoint, stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ChildShard, ConsumerStatus, EncryptionType, PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition,
    StreamDescriptionSummary, StreamStatus, SubscribeToShardEventStream,
};

struct Scenario {
    client: Client,
    stream: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().context("ENDPOINT")?;
    let stream = arguments.next().context("STREAM")?;
    let key = std::env::var("AWS_ACCESS_KEY_ID").context("AWS_ACCESS_KEY_ID")?;
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").context("AWS_SECRET_ACCESS_KEY")?;
    let credentials = Credentials::new(key, secret, None, None, "test");
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .build();
    Scenario { client: Client::from_conf(config), stream }.run().await?;
    println!("ok");
    Ok(())
}

impl Scenario {
    async fn run(&self) -> Result<()> {
        let (client, stream) = (&self.client, &self.stream);
        client.create_stream().stream_name(stream).shard_count(1).send().await?;
        self.until_active().await?;
        self.put(0..20, None).await?;
        let listed = client.list_shards().stream_name(stream).send().await?;
        let parent = listed.shards().first().context("no shard")?.shard_id().to_owned();
        let split = client.split_shard().stream_name(stream).shard_to_split(&parent);
        split.new_starting_hash_key((1u128 << 127).to_string()).send().await?;
        self.until_active().await?;
        let encrypt = client.start_stream_encryption().stream_name(stream);
        let encrypt = encrypt.encryption_type(EncryptionType::Kms).key_id("alias/aws/kinesis");
        encrypt.send().await?;
        self.until_active().await?;
        self.put(20..40, Some(EncryptionType::Kms)).await?;

        let (records, children) = self.read(&parent).await?;
        ensure!(records == texts(0..20), "the parent has {records:?}");
        ensure!(children.len() == 2, "the parent's children are {children:?}");
        let mut rest = Vec::new();
        for child in &children {
            rest.extend(self.read(child).await?.0);
        }
        let mut wanted = texts(20..40);
        rest.sort();
        wanted.sort();
        ensure!(rest == wanted, "the children have {rest:?}");

        self.subscribe(&parent, &records, &children).await?;

        client.delete_stream().stream_name(stream).enforce_consumer_deletion(true).send().await?;
        let deadline = deadline();
        loop {
            match client.describe_stream_summary().stream_name(stream).send().await {
                Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                    return Ok(());
                }
                _ => pause(deadline, "the stream is gone").await?,
            }
        }
    }

    /// The whole parent is pushed, then its end with the children; what is put meanwhile is pushed to a child's subscriber.
    async fn subscribe(&self, parent: &str, records: &[String], children: &[String]) -> Result<()> {
        let (client, stream) = (&self.client, &self.stream);
        let arn = self.summary().await?.stream_arn().to_owned();
        let registered = client.register_stream_consumer().stream_arn(arn).consumer_name("rust").send().await?;
        let consumer = registered.consumer().context("no consumer")?.consumer_arn().to_owned();
        let deadline = deadline();
        loop {
            let described = client.describe_stream_consumer().consumer_arn(&consumer).send().await?;
            let status = described.consumer_description().map(|consumer| consumer.consumer_status().clone());
            if status == Some(ConsumerStatus::Active) {
                break;
            }
            pause(deadline, "the consumer is ACTIVE").await?;
        }

        let from = |kind| StartingPosition::builder().r#type(kind).build();
        let all = client.subscribe_to_shard().consumer_arn(&consumer).shard_id(parent);
        let mut all = all.starting_position(from(ShardIteratorType::TrimHorizon)?).send().await?;
        let (mut pushed, mut last) = (Vec::new(), None);
        while let Some(event) = all.event_stream.recv().await? {
            let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else { continue };
            pushed.extend(event.records().iter().map(text));
            last = Some(event);
        }
        let last = last.context("nothing was pushed")?;
        ensure!(pushed == records, "pushed was {pushed:?}");
        ensure!(ids(last.child_shards()) == children, "pushed as children were {:?}", last.child_shards());

        let live = client.subscribe_to_shard().consumer_arn(&consumer).shard_id(&children[0]);
        let mut live = live.starting_position(from(ShardIteratorType::Latest)?).send().await?;
        let put = client.put_record().stream_name(stream).partition_key("live").explicit_hash_key("0");
        put.data(Blob::new("live")).send().await?;
        loop {
            let event = live.event_stream.recv().await?.context("the subscription ended")?;
            if let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event
                && let Some(record) = event.records().first()
            {
                ensure!(text(record) == "live", "pushed was {record:?}");
                return Ok(());
            }
        }
    }

    async fn put(&self, numbers: std::ops::Range<u32>, encryption: Option<EncryptionType>) -> Result<()> {
        let mut put = self.client.put_records().stream_name(&self.stream);
        for (number, text) in numbers.clone().zip(texts(numbers)) {
            let entry = PutRecordsRequestEntry::builder().partition_key(format!("key-{number}"));
            put = put.records(entry.data(Blob::new(text)).build()?);
        }
        let answer = put.send().await?;
        ensure!(answer.failed_record_count() == Some(0), "{answer:?}");
        ensure!(answer.encryption_type() == encryption.as_ref(), "{answer:?}");
        Ok(())
    }

    /// All records of a shard, and what follows it.
    async fn read(&self, shard: &str) -> Result<(Vec<String>, Vec<String>)> {
        let start = self.client.get_shard_iterator().stream_name(&self.stream).shard_id(shard);
        let start = start.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
        let mut next = start.shard_iterator;
        let mut records = Vec::new();
        while let Some(iterator) = next {
            let page = self.client.get_records().shard_iterator(iterator).send().await?;
            records.extend(page.records().iter().map(text));
            if !page.child_shards().is_empty() {
                return Ok((records, ids(page.child_shards())));
            }
            if page.millis_behind_latest() == Some(0) {
                break;
            }
            next = page.next_shard_iterator;
        }
        Ok((records, Vec::new()))
    }

    async fn summary(&self) -> Result<StreamDescriptionSummary> {
        let answer = self.client.describe_stream_summary().stream_name(&self.stream).send().await?;
        answer.stream_description_summary.context("no summary")
    }

    async fn until_active(&self) -> Result<()> {
        let deadline = deadline();
        while *self.summary().await?.stream_status() != StreamStatus::Active {
            pause(deadline, "the stream is ACTIVE").await?;
        }
        Ok(())
    }
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("record {number}")).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(record.data().as_ref()).into_owned()
}

fn ids(children: &[ChildShard]) -> Vec<String> {
    children.iter().map(|child| child.shard_id().to_owned()).collect()
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn pause(deadline: Instant, what: &str) -> Result<()> {
    ensure!(Instant::now() < deadline, "after 30 s still not: {what}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}
