use super::*;

fn page_size(value: u32) -> PageSize {
    PageSize::new(value).unwrap()
}

#[test]
fn page_sizes_are_the_powers_of_two_sqlite_has() {
    for shift in 9..=16 {
        assert_eq!(page_size(1 << shift).get(), 1 << shift);
    }
    for value in [0, 1, 256, 511, 1000, 131_072, u32::MAX] {
        assert!(matches!(PageSize::new(value), Err(Error::PageSize { value: found }) if found == value));
    }
}

#[test]
fn lock_pages_are_where_the_pending_byte_is() {
    assert_eq!(page_size(512).lock_pgno().get(), 2_097_153);
    assert_eq!(page_size(4096).lock_pgno().get(), 262_145);
    assert_eq!(page_size(65536).lock_pgno().get(), 16_385);
    for shift in 9..=16 {
        let size = page_size(1 << shift);
        assert_eq!(size.lock_pgno().offset(size), u64::from(PENDING_BYTE));
    }
}

#[test]
fn page_numbers_do_not_overflow() {
    let last = Pgno::new(u32::MAX).unwrap();
    assert_eq!(Pgno::new(0), None);
    assert_eq!(last.next(), None);
    assert_eq!(Pgno::FIRST.next(), Pgno::new(2));
    assert_eq!(last.offset(PageSize::MAX), (u64::from(u32::MAX) - 1) * 65536);
    assert_eq!(PageCount::new(u32::MAX).bytes(PageSize::MAX), u64::from(u32::MAX) * 65536);
}

#[test]
fn page_counts_list_their_pages_without_the_lock_page() {
    let size = PageSize::MAX;
    let around: Vec<u32> = PageCount::new(16_387).pgnos(size).skip(16_383).map(Pgno::get).collect();
    assert_eq!(around, [16_384, 16_386, 16_387]);
    assert_eq!(PageCount::new(0).pgnos(size).count(), 0);
    assert_eq!(PageCount::new(0).last(), None);
    assert_eq!(PageCount::new(7).last(), Pgno::new(7));
}

#[test]
fn transaction_ids_are_sixteen_digits() {
    let text = "00000000000003e8";
    assert_eq!(text.parse::<TxId>().unwrap(), TxId::new(1000));
    assert_eq!(TxId::new(1000).to_string(), text);
    assert_eq!("FFFFFFFFFFFFFFFF".parse::<TxId>().unwrap().next(), None);
    for bad in ["", "1", "00000000000003e", "00000000000003e80", "000000000000zzzz", "+0000000000003e8"] {
        assert!(matches!(bad.parse::<TxId>(), Err(Error::Text { text, .. }) if text == bad));
    }
}

#[test]
fn checksums_are_sixteen_digits() {
    let sum: Checksum = "efffffffecd99000".parse().unwrap();
    assert_eq!(sum.get(), 0xefff_ffff_ecd9_9000);
    assert_eq!(sum.to_string(), "efffffffecd99000");
    assert!(sum.is_flagged() && !sum.is_none());
    assert!(Checksum::NONE.is_none() && !Checksum::NONE.is_flagged());
    assert!("efffffffecd9900".parse::<Checksum>().is_err());
}

#[test]
fn positions_have_a_separator_nobody_looks_at() {
    let pos = Pos { txid: TxId::new(26), post_apply_checksum: Checksum::EMPTY_DATABASE };
    let text = "000000000000001a/8000000000000000";
    assert_eq!(pos.to_string(), text);
    assert_eq!(text.parse::<Pos>().unwrap(), pos);
    assert_eq!(text.replace('/', ":").parse::<Pos>().unwrap(), pos);
    for bad in ["", "000000000000001a", &text[1..], "000000000000001\u{e9}/800000000000000"] {
        assert!(bad.parse::<Pos>().is_err(), "{bad}");
    }
}
