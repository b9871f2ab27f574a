//! What leads on from a transaction, for a database that stands there.

use ltx::{SNAPSHOT_LEVEL, TxId};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};

/// The files that continue a database at `txid`, each continuing the one before; none if there is nothing new.
///
/// Level 0 as far as it goes; over its holes, from other levels the file that reaches furthest, a snapshot only where no other
/// does. Unless `thorough`, the other levels are listed only if level 0 has a hole, or nothing at all.
///
/// # Errors
/// - [`Error::EndsBefore`]: the replica ends before `txid`.
/// - [`Error::ResumesLater`]: there are later transactions, but no file continues `txid`.
/// - What the client reports.
pub fn following(client: &dyn ReplicaClient, txid: TxId, thorough: bool) -> Result<Vec<FileInfo>> {
    // From `txid` itself on: the newest file of level 0 always stays, so that an idle replica is told from an empty one.
    let mut listed = client.ltx_files(0, txid, false)?;
    listed.sort_unstable();
    let chain = join(&listed, &[], txid);
    let reached = chain.last().map_or(txid, |file| file.max_txid);
    let has_hole = listed.iter().any(|file| file.leads_beyond(reached));
    if !has_hole && (!chain.is_empty() || !(listed.is_empty() || thorough)) {
        return Ok(chain);
    }
    let all = client.all_ltx_files(false)?;
    let higher: Vec<FileInfo> = all.iter().filter(|file| file.level > 0).copied().collect();
    let chain = join(&listed, &higher, txid);
    if !chain.is_empty() {
        return Ok(chain);
    }
    // A file of level 0 that begins before `txid` may lead beyond it, as other levels' may.
    check(&all, txid)?;
    Ok(join(&[], &all, txid))
}

fn join(level0: &[FileInfo], higher: &[FileInfo], mut reached: TxId) -> Vec<FileInfo> {
    let (mut level0, mut chain) = (level0.iter().peekable(), Vec::new());
    loop {
        while level0.next_if(|file| !file.leads_beyond(reached)).is_some() {}
        let next = level0.next_if(|file| file.continues(reached)).or_else(|| over_a_hole(higher, reached));
        let Some(file) = next else { return chain };
        chain.push(*file);
        reached = file.max_txid;
    }
}

fn over_a_hole(higher: &[FileInfo], reached: TxId) -> Option<&FileInfo> {
    let fitting = higher.iter().filter(|file| file.continues(reached) && file.leads_beyond(reached));
    fitting.max_by_key(|file| (file.level < SNAPSHOT_LEVEL, file.max_txid, file.level))
}

/// Whether the replica simply has nothing new for a database at `txid`.
fn check(files: &[FileInfo], txid: TxId) -> Result<()> {
    let newest = files.iter().map(|file| file.max_txid).max().unwrap_or(TxId::NONE);
    if newest < txid {
        return Err(Error::EndsBefore { txid, newest });
    }
    let continues = files.iter().any(|file| file.continues(txid) && file.leads_beyond(txid));
    match files.iter().map(|file| file.min_txid).filter(|min| *min > txid).min() {
        Some(next) if newest > txid && !continues => Err(Error::ResumesLater { txid, next }),
        _ => Ok(()),
    }
}
