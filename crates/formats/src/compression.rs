//! Compression of an object, record by record, with bounded memory.
//!
//! An [`Encoder`] gathers 64 KiB before it compresses, because single records cost several times the CPU. The caller
//! takes the output away from time to time ([`Encoder::take_output`]) and puts it into a spool.
//!
//! The output is a function of the input: no time of day, no host name, no level that changes with the load. It does
//! not depend on the pieces in which the input arrives.
//!
//! Sources: `CompressionFormat` in the service model has the names. Formats and encodings were seen in buckets.

mod snappy;
#[cfg(test)]
mod tests;
mod zip;

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use flate2::GzBuilder;
use flate2::write::GzEncoder;

use crate::compression::snappy::{Framing, SnappyEncoder};
use crate::compression::zip::{LEVEL, ZipEncoder};

/// Bytes that are gathered before they are compressed, and the size of a Snappy block.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// How an object is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// An archive with one entry.
    Zip,
    /// The stream of snappy-java ("xerial"): blocks of raw Snappy. It is not the framing format of Snappy.
    Snappy,
    /// The block stream of Hadoop's `SnappyCodec`.
    HadoopSnappy,
}

impl Compression {
    /// All compressions, in the order of the service model.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Gzip, Self::Zip, Self::Snappy, Self::HadoopSnappy];

    /// The value of `CompressionFormat` in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "UNCOMPRESSED",
            Self::Gzip => "GZIP",
            Self::Zip => "ZIP",
            Self::Snappy => "Snappy",
            Self::HadoopSnappy => "HADOOP_SNAPPY",
        }
    }

    /// Extension of the object's name, with its dot. A `FileExtension` in the configuration replaces it.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zip => ".zip",
            Self::Snappy | Self::HadoopSnappy => ".snappy",
        }
    }

    /// The object's `Content-Encoding`.
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zip => Some("zip"),
            Self::Snappy => Some("snappy-java"),
            Self::HadoopSnappy => Some("hadoop-snappy"),
        }
    }

    /// Whether the outputs of several encoders, one behind the other, are one valid object. If so, a caller with too
    /// many open encoders can finish one and continue the object with another.
    pub const fn can_be_continued(self) -> bool {
        match self {
            Self::None | Self::Gzip | Self::Snappy | Self::HadoopSnappy => true,
            Self::Zip => false,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = ();

    /// Reads a value of `CompressionFormat`. Case matters, as in the API.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(())
    }
}

/// Encodes one object.
pub struct Encoder {
    /// Input that is not compressed yet, less than [`BLOCK_BYTES`].
    gathered: Vec<u8>,
    codec: Codec,
}

enum Codec {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zip(ZipEncoder),
    /// In a box because it is large.
    Snappy(Box<SnappyEncoder>),
}

impl Encoder {
    /// Begins an object. `entry_name` is the name of the entry in a ZIP archive, at most 65,535 bytes; the service
    /// uses a UUID. The other compressions ignore it.
    pub fn new(compression: Compression, entry_name: &str) -> Self {
        let codec = match compression {
            Compression::None => Codec::None(Vec::new()),
            Compression::Gzip => Codec::Gzip(GzBuilder::new().mtime(0).write(Vec::new(), LEVEL)),
            Compression::Zip => Codec::Zip(ZipEncoder::new(entry_name)),
            Compression::Snappy => Codec::Snappy(Box::new(SnappyEncoder::new(Framing::Xerial))),
            Compression::HadoopSnappy => {
                Codec::Snappy(Box::new(SnappyEncoder::new(Framing::Hadoop)))
            }
        };
        Self { gathered: Vec::new(), codec }
    }

    /// Adds data. An object of a ZIP archive holds less than 4 GiB; objects of a delivery stream have at most 128 MiB
    /// and one record.
    pub fn write(&mut self, mut data: &[u8]) {
        if let Codec::None(output) = &mut self.codec {
            output.extend_from_slice(data);
            return;
        }
        while self.gathered.len() + data.len() >= BLOCK_BYTES {
            // A block always has 64 KiB, so the output does not depend on the pieces of the input.
            let (head, tail) = data.split_at(BLOCK_BYTES - self.gathered.len());
            if self.gathered.is_empty() {
                self.codec.compress(head);
            } else {
                self.gathered.extend_from_slice(head);
                self.codec.compress(&self.gathered);
                self.gathered.clear();
            }
            data = tail;
        }
        self.gathered.extend_from_slice(data);
    }

    /// Takes the output that is ready, which may be nothing. Input that is gathered or inside of the compressor
    /// comes later.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(self.codec.output())
    }

    /// Output that [`Self::take_output`] would give now, in bytes.
    pub fn ready_bytes(&mut self) -> usize {
        self.codec.output().len()
    }

    /// Ends the object, and gives the output that was not taken yet.
    pub fn finish(mut self) -> Vec<u8> {
        if !self.gathered.is_empty() {
            self.codec.compress(&self.gathered);
        }
        match self.codec {
            Codec::None(output) => output,
            Codec::Gzip(encoder) => encoder.finish().expect("a Vec takes every write"),
            Codec::Zip(encoder) => encoder.finish(),
            Codec::Snappy(encoder) => encoder.finish(),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("gathered", &self.gathered.len()).finish_non_exhaustive()
    }
}

impl Codec {
    fn compress(&mut self, block: &[u8]) {
        match self {
            Self::None(output) => output.extend_from_slice(block),
            Self::Gzip(encoder) => encoder.write_all(block).expect("a Vec takes every write"),
            Self::Zip(encoder) => encoder.write(block),
            Self::Snappy(encoder) => encoder.write_block(block),
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::None(output) => output,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zip(encoder) => encoder.output(),
            Self::Snappy(encoder) => encoder.output(),
        }
    }
}

/// `data` as an object, in one call.
pub fn compress(compression: Compression, entry_name: &str, data: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, entry_name);
    encoder.write(data);
    encoder.finish()
}
