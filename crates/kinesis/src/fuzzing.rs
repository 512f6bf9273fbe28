//! Entry points for `anabranch-fuzz`: tokens, and frames of event streams. Nothing else may use them.

use anabranch_aws::protocol::Protocol;
use anabranch_gateway::token::Token;

use crate::event_stream;
use crate::kinesis::Kinesis;
use crate::tokens::{ConsumersPage, ShardIterator, ShardsPage, StreamsPage};

/// Whether the text can be opened as a token of any kind.
pub fn opens(kinesis: &Kinesis, text: &str) -> bool {
    let (sealer, now) = (&kinesis.sealer, kinesis.clock.now());
    sealer.open::<ShardIterator>(text, now).is_ok()
        || sealer.open::<ShardsPage>(text, now).is_ok()
        || sealer.open::<StreamsPage>(text, now).is_ok()
        || sealer.open::<ConsumersPage>(text, now).is_ok()
}

/// Reads bytes as the plain text of each kind of token.
///
/// # Panics
/// If writing a token and reading it again gives another token.
pub fn read_token(bytes: &[u8]) {
    read_as::<ShardIterator>(bytes);
    read_as::<ShardsPage>(bytes);
    read_as::<StreamsPage>(bytes);
    read_as::<ConsumersPage>(bytes);
}

fn read_as<T: Token + PartialEq>(bytes: &[u8]) {
    let Some(token) = T::read(&mut &bytes[..]) else { return };
    let mut written = Vec::new();
    token.write(&mut written);
    assert!(T::read(&mut &written[..]).is_some_and(|again| again == token), "{written:x?}");
}

/// Makes a frame of an event stream.
pub fn event(cbor: bool, kind: &str, payload: &[u8]) -> Vec<u8> {
    event_stream::event(if cbor { Protocol::Cbor11 } else { Protocol::Json11 }, kind, payload)
}
