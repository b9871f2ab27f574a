//! Reading a file in blocks and lending slices of them.

use std::io::ErrorKind;

use ltx::ReadAt;

use crate::error::{Error, Result};

/// The most bytes that one read asks for, unless a single frame is longer.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// A piece of a file held in memory.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buf: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window {
    /// Lends the `need` bytes at `offset`, or fewer when the file ends before. If they are not in the window
    /// already, up to `want` bytes are read from `offset` on.
    pub(crate) fn get<R: ReadAt + ?Sized>(
        &mut self,
        io: &R,
        offset: u64,
        need: usize,
        want: usize,
    ) -> Result<&[u8]> {
        if self.position(offset, need).is_none() {
            self.fill(io, offset, need, want.max(need))?;
        }
        Ok(self.lend(offset, need))
    }

    /// Lends what the window holds of the `len` bytes at `offset`.
    pub(crate) fn lend(&self, offset: u64, len: usize) -> &[u8] {
        let held = self.buf.get(..self.len).unwrap_or_default();
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| held.get(from..)).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    /// Forgets the bytes, so that the next call reads the file again.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    fn position(&self, offset: u64, need: usize) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (from.checked_add(need)? <= self.len).then_some(from)
    }

    fn fill<R: ReadAt + ?Sized>(&mut self, io: &R, offset: u64, need: usize, want: usize) -> Result<()> {
        self.len = 0;
        self.start = offset;
        if self.buf.len() < want {
            // A fresh allocation comes zeroed from the system; growing in place would copy and clear old bytes.
            self.buf = vec![0; want];
        }
        let buf = self.buf.get_mut(..want).unwrap_or_default();
        self.len = read_at_least(io, buf, offset, need)?;
        Ok(())
    }
}

/// Reads into `buf` until at least `need` bytes are there or the file ends; the count of bytes read.
fn read_at_least<R: ReadAt + ?Sized>(io: &R, buf: &mut [u8], offset: u64, need: usize) -> Result<usize> {
    let mut len = 0;
    while len < need {
        let Some(rest) = buf.get_mut(len..) else { break };
        let at = offset.saturating_add(len as u64);
        match io.read_at(rest, at) {
            Ok(0) => break,
            Ok(n) => len += n.min(rest.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Io { offset: at, source }),
        }
    }
    Ok(len)
}

/// Fills `buf` from `offset` as far as the file goes; the count of bytes read.
pub(crate) fn read_up_to<R: ReadAt + ?Sized>(io: &R, buf: &mut [u8], offset: u64) -> Result<usize> {
    let need = buf.len();
    read_at_least(io, buf, offset, need)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Gives at most three bytes a read and fails with `Interrupted` every other time.
    struct Drip(Vec<u8>, AtomicUsize);

    impl ReadAt for Drip {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            let take = buf.len().min(3);
            self.0.as_slice().read_at(&mut buf[..take], offset)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }

    #[test]
    fn drips_add_up() {
        let io = Drip((0..20).collect(), AtomicUsize::new(0));
        let mut window = Window::default();
        assert_eq!(window.get(&io, 5, 8, 16).unwrap(), &[5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(window.get(&io, 18, 8, 8).unwrap(), &[18, 19]);
        assert_eq!(window.get(&io, 30, 8, 8).unwrap(), &[] as &[u8]);
    }

    #[test]
    fn what_was_read_ahead_is_not_read_again() {
        let mut file: Vec<u8> = (0..32).collect();
        let mut window = Window::default();
        window.get(&file, 0, 4, 16).unwrap();
        file.fill(0xff);
        assert_eq!(window.get(&file, 12, 4, 16).unwrap(), &[12, 13, 14, 15]);
        assert_eq!(window.get(&file, 13, 4, 16).unwrap(), &[0xff; 4]);
        window.clear();
        assert_eq!(window.get(&file, 14, 2, 2).unwrap(), &[0xff; 2]);
    }

    #[test]
    fn an_offset_before_the_window_is_read() {
        let file: Vec<u8> = (0..32).collect();
        let mut window = Window::default();
        window.get(&file, 20, 4, 4).unwrap();
        assert_eq!(window.get(&file, 2, 3, 3).unwrap(), &[2, 3, 4]);
    }
}
