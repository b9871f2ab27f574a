//! What a level can take over from the one below, in the order in which it continues.

use ltx::TxId;

use super::split;
use crate::client::FileInfo;
use crate::error::{Error, Result};

/// Files of one level that are to be merged into the next one, in order.
pub(crate) struct Sources {
    files: Vec<FileInfo>,
    /// Those among them that are too short to be LTX files.
    unusable: Vec<FileInfo>,
}

impl Sources {
    /// These files of one level, in any order.
    pub(crate) fn new(files: Vec<FileInfo>) -> Self {
        let (files, unusable) = split(files);
        Self { files, unusable }
    }

    /// Those of them that begin before `txid` and can be used.
    pub(crate) fn before(mut self, txid: TxId) -> Self {
        self.files.retain(|file| file.min_txid < txid);
        Self { unusable: Vec::new(), ..self }
    }

    /// Takes the next files that continue each other out, at most `most`; none if there are no more.
    ///
    /// # Errors
    /// [`Error::Gap`] if what is there does not continue `reached`.
    pub(crate) fn next(&mut self, mut reached: TxId, most: usize) -> Result<Vec<FileInfo>> {
        let mut inputs: Vec<FileInfo> = Vec::new();
        let mut taken = 0;
        for file in &self.files {
            if inputs.len() == most || (!inputs.is_empty() && !file.continues(reached)) {
                break;
            }
            // Into an empty level goes whatever there is; it need not begin with the first transaction.
            if !reached.is_none() && !file.continues(reached) {
                return Err(Error::Gap { have: reached, next: file.key() });
            }
            taken += 1;
            if file.leads_beyond(reached) {
                reached = file.max_txid;
                inputs.push(*file);
            }
        }
        self.files.drain(..taken);
        Ok(inputs)
    }

    /// Gives files back that were taken out last.
    pub(crate) fn put_back(&mut self, files: &[FileInfo]) {
        self.files.splice(..0, files.iter().copied());
    }

    /// The first file that cannot be used, of those that say to hold transactions after `reached`.
    pub(crate) fn unusable_after(&self, reached: TxId) -> Option<&FileInfo> {
        self.unusable.iter().find(|file| file.leads_beyond(reached))
    }
}
