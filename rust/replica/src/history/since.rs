//! The cheapest files that lead from one transaction to another, for a database that is there already.

use std::cmp::Reverse;

use ltx::TxId;

use super::{History, can_be_planned};
use crate::client::FileInfo;

/// What a file costs beyond its bytes, in bytes: a request.
const PER_FILE: u64 = 32 << 10;

/// A transaction that files lead to.
struct Stop {
    txid: TxId,
    cost: u64,
    /// The last of those files, and the stop before it; `None` where everything starts.
    by: Option<(FileInfo, usize)>,
}

impl History {
    /// Of the chains of files that continue `from` and end at `to`, the one with the fewest bytes; `None` if there is none.
    ///
    /// Files may begin earlier than they need to. Of merged files and what they were made of, the smaller ones are taken, and of equal
    /// ones those that were merged more: they stay longer, and a copy can be told by them.
    pub(crate) fn cheapest(&self, from: TxId, to: TxId) -> Option<Vec<FileInfo>> {
        let mut files: Vec<&FileInfo> = self.files().filter(|file| can_be_planned(file)).collect();
        files.retain(|file| file.leads_beyond(from) && file.max_txid <= to);
        files.sort_unstable_by_key(|file| (file.max_txid, file.min_txid, Reverse(file.level)));
        let mut stops = vec![Stop { txid: from, cost: 0, by: None }];
        // Those stops that are worth starting from: each is further than the one before it, and costs more.
        let mut useful = vec![0];
        for file in files {
            let reached = |at: usize| stops.get(at).map_or(TxId::NONE, |stop| stop.txid);
            let first = useful.partition_point(|at| !file.continues(reached(*at)));
            let Some(before) = useful.get(first).copied() else { continue };
            let Some(start) = stops.get(before) else { continue };
            let cost = start.cost.saturating_add(file.size).saturating_add(PER_FILE);
            let number = stops.len();
            stops.push(Stop { txid: file.max_txid, cost, by: Some((*file, before)) });
            let is_better = |at: &usize| {
                stops.get(*at).is_some_and(|stop| stop.txid == file.max_txid && stop.cost <= cost)
            };
            if useful.last().is_some_and(is_better) {
                continue;
            }
            while useful.last().is_some_and(|at| stops.get(*at).is_some_and(|stop| stop.cost >= cost)) {
                useful.pop();
            }
            useful.push(number);
        }
        let last = useful.last().copied()?;
        let mut at = stops.get(last).filter(|stop| stop.txid == to)?;
        let mut chain = Vec::new();
        while let Some((file, before)) = at.by {
            chain.push(file);
            at = stops.get(before)?;
        }
        chain.reverse();
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
    use ltx::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn file(level: u8, min: u64, max: u64, size: u64) -> FileInfo {
        let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
        FileInfo { level, min_txid, max_txid, size, created_at: Timestamp::from_millis(0) }
    }

    fn cheapest(files: &[FileInfo], from: u64, to: u64) -> Option<Vec<(u64, u64)>> {
        let chain = History::new(files.iter().copied()).cheapest(TxId::new(from), TxId::new(to))?;
        Some(chain.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect())
    }

    #[test]
    fn the_files_with_the_fewest_bytes_are_taken() {
        const MB: u64 = 1 << 20;
        let level_0: Vec<FileInfo> = (1..=9).map(|txid| file(0, txid, txid, MB)).collect();
        let merged = [file(1, 1, 5, 3 * MB), file(1, 6, 9, 2 * MB), file(9, 1, 8, 50 * MB)];
        let all = [level_0.as_slice(), merged.as_slice()].concat();
        assert_eq!(cheapest(&all, 4, 9).unwrap(), [(5, 5), (6, 9)]);
        assert_eq!(cheapest(&all, 1, 5).unwrap(), [(1, 5)]);
        assert_eq!(cheapest(&all, 7, 9).unwrap(), [(6, 9)], "as many bytes in fewer requests");
        assert_eq!(cheapest(&all, 8, 9).unwrap(), [(9, 9)]);
        assert_eq!(cheapest(&merged, 4, 8).unwrap(), [(1, 8)], "only a snapshot ends there");
        assert_eq!(cheapest(&merged, 4, 7), None);
        assert_eq!(cheapest(&merged[1..2], 4, 9), None, "5 is missing");
    }

    #[test]
    fn of_equal_files_that_of_the_highest_level_is_taken() {
        let files = [file(1, 2, 2, 5000), file(0, 2, 2, 5000), file(0, 3, 3, 5000), file(2, 3, 3, 5000)];
        let chain = History::new(files).cheapest(TxId::new(1), TxId::new(3)).unwrap();
        assert_eq!(chain.iter().map(|file| file.level).collect::<Vec<_>>(), [1, 2]);
    }

    proptest! {
        #[test]
        fn no_chain_is_cheaper(
            files in prop::collection::vec((1_u64..8, 0_u64..4, 1_u64..500_000), 0..12),
            from in 1_u64..8,
            to in 1_u64..11,
        ) {
            let files: Vec<FileInfo> =
                files.iter().map(|(min, more, size)| file(1, *min, min + more, 1000 + size)).collect();
            let found = History::new(files.iter().copied()).cheapest(TxId::new(from), TxId::new(to));
            let cost = |chain: &[FileInfo]| chain.iter().map(|file| file.size + PER_FILE).sum::<u64>();
            // The cost of the cheapest way to each transaction, relaxed until nothing changes.
            let mut costs = [u64::MAX; 16];
            costs[from as usize] = 0;
            for _ in 0..16 {
                for file in &files {
                    let starts = file.min_txid.get().saturating_sub(1).max(from)..file.max_txid.get();
                    let start = starts.map(|at| costs[at as usize]).min().unwrap_or(u64::MAX);
                    if file.max_txid.get() <= to && start < u64::MAX {
                        let end = &mut costs[file.max_txid.get() as usize];
                        *end = (*end).min(start + file.size + PER_FILE);
                    }
                }
            }
            let expected = costs[to as usize];
            prop_assert_eq!(found.as_deref().map_or(u64::MAX, cost), if to < from { u64::MAX } else { expected });
            let mut reached = TxId::new(from);
            for file in found.unwrap_or_default() {
                prop_assert!(file.continues(reached) && file.leads_beyond(reached));
                reached = file.max_txid;
            }
        }
    }
}
