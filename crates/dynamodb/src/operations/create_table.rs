//! CreateTable: a new table, which is ACTIVE at once.

use std::collections::BTreeMap;

use anabranch_aws::constraints::{Checks, Constrained, Rule};
use anabranch_aws::wire::{Flag, List, Required, Structure, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::describe_table::TableOutput;
use super::{Context, Operation, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Change, Decision, Expect, Found, TableId, Write};
use crate::table::rules::{
    AttributeDefinition, KeyElement, ProvisionedThroughput, SentIndex, Tag, attributes, billing,
    check_attributes, check_not_empty, check_use, index, key_schema, tags,
};
use crate::table::{Definition, Table, Tables};

/// `CreateTableInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateTable<'a> {
    #[serde(borrow)]
    attribute_definitions: Option<List<Structure<AttributeDefinition<'a>>>>,
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    key_schema: Required<List<Structure<KeyElement<'a>>>>,
    local_secondary_indexes: Option<List<IgnoredAny>>,
    #[serde(borrow)]
    global_secondary_indexes: Option<List<Structure<SentIndex<'a>>>>,
    #[serde(borrow)]
    billing_mode: Option<Text<'a>>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    stream_specification: Option<Structure<StreamSpecification>>,
    #[serde(borrow)]
    tags: Option<List<Structure<Tag<'a>>>>,
    deletion_protection_enabled: Option<Flag>,
    #[serde(borrow)]
    resource_policy: Option<Text<'a>>,
    #[serde(borrow)]
    global_table_source_arn: Option<Text<'a>>,
    vector_indexes: Option<List<IgnoredAny>>,
}

/// `StreamSpecification` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamSpecification {
    stream_enabled: Option<Flag>,
}

impl StreamSpecification {
    /// Refuses a request that turns on a stream of changes.
    pub(crate) fn check(sent: Option<&Structure<Self>>) -> Result<(), Error> {
        match sent {
            Some(Structure(Self { stream_enabled: Some(Flag(true)) })) => {
                Err(Error::unsupported("StreamSpecification"))
            }
            _ => Ok(()),
        }
    }
}

impl Constrained for CreateTable<'_> {
    fn check(&self, checks: &mut Checks) {
        check_attributes(checks, &self.attribute_definitions);
        rules::check_table(checks, &self.table_name);
        checks.list("KeySchema", &self.key_schema, &rules::KEY_SCHEMA);
        checks.list("GlobalSecondaryIndexes", &self.global_secondary_indexes, &Rule::ANY);
        checks.text("BillingMode", &self.billing_mode, &rules::BILLING_MODE);
        checks.structure("ProvisionedThroughput", &self.provisioned_throughput);
        checks.list("Tags", &self.tags, &Rule::ANY);
    }
}

impl CreateTable<'_> {
    /// Refuses features that change the behaviour of a table. Features that do not are ignored: encryption at rest,
    /// table class, warm throughput.
    fn check_supported(&self) -> Result<(), Error> {
        if self.local_secondary_indexes.as_ref().is_some_and(|list| list.count() > 0) {
            return Err(Error::unsupported("LocalSecondaryIndexes"));
        }
        if self.vector_indexes.as_ref().is_some_and(|list| list.count() > 0) {
            return Err(Error::unsupported("VectorIndexes"));
        }
        if self.resource_policy.is_some() {
            return Err(Error::unsupported("ResourcePolicy"));
        }
        if self.global_table_source_arn.is_some() {
            return Err(Error::unsupported("GlobalTableSourceArn"));
        }
        StreamSpecification::check(self.stream_specification.as_ref())
    }

    fn definition(&self, cx: &Context, name: &str) -> Result<Definition, Error> {
        let created = cx.now.as_millis();
        let mode = self.billing_mode.as_deref();
        let mode = mode.or_else(|| self.provisioned_throughput.is_none().then_some("PROVISIONED"));
        let billing = billing(mode, self.provisioned_throughput.as_ref(), created)?;
        let billing = billing.ok_or_else(|| Error::Internal { cause: "no billing".to_owned() })?;
        let attributes = attributes(self.attribute_definitions.as_ref())?;
        let key = key_schema(&self.key_schema, &attributes)?;
        let sent = self.global_secondary_indexes.as_ref();
        check_not_empty("GlobalSecondaryIndexes", sent)?;
        let sent = sent.map(List::members).unwrap_or_default();
        let indexes = (0..)
            .zip(sent)
            .map(|(number, Structure(sent))| index(sent, number, &attributes, &billing));
        let indexes = indexes.collect::<Result<Vec<_>, _>>()?;
        check_use(&attributes, &key, &indexes)?;
        Ok(Definition {
            name: name.to_owned(),
            id: TableId(cx.id),
            created,
            attributes,
            key,
            billing,
            next_index: u32::try_from(indexes.len()).unwrap_or(u32::MAX),
            indexes,
            deletion_protection: self.deletion_protection_enabled.is_some_and(|Flag(on)| on),
            tags: tags(self.tags.as_ref())?,
            point_in_time_recovery: false,
        })
    }
}

/// A table to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTablePlan(Definition);

impl Operation for CreateTable<'_> {
    type Plan = CreateTablePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, cx: &Context, tables: &Tables) -> Result<CreateTablePlan, Error> {
        self.check_supported()?;
        let name = rules::table_name(&self.table_name)?;
        let definition = self.definition(cx, name)?;
        if tables.get(name).is_some() {
            return Err(Error::InUse(format!("Table already exists: {name}")));
        }
        Ok(CreateTablePlan(definition))
    }
}

impl Plan for CreateTablePlan {
    type Output = TableOutput;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<TableOutput>, Error> {
        let Self(definition) = self;
        let spaces = definition.indexes.iter().map(|index| definition.index_space(index));
        let creates = std::iter::once(definition.space()).chain(spaces).collect();
        let key = Definition::row_key(&definition.name);
        let change = Change::Put(definition.stored()?);
        let writes = vec![Write { key, expect: Expect::Absent, change }];
        let table = Table { definition: definition.clone(), version: 0, sizes: BTreeMap::new() };
        let response = TableOutput { member: "TableDescription", table, status: "ACTIVE" };
        Ok(Decision { creates, writes, drops: Vec::new(), response })
    }
}
