//! Objects byte for byte, and what readers get from them.
//!
//! Other programs read the golden bytes once: gzip and ZIP by Python's `gzip` and `zipfile` and Java's
//! `ZipInputStream`, the xerial stream by `kafka-python`, the Hadoop stream by `python-snappy`.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ENTRY: &str = "01234567-89ab-8def-8123-456789abcdef";
const RECORDS: &[u8] = b"{\"ticker\":\"AMZN\",\"price\":1}\n{\"ticker\":\"AMZN\",\"price\":2}\n";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The records in an object, by readers of our own for the containers.
fn read(compression: Compression, object: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    match compression {
        Compression::None => records.extend_from_slice(object),
        Compression::Gzip => {
            MultiGzDecoder::new(object).read_to_end(&mut records).unwrap();
        }
        Compression::Zip => {
            let data = object.split_at(30 + ENTRY.len()).1;
            DeflateDecoder::new(data).read_to_end(&mut records).unwrap();
        }
        Compression::Snappy => read_xerial(object, &mut records),
        Compression::HadoopSnappy => read_hadoop(object, &mut records),
    }
    records
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(length);
    *bytes = tail;
    head
}

fn take_number(bytes: &mut &[u8]) -> usize {
    u32::from_be_bytes(take(bytes, 4).try_into().unwrap()) as usize
}

fn read_xerial(mut object: &[u8], records: &mut Vec<u8>) {
    let magic = b"\x82SNAPPY\0";
    assert!(object.starts_with(magic));
    while !object.is_empty() {
        if object.starts_with(magic) {
            take(&mut object, 8);
            assert_eq!([take_number(&mut object), take_number(&mut object)], [1, 1]);
            continue;
        }
        let length = take_number(&mut object);
        let block = take(&mut object, length);
        records.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
    }
}

fn read_hadoop(mut object: &[u8], records: &mut Vec<u8>) {
    while !object.is_empty() {
        let length = take_number(&mut object);
        let compressed = take_number(&mut object);
        let block = take(&mut object, compressed);
        let block = snap::raw::Decoder::new().decompress_vec(block).unwrap();
        assert_eq!(block.len(), length);
        records.extend(block);
    }
}

/// The records, deflated at level 3.
const DEFLATED: &str = "ab562ac94cce4e2d52b25272f48df253d2512a28ca4c4e55b232ace5aac6256754cb0500";
/// The records, as a block of raw Snappy.
const BLOCK: &str = "386c7b227469636b6572223a22414d5a4e222c227072696365223a317d0a621c0008327d0a";

#[test]
fn golden_objects() {
    let name = hex(ENTRY.as_bytes());
    let objects = [
        (Compression::None, hex(RECORDS)),
        (Compression::Gzip, format!("1f8b08000000000000ff{DEFLATED}16d3eb2338000000")),
        (
            Compression::Zip,
            [
                "504b03041400080808000000210000000000000000000000000024000000",
                &name,
                DEFLATED,
                "504b070816d3eb232400000038000000",
                "504b010214001400080808000000210016d3eb232400000038000000240000000000000000000000000000000000",
                &name,
                "504b0506000000000100010052000000760000000000",
            ]
            .concat(),
        ),
        (Compression::Snappy, format!("82534e4150505900000000010000000100000025{BLOCK}")),
        (Compression::HadoopSnappy, format!("0000003800000025{BLOCK}")),
    ];
    for (compression, expected) in objects {
        assert_eq!(hex(&compress(compression, ENTRY, RECORDS)), expected, "{compression}");
    }
}

#[test]
fn names_are_those_of_the_api() {
    let rows: Vec<_> = Compression::ALL
        .iter()
        .map(|kind| (kind.as_str(), kind.extension(), kind.content_encoding().unwrap_or("-")))
        .collect();
    assert_eq!(
        rows,
        [
            ("UNCOMPRESSED", "", "-"),
            ("GZIP", ".gz", "gzip"),
            ("ZIP", ".zip", "zip"),
            ("Snappy", ".snappy", "snappy-java"),
            ("HADOOP_SNAPPY", ".snappy", "hadoop-snappy"),
        ]
    );
    for kind in Compression::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    assert_eq!("SNAPPY".parse::<Compression>(), Err(()));
}

#[test]
fn objects_without_records_are_valid() {
    for compression in Compression::ALL {
        assert_eq!(read(compression, &compress(compression, ENTRY, b"")), b"", "{compression}");
    }
}

#[test]
fn an_encoder_holds_little_that_it_could_give() {
    for compression in Compression::ALL {
        let mut encoder = Encoder::new(compression, ENTRY);
        let mut taken = 0;
        let mut state = 1u32;
        for _ in 0..1024 {
            // Bytes that do not compress, so that the output is as long as the input.
            let record: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .take(1024)
            .collect();
            encoder.write(&record);
            taken += encoder.take_output().len();
            assert_eq!(encoder.ready_bytes(), 0);
        }
        assert!(taken >= (1 << 20) - 4 * BLOCK_BYTES, "{compression}: {taken}");
    }
}

#[test]
fn an_object_is_continued_by_another_encoder() {
    for compression in Compression::ALL.into_iter().filter(|kind| kind.can_be_continued()) {
        let mut object = compress(compression, ENTRY, b"one\n");
        object.extend(compress(compression, ENTRY, b"two\n"));
        assert_eq!(read(compression, &object), b"one\ntwo\n", "{compression}");
    }
}

proptest! {
    #[test]
    fn readers_get_the_records_however_they_arrive(
        pieces in vec(vec(0u8..4, 0..40_000), 0..6),
        take_after in 0usize..6,
        kind in 0usize..5,
    ) {
        let compression = Compression::ALL[kind];
        let mut encoder = Encoder::new(compression, ENTRY);
        let mut object = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            encoder.write(piece);
            if at == take_after {
                object.extend(encoder.take_output());
            }
        }
        object.extend(encoder.finish());
        let whole = pieces.concat();
        prop_assert_eq!(&object, &compress(compression, ENTRY, &whole));
        prop_assert_eq!(read(compression, &object), whole);
    }
}
