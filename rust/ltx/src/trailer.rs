//! The last 16 bytes of an LTX file (LTX format, "Trailer").

use crate::bytes::u64_at;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::types::Checksum;

/// Trailer of an LTX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trailer {
    /// Database checksum after the last transaction; none in files without checksums.
    pub post_apply_checksum: Checksum,
    /// Checksum over the file's content.
    pub file_checksum: Checksum,
}

impl Trailer {
    /// Length of an encoded trailer in bytes.
    pub const SIZE: usize = 16;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.post_apply_checksum.get().to_be_bytes());
        out[8..].copy_from_slice(&self.file_checksum.get().to_be_bytes());
        out
    }

    /// Reads the stored form; says nothing about the checksums' truth.
    pub fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            post_apply_checksum: Checksum::new(u64_at(bytes, 0)),
            file_checksum: Checksum::new(u64_at(bytes, 8)),
        }
    }
}

/// Checks that a file with this header may have `actual` as its post-apply checksum.
pub(crate) fn validate_post_apply(header: &Header, actual: Checksum) -> Result<()> {
    let suits = if header.flags.no_checksum {
        actual.is_none()
    } else if header.commit.get() == 0 {
        actual == Checksum::EMPTY_DATABASE
    } else {
        actual.is_flagged()
    };
    if suits { Ok(()) } else { Err(Error::PostApplyChecksum { actual }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HeaderFlags;
    use crate::types::{PageCount, PageSize, TxId};

    #[test]
    fn both_checksums_survive() {
        let trailer = Trailer { post_apply_checksum: Checksum::new(1), file_checksum: Checksum::new(2) };
        let bytes = trailer.encode();
        assert_eq!(bytes[7], 1);
        assert_eq!(bytes[15], 2);
        assert_eq!(Trailer::parse(&bytes), trailer);
    }

    #[test]
    fn post_apply_checksums_suit_their_file() {
        let plain = Header::new(PageSize::MIN, PageCount::new(1), TxId::FIRST, TxId::FIRST);
        let tracked = Header { flags: HeaderFlags::default(), ..plain };
        let empty = Header { commit: PageCount::new(0), ..tracked };
        let (none, sum, unflagged) = (Checksum::NONE, Checksum::new(Checksum::FLAG | 5), Checksum::new(5));
        assert!(validate_post_apply(&plain, none).is_ok());
        assert!(validate_post_apply(&plain, sum).is_err());
        assert!(validate_post_apply(&tracked, sum).is_ok());
        assert!(validate_post_apply(&tracked, none).is_err());
        assert!(validate_post_apply(&tracked, unflagged).is_err());
        assert!(validate_post_apply(&empty, Checksum::EMPTY_DATABASE).is_ok());
        assert!(validate_post_apply(&empty, sum).is_err());
    }
}
