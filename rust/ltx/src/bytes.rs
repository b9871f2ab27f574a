//! Big-endian fields of fixed-size records.

/// Reads `N` bytes at `offset` of a record whose size is known to cover them.
///
/// Bytes beyond the record read as zero, so that no caller's mistake becomes a panic.
pub(crate) fn field<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    if let Some(bytes) = record.get(offset..).and_then(|rest| rest.first_chunk::<N>()) {
        value = *bytes;
    }
    value
}

/// Unsigned 16-bit integer at `offset`.
pub(crate) fn u16_at(record: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(field(record, offset))
}

/// Unsigned 32-bit integer at `offset`.
pub(crate) fn u32_at(record: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(field(record, offset))
}

/// Unsigned 64-bit integer at `offset`.
pub(crate) fn u64_at(record: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(field(record, offset))
}

/// Signed 64-bit integer at `offset`.
pub(crate) fn i64_at(record: &[u8], offset: usize) -> i64 {
    i64::from_be_bytes(field(record, offset))
}
