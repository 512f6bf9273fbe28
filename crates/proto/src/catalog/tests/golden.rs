//! The stored bytes of every command, of a whole catalog, and of every outcome stay as they are.
//!
//! The files of `golden/` hold one message per line: its name in `catalog.proto`, and its bytes in hex. If a test
//! fails, the difference is a change of the stored or sent format. The tests print the lines that they would have
//! expected, so a new command or outcome is appended to the samples and to the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::*;

const PROTO: &str = include_str!("../../../../../proto/anabranch/catalog/v1/catalog.proto");

/// The fields of the oneof with this name in `catalog.proto`: names by number.
fn fields(oneof: &str) -> BTreeMap<u32, &'static str> {
    let begin = format!("  oneof {oneof} {{\n");
    let (_, rest) = PROTO.split_once(&begin).unwrap();
    let (body, _) = rest.split_once("\n  }").unwrap();
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    let field = |line: &'static str| {
        let (left, number) = line.trim().trim_end_matches(';').split_once(" = ").unwrap();
        (number.parse().unwrap(), left.rsplit(' ').next().unwrap())
    };
    lines.map(field).collect()
}

/// The number of the first field of a message.
fn first_field(bytes: &[u8]) -> u32 {
    let (key, _) = prost::encoding::decode_key(&mut &bytes[..]).unwrap();
    key
}

fn line(name: &str, bytes: &[u8]) -> String {
    let mut line = format!("{name} ");
    bytes.iter().for_each(|byte| write!(line, "{byte:02x}").unwrap());
    line
}

fn bytes_of(line: &str) -> Bytes {
    let (_, digits) = line.split_once(' ').unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Checks that messages have the bytes of a golden file, and that the file has every field of the oneof.
fn check(golden: &str, oneof: &str, messages: &[Bytes]) {
    let names = fields(oneof);
    let lines: Vec<_> =
        messages.iter().map(|bytes| line(names[&first_field(bytes)], bytes)).collect();
    assert_eq!(lines, golden.lines().collect::<Vec<_>>(), "{}", lines.join("\n"));
    let seen: BTreeSet<_> = messages.iter().map(|bytes| first_field(bytes)).collect();
    assert_eq!(seen, names.keys().copied().collect(), "a field of {oneof} has no golden bytes");
}

const COMMANDS: &str = include_str!("golden/commands.txt");
const OUTCOMES: &str = include_str!("golden/outcomes.txt");
const CATALOG: &str = include_str!("golden/catalog.txt");

#[test]
fn every_command_has_the_bytes_that_were_released() {
    let commands = commands();
    let encoded: Vec<_> = commands.iter().map(encode_command).collect();
    check(COMMANDS, "command", &encoded);
    let decoded: Vec<_> =
        COMMANDS.lines().map(|line| decode_command(bytes_of(line)).unwrap()).collect();
    assert_eq!(decoded, commands);
}

#[test]
fn every_outcome_has_the_bytes_that_were_released() {
    let outcomes = outcomes();
    let encoded: Vec<_> = outcomes.iter().map(encode_outcome).collect();
    check(OUTCOMES, "outcome", &encoded);
    let decoded: Vec<_> =
        OUTCOMES.lines().map(|line| decode_outcome(bytes_of(line)).unwrap()).collect();
    assert_eq!(decoded, outcomes);
}

#[test]
fn a_catalog_has_the_bytes_that_were_released() {
    let catalog = catalog();
    let lines = [
        line("with_users", &encode_catalog(&catalog)),
        line("without_users", &encode_catalog_without_users(&catalog)),
    ];
    assert_eq!(lines[..], CATALOG.lines().collect::<Vec<_>>(), "{}", lines.join("\n"));
    assert_eq!(decode_catalog(bytes_of(&lines[0])), Ok(catalog));
}
