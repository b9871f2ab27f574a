//! Buffers on cache line pairs, where the vectorised CRC needs no slow start and end.

/// What the CRC works in at once, in bytes.
const ALIGNMENT: usize = 128;

/// Bytes whose first one lies on a multiple of 128.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zeros.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT - 1];
        // Alignment makes it faster and nothing else, so an offset that cannot be had is as good as 0.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT - 1);
        Self { bytes, start, len }
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_their_length_and_alignment() {
        for len in [0, 1, 512, 4096, 65536] {
            let mut buf = AlignedBuf::new(len);
            buf.get_mut().fill(7);
            assert_eq!(buf.get(), vec![7; len]);
            assert_eq!(buf.get().as_ptr().align_offset(ALIGNMENT), 0);
        }
        assert!(AlignedBuf::default().get().is_empty());
    }
}
