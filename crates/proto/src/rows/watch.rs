//! Conversions of the messages of a watch.

use anabranch_table::{Change, Limits, SpaceId, Version, WatchPage, Watched, WatchedRange};

use super::{row, row_message};
use crate::error::Error;
use crate::generated::table as pb;

/// The message of a watcher of rows of `group` that has seen `since`.
pub fn watch_request_message(group: u64, range: &WatchedRange, since: Version) -> pb::WatchRequest {
    let (space, prefix) = (range.space.0, range.prefix.clone());
    pb::WatchRequest { group, space, prefix, since: since.as_u64() }
}

/// The range and the version in a message.
///
/// # Errors
/// Names the field that is wrong.
pub fn watch_request(message: pb::WatchRequest) -> Result<(WatchedRange, Version), Error> {
    let limit = Limits::DEFAULT.key_bytes;
    if message.prefix.len() > limit {
        let rule = format!("must have at most {limit} bytes");
        return Err(Error::Invalid { field: "prefix", rule });
    }
    let range = WatchedRange { space: SpaceId(message.space), prefix: message.prefix };
    Ok((range, Version::from_u64(message.since)))
}

/// The message of what a watcher is told.
pub fn watch_response_message(watched: Watched) -> pb::WatchResponse {
    match watched {
        Watched::Page(WatchPage { is_reset, changes, version, is_complete }) => pb::WatchResponse {
            reset: is_reset,
            changes: changes.into_iter().map(change_message).collect(),
            version: version.as_u64(),
            complete: is_complete,
            dropped: false,
        },
        Watched::Dropped { version } => pb::WatchResponse {
            version: version.as_u64(),
            dropped: true,
            ..pb::WatchResponse::default()
        },
    }
}

/// What a watcher is told by a message.
///
/// # Errors
/// Names the field that is missing or wrong.
pub fn watch_response(message: pb::WatchResponse) -> Result<Watched, Error> {
    let version = Version::from_u64(message.version);
    if message.dropped {
        return Ok(Watched::Dropped { version });
    }
    Ok(Watched::Page(WatchPage {
        is_reset: message.reset,
        changes: message.changes.into_iter().map(change).collect::<Result<_, Error>>()?,
        version,
        is_complete: message.complete,
    }))
}

fn change_message(change: Change) -> pb::RowChange {
    let Change { key, version, row } = change;
    pb::RowChange { key, version: version.as_u64(), row: row.map(row_message) }
}

fn change(message: pb::RowChange) -> Result<Change, Error> {
    Ok(Change {
        key: message.key,
        version: Version::from_u64(message.version),
        row: message.row.map(row).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use anabranch_table::{Row, TransactionId};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn requests_and_responses_read_back() {
        let range = WatchedRange { space: SpaceId(3), prefix: Bytes::from_static(b"p") };
        let (version, since) = (Version::new(12, 1), Version::new(9, 0));
        let message = watch_request_message(6, &range, since);
        assert_eq!(message.group, 6);
        assert_eq!(watch_request(message), Ok((range, since)));
        let row = Row { version, writer: TransactionId([9; 16]), value: Bytes::from_static(b"v") };
        let changes = vec![
            Change { key: Bytes::from_static(b"p1"), version, row: Some(row) },
            Change { key: Bytes::from_static(b"p2"), version: since, row: None },
        ];
        let told = [
            Watched::Page(WatchPage { is_reset: true, changes, version, is_complete: false }),
            Watched::Page(WatchPage { version, is_complete: true, ..WatchPage::default() }),
            Watched::Dropped { version },
        ];
        for watched in told {
            assert_eq!(watch_response(watch_response_message(watched.clone())), Ok(watched));
        }
    }

    #[test]
    fn a_wrong_message_is_refused_by_the_name_of_its_field() {
        let long = pb::WatchRequest { prefix: vec![0; 2_049].into(), ..Default::default() };
        assert_eq!(
            watch_request(long).unwrap_err().to_string(),
            "prefix: must have at most 2048 bytes"
        );
        let nameless = pb::RowChange { row: Some(pb::Row::default()), ..Default::default() };
        let wrong = pb::WatchResponse { changes: vec![nameless], ..Default::default() };
        assert_eq!(
            watch_response(wrong).unwrap_err().to_string(),
            "row.writer: must have 16 bytes"
        );
    }
}
