use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes that are read a ration at a time: when it is used up, whoever reads is told [`ErrorKind::WouldBlock`] until
/// there is another one.
///
/// What reads here may make nothing of very many bytes, and would not come back before it has seen them all.
#[derive(Debug)]
pub(crate) struct Chunked<'a> {
    rest: &'a [u8],
    /// Bytes of `rest` that may be read now.
    left: usize,
}

impl<'a> Chunked<'a> {
    /// Nothing of `bytes` may be read yet.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, left: 0 }
    }

    /// From now on `bytes` more may be read.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.left = bytes;
    }

    /// What has not been read.
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
    fn a_ration_is_all_that_is_read_and_the_end_needs_none() {
        let (mut bytes, mut read) = (Chunked::new(b"abcde"), Vec::new());
        for (ration, expected) in [(0, ""), (2, "ab"), (2, "abcd"), (2, "abcde")] {
            bytes.allow(ration);
            let kind = bytes.read_to_end(&mut read).map_err(|error| error.kind());
            let is_over = bytes.rest().is_empty();
            assert_eq!(kind.err(), (!is_over).then_some(ErrorKind::WouldBlock));
            assert_eq!(read, expected.as_bytes());
        }
        assert_eq!(bytes.rest(), b"");
    }
}
