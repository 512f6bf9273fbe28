//! The operations, one file each, and what they share: the traits of the seam ([`crate::store`]).
//!
//! An [`Operation`] is a decoded request. Its constraints are checked by `anabranch_aws::constraints`. With the
//! definitions of its tables it becomes a [`Plan`], which says what to read. With the rows the plan becomes a
//! decision.

pub mod capacity;
pub mod continuous_backups;
pub mod create_table;
pub mod delete_item;
pub mod delete_table;
pub mod describe_table;
pub mod get_item;
pub mod list_tables;
mod page;
pub mod put_item;
pub mod query;
pub mod scan;
pub mod time_to_live;
pub mod transact_write_items;
pub mod unsupported;
pub mod update_item;
pub mod update_table;
mod write_item;

use anabranch_aws::constraints::Constrained;
use anabranch_aws::wire::Writer;
use anabranch_types::Timestamp;

use crate::error::Error;
use crate::store::{Decision, Found, Reads};
use crate::table::Tables;
use crate::table::description::Home;

/// The values that an operation needs besides its request and its rows.
#[derive(Clone, Debug)]
pub struct Context {
    /// Account and region of the tables.
    pub home: Home,
    /// The time.
    pub now: Timestamp,
    /// A random id of the call. It becomes the identity of a new table.
    pub id: [u8; 16],
}

/// A decoded request.
pub trait Operation: Constrained {
    /// The checked form of the request.
    type Plan: Plan;

    /// The names of the tables that the request names, each once. The caller reads their definitions and evaluates
    /// policies for them.
    ///
    /// # Errors
    /// [`Error::Validation`] if a name cannot be the name of a table.
    fn tables(&self) -> Result<Vec<String>, Error>;

    /// The operations that policies must allow, each with its table. Empty: the operation itself on its table.
    ///
    /// # Errors
    /// As [`Self::tables`].
    fn rights(&self) -> Result<Vec<(&'static str, String)>, Error> {
        Ok(Vec::new())
    }

    /// Checks the request and finds the rows that it is about. `tables` has the definitions of the tables of
    /// [`Self::tables`] that exist.
    ///
    /// # Errors
    /// Any [`Error`]. An error from an old copy of a definition must be checked with the newest one.
    fn plan(&self, cx: &Context, tables: &Tables) -> Result<Self::Plan, Error>;
}

/// A checked request whose rows are known.
pub trait Plan {
    /// The response.
    type Output: Output;

    /// The rows to read.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// Decides from the rows.
    ///
    /// # Errors
    /// Any [`Error`].
    fn decide(&self, cx: &Context, found: &Found) -> Result<Decision<Self::Output>, Error>;
}

/// The response of an operation.
pub trait Output {
    /// Writes the body.
    fn write(&self, cx: &Context, w: &mut Writer);
}

#[cfg(test)]
mod tests;
