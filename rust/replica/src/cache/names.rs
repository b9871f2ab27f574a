//! Names in a cache. Files that have other names are not the cache's, and are left alone.

use crate::client::FileInfo;

/// The first part of the names of files that are not complete yet; two numbers follow.
pub(super) const STAGED: &str = "new-";

/// How many numbers the name of a block has before the point.
const NUMBERS: usize = 5;

/// The name of a block.
pub(super) fn block_name(info: &FileInfo, number: u64) -> String {
    let (min, max) = (info.min_txid.get(), info.max_txid.get());
    let (level, size, created) = (info.level, info.size, info.created_at.millis());
    format!("{level:x}-{min:x}-{max:x}-{size:x}-{created:x}.{number:x}")
}

/// Whether the directory of a replica has such a name.
pub(super) fn is_replica(name: &str) -> bool {
    name.len() == 32 && is_number(name, 16)
}

/// Whether a file in the directory of a replica is the cache's.
pub(super) fn is_ours(name: &str) -> bool {
    is_block(name) || is_staged(name)
}

fn is_block(name: &str) -> bool {
    name.split_once('.').is_some_and(|(file, number)| {
        let numbers = || file.split('-').chain([number]);
        numbers().count() == NUMBERS + 1
            && numbers().all(|number| number.len() <= 16 && is_number(number, 16))
    })
}

fn is_staged(name: &str) -> bool {
    let numbers = name.strip_prefix(STAGED).and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(process, number)| is_number(process, 10) && is_number(number, 10))
}

/// Whether there are digits, small ones, and nothing else.
fn is_number(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix) && !digit.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use ltx::{Timestamp, TxId};

    use super::*;

    #[test]
    fn names_of_ours_are_told_from_others() {
        for millis in [i64::MIN, -1, 0, 1_700_000_000_000, i64::MAX] {
            for txid in [1, u64::MAX] {
                let (txid, created_at) = (TxId::new(txid), Timestamp::from_millis(millis));
                let info = FileInfo { level: 9, min_txid: txid, max_txid: txid, size: u64::MAX, created_at };
                let name = block_name(&info, 4711);
                assert!(is_ours(&name), "{name}");
            }
        }
        assert!(is_ours("new-1-0"));
        for name in
            ["", "wedding.jpg", "1-2-3-4.5", "1-2-3-4-5", "1-2-3-4-5-6.7", "1-2-3--5.6", "1-2-3-4-5.6.7"]
        {
            assert!(!is_ours(name), "{name}");
        }
        for name in
            ["A-2-3-4-5.6", "1-2-3-4-5.", "new-1", "new-1-", "new-a-1", "new-1-2-3", "news", ".1-2-3-4-5.6"]
        {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_replica("0123456789abcdef0123456789abcdef"));
        for name in ["", "home", "0123456789abcdef0123456789abcdeF", "0123456789abcdef0123456789abcde"] {
            assert!(!is_replica(name), "{name}");
        }
    }
}
