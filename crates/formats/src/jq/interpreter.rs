//! The types that the interpreter is made for.

use anabranch_types::Timestamp;
use jaq_core::data::HasLut;
use jaq_core::{DataT, Lut};

use crate::jq::budget;
use crate::jq::value::Value;

/// The kind of interpreter: its values, and the data of a run.
pub(super) struct Interpreter;

/// Data of a run. The interpreter copies it for every call of a definition, and each copy is a step.
pub(super) struct Run<'a> {
    lut: &'a Lut<Interpreter>,
    arrival: Timestamp,
}

impl DataT for Interpreter {
    type V<'a> = Value;
    type Data<'a> = Run<'a>;
}

impl<'a> HasLut<'a, Interpreter> for Run<'a> {
    fn lut(&self) -> &'a Lut<Interpreter> {
        self.lut
    }
}

impl Clone for Run<'_> {
    fn clone(&self) -> Self {
        budget::charge(1);
        Self { lut: self.lut, arrival: self.arrival }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(lut: &'a Lut<Interpreter>, arrival: Timestamp) -> Self {
        Self { lut, arrival }
    }

    /// Arrival of the record, in seconds since 1970: the value of `now`.
    pub(super) fn arrival_seconds(&self) -> f64 {
        self.arrival.as_secs_f64()
    }
}
