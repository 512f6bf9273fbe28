//! UpdateContinuousBackups and DescribeContinuousBackups. There are no backups: the flag is kept and shown, because KCL
//! may set it.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Integer, Required, Structure, Text, Writer};
use serde::Deserialize;

use super::{Context, Operation, Output, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Decision, Found, Write};
use crate::table::{Definition, Table, Tables};

/// `UpdateContinuousBackupsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateContinuousBackups<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    point_in_time_recovery_specification: Required<Structure<Specification>>,
}

/// `PointInTimeRecoverySpecification` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specification {
    point_in_time_recovery_enabled: Option<Flag>,
    recovery_period_in_days: Option<Integer>,
}

/// `DescribeContinuousBackupsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeContinuousBackups<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
}

/// The flag of a table, and the write that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupsPlan {
    is_enabled: bool,
    write: Option<Write>,
}

/// `ContinuousBackupsDescription` of the API reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backups {
    /// Whether the flag is set.
    pub is_enabled: bool,
}

impl Constrained for UpdateContinuousBackups<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
        let specification = &self.point_in_time_recovery_specification;
        checks.structure("PointInTimeRecoverySpecification", specification);
    }
}

impl Constrained for Specification {
    fn check(&self, checks: &mut Checks) {
        if self.point_in_time_recovery_enabled.is_none() {
            checks.present::<Flag, _>("PointInTimeRecoveryEnabled", &Missing);
        }
        checks.number("RecoveryPeriodInDays", &self.recovery_period_in_days, &rules::RECOVERY_DAYS);
    }
}

/// A required flag that is missing. `Required` needs a default value, which a flag does not have.
struct Missing;

impl anabranch_aws::wire::Member<Flag> for Missing {
    const REQUIRED: bool = true;

    fn given(&self) -> Option<&Flag> {
        None
    }
}

impl Constrained for DescribeContinuousBackups<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
    }
}

/// The table, or the error that these operations have of their own.
fn table<'t>(tables: &'t Tables, name: &str) -> Result<&'t Table, Error> {
    let fault = || Error::NotFound(format!("Table not found: {name}"));
    tables.get(name).map(|table| &**table).ok_or_else(fault)
}

impl Operation for UpdateContinuousBackups<'_> {
    type Plan = BackupsPlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<BackupsPlan, Error> {
        let table = table(tables, rules::table_name(&self.table_name)?)?;
        let Structure(specification) = &*self.point_in_time_recovery_specification;
        let flag = specification.point_in_time_recovery_enabled;
        let is_enabled = flag.is_some_and(|Flag(is_enabled)| is_enabled);
        let definition =
            Definition { point_in_time_recovery: is_enabled, ..table.definition.clone() };
        let is_new = definition != table.definition;
        let write = is_new.then(|| table.replaced_by(&definition)).transpose()?;
        Ok(BackupsPlan { is_enabled, write })
    }
}

impl Operation for DescribeContinuousBackups<'_> {
    type Plan = BackupsPlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<BackupsPlan, Error> {
        let table = table(tables, rules::table_name(&self.table_name)?)?;
        Ok(BackupsPlan { is_enabled: table.definition.point_in_time_recovery, write: None })
    }
}

impl Plan for BackupsPlan {
    type Output = Backups;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<Backups>, Error> {
        let response = Backups { is_enabled: self.is_enabled };
        Ok(Decision::write(self.write.iter().cloned().collect(), response))
    }
}

impl Output for Backups {
    fn write(&self, _: &Context, w: &mut Writer) {
        let status = if self.is_enabled { "ENABLED" } else { "DISABLED" };
        w.structure(|w| {
            w.member("ContinuousBackupsDescription").structure(|w| {
                w.member("ContinuousBackupsStatus").text("ENABLED");
                w.member("PointInTimeRecoveryDescription").structure(|w| {
                    w.member("PointInTimeRecoveryStatus").text(status);
                });
            });
        });
    }
}
