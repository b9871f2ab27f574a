//! Names of LTX files and their directories, the same on a disk and in a bucket.

use crate::error::{Error, Result};
use crate::types::TxId;

/// The level of files as they are written, one for each transaction or group of transactions. Those above it are merged.
pub const L0: u8 = 0;

/// The highest level: snapshots of the whole database.
pub const SNAPSHOT_LEVEL: u8 = 9;

const EXTENSION: &str = ".ltx";

/// Name of the file with the transactions `min..=max`.
pub fn format_file_name(min: TxId, max: TxId) -> String {
    format!("{min}-{max}{EXTENSION}")
}

/// Transactions of the file called `name`: two TXIDs in lower case. Their order is not checked.
///
/// # Errors
/// [`Error::Text`] for any other name.
pub fn parse_file_name(name: &str) -> Result<(TxId, TxId)> {
    split_file_name(name).ok_or_else(|| Error::Text { kind: "LTX file name", text: name.to_owned() })
}

fn split_file_name(name: &str) -> Option<(TxId, TxId)> {
    let (min, max) = name.strip_suffix(EXTENSION)?.split_once('-')?;
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some((min.parse().ok()?, max.parse().ok()?))
}

/// Directory of a level's files, relative to the root of a replica or meta directory.
pub fn level_dir(level: u8) -> String {
    format!("ltx/{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let (min, max) = (TxId::FIRST, TxId::new(1000));
        let name = "0000000000000001-00000000000003e8.ltx";
        assert_eq!(format_file_name(min, max), name);
        assert_eq!(parse_file_name(name).unwrap(), (min, max));
        assert_eq!(parse_file_name("0000000000000002-0000000000000001.ltx").unwrap().0, TxId::new(2));
    }

    #[test]
    fn other_names_are_refused() {
        let bad = [
            "",
            ".ltx",
            "0000000000000001-00000000000003e8",
            "0000000000000001-00000000000003E8.ltx",
            "0000000000000001-00000000000003e8.LTX",
            "000000000000001-00000000000003e8.ltx",
            "0000000000000001-00000000000003e80.ltx",
            "0000000000000001_00000000000003e8.ltx",
            "0000000000000001-00000000000003e8.ltx.tmp",
            "0000000000000001-000000000000-3e8.ltx",
            "+000000000000001-00000000000003e8.ltx",
        ];
        for name in bad {
            assert!(parse_file_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn levels_have_decimal_directories() {
        assert_eq!(level_dir(L0), "ltx/0");
        assert_eq!(level_dir(SNAPSHOT_LEVEL), "ltx/9");
    }
}
