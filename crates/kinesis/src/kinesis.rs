use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::Cluster;
use anabranch_gateway::token::Sealer;
use anabranch_gateway::{Budget, Platform, service};
use anabranch_types::{AccountId, Clock, Region};

use crate::call_name::CallNames;

/// Settings of the Kinesis API.
#[derive(Clone, Debug)]
pub struct KinesisSettings {
    /// Replicas of each shard of a new stream. Default: 3.
    pub default_replicas: u32,
    /// How long GetRecords waits for records at the tip of a shard before it sends an empty response, so that a client
    /// that polls without a pause does not keep the cluster busy. The first record ends the wait. Not used where the limits
    /// of the AWS service hold, because these limit polls. Default: 50 ms.
    pub tip_wait: Duration,
    /// How long a put searches for the shards that take its records. Default: 10 s.
    pub reroute_timeout: Duration,
}

impl Default for KinesisSettings {
    fn default() -> Self {
        Self {
            default_replicas: 3,
            tip_wait: Duration::from_millis(50),
            reroute_timeout: Duration::from_secs(10),
        }
    }
}

/// The Kinesis API of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Kinesis {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) call_names: CallNames,
    pub(crate) settings: KinesisSettings,
    /// Account in ARNs and messages.
    pub(crate) account: AccountId,
    /// Region in ARNs. Clients of any region are served.
    pub(crate) region: Region,
    /// Whether the limits of the AWS service hold.
    pub(crate) service_limits: bool,
    /// Bytes of responses in memory.
    pub(crate) responses: Budget,
    /// Bytes of pushed events in memory.
    pub(crate) pushes: Budget,
    /// Size of that budget when nothing is pushed.
    pub(crate) push_bytes: usize,
}

/// What an operation of Kinesis may use beside its request and its target.
pub(crate) type Context<'a> = service::Context<'a, Kinesis>;

impl Kinesis {
    /// The Kinesis API on a platform.
    pub fn new(platform: &Platform, settings: KinesisSettings) -> Self {
        let shared = &platform.settings;
        Self {
            cluster: Arc::clone(&platform.cluster),
            clock: Arc::clone(&platform.clock),
            sealer: Arc::clone(&platform.sealer),
            call_names: CallNames::new(&shared.token_key),
            settings,
            account: shared.account.clone(),
            region: shared.region.clone(),
            service_limits: shared.service_limits,
            responses: platform.responses.clone(),
            pushes: platform.pushes.clone(),
            push_bytes: shared.push_bytes(),
        }
    }
}

impl fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("settings", &self.settings).finish_non_exhaustive()
    }
}
