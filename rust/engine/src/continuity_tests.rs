#![expect(
    clippy::disallowed_methods,
    reason = "a stranger's writes; no application depends on the locks it drops"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use ltx::TxId;
use rusqlite::Connection;
use wal::WalIndex;

use super::*;
use crate::connection::{CheckpointMode, CheckpointResult};
use crate::letting_go::Frames;
use crate::notices::Notices;
use crate::options::Options;
use crate::pace::FIRST_BACKOFF;
use crate::seal::Sealed;

/// A database with frames that nobody has moved yet, looked at a moment ago.
struct Scene {
    _dir: tempfile::TempDir,
    path: PathBuf,
    app: Connection,
    live: Live,
}

impl Scene {
    fn new() -> Self {
        Self::after("")
    }

    /// With a database that was prepared by `sql`.
    fn after(sql: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(sql).unwrap();
        app.execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .unwrap();
        let options = Arc::new(Options::new(&path).unwrap());
        let live =
            Live::open(&options, TxId::NONE, Frames::Sound, &Notices::default(), &Arc::default()).unwrap();
        let mut scene = Self { _dir: dir, path, app, live };
        scene.commit();
        scene.live.leap().unwrap();
        scene.live.emit().unwrap();
        scene.live.verify_files().unwrap();
        scene
    }

    fn commit(&self) {
        self.app.execute("INSERT INTO t VALUES (zeroblob(9000))", []).unwrap();
    }

    fn app_checkpoints(&self) {
        self.app.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).unwrap();
    }

    /// Ours, after a look that is as old as the scene.
    fn checkpoint(&mut self) -> Checkpointed {
        let live = &mut self.live;
        let stamp = live.observed.stamp;
        let done = live.turns.idle().checkpoint(CheckpointMode::Passive, Duration::ZERO, &stamp).unwrap();
        live.observe_own_checkpoint(&done).unwrap();
        done
    }

    fn others_write(&self) {
        let content = fs::read(&self.path).unwrap();
        File::options().write(true).open(&self.path).unwrap().write_all(&content).unwrap();
    }
}

#[test]
fn a_checkpoint_that_was_faster_than_ours_is_no_stranger() {
    let mut scene = Scene::new();
    scene.app_checkpoints();
    let done = scene.checkpoint();
    assert!(!done.is_refused() && scene.live.doubt.is_open);
    scene.live.verify_files().unwrap();
    scene.live.settle_doubt().unwrap();
}

#[test]
fn a_checkpoint_that_left_something_to_ours_is_no_stranger() {
    let mut scene = Scene::new();
    scene.app_checkpoints();
    // The transaction that holds the WAL lets ours move this as well.
    scene.commit();
    scene.live.leap().unwrap();
    assert!(scene.checkpoint().is_refused());
    scene.live.verify_files().unwrap();
    assert!(scene.live.doubt.is_open);
}

#[test]
fn what_a_stranger_wrote_before_ours_is_found() {
    let mut scene = Scene::new();
    scene.others_write();
    assert!(scene.checkpoint().is_refused());
    assert!(matches!(scene.live.verify_files(), Err(Error::Changed { .. })));
}

#[test]
fn what_a_stranger_wrote_with_nothing_left_to_move_is_found() {
    let mut scene = Scene::new();
    scene.checkpoint();
    scene.live.verify_files().unwrap();
    scene.others_write();
    assert!(!scene.checkpoint().is_refused());
    assert!(matches!(scene.live.verify_files(), Err(Error::Changed { .. })));
}

#[test]
fn the_first_frames_of_a_wal_are_no_strangers_before_the_index_knows_them() {
    let mut scene = Scene::new();
    scene.live.move_frames().unwrap();
    scene.live.turns.rollback().unwrap();
    scene.app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    scene.live.verify_files().unwrap();

    let other = Scene::new();
    let wal = |scene: &Scene| scene.path.with_file_name("app.db-wal");
    scene.app.execute_batch("BEGIN IMMEDIATE").unwrap();
    fs::write(wal(&scene), fs::read(wal(&other)).unwrap()).unwrap();
    scene.live.verify_files().unwrap();
    scene.app.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(scene.live.verify_files(), Err(Error::Changed { .. })), "nobody commits");
}

#[test]
fn a_transaction_that_an_error_left_open_keeps_no_other_from_beginning() {
    let mut scene = Scene::new();
    let idle = |scene: &Scene| scene.live.turns.idle().begin_read(Duration::ZERO).unwrap();
    idle(&scene);
    scene.live.leap().unwrap();
    idle(&scene);
    assert_eq!(scene.live.seal(Duration::ZERO).unwrap(), Sealed::Drained);
}

#[test]
fn nobody_is_accused_of_what_a_checkpoint_wrote_that_could_not_be_finished() {
    let mut scene = Scene::new();
    // Each on its way to the same frame, of which the wal-index is told once.
    for is_known in [false, true] {
        scene.others_write();
        assert!(scene.checkpoint().is_refused());
        let told = scene.live.verify_files().unwrap_err().to_string();
        assert!(told.contains("an unfinished checkpoint"), "{is_known}: {told}");
        assert!(
            scene.live.observed.stamp != scene.live.files.stamp().unwrap(),
            "it is compared all the same"
        );
    }
}

#[test]
fn who_asks_once_has_the_pages_compared_although_it_was_done_a_moment_ago() {
    let mut scene = Scene::after("PRAGMA page_size = 512; CREATE TABLE u AS SELECT zeroblob(5000 * 512)");
    scene.live.doubt.not_before = Some(Instant::now() + Duration::from_secs(3600));
    scene.app_checkpoints();
    // Right behind it, and so without a trace: a page of the large row.
    let file = File::options().write(true).open(&scene.path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 100], 3000 * 512 + 200).unwrap();
    scene.live.verify_files().unwrap();
    assert!(scene.live.doubt.is_open);
    scene.live.settle_doubt().unwrap();
    assert!(scene.live.doubt.is_open, "put off");
    let found = scene.live.settle_doubt_at_once();
    assert!(matches!(found, Err(Error::Changed { .. })), "{found:?}");
}

/// Counted as a reader that pins the WAL, it made us wait longer each time, while the next checkpoint of a writer without a pause took
/// longer each time: the WAL grew by 200 MB a second.
#[test]
fn the_end_of_a_checkpoint_of_somebody_else_ends_the_wait_for_it() {
    let mut scene = Scene::new();
    let result = |busy, checkpointed| CheckpointResult { busy, wal_frames: 9, checkpointed };
    assert_eq!(Sealed::by(&result(true, 9)), Sealed::Rival);
    assert_eq!(Sealed::by(&result(false, 8)), Sealed::Pinned);
    assert_eq!(Sealed::by(&result(false, 9)), Sealed::Drained);
    let index = scene.live.files.wal_index().unwrap().unwrap();
    for (sealed, ends) in [(Sealed::Rival, true), (Sealed::Pinned, false)] {
        scene.live.pace.saw(&WalIndex { backfilled: 0, ..index });
        (0..9).for_each(|_| scene.live.note(sealed));
        assert!(scene.live.pace.seal_not_before > Instant::now(), "less and less often while it lasts");
        scene.live.pace.saw(&WalIndex { backfilled: 1, ..index });
        assert_eq!(scene.live.pace.seal_not_before <= Instant::now(), ends);
        assert_eq!(scene.live.pace.backoff == FIRST_BACKOFF, ends);
    }
}

/// What made us wait was that a long WAL did not begin anew. A wait of a second, kept from then, would make it as long again.
#[test]
fn a_wal_that_begins_anew_ends_the_wait() {
    let mut scene = Scene::new();
    let index = scene.live.files.wal_index().unwrap().unwrap();
    scene.live.pace.saw(&WalIndex { mx_frame: 40_000, ..index });
    (0..10).for_each(|_| scene.live.pace.pinned());
    assert!(scene.live.pace.seal_not_before > Instant::now());
    scene.live.pace.saw(&WalIndex { mx_frame: 1, ..index });
    assert_eq!(scene.live.pace.backoff, FIRST_BACKOFF);
    assert!(scene.live.pace.seal_not_before <= Instant::now());
}
