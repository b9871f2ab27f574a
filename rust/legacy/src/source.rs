//! Where the objects of a replica are read, and a reader that goes on where a connection broke.

use std::io::{self, Read};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The pauses before a broken read is taken up again, as Litestream has them; as many repetitions as there are pauses.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];

/// How files of Age begin.
const AGE: &[u8] = b"age-encryption.org/";

/// What the objects of a replica are read from. All calls block, and come from several threads at once.
pub trait Source: Sync {
    /// Opens an object from byte `offset` on.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn open(&self, key: &str, offset: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Whether the same may succeed when it is tried again after this error.
    fn is_transient(&self, error: &io::Error) -> bool {
        let _ = error;
        false
    }
}

impl<F: Fn(&str, u64) -> io::Result<Box<dyn Read + Send>> + Sync> Source for F {
    fn open(&self, key: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self(key, offset)
    }
}

/// One object, from its start to its end. It is opened with the first read.
pub(crate) struct ObjectReader<'a> {
    source: &'a dyn Source,
    key: String,
    /// Its size as it was listed, in bytes.
    size: u64,
    offset: u64,
    from: Option<Box<dyn Read + Send>>,
    pauses: slice::Iter<'static, Duration>,
    /// Counts the bytes that were read of all objects.
    count: &'a AtomicU64,
}

impl<'a> ObjectReader<'a> {
    pub(crate) fn new(source: &'a dyn Source, key: String, size: u64, count: &'a AtomicU64) -> Self {
        Self { source, key, size, offset: 0, from: None, pauses: PAUSES.iter(), count }
    }

    /// Litestream 0.3 could encrypt what it stored.
    fn check_start(&self, start: &[u8]) -> io::Result<()> {
        if self.offset == 0 && start.starts_with(AGE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is encrypted with Age: decrypt the replica first",
            ));
        }
        Ok(())
    }

    fn read_once(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let from = match &mut self.from {
            Some(from) => from,
            None => self.from.insert(self.source.open(&self.key, self.offset)?),
        };
        let count = from.read(buf)?;
        self.check_start(buf.get(..count).unwrap_or_default())?;
        self.offset += count as u64;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    /// Waits for the next attempt, if there is one.
    fn pause(&mut self) -> bool {
        self.from = None;
        self.pauses.next().inspect(|pause| thread::sleep(**pause)).is_some()
    }

    fn short(&self) -> io::Error {
        let what = format!("it ends after {} of {} bytes", self.offset, self.size);
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

impl Read for ObjectReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_once(buf) {
                Ok(0) if !buf.is_empty() && self.offset < self.size => {
                    if !self.pause() {
                        return Err(self.short());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.source.is_transient(&error) && self.pause() => {}
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gives so many bytes each time it is opened, and then fails or ends.
    struct Flaky {
        bytes: Vec<u8>,
        each: usize,
        fails: bool,
        opened: Mutex<Vec<u64>>,
    }

    struct Part(io::Cursor<Vec<u8>>, bool);

    impl Read for Part {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 if self.1 => Err(io::ErrorKind::ConnectionReset.into()),
                count => Ok(count),
            }
        }
    }

    impl Source for Flaky {
        fn open(&self, _: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
            self.opened.lock().unwrap().push(offset);
            let at = usize::try_from(offset).unwrap();
            let end = self.bytes.len().min(at + self.each);
            let is_last = end == self.bytes.len();
            Ok(Box::new(Part(io::Cursor::new(self.bytes[at..end].to_vec()), self.fails && !is_last)))
        }

        fn is_transient(&self, error: &io::Error) -> bool {
            error.kind() == io::ErrorKind::ConnectionReset
        }
    }

    fn read(each: usize, fails: bool) -> (io::Result<Vec<u8>>, Vec<u64>, u64) {
        let source = Flaky { bytes: (0..100).collect(), each, fails, opened: Mutex::default() };
        let count = AtomicU64::new(0);
        let mut bytes = Vec::new();
        let mut reader = ObjectReader::new(&source, "key".into(), 100, &count);
        let read = reader.read_to_end(&mut bytes).map(|_| bytes);
        (read, source.opened.into_inner().unwrap(), count.into_inner())
    }

    #[test]
    fn a_reader_goes_on_where_the_connection_broke() {
        for fails in [true, false] {
            let (read, opened, count) = read(40, fails);
            assert_eq!(read.unwrap(), (0..100).collect::<Vec<u8>>());
            assert_eq!((opened, count), (vec![0, 40, 80], 100));
        }
    }

    #[test]
    fn an_encrypted_object_is_told_from_a_damaged_one() {
        let open = |_: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(io::Cursor::new(b"age-encryption.org/v1\n-> X25519 ".to_vec())))
        };
        let count = AtomicU64::new(0);
        let mut reader = ObjectReader::new(&open, "key".into(), 32, &count);
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("encrypted with Age"), "{error}");
    }

    #[test]
    fn a_reader_gives_up_after_three_more_attempts() {
        let (read_10, opened, _) = read(10, true);
        assert_eq!(read_10.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(opened, [0, 10, 20, 30]);
        let (short, _, _) = read(10, false);
        assert_eq!(short.unwrap_err().to_string(), "it ends after 40 of 100 bytes");
    }
}
