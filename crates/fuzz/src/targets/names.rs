//! Names, numbers and times as text. A parsed value must parse from its own text to the same value.

use std::fmt::Display;
use std::str::FromStr;

use anabranch_types::{
    AccountId, ConsumerArn, ConsumerName, HashKey, Region, SequenceNumber, ShardId, StreamArn,
    StreamName, dates, partition_key_hash,
};

pub(super) fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads_as_it_is_written::<AccountId>(text);
    reads_as_it_is_written::<ConsumerName>(text);
    reads_as_it_is_written::<HashKey>(text);
    reads_as_it_is_written::<Region>(text);
    reads_as_it_is_written::<SequenceNumber>(text);
    reads_as_it_is_written::<ShardId>(text);
    reads_as_it_is_written::<StreamArn>(text);
    reads_as_it_is_written::<ConsumerArn>(text);
    reads_as_it_is_written::<StreamName>(text);
    if let Ok(number) = text.parse::<SequenceNumber>() {
        assert_eq!(SequenceNumber::new(number.parts()), number);
    }
    let _any = partition_key_hash(text);
    if let Some(moment) = dates::parse_iso_8601(text) {
        drop(dates::service_text(moment));
        assert_eq!(dates::parse_iso_8601(&dates::iso_8601(moment)), Some(moment));
    }
}

fn reads_as_it_is_written<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{value}");
    }
}
