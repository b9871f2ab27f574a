//! Room on the disk.

use std::fs::File;
use std::io;

/// Allocates the first `len` bytes of a file, so that writing there cannot run out of space. Its size stays as it is. `false`
/// where the system or the file system cannot.
///
/// # Errors
/// `StorageFull` or `QuotaExceeded` if there is not so much; what `fallocate` answers.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn allocate(file: &File, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    if len == 0 {
        return Ok(true);
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, len)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// There is no such call.
///
/// # Errors
/// None.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn allocate(_file: &File, _len: u64) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn there_is_room_and_the_size_is_what_it_was() {
        let file = tempfile::tempfile().unwrap();
        if allocate(&file, 100_000).unwrap() {
            file.sync_all().unwrap();
            assert!(file.metadata().unwrap().blocks() * 512 >= 100_000);
        }
        assert!(allocate(&file, 0).is_ok());
        assert_eq!(file.metadata().unwrap().len(), 0);
        // More than any disk has.
        assert!(!allocate(&file, 1 << 62).unwrap_or(false));
    }
}
