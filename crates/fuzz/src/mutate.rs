//! Mutations of inputs. All randomness comes from the caller's generator, so one seed always makes the same
//! mutations.
//!
//! A mutation applies one to eight changes to an input of the corpus: it flips a bit, replaces, inserts or removes
//! bytes, repeats a piece, inserts a piece of another input, or writes a number at an edge of a range.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

/// Largest size of an input.
const MAX_BYTES: usize = 64 * 1024;
/// Most changes of one input.
const MAX_CHANGES: u32 = 8;
/// Numbers at the edges of integer types.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// One of `inputs`, with some changes.
pub(crate) fn mutated(inputs: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = inputs.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=MAX_CHANGES) {
        change(&mut bytes, inputs, random);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut StdRng) {
    let at = place(bytes, random);
    match random.random_range(0..10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = random.random(),
        2 => insert(bytes, at, &[random.random()]),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(piece(bytes, random))),
        5 => {
            let again = bytes[piece(bytes, random)].to_vec();
            insert(bytes, at, &again);
        }
        6 => {
            let other = inputs.choose(random).map(Vec::as_slice).unwrap_or_default();
            insert(bytes, at, &other[piece(other, random)]);
        }
        7 => {
            let number = edge(random);
            let end = (at + number.len()).min(bytes.len());
            bytes.splice(at..end, number);
        }
        8 => insert(bytes, at, &edge(random)),
        _ => {
            let mut noise = vec![0; random.random_range(1..32)];
            random.fill_bytes(&mut noise);
            insert(bytes, at, &noise);
        }
    }
}

fn place(bytes: &[u8], random: &mut StdRng) -> usize {
    random.random_range(0..=bytes.len())
}

fn piece(bytes: &[u8], random: &mut StdRng) -> std::ops::Range<usize> {
    let (a, b) = (place(bytes, random), place(bytes, random));
    a.min(b)..a.max(b)
}

fn insert(bytes: &mut Vec<u8>, at: usize, more: &[u8]) {
    if bytes.len() + more.len() <= MAX_BYTES {
        bytes.splice(at..at, more.iter().copied());
    }
}

/// A number of [`EDGES`] in one of the forms that programs write: little endian, big endian, varint or decimal.
fn edge(random: &mut StdRng) -> Vec<u8> {
    let number = *EDGES.choose(random).expect("there are some");
    let width = *[1, 2, 4, 8].choose(random).expect("there are some");
    match random.random_range(0..4) {
        0 => number.to_le_bytes()[..width].to_vec(),
        1 => number.to_be_bytes()[8 - width..].to_vec(),
        2 => varint(number),
        _ => number.to_string().into_bytes(),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_mutations() {
        let inputs = vec![b"hello".to_vec(), vec![0; 100]];
        let run = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|_| mutated(&inputs, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn empty_and_largest_inputs_can_be_mutated() {
        let mut random = StdRng::seed_from_u64(3);
        for _ in 0..10_000 {
            assert!(mutated(&[], &mut random).len() <= MAX_BYTES);
            assert!(mutated(&[vec![7; MAX_BYTES]], &mut random).len() <= MAX_BYTES);
        }
    }
}
