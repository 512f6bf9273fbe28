//! The Kinesis service: its settings and the parts of the gateway that its operations use.
//!
//! One [`Kinesis`] belongs to one [`Platform`]. It copies the values that operations need often, so that no operation
//! reads the settings of the gateway.

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
    /// How long GetRecords waits for records at the tip of a shard before it sends an empty response. Without the
    /// wait, a client that polls without a pause would keep the cluster busy. The first record ends the wait. There
    /// is no wait if the limits of the AWS service apply, because they limit polls anyway. Default: 50 ms.
    pub tip_wait: Duration,
    /// How long a put searches for the open shards of its records. Default: 10 s.
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
    /// Account number in ARNs and messages.
    pub(crate) account: AccountId,
    /// Region in ARNs. Clients of any region are accepted.
    pub(crate) region: Region,
    /// Whether the limits of the AWS service apply.
    pub(crate) service_limits: bool,
    /// Budget for bytes of responses in memory.
    pub(crate) responses: Budget,
    /// Budget for bytes of pushed events in memory.
    pub(crate) pushes: Budget,
    /// Size of the budget for pushed events.
    pub(crate) push_bytes: usize,
}

/// The values that an operation of Kinesis gets besides its request and its target.
pub(crate) type Context<'a> = service::Context<'a, Kinesis>;

impl Kinesis {
    /// The Kinesis API of a platform.
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
