//! A write buffer in which frames are made in place.

use std::io::Write;

use crate::error::{Error, Result};

/// Bytes gathered before they are written.
const BUFFER_LIMIT: usize = 64 << 10;

/// Buffered output that counts, and that stays failed once a write has failed.
#[derive(Debug)]
pub(crate) struct Output<W> {
    writer: W,
    buf: Vec<u8>,
    filled: usize,
    flushed: u64,
    failed: bool,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, buf: Vec::new(), filled: 0, flushed: 0, failed: false }
    }

    /// Number of bytes given so far.
    pub(crate) fn len(&self) -> u64 {
        self.flushed + self.filled as u64
    }

    /// Room for `len` bytes, to be filled and then given by [`Output::advance`].
    pub(crate) fn room(&mut self, len: usize) -> Result<&mut [u8]> {
        if self.filled + len > BUFFER_LIMIT {
            self.flush()?;
        }
        let end = self.filled + len;
        if end > self.buf.len() {
            self.buf.resize(end.max(BUFFER_LIMIT.min(self.buf.len() * 2)), 0);
        }
        Ok(&mut self.buf[self.filled..end])
    }

    /// Gives the first `len` bytes of the last [`Output::room`].
    pub(crate) fn advance(&mut self, len: usize) {
        self.filled = self.buf.len().min(self.filled + len);
    }

    /// Gives `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(BUFFER_LIMIT) {
            self.room(part.len())?.copy_from_slice(part);
            self.advance(part.len());
        }
        Ok(())
    }

    /// Writes what is left and returns the writer.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.flush()?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    /// Nobody knows how much of a failed write has arrived, so it is never repeated.
    fn flush(&mut self) -> Result<()> {
        if self.failed {
            return Err(Error::AfterFailure);
        }
        self.failed = true;
        self.writer.write_all(&self.buf[..self.filled])?;
        self.failed = false;
        self.flushed += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        let mut output = Output::new(Vec::new());
        let mut expected = Vec::new();
        for n in 0..300_u32 {
            let bytes = vec![n as u8; (n * 31 % 5000) as usize];
            output.write(&bytes).unwrap();
            expected.extend_from_slice(&bytes);
            let room = output.room(4000).unwrap();
            room.fill(1);
            output.advance(3);
            expected.extend_from_slice(&[1; 3]);
            assert_eq!(output.len(), expected.len() as u64);
        }
        output.write(&vec![8; BUFFER_LIMIT * 2 + 1]).unwrap();
        expected.resize(expected.len() + BUFFER_LIMIT * 2 + 1, 8);
        assert!(output.buf.len() <= BUFFER_LIMIT);
        assert!(output.finish().unwrap() == expected);
    }

    /// Fails its first write and would take all others.
    struct Hiccup(bool);

    impl Write for Hiccup {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                Ok(buf.len())
            } else {
                Err(std::io::Error::other("full"))
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_write_is_final() {
        let mut output = Output::new(Hiccup(false));
        assert!(matches!(output.write(&vec![0; BUFFER_LIMIT + 1]), Err(Error::Io(_))));
        assert!(matches!(output.write(&vec![0; BUFFER_LIMIT + 1]), Err(Error::AfterFailure)));
        assert!(matches!(output.finish(), Err(Error::AfterFailure)));
    }
}
