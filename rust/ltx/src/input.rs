//! Where a decoder's bytes come from: a reader with a buffer, or memory that has them all.
//!
//! In both, whole frames are looked at in place.

use std::io::{ErrorKind, Read};

use crate::error::{Error, Result};
use sealed::Peek;

/// Buffer of a decoder that has the memory to itself.
pub(crate) const BUFFER_LIMIT: usize = 64 << 10;

/// Small files, which are most of them, need no more.
const FIRST_BUFFER: usize = 8 << 10;

/// Bytes of an LTX file for a [`Decoder`](crate::Decoder): [`Buffered`] or [`InMemory`].
pub trait Input: sealed::Peek {}

impl<T: sealed::Peek> Input for T {}

/// Keeps [`Input`] to the types of this crate, and its methods out of sight.
pub(crate) mod sealed {
    use crate::error::Result;

    /// Bytes that are looked at before they are taken.
    pub trait Peek {
        /// Offset in the file of the next byte.
        fn offset(&self) -> u64;

        /// The next `len` bytes, without taking them.
        fn peek(&mut self, len: usize) -> Result<&[u8]>;

        /// At least one and at most `max` of the next bytes, whatever is at hand.
        fn peek_some(&mut self, max: u64) -> Result<&[u8]>;

        /// Takes `len` bytes that were peeked.
        fn consume(&mut self, len: usize);

        /// The last `len` bytes taken; good until the next peek.
        fn taken(&self, len: usize) -> &[u8];

        /// Whether no byte is left.
        fn is_at_end(&mut self) -> Result<bool>;

        /// The next `N` bytes as an array, without taking them.
        fn peek_array<const N: usize>(&mut self) -> Result<[u8; N]> {
            Ok(crate::bytes::field(self.peek(N)?, 0))
        }
    }
}

/// A whole file in memory. Nothing is copied.
#[derive(Debug)]
pub struct InMemory<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> InMemory<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl Peek for InMemory<'_> {
    fn offset(&self) -> u64 {
        self.start as u64
    }

    fn peek(&mut self, len: usize) -> Result<&[u8]> {
        // Spelt out, since the error would otherwise be built, and dropped, for every page.
        match self.rest().get(..len) {
            Some(bytes) => Ok(bytes),
            None => Err(Error::Truncated { offset: self.bytes.len() as u64 }),
        }
    }

    fn peek_some(&mut self, max: u64) -> Result<&[u8]> {
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(self.rest().len());
        self.peek(len.max(1))
    }

    fn consume(&mut self, len: usize) {
        self.start += len.min(self.rest().len());
    }

    fn taken(&self, len: usize) -> &[u8] {
        &self.bytes[self.start.saturating_sub(len)..self.start]
    }

    fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.rest().is_empty())
    }
}

/// A reader, and a buffer that knows its position.
#[derive(Debug)]
pub struct Buffered<R> {
    reader: R,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of the first byte of `buf`.
    base: u64,
    limit: usize,
}

impl<R: Read> Buffered<R> {
    /// Buffers up to `limit` bytes, or as many as one look needs.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        let buf = vec![0; limit.min(FIRST_BUFFER)];
        Self { reader, buf, start: 0, end: 0, base: 0, limit }
    }

    /// Reads once, after making room for `len` bytes from `start`; how many bytes came, 0 at the end.
    fn refill(&mut self, len: usize) -> Result<usize> {
        self.make_room(len);
        loop {
            match self.reader.read(&mut self.buf[self.end..]) {
                Ok(n) => {
                    // A reader that claims more than it was given room for must not lead out of the buffer.
                    self.end = self.buf.len().min(self.end.saturating_add(n));
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn make_room(&mut self, len: usize) {
        let filled = self.end == self.buf.len();
        if self.start + len > self.buf.len() || filled {
            self.buf.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
        }
        // The buffer grows only once a file has proved to be larger than it.
        let wanted = if filled { self.limit.min(self.buf.len() * 4) } else { 0 };
        let room = wanted.max(len);
        if room > self.buf.len() {
            self.buf.resize(room, 0);
        }
    }
}

impl<R: Read> Peek for Buffered<R> {
    fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    fn peek(&mut self, len: usize) -> Result<&[u8]> {
        while self.end - self.start < len {
            if self.refill(len)? == 0 {
                return Err(Error::Truncated { offset: self.base + self.end as u64 });
            }
        }
        Ok(&self.buf[self.start..self.start + len])
    }

    fn peek_some(&mut self, max: u64) -> Result<&[u8]> {
        self.peek(1)?;
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(self.end - self.start);
        Ok(&self.buf[self.start..self.start + len])
    }

    fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    fn taken(&self, len: usize) -> &[u8] {
        &self.buf[self.start.saturating_sub(len)..self.start]
    }

    fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.start == self.end && self.refill(1)? == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its bytes a few at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(buf.len());
            self.0.read(&mut buf[..n])
        }
    }

    #[test]
    fn frames_of_any_size_come_whole_and_in_order() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for step in [1, 7, 1000, usize::MAX] {
            let mut input = Buffered::new(Drip(&bytes, step), 64);
            let (mut at, mut len) = (0, 1);
            while at + len <= bytes.len() {
                assert_eq!(input.offset(), at as u64);
                assert_eq!(input.peek(len).unwrap(), &bytes[at..at + len]);
                input.consume(len);
                assert_eq!(input.taken(len), &bytes[at..at + len]);
                at += len;
                len = len * 3 % 1009;
            }
            assert!(matches!(input.peek(len), Err(Error::Truncated { offset: 100_000 })));
        }
    }

    #[test]
    fn the_end_is_found() {
        let mut input = Buffered::new(&[1, 2, 3][..], 16);
        assert!(!input.is_at_end().unwrap());
        assert_eq!(input.peek_some(2).unwrap(), [1, 2]);
        assert_eq!(input.peek_some(u64::MAX).unwrap(), [1, 2, 3]);
        input.consume(3);
        assert!(input.is_at_end().unwrap());
        assert!(input.peek_some(1).is_err());
    }

    #[test]
    fn the_buffer_grows_with_the_file_and_no_further() {
        let bytes = vec![0; 1 << 20];
        let mut input = Buffered::new(bytes.as_slice(), BUFFER_LIMIT);
        assert_eq!(input.buf.len(), FIRST_BUFFER);
        while !input.is_at_end().unwrap() {
            let n = input.peek_some(u64::MAX).unwrap().len();
            input.consume(n);
        }
        assert_eq!(input.buf.len(), BUFFER_LIMIT);
    }
}
