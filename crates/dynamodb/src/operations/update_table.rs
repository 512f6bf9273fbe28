//! UpdateTable: billing, deletion protection, and one index to create or delete.
//!
//! A new index is written from this transaction on. It has to be filled with the items that are older, which the
//! caller does with `crate::index::backfill`. Until then its status is CREATING, and it cannot be read.

use anabranch_aws::constraints::{Checks, Constrained, Rule};
use anabranch_aws::wire::{Flag, List, Required, Structure, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::create_table::StreamSpecification;
use super::describe_table::TableOutput;
use super::{Context, Operation, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Decision, Found, Space};
use crate::table::rules::{
    AttributeDefinition, ProvisionedThroughput, SentIndex, attributes, billing, check_attributes,
    check_not_empty, check_use, index, throughput_of,
};
use crate::table::{Billing, Definition, KeyAttribute, Table, Tables, Throughput};

/// `UpdateTableInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateTable<'a> {
    #[serde(borrow)]
    attribute_definitions: Option<List<Structure<AttributeDefinition<'a>>>>,
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(borrow)]
    billing_mode: Option<Text<'a>>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    #[serde(borrow)]
    global_secondary_index_updates: Option<List<Structure<IndexUpdate<'a>>>>,
    stream_specification: Option<Structure<StreamSpecification>>,
    replica_updates: Option<List<IgnoredAny>>,
    global_table_witness_updates: Option<List<IgnoredAny>>,
    vector_index_updates: Option<List<IgnoredAny>>,
    deletion_protection_enabled: Option<Flag>,
}

/// `GlobalSecondaryIndexUpdate` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexUpdate<'a> {
    #[serde(borrow)]
    update: Option<Structure<UpdateIndex<'a>>>,
    #[serde(borrow)]
    create: Option<Structure<SentIndex<'a>>>,
    #[serde(borrow)]
    delete: Option<Structure<DeleteIndex<'a>>>,
}

/// `UpdateGlobalSecondaryIndexAction` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateIndex<'a> {
    #[serde(borrow, default)]
    index_name: Required<Text<'a>>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
}

/// `DeleteGlobalSecondaryIndexAction` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteIndex<'a> {
    #[serde(borrow, default)]
    index_name: Required<Text<'a>>,
}

impl Constrained for UpdateTable<'_> {
    fn check(&self, checks: &mut Checks) {
        check_attributes(checks, &self.attribute_definitions);
        rules::check_table(checks, &self.table_name);
        checks.text("BillingMode", &self.billing_mode, &rules::BILLING_MODE);
        checks.structure("ProvisionedThroughput", &self.provisioned_throughput);
        let updates = &self.global_secondary_index_updates;
        checks.list("GlobalSecondaryIndexUpdates", updates, &Rule::ANY);
    }
}

impl Constrained for IndexUpdate<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.structure("Update", &self.update);
        checks.structure("Create", &self.create);
        checks.structure("Delete", &self.delete);
    }
}

impl Constrained for UpdateIndex<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("IndexName", &self.index_name, &rules::NAME);
        checks.structure("ProvisionedThroughput", &self.provisioned_throughput);
    }
}

impl Constrained for DeleteIndex<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("IndexName", &self.index_name, &rules::NAME);
    }
}

/// A table and its new definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateTablePlan {
    old: Table,
    new: Definition,
    creates: Vec<Space>,
    drops: Vec<Space>,
}

impl UpdateTable<'_> {
    fn check_supported(&self) -> Result<(), Error> {
        let has =
            |list: &Option<List<IgnoredAny>>| list.as_ref().is_some_and(|list| list.count() > 0);
        if has(&self.replica_updates) {
            return Err(Error::unsupported("ReplicaUpdates"));
        }
        if has(&self.global_table_witness_updates) {
            return Err(Error::unsupported("GlobalTableWitnessUpdates"));
        }
        if has(&self.vector_index_updates) {
            return Err(Error::unsupported("VectorIndexUpdates"));
        }
        StreamSpecification::check(self.stream_specification.as_ref())?;
        let updates = self.global_secondary_index_updates.as_ref();
        check_not_empty("GlobalSecondaryIndexUpdates", updates)?;
        let changes_something = updates.is_some()
            || self.billing_mode.is_some()
            || self.provisioned_throughput.is_some()
            || self.deletion_protection_enabled.is_some()
            || self.stream_specification.is_some();
        if changes_something {
            return Ok(());
        }
        Err(Error::Validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
             SSESpecification or ReplicaUpdates is required"
                .to_owned(),
        ))
    }

    fn set_billing(&self, definition: &mut Definition, now: u64) -> Result<(), Error> {
        let mode = match (self.billing_mode.as_deref(), definition.billing) {
            // Without a mode, the capacities are those of a table that has some already.
            (None, Billing::PayPerRequest { .. }) if self.provisioned_throughput.is_some() => {
                Some("PAY_PER_REQUEST")
            }
            (Some("PROVISIONED"), Billing::Provisioned(_)) => None,
            (mode, _) => mode,
        };
        let Some(billing) = billing(mode, self.provisioned_throughput.as_ref(), now)? else {
            return Ok(());
        };
        if let (Billing::PayPerRequest { .. }, Billing::PayPerRequest { .. }) =
            (billing, definition.billing)
        {
            return Ok(());
        }
        if matches!(billing, Billing::PayPerRequest { .. }) {
            definition
                .indexes
                .iter_mut()
                .for_each(|index| index.throughput = Throughput::default());
        }
        definition.billing = billing;
        Ok(())
    }

    /// Attribute definitions of the request are added. Definitions that no key uses any more go.
    fn merged(&self, old: &[KeyAttribute]) -> Result<Vec<KeyAttribute>, Error> {
        let mut merged = old.to_vec();
        for attribute in attributes(self.attribute_definitions.as_ref())? {
            match merged.iter().find(|old| old.name == attribute.name) {
                Some(old) if *old == attribute => {}
                Some(_) => {
                    return Err(Error::parameters(format_args!(
                        "Cannot change the type of attribute {} in AttributeDefinitions",
                        attribute.name
                    )));
                }
                None => merged.push(attribute),
            }
        }
        Ok(merged)
    }
}

/// Applies one change of an index.
fn change_index(plan: &mut UpdateTablePlan, update: &IndexUpdate<'_>) -> Result<(), Error> {
    let definition = &mut plan.new;
    let missing =
        |name: &str| Error::NotFound(format!("Requested resource not found: Index: {name}"));
    match (&update.create, &update.delete, &update.update) {
        (Some(Structure(create)), None, None) => {
            let name = &**create.index_name;
            if definition.index(name).is_some() {
                return Err(Error::Validation(format!(
                    "Attempting to create an index which already exists: {name}"
                )));
            }
            let number = definition.next_index;
            let mut index = index(create, number, &definition.attributes, &definition.billing)?;
            index.is_backfilling = true;
            plan.creates.push(definition.index_space(&index));
            definition.indexes.push(index);
            definition.next_index = number.saturating_add(1);
        }
        (None, Some(Structure(delete)), None) => {
            let name = &**delete.index_name;
            let at = definition.indexes.iter().position(|index| index.name == name);
            let index = definition.indexes.remove(at.ok_or_else(|| missing(name))?);
            plan.drops.push(definition.index_space(&index));
        }
        (None, None, Some(Structure(update))) => {
            let name = &**update.index_name;
            let throughput = throughput_of(update.provisioned_throughput.as_ref());
            let index = definition.indexes.iter_mut().find(|index| index.name == name);
            let index = index.ok_or_else(|| missing(name))?;
            index.throughput = throughput.unwrap_or(index.throughput);
        }
        _ => {
            return Err(Error::parameters(
                "One of GlobalSecondaryIndexUpdate Create, Update, Delete must be specified",
            ));
        }
    }
    Ok(())
}

impl Operation for UpdateTable<'_> {
    type Plan = UpdateTablePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, cx: &Context, tables: &Tables) -> Result<UpdateTablePlan, Error> {
        self.check_supported()?;
        let table = tables.described(rules::table_name(&self.table_name)?)?;
        let old = Table::clone(table);
        let new = old.definition.clone();
        let mut plan = UpdateTablePlan { old, new, creates: Vec::new(), drops: Vec::new() };
        let updates = self.global_secondary_index_updates.as_ref();
        let updates = updates.map(List::members).unwrap_or_default();
        let counts = updates.iter().filter(|Structure(update)| update.update.is_none()).count();
        // One index at a time, so that the writes that fill it stay small.
        let is_filling = plan.new.indexes.iter().any(|index| index.is_backfilling);
        let creates = updates.iter().any(|Structure(update)| update.create.is_some());
        if counts > 1 || (is_filling && creates) {
            return Err(Error::Limit(
                "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"
                    .to_owned(),
            ));
        }
        self.set_billing(&mut plan.new, cx.now.as_millis())?;
        plan.new.deletion_protection = self
            .deletion_protection_enabled
            .map_or(plan.new.deletion_protection, |Flag(enabled)| enabled);
        plan.new.attributes = self.merged(&plan.new.attributes)?;
        for Structure(update) in updates {
            change_index(&mut plan, update)?;
        }
        if !plan.drops.is_empty() {
            let Definition { key, indexes, attributes, .. } = &mut plan.new;
            attributes.retain(|attribute| {
                key.has(&attribute.name)
                    || indexes.iter().any(|index| index.key.has(&attribute.name))
            });
        }
        check_use(&plan.new.attributes, &plan.new.key, &plan.new.indexes)?;
        Ok(plan)
    }
}

impl Plan for UpdateTablePlan {
    type Output = TableOutput;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<TableOutput>, Error> {
        let table = Table { definition: self.new.clone(), ..self.old.clone() };
        Ok(Decision {
            creates: self.creates.clone(),
            writes: vec![self.old.replaced_by(&self.new)?],
            drops: self.drops.clone(),
            response: TableOutput { member: "TableDescription", table, status: "ACTIVE" },
        })
    }
}
