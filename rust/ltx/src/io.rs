//! Positional input and output, so that this crate never opens a file and tests can be the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Something that can be read at any offset, by several threads at once.
pub trait ReadAt {
    /// Reads up to `buf.len()` bytes at `offset` (bytes); 0 only at or beyond the end.
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is not one byte.
    ///
    /// # Errors
    /// As [`ReadAt::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset` (bytes).
    ///
    /// # Errors
    /// `UnexpectedEof` when the end comes first; whatever the medium reports otherwise.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = buf.get_mut(n..).ok_or(io::ErrorKind::InvalidData)?;
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Something that can be written at any offset, by several threads at once.
pub trait WriteAt {
    /// Writes all of `buf` at `offset` (bytes), growing the medium if need be.
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or grows (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl WriteAt for File {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}

impl WriteAt for Mutex<Vec<u8>> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let mut bytes = self.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = bytes.len().max(end);
        bytes.resize(grown, 0);
        bytes[start..end].copy_from_slice(buf);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.lock().unwrap_or_else(PoisonError::into_inner).resize(len, 0);
        Ok(())
    }
}

/// Everything that points to a medium is one.
macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
                (**self).read_at(buf, offset)
            }

            fn len(&self) -> io::Result<u64> {
                (**self).len()
            }

            fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_exact_at(buf, offset)
            }
        }

        impl<T: WriteAt + ?Sized> WriteAt for $pointer {
            fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
                (**self).write_all_at(buf, offset)
            }

            fn set_len(&self, len: u64) -> io::Result<()> {
                (**self).set_len(len)
            }
        }
    )*};
}

delegate!(&T, Arc<T>, Box<T>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_read_short_at_the_end_and_nothing_beyond() {
        let bytes = vec![1, 2, 3, 4];
        let mut buf = [0; 3];
        assert_eq!(ReadAt::read_at(&bytes, &mut buf, 2).unwrap(), 2);
        assert_eq!(buf, [3, 4, 0]);
        assert_eq!(ReadAt::read_at(&bytes, &mut buf, 4).unwrap(), 0);
        assert_eq!(ReadAt::read_at(&bytes, &mut buf, u64::MAX).unwrap(), 0);
        assert_eq!(ReadAt::len(&bytes).unwrap(), 4);
        assert!(!ReadAt::is_empty(&bytes).unwrap());
    }

    #[test]
    fn read_exact_reports_an_early_end() {
        let shared: Arc<Vec<u8>> = Arc::new((0..10).collect());
        let mut buf = [0; 4];
        shared.read_exact_at(&mut buf, 6).unwrap();
        assert_eq!(buf, [6, 7, 8, 9]);
        let error = shared.read_exact_at(&mut buf, 7).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn memory_can_be_written_beyond_its_end() {
        let memory = Mutex::new(vec![9]);
        WriteAt::write_all_at(&&memory, &[7, 8], 3).unwrap();
        assert_eq!(*memory.lock().unwrap(), [9, 0, 0, 7, 8]);
        WriteAt::set_len(&memory, 4).unwrap();
        assert_eq!(*memory.lock().unwrap(), [9, 0, 0, 7]);
    }

    /// Delivers one byte at a time and is interrupted before each.
    struct Stutter(Mutex<bool>);

    impl ReadAt for Stutter {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let mut interrupted = self.0.lock().unwrap();
            *interrupted = !*interrupted;
            if *interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            buf[0] = offset as u8;
            Ok(1)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }

    #[test]
    fn read_exact_continues_after_short_and_interrupted_reads() {
        let mut buf = [0; 5];
        Stutter(Mutex::new(false)).read_exact_at(&mut buf, 3).unwrap();
        assert_eq!(buf, [3, 4, 5, 6, 7]);
    }
}
