//! Reading of stored bytes, field by field. Used by commands and by checkpoints.
//!
//! Numbers are little endian. A blob is its length (4 bytes) and its bytes. Nothing here panics, and nothing allocates
//! more than the bytes that are there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length before a blob, and of a count.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A field is missing, is cut short, or has a length that goes beyond the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) &'static str);

/// Bytes that are not read yet.
pub(crate) struct Fields(pub(crate) Bytes);

impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Short> {
        self.0.try_get_u8().map_err(|_| Short(field))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Short> {
        self.0.try_get_u32_le().map_err(|_| Short(field))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Short> {
        self.0.try_get_u64_le().map_err(|_| Short(field))
    }

    pub(crate) fn id(&mut self, field: &'static str) -> Result<[u8; 16], Short> {
        let mut id = [0; 16];
        self.0.try_copy_to_slice(&mut id).map_err(|_| Short(field))?;
        Ok(id)
    }

    /// A blob, as a slice of the bytes.
    pub(crate) fn blob(&mut self, field: &'static str) -> Result<Bytes, Short> {
        let length = self.u32(field)? as usize;
        if length > self.0.len() {
            return Err(Short(field));
        }
        Ok(self.0.split_to(length))
    }

    /// A number of items that follow, each of at least `least_bytes`. Refuses a number that the bytes have no room for,
    /// so the caller may allocate that many items.
    pub(crate) fn count(
        &mut self,
        field: &'static str,
        least_bytes: usize,
    ) -> Result<usize, Short> {
        let count = self.u32(field)? as usize;
        let fits = count.checked_mul(least_bytes).is_some_and(|bytes| bytes <= self.0.len());
        if fits { Ok(count) } else { Err(Short(field)) }
    }
}

/// Writes a length or a count. Every length within the limits of this crate fits.
pub(crate) fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Writes a blob.
pub(crate) fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    put_length(out, blob.len());
    out.put_slice(blob);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        let fields = |bytes: &'static [u8]| Fields(Bytes::from_static(bytes));
        assert_eq!(fields(b"\x02\0\0\0ab").blob("x"), Ok(Bytes::from_static(b"ab")));
        assert_eq!(fields(b"\x03\0\0\0ab").blob("x"), Err(Short("x")));
        assert_eq!(fields(b"\xff\xff\xff\xffab").blob("x"), Err(Short("x")));
        assert_eq!(fields(b"\x02\0\0\0abcd").count("x", 2), Ok(2));
        assert_eq!(fields(b"\x03\0\0\0abcd").count("x", 2), Err(Short("x")));
        assert_eq!(fields(b"\xff\xff\xff\xffabcd").count("x", 28), Err(Short("x")));
    }
}
