//! The times of files, in milliseconds since 1970, as LTX has them.

use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sets the time that listings show, in milliseconds since 1970. It becomes durable with the next sync. A time that the system
/// cannot express is left out.
///
/// # Errors
/// What `futimens` answers.
pub fn set_time(file: &File, millis: i64) -> io::Result<()> {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time: Option<SystemTime> =
        if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.map_or(Ok(()), |time| file.set_times(FileTimes::new().set_accessed(time).set_modified(time)))
}

/// When a file was modified, in milliseconds since 1970.
#[must_use]
pub fn modified_millis(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_set_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        for millis in [0, 1, 1_700_000_000_123, -86_400_001] {
            set_time(&file, millis).unwrap();
            assert_eq!(modified_millis(&file.metadata().unwrap()), millis);
        }
    }
}
