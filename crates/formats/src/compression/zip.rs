//! A ZIP archive with one compressed entry, written without a look back.
//!
//! ```text
//! local header (sizes 0) | name | deflated data | data descriptor | central header | name | end record
//! ```
//!
//! The sizes are behind the data, in the data descriptor, because the beginning is in the spool before the end is
//! known. Java's `ZipOutputStream` writes the same form. The date of the entry is fixed: 1980-01-01, the first one
//! that the format has.
//!
//! Source: `APPNOTE.TXT` of PKWARE, sections 4.3.7 to 4.3.16.

use std::io::Write;

use flate2::Crc;
use flate2::write::DeflateEncoder;

/// Level of gzip and ZIP: nearly the size of level 6, in two thirds of its time.
pub(super) const LEVEL: flate2::Compression = flate2::Compression::new(3);

const LOCAL_HEADER: u32 = 0x0403_4b50;
const DATA_DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END_RECORD: u32 = 0x0605_4b50;

/// Version of the format that a reader needs: 2.0, for deflate.
const VERSION: u16 = 20;
/// Bit 3: sizes are in a data descriptor. Bit 11: the name is UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
const DEFLATED: u16 = 8;
const MIDNIGHT: u16 = 0;
/// 1980-01-01: years since 1980 in the upper 7 bits, month in 4 bits, day in 5 bits.
const FIRST_DAY: u16 = 1 << 5 | 1;

pub(super) struct ZipEncoder {
    name: Vec<u8>,
    crc: Crc,
    input_bytes: u64,
    deflate: DeflateEncoder<Vec<u8>>,
}

impl ZipEncoder {
    pub(super) fn new(name: &str) -> Self {
        let name = name.as_bytes().to_vec();
        let mut output = Vec::new();
        put32(&mut output, LOCAL_HEADER);
        put_common(&mut output, [0, 0, 0], &name);
        output.extend_from_slice(&name);
        let deflate = DeflateEncoder::new(output, LEVEL);
        Self { name, crc: Crc::new(), input_bytes: 0, deflate }
    }

    pub(super) fn write(&mut self, data: &[u8]) {
        self.crc.update(data);
        self.input_bytes += data.len() as u64;
        self.deflate.write_all(data).expect("a Vec takes every write");
    }

    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        self.deflate.get_mut()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.deflate.try_finish().expect("a Vec takes every write");
        let compressed = size(self.deflate.total_out());
        let numbers = [self.crc.sum(), compressed, size(self.input_bytes)];
        let mut output = self.deflate.finish().expect("a Vec takes every write");
        put32(&mut output, DATA_DESCRIPTOR);
        numbers.iter().for_each(|number| put32(&mut output, *number));

        let descriptor_bytes = 16;
        let central_at = 30 + name_length(&self.name) + compressed + descriptor_bytes;
        put32(&mut output, CENTRAL_HEADER);
        put16(&mut output, VERSION); // made by
        put_common(&mut output, numbers, &self.name);
        [0u16; 3].iter().for_each(|zero| put16(&mut output, *zero)); // comment, disk, attributes
        put32(&mut output, 0); // external attributes
        put32(&mut output, 0); // where the local header is
        output.extend_from_slice(&self.name);

        put32(&mut output, END_RECORD);
        put32(&mut output, 0); // numbers of disks
        put16(&mut output, 1); // entries on this disk
        put16(&mut output, 1); // entries
        put32(&mut output, 46 + name_length(&self.name));
        put32(&mut output, central_at);
        put16(&mut output, 0); // comment
        output
    }
}

/// The fields that the local header and the central header share. `numbers` are the CRC and both sizes.
fn put_common(output: &mut Vec<u8>, numbers: [u32; 3], name: &[u8]) {
    [VERSION, FLAGS, DEFLATED, MIDNIGHT, FIRST_DAY].iter().for_each(|field| put16(output, *field));
    numbers.iter().for_each(|number| put32(output, *number));
    put16(output, u16::try_from(name.len()).expect("the name is short"));
    put16(output, 0); // extra field
}

fn put16(output: &mut Vec<u8>, number: u16) {
    output.extend_from_slice(&number.to_le_bytes());
}

fn put32(output: &mut Vec<u8>, number: u32) {
    output.extend_from_slice(&number.to_le_bytes());
}

fn size(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("an object has less than 4 GiB")
}

fn name_length(name: &[u8]) -> u32 {
    u32::try_from(name.len()).expect("the name is short")
}
