//! The payload of a record: it says which record it is, and shows any damage.
//!
//! ```text
//! magic 4 | process 8 | counter 8 | length 4 | key length 4 | partition key | filler | CRC32C 4
//! ```
//!
//! Numbers are big-endian. `length` is that of the whole payload. The filler is derived from the identity, so two
//! payloads of equal length share no long run of bytes. The checksum covers everything before it.

use crate::history::Uid;

const MAGIC: &[u8; 4] = b"CHA1";
const HEAD: usize = 28;
const CHECKSUM: usize = 4;

/// What is wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The payload is shorter or longer than it says, or too short for any payload.
    #[error("the payload has {actual} bytes")]
    Length {
        /// How many bytes there are.
        actual: usize,
    },
    /// The payload does not begin as payloads of the harness do.
    #[error("the payload is not from the harness")]
    Foreign,
    /// The checksum does not fit the bytes.
    #[error("the checksum of the payload is {stored:#010x}, but its bytes have {computed:#010x}")]
    Checksum {
        /// The checksum in the payload.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The checksum is right, but the content is not what the harness writes.
    #[error("the content of the payload is not what its identity implies")]
    Content,
}

/// Makes the payload of a record. It has `length` bytes, or as many as the identity and the key need.
pub fn payload(uid: Uid, pk: &str, length: usize) -> Vec<u8> {
    let length = length.max(HEAD + pk.len() + CHECKSUM);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&uid.process.to_be_bytes());
    bytes.extend_from_slice(&uid.counter.to_be_bytes());
    bytes.extend_from_slice(&word(length).to_be_bytes());
    bytes.extend_from_slice(&word(pk.len()).to_be_bytes());
    bytes.extend_from_slice(pk.as_bytes());
    let filler = length - CHECKSUM - bytes.len();
    bytes.extend(filler_of(uid).take(filler));
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

/// Reads a payload: the identity of the record and its partition key.
///
/// # Errors
/// The first damage that is found.
pub fn parse(bytes: &[u8]) -> Result<(Uid, &str), Damage> {
    let length = Damage::Length { actual: bytes.len() };
    let Some((body, stored)) = bytes.split_last_chunk::<CHECKSUM>() else { return Err(length) };
    if body.len() < HEAD {
        return Err(length);
    }
    if !body.starts_with(MAGIC) {
        return Err(Damage::Foreign);
    }
    let (stored, computed) = (u32::from_be_bytes(*stored), crc32c::crc32c(body));
    if number(body, 20, 4) != bytes.len() as u64 {
        return Err(length);
    }
    if stored != computed {
        return Err(Damage::Checksum { stored, computed });
    }
    let uid = Uid { process: number(body, 4, 8), counter: number(body, 12, 8) };
    let key = usize::try_from(number(body, 24, 4)).map_err(|_| Damage::Content)?;
    let (pk, filler) = body[HEAD..].split_at_checked(key).ok_or(Damage::Content)?;
    let pk = std::str::from_utf8(pk).map_err(|_| Damage::Content)?;
    let is_ours = filler_of(uid).take(filler.len()).eq(filler.iter().copied());
    if is_ours { Ok((uid, pk)) } else { Err(Damage::Content) }
}

fn word(length: usize) -> u32 {
    u32::try_from(length).expect("a payload is far below 4 GiB")
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Bytes that depend on the identity: SplitMix64, seeded by it.
fn filler_of(uid: Uid) -> impl Iterator<Item = u8> {
    let mut state = uid.process.rotate_left(32) ^ uid.counter;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_be_bytes()
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uids() -> impl Strategy<Value = Uid> {
        any::<(u64, u64)>().prop_map(|(process, counter)| Uid { process, counter })
    }

    #[test]
    fn bytes_of_another_program_are_foreign() {
        assert_eq!(parse(&[b'x'; 64]), Err(Damage::Foreign));
        assert_eq!(parse(b"short"), Err(Damage::Length { actual: 5 }));
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let bytes = payload(Uid { process: 1, counter: 2 }, "key", 40);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "434841310000000000000001000000000000000200000028000000036b6579b3703ad894e94a719e"
        );
    }

    proptest! {
        #[test]
        fn a_payload_is_read_back(uid in uids(), pk in ".{0,40}", length in 0_usize..2000) {
            let bytes = payload(uid, &pk, length);
            prop_assert_eq!(parse(&bytes), Ok((uid, &*pk)));
            prop_assert!(bytes.len() == length.max(HEAD + pk.len() + CHECKSUM));
        }

        #[test]
        fn each_flipped_bit_is_seen(uid in uids(), pk in "[a-z]{1,9}", length in 0_usize..200, bit: u32) {
            let mut bytes = payload(uid, &pk, length);
            let bit = bit as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(parse(&bytes).is_err());
        }

        #[test]
        fn each_truncation_is_seen(uid in uids(), pk in "[a-z]{1,9}", length in 40_usize..200, keep: u32) {
            let bytes = payload(uid, &pk, length);
            let keep = keep as usize % bytes.len();
            prop_assert!(parse(&bytes[..keep]).is_err());
        }
    }
}
