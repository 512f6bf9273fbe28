//! The parts that the gateway and its services share: cluster, clock, sealer, byte budgets.
//!
//! Bytes in memory are counted in four budgets, so that one kind of traffic cannot starve another: bodies of callers
//! with a verified signature, bodies of other callers, responses, pushed events.

use std::fmt;
use std::sync::Arc;

use anabranch_client::Cluster;
use anabranch_metrics::Registry;
use anabranch_types::Clock;

use crate::budget::Budget;
use crate::metrics::{BudgetName, GatewayMetrics};
use crate::newest::NewestCatalog;
use crate::settings::GatewaySettings;
use crate::token::Sealer;
use crate::unverified::Unverified;

/// The parts of a gateway that its services use. Cheap to clone. All clones share the budgets, so one service cannot
/// use memory that another service has reserved.
#[derive(Clone)]
pub struct Platform {
    /// The cluster that the gateway serves.
    pub cluster: Arc<dyn Cluster>,
    /// Wall clock for the time of signatures, the age of tokens and rate limits.
    pub clock: Arc<dyn Clock>,
    /// Settings of the gateway: account, region, sizes, time limits.
    pub settings: Arc<GatewaySettings>,
    /// Seals iterators and paging tokens of all services.
    pub sealer: Arc<Sealer>,
    /// Budget for bytes of responses in memory. Separate from request bodies, so that slow readers take no memory
    /// from writers.
    pub responses: Budget,
    /// Budget for bytes of pushed events in memory. Separate from responses, so that slow subscribers take no memory
    /// from readers.
    pub pushes: Budget,
    /// Budget for bytes of heads and bodies in memory, of callers whose signature was verified.
    pub(crate) bodies: Budget,
    /// Budget for bytes of heads and bodies in memory, of callers whose signature was not verified yet.
    pub(crate) unverified: Unverified,
    /// Asks the leader of the catalog for the newest version.
    pub(crate) newest: NewestCatalog,
    pub(crate) registry: Registry,
    pub(crate) metrics: GatewayMetrics,
}

impl Platform {
    /// Creates the platform of one gateway. Its metrics are registered in `registry`, which `GET /metrics` shows.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        settings: GatewaySettings,
        clock: Arc<dyn Clock>,
        registry: Registry,
    ) -> Self {
        let platform = Self {
            metrics: GatewayMetrics::new(&registry),
            registry,
            cluster,
            clock,
            sealer: Arc::new(Sealer::new(settings.token_key)),
            responses: Budget::new(settings.max_in_flight_bytes / 2),
            pushes: Budget::new(settings.push_bytes()),
            bodies: Budget::new(settings.max_in_flight_bytes / 2),
            unverified: Unverified::new(settings.max_unverified_bytes),
            newest: NewestCatalog::default(),
            settings: Arc::new(settings),
        };
        platform.show_budgets();
        platform
    }

    fn show_budgets(&self) {
        let budgets = [
            (BudgetName::Bodies, &self.bodies),
            (BudgetName::Responses, &self.responses),
            (BudgetName::Pushes, &self.pushes),
        ];
        for (name, budget) in budgets {
            let (limit, budget) = (budget.limit(), budget.clone());
            self.metrics.show_budget(name, limit, move || budget.used());
        }
        let unverified = self.unverified.clone();
        let limit = self.settings.max_unverified_bytes;
        self.metrics.show_budget(BudgetName::Unverified, limit, move || unverified.used());
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("settings", &self.settings).finish_non_exhaustive()
    }
}
