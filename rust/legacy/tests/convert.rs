//! Segments as LTX files: both lead to the same database, after each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs::{self, File};
use std::io::Cursor;

use common::{Replica, step};
use legacy::{Applier, Database, FrameReader, Stamp, Target};
use ltx::{PageCount, Timestamp, TxId};
use proptest::prelude::*;
use replica::{FileClient, ReplicaClient, RestoreOptions};

/// Converts what a restore would read; the databases of all states on the way.
fn converted(made: &Replica, client: &FileClient, directory: &std::path::Path) -> Vec<Vec<u8>> {
    let plan = made.plan(&Target::default()).unwrap();
    let path = directory.join("working");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::io::copy(&mut FrameReader::new(&*made.objects[&plan.snapshot.key()]).unwrap(), &mut &file).unwrap();
    let mut applier = Applier::with_changes(&file, "snapshot").unwrap();
    let page_size = applier.page_size().unwrap();
    let commit = PageCount::new((file.metadata().unwrap().len() / u64::from(page_size.get())) as u32);
    let (mut txid, time) = (TxId::new(1), Timestamp::from_millis(1));
    let store =
        |txid: TxId, bytes: Vec<u8>| client.write_ltx_file(0, txid, txid, &mut Cursor::new(bytes)).unwrap();
    let database = Database { file: &file, page_size, commit };
    store(txid, database.write(&Stamp::new((txid, txid), time), Vec::new()).unwrap());
    let mut states = vec![fs::read(&path).unwrap()];
    for segment in &plan.segments {
        applier.segment(segment, &mut FrameReader::new(&*made.objects[&segment.key()]).unwrap()).unwrap();
        let Some(changes) = applier.changes().unwrap() else { continue };
        txid = txid.next().unwrap();
        store(txid, changes.write(&file, &Stamp::new((txid, txid), time), Vec::new()).unwrap());
        let mut state = fs::read(&path).unwrap();
        state.resize(changes.commit.bytes(page_size) as usize, 0);
        states.push(state);
    }
    applier.finish().unwrap();
    file.sync_all().unwrap();
    states
}

proptest! {
    #[test]
    fn each_state_is_the_same(steps in prop::collection::vec(step(), 0..40)) {
        let mut made = Replica::new(5);
        made.run(steps);
        let directory = tempfile::tempdir().unwrap();
        let client = FileClient::new(directory.path().join("ltx"));
        let states = converted(&made, &client, directory.path());
        for (number, state) in (1..).zip(&states) {
            let output = directory.path().join(format!("{number}.db"));
            let plan = replica::plan(&client, &replica::Target::Txid(TxId::new(number))).unwrap();
            replica::restore(&client, &plan, &output, &RestoreOptions::default()).unwrap();
            prop_assert!(fs::read(output).unwrap() == *state, "after segment {}", number - 1);
        }
        prop_assert_eq!(states.last().unwrap(), &made.restored(1).unwrap());
    }
}
