//! The start of an LTX file of a replica.

use ltx::{FileHasher, Header, PAGE_HEADER_SIZE, Trailer};

use crate::client::FileInfo;
use crate::error::{Error, Result};

/// Header, empty page block, empty index, index length and trailer: no file is smaller.
pub(crate) const MIN_FILE: u64 = (Header::SIZE + PAGE_HEADER_SIZE + 1 + 8 + Trailer::SIZE) as u64;

/// Fills a buffer from an offset of the file.
pub(crate) type ReadFn<'a> = dyn FnMut(u64, &mut [u8]) -> Result<()> + 'a;

/// Reads and checks a header: the file must hold what its name says. The second value is the header's CRC.
pub(crate) fn read_header(info: &FileInfo, read: &mut ReadFn<'_>) -> Result<(Header, u64)> {
    let file = info.key();
    if info.size < MIN_FILE {
        return Err(Error::FileTooShort { file, size: info.size, minimum: MIN_FILE });
    }
    let mut bytes = [0; Header::SIZE];
    read(0, &mut bytes)?;
    let header = Header::parse(&bytes).map_err(|source| Error::Format { file, source })?;
    let (min, max) = (header.min_txid, header.max_txid);
    if (min, max) != (file.min_txid, file.max_txid) {
        return Err(Error::WrongTransactions { file, min, max });
    }
    let mut hasher = FileHasher::new();
    hasher.update(&bytes);
    Ok((header, hasher.finish()))
}
