//! Requests to a table group, and what the group answers. The leader answers reads by [`Request::read`], and proposes
//! writes.

use crate::command::Transaction;
use crate::outcome::{Outcome, Refusal};
use crate::reads::{KeyRange, RangePage, UnknownSpace};
use crate::row::{Key, Row, SpaceId, TransactionId, Version};
use crate::state::TableState;

/// A request to a table group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Changes rows, if all checks hold.
    Transact(Transaction),
    /// Creates a space.
    CreateSpace {
        /// Id of this creation. The proposer chooses it at random.
        id: TransactionId,
        /// Name of the space.
        name: String,
    },
    /// Drops a space with all its rows.
    DropSpace(SpaceId),
    /// Reads one row.
    Get(Key),
    /// Reads a page of rows; see [`TableState::rows_between`].
    Range {
        /// Number of the space.
        space: SpaceId,
        /// Keys of the rows.
        keys: KeyRange,
        /// Most rows of the page.
        max_rows: usize,
    },
    /// Lists the spaces.
    ListSpaces,
}

/// What a table group answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Outcome of a write.
    Outcome(Outcome),
    /// The row, as of this version.
    Row(Option<Row>, Version),
    /// A page of rows.
    Page(RangePage),
    /// The spaces, by number, as of this version.
    Spaces(Vec<SpaceSummary>, Version),
}

/// A space in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceSummary {
    /// Number of the space.
    pub space: SpaceId,
    /// Name of the space.
    pub name: String,
    /// Id of its creation.
    pub creator: TransactionId,
    /// Version of its creation.
    pub created: Version,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of the rows; see [`row_bytes`](crate::row_bytes).
    pub bytes: u64,
}

impl Request {
    /// Whether the request changes the group.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Transact(_) | Self::CreateSpace { .. } | Self::DropSpace(_) => true,
            Self::Get(_) | Self::Range { .. } | Self::ListSpaces => false,
        }
    }

    /// The response to a read. `None` for a write.
    pub fn read(&self, state: &TableState) -> Option<Response> {
        let response = match self {
            Self::Transact(_) | Self::CreateSpace { .. } | Self::DropSpace(_) => return None,
            Self::Get(key) => {
                state.get(key).map(|row| Response::Row(row.cloned(), state.version()))
            }
            Self::Range { space, keys, max_rows } => {
                let page = state.rows_between(*space, keys, *max_rows, usize::MAX);
                page.map(Response::Page)
            }
            Self::ListSpaces => Ok(Response::Spaces(summaries(state), state.version())),
        };
        Some(response.unwrap_or_else(|UnknownSpace(space)| {
            Response::Outcome(Refusal::UnknownSpace { space }.into())
        }))
    }
}

fn summaries(state: &TableState) -> Vec<SpaceSummary> {
    let spaces = state.spaces().map(|(space, found)| SpaceSummary {
        space,
        name: found.name().to_owned(),
        creator: found.creator(),
        created: found.created(),
        rows: found.rows() as u64,
        bytes: found.bytes(),
    });
    spaces.collect()
}
