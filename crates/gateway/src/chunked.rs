//! A reader that pauses after a number of bytes, so that the task that uses it can yield.
//!
//! A decoder such as gzip may consume very many bytes without output and would not return before the end of the
//! input. [`Chunked`] stops it: after the allowed bytes it returns [`ErrorKind::WouldBlock`] until the caller allows
//! more. The end of the input needs no allowance.

use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes that are read in chunks, see the top of this file.
#[derive(Debug)]
pub(crate) struct Chunked<'a> {
    rest: &'a [u8],
    /// Number of bytes of `rest` that may be read now.
    left: usize,
}

impl<'a> Chunked<'a> {
    /// A reader of `bytes`. It returns nothing before [`Self::allow`].
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, left: 0 }
    }

    /// Allows to read `bytes` from now on. An unused allowance is replaced.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.left = bytes;
    }

    /// The bytes that were not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl BufRead for Chunked<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.rest[..self.left.min(self.rest.len())])
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
        self.left -= amount;
    }
}

impl Read for Chunked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_allowed_bytes_and_the_end_needs_no_allowance() {
        let (mut bytes, mut read) = (Chunked::new(b"abcde"), Vec::new());
        for (allowed, expected) in [(0, ""), (2, "ab"), (2, "abcd"), (2, "abcde")] {
            bytes.allow(allowed);
            let kind = bytes.read_to_end(&mut read).map_err(|error| error.kind());
            let is_over = bytes.rest().is_empty();
            assert_eq!(kind.err(), (!is_over).then_some(ErrorKind::WouldBlock));
            assert_eq!(read, expected.as_bytes());
        }
        assert_eq!(bytes.rest(), b"");
    }
}
