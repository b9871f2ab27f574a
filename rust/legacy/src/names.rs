//! Names of what a v0.3 replica holds, and the paths that they make.
//!
//! ```text
//! generations/<16 hexadecimal digits>/snapshots/<index>.snapshot.lz4
//! generations/<16 hexadecimal digits>/wal/<index>_<offset>.wal.lz4
//! ```
//!
//! An index has eight digits. An offset is one in the WAL before compression; it has at least eight, and more where the WAL reaches
//! 4 GiB, which Litestream 0.3 cannot read, but 0.5.17 can.

use std::fmt;
use std::str::FromStr;

/// Where the generations of a replica are, below its root.
pub const GENERATIONS: &str = "generations/";

/// The highest index that a WAL can have.
pub const MAX_INDEX: u32 = 0x7fff_ffff;

const SNAPSHOT_END: &str = ".snapshot.lz4";
const WAL_END: &str = ".wal.lz4";
const DIGITS: usize = 8;
const MOST_DIGITS: usize = 16;

/// A text that is not what it should be the name of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a {what}: {text:?}")]
pub struct NameError {
    what: &'static str,
    text: String,
}

impl NameError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        // Whatever a directory holds comes here.
        Self { what, text: text.chars().take(80).collect() }
    }
}

/// One unbroken history of a database: 16 lower-case hexadecimal digits, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The generation with these eight bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Its eight bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The folder of the generation.
    #[must_use]
    pub fn folder(self) -> String {
        format!("{GENERATIONS}{self}/")
    }

    /// The folder of its snapshots.
    #[must_use]
    pub fn snapshots_folder(self) -> String {
        format!("{GENERATIONS}{self}/snapshots/")
    }

    /// The folder of its WAL segments.
    #[must_use]
    pub fn wal_folder(self) -> String {
        format!("{GENERATIONS}{self}/wal/")
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Generation {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let value = (text.len() == MOST_DIGITS).then(|| hex(text)).flatten();
        value.map(Self).ok_or_else(|| NameError::new("generation", text))
    }
}

/// The name of the snapshot of a WAL index.
#[must_use]
pub fn format_snapshot(index: u32) -> String {
    format!("{index:08x}{SNAPSHOT_END}")
}

/// The index in the name of a snapshot.
///
/// # Errors
/// [`NameError`]: it is no such name.
pub fn parse_snapshot(name: &str) -> Result<u32, NameError> {
    let index = name.strip_suffix(SNAPSHOT_END).and_then(parse_index);
    index.ok_or_else(|| NameError::new("snapshot", name))
}

/// The name of the segment of a WAL that begins at `offset`.
#[must_use]
pub fn format_segment(index: u32, offset: u64) -> String {
    format!("{index:08x}_{offset:08x}{WAL_END}")
}

/// Index and offset in the name of a WAL segment.
///
/// # Errors
/// [`NameError`]: it is no such name.
pub fn parse_segment(name: &str) -> Result<(u32, u64), NameError> {
    let parts = name.strip_suffix(WAL_END).and_then(|stem| stem.split_once('_'));
    let found = parts.and_then(|(index, offset)| Some((parse_index(index)?, parse_offset(offset)?)));
    found.ok_or_else(|| NameError::new("WAL segment", name))
}

fn parse_index(text: &str) -> Option<u32> {
    let index = hex(text).filter(|_| text.len() == DIGITS)?;
    u32::try_from(index).ok().filter(|index| *index <= MAX_INDEX)
}

fn parse_offset(text: &str) -> Option<u64> {
    hex(text).filter(|_| (DIGITS..=MOST_DIGITS).contains(&text.len()))
}

/// Lower-case hexadecimal digits, and nothing else: `from_str_radix` takes more.
fn hex(text: &str) -> Option<u64> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_litestream() {
        let generation: Generation = "02d4c7e635caee63".parse().unwrap();
        assert_eq!(generation.to_string(), "02d4c7e635caee63");
        assert_eq!(generation.snapshots_folder(), "generations/02d4c7e635caee63/snapshots/");
        assert_eq!(generation.wal_folder(), "generations/02d4c7e635caee63/wal/");
        assert_eq!(format_snapshot(1), "00000001.snapshot.lz4");
        assert_eq!(format_segment(5, 0x1038), "00000005_00001038.wal.lz4");
        assert_eq!(format_segment(MAX_INDEX, 1 << 32), "7fffffff_100000000.wal.lz4");
        assert_eq!(parse_segment("00000005_0000000100000000.wal.lz4"), Ok((5, 1 << 32)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "02d4c7e635caee6",
            "02d4c7e635caee633",
            "02D4C7E635CAEE63",
            "+2d4c7e635caee63",
            "02d4c7e635caeeg3",
        ] {
            let error = text.parse::<Generation>().unwrap_err();
            assert!(error.to_string().contains("generation"), "{error}");
        }
        for name in [
            "",
            "1.snapshot.lz4",
            "00000001.snapshot",
            "80000000.snapshot.lz4",
            "0000000A.snapshot.lz4",
            "000000001.snapshot.lz4",
        ] {
            parse_snapshot(name).unwrap_err();
        }
        for name in [
            "00000001.wal.lz4",
            "00000001_0000000.wal.lz4",
            "00000001_00000000000000000.wal.lz4",
            "00000001_0000000x.wal.lz4",
            "80000000_00000000.wal.lz4",
            "00000001_00000000.wal",
            "00000001_00000000_00000000.wal.lz4",
        ] {
            parse_segment(name).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn names_are_parsed_as_they_were_formatted(bytes: u64, index in 0..=MAX_INDEX, offset: u64) {
            let generation = Generation::new(bytes);
            prop_assert_eq!(generation.to_string().parse::<Generation>().unwrap(), generation);
            prop_assert_eq!(parse_snapshot(&format_snapshot(index)), Ok(index));
            prop_assert_eq!(parse_segment(&format_segment(index, offset)), Ok((index, offset)));
        }

        #[test]
        fn whatever_is_parsed_has_that_name(name in "[0-9a-fA-F_+]{0,26}(\\.wal|\\.snapshot)?(\\.lz4)?") {
            if let Ok(index) = parse_snapshot(&name) {
                prop_assert_eq!(format_snapshot(index), name.clone());
            }
            if let Ok((index, offset)) = parse_segment(&name) {
                let digits = name.len() - DIGITS - 1 - WAL_END.len();
                prop_assert_eq!(format!("{index:08x}_{offset:0digits$x}.wal.lz4"), name.clone());
            }
        }
    }
}
