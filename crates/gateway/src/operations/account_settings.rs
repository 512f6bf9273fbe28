use anabranch_catalog::{AccountCommand, Command, Commitment};
use anabranch_types::Timestamp;
use serde::Deserialize;

use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Structure, Text, Writer};

/// `DescribeAccountSettingsInput` of the API reference.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribeAccountSettings {}

impl Constrained for DescribeAccountSettings {
    fn check(&self, _: &mut Checks) {}
}

/// `UpdateAccountSettingsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateAccountSettings<'a> {
    #[serde(borrow)]
    minimum_throughput_billing_commitment: Option<Structure<CommitmentInput<'a>>>,
}

/// `MinimumThroughputBillingCommitmentInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommitmentInput<'a> {
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

impl Constrained for UpdateAccountSettings<'_> {
    fn check(&self, checks: &mut Checks) {
        let commitment = &self.minimum_throughput_billing_commitment;
        checks.required_structure("MinimumThroughputBillingCommitment", commitment);
    }
}

impl Constrained for CommitmentInput<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Status", &self.status, &rules::COMMITMENT_STATUS.required());
    }
}

/// `DescribeAccountSettingsOutput` and `UpdateAccountSettingsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct AccountSettings {
    commitment: Option<Commitment>,
    now: Timestamp,
}

impl Request for DescribeAccountSettings {
    type Answer = AccountSettings;

    fn target(&self, _: &Gateway) -> Result<Target, Error> {
        Ok(Target::Account)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<AccountSettings, Error> {
        let view = cx.gateway.cluster.view();
        Ok(AccountSettings { commitment: view.catalog().commitment, now: cx.gateway.clock.now() })
    }
}

impl Request for UpdateAccountSettings<'_> {
    type Answer = AccountSettings;

    fn target(&self, _: &Gateway) -> Result<Target, Error> {
        Ok(Target::Account)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<AccountSettings, Error> {
        let wanted = self.minimum_throughput_billing_commitment.as_ref();
        let status = wanted.and_then(|Structure(wanted)| wanted.status.as_deref());
        let (enabled, now) = (status == Some("ENABLED"), cx.gateway.clock.now());
        let done = cx
            .gateway
            .cluster
            .propose(Command::Account(AccountCommand::SetCommitment { enabled, now }))
            .await;
        let view = done.map_err(|error| Error::from_client(error, || "Account".to_owned()))?;
        Ok(AccountSettings { commitment: view.catalog().commitment, now })
    }
}

impl Answer for AccountSettings {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("MinimumThroughputBillingCommitment").structure(|w| self.write_commitment(w));
        });
    }
}

impl AccountSettings {
    fn write_commitment(&self, w: &mut Writer) {
        let Some(commitment) = self.commitment else {
            w.member("Status").plain("DISABLED");
            return;
        };
        let holds = commitment.holds(self.now);
        w.member("Status").plain(match commitment.ends {
            None => "ENABLED",
            Some(_) if holds => "ENABLED_UNTIL_EARLIEST_ALLOWED_END",
            Some(_) => "DISABLED",
        });
        w.member("StartedAt").timestamp(commitment.started);
        if let Some(ended) = commitment.ends.filter(|_| !holds) {
            w.member("EndedAt").timestamp(ended);
        }
        w.member("EarliestAllowedEndAt").timestamp(commitment.earliest_end());
    }
}
