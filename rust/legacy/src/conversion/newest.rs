//! The file of level 0: where Litestream looks for the transaction to continue with.

use std::io;

use ltx::TxId;

use super::{Batch, Conversion, Made, write};
use crate::convert::Stamp;
use crate::error::{Error, Result};
use crate::restore::Options;
use crate::source::Source;
use crate::work::{Reading, Work};

impl Conversion {
    /// Puts a file of level 0 with the newest transaction before all others.
    pub(super) fn add_newest(
        &mut self,
        begun: Option<TxId>,
        reading: &mut Reading<'_>,
        files: &mut Vec<Made>,
    ) -> Result<()> {
        let Some(reached) = self.reached.filter(|reached| Some(reached.txid) != begun) else { return Ok(()) };
        let same = files.iter().find(|made| made.txids == (reached.txid, reached.txid)).copied();
        let made = match same {
            Some(same) => same,
            None => self.write_newest(reading)?,
        };
        files.insert(0, Made { level: 0, ..made });
        Ok(())
    }

    /// Makes a file of level 0 with all pages of the newest transaction, for a replica that lacks it.
    pub fn newest<'a>(&mut self, source: &'a dyn Source, options: Options<'a>) -> Batch {
        self.spooled = 0;
        let mut reading = Reading::new(source, options, self.done_bytes);
        match self.write_newest(&mut reading) {
            Ok(made) => Batch { files: vec![made], error: None },
            Err(error) => Batch { files: Vec::new(), error: Some(error) },
        }
    }

    fn write_newest(&mut self, reading: &mut Reading<'_>) -> Result<Made> {
        self.restore_reached(reading)?;
        let Self { works, current, reached, spool, spooled, .. } = self;
        let gone = || Error::Output(io::Error::other("the newest state cannot be made again"));
        let reached = reached.ok_or_else(gone)?;
        let stamp = Stamp {
            mark: reached.mark,
            origin: reached.origin,
            ..Stamp::new((reached.txid, reached.txid), reached.time)
        };
        let work =
            works.get_mut(*current).filter(|work| reached.state.is_some() && work.state() == reached.state);
        let database = work.map(Work::database).transpose()?.flatten().ok_or_else(gone)?;
        write(spool, spooled, 0, stamp.txids, |output| database.write(&stamp, output).map(drop))
    }
}
