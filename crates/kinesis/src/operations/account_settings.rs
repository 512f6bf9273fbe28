//! DescribeAccountSettings and UpdateAccountSettings: the commitment to a minimum throughput.
//!
//! Nothing is billed here. As in AWS, a commitment raises the number of consumers that a stream may have.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Structure, Text, Writer};
use anabranch_catalog::{AccountCommand, Commitment};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::Timestamp;
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::Account;

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
    #[serde(borrow, default)]
    minimum_throughput_billing_commitment: Required<Structure<CommitmentInput<'a>>>,
}

/// `MinimumThroughputBillingCommitmentInput` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommitmentInput<'a> {
    #[serde(borrow, default)]
    status: Required<Text<'a>>,
}

impl Constrained for UpdateAccountSettings<'_> {
    fn check(&self, checks: &mut Checks) {
        let commitment = &self.minimum_throughput_billing_commitment;
        checks.structure("MinimumThroughputBillingCommitment", commitment);
    }
}

impl Constrained for CommitmentInput<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Status", &self.status, &rules::COMMITMENT_STATUS);
    }
}

/// `DescribeAccountSettingsOutput` and `UpdateAccountSettingsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct AccountSettings {
    commitment: Option<Commitment>,
    now: Timestamp,
}

impl Request<Kinesis> for DescribeAccountSettings {
    type Target = Account;
    type Response = AccountSettings;

    fn target(&self, _: &Kinesis) -> Result<Account, Error> {
        Ok(Account)
    }

    async fn run(&self, cx: &Context<'_>, _: &Account) -> Result<AccountSettings, Error> {
        let view = cx.service.cluster.view();
        Ok(AccountSettings { commitment: view.catalog().commitment, now: cx.service.clock.now() })
    }
}

impl Request<Kinesis> for UpdateAccountSettings<'_> {
    type Target = Account;
    type Response = AccountSettings;

    fn target(&self, _: &Kinesis) -> Result<Account, Error> {
        Ok(Account)
    }

    async fn run(&self, cx: &Context<'_>, _: &Account) -> Result<AccountSettings, Error> {
        let Structure(wanted) = &*self.minimum_throughput_billing_commitment;
        let (enabled, now) = (&**wanted.status == "ENABLED", cx.service.clock.now());
        let command = AccountCommand::SetCommitment { enabled, now };
        let done = cx.service.cluster.propose(command.into()).await;
        let view = done.map_err(|error| Error::from_client(error, || "Account".to_owned()))?;
        Ok(AccountSettings { commitment: view.catalog().commitment, now })
    }
}

impl Response for AccountSettings {
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
