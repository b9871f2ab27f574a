//! The LTX file format, generation 3, as Litestream 0.5 writes and reads it.
//!
//! An LTX file holds the pages of an SQLite database that a range of transactions changed, each in its last
//! state:
//!
//! ```text
//! header(100)  page frames ...  terminator(6 zero bytes)  page index  index length(8)  trailer(16)
//! ```
//!
//! All integers are big-endian. Pages ascend and are compressed one by one; the index says where each is, so
//! that a remote reader can fetch single pages; the trailer's checksum covers header, page headers,
//! uncompressed pages and index. A file whose first transaction is 1 is a *snapshot* and has every page of
//! the database, except the lock page at byte 0x40000000, which is never stored.
//!
//! The crate opens no files, starts no threads and looks at no clock: it reads from [`std::io::Read`] and
//! [`ReadAt`], and writes to [`std::io::Write`] and [`WriteAt`]. Input is taken to be hostile: lengths are
//! bounded before anything is allocated, and only [`Decoder::finish`] says that a file was good.
//!
//! * [`Encoder`] and [`Decoder`] stream pages out and in; [`decode_frame`] and [`PageIndex`] reach single
//!   pages.
//! * [`compact`] merges files of neighbouring transactions into one.
//! * [`apply`], [`decode_database`] and [`encode_database`] move whole databases.
//!
//! ```
//! use ltx::{Checksum, Decoder, Encoder, Header, PageCount, PageSize, Pgno, TxId};
//!
//! # fn main() -> ltx::Result<()> {
//! let header = Header::new(PageSize::new(512)?, PageCount::new(1), TxId::FIRST, TxId::FIRST);
//! let mut encoder = Encoder::new(Vec::new(), &header)?;
//! encoder.write_page(Pgno::FIRST, &[7; 512])?;
//! let (file, trailer) = encoder.finish(Checksum::NONE)?;
//!
//! let mut decoder = Decoder::new(file.as_slice())?;
//! let mut page = [0; 512];
//! assert_eq!(decoder.next_page(&mut page)?, Some(Pgno::FIRST));
//! assert_eq!(page, [7; 512]);
//! assert_eq!(decoder.finish()?, trailer);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod aligned;
mod apply;
mod bytes;
mod checksum;
mod compactor;
mod decoder;
mod encoder;
mod error;
mod file_name;
mod header;
mod index;
mod input;
mod io;
mod legacy_frame;
mod lz4;
mod output;
mod page;
mod sequence;
mod snapshot_view;
mod trailer;
mod types;
mod varint;
mod xxh32;

pub use apply::{apply, checksum_database, decode_database, encode_database};
pub use checksum::{FileHasher, RollingChecksum, page_checksum};
pub use compactor::{CompactOptions, compact};
pub use decoder::{Decoder, Frame};
pub use encoder::Encoder;
pub use error::{Error, Result};
pub use file_name::{L0, SNAPSHOT_LEVEL, format_file_name, level_dir, parse_file_name};
pub use header::{Header, HeaderFlags};
pub use index::{IndexTail, PageIndex, PageIndexElem, parse_page_index, read_page_index};
pub use input::{Buffered, InMemory, Input};
pub use io::{ReadAt, WriteAt};
pub use page::{PAGE_HEADER_SIZE, PageEncoding, PageHeader, compress_page, decode_frame};
pub use snapshot_view::SnapshotView;
pub use trailer::Trailer;
pub use types::{Checksum, PENDING_BYTE, PageCount, PageSize, Pgno, Pos, Timestamp, TxId};
