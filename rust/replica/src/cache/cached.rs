//! A client over a client, with a cache between them.

use std::io::Read;
use std::sync::Arc;

use ltx::TxId;

use crate::cache::blocks::Blocks;
use crate::cache::reader::CachedReader;
use crate::cache::shared::Shared;
use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};

/// A client whose files are read from a cache, as far as they are in it.
pub struct Cached<C>(Arc<Shared<C>>);

impl<C: ReplicaClient + 'static> Cached<C> {
    /// A client over `client`, with blocks that are those of its replica alone.
    pub fn new(client: C, blocks: Arc<Blocks>) -> Self {
        Self(Arc::new(Shared::new(client, blocks)))
    }

    /// To be called before files are read: whether those of the cache are the ones of the replica as it is now. A replica that was
    /// begun anew may have files of the same names, sizes and times, as most storages keep seconds. They differ in the last bytes of the first
    /// and of the last file, which are a checksum of the whole file. That costs two small requests, and none for what is not in the
    /// cache.
    pub fn check(&self, files: &[FileInfo]) {
        let first = files.first().filter(|_| files.len() > 1);
        for info in first.into_iter().chain(files.last()) {
            let Some((offset, known)) = self.0.blocks.end(info) else { continue };
            let mut found = Vec::new();
            let opened = self.0.client.open_ltx_file(info, offset, Some(known.len() as u64));
            let read = opened.map(|data| data.take(known.len() as u64).read_to_end(&mut found));
            // Where that fails, reading the rest will, too.
            if matches!(read, Ok(Ok(_))) && found != known {
                self.0.blocks.remove_all();
                return;
            }
        }
    }

    /// To be called when a restore has failed: whether it may be the cache's fault, so that another attempt makes sense. The file that
    /// it is about, or else all that came from the cache, is dropped, and read from the storage from now on.
    pub fn distrust(&self, error: &Error) -> bool {
        error.is_about_content() && self.0.distrust(error.file())
    }
}

impl<C: ReplicaClient + 'static> ReplicaClient for Cached<C> {
    fn client_type(&self) -> &str {
        self.0.client.client_type()
    }

    fn is_local(&self) -> bool {
        self.0.client.is_local()
    }

    fn is_direct(&self) -> bool {
        self.0.client.is_direct()
    }

    fn location(&self) -> String {
        self.0.client.location()
    }

    fn exists(&self) -> bool {
        self.0.client.exists()
    }

    fn init(&self) -> Result<()> {
        self.0.client.init()
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        self.0.client.ltx_files(level, seek, use_metadata)
    }

    fn all_ltx_files(&self, use_metadata: bool) -> Result<Vec<FileInfo>> {
        self.0.client.all_ltx_files(use_metadata)
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let end = size.map_or(info.size, |size| offset.saturating_add(size));
        // A file whose size is not known, or that ends otherwise than the caller thinks, is the storage's business.
        if offset >= end || end > info.size {
            return self.0.client.open_ltx_file(info, offset, size);
        }
        let mut reader = CachedReader::new(Arc::clone(&self.0), *info, offset, end);
        // Errors that opening has belong here.
        reader.begin()?;
        Ok(Box::new(reader))
    }

    fn write_ltx_file(&self, level: u8, min: TxId, max: TxId, data: &mut dyn Read) -> Result<FileInfo> {
        self.0.client.write_ltx_file(level, min, max, data)
    }

    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()> {
        self.0.client.delete_ltx_files(files)
    }

    fn delete_all(&self) -> Result<()> {
        self.0.client.delete_all()
    }
}
