use std::ops::Deref;

use serde::{Deserialize, Deserializer};

/// A member of a request: optional (`Option<T>`) or required by the service model ([`Required`]).
pub trait Member<T> {
    /// Whether the service model requires the member.
    const REQUIRED: bool;
    /// The value, if the request has one. Null counts as absent.
    fn given(&self) -> Option<&T>;
}

impl<T> Member<T> for Option<T> {
    const REQUIRED: bool = false;

    fn given(&self) -> Option<&T> {
        self.as_ref()
    }
}

/// A member that the service model requires.
///
/// An absent member decodes as the default value, and [`crate::constraints::Checks`] refuses the request. An operation
/// only sees requests that passed these checks, so for the operation the member always has a value and is not an
/// `Option`. Fields of this type need `#[serde(default)]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required<T> {
    value: T,
    is_given: bool,
}

impl<T> Member<T> for Required<T> {
    const REQUIRED: bool = true;

    fn given(&self) -> Option<&T> {
        self.is_given.then_some(&self.value)
    }
}

impl<T> Deref for Required<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Required<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::<T>::deserialize(deserializer)?;
        Ok(Self { is_given: given.is_some(), value: given.unwrap_or_default() })
    }
}
