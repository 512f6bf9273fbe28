//! Projections: the parts of an item that a request wants. `ProjectionExpression` and `AttributesToGet`.

use std::collections::BTreeMap;

use super::parser::Parser;
use super::path::{Path, Step, check_distinct};
use super::placeholders::Placeholders;
use crate::error::Error;
use crate::value::{Attributes, Value};

/// The parts of an item that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    paths: Vec<Path>,
}

/// The parts of a value that are wanted.
enum Part {
    Whole,
    Members(BTreeMap<String, Self>),
    /// The order is that of the list.
    Indexes(BTreeMap<usize, Self>),
}

impl Projection {
    /// Parses a projection.
    ///
    /// # Errors
    /// [`Error::Validation`] with the text of AWS.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Self, Error> {
        let mut parser = Parser::new("ProjectionExpression", text, placeholders)?;
        let mut paths = vec![Path::parse(&mut parser)?];
        while parser.take(",") {
            paths.push(Path::parse(&mut parser)?);
        }
        parser.expect_end()?;
        check_distinct(&paths).map_err(|text| parser.fault(text))?;
        Ok(Self { paths })
    }

    /// Whole attributes.
    pub fn of_attributes(names: impl IntoIterator<Item = String>) -> Self {
        Self { paths: names.into_iter().map(Path::attribute).collect() }
    }

    /// Some paths, of which none is the beginning of another one.
    pub fn of_paths<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self { paths: paths.into_iter().cloned().collect() }
    }

    /// The attributes that the projection names.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.attribute.as_str())
    }

    /// The wanted parts of an item. Parts that the item does not have are left out.
    pub fn apply(&self, item: &Attributes) -> Attributes {
        let mut wanted = BTreeMap::new();
        for path in &self.paths {
            add(wanted.entry(path.attribute.clone()), &path.steps);
        }
        members(item, &wanted)
    }
}

fn add<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, Part>, steps: &[Step]) {
    let Some((step, rest)) = steps.split_first() else {
        entry.insert_entry(Part::Whole);
        return;
    };
    match step {
        Step::Member(name) => {
            if let Part::Members(members) = entry.or_insert_with(|| Part::Members(BTreeMap::new()))
            {
                add(members.entry(name.clone()), rest);
            }
        }
        Step::Index(index) => {
            if let Part::Indexes(indexes) = entry.or_insert_with(|| Part::Indexes(BTreeMap::new()))
            {
                add(indexes.entry(*index), rest);
            }
        }
    }
}

fn members(attributes: &Attributes, wanted: &BTreeMap<String, Part>) -> Attributes {
    let found = wanted
        .iter()
        .filter_map(|(name, wanted)| Some((name.clone(), part(attributes.get(name)?, wanted)?)));
    found.collect()
}

fn part(value: &Value, wanted: &Part) -> Option<Value> {
    match (wanted, value) {
        (Part::Whole, _) => Some(value.clone()),
        (Part::Members(wanted), Value::M(attributes)) => {
            let found = members(attributes, wanted);
            (!found.is_empty()).then_some(Value::M(found))
        }
        (Part::Indexes(wanted), Value::L(list)) => {
            let found = wanted.iter().filter_map(|(index, wanted)| part(list.get(*index)?, wanted));
            let found: Vec<_> = found.collect();
            (!found.is_empty()).then_some(Value::L(found))
        }
        _ => None,
    }
}
