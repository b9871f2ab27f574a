//! A place in a v0.3 history.

use std::fmt;
use std::str::FromStr;

use crate::names::{Generation, MAX_INDEX, NameError};

/// A place in the WAL files of a generation. Places of one generation are ordered; `<` says nothing about those of two.
///
/// The text form is that of Litestream 0.3, `generation/index:offset` with an offset in decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Of this generation.
    pub generation: Generation,
    /// The number of the WAL file.
    pub index: u32,
    /// Bytes from its start.
    pub offset: u64,
}

impl Pos {
    /// The start of the WAL file that it is in.
    #[must_use]
    pub const fn truncated(self) -> Self {
        Self { offset: 0, ..self }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08x}:{}", self.generation, self.index, self.offset)
    }
}

impl FromStr for Pos {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let (generation, rest) = text.split_once('/')?;
            let (index, offset) = rest.split_once(':')?;
            let is_plain = index.len() == 8 && offset.bytes().all(|byte| byte.is_ascii_digit());
            let index =
                u32::from_str_radix(index, 16).ok().filter(|index| is_plain && *index <= MAX_INDEX)?;
            Some(Self { generation: generation.parse().ok()?, index, offset: offset.parse().ok()? })
        };
        parse().filter(|pos| pos.to_string() == text).ok_or_else(|| NameError::new("position", text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_is_written_as_litestream_writes_it() {
        let pos = Pos { generation: Generation::new(0xab), index: 0x1f, offset: 4152 };
        assert_eq!(pos.to_string(), "00000000000000ab/0000001f:4152");
        assert_eq!(pos.truncated().to_string(), "00000000000000ab/0000001f:0");
        assert!(pos.truncated() < pos && pos < Pos { index: 0x20, offset: 0, ..pos });
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "",
            "/",
            "00000000000000ab",
            "00000000000000ab/0000001f",
            "00000000000000ab/1f:0",
            "00000000000000ab/0000001f:",
            "00000000000000ab/0000001f:-1",
            "00000000000000ab/0000001f:007",
            "00000000000000ab/+000001f:0",
            "00000000000000ab/8000001f:0",
        ] {
            assert!(text.parse::<Pos>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn positions_are_parsed_as_they_were_formatted(bytes: u64, index in 0..=MAX_INDEX, offset: u64) {
            let pos = Pos { generation: Generation::new(bytes), index, offset };
            prop_assert_eq!(pos.to_string().parse::<Pos>().unwrap(), pos);
        }
    }
}
