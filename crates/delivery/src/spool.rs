//! The bytes of an object until they are put: in memory, and from a certain size on in a file without a name.
//!
//! The file is sealed with a key that exists only in this process: records of an encrypted stream are in plain text
//! nowhere on the disk. A file that the process leaves behind is gone, because it has no name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;

/// Bytes that are kept in memory. They are written to the file in pieces of this size.
const PIECE: usize = 256 << 10;
const TAG: usize = 16;

/// Bytes of an object.
pub(crate) struct Spool {
    folder: Arc<Path>,
    memory: Vec<u8>,
    file: Option<SealedFile>,
    length: u64,
}

struct SealedFile {
    file: File,
    key: LessSafeKey,
    pieces: u64,
}

impl Spool {
    /// Nothing. A file is made in `folder`, which is made if it does not exist.
    pub(crate) fn new(folder: Arc<Path>) -> Self {
        Self { folder, memory: Vec::new(), file: None, length: 0 }
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// Of the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.memory.extend_from_slice(bytes);
        while self.memory.len() >= 2 * PIECE {
            let rest = self.memory.split_off(PIECE);
            let piece = std::mem::replace(&mut self.memory, rest);
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(SealedFile::create(&self.folder)?),
            };
            file.write(piece)?;
        }
        Ok(())
    }

    /// All bytes, in order.
    ///
    /// # Errors
    /// Of the file.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Bytes>> {
        let mut pieces = match &mut self.file {
            Some(file) => file.read()?,
            None => Vec::new(),
        };
        pieces.push(Bytes::copy_from_slice(&self.memory));
        Ok(pieces)
    }
}

impl SealedFile {
    fn create(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let secret: [u8; 32] = rand::random();
        let key = UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| io::Error::other("key"))?;
        Ok(Self { file: tempfile::tempfile_in(folder)?, key: LessSafeKey::new(key), pieces: 0 })
    }

    fn write(&mut self, mut piece: Vec<u8>) -> io::Result<()> {
        let sealed =
            self.key.seal_in_place_append_tag(nonce(self.pieces), Aad::empty(), &mut piece);
        sealed.map_err(|_| io::Error::other("the spool can't be sealed"))?;
        self.pieces += 1;
        self.file.write_all(&piece)
    }

    fn read(&mut self) -> io::Result<Vec<Bytes>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut pieces = Vec::new();
        for number in 0..self.pieces {
            let mut piece = vec![0; PIECE + TAG];
            self.file.read_exact(&mut piece)?;
            let opened = self.key.open_in_place(nonce(number), Aad::empty(), &mut piece);
            let length = opened.map_err(|_| io::Error::other("the spool is damaged"))?.len();
            piece.truncate(length);
            pieces.push(piece.into());
        }
        Ok(pieces)
    }
}

/// Each piece of a file has a nonce of its own; each file has a key of its own.
fn nonce(piece: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&piece.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back_in_order_and_are_not_readable_in_the_file() {
        let bytes: Vec<u8> = (0..251u8).cycle().take(3 * PIECE + 7).collect();
        let folder = tempfile::tempdir().unwrap();
        for piece in [1000, PIECE - 1, 3 * PIECE] {
            let mut spool = Spool::new(folder.path().join("spool").into());
            bytes.chunks(piece).for_each(|chunk| spool.write(chunk).unwrap());
            for _ in 0..2 {
                assert_eq!(spool.read().unwrap().concat(), bytes, "a retry reads the same");
            }
            let mut stored = Vec::new();
            let file = &mut spool.file.as_mut().unwrap().file;
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut stored).unwrap();
            assert!(!stored.windows(64).any(|window| window == &bytes[..64]));
        }
    }
}
