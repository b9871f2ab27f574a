//! A v0.3 replica that is made by hand, frame by frame, beside the pages of its database.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};

use legacy::{
    Error, FrameWriter, Generation, History, Options, Plan, Target, format_segment, format_snapshot, restore,
};
use ltx::{PageCount, PageSize, Pgno, Timestamp};
use proptest::prelude::*;
use replica::Object;
use wal::{ByteOrder, FrameHeader, Salt, WalChecksum, WalHeader, frame_checksum};

pub(crate) const PAGE: usize = 512;
pub(crate) const GENERATION: Generation = Generation::new(0xab);

/// A replica, and the database that it is of.
pub(crate) struct Replica {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    pub(crate) pages: Vec<[u8; PAGE]>,
    pub(crate) wal: Option<Wal>,
    pub(crate) index: u32,
    pub(crate) generation: Generation,
    /// Size of the database after the last of the steps, in pages.
    pub(crate) size: u32,
}

/// The WAL that is being written.
pub(crate) struct Wal {
    pub(crate) header: WalHeader,
    pub(crate) checksum: WalChecksum,
    pub(crate) offset: u64,
    /// Bytes that are in no segment yet.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn page(number: u32, content: u8) -> [u8; PAGE] {
    let mut page = [content; PAGE];
    page[..4].copy_from_slice(&number.to_be_bytes());
    if number == 1 {
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
        page[18..24].copy_from_slice(&[2, 2, 0, 64, 32, 32]);
    }
    page
}

pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

impl Replica {
    pub(crate) fn new(pages: u32) -> Self {
        let pages = (1..=pages).map(|number| page(number, 1)).collect();
        Self::of(GENERATION, pages)
    }

    /// A generation that begins with this database.
    pub(crate) fn of(generation: Generation, pages: Vec<[u8; PAGE]>) -> Self {
        let size = pages.len() as u32;
        let mut made = Self { objects: BTreeMap::new(), pages, wal: None, index: 3, generation, size };
        made.snapshot();
        made
    }

    pub(crate) fn snapshot(&mut self) {
        let key = self.generation.snapshots_folder() + &format_snapshot(self.index);
        self.objects.insert(key, packed(&self.pages.concat()));
    }

    /// One transaction, and the database as it is after it.
    pub(crate) fn commit(&mut self, writes: &[(u32, u8)], size: u32) {
        let index = self.index;
        let wal = self.wal.get_or_insert_with(|| {
            let salt = Salt { salt1: index, salt2: index * 7919 };
            let header = WalHeader::new(ByteOrder::Big, PageSize::new(PAGE as u32).unwrap(), index, salt);
            Wal { header, checksum: header.checksum, offset: 0, bytes: header.encode().to_vec() }
        });
        for (place, (number, content)) in writes.iter().enumerate() {
            let page = page(*number, *content);
            let is_last = place + 1 == writes.len();
            let mut frame = FrameHeader {
                pgno: Pgno::new(*number).unwrap(),
                commit: is_last.then(|| PageCount::new(size)),
                salt: wal.header.salt,
                checksum: WalChecksum::ZERO,
            };
            frame.checksum = frame_checksum(wal.checksum, ByteOrder::Big, &frame.encode(), &page);
            wal.checksum = frame.checksum;
            wal.bytes.extend(frame.encode());
            wal.bytes.extend(page);
            let at = *number as usize - 1;
            if self.pages.len() <= at {
                self.pages.resize(at + 1, [0; PAGE]);
            }
            self.pages[at] = page;
        }
    }

    /// What was written since the last one becomes a segment.
    pub(crate) fn segment(&mut self) {
        let index = self.index;
        if let Some(wal) = self.wal.as_mut().filter(|wal| !wal.bytes.is_empty()) {
            let key = self.generation.wal_folder() + &format_segment(index, wal.offset);
            self.objects.insert(key, packed(&wal.bytes));
            wal.offset += wal.bytes.len() as u64;
            wal.bytes.clear();
        }
    }

    /// Everything goes into the database, which then has this size, and the next WAL begins.
    pub(crate) fn restart(&mut self, size: u32) {
        self.segment();
        if self.wal.take().is_some() {
            self.index += 1;
        }
        self.pages.resize(size as usize, [0; PAGE]);
    }

    pub(crate) fn plan(&self, target: &Target) -> Result<Plan, Error> {
        let objects = self.objects.iter().enumerate().map(|(time, (key, bytes))| Object {
            key: key.clone(),
            size: bytes.len() as u64,
            modified: Timestamp::from_millis(time as i64),
        });
        History::of(objects).plan(target)
    }

    pub(crate) fn restored(&self, parallelism: usize) -> Result<Vec<u8>, Error> {
        let plan = self.plan(&Target::default())?;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
            let bytes = self.objects.get(key).ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(io::Cursor::new(bytes.clone())))
        };
        let mut seen = Vec::new();
        let mut progress = |bytes| {
            seen.push(bytes);
            true
        };
        let options = Options { parallelism, progress: &mut progress };
        restore(&plan, &open, &file, options)?;
        assert_eq!(seen.last(), Some(&plan.size()));
        Ok(fs::read(path).unwrap())
    }

    pub(crate) fn keys(&self, part: &str) -> Vec<String> {
        self.objects.keys().filter(|key| key.contains(part)).cloned().collect()
    }
}

/// What may happen to a database.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit(Vec<(u32, u8)>, u32),
    Segment,
    Restart,
    Snapshot,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec((1..20_u32, any::<u8>()), 1..6), 1..20_u32).prop_map(|(writes, size)| Step::Commit(writes, size)),
        3 => Just(Step::Segment),
        1 => Just(Step::Restart),
        1 => Just(Step::Snapshot),
    ]
}

impl Replica {
    /// Lets all of this happen, and then stores what is left.
    pub(crate) fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.run_one(step);
        }
        self.end();
    }

    pub(crate) fn run_one(&mut self, step: Step) {
        match step {
            Step::Commit(writes, wanted) => {
                // A page that a transaction adds is in it.
                let largest = writes.iter().map(|(number, _)| *number).max().unwrap();
                self.size = largest.max(wanted.min(self.size));
                self.commit(&writes, self.size);
            }
            Step::Segment => self.segment(),
            Step::Restart => self.restart(self.size),
            Step::Snapshot => {
                self.restart(self.size);
                self.snapshot();
            }
        }
    }

    /// Stores what is left.
    pub(crate) fn end(&mut self) {
        self.segment();
        self.pages.resize(self.size as usize, [0; PAGE]);
    }
}
