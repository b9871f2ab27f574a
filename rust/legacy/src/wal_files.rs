//! The WAL files of a generation, as their segments hold them: headers, frames, and the checksum that runs through each.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ltx::{PageCount, PageSize, Pgno};
use wal::{FrameHeader, WalChecksum, WalHeader};

use crate::error::{Error, Result};

/// What all WAL files of a database have to do with each other.
pub(crate) struct WalFiles {
    page_size: Option<PageSize>,
    /// Marks of all so far, and their numbers.
    salts: BTreeMap<(u32, u32), u32>,
}

/// A WAL, as far as it was read.
pub(crate) struct Wal {
    pub(crate) index: u32,
    pub(crate) header: WalHeader,
    /// Up to where it is known.
    pub(crate) offset: u64,
    /// Of the last frame. If it is not known, that of the next frame is believed.
    checksum: Option<WalChecksum>,
    /// Size of the database after the last transaction.
    pub(crate) commit: Option<PageCount>,
}

impl WalFiles {
    /// Those of a database with this page size, if it has any.
    pub(crate) fn new(page_size: Option<PageSize>) -> Self {
        Self { page_size, salts: BTreeMap::new() }
    }

    pub(crate) fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    /// Reads the header of the next one. `key` is the name of its first segment.
    pub(crate) fn begin(&mut self, index: u32, key: &str, data: &mut dyn Read) -> Result<Wal> {
        let mut bytes = [0; WalHeader::SIZE];
        data.read_exact(&mut bytes).map_err(|error| short(key, error))?;
        let header = match WalHeader::parse(&bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Err(Error::damaged(key, "the WAL header has a wrong checksum")),
            Err(error) => return Err(Error::damaged(key, error)),
        };
        if let Some(other) = self.salts.insert((header.salt.salt1, header.salt.salt2), index) {
            // Which of them is the copy does not show.
            let what = format_args!(
                "it is a copy of WAL {other:08x} of the same generation, or that is a copy of this one"
            );
            return Err(Error::damaged(key, what));
        }
        let page_size = *self.page_size.get_or_insert(header.page_size);
        if page_size != header.page_size {
            let (found, expected) = (header.page_size.get(), page_size.get());
            return Err(Error::damaged(
                key,
                format_args!("pages of {found} bytes, but the database has {expected}"),
            ));
        }
        let offset = WalHeader::SIZE as u64;
        Ok(Wal { index, header, offset, checksum: Some(header.checksum), commit: None })
    }
}

impl Wal {
    /// Goes on behind something that cannot be read.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        (self.offset, self.checksum) = (offset, None);
    }

    /// Whether everything up to the offset was read.
    pub(crate) fn is_known(&self) -> bool {
        self.checksum.is_some()
    }

    /// Reads the frames of a segment with this name, and hands each page on. `frame` is used for their bytes.
    pub(crate) fn frames(
        &mut self,
        key: &str,
        data: &mut dyn Read,
        frame: &mut Vec<u8>,
        add: &mut dyn FnMut(Pgno, &[u8]) -> Result<()>,
    ) -> Result<()> {
        frame.resize(FrameHeader::SIZE + self.header.page_size.bytes(), 0);
        let mut is_committed = true;
        while read_frame(data, frame).map_err(|error| short(key, error))? {
            let Some((head, page)) = frame.split_first_chunk() else { break };
            let header = FrameHeader::parse(head).filter(|header| header.salt == self.header.salt);
            let checksum =
                self.checksum.map(|before| wal::frame_checksum(before, self.header.byte_order, head, page));
            let Some(header) =
                header.filter(|header| checksum.is_none_or(|checksum| header.checksum == checksum))
            else {
                let what = format_args!("the frame at offset {} does not continue this WAL", self.offset);
                return Err(Error::damaged(key, what));
            };
            add(header.pgno, page)?;
            self.checksum = Some(header.checksum);
            self.offset += frame.len() as u64;
            is_committed = header.commit.is_some();
            self.commit = header.commit.or(self.commit);
        }
        if is_committed { Ok(()) } else { Err(Error::damaged(key, "it ends in the middle of a transaction")) }
    }
}

/// Fills `frame`; false at the end.
fn read_frame(data: &mut dyn Read, frame: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < frame.len() {
        match data.read(&mut frame[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn short(key: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::damaged(key, "it ends in the middle of a frame");
    }
    Error::of_read(key, error)
}
