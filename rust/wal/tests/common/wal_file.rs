//! A writer of WAL files for the tests, made from the format's description and from nothing of this crate.
#![allow(dead_code, unreachable_pub, reason = "several test binaries include this file, each uses a part")]

/// The running checksum by its definition, in 64-bit arithmetic: slow, and unlike the code under test.
pub fn reference_checksum(is_big: bool, seed: (u32, u32), data: &[u8]) -> (u32, u32) {
    let modulus = 1u64 << 32;
    let word = |at: usize| -> u64 {
        (0..4).map(|i| u64::from(data[at + i]) << (8 * if is_big { 3 - i } else { i })).sum()
    };
    let (mut s1, mut s2) = (u64::from(seed.0), u64::from(seed.1));
    for at in (0..data.len()).step_by(8) {
        s1 = (s1 + word(at) + s2) % modulus;
        s2 = (s2 + word(at + 4) + s1) % modulus;
    }
    (s1 as u32, s2 as u32)
}

/// A WAL file in memory.
#[derive(Clone, Debug)]
pub struct WalFile {
    is_big: bool,
    page_size: u32,
    salts: (u32, u32),
    sum: (u32, u32),
    next: usize,
    bytes: Vec<u8>,
}

impl WalFile {
    pub fn new(is_big: bool, page_size: u32, salts: (u32, u32)) -> WalFile {
        WalFile::with_header(is_big, 3_007_000, page_size, 0, salts)
    }

    /// A file that is only a header, whatever its fields.
    pub fn with_header(is_big: bool, version: u32, page_size: u32, seq: u32, salts: (u32, u32)) -> WalFile {
        let mut file = WalFile { is_big, page_size, salts, sum: (0, 0), next: 32, bytes: vec![0; 32] };
        file.write_header(version, seq);
        file
    }

    fn write_header(&mut self, version: u32, seq: u32) {
        let magic = 0x377f_0682 + u32::from(self.is_big);
        let mut header = Vec::new();
        for field in [magic, version, self.page_size, seq, self.salts.0, self.salts.1] {
            header.extend(field.to_be_bytes());
        }
        self.sum = reference_checksum(self.is_big, (0, 0), &header);
        header.extend(self.sum.0.to_be_bytes());
        header.extend(self.sum.1.to_be_bytes());
        self.bytes[..32].copy_from_slice(&header);
    }

    /// Starts over at the first frame as SQLite does: a new header, and the old frames stay behind it.
    pub fn restart(&mut self, seq: u32, salts: (u32, u32)) {
        self.salts = salts;
        self.next = 32;
        self.write_header(3_007_000, seq);
    }

    /// Writes the next frame. `commit` is 0 inside a transaction.
    pub fn frame(&mut self, pgno: u32, commit: u32, page: &[u8]) -> &mut WalFile {
        assert_eq!(page.len(), self.page_size as usize);
        let mut frame = [pgno.to_be_bytes(), commit.to_be_bytes()].concat();
        self.sum = reference_checksum(self.is_big, self.sum, &frame);
        self.sum = reference_checksum(self.is_big, self.sum, page);
        for field in [self.salts.0, self.salts.1, self.sum.0, self.sum.1] {
            frame.extend(field.to_be_bytes());
        }
        frame.extend(page);
        let end = self.next + frame.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[self.next..end].copy_from_slice(&frame);
        self.next = end;
        self
    }

    /// Writes the next frame with a page full of `fill`.
    pub fn filled(&mut self, pgno: u32, commit: u32, fill: u8) -> &mut WalFile {
        let page = vec![fill; self.page_size as usize];
        self.frame(pgno, commit, &page)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the current generation; stale frames may follow.
    pub fn end(&self) -> usize {
        self.next
    }

    /// The running checksum after the last frame.
    pub fn sum(&self) -> (u32, u32) {
        self.sum
    }
}

/// The fixture of the scenarios: pages of 4096 bytes, three frames, the second and third commit two pages.
pub fn three_frames(is_big: bool) -> WalFile {
    let mut file = WalFile::new(is_big, 4096, (0x0f0f_1111, 0x2222_f0f0));
    file.filled(1, 0, 0x11).filled(2, 2, 0x22).filled(2, 2, 0x33);
    file
}
