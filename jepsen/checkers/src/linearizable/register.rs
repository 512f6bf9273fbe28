//! A register: a read returns the last written value.

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
        }
    }

    fn is_observation(&self, call: &RegisterCall<'a>) -> bool {
        matches!(call, RegisterCall::Read(_))
    }
}
