//! Unsigned LEB128 integers, in their shortest form only.

/// Appends `value`.
pub(crate) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
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
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            let mut rest = bytes.as_slice();
            assert_eq!(take(&mut rest), Some(value));
            assert!(rest.is_empty());
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn known_forms() {
        let mut bytes = Vec::new();
        push(&mut bytes, 206);
        assert_eq!(bytes, [0xce, 0x01]);
        assert_eq!(take(&mut &[0x80, 0x00][..]), None, "longer than need be");
        assert_eq!(take(&mut &[0xff; 10][..]), None, "never ends");
        let mut large = [0xff; 10];
        large[9] = 2;
        assert_eq!(take(&mut &large[..]), None, "66 bits");
        large[9] = 1;
        assert_eq!(take(&mut &large[..]), Some(u64::MAX));
    }
}
