//! LZ4 frames (LZ4 Frame Format Description, version 1.6), as which a v0.3 replica holds everything. The only place that knows which
//! library is used.
//!
//! They are written as Litestream writes them: independent blocks of 4 MiB, a checksum of the content, no size of it. Any other
//! frame is read.

use std::io::{self, Read, Write};

use lz4::liblz4::{BlockChecksum, LZ4Error};
use lz4::{BlockMode, BlockSize, ContentChecksum, Decoder, Encoder, EncoderBuilder};

/// Expands one frame. It fails if the frame is damaged or cut off, or if another one follows it: with
/// [`InvalidData`](io::ErrorKind::InvalidData), unlike an error of what it reads from, which goes through unchanged. Less than a
/// frame behind it may go unnoticed, as the library reads a few bytes ahead.
pub struct FrameReader<R: Read> {
    /// Until its end was seen.
    decoder: Option<Decoder<R>>,
}

impl<R: Read> FrameReader<R> {
    /// Reads the frame that `input` holds.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(input: R) -> io::Result<Self> {
        Ok(Self { decoder: Some(Decoder::new(input)?) })
    }

    fn end(decoder: Decoder<R>) -> io::Result<()> {
        let (mut rest, ended) = decoder.finish();
        if ended.is_err() {
            return Err(damaged("the LZ4 frame is cut off"));
        }
        match rest.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(damaged("something follows the LZ4 frame")),
        }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return Ok(0) };
        let count = decoder.read(buf).map_err(|error| match error.get_ref() {
            Some(inner) if inner.is::<LZ4Error>() => damaged(format!("not a sound LZ4 frame: {inner}")),
            _ => error,
        })?;
        if count == 0 && !buf.is_empty() {
            self.decoder.take().map_or(Ok(()), Self::end)?;
        }
        Ok(count)
    }
}

fn damaged(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes one frame.
pub struct FrameWriter<W: Write>(Encoder<W>);

impl<W: Write> FrameWriter<W> {
    /// Writes a frame to `output`.
    ///
    /// # Errors
    /// What `output` reports.
    pub fn new(output: W) -> io::Result<Self> {
        let mut builder = EncoderBuilder::new();
        builder
            .block_size(BlockSize::Max4MB)
            .block_mode(BlockMode::Independent)
            .block_checksum(BlockChecksum::NoBlockChecksum)
            .checksum(ContentChecksum::ChecksumEnabled);
        Ok(Self(builder.build(output)?))
    }

    /// Ends the frame.
    ///
    /// # Errors
    /// What `output` reports.
    pub fn finish(self) -> io::Result<W> {
        let (output, done) = self.0.finish();
        done.map(|()| output)
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn expanded(frame: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        FrameReader::new(frame)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_frame_begins_as_those_of_litestream() {
        assert_eq!(packed(b"x")[..7], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9]);
    }

    #[test]
    fn a_frame_of_several_blocks() {
        let bytes: Vec<u8> = (0..(9_u32 << 20)).map(|n| (n / 5 % 251) as u8).collect();
        assert_eq!(expanded(&packed(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn an_empty_object_is_no_frame() {
        assert_eq!(expanded(&[]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(expanded(&packed(&[])).unwrap(), []);
    }

    #[test]
    fn an_error_of_the_storage_goes_through() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let frame = packed(&[7; 100_000]);
        let input = frame[..20].chain(Failing);
        let error = FrameReader::new(input).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    proptest! {
        #[test]
        fn what_was_packed_is_expanded(bytes in prop::collection::vec(any::<u8>(), 0..5000), step in 1..600_usize) {
            let frame = packed(&bytes);
            let (mut reader, mut found, mut part) = (FrameReader::new(&*frame).unwrap(), Vec::new(), vec![0; step]);
            loop {
                let count = reader.read(&mut part).unwrap();
                if count == 0 {
                    break;
                }
                found.extend_from_slice(&part[..count]);
            }
            prop_assert_eq!(found, bytes);
            prop_assert_eq!(reader.read(&mut part).unwrap(), 0);
        }

        #[test]
        fn a_frame_that_was_cut_or_comes_twice_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000), at: prop::sample::Index) {
            let frame = packed(&bytes);
            let cut = at.index(frame.len());
            let found = expanded(&frame[..cut]);
            prop_assert!(found.is_err(), "cut {} of {}", cut, frame.len());
            prop_assert_eq!(found.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let twice = [&*frame, &*frame].concat();
            prop_assert_eq!(expanded(&twice).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }

        #[test]
        fn a_flipped_bit_is_found(bytes in prop::collection::vec(any::<u8>(), 1..3000), at: prop::sample::Index, bit in 0..8_u8) {
            let mut frame = packed(&bytes);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            // Of the flags, some say what the same bytes mean as well.
            match expanded(&frame) {
                Ok(found) => prop_assert_eq!(found, bytes),
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
    }
}
