//! A record as a line of text or JSON.
//!
//! The producer of a record must not be able to change the format or the terminal, so control characters are escaped.

use std::fmt::Write;

use anabranch_client::StreamRecord;
use anabranch_types::{HashKey, SequenceNumber, ShardId, Timestamp, dates};
use base64_simd::STANDARD;
use serde_json::json;

/// The printed fields of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Shard of the record.
    pub shard: ShardId,
    /// Sequence number; the user records of one aggregated record share it.
    pub number: SequenceNumber,
    /// Position in an aggregated record; `None` for a record that was put alone.
    pub place: Option<u32>,
    /// Arrival time.
    pub arrival: Timestamp,
    /// Partition key.
    pub partition_key: &'a [u8],
    /// Explicit hash key of a user record in an aggregated record. For other records it is not stored.
    pub explicit_hash_key: Option<HashKey>,
    /// Data of the record.
    pub data: &'a [u8],
}

impl<'a> Line<'a> {
    pub(super) fn of(record: &'a StreamRecord) -> Self {
        Self {
            shard: record.shard,
            number: record.number,
            place: record.place,
            arrival: record.arrival,
            partition_key: &record.partition_key,
            explicit_hash_key: record.explicit_hash_key,
            data: &record.data,
        }
    }
}

impl Line<'_> {
    /// For people: arrival, shard, sequence number and position, partition key, and data, separated by tabs. Data
    /// that is not UTF-8 is printed in base64. Characters that would move the cursor or colour the screen are
    /// escaped.
    pub(super) fn text(&self) -> String {
        let mut line = String::new();
        let (arrival, shard, number) = (dates::iso_8601(self.arrival), self.shard, self.number);
        write!(line, "{arrival}\t{shard}\t{number}").expect("a string takes every write");
        if let Some(place) = self.place {
            write!(line, ".{place}").expect("a string takes every write");
        }
        line.push('\t');
        escape(&mut line, &String::from_utf8_lossy(self.partition_key));
        line.push('\t');
        match std::str::from_utf8(self.data) {
            Ok(text) => escape(&mut line, text),
            Err(_) => {
                line.push_str("base64:");
                line.push_str(&STANDARD.encode_to_string(self.data));
            }
        }
        line
    }

    /// For programs: one JSON object.
    pub(super) fn json(&self) -> String {
        json!({
            "shard": self.shard.to_string(),
            "sequence_number": self.number.to_string(),
            "sub_sequence_number": self.place,
            "arrival": dates::iso_8601(self.arrival),
            "partition_key": String::from_utf8_lossy(self.partition_key),
            "explicit_hash_key": self.explicit_hash_key.map(|key| key.to_string()),
            "data": STANDARD.encode_to_string(self.data),
        })
        .to_string()
    }
}

/// Appends `text` and escapes the characters that end a line or control a terminal.
fn escape(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(key: &'a str, data: &'a [u8], place: Option<u32>) -> Line<'a> {
        let arrival = Timestamp::from_millis(1_421_889_722_250);
        Line {
            shard: ShardId(3),
            number: SequenceNumber::shard_start(ShardId(3), arrival, arrival),
            place,
            arrival,
            partition_key: key.as_bytes(),
            explicit_hash_key: place.map(|place| HashKey(u128::from(place))),
            data,
        }
    }

    #[test]
    fn data_in_utf_8_is_printed_as_it_is_and_other_data_in_base64() {
        let number = line("", b"", None).number;
        let begin = format!("2015-01-22T01:22:02.250Z\tshardId-000000000003\t{number}");
        assert_eq!(line("k", "dätä".as_bytes(), None).text(), format!("{begin}\tk\tdätä"));
        assert_eq!(line("k", b"\xff\x00", Some(7)).text(), format!("{begin}.7\tk\tbase64:/wA="));
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = line("a\nb", b"\x1b[2J\r\tx\xc2\x9b", None).text();
        assert!(text.ends_with("\ta\\nb\t\\u{1b}[2J\\r\\tx\\u{9b}"), "{text}");
    }

    #[test]
    fn json_is_one_line_with_the_data_in_base64() {
        let text = line("a\nb", b"\xff\x00", Some(7)).json();
        assert!(!text.contains('\n'));
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["data"], "/wA=");
        assert_eq!(object["partition_key"], "a\nb");
        assert_eq!(object["sub_sequence_number"], 7);
        assert_eq!(object["explicit_hash_key"], "7");
        assert_eq!(object["arrival"], "2015-01-22T01:22:02.250Z");
        let alone: serde_json::Value = serde_json::from_str(&line("k", b"", None).json()).unwrap();
        assert_eq!(alone["sub_sequence_number"], serde_json::Value::Null);
    }
}
