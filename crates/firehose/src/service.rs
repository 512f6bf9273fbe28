//! Firehose as a service of the gateway: names, targets, and the table of operations.

use std::fmt;
use std::sync::Arc;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::Writer;
use anabranch_client::{Cluster, Tables, View};
use anabranch_delivery::ObjectStores;
use anabranch_gateway::Platform;
use anabranch_gateway::run;
use anabranch_gateway::service::{
    self, Context, Kind, Operation, Request, Resource, Response, Service, ServiceError as _,
    ServiceNames, Target,
};
use anabranch_gateway::token::derived_blocks;
use anabranch_types::{AccountId, Clock, Region};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::control;
use crate::error::Error;
use crate::model::Model;
use crate::put::{PutRecord, PutRecordBatch};

/// Label of the key for names of calls and ids of records.
const LABEL: &[u8; 15] = b"firehose calls1";

/// The Firehose API of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Firehose {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) tables: Tables,
    pub(crate) stores: ObjectStores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: AccountId,
    pub(crate) region: Region,
    /// Makes names of calls and ids of records that nobody else can make.
    pub(crate) secret: Arc<[u8; 32]>,
}

impl Firehose {
    /// The service of a platform. `stores` are the object stores of this node.
    pub fn new(platform: &Platform, tables: Tables, stores: ObjectStores) -> Self {
        let [first, second] = derived_blocks(&platform.settings.token_key, LABEL);
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&first);
        secret[16..].copy_from_slice(&second);
        Self {
            cluster: Arc::clone(&platform.cluster),
            tables,
            stores,
            clock: Arc::clone(&platform.clock),
            account: platform.settings.account.clone(),
            region: platform.settings.region.clone(),
            secret: Arc::new(secret),
        }
    }

    /// The ARN of a delivery stream.
    pub(crate) fn arn(&self, name: &str) -> String {
        format!("arn:aws:firehose:{}:{}:deliverystream/{name}", self.region, self.account)
    }

    /// The error for a delivery stream that does not exist.
    pub(crate) fn not_found(&self, name: &str) -> Error {
        Error::NotFound(format!("Firehose {name} under account {} not found.", self.account))
    }
}

impl fmt::Debug for Firehose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firehose").field("stores", &self.stores).finish_non_exhaustive()
    }
}

/// No operation has a limit of calls of its own.
#[derive(Clone, Copy, Debug)]
pub enum NoScope {}

impl service::Scope for NoScope {
    fn text(self) -> &'static str {
        match self {}
    }
}

/// A delivery stream, or all of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryTarget {
    /// `None` if the request is about no certain delivery stream.
    name: Option<String>,
    /// Rights that a delivery stream of this configuration will use. The caller must have them.
    further: Vec<(&'static str, String)>,
}

impl DeliveryTarget {
    /// A delivery stream.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), further: Vec::new() }
    }
}

impl Target<Firehose> for DeliveryTarget {
    fn resource<'v>(&self, service: &Firehose, _: &AccountId, _: &'v View) -> Resource<'v> {
        let arn = self.name.as_deref().map_or_else(|| "*".to_owned(), |name| service.arn(name));
        resource(service, arn)
    }

    fn further_rights<'v>(
        &self,
        service: &Firehose,
        _: &AccountId,
        _: &'v View,
    ) -> Vec<(&'static str, Resource<'v>)> {
        let right =
            |(action, arn): &(&'static str, String)| (*action, resource(service, arn.clone()));
        self.further.iter().map(right).collect()
    }

    fn subject(&self, scope: NoScope, _: &View) -> Option<()> {
        match scope {}
    }
}

fn resource<'v>(service: &Firehose, arn: String) -> Resource<'v> {
    let owner = service.account.clone();
    Resource { arn, owner, tags: None, policy: None, missing: None }
}

/// A request of a control operation, as JSON that has the types of the service model.
pub(crate) trait Control: Send + Sync + Sized {
    const NAME: &'static str;
    fn of(request: Value) -> Self;
}

/// The types of the control operations, and how they run.
macro_rules! control {
    ($($name:ident => $run:path),* $(,)?) => {$(
        #[derive(Debug)]
        struct $name(Value);

        impl Control for $name {
            const NAME: &'static str = stringify!($name);

            fn of(request: Value) -> Self {
                Self(request)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                decode(deserializer)
            }
        }

        impl Constrained for $name {
            fn check(&self, checks: &mut Checks) {
                Model::get().check(Self::NAME, &self.0, checks);
            }
        }

        impl Request<Firehose> for $name {
            type Target = DeliveryTarget;
            type Response = Json;

            fn target(&self, firehose: &Firehose) -> Result<DeliveryTarget, Error> {
                Ok(target(firehose, &self.0))
            }

            async fn run(&self, cx: &Context<'_, Firehose>, _: &DeliveryTarget) -> Result<Json, Error> {
                $run(cx.service, &self.0).await.map(Json)
            }
        }
    )*};
}

control! {
    CreateDeliveryStream => control::create,
    DeleteDeliveryStream => control::delete,
    DescribeDeliveryStream => control::describe,
    ListDeliveryStreams => control::list,
    ListTagsForDeliveryStream => control::list_tags,
    StartDeliveryStreamEncryption => control::start_encryption,
    StopDeliveryStreamEncryption => control::stop_encryption,
    TagDeliveryStream => control::tag,
    UntagDeliveryStream => control::untag,
    UpdateDestination => control::update,
}

fn decode<'de, R: Control, D: Deserializer<'de>>(deserializer: D) -> Result<R, D::Error> {
    let mut request = Value::deserialize(deserializer)?;
    Model::get().typed(R::NAME, &mut request).map_err(D::Error::custom)?;
    Ok(R::of(request))
}

/// The delivery stream that a request names, and what its configuration will do.
///
/// Rights are checked on the ARN in one spelling: only the name in an ARN decides what is used.
fn target(firehose: &Firehose, request: &Value) -> DeliveryTarget {
    let name = request.get("DeliveryStreamName").and_then(Value::as_str).map(str::to_owned);
    let mut further = Vec::new();
    if let Some(members) = request.as_object() {
        for (member, value) in members {
            if member.ends_with("DestinationConfiguration") || member.ends_with("DestinationUpdate")
            {
                buckets(value, &mut further);
            }
        }
    }
    let source = request.get("KinesisStreamSourceConfiguration");
    if let Some(arn) =
        source.and_then(|source| source.get("KinesisStreamARN")).and_then(Value::as_str)
    {
        let (region, account) = (&firehose.region, &firehose.account);
        let name = arn.rsplit('/').next().unwrap_or_default();
        let arn = format!("arn:aws:kinesis:{region}:{account}:stream/{name}");
        for action in ["kinesis:DescribeStream", "kinesis:GetShardIterator", "kinesis:GetRecords"] {
            further.push((action, arn.clone()));
        }
    }
    DeliveryTarget { name, further }
}

/// The buckets of a destination, also those of backups.
fn buckets(configuration: &Value, further: &mut Vec<(&'static str, String)>) {
    let Some(members) = configuration.as_object() else { return };
    for (member, value) in members {
        match value.as_str().filter(|_| member == "BucketARN") {
            Some(arn) => {
                let bucket = arn.rsplit(':').next().unwrap_or_default();
                further.push(("s3:PutObject", format!("arn:aws:s3:::{bucket}/*")));
            }
            None => buckets(value, further),
        }
    }
}

/// A response, as JSON. The API has no other protocol.
#[derive(Debug)]
pub(crate) struct Json(Value);

impl Response for Json {
    fn write(&self, writer: &mut Writer) {
        write(writer, &self.0);
    }

    fn reports_change(&self) -> bool {
        true
    }
}

fn write(w: &mut Writer, value: &Value) {
    match value {
        Value::Object(members) => w.structure(|w| {
            for (name, value) in members {
                write(w.entry(name), value);
            }
        }),
        Value::Array(members) => w.list(|w| members.iter().for_each(|value| write(w, value))),
        Value::String(text) => w.text(text),
        Value::Bool(flag) => w.flag(*flag),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => w.number(whole),
            None => w.real(number.as_f64().unwrap_or_default()),
        },
        Value::Null => w.structure(|_| {}),
    }
}

/// All operations.
#[rustfmt::skip]
#[expect(clippy::redundant_closure, reason = "a function of one lifetime is not one for every lifetime")]
const OPERATIONS: &[Operation<Firehose>] = &[
    row("CreateDeliveryStream", Kind::Control, |call| run::<_, CreateDeliveryStream>(call)),
    row("DeleteDeliveryStream", Kind::Control, |call| run::<_, DeleteDeliveryStream>(call)),
    row("DescribeDeliveryStream", Kind::Control, |call| run::<_, DescribeDeliveryStream>(call)),
    row("ListDeliveryStreams", Kind::Control, |call| run::<_, ListDeliveryStreams>(call)),
    row("ListTagsForDeliveryStream", Kind::Control, |call| run::<_, ListTagsForDeliveryStream>(call)),
    row("PutRecord", Kind::Write, |call| run::<_, PutRecord<'_>>(call)),
    row("PutRecordBatch", Kind::Write, |call| run::<_, PutRecordBatch<'_>>(call)),
    row("StartDeliveryStreamEncryption", Kind::Control, |call| run::<_, StartDeliveryStreamEncryption>(call)),
    row("StopDeliveryStreamEncryption", Kind::Control, |call| run::<_, StopDeliveryStreamEncryption>(call)),
    row("TagDeliveryStream", Kind::Control, |call| run::<_, TagDeliveryStream>(call)),
    row("UntagDeliveryStream", Kind::Control, |call| run::<_, UntagDeliveryStream>(call)),
    row("UpdateDestination", Kind::Control, |call| run::<_, UpdateDestination>(call)),
];

const fn row(
    name: &'static str,
    kind: Kind,
    perform: for<'a> fn(
        anabranch_gateway::run::Call<'a, Firehose>,
    ) -> anabranch_gateway::run::Performed<'a>,
) -> Operation<Firehose> {
    Operation { name, kind, limit: None, perform }
}

impl Service for Firehose {
    const NAMES: ServiceNames = ServiceNames {
        target: "Firehose_20150804",
        protocols: &[Protocol::Json11],
        signing: "firehose",
        actions: "firehose",
        query: None,
    };
    const OPERATIONS: &'static [Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = NoScope;
    type Subject = ();

    fn throttled(kind: Kind, message: String) -> Fault {
        if kind == Kind::Control {
            return Error::Limit(message).fault();
        }
        Error::Unavailable(message).fault()
    }
}
