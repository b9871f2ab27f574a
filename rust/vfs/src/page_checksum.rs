//! Page checksums: the last eight bytes of every page of a database file (SQLite, "The Checksum VFS Shim").
//!
//! A database has them if it reserves exactly eight bytes a page, which byte 20 of its header says.

/// Bytes of a checksum.
pub const SIZE: usize = 8;
/// What every database begins with.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the smallest page that SQLite allows.
pub const SMALLEST_PAGE: usize = 512;

/// Whether the first page of a database, as it is in the file, says that its pages have checksums, and has one itself. Others may
/// reserve eight bytes a page as well.
#[must_use]
pub fn has_page_checksums(page_1: &[u8]) -> bool {
    is_page(page_1) && page_1.starts_with(MAGIC) && has_checksums(page_1) && is_sound(page_1)
}

/// Whether a header, 100 bytes or more, says that the pages have checksums.
#[must_use]
pub fn has_checksums(header: &[u8]) -> bool {
    header.get(20).copied().map(usize::from) == Some(SIZE)
}

/// The page size that a header, 100 bytes or more, names; `None` if SQLite allows no such size.
#[must_use]
pub fn page_size(header: &[u8]) -> Option<usize> {
    let size = match header.get(16..18)? {
        // It has no room for 65536.
        [0, 1] => 65536,
        bytes => usize::from(bytes[0]) << 8 | usize::from(bytes[1]),
    };
    (size.is_power_of_two() && size >= SMALLEST_PAGE).then_some(size)
}

/// Whether these bytes can be a whole page.
#[must_use]
pub fn is_page(buf: &[u8]) -> bool {
    buf.len() >= SMALLEST_PAGE && buf.len().is_power_of_two()
}

/// Whether the checksum of a page is that of its content.
#[must_use]
pub fn is_sound(page: &[u8]) -> bool {
    page.split_last_chunk::<SIZE>().is_some_and(|(content, checksum)| *checksum == checksum_of(content))
}

/// Whether a page has zeros where its checksum would be: it makes no claim.
#[must_use]
pub fn is_absent(page: &[u8]) -> bool {
    page.split_last_chunk::<SIZE>().is_some_and(|(_, checksum)| *checksum == [0; SIZE])
}

/// Takes the checksum of a page away.
pub fn remove(page: &mut [u8]) {
    if let Some((_, checksum)) = page.split_last_chunk_mut::<SIZE>() {
        *checksum = [0; SIZE];
    }
}

/// Gives a page the checksum of its content, as it has in the database file. A page of the WAL has none.
pub fn seal(page: &mut [u8]) {
    if !is_page(page) {
        return;
    }
    let (content, checksum) = page.split_at_mut(page.len() - SIZE);
    checksum.copy_from_slice(&checksum_of(content));
}

/// Two running sums over pairs of little-endian words.
fn checksum_of(content: &[u8]) -> [u8; SIZE] {
    let (mut s1, mut s2) = (0u32, 0u32);
    for pair in content.chunks_exact(8) {
        let [a, b, c, d, e, f, g, h] = *pair else { continue };
        s1 = s1.wrapping_add(u32::from_le_bytes([a, b, c, d])).wrapping_add(s2);
        s2 = s2.wrapping_add(u32::from_le_bytes([e, f, g, h])).wrapping_add(s1);
    }
    let mut checksum = [0; SIZE];
    checksum[..4].copy_from_slice(&s1.to_le_bytes());
    checksum[4..].copy_from_slice(&s2.to_le_bytes());
    checksum
}
