//! DescribeTimeToLive: no table has a time to live. UpdateTimeToLive does not exist here.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text, Writer};
use serde::Deserialize;

use super::{Context, Operation, Output, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Decision, Found};
use crate::table::Tables;

/// `DescribeTimeToLiveInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTimeToLive<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
}

/// `TimeToLiveDescription` of the API reference, for a table without a time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTimeToLive;

impl Constrained for DescribeTimeToLive<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
    }
}

impl Operation for DescribeTimeToLive<'_> {
    type Plan = NoTimeToLive;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<NoTimeToLive, Error> {
        tables.described(rules::table_name(&self.table_name)?)?;
        Ok(NoTimeToLive)
    }
}

impl Plan for NoTimeToLive {
    type Output = Self;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<Self>, Error> {
        Ok(Decision::response(*self))
    }
}

impl Output for NoTimeToLive {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            w.member("TimeToLiveDescription").structure(|w| {
                w.member("TimeToLiveStatus").text("DISABLED");
            });
        });
    }
}
