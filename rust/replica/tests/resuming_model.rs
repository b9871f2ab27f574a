//! Random histories of a replica, restored by processes that are stopped and killed while it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::resume::{Limited, PAGE, Site, noise};
use common::{MemoryClient, Pages, Recipe, txid};
use ltx::TxId;
use proptest::prelude::*;
use proptest::sample::Index;
use replica::{Error, FileInfo, ReplicaClient, RestoreOptions, Restored, Result, Target, restore, with_plan};

/// How many pages change.
const HOT: usize = 10;

/// Version of each page.
type Versions = BTreeMap<u32, u64>;

#[derive(Clone, Debug)]
enum Change {
    /// More transactions: how large the database is then, and which pages change.
    Write(Vec<(u32, Vec<Index>)>),
    /// A level 1 file of all level 0 files from there on, which are deleted.
    Merge(Index),
    Snapshot,
    /// Everything after this transaction becomes another history.
    Fork(Index),
}

#[derive(Clone, Debug)]
struct Attempt {
    changes: Vec<Change>,
    reads: usize,
    /// At which read the process is killed, if it is not the last one.
    killed: Option<usize>,
    target: Option<Index>,
    parallelism: usize,
    rollback_journal: bool,
    /// It is called off when the database is whole, and page 1 edited.
    stops_whole: bool,
}

fn writes() -> impl Strategy<Value = Vec<(u32, Vec<Index>)>> {
    let one = (900_u32..1000, prop::collection::vec(any::<Index>(), 1..4));
    prop::collection::vec(one, 1..5)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => writes().prop_map(Change::Write),
        3 => any::<Index>().prop_map(Change::Merge),
        1 => Just(Change::Snapshot),
        1 => any::<Index>().prop_map(Change::Fork),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let killed = prop::option::of(0_usize..14);
    let changes = prop::collection::vec(change(), 0..3);
    let target = prop::option::weighted(0.3, any::<Index>());
    (changes, 0_usize..20, killed, target, 1_usize..4, any::<bool>(), prop::bool::weighted(0.3)).prop_map(
        |(changes, reads, killed, target, parallelism, rollback_journal, stops_whole)| Attempt {
            changes,
            reads,
            killed,
            target,
            parallelism,
            rollback_journal,
            stops_whole,
        },
    )
}

fn content(pgno: u32, version: u64) -> Vec<u8> {
    let mut page = Pages::from([(pgno, vec![0; PAGE as usize])]);
    // Some pages are empty.
    if !(u64::from(pgno) + version).is_multiple_of(5) {
        noise(&mut page, pgno.wrapping_mul(7919).wrapping_add(version as u32 * 104_729));
    }
    let mut page = page.remove(&pgno).unwrap();
    if pgno == 1 && page.iter().any(|byte| *byte != 0) {
        // In WAL mode, as its header says.
        page[..21].copy_from_slice(b"SQLite format 3\0\x10\0\x02\x02\0");
    }
    page
}

struct World {
    client: MemoryClient,
    /// After each transaction, from none on.
    states: Vec<Versions>,
    version: u64,
}

impl World {
    fn write(&mut self, commit: u32, writes: &[Index]) {
        self.version += 1;
        let mut state = self.states.last().unwrap().clone();
        state.retain(|pgno, _| *pgno <= commit);
        let there = state.len() as u32;
        state.extend((there + 1..=commit).map(|pgno| (pgno, self.version)));
        // Some pages change again and again.
        state.extend(writes.iter().map(|at| (at.index(HOT) as u32 * 90 + 1, self.version)));
        self.states.push(state);
        let last = self.states.len() - 1;
        self.store(last, last, if last == 1 { 9 } else { 0 });
    }

    fn store(&self, min: usize, max: usize, level: u8) {
        let (before, after) = (&self.states[min - 1], &self.states[max]);
        let differs = |(pgno, version): &(&u32, &u64)| {
            // A page that was cut off in between is new.
            let kept = self.states[min..=max].iter().all(|state| state.contains_key(pgno));
            before.get(pgno) != Some(*version) || !kept
        };
        let pages = after.iter().filter(differs).map(|(pgno, version)| (*pgno, content(*pgno, *version)));
        let recipe = Recipe {
            min: min as u64,
            max: max as u64,
            page_size: PAGE,
            commit: after.len() as u32,
            // Another history has other times.
            millis: self.version as i64,
            pages: pages.collect(),
            encoding: ltx::PageEncoding::Block,
            checksums: None,
        };
        recipe.store(&self.client, level);
    }

    fn change(&mut self, change: &Change) {
        let last = self.states.len() - 1;
        match change {
            Change::Write(all) => all.iter().for_each(|(commit, writes)| self.write(*commit, writes)),
            Change::Merge(at) => {
                let files = self.client.ltx_files(0, txid(0), false).unwrap();
                if !files.is_empty() {
                    let merged = &files[at.index(files.len())..];
                    let max = merged.last().unwrap().max_txid.get() as usize;
                    self.store(merged[0].min_txid.get() as usize, max, 1);
                    self.client.delete_ltx_files(merged).unwrap();
                }
            }
            Change::Snapshot => self.store(1, last, 9),
            Change::Fork(at) => {
                let kept = at.index(last) + 1;
                let all = self.client.all_ltx_files(false).unwrap();
                let later: Vec<FileInfo> =
                    all.iter().filter(|file| file.max_txid.get() as usize > kept).copied().collect();
                self.client.delete_ltx_files(&later).unwrap();
                // What only later files had is there again.
                self.states.truncate(kept + 1);
                self.version += 1;
                if !all.iter().any(|file| file.max_txid.get() as usize == kept) {
                    self.store(1, kept, 9);
                }
                self.write(self.states[kept].len() as u32, &[]);
            }
        }
    }

    fn expected(&self, at: TxId, rollback_journal: bool) -> Vec<u8> {
        let state = &self.states[at.get() as usize];
        let mut database: Vec<u8> =
            state.iter().flat_map(|(pgno, version)| content(*pgno, *version)).collect();
        if rollback_journal && database[18] == 2 {
            database[18..20].fill(1);
        }
        database
    }
}

/// What the files were when the process was killed.
struct Corpse {
    state: Vec<u8>,
    database: Vec<u8>,
}

fn attempt_once(world: &World, site: &Site, attempt: &Attempt) -> Result<Restored> {
    let corpse = Mutex::new(None);
    let seen = AtomicUsize::new(0);
    let before = |_: &FileInfo, _: u64| {
        let number = seen.fetch_add(1, Ordering::Relaxed);
        if attempt.killed == Some(number)
            && let Ok(state) = fs::read(site.state())
            && let Ok(database) = fs::read(site.partial())
        {
            *corpse.lock().unwrap() = Some(Corpse { state, database });
        }
        true
    };
    let client = Limited { before: &before, ..Limited::new(&world.client, attempt.reads) };
    let target = attempt
        .target
        .map_or(Target::Latest, |at| Target::Txid(txid(at.index(world.states.len() - 1) as u64 + 1)));
    let stop = |_: &Path| Err(Error::Cancelled);
    let options = RestoreOptions {
        parallelism: attempt.parallelism,
        overwrite: true,
        rollback_journal: attempt.rollback_journal,
        verify: if attempt.stops_whole { Some(&stop) } else { None },
        ..site.options()
    };
    let done =
        with_plan(&client, &target, &options, &mut |plan| restore(&client, plan, &site.output(), &options));
    if let Some(corpse) = corpse.into_inner().unwrap()
        && site.partial().exists()
        && site.state().exists()
    {
        // In place: the same file.
        for (path, bytes) in [(site.state(), corpse.state), (site.partial(), corpse.database)] {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(0).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
    done.map(|(_, restored)| restored)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn however_often_it_is_stopped_the_database_is_that_of_the_replica(
        first in writes(),
        attempts in prop::collection::vec(attempt(), 1..6),
    ) {
        let mut world = World { client: MemoryClient::default(), states: vec![Versions::new()], version: 0 };
        world.change(&Change::Write(first));
        let site = Site::new();
        let last = Attempt {
            changes: Vec::new(), reads: usize::MAX, killed: None, target: None, parallelism: 3,
            rollback_journal: false, stops_whole: false,
        };
        for attempt in attempts.iter().chain([&last]) {
            attempt.changes.iter().for_each(|change| world.change(change));
            if let Ok(restored) = attempt_once(&world, &site, attempt) {
                let database = fs::read(site.output()).unwrap();
                prop_assert!(database == world.expected(restored.pos.txid, attempt.rollback_journal), "another database");
                prop_assert_eq!(site.names(), ["db"]);
                fs::remove_file(site.output()).unwrap();
            }
        }
        prop_assert!(site.names().is_empty());
    }
}
