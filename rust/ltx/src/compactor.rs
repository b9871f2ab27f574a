//! Merging LTX files of neighbouring transactions into one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};

use crate::aligned::AlignedBuf;
use crate::decoder::{Decoder, Frame};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::header::{Header, HeaderFlags};
use crate::input::{Buffered, Input};
use crate::trailer::Trailer;
use crate::types::{Checksum, Pgno};

/// Memory for the read buffers of all inputs together, in bytes; every input has room for one frame in any
/// case.
const BUFFERS_LIMIT: usize = 16 << 20;

/// Read buffer of one input in bytes: a few of them stay in the processor's cache.
const BUFFER_LIMIT: usize = 64 << 10;

/// How [`compact`] treats its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactOptions {
    /// Accept inputs that leave out transactions between them.
    pub allow_gaps: bool,
}

/// Merges `inputs`, in ascending order of transactions, into one file on `out`.
///
/// Of each page the last input's version is kept; pages above the last input's commit size are dropped. The
/// output starts with the first input's first transaction and ends with the last input's last one, whose
/// commit size and timestamp it has. It has checksums if every input has, and is otherwise a file that stock
/// Litestream can restore. LZ4 blocks are copied as they are; pages in LZ4 frames are compressed anew to
/// blocks.
///
/// Every input is read to its end and verified before the output's trailer is written: an output that ends
/// properly has only good sources. Memory is one frame an input, and 16 MiB of buffers. `progress` is told
/// each page that was written, to be compared with the last input's commit size.
///
/// # Errors
/// [`Error::NoInput`]; [`Error::Input`] with the number of an input that is damaged, has another
/// page size ([`Error::PageSizeMismatch`]), does not continue the one before ([`Error::NotContiguous`]) or,
/// if both have checksums, does not start with the database the one before ended with
/// ([`Error::DatabaseChecksumMismatch`]); [`Error::SnapshotIncomplete`]; [`Error::Io`].
pub fn compact<R: Read, W: Write>(
    inputs: Vec<R>,
    out: W,
    options: CompactOptions,
    progress: &mut dyn FnMut(Pgno),
) -> Result<(Header, Trailer)> {
    let mut decoders = open_inputs(inputs)?;
    let headers: Vec<Header> = decoders.iter().map(|decoder| *decoder.header()).collect();
    check_headers(&headers, options)?;
    let header = output_header(&headers)?;
    let mut encoder = Encoder::new(out, &header)?;
    merge(&mut decoders, &mut encoder, progress)?;
    let post_apply = finish_inputs(decoders, &headers)?;
    let post_apply = if header.flags.no_checksum { Checksum::NONE } else { post_apply };
    let (_, trailer) = encoder.finish(post_apply)?;
    Ok((header, trailer))
}

fn open_inputs<R: Read>(inputs: Vec<R>) -> Result<Vec<Decoder<Buffered<R>>>> {
    let limit = (BUFFERS_LIMIT / inputs.len().max(1)).min(BUFFER_LIMIT);
    let open =
        |(number, input)| Decoder::with_buffer(input, limit).map_err(|error: Error| error.of_input(number));
    inputs.into_iter().enumerate().map(open).collect()
}

fn check_headers(headers: &[Header], options: CompactOptions) -> Result<()> {
    for (number, pair) in (1..).zip(headers.windows(2)) {
        if let [previous, header] = pair {
            check_pair(previous, header, options).map_err(|error| error.of_input(number))?;
        }
    }
    Ok(())
}

fn check_pair(previous: &Header, header: &Header, options: CompactOptions) -> Result<()> {
    let (expected, actual) = (previous.page_size.get(), header.page_size.get());
    if expected != actual {
        return Err(Error::PageSizeMismatch { expected, actual });
    }
    let adjoins = previous.max_txid.next().is_some_and(|next| header.min_txid <= next);
    if header.max_txid > previous.max_txid && (adjoins || options.allow_gaps) {
        return Ok(());
    }
    Err(Error::NotContiguous {
        previous_min: previous.min_txid,
        previous_max: previous.max_txid,
        min: header.min_txid,
        max: header.max_txid,
    })
}

fn output_header(headers: &[Header]) -> Result<Header> {
    let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Err(Error::NoInput) };
    let no_checksum = headers.iter().any(|header| header.flags.no_checksum);
    let pre_apply_checksum = if no_checksum { Checksum::NONE } else { first.pre_apply_checksum };
    Ok(Header {
        flags: HeaderFlags { no_checksum },
        timestamp: last.timestamp,
        pre_apply_checksum,
        ..Header::new(first.page_size, last.commit, first.min_txid, last.max_txid)
    })
}

/// Writes the winning version of every page, and reads the losing ones, since their files' checksums cover
/// them.
fn merge<I: Input, W: Write>(
    decoders: &mut [Decoder<I>],
    encoder: &mut Encoder<W>,
    progress: &mut dyn FnMut(Pgno),
) -> Result<()> {
    let commit = encoder.header().commit.get();
    let mut page = AlignedBuf::new(encoder.header().page_size.bytes());
    let mut heap = BinaryHeap::with_capacity(decoders.len());
    for (number, decoder) in decoders.iter_mut().enumerate() {
        push_next(&mut heap, number, decoder)?;
    }
    while let Some(Reverse((pgno, number))) = heap.pop() {
        let Some(decoder) = decoders.get_mut(number) else { break };
        // Equal pages leave the heap in the order of their inputs: the last one wins.
        let superseded = heap.peek().is_some_and(|Reverse((next, _))| *next == pgno);
        let frame = decoder.next_frame_in(page.get_mut()).map_err(|error| error.of_input(number))?;
        if let Some(frame) = frame.filter(|_| !superseded && pgno.get() <= commit) {
            write_frame(encoder, &frame)?;
            progress(pgno);
        }
        push_next(&mut heap, number, decoder)?;
    }
    Ok(())
}

type Heap = BinaryHeap<Reverse<(Pgno, usize)>>;

fn push_next<I: Input>(heap: &mut Heap, number: usize, decoder: &mut Decoder<I>) -> Result<()> {
    if let Some(pgno) = decoder.peek_pgno().map_err(|error| error.of_input(number))? {
        heap.push(Reverse((pgno, number)));
    }
    Ok(())
}

fn write_frame<W: Write>(encoder: &mut Encoder<W>, frame: &Frame<'_>) -> Result<()> {
    match frame.block {
        Some(block) => encoder.write_compressed(frame.pgno, frame.page, block),
        None => encoder.write_page(frame.pgno, frame.page),
    }
}

/// Verifies all inputs; the database checksum after the last one.
fn finish_inputs<I: Input>(decoders: Vec<Decoder<I>>, headers: &[Header]) -> Result<Checksum> {
    let mut post_apply = Checksum::NONE;
    for (number, (decoder, header)) in decoders.into_iter().zip(headers).enumerate() {
        let trailer = decoder.finish().map_err(|error| error.of_input(number))?;
        let previous = number.checked_sub(1).and_then(|number| headers.get(number));
        if let Some(previous) = previous.filter(|previous| previous.max_txid.next() == Some(header.min_txid))
        {
            check_chain(previous, post_apply, header).map_err(|error| error.of_input(number))?;
        }
        post_apply = trailer.post_apply_checksum;
    }
    Ok(post_apply)
}

/// A file that tracks checksums has to start with the database that the file right before it ended with.
fn check_chain(previous: &Header, actual: Checksum, header: &Header) -> Result<()> {
    let untracked = previous.flags.no_checksum || header.flags.no_checksum;
    let expected = header.pre_apply_checksum;
    if untracked || expected == actual {
        return Ok(());
    }
    Err(Error::DatabaseChecksumMismatch { expected, actual })
}

#[cfg(test)]
mod tests;
