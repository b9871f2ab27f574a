//! How far a restore of the newest state comes.

use std::collections::HashSet;

use ltx::TxId;

use super::History;
use super::plan::END;
use crate::client::FileInfo;
use crate::error::Error;
use crate::place::FileKey;

/// How far a restore of the newest state comes, and by which files.
#[derive(Debug)]
pub struct Reach {
    /// The files that it reads, in order.
    pub chain: Vec<FileInfo>,
    /// The last transaction before the obstacle; none if nothing can be restored.
    pub txid: TxId,
    /// What keeps it from coming further, if anything does.
    pub obstacle: Option<Obstacle>,
}

/// What keeps a restore from coming further.
#[derive(Debug)]
pub enum Obstacle {
    /// A file that is known to be damaged, or too short to be an LTX file.
    Damaged(FileKey),
    /// What the files do not lead to.
    Missing(Error),
}

impl History {
    /// How far a restore of the newest state comes, if the files of `damaged` cannot be read. A restore does not know that before it
    /// reads them, so other files that would lead around them are of no use.
    #[must_use]
    pub fn reach(&self, damaged: &HashSet<FileKey>) -> Reach {
        let chain = self.walk(END);
        let sound = chain.iter().take_while(|file| !damaged.contains(&file.key())).count();
        let obstacle = match chain.get(sound) {
            Some(file) => Some(Obstacle::Damaged(file.key())),
            None if chain.is_empty() => self.all().next().map(|_| self.nothing().into()),
            None => self.lost(end(&chain), |_| true).map(Obstacle::from),
        };
        let txid = chain.get(..sound).map_or(TxId::NONE, end);
        Reach { chain, txid, obstacle }
    }

    /// Which of `txids`, in ascending order, are in no file below the snapshot level: a snapshot has none of the states before its
    /// last one.
    #[must_use]
    pub fn missing(&self, txids: &[TxId]) -> Vec<TxId> {
        let mut files: Vec<&FileInfo> = self.increments().collect();
        files.sort_unstable_by_key(|file| file.min_txid);
        let (mut files, mut covered) = (files.into_iter().peekable(), TxId::NONE);
        let mut missing = txids.to_vec();
        missing.retain(|txid| {
            while let Some(file) = files.next_if(|file| file.min_txid <= *txid) {
                covered = covered.max(file.max_txid);
            }
            covered < *txid
        });
        missing
    }
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        match error {
            Error::FileTooShort { file, .. } => Self::Damaged(file),
            other => Self::Missing(other),
        }
    }
}

fn end(chain: &[FileInfo]) -> TxId {
    chain.last().map_or(TxId::NONE, |file| file.max_txid)
}
