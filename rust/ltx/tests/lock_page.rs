//! A database beyond 1 GiB, where the lock page is. It is made up as it is read, and dropped as it is
//! written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::io::{self, Write};
use std::sync::Mutex;

use common::header;
use ltx::{
    Decoder, Header, HeaderFlags, PENDING_BYTE, PageSize, ReadAt, WriteAt, apply, checksum_database,
    decode_database, encode_database, read_page_index,
};

const PAGE_SIZE: u32 = 65536;
const LOCK: u32 = PENDING_BYTE / PAGE_SIZE + 1;

/// Zeros, except that each of the pages around the lock page starts with its number.
struct Sparse {
    pages: u32,
}

impl Sparse {
    fn len(&self) -> u64 {
        u64::from(self.pages) * u64::from(PAGE_SIZE)
    }

    fn mark(offset: u64) -> u8 {
        let number = offset / u64::from(PAGE_SIZE) + 1;
        let near = number.abs_diff(u64::from(LOCK)) <= 2;
        if near && offset.is_multiple_of(u64::from(PAGE_SIZE)) {
            (number + 100 - u64::from(LOCK)) as u8
        } else {
            0
        }
    }

    /// The byte that a restored database has at the start of the page.
    fn restored_mark(offset: u64) -> u8 {
        if offset / u64::from(PAGE_SIZE) + 1 == u64::from(LOCK) { 0 } else { Self::mark(offset) }
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(buf.len() <= 1 << 20, "reads are bounded");
        buf.fill(0);
        for (at, page) in (offset..).step_by(PAGE_SIZE as usize).zip(buf.chunks_mut(PAGE_SIZE as usize)) {
            page[0] = Self::mark(at);
        }
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(Sparse::len(self))
    }
}

/// Checks what comes instead of keeping it.
struct Checker {
    offset: u64,
}

impl Checker {
    fn check(buf: &[u8], offset: u64) {
        let page_len = u64::from(PAGE_SIZE);
        let first = offset.next_multiple_of(page_len);
        for at in (first..offset + buf.len() as u64).step_by(PAGE_SIZE as usize) {
            assert_eq!(buf[(at - offset) as usize], Sparse::restored_mark(at), "page at {at}");
        }
    }
}

impl Write for Checker {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Self::check(buf, self.offset);
        self.offset += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Remembers the ranges written, merged, and the final length.
struct Ranges(Mutex<(Vec<(u64, u64)>, u64)>);

impl WriteAt for Ranges {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        Checker::check(buf, offset);
        let end = offset + buf.len() as u64;
        let mut state = self.0.lock().unwrap();
        match state.0.last_mut() {
            Some(last) if last.1 == offset => last.1 = end,
            _ => state.0.push((offset, end)),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().1 = len;
        Ok(())
    }
}

fn snapshot(pages: u32) -> (Vec<u8>, ltx::Trailer) {
    let tracked = Header { flags: HeaderFlags::default(), ..header(PAGE_SIZE, pages, 1, 1) };
    let mut file = Vec::new();
    let trailer = encode_database(&Sparse { pages }, &tracked, &mut file).unwrap();
    (file, trailer)
}

#[test]
fn the_lock_page_is_neither_stored_nor_counted_nor_written() {
    let database = Sparse { pages: LOCK + 2 };
    let (file, trailer) = snapshot(LOCK + 2);
    assert!(file.len() < 8 << 20, "{} bytes", file.len());
    let index = read_page_index(&file).unwrap();
    assert_eq!(index.len() as u32, LOCK + 1);
    let around: Vec<u32> = index.iter().skip(LOCK as usize - 2).map(|elem| elem.pgno.get()).collect();
    assert_eq!(around, [LOCK - 1, LOCK + 1, LOCK + 2]);
    let checksum = checksum_database(&database, PageSize::MAX).unwrap();
    assert_eq!(trailer.post_apply_checksum, checksum);

    let mut out = Checker { offset: 0 };
    decode_database(Decoder::new(file.as_slice()).unwrap(), &mut out).unwrap();
    assert_eq!(out.offset, database.len());

    let ranges = Ranges(Mutex::default());
    apply(Decoder::new(file.as_slice()).unwrap(), &ranges).unwrap();
    let (written, len) = ranges.0.into_inner().unwrap();
    let pending = u64::from(PENDING_BYTE);
    assert_eq!(written, [(0, pending), (pending + u64::from(PAGE_SIZE), database.len())]);
    assert_eq!(len, database.len());
}

#[test]
fn a_database_may_end_with_the_lock_page() {
    let (file, _) = snapshot(LOCK);
    assert_eq!(read_page_index(&file).unwrap().len() as u32, LOCK - 1);
    let mut out = Checker { offset: 0 };
    decode_database(Decoder::new(file.as_slice()).unwrap(), &mut out).unwrap();
    assert_eq!(out.offset, Sparse { pages: LOCK }.len());
}
