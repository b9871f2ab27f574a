//! Small files and whole readings of them.

#![allow(dead_code, reason = "each test crate uses its own part")]

use std::collections::BTreeMap;

use ltx::{
    Checksum, Decoder, Encoder, Error, Header, Input, PageCount, PageEncoding, PageSize, Pgno, Trailer, TxId,
};

/// Pages by number.
pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

/// Everything an LTX file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) pages: Pages,
    pub(crate) trailer: Trailer,
}

/// Reads and verifies a whole file: from a reader, and where it is in memory. Both must say the same.
pub(crate) fn read(bytes: &[u8]) -> Result<Content, Error> {
    let from_reader = Decoder::new(bytes).and_then(content);
    let in_place = Decoder::in_memory(bytes).and_then(content);
    assert_eq!(format!("{from_reader:?}"), format!("{in_place:?}"));
    from_reader
}

fn content<I: Input>(mut decoder: Decoder<I>) -> Result<Content, Error> {
    let header = *decoder.header();
    let mut pages = Pages::new();
    while let Some(frame) = decoder.next_frame()? {
        pages.insert(frame.pgno.get(), frame.page.to_vec());
    }
    Ok(Content { header, pages, trailer: decoder.finish()? })
}

/// Writes a file of `pages`.
pub(crate) fn write(header: &Header, pages: &Pages, encoding: PageEncoding) -> Vec<u8> {
    let mut encoder = Encoder::with_encoding(Vec::new(), header, encoding).unwrap();
    for (number, page) in pages {
        encoder.write_page(pgno(*number), page).unwrap();
    }
    encoder.finish(Checksum::NONE).unwrap().0
}

pub(crate) fn pgno(value: u32) -> Pgno {
    Pgno::new(value).unwrap()
}

pub(crate) fn header(page_size: u32, commit: u32, min: u64, max: u64) -> Header {
    let page_size = PageSize::new(page_size).unwrap();
    Header::new(page_size, PageCount::new(commit), TxId::new(min), TxId::new(max))
}

/// Bytes without any pattern, the same for the same seed.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}
