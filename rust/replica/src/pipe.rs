//! Turns a producer that writes into a reader, with bounded memory. The reader sees an end only if the producer
//! says so: a producer that fails or disappears is an error, never a short file.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Blocks that may wait between the two ends.
const DEPTH: usize = 4;

enum Message {
    Block(Vec<u8>),
    End,
}

/// The writing end.
pub(crate) struct PipeWriter(SyncSender<Message>);

/// The reading end.
pub(crate) struct PipeReader {
    receiver: Receiver<Message>,
    block: Vec<u8>,
    used: usize,
    ended: bool,
}

pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(DEPTH);
    (PipeWriter(sender), PipeReader { receiver, block: Vec::new(), used: 0, ended: false })
}

impl PipeWriter {
    /// Says that everything has been written.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.send(Message::End)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        self.0.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.send(Message::Block(buf.to_owned()))?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.used == self.block.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Message::Block(block)) => (self.block, self.used) = (block, 0),
                Ok(Message::End) => self.ended = true,
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let rest = self.block.get(self.used..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.used += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn everything_arrives_in_order() {
        let (mut writer, mut reader) = pipe();
        let producer = thread::spawn(move || {
            for n in 0..100_u8 {
                writer.write_all(&vec![n; usize::from(n)]).unwrap();
            }
            writer.finish().unwrap();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        producer.join().unwrap();
        assert_eq!(got, (0..100_u8).flat_map(|n| vec![n; usize::from(n)]).collect::<Vec<_>>());
    }

    #[test]
    fn a_producer_that_disappears_is_no_end() {
        let (mut writer, mut reader) = pipe();
        writer.write_all(b"half").unwrap();
        drop(writer);
        let mut got = Vec::new();
        assert_eq!(reader.read_to_end(&mut got).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(got, b"half");
    }

    #[test]
    fn a_reader_that_disappears_stops_the_producer() {
        let (mut writer, reader) = pipe();
        drop(reader);
        assert_eq!(writer.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
