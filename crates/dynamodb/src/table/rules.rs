//! The members of CreateTable and UpdateTable that define a table, and the rules for them.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_aws::constraints::{Checks, Constrained, Rule};
use anabranch_aws::wire::{Integer, List, Required, Structure, Text};
use serde::Deserialize;

use super::{Billing, Index, KeyAttribute, KeyKind, KeySchema, Projection, Throughput};
use crate::error::Error;
use crate::rules;

/// Most indexes of a table. Source: "Quotas" of the DynamoDB Developer Guide.
pub const MAX_INDEXES: usize = 20;
/// Most tags of a table. Source: as above.
pub const MAX_TAGS: usize = 50;

/// `KeySchemaElement` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyElement<'a> {
    #[serde(borrow, default)]
    attribute_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    key_type: Required<Text<'a>>,
}

/// `AttributeDefinition` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AttributeDefinition<'a> {
    #[serde(borrow, default)]
    attribute_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    attribute_type: Required<Text<'a>>,
}

/// `ProvisionedThroughput` of the API reference.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ProvisionedThroughput {
    #[serde(default)]
    read_capacity_units: Required<Integer>,
    #[serde(default)]
    write_capacity_units: Required<Integer>,
}

/// `Projection` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SentProjection<'a> {
    #[serde(borrow)]
    projection_type: Option<Text<'a>>,
    #[serde(borrow)]
    non_key_attributes: Option<List<Text<'a>>>,
}

/// `GlobalSecondaryIndex` and `CreateGlobalSecondaryIndexAction` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SentIndex<'a> {
    #[serde(borrow, default)]
    pub index_name: Required<Text<'a>>,
    #[serde(borrow, default)]
    key_schema: Required<List<Structure<KeyElement<'a>>>>,
    #[serde(borrow, default)]
    projection: Required<Structure<SentProjection<'a>>>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
}

/// `Tag` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag<'a> {
    #[serde(borrow, default)]
    key: Required<Text<'a>>,
    #[serde(borrow, default)]
    value: Required<Text<'a>>,
}

impl Constrained for KeyElement<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("AttributeName", &self.attribute_name, &rules::KEY_NAME);
        checks.text("KeyType", &self.key_type, &rules::KEY_TYPE);
    }
}

impl Constrained for AttributeDefinition<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("AttributeName", &self.attribute_name, &rules::KEY_NAME);
        checks.text("AttributeType", &self.attribute_type, &rules::SCALAR_TYPE);
    }
}

impl Constrained for ProvisionedThroughput {
    fn check(&self, checks: &mut Checks) {
        checks.number("ReadCapacityUnits", &self.read_capacity_units, &rules::CAPACITY);
        checks.number("WriteCapacityUnits", &self.write_capacity_units, &rules::CAPACITY);
    }
}

impl Constrained for SentProjection<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ProjectionType", &self.projection_type, &rules::PROJECTION_TYPE);
        let names = &self.non_key_attributes;
        checks.texts("NonKeyAttributes", names, &rules::NON_KEY_ATTRIBUTES, &rules::KEY_NAME);
    }
}

impl Constrained for SentIndex<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("IndexName", &self.index_name, &rules::NAME);
        checks.list("KeySchema", &self.key_schema, &rules::KEY_SCHEMA);
        checks.structure("Projection", &self.projection);
        checks.structure("ProvisionedThroughput", &self.provisioned_throughput);
    }
}

impl Constrained for Tag<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Key", &self.key, &rules::TAG_KEY);
        checks.text("Value", &self.value, &rules::TAG_VALUE);
    }
}

/// Checks the member `AttributeDefinitions`.
pub(crate) fn check_attributes(
    checks: &mut Checks,
    attributes: &Option<List<Structure<AttributeDefinition<'_>>>>,
) {
    checks.list("AttributeDefinitions", attributes, &Rule::ANY);
}

/// The attribute definitions of a request.
///
/// # Errors
/// [`Error::Validation`] if a name is defined twice.
pub(crate) fn attributes(
    sent: Option<&List<Structure<AttributeDefinition<'_>>>>,
) -> Result<Vec<KeyAttribute>, Error> {
    let mut attributes: Vec<KeyAttribute> = Vec::new();
    for Structure(sent) in sent.map(List::members).unwrap_or_default() {
        let name = sent.attribute_name.to_string();
        let kind = KeyKind::named(&sent.attribute_type).unwrap_or(KeyKind::S);
        if attributes.iter().any(|attribute| attribute.name == name) {
            return Err(Error::parameters(format_args!(
                "Cannot redefine attribute '{name}' in AttributeDefinitions"
            )));
        }
        attributes.push(KeyAttribute { name, kind });
    }
    Ok(attributes)
}

/// A key schema, with the types from the attribute definitions.
///
/// # Errors
/// [`Error::Validation`] if the elements are not a hash key and perhaps a range key, or are not defined.
pub(crate) fn key_schema(
    sent: &List<Structure<KeyElement<'_>>>,
    attributes: &[KeyAttribute],
) -> Result<KeySchema, Error> {
    let elements: Vec<_> = sent.members().iter().map(|Structure(element)| element).collect();
    let names: Vec<&str> = elements.iter().map(|element| &**element.attribute_name).collect();
    let invalid = |text: &str| Err(Error::Validation(format!("Invalid KeySchema: {text}")));
    if elements.first().is_none_or(|element| &**element.key_type != "HASH") {
        return invalid("The first KeySchemaElement is not a HASH key type");
    }
    if elements.get(1).is_some_and(|element| &**element.key_type != "RANGE") {
        return invalid("The second KeySchemaElement is not a RANGE key type");
    }
    if let [hash, range] = names[..]
        && hash == range
    {
        return Err(Error::Validation(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name"
                .to_owned(),
        ));
    }
    let defined = |name: &str| attributes.iter().find(|attribute| attribute.name == name).cloned();
    let keys: Option<Vec<_>> = names.iter().map(|name| defined(name)).collect();
    match keys.as_deref() {
        Some([hash]) => Ok(KeySchema { hash: hash.clone(), range: None }),
        Some([hash, range]) => Ok(KeySchema { hash: hash.clone(), range: Some(range.clone()) }),
        Some(_) | None => {
            let missing: Vec<_> =
                names.iter().filter(|name| defined(name).is_none()).copied().collect();
            Err(Error::parameters(format_args!(
                "Some index key attributes are not defined in AttributeDefinitions. Keys: [{}], \
                 AttributeDefinitions: [{}]",
                missing.join(", "),
                joined(attributes)
            )))
        }
    }
}

/// An index of a request.
///
/// # Errors
/// [`Error::Validation`].
pub(crate) fn index(
    sent: &SentIndex<'_>,
    number: u32,
    attributes: &[KeyAttribute],
    billing: &Billing,
) -> Result<Index, Error> {
    let name = sent.index_name.to_string();
    let throughput = throughput_of(sent.provisioned_throughput.as_ref());
    let throughput = match (billing, throughput) {
        (Billing::Provisioned(_), Some(throughput)) => throughput,
        (Billing::PayPerRequest { .. }, None) => Throughput::default(),
        (Billing::Provisioned(_), None) => {
            return Err(Error::parameters(format_args!(
                "ProvisionedThroughput must be specified for index: {name}"
            )));
        }
        (Billing::PayPerRequest { .. }, Some(_)) => {
            return Err(Error::parameters(format_args!(
                "ProvisionedThroughput should not be specified for index: {name} when BillingMode is PAY_PER_REQUEST"
            )));
        }
    };
    let key = key_schema(&sent.key_schema, attributes)?;
    let projection = projection(&sent.projection.0)?;
    Ok(Index { name, number, key, projection, throughput, is_backfilling: false })
}

fn projection(sent: &SentProjection<'_>) -> Result<Projection, Error> {
    let names = sent.non_key_attributes.as_ref().map(|names| {
        let names = names.members().iter().map(|name| name.to_string());
        names.collect::<Vec<_>>()
    });
    match (sent.projection_type.as_deref(), names) {
        (Some("KEYS_ONLY"), None) => Ok(Projection::KeysOnly),
        (Some("ALL"), None) => Ok(Projection::All),
        (Some("INCLUDE"), Some(names)) => Ok(Projection::Include(names)),
        (Some("INCLUDE"), None) => Err(Error::parameters(
            "ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
        )),
        (Some(kind), Some(_)) => Err(Error::parameters(format_args!(
            "ProjectionType is {kind}, but NonKeyAttributes is specified"
        ))),
        (kind, _) => Err(Error::parameters(format_args!(
            "Unknown ProjectionType: {}",
            kind.unwrap_or("null")
        ))),
    }
}

/// Billing from the members of a request. `None` if the request names neither.
///
/// # Errors
/// [`Error::Validation`] if the members contradict each other.
pub(crate) fn billing(
    mode: Option<&str>,
    sent: Option<&Structure<ProvisionedThroughput>>,
    now: u64,
) -> Result<Option<Billing>, Error> {
    match (mode, throughput_of(sent)) {
        (Some("PAY_PER_REQUEST"), None) => Ok(Some(Billing::PayPerRequest { since: now })),
        (Some("PAY_PER_REQUEST"), Some(_)) => Err(Error::parameters(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (Some(_), None) => Err(Error::parameters(
            "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED",
        )),
        (_, Some(throughput)) => Ok(Some(Billing::Provisioned(throughput))),
        (None, None) => Ok(None),
    }
}

/// The capacities of a member, if it is given.
pub(crate) fn throughput_of(sent: Option<&Structure<ProvisionedThroughput>>) -> Option<Throughput> {
    let capacity = |units: &Required<Integer>| u64::try_from(units.0).unwrap_or(0);
    sent.map(|Structure(sent)| Throughput {
        read: capacity(&sent.read_capacity_units),
        write: capacity(&sent.write_capacity_units),
    })
}

/// Checks that each attribute definition is used by a key, and that index names are unique.
///
/// # Errors
/// [`Error::Validation`].
pub(crate) fn check_use(
    attributes: &[KeyAttribute],
    key: &KeySchema,
    indexes: &[Index],
) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(index) = indexes.iter().find(|index| !names.insert(&index.name)) {
        return Err(Error::parameters(format_args!("Duplicate index name: {}", index.name)));
    }
    if indexes.len() > MAX_INDEXES {
        return Err(Error::parameters(format_args!(
            "GlobalSecondaryIndex count exceeds the per-table limit of {MAX_INDEXES}"
        )));
    }
    let keys = std::iter::once(key).chain(indexes.iter().map(|index| &index.key));
    let used: BTreeSet<_> =
        keys.flat_map(KeySchema::attributes).map(|attribute| attribute.name.as_str()).collect();
    if attributes.iter().all(|attribute| used.contains(attribute.name.as_str())) {
        return Ok(());
    }
    if indexes.is_empty() {
        return Err(Error::parameters(
            "Number of attributes in KeySchema does not exactly match number of attributes defined in \
             AttributeDefinitions",
        ));
    }
    let used: Vec<_> = used.into_iter().collect();
    Err(Error::parameters(format_args!(
        "Some AttributeDefinitions are not used. AttributeDefinitions: [{}], keys used: [{}]",
        joined(attributes),
        used.join(", ")
    )))
}

/// The tags of a request.
///
/// # Errors
/// [`Error::Validation`] if a key comes twice or there are too many.
pub(crate) fn tags(
    sent: Option<&List<Structure<Tag<'_>>>>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut tags = BTreeMap::new();
    for Structure(Tag { key, value }) in sent.map(List::members).unwrap_or_default() {
        if tags.insert(key.to_string(), value.to_string()).is_some() {
            return Err(Error::parameters("Tag keys must be unique"));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(Error::parameters(format_args!("Too many tags: a table can have {MAX_TAGS}")));
    }
    Ok(tags)
}

/// Refuses a list that must not be empty.
pub(crate) fn check_not_empty<T>(name: &str, list: Option<&List<T>>) -> Result<(), Error> {
    match list {
        Some(list) if list.count() == 0 => {
            Err(Error::parameters(format_args!("List of {name} is empty")))
        }
        _ => Ok(()),
    }
}

fn joined(attributes: &[KeyAttribute]) -> String {
    let names: Vec<_> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    names.join(", ")
}
