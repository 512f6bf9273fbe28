//! A register: a read returns the last written value, and a compare-and-set writes only over the expected value.

use std::marker::PhantomData;

use super::Model;

/// The model. Values are borrowed from the history.
pub(crate) struct Register<'a>(PhantomData<&'a str>);

impl Register<'_> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// A call, with the value that it writes or that it found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RegisterCall<'a> {
    Write(Option<&'a str>),
    Read(Option<&'a str>),
    /// The register had the expected value, and has the new one now.
    Swap {
        expected: Option<&'a str>,
        value: &'a str,
    },
    /// The register did not have the expected value, but this one, if the response says it.
    Refused {
        expected: Option<&'a str>,
        found: Option<Option<&'a str>>,
    },
}

impl<'a> Model for Register<'a> {
    type State = Option<&'a str>;
    type Call = RegisterCall<'a>;

    fn start(&self) -> Option<&'a str> {
        None
    }

    fn step(&self, state: &Option<&'a str>, call: &RegisterCall<'a>) -> Option<Option<&'a str>> {
        match *call {
            RegisterCall::Write(value) => Some(value),
            RegisterCall::Read(value) => (value == *state).then_some(value),
            RegisterCall::Swap { expected, value } => (expected == *state).then_some(Some(value)),
            RegisterCall::Refused { expected, found } => {
                let fits = expected != *state && found.is_none_or(|found| found == *state);
                fits.then_some(*state)
            }
        }
    }

    fn is_observation(&self, call: &RegisterCall<'a>) -> bool {
        matches!(call, RegisterCall::Read(_) | RegisterCall::Refused { .. })
    }
}
