//! The codec against the bare LZ4 work that it cannot do without.

use std::error::Error;
use std::io;
use std::ops::Range;

use ltx::{
    Checksum, CompactOptions, Decoder, Encoder, Header, Input, PageCount, PageSize, Pgno, TxId, compact,
    compress_page,
};

use crate::pages::Random;
use crate::timing::{self, Task, speed};

type Failure = Box<dyn Error>;

const INPUTS: u64 = 8;

/// What is measured, in pairs: bare LZ4 on the same pages, then the codec.
const ROWS: [(&str, f64); 4] = [
    ("encode", 0.9),
    ("decode and verify", 0.8),
    ("decode and verify from a reader", 0.7),
    ("compact 8 files (bytes of all inputs)", 0.7),
];

/// Prints a row for each operation: its speed, and its part of bare LZ4's.
pub(crate) fn measure(pages: &[Vec<u8>]) -> Result<(), Failure> {
    let all = file(pages, 1, |_| true)?;
    let mut random = Random::new(77);
    let mut inputs = Vec::new();
    for txid in 2..2 + INPUTS {
        inputs.push(file(pages, txid, |_| random.next() & 0x10000 != 0)?);
    }
    let mut tasks: Vec<Task<'_>> = vec![
        Box::new(|| bare_compress(pages)),
        Box::new(|| encode(pages)),
        Box::new(|| bare_decompress(std::slice::from_ref(&all))),
        Box::new(|| verify(Decoder::in_memory(&all.bytes)?)),
        Box::new(|| bare_decompress(std::slice::from_ref(&all))),
        Box::new(|| verify(Decoder::new(all.bytes.as_slice())?)),
        Box::new(|| bare_decompress(&inputs)),
        Box::new(|| compact_all(&inputs)),
    ];
    let durations = timing::measure(&mut tasks)?;
    let page_len = pages.first().map_or(0, Vec::len);
    let total = page_len * pages.len();
    let merged = page_len * inputs.iter().map(|input| input.blocks.len()).sum::<usize>();
    println!("| codec | MB/s | bare LZ4 MB/s | part | wanted |\n|---|---:|---:|---:|---:|");
    for (((name, wanted), pair), bytes) in
        ROWS.iter().zip(durations.chunks(2)).zip([total, total, total, merged])
    {
        let [bare, codec] = pair else { continue };
        let part = bare.as_secs_f64() / codec.as_secs_f64();
        println!(
            "| {name} | {:.0} | {:.0} | {part:.2} | {wanted} |",
            speed(bytes, *codec),
            speed(bytes, *bare)
        );
    }
    Ok(())
}

/// An LTX file, and where in it the bare blocks are.
struct File {
    bytes: Vec<u8>,
    blocks: Vec<Range<usize>>,
    page_len: usize,
}

fn header(pages: &[Vec<u8>], txid: u64) -> Result<Header, Failure> {
    let page_size = PageSize::new(u32::try_from(pages.first().map_or(0, Vec::len))?)?;
    let commit = PageCount::new(u32::try_from(pages.len())?);
    Ok(Header::new(page_size, commit, TxId::new(txid), TxId::new(txid)))
}

fn numbered(pages: &[Vec<u8>]) -> impl Iterator<Item = (Pgno, &Vec<u8>)> {
    (1..).filter_map(Pgno::new).zip(pages)
}

fn file(pages: &[Vec<u8>], txid: u64, mut chosen: impl FnMut(Pgno) -> bool) -> Result<File, Failure> {
    let mut encoder = Encoder::new(Vec::new(), &header(pages, txid)?)?;
    let mut blocks = Vec::new();
    for (pgno, page) in numbered(pages).filter(|(pgno, _)| chosen(*pgno)) {
        let mut block = Vec::new();
        compress_page(page, &mut block)?;
        encoder.write_compressed(pgno, page, &block)?;
        let end = usize::try_from(encoder.bytes_written())?;
        blocks.push(end - block.len()..end);
    }
    let (bytes, _) = encoder.finish(Checksum::NONE)?;
    Ok(File { bytes, blocks, page_len: pages.first().map_or(0, Vec::len) })
}

fn bare_compress(pages: &[Vec<u8>]) -> Result<usize, Failure> {
    let mut block = vec![0; pages.first().map_or(0, Vec::len) * 2];
    let mut sum = 0;
    for page in pages {
        sum += lz4::block::compress_to_buffer(page, None, false, &mut block)?;
    }
    Ok(sum)
}

fn encode(pages: &[Vec<u8>]) -> Result<usize, Failure> {
    let mut encoder = Encoder::new(io::sink(), &header(pages, 1)?)?;
    for (pgno, page) in numbered(pages) {
        encoder.write_page(pgno, page)?;
    }
    encoder.finish(Checksum::NONE)?;
    Ok(pages.len())
}

fn bare_decompress(files: &[File]) -> Result<usize, Failure> {
    let mut page = vec![0; files.first().map_or(0, |file| file.page_len)];
    let page_len = i32::try_from(page.len())?;
    let mut sum = 0;
    for (bytes, block) in files.iter().flat_map(|file| file.blocks.iter().map(|block| (&file.bytes, block))) {
        sum += lz4::block::decompress_to_buffer(&bytes[block.clone()], Some(page_len), &mut page)?;
    }
    Ok(sum)
}

fn verify<I: Input>(mut decoder: Decoder<I>) -> Result<usize, Failure> {
    let mut count = 0;
    while decoder.next_frame()?.is_some() {
        count += 1;
    }
    decoder.finish()?;
    Ok(count)
}

fn compact_all(files: &[File]) -> Result<usize, Failure> {
    let mut count = 0;
    let inputs = files.iter().map(|file| file.bytes.as_slice()).collect();
    compact(inputs, io::sink(), CompactOptions::default(), &mut |_| count += 1)?;
    Ok(count)
}
