//! XXH32 with seed 0, the checksum inside LZ4 frames (xxHash specification 0.1.1, "XXH32 Algorithm
//! Description").

const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];

/// Hash of `bytes`.
pub(crate) fn xxh32(bytes: &[u8]) -> u32 {
    let (stripes, rest) = bytes.as_chunks::<16>();
    let start = if stripes.is_empty() { PRIMES[4] } else { stripe_hash(stripes) };
    // The specification adds the length modulo 2^32.
    finish(start.wrapping_add(bytes.len() as u32), rest)
}

fn stripe_hash(stripes: &[[u8; 16]]) -> u32 {
    let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0_u32.wrapping_sub(PRIMES[0])];
    for stripe in stripes {
        let (words, _) = stripe.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let input = u32::from_le_bytes(*word).wrapping_mul(PRIMES[1]);
            *lane = lane.wrapping_add(input).rotate_left(13).wrapping_mul(PRIMES[0]);
        }
    }
    let [a, b, c, d] = lanes;
    let merged = a.rotate_left(1).wrapping_add(b.rotate_left(7));
    merged.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18))
}

fn finish(mut hash: u32, rest: &[u8]) -> u32 {
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        let input = u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]);
        hash = hash.wrapping_add(input).rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in tail {
        let input = u32::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.wrapping_add(input).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"a"), 0x550d_7456);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }
}
