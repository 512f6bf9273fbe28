//! The control operations. Each is one transaction over the row of the delivery stream; its job does the rest.

use anabranch_client::{LatestPosition, latest_positions};
use anabranch_delivery::encryption;
use anabranch_delivery::rows::{self, At, POSITIONS, STREAMS};
use anabranch_delivery::{Definition, Destination, Kind, Settings, Source, Status};
use anabranch_table::{Expect, Key, KeyRange, Outcome, Refusal, Row, SpaceId, Transaction};
use anabranch_types::{GroupId, StreamArn, StreamName};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::description;
use crate::error::Error;
use crate::service::Firehose;

/// Attempts of a change that another one came before.
const ATTEMPTS: usize = 10;
/// Tags of a delivery stream. Source: the service model, `TagDeliveryStreamInputTagList`.
const MAX_TAGS: usize = 50;
/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 100;
/// Source: API reference, ListDeliveryStreams and ListTagsForDeliveryStream.
const DEFAULT_LIST: u64 = 10;
const DEFAULT_TAGS: u64 = 50;
/// The only destination of a delivery stream has this id, as in AWS.
pub(crate) const DESTINATION_ID: &str = "destinationId-000000000001";

/// Where the rows are.
#[derive(Clone, Copy)]
struct Spaces {
    group: GroupId,
    streams: SpaceId,
    positions: SpaceId,
}

impl Spaces {
    fn stream(&self, name: &str) -> Key {
        Key { space: self.streams, key: Bytes::copy_from_slice(name.as_bytes()) }
    }
}

impl Firehose {
    /// The spaces, made if they do not exist.
    async fn spaces(&self) -> Result<Spaces, Error> {
        let group = self.tables.ready_group().await?;
        let streams = self.tables.create_space(group, STREAMS).await?;
        let positions = self.tables.create_space(group, POSITIONS).await?;
        Ok(Spaces { group, streams, positions })
    }

    /// The row of a delivery stream.
    async fn stored(&self, name: &str) -> Result<(Spaces, Definition, Row), Error> {
        // A cluster without a table group has no delivery stream, and gets no group because somebody asks for one.
        if self.tables.group().is_none() {
            return Err(self.not_found(name));
        }
        let spaces = self.spaces().await?;
        let row = self.tables.get(spaces.group, spaces.stream(name)).await?;
        let row = row.ok_or_else(|| self.not_found(name))?;
        Ok((spaces, read(&row)?, row))
    }

    /// The definition of a delivery stream, for a put that finds no internal stream.
    pub(crate) async fn definition(&self, name: &str) -> Result<Definition, Error> {
        self.stored(name).await.map(|(_, definition, _)| definition)
    }

    /// Says whether the change was made. Otherwise a row was not as expected.
    async fn transact(&self, group: GroupId, transaction: Transaction) -> Result<bool, Error> {
        match self.tables.transact(group, transaction).await? {
            Outcome::Done { .. } => Ok(true),
            Outcome::Failed { .. } => Ok(false),
            Outcome::Refused(refusal @ Refusal::Full { .. }) => {
                Err(Error::Limit(refusal.to_string()))
            }
            Outcome::Refused(refusal) => Err(Error::InvalidArgument(refusal.to_string())),
            Outcome::Created { .. } => Err(Error::unavailable(&"an outcome of another request")),
        }
    }

    /// Replaces the row of a delivery stream by what `change` makes of it.
    async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut Definition) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let (spaces, mut definition, row) = self.stored(name).await?;
            let before = definition.clone();
            change(&mut definition)?;
            if definition == before {
                return Ok(());
            }
            let key = spaces.stream(name);
            let transaction = Transaction {
                checks: vec![(key.clone(), Expect::Version(row.version))],
                puts: vec![(key, definition.encode().into())],
                ..Transaction::default()
            };
            if self.transact(spaces.group, transaction).await? {
                return Ok(());
            }
        }
        Err(Error::InUse(format!("Firehose {name} is being changed by other calls.")))
    }
}

fn read(row: &Row) -> Result<Definition, Error> {
    Definition::decode(&row.value).map_err(|error| Error::unavailable(&error))
}

fn text<'r>(request: &'r Value, member: &str) -> Option<&'r str> {
    request.get(member).and_then(Value::as_str)
}

fn name(request: &Value) -> &str {
    text(request, "DeliveryStreamName").unwrap_or_default()
}

fn number(request: &Value, member: &str, default: u64) -> usize {
    let number = request.get(member).and_then(Value::as_u64).unwrap_or(default);
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// CreateDeliveryStream.
pub(crate) async fn create(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let name = name(request);
    let destination = destination(request)?;
    let settings =
        Settings::parse(&destination).map_err(|error| Error::InvalidArgument(error.to_string()))?;
    if let Some(bucket) = settings.buckets().find(|bucket| !firehose.stores.has(bucket)) {
        return Err(Error::InvalidArgument(format!(
            "No object store of this cluster has the bucket {bucket}: see object-stores in the configuration of a node."
        )));
    }
    let (source, stream) = source(firehose, request)?;
    let mut tags = std::collections::BTreeMap::new();
    add_tags(&mut tags, request)?;
    // Records could be put before the encryption begins.
    if request.get("DeliveryStreamEncryptionConfigurationInput").is_some() {
        return Err(Error::InvalidArgument(
            "DeliveryStreamEncryptionConfigurationInput is not served at creation: use StartDeliveryStreamEncryption"
                .to_owned(),
        ));
    }
    let now = firehose.clock.now().as_millis();
    let definition = Definition::new(name, source, destination, now);
    let definition = Definition { tags, ..definition };
    let spaces = firehose.spaces().await?;
    let key = spaces.stream(name);
    if firehose.tables.get(spaces.group, key.clone()).await?.is_some() {
        return Err(exists(firehose, name));
    }
    // The positions come first: records that are put after this call are delivered.
    if let Some(stream) = stream {
        store_positions(firehose, spaces, &definition, &stream).await?;
    }
    let transaction = Transaction {
        checks: vec![(key.clone(), Expect::Absent)],
        puts: vec![(key, definition.encode().into())],
        ..Transaction::default()
    };
    if firehose.transact(spaces.group, transaction).await? {
        return Ok(json!({ "DeliveryStreamARN": firehose.arn(name) }));
    }
    delete_rows(firehose, spaces, &definition).await?;
    Err(exists(firehose, name))
}

fn exists(firehose: &Firehose, name: &str) -> Error {
    Error::InUse(format!("Firehose {name} under accountId {} already exists", firehose.account))
}

fn not_served(member: &str) -> Error {
    Error::InvalidArgument(format!("{member} is not served here"))
}

/// The destination of a request: exactly one.
fn destination(request: &Value) -> Result<Destination, Error> {
    let mut found = None;
    for (member, value) in request.as_object().into_iter().flatten() {
        let Some(kind) = member.strip_suffix("DestinationConfiguration") else { continue };
        let kind = match kind {
            "S3" => Kind::S3,
            "ExtendedS3" => Kind::ExtendedS3,
            _ => return Err(not_served(member)),
        };
        let destination = Destination { kind, configuration: value.clone() };
        if found.replace(destination).is_some() {
            return Err(one_destination());
        }
    }
    found.ok_or_else(one_destination)
}

fn one_destination() -> Error {
    Error::InvalidArgument(
        "Exactly one destination configuration is supported for a Firehose".to_owned(),
    )
}

/// The source of a request, and the stream to read if it is one of the account.
fn source(firehose: &Firehose, request: &Value) -> Result<(Source, Option<StreamName>), Error> {
    for member in ["MSKSourceConfiguration", "DatabaseSourceConfiguration"] {
        if request.get(member).is_some() {
            return Err(not_served(member));
        }
    }
    let kind = text(request, "DeliveryStreamType").unwrap_or("DirectPut");
    let configuration = request.get("KinesisStreamSourceConfiguration");
    match (kind, configuration) {
        ("DirectPut", None) => {
            let hint = request.get("DirectPutSourceConfiguration");
            let hint = hint.and_then(|source| source.get("ThroughputHintInMBs")).and_then(Value::as_u64);
            Ok((Source::DirectPut { hint: hint.and_then(|hint| u32::try_from(hint).ok()) }, None))
        }
        ("KinesisStreamAsSource", Some(configuration)) => {
            let arn = text(configuration, "KinesisStreamARN").unwrap_or_default();
            let parsed: StreamArn = arn.parse().map_err(|error| {
                Error::InvalidArgument(format!("KinesisStreamARN: {error}."))
            })?;
            let view = firehose.cluster.view();
            let found = view.stream(&parsed.stream).filter(|_| parsed.account == firehose.account);
            let found = found.filter(|_| !parsed.stream.is_internal()).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "Stream {} under account {} not found.", parsed.stream, parsed.account
                ))
            })?;
            let source = Source::Stream {
                name: parsed.stream.to_string(),
                id: found.stream.id.0,
                arn: arn.to_owned(),
                role: text(configuration, "RoleARN").unwrap_or_default().to_owned(),
            };
            Ok((source, Some(parsed.stream)))
        }
        ("KinesisStreamAsSource", None) => Err(Error::InvalidArgument(
            "KinesisStreamSourceConfiguration must be given for DeliveryStreamType KinesisStreamAsSource".to_owned(),
        )),
        ("DirectPut", Some(_)) => Err(Error::InvalidArgument(
            "KinesisStreamSourceConfiguration must not be given for DeliveryStreamType DirectPut".to_owned(),
        )),
        (other, _) => Err(not_served(other)),
    }
}

/// Stores where each shard of the source is now.
async fn store_positions(
    firehose: &Firehose,
    spaces: Spaces,
    definition: &Definition,
    stream: &StreamName,
) -> Result<(), Error> {
    let latest = latest_positions(&*firehose.cluster, stream).await?;
    let put = |LatestPosition { stream, shard, next, is_closed }| {
        let key = rows::position_key(definition.id, stream, shard);
        let at = At { finished: is_closed, ..At::position(next) };
        (Key { space: spaces.positions, key }, at.encode())
    };
    let puts: Vec<_> = latest.into_iter().map(put).collect();
    for chunk in puts.chunks(TRANSACTION_ROWS) {
        let transaction = Transaction { puts: chunk.to_vec(), ..Transaction::default() };
        firehose.transact(spaces.group, transaction).await?;
    }
    Ok(())
}

/// Deletes the rows of a delivery stream that was not created after all.
async fn delete_rows(
    firehose: &Firehose,
    spaces: Spaces,
    definition: &Definition,
) -> Result<(), Error> {
    let start = rows::all_of(definition.id);
    let range = KeyRange { end: Some(rows::end_of(&start)), start, descending: false };
    let left = firehose.tables.all(spaces.group, spaces.positions, range).await?;
    for chunk in left.chunks(TRANSACTION_ROWS) {
        let key = |(key, _): &(Bytes, Row)| Key { space: spaces.positions, key: key.clone() };
        let deletes = chunk.iter().map(key).collect();
        firehose.transact(spaces.group, Transaction { deletes, ..Transaction::default() }).await?;
    }
    Ok(())
}

/// DeleteDeliveryStream. Records that were not delivered yet are discarded, as in AWS.
pub(crate) async fn delete(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let change = |definition: &mut Definition| {
        definition.status = Status::Deleting;
        Ok(())
    };
    firehose.change(name(request), change).await?;
    Ok(json!({}))
}

/// DescribeDeliveryStream.
pub(crate) async fn describe(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let definition = firehose.definition(name(request)).await?;
    let arn = firehose.arn(&definition.name);
    let start = text(request, "ExclusiveStartDestinationId");
    let stream = definition.stream();
    let view = firehose.cluster.view();
    let stream = stream.and_then(|name| view.stream(&name)).map(|found| found.stream);
    let status = encryption::status(stream);
    let description = description::describe(&definition, &arn, status, start);
    Ok(json!({ "DeliveryStreamDescription": description }))
}

/// ListDeliveryStreams.
pub(crate) async fn list(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let limit = number(request, "Limit", DEFAULT_LIST);
    let mut names = Vec::new();
    if firehose.tables.group().is_some() {
        let spaces = firehose.spaces().await?;
        let after = text(request, "ExclusiveStartDeliveryStreamName");
        let start = after.map_or_else(Bytes::new, |after| Bytes::from(format!("{after}\0")));
        let range = KeyRange { start, end: None, descending: false };
        let kind = text(request, "DeliveryStreamType");
        for (_, row) in firehose.tables.all(spaces.group, spaces.streams, range).await? {
            let definition = read(&row)?;
            if kind.is_none_or(|kind| kind == description::source_type(&definition.source)) {
                names.push(definition.name);
            }
        }
    }
    let has_more = names.len() > limit;
    names.truncate(limit);
    Ok(json!({ "DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more }))
}

fn check_active(definition: &Definition) -> Result<(), Error> {
    if definition.status == Status::Active {
        return Ok(());
    }
    let (name, status) = (&definition.name, definition.status.text());
    Err(Error::InUse(format!("Firehose {name} is not ACTIVE: its state is {status}.")))
}

/// ListTagsForDeliveryStream.
pub(crate) async fn list_tags(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let definition = firehose.definition(name(request)).await?;
    let limit = number(request, "Limit", DEFAULT_TAGS);
    let after = text(request, "ExclusiveStartTagKey");
    let mut tags: Vec<_> = definition
        .tags
        .iter()
        .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
        .collect();
    let has_more = tags.len() > limit;
    tags.truncate(limit);
    let tag = |(key, value): (&String, &String)| json!({ "Key": key, "Value": value });
    let tags: Vec<_> = tags.into_iter().map(tag).collect();
    Ok(json!({ "Tags": tags, "HasMoreTags": has_more }))
}

fn add_tags(
    tags: &mut std::collections::BTreeMap<String, String>,
    request: &Value,
) -> Result<(), Error> {
    for tag in request.get("Tags").and_then(Value::as_array).into_iter().flatten() {
        let (key, value) =
            (text(tag, "Key").unwrap_or_default(), text(tag, "Value").unwrap_or_default());
        tags.insert(key.to_owned(), value.to_owned());
    }
    if tags.len() > MAX_TAGS {
        return Err(Error::Limit(format!("A Firehose has at most {MAX_TAGS} tags.")));
    }
    Ok(())
}

/// TagDeliveryStream.
pub(crate) async fn tag(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    firehose.change(name(request), |definition| add_tags(&mut definition.tags, request)).await?;
    Ok(json!({}))
}

/// UntagDeliveryStream.
pub(crate) async fn untag(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let keys: Vec<_> = request
        .get("TagKeys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let change = |definition: &mut Definition| {
        definition.tags.retain(|key, _| !keys.contains(&key.as_str()));
        Ok(())
    };
    firehose.change(name(request), change).await?;
    Ok(json!({}))
}

/// Checks the input for the encryption of a delivery stream.
fn check_encryption(source: &Source, input: &Value) -> Result<(), Error> {
    if !matches!(source, Source::DirectPut { .. }) {
        let text = "Server-side encryption is for delivery streams of type DirectPut only";
        return Err(Error::InvalidArgument(text.to_owned()));
    }
    let is_own = text(input, "KeyType") == Some("AWS_OWNED_CMK");
    match (is_own, input.get("KeyARN").is_some()) {
        (true, true) => Err(Error::InvalidArgument(
            "KeyARN must not be given for KeyType AWS_OWNED_CMK".to_owned(),
        )),
        (false, false) => Err(Error::InvalidArgument(
            "KeyARN must be given for KeyType CUSTOMER_MANAGED_CMK".to_owned(),
        )),
        (true, false) | (false, true) => Ok(()),
    }
}

/// The delivery stream of a request about its encryption, and its internal stream.
async fn encrypted(
    firehose: &Firehose,
    request: &Value,
) -> Result<(Definition, StreamName), Error> {
    let definition = firehose.definition(name(request)).await?;
    check_active(&definition)?;
    let stream = definition.stream().ok_or_else(|| firehose.not_found(&definition.name))?;
    Ok((definition, stream))
}

/// StartDeliveryStreamEncryption. The state is ENABLING until the leader of every shard encrypts.
pub(crate) async fn start_encryption(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let (definition, stream) = encrypted(firehose, request).await?;
    let input = request.get("DeliveryStreamEncryptionConfigurationInput").cloned();
    let input = input.unwrap_or_else(|| json!({ "KeyType": "AWS_OWNED_CMK" }));
    check_encryption(&definition.source, &input)?;
    let key = encryption::master_key(&input);
    encryption::start(&*firehose.cluster, &*firehose.clock, &stream, key).await?;
    let change = |definition: &mut Definition| {
        definition.encryption = Some(input.clone());
        Ok(())
    };
    firehose.change(&definition.name, change).await?;
    Ok(json!({}))
}

/// StopDeliveryStreamEncryption.
pub(crate) async fn stop_encryption(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let (definition, stream) = encrypted(firehose, request).await?;
    check_encryption(&definition.source, &json!({ "KeyType": "AWS_OWNED_CMK" }))?;
    encryption::stop(&*firehose.cluster, &stream).await?;
    Ok(json!({}))
}

/// UpdateDestination. A destination of the same type is merged with the update, one of another type is replaced.
pub(crate) async fn update(firehose: &Firehose, request: &Value) -> Result<Value, Error> {
    let (kind, update) = destination_update(request)?;
    let expected = text(request, "CurrentDeliveryStreamVersionId").unwrap_or_default();
    if text(request, "DestinationId") != Some(DESTINATION_ID) {
        let text = format!(
            "Destination {} not found.",
            text(request, "DestinationId").unwrap_or_default()
        );
        return Err(Error::InvalidArgument(text));
    }
    let now = firehose.clock.now().as_millis();
    let change = |definition: &mut Definition| {
        check_active(definition)?;
        if definition.version.to_string() != expected {
            return Err(Error::ConcurrentModification(format!(
                "Cannot update firehose: {} since the current version id: {} and specified version id: {expected} do \
                 not match",
                definition.name, definition.version
            )));
        }
        let is_same = definition.destination.kind == kind;
        let before = if is_same { definition.destination.configuration.clone() } else { json!({}) };
        let configuration = merged(before, update);
        let destination = Destination { kind, configuration };
        let settings = Settings::parse(&destination);
        let settings = settings.map_err(|error| Error::InvalidArgument(error.to_string()))?;
        if let Some(bucket) = settings.buckets().find(|bucket| !firehose.stores.has(bucket)) {
            let text = format!("No object store of this cluster has the bucket {bucket}.");
            return Err(Error::InvalidArgument(text));
        }
        if has_partitions(&definition.destination) != has_partitions(&destination) {
            let text =
                "Dynamic partitioning can't be switched on or off after a Firehose was created";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        definition.destination = destination;
        definition.version += 1;
        definition.updated_millis = Some(now);
        Ok(())
    };
    firehose.change(name(request), change).await?;
    Ok(json!({}))
}

fn has_partitions(destination: &Destination) -> bool {
    let partitions = destination.configuration.get("DynamicPartitioningConfiguration");
    let enabled = partitions.and_then(|partitions| partitions.get("Enabled"));
    enabled.and_then(Value::as_bool) == Some(true)
}

fn destination_update(request: &Value) -> Result<(Kind, &Value), Error> {
    let mut found = None;
    for (member, value) in request.as_object().into_iter().flatten() {
        let Some(kind) = member.strip_suffix("DestinationUpdate") else { continue };
        let kind = match kind {
            "S3" => Kind::S3,
            "ExtendedS3" => Kind::ExtendedS3,
            _ => return Err(not_served(member)),
        };
        if found.replace((kind, value)).is_some() {
            return Err(one_destination());
        }
    }
    found.ok_or_else(one_destination)
}

/// Members of an update replace those of the configuration. Structures are merged, except some that are given as a
/// whole: hints and processors.
fn merged(before: Value, update: &Value) -> Value {
    const WHOLE: [&str; 2] = ["BufferingHints", "ProcessingConfiguration"];
    let mut members: Map<String, Value> = match before {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    for (member, value) in update.as_object().into_iter().flatten() {
        let member = if member == "S3BackupUpdate" { "S3BackupConfiguration" } else { member };
        let value = match members.remove(member) {
            Some(before) if value.is_object() && !WHOLE.contains(&member) => merged(before, value),
            Some(_) | None => value.clone(),
        };
        members.insert(member.to_owned(), value);
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_replaces_members_and_keeps_the_others() {
        let before = json!({
            "BucketARN": "a", "Prefix": "p/", "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 60},
            "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"}
        });
        let update = json!({
            "Prefix": "q/", "BufferingHints": {"SizeInMBs": 2}, "S3BackupUpdate": {"BucketARN": "b"}
        });
        let expected = json!({
            "BucketARN": "a", "Prefix": "q/", "BufferingHints": {"SizeInMBs": 2},
            "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
            "S3BackupConfiguration": {"BucketARN": "b"}
        });
        assert_eq!(merged(before, &update), expected);
    }

    #[test]
    fn exactly_one_destination_that_is_served() {
        let s3 = json!({"BucketARN": "a"});
        let found = destination(&json!({"ExtendedS3DestinationConfiguration": s3})).unwrap();
        assert_eq!(found.kind, Kind::ExtendedS3);
        let both =
            json!({"ExtendedS3DestinationConfiguration": s3, "S3DestinationConfiguration": s3});
        for refused in [both, json!({}), json!({"SplunkDestinationConfiguration": {}})] {
            assert!(matches!(destination(&refused), Err(Error::InvalidArgument(_))));
        }
    }
}
