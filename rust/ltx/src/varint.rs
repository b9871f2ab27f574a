//! Unsigned LEB128 integers, in their shortest form only.

/// The longest integer in bytes.
pub(crate) const BOUND: usize = 10;

/// Writes `value` to the front of `out`, which has at least [`BOUND`] bytes; its length in bytes.
pub(crate) fn put(out: &mut [u8], mut value: u64) -> usize {
    let mut len = 0;
    while value >= 0x80 {
        out[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    out[len] = value as u8;
    len + 1
}

/// Takes one integer from the front of `bytes`; `None` if it is cut off, too large or longer than need be.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        value |= bits << shift;
        if value >> shift != bits {
            return None;
        }
        if first & 0x80 == 0 {
            return (*first != 0 || shift == 0).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip() {
        for value in (0..64).flat_map(|shift| [1_u64 << shift, (1 << shift) - 1]).chain([u64::MAX]) {
            let mut bytes = [0; BOUND];
            let len = put(&mut bytes, value);
            let mut rest = &bytes[..len];
            assert_eq!(take(&mut rest), Some(value));
            assert!(rest.is_empty());
            assert_eq!(take(&mut &bytes[..len - 1]), None);
        }
    }

    #[test]
    fn known_forms() {
        let mut bytes = [0; BOUND];
        assert_eq!(put(&mut bytes, 206), 2);
        assert_eq!(bytes[..2], [0xce, 0x01]);
        assert_eq!(take(&mut &[0x80, 0x00][..]), None, "longer than need be");
        assert_eq!(take(&mut &[0xff; 10][..]), None, "never ends");
        let mut large = [0xff; 10];
        large[9] = 2;
        assert_eq!(take(&mut &large[..]), None, "66 bits");
        large[9] = 1;
        assert_eq!(take(&mut &large[..]), Some(u64::MAX));
    }
}
