//! Two framings of raw Snappy blocks. Numbers are big-endian, 4 bytes.
//!
//! ```text
//! xerial: 82 53 4E 41 50 50 59 00 | version 1 | compatible with 1 | (compressed length | block) ...
//! Hadoop: (length | compressed length | block) ...
//! ```
//!
//! Sources: `SnappyOutputStream` of snappy-java, `BlockCompressorStream` of Hadoop. Hadoop's decompressor has a
//! buffer of 256 KiB, so blocks of 64 KiB fit.

use snap::raw;

/// Begins each xerial stream. A reader accepts it again in the middle of a stream.
const XERIAL_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Xerial,
    Hadoop,
}

pub(super) struct SnappyEncoder {
    framing: Framing,
    encoder: raw::Encoder,
    output: Vec<u8>,
}

impl SnappyEncoder {
    pub(super) fn new(framing: Framing) -> Self {
        let output = match framing {
            Framing::Xerial => XERIAL_HEADER.to_vec(),
            Framing::Hadoop => Vec::new(),
        };
        Self { framing, encoder: raw::Encoder::new(), output }
    }

    /// Adds a block. It is not empty and has at most 64 KiB.
    pub(super) fn write_block(&mut self, block: &[u8]) {
        if self.framing == Framing::Hadoop {
            self.output.extend_from_slice(&length_of(block));
        }
        let length_at = self.output.len();
        let block_at = length_at + 4;
        self.output.resize(block_at + raw::max_compress_len(block.len()), 0);
        let compressed = self.encoder.compress(block, &mut self.output[block_at..]);
        let compressed = compressed.expect("the buffer has the largest length of a block");
        self.output.truncate(block_at + compressed);
        let length = length_of(&self.output[block_at..]);
        self.output[length_at..block_at].copy_from_slice(&length);
    }

    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.output
    }
}

fn length_of(block: &[u8]) -> [u8; 4] {
    u32::try_from(block.len()).expect("a block has at most 64 KiB").to_be_bytes()
}
