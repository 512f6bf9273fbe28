//! The format, against another implementation of protobuf, and messages that break it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The messages of the format, encoded by another implementation of protobuf.
#[derive(Clone, PartialEq, prost::Message)]
struct PbAggregate {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<PbRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PbRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<PbTag>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PbTag {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

type Told = (String, Option<u128>, Vec<u8>);

fn seal(message: &[u8]) -> Bytes {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(message);
    out.extend_from_slice(&Md5::digest(message));
    out.into()
}

fn message(records: &[Told]) -> PbAggregate {
    let mut aggregate = PbAggregate::default();
    for (key, hash, data) in records {
        let place = |table: &mut Vec<String>, text: String| {
            let at = table.iter().position(|known| *known == text).unwrap_or(table.len());
            if at == table.len() {
                table.push(text);
            }
            at as u64
        };
        aggregate.records.push(PbRecord {
            partition_key_index: place(&mut aggregate.partition_key_table, key.clone()),
            explicit_hash_key_index: hash
                .map(|hash| place(&mut aggregate.explicit_hash_key_table, hash.to_string())),
            data: data.clone(),
            tags: vec![PbTag { key: "tag".into(), value: None }],
        });
    }
    aggregate
}

fn aggregated(records: &[Told]) -> Bytes {
    seal(&prost::Message::encode_to_vec(&message(records)))
}

fn told(data: &Bytes) -> Option<Vec<Told>> {
    let aggregate = Aggregate::parse(data)?;
    let records = aggregate.records().map(|record| {
        let key = String::from_utf8(record.partition_key.to_vec()).unwrap();
        (key, record.explicit_hash_key.map(|key| key.0), record.data.to_vec())
    });
    Some(records.collect())
}

fn records() -> impl Strategy<Value = Vec<Told>> {
    vec(("\\PC{0,12}", proptest::option::of(any::<u128>()), vec(any::<u8>(), 0..50)), 1..20)
}

proptest! {
    #[test]
    fn an_aggregated_record_is_taken_apart_into_the_same_records(records in records()) {
        prop_assert_eq!(told(&aggregated(&records)), Some(records));
    }

    #[test]
    fn a_record_with_any_bit_changed_is_not_aggregated(
        records in records(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut data = aggregated(&records).to_vec();
        let at = at.index(data.len());
        data[at] ^= flip;
        prop_assert_eq!(told(&data.into()), None);
    }

    #[test]
    fn any_message_is_taken_apart_or_refused(message in vec(any::<u8>(), 0..200)) {
        let data = seal(&message);
        if let Some(aggregate) = Aggregate::parse(&data) {
            prop_assert_eq!(aggregate.records().count(), aggregate.record_count());
            prop_assert!(aggregate.records().all(|record| record.hash_key() <= HashKey(u128::MAX)));
        }
    }

    #[test]
    fn a_message_with_a_byte_changed_is_taken_apart_or_refused(
        records in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut message = prost::Message::encode_to_vec(&message(&records));
        let at = at.index(message.len());
        message[at] = byte;
        if let Some(aggregate) = Aggregate::parse(&seal(&message)) {
            prop_assert_eq!(aggregate.records().count(), aggregate.record_count());
        }
    }
}

#[test]
fn records_without_the_magic_bytes_or_shorter_than_a_digest_are_not_aggregated() {
    let whole = aggregated(&[("k".into(), None, b"data".to_vec())]);
    assert!(Aggregate::parse(&whole).is_some());
    for length in 0..whole.len() {
        assert!(Aggregate::parse(&whole.slice(..length)).is_none(), "{length}");
    }
    assert!(Aggregate::parse(&seal(b"")).is_none());
}

#[test]
fn a_record_with_a_wrong_index_or_a_missing_field_is_not_aggregated() {
    let good = message(&[("a".into(), Some(7), b"x".to_vec()), ("b".into(), None, b"y".to_vec())]);
    let with = |change: &dyn Fn(&mut PbAggregate)| {
        let mut changed = good.clone();
        change(&mut changed);
        told(&seal(&prost::Message::encode_to_vec(&changed)))
    };
    assert!(with(&|_| {}).is_some());
    assert_eq!(with(&|m| m.records[1].partition_key_index = 2), None);
    assert_eq!(with(&|m| m.records[0].explicit_hash_key_index = Some(1)), None);
    for bad in ["", "x", "-1", "340282366920938463463374607431768211456"] {
        assert_eq!(with(&|m| m.explicit_hash_key_table[0] = bad.into()), None, "{bad}");
    }
    // A record with a key and without data.
    assert_eq!(told(&seal(b"\x0a\x01k\x1a\x02\x08\x00")), None);
    assert_eq!(
        told(&seal(b"\x0a\x01k\x1a\x04\x08\x00\x1a\x00")),
        Some(vec![("k".into(), None, vec![])])
    );
}

#[test]
fn tables_may_come_after_the_records_that_use_them() {
    let late = seal(b"\x1a\x05\x08\x00\x1a\x01d\x0a\x01k");
    assert_eq!(told(&late), Some(vec![("k".into(), None, b"d".to_vec())]));
}

#[test]
fn the_hash_key_is_the_explicit_one_or_that_of_the_partition_key() {
    let data = aggregated(&[("k".into(), Some(7), vec![]), ("k".into(), None, vec![])]);
    let aggregate = Aggregate::parse(&data).unwrap();
    let keys: Vec<_> = aggregate.records().map(|record| record.hash_key()).collect();
    assert_eq!(keys, [HashKey(7), partition_key_hash("k")]);
}

#[test]
fn user_records_are_slices_of_the_aggregated_record() {
    let data = aggregated(&[("key".into(), None, b"data".to_vec())]);
    let aggregate = Aggregate::parse(&data).unwrap();
    let record = aggregate.records().next().unwrap();
    let inside = data.as_ptr_range();
    assert!(
        inside.contains(&record.data.as_ptr()) && inside.contains(&record.partition_key.as_ptr())
    );
}

#[test]
fn parts_keep_the_position_of_the_stored_record() {
    let data = aggregated(&[
        ("a".into(), Some(1), b"x".to_vec()),
        ("b".into(), Some(9), b"y".to_vec()),
        ("c".into(), Some(2), b"z".to_vec()),
    ]);
    let stored = crate::record::tests::record(data);
    let aggregate = Aggregate::parse(&stored.data).unwrap();
    let parts = |range| aggregate.parts(&stored, range).collect::<Vec<_>>();
    let of = |data: &'static [u8], key: &'static [u8], sub_sequence| Record {
        data: data.into(),
        partition_key: key.into(),
        sub_sequence,
        ..stored.clone()
    };
    assert_eq!(parts(None), [of(b"x", b"a", 0), of(b"y", b"b", 1), of(b"z", b"c", 2)]);
    let lower = HashKeyRange::new(HashKey(0), HashKey(5));
    assert_eq!(parts(lower), [of(b"x", b"a", 0), of(b"z", b"c", 2)]);
}
