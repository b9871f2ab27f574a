//! Restores that are stopped, and what they leave.

#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ltx::TxId;
use replica::{
    Error, FileInfo, Place, ReplicaClient, RestoreOptions, Restored, Result, Resume, RetryPolicy, Target,
    partial_path, plan, restore,
};

use super::Pages;

const NO_RETRY: RetryPolicy = RetryPolicy { delays: &[] };

pub(crate) const PAGE: u32 = 4096;

/// Fills pages with bytes that do not compress.
pub(crate) fn noise(pages: &mut Pages, seed: u32) {
    let mut state = seed;
    for byte in pages.values_mut().flatten() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
}

/// A client that counts bytes, asks before each read, and fails when it has no reads left.
pub(crate) struct Limited<'a> {
    pub(crate) inner: &'a dyn ReplicaClient,
    pub(crate) left: AtomicUsize,
    pub(crate) bytes: AtomicU64,
    /// Gets the file and the offset; whether it may be read.
    pub(crate) before: &'a (dyn Fn(&FileInfo, u64) -> bool + Sync),
}

impl<'a> Limited<'a> {
    pub(crate) fn new(inner: &'a dyn ReplicaClient, reads: usize) -> Self {
        Self { inner, left: AtomicUsize::new(reads), bytes: AtomicU64::new(0), before: &|_, _| true }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl ReplicaClient for Limited<'_> {
    fn client_type(&self) -> &str {
        "limited"
    }

    fn init(&self) -> Result<()> {
        Ok(())
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        self.inner.ltx_files(level, seek, use_metadata)
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() || !(self.before)(info, offset) {
            return Err(Error::from_io(
                Place::file("limited", info.key()),
                io::ErrorKind::ConnectionReset.into(),
            ));
        }
        self.bytes.fetch_add(size.unwrap_or(info.size), Ordering::Relaxed);
        self.inner.open_ltx_file(info, offset, size)
    }

    fn write_ltx_file(&self, level: u8, min: TxId, max: TxId, data: &mut dyn Read) -> Result<FileInfo> {
        self.inner.write_ltx_file(level, min, max, data)
    }

    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()> {
        self.inner.delete_ltx_files(files)
    }

    fn delete_all(&self) -> Result<()> {
        self.inner.delete_all()
    }
}

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) kept: AtomicU64,
    pub(crate) replica: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), kept: AtomicU64::new(0), replica: "one".into() }
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    pub(crate) fn partial(&self) -> PathBuf {
        partial_path(&self.output()).unwrap()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join(".db.ltxcore-partial.state")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn options(&self) -> RestoreOptions<'_> {
        let every = Duration::from_millis(1);
        let resume = Resume { least: 1 << 20, every, ..Resume::new(&self.replica, &self.kept) };
        RestoreOptions { parallelism: 2, retry: NO_RETRY, resume: Some(resume), ..RestoreOptions::default() }
    }

    pub(crate) fn run(&self, client: &dyn ReplicaClient) -> Result<Restored> {
        self.run_with(client, &self.options())
    }

    pub(crate) fn run_with(
        &self,
        client: &dyn ReplicaClient,
        options: &RestoreOptions<'_>,
    ) -> Result<Restored> {
        let planned = plan(client, &Target::Latest)?;
        restore(client, &planned, &self.output(), options)
    }

    /// Lets a restore fail after some reads.
    pub(crate) fn interrupt(&self, client: &dyn ReplicaClient, reads: usize) -> u64 {
        let limited = Limited::new(client, reads);
        let error = self.run(&limited).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        limited.bytes()
    }

    /// What is left; nothing else may be.
    pub(crate) fn assert_left(&self, is_left: bool) {
        let expected: &[&str] =
            if is_left { &[".db.ltxcore-partial", ".db.ltxcore-partial.state"] } else { &[] };
        assert_eq!(self.names(), expected);
        assert_eq!(self.kept.load(Ordering::Relaxed) > 0, is_left);
    }

    pub(crate) fn assert_restored(&self, good: &[u8]) {
        assert!(fs::read(self.output()).unwrap() == good, "another database");
        assert_eq!(self.names(), ["db"]);
    }
}
