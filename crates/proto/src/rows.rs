//! Conversions of `anabranch.table.v1`: requests to table groups, and their responses.

use anabranch_table::{
    Expect, Key, KeyRange, Outcome, RangePage, Refusal, Request, Response, Row, SpaceId,
    SpaceSummary, Transaction, TransactionId, Version,
};
use bytes::Bytes;

use crate::error::Error;
use crate::generated::table as pb;

mod watch;

pub use watch::{watch_request, watch_request_message, watch_response, watch_response_message};

/// The message of a request to `group`.
pub fn table_request_message(group: u64, request: &Request) -> pb::CallRequest {
    use pb::call_request::Request as Pb;
    let request = match request {
        Request::Transact(transaction) => Pb::Transact(transaction_message(transaction)),
        Request::Get(key) => Pb::Get(pb::GetRequest { key: Some(key_message(key)) }),
        Request::Range { space, keys, max_rows } => Pb::Range(pb::RangeRequest {
            space: space.0,
            start: keys.start.clone(),
            end: keys.end.clone(),
            descending: keys.descending,
            max_rows: u32::try_from(*max_rows).unwrap_or(u32::MAX),
        }),
        Request::CreateSpace { id, name } => {
            Pb::CreateSpace(pb::CreateSpaceRequest { id: id_bytes(*id), name: name.clone() })
        }
        Request::DropSpace(space) => Pb::DropSpace(pb::DropSpaceRequest { space: space.0 }),
        Request::ListSpaces => Pb::ListSpaces(pb::ListSpacesRequest {}),
    };
    pb::CallRequest { group, request: Some(request) }
}

/// The request in a message.
///
/// # Errors
/// Names the field that is missing or wrong.
pub fn table_request(message: pb::CallRequest) -> Result<Request, Error> {
    use pb::call_request::Request as Pb;
    Ok(match message.request.ok_or(Error::Missing("request"))? {
        Pb::Transact(transact) => Request::Transact(transaction(transact)?),
        Pb::Get(get) => Request::Get(key(get.key, "get.key")?),
        Pb::Range(range) => Request::Range {
            space: SpaceId(range.space),
            keys: KeyRange { start: range.start, end: range.end, descending: range.descending },
            max_rows: range.max_rows as usize,
        },
        Pb::CreateSpace(create) => {
            Request::CreateSpace { id: id(&create.id, "create_space.id")?, name: create.name }
        }
        Pb::DropSpace(drop) => Request::DropSpace(SpaceId(drop.space)),
        Pb::ListSpaces(_) => Request::ListSpaces,
    })
}

/// The message of a response.
pub fn table_response_message(response: Response) -> pb::CallResponse {
    use pb::call_response::Response as Pb;
    let response = match response {
        Response::Outcome(Outcome::Done { version }) => Pb::DoneVersion(version.as_u64()),
        Response::Outcome(Outcome::Failed { check, found }) => Pb::Failed(pb::FailedCheck {
            check: u32::try_from(check).unwrap_or(u32::MAX),
            found: found.map(row_message),
        }),
        Response::Outcome(Outcome::Created { space, version }) => {
            Pb::Created(pb::CreateSpaceResponse { space: space.0, version: version.as_u64() })
        }
        Response::Outcome(Outcome::Refused(refusal)) => Pb::Refused(refusal_message(&refusal)),
        Response::Row(row, version) => {
            Pb::Row(pb::GetResponse { row: row.map(row_message), version: version.as_u64() })
        }
        Response::Page(RangePage { rows, more, version }) => {
            let keyed = |(key, row)| pb::KeyedRow { key, row: Some(row_message(row)) };
            let rows = rows.into_iter().map(keyed).collect();
            Pb::Page(pb::RangeResponse { rows, more, version: version.as_u64() })
        }
        Response::Spaces(spaces, version) => Pb::Spaces(pb::ListSpacesResponse {
            spaces: spaces.into_iter().map(space_message).collect(),
            version: version.as_u64(),
        }),
    };
    pb::CallResponse { response: Some(response) }
}

/// The response in a message.
///
/// # Errors
/// Names the field that is missing or wrong.
pub fn table_response(message: pb::CallResponse) -> Result<Response, Error> {
    use pb::call_response::Response as Pb;
    Ok(match message.response.ok_or(Error::Missing("response"))? {
        Pb::DoneVersion(version) => {
            Response::Outcome(Outcome::Done { version: Version::from_u64(version) })
        }
        Pb::Failed(failed) => Response::Outcome(Outcome::Failed {
            check: failed.check as usize,
            found: failed.found.map(row).transpose()?,
        }),
        Pb::Created(created) => Response::Outcome(Outcome::Created {
            space: SpaceId(created.space),
            version: Version::from_u64(created.version),
        }),
        Pb::Row(got) => {
            Response::Row(got.row.map(row).transpose()?, Version::from_u64(got.version))
        }
        Pb::Page(page) => {
            let keyed = |keyed: pb::KeyedRow| {
                Ok((keyed.key, row(keyed.row.ok_or(Error::Missing("page.rows.row"))?)?))
            };
            Response::Page(RangePage {
                rows: page.rows.into_iter().map(keyed).collect::<Result<_, Error>>()?,
                more: page.more,
                version: Version::from_u64(page.version),
            })
        }
        Pb::Spaces(list) => {
            let spaces = list.spaces.into_iter().map(space).collect::<Result<_, Error>>()?;
            Response::Spaces(spaces, Version::from_u64(list.version))
        }
        Pb::Refused(refused) => Response::Outcome(refusal(refused).into()),
    })
}

fn transaction_message(transaction: &Transaction) -> pb::TransactRequest {
    let Transaction { id, checks, puts, deletes } = transaction;
    let check = |(key, expect): &(Key, Expect)| {
        use pb::check::Expect as Pb;
        let expect = match *expect {
            Expect::Absent => Pb::Absent(true),
            Expect::Present => Pb::Present(true),
            Expect::Version(version) => Pb::Version(version.as_u64()),
            Expect::Epoch { at_most } => Pb::EpochAtMost(at_most),
        };
        pb::Check { key: Some(key_message(key)), expect: Some(expect) }
    };
    let put =
        |(key, value): &(Key, Bytes)| pb::Put { key: Some(key_message(key)), value: value.clone() };
    pb::TransactRequest {
        id: id_bytes(*id),
        checks: checks.iter().map(check).collect(),
        puts: puts.iter().map(put).collect(),
        deletes: deletes.iter().map(key_message).collect(),
    }
}

fn transaction(message: pb::TransactRequest) -> Result<Transaction, Error> {
    let check = |check: pb::Check| {
        use pb::check::Expect as Pb;
        let expect = match check.expect.ok_or(Error::Missing("checks.expect"))? {
            Pb::Absent(_) => Expect::Absent,
            Pb::Present(_) => Expect::Present,
            Pb::Version(version) => Expect::Version(Version::from_u64(version)),
            Pb::EpochAtMost(at_most) => Expect::Epoch { at_most },
        };
        Ok((key(check.key, "checks.key")?, expect))
    };
    let put = |put: pb::Put| Ok((key(put.key, "puts.key")?, put.value));
    let delete = |delete: pb::Key| key(Some(delete), "deletes");
    Ok(Transaction {
        id: id(&message.id, "id")?,
        checks: message.checks.into_iter().map(check).collect::<Result<_, Error>>()?,
        puts: message.puts.into_iter().map(put).collect::<Result<_, Error>>()?,
        deletes: message.deletes.into_iter().map(delete).collect::<Result<_, Error>>()?,
    })
}

fn key_message(key: &Key) -> pb::Key {
    pb::Key { space: key.space.0, key: key.key.clone() }
}

fn key(message: Option<pb::Key>, field: &'static str) -> Result<Key, Error> {
    let message = message.ok_or(Error::Missing(field))?;
    Ok(Key { space: SpaceId(message.space), key: message.key })
}

fn id_bytes(id: TransactionId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

fn id(bytes: &Bytes, field: &'static str) -> Result<TransactionId, Error> {
    let rule = || Error::Invalid { field, rule: "must have 16 bytes".into() };
    Ok(TransactionId(bytes[..].try_into().map_err(|_| rule())?))
}

fn row_message(row: Row) -> pb::Row {
    pb::Row { version: row.version.as_u64(), writer: id_bytes(row.writer), value: row.value }
}

fn row(message: pb::Row) -> Result<Row, Error> {
    Ok(Row {
        version: Version::from_u64(message.version),
        writer: id(&message.writer, "row.writer")?,
        value: message.value,
    })
}

fn refusal_message(refusal: &Refusal) -> pb::Refusal {
    use pb::refusal::Kind;
    let (kind, space) = match refusal {
        Refusal::Full { .. } => (Kind::Full, 0),
        Refusal::UnknownSpace { space } => (Kind::UnknownSpace, space.0),
        Refusal::SpaceExists { space } => (Kind::SpaceExists, space.0),
        Refusal::Limit { .. }
        | Refusal::EmptyKey { .. }
        | Refusal::DuplicateKey { .. }
        | Refusal::Invalid { .. }
        | Refusal::EmptyName => (Kind::Invalid, 0),
    };
    let (actual, limit) =
        if let Refusal::Full { actual, limit } = refusal { (*actual, *limit) } else { (0, 0) };
    pb::Refusal { kind: kind.into(), text: refusal.to_string(), space, actual, limit }
}

fn refusal(message: pb::Refusal) -> Refusal {
    use pb::refusal::Kind;
    let space = SpaceId(message.space);
    match message.kind() {
        Kind::Full => Refusal::Full { actual: message.actual, limit: message.limit },
        Kind::UnknownSpace => Refusal::UnknownSpace { space },
        Kind::SpaceExists => Refusal::SpaceExists { space },
        Kind::Invalid | Kind::Unspecified => Refusal::Invalid { text: message.text },
    }
}

fn space_message(space: SpaceSummary) -> pb::Space {
    pb::Space {
        space: space.space.0,
        name: space.name,
        creator: id_bytes(space.creator),
        created_version: space.created.as_u64(),
        rows: space.rows,
        bytes: space.bytes,
    }
}

fn space(message: pb::Space) -> Result<SpaceSummary, Error> {
    Ok(SpaceSummary {
        space: SpaceId(message.space),
        name: message.name,
        creator: id(&message.creator, "spaces.creator")?,
        created: Version::from_u64(message.created_version),
        rows: message.rows,
        bytes: message.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(space: u32, name: &'static [u8]) -> Key {
        Key { space: SpaceId(space), key: Bytes::from_static(name) }
    }

    fn row_of(value: &'static [u8]) -> Row {
        Row {
            version: Version::new(7, 3),
            writer: TransactionId([9; 16]),
            value: Bytes::from_static(value),
        }
    }

    #[test]
    fn requests_read_back() {
        let id = TransactionId([5; 16]);
        let transaction = Transaction {
            id,
            checks: vec![
                (key_of(1, b"a"), Expect::Absent),
                (key_of(1, b"b"), Expect::Present),
                (key_of(2, b"c"), Expect::Version(Version::new(4, 1))),
                (key_of(2, b"d"), Expect::Epoch { at_most: 8 }),
            ],
            puts: vec![(key_of(1, b"a"), Bytes::from_static(b"value"))],
            deletes: vec![key_of(2, b"d")],
        };
        let range = |end, descending| Request::Range {
            space: SpaceId(3),
            keys: KeyRange { start: Bytes::from_static(b"p"), end, descending },
            max_rows: 7,
        };
        let requests = [
            Request::Transact(transaction),
            Request::CreateSpace { id, name: "dynamodb/orders".into() },
            Request::DropSpace(SpaceId(4)),
            Request::Get(key_of(1, b"a")),
            range(None, true),
            range(Some(Bytes::from_static(b"pq")), false),
            Request::ListSpaces,
        ];
        for request in requests {
            let message = table_request_message(6, &request);
            assert_eq!(message.group, 6);
            assert_eq!(table_request(message), Ok(request));
        }
    }

    #[test]
    fn responses_read_back() {
        let version = Version::new(12, 0);
        let summary = SpaceSummary {
            space: SpaceId(1),
            name: "rows".into(),
            creator: TransactionId([1; 16]),
            created: version,
            rows: 3,
            bytes: 700,
        };
        let responses = [
            Response::Outcome(Outcome::Done { version }),
            Response::Outcome(Outcome::Failed { check: 2, found: Some(row_of(b"x")) }),
            Response::Outcome(Outcome::Failed { check: 0, found: None }),
            Response::Outcome(Outcome::Created { space: SpaceId(8), version }),
            Response::Outcome(Refusal::Full { actual: 70, limit: 64 }.into()),
            Response::Outcome(Refusal::UnknownSpace { space: SpaceId(2) }.into()),
            Response::Outcome(Refusal::SpaceExists { space: SpaceId(2) }.into()),
            Response::Outcome(Refusal::Invalid { text: "too long".into() }.into()),
            Response::Row(Some(row_of(b"y")), version),
            Response::Row(None, version),
            Response::Page(RangePage {
                rows: vec![(Bytes::from_static(b"k"), row_of(b"z"))],
                more: true,
                version,
            }),
            Response::Spaces(vec![summary], version),
        ];
        for response in responses {
            assert_eq!(table_response(table_response_message(response.clone())), Ok(response));
        }
        let long = Response::Outcome(Refusal::EmptyName.into());
        let text = Refusal::EmptyName.to_string();
        let told = Response::Outcome(Refusal::Invalid { text }.into());
        assert_eq!(table_response(table_response_message(long)), Ok(told));
    }

    #[test]
    fn a_wrong_message_is_refused_by_the_name_of_its_field() {
        let mut message = table_request_message(1, &Request::ListSpaces);
        message.request = None;
        assert_eq!(table_request(message), Err(Error::Missing("request")));
        let create = pb::CreateSpaceRequest { id: Bytes::from_static(b"short"), name: "a".into() };
        let request = Some(pb::call_request::Request::CreateSpace(create));
        let wrong = table_request(pb::CallRequest { group: 1, request }).unwrap_err();
        assert_eq!(wrong.to_string(), "create_space.id: must have 16 bytes");
    }
}
