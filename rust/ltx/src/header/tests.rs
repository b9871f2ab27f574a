use super::*;

fn incremental() -> Header {
    Header {
        flags: HeaderFlags::default(),
        timestamp: Timestamp::from_millis(-5),
        pre_apply_checksum: Checksum::new(Checksum::FLAG | 77),
        wal_offset: 32,
        wal_size: 4120,
        wal_salt1: 6,
        wal_salt2: 7,
        node_id: 8,
        ..Header::new(PageSize::MAX, PageCount::new(9), TxId::new(10), TxId::new(11))
    }
}

fn snapshot() -> Header {
    Header::new(PageSize::MIN, PageCount::new(3), TxId::FIRST, TxId::new(4))
}

#[test]
fn every_field_survives() {
    let header = incremental();
    assert_eq!(Header::parse(&header.encode()).unwrap(), header);
    assert_eq!(Header::parse(&snapshot().encode()).unwrap(), snapshot());
}

#[test]
fn reserved_bytes_are_ignored() {
    let mut bytes = incremental().encode();
    bytes[80..].fill(0xff);
    assert_eq!(Header::parse(&bytes).unwrap(), incremental());
}

#[test]
fn short_and_foreign_bytes_are_told_apart() {
    let bytes = snapshot().encode();
    for len in 0..bytes.len() {
        let error = Header::parse(&bytes[..len]).unwrap_err();
        assert!(matches!(error, Error::Truncated { offset } if offset == len as u64));
    }
    let mut foreign = bytes;
    foreign[3] = b'2';
    assert!(matches!(Header::parse(&foreign), Err(Error::NotLtx)));
}

#[test]
fn only_the_no_checksum_flag_is_known() {
    for bit in (0..32).filter(|bit| *bit != 1) {
        let mut bytes = snapshot().encode();
        bytes[4..8].copy_from_slice(&(NO_CHECKSUM | 1 << bit).to_be_bytes());
        assert!(matches!(Header::parse(&bytes), Err(Error::HeaderFlags { .. })), "bit {bit}");
    }
}

#[test]
fn page_sizes_are_checked() {
    let mut bytes = snapshot().encode();
    bytes[8..12].copy_from_slice(&1000_u32.to_be_bytes());
    assert!(matches!(Header::parse(&bytes), Err(Error::PageSize { value: 1000 })));
}

#[test]
fn transactions_are_numbered_from_one_and_in_order() {
    for (min, max) in [(0, 1), (1, 0), (0, 0), (5, 4)] {
        let header = Header { min_txid: TxId::new(min), max_txid: TxId::new(max), ..snapshot() };
        assert!(matches!(header.validate(), Err(Error::TxIdRange { .. })), "{min}-{max}");
    }
}

#[test]
fn a_wal_segment_needs_a_position() {
    let good = incremental();
    let bad = [
        Header { wal_offset: 0, wal_size: 0, wal_salt1: 6, wal_salt2: 0, ..good },
        Header { wal_offset: 0, wal_size: 0, wal_salt1: 0, wal_salt2: 7, ..good },
        Header { wal_offset: 0, wal_size: 1, wal_salt1: 0, wal_salt2: 0, ..good },
        Header { wal_offset: 1 << 63, ..good },
        Header { wal_size: u64::MAX, ..good },
    ];
    for header in bad {
        assert!(matches!(header.validate(), Err(Error::WalRange { .. })), "{header:?}");
        assert!(matches!(Header::parse(&header.encode()), Err(Error::WalRange { .. })), "{header:?}");
    }
    assert!(Header { wal_size: 0, ..good }.validate().is_ok());
}

#[test]
fn pre_apply_checksums_belong_to_tracked_increments_only() {
    let sum = Checksum::new(Checksum::FLAG | 1);
    let good = incremental();
    let unflagged = Checksum::new(1);
    let bad = [
        Header { pre_apply_checksum: sum, ..snapshot() },
        Header { pre_apply_checksum: sum, flags: HeaderFlags::default(), ..snapshot() },
        Header { flags: HeaderFlags { no_checksum: true }, ..good },
        Header { pre_apply_checksum: Checksum::NONE, ..good },
        Header { pre_apply_checksum: unflagged, ..good },
    ];
    for header in bad {
        assert!(matches!(header.validate(), Err(Error::PreApplyChecksum { .. })), "{header:?}");
    }
    assert!(Header { flags: HeaderFlags::default(), ..snapshot() }.validate().is_ok());
}

#[test]
fn an_empty_database_is_a_valid_commit() {
    assert!(Header { commit: PageCount::new(0), ..snapshot() }.validate().is_ok());
}

#[test]
fn positions_before_the_file() {
    assert_eq!(snapshot().pre_apply_pos(), Pos::default());
    let pos = incremental().pre_apply_pos();
    assert_eq!((pos.txid, pos.post_apply_checksum.get()), (TxId::new(9), Checksum::FLAG | 77));
    assert!(snapshot().is_snapshot() && !incremental().is_snapshot());
    assert_eq!(incremental().lock_pgno().get(), 16_385);
}
