use std::fmt;
use std::sync::Arc;

use anabranch_client::Cluster;
use anabranch_metrics::Registry;
use anabranch_types::Clock;

use crate::budget::Budget;
use crate::metrics::{BudgetName, GatewayMetrics};
use crate::newest::Newest;
use crate::settings::GatewaySettings;
use crate::token::Sealer;
use crate::unverified::Unverified;

/// The parts of a gateway that its services use: the cluster, the clock, the token sealer and the byte budgets. Cheap to
/// clone. All clones share the budgets, so one service cannot use memory that another one was promised.
#[derive(Clone)]
pub struct Platform {
    /// The cluster behind the gateway.
    pub cluster: Arc<dyn Cluster>,
    /// Wall clock for arrival checks, token ages and rate limits.
    pub clock: Arc<dyn Clock>,
    /// Account, region, limits and time limits.
    pub settings: Arc<GatewaySettings>,
    /// Seals iterators and paging tokens of all services.
    pub sealer: Arc<Sealer>,
    /// Bytes of responses in memory. Apart from request bodies, so that slow readers take nothing from writers.
    pub responses: Budget,
    /// Bytes of pushed events in memory. Apart from responses, so that slow subscribers take nothing from readers.
    pub pushes: Budget,
    /// Bytes of heads and bodies in memory, of callers whose signature was verified.
    pub(crate) bodies: Budget,
    /// Bytes of heads and bodies in memory, of callers whose signature was not verified yet.
    pub(crate) unverified: Unverified,
    /// Asks the catalog's leader for the newest version.
    pub(crate) newest: Newest,
    pub(crate) registry: Registry,
    pub(crate) metrics: GatewayMetrics,
}

impl Platform {
    /// The platform of one gateway. Its metrics are registered in `registry`, which `GET /metrics` shows.
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
            newest: Newest::default(),
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
