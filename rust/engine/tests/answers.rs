//! What is asked while a database is worked on is answered without waiting for that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{Bench, create, insert};
use engine::{Database, Error, Options};
use ltx::{Timestamp, TxId};

/// Far more than anything here takes; what waits for a gate would wait for ever.
const LIMIT: Duration = Duration::from_secs(20);

/// Where somebody is held until the test lets go.
struct Gate {
    arrived: Mutex<Receiver<()>>,
    arrive: Mutex<Sender<()>>,
    leave: Mutex<Receiver<()>>,
    open: Mutex<Sender<()>>,
}

impl Gate {
    fn new() -> Self {
        let ((arrive, arrived), (open, leave)) = (channel(), channel());
        let [arrived, leave] = [arrived, leave].map(Mutex::new);
        let [arrive, open] = [arrive, open].map(Mutex::new);
        Self { arrived, arrive, leave, open }
    }

    fn pass(&self) {
        self.arrive.lock().unwrap().send(()).unwrap();
        self.leave.lock().unwrap().recv_timeout(LIMIT).unwrap();
    }

    fn await_somebody(&self) {
        self.arrived.lock().unwrap().recv_timeout(LIMIT).unwrap();
    }

    fn open(&self) {
        self.open.lock().unwrap().send(()).unwrap();
    }
}

/// Everything that is asked without a turn; it must come back while `held` is.
fn ask(database: &Arc<Database>, txid: u64, held: impl FnOnce()) {
    let (sender, answers) = channel();
    let asked = Arc::clone(database);
    std::thread::spawn(move || {
        assert!(asked.attach());
        assert_eq!(asked.local_files().unwrap().len() as u64, txid);
        assert!(
            asked
                .local_path(TxId::new(1))
                .unwrap()
                .ends_with(ltx::format_file_name(TxId::new(1), TxId::new(1)))
        );
        asked.interrupt();
        assert!(asked.take_notices().is_empty());
        sender
            .send((asked.pos(), asked.page_size(), asked.snapshot_wanted(), asked.status().unwrap()))
            .unwrap();
    });
    let (pos, page_size, wanted, status) = answers.recv_timeout(LIMIT).expect("it waits for its turn");
    assert_eq!(pos.txid.get(), txid);
    assert_eq!((status.pos, status.page_size, status.snapshot_wanted), (pos, page_size, wanted));
    assert!(page_size.is_some());
    held();
}

static CLOCK: OnceLock<Gate> = OnceLock::new();

/// Asked for once for each L0 file, before its pages are read.
fn held_clock() -> Timestamp {
    CLOCK.get_or_init(Gate::new).pass();
    Timestamp::from_millis(1_000_000)
}

#[test]
fn what_is_known_is_told_while_the_next_l0_file_is_made() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let gate = CLOCK.get_or_init(Gate::new);
    let options = Options { clock: held_clock, ..bench.options() };
    let database = Arc::new(Database::new(options).unwrap());
    assert!(database.open(TxId::NONE).unwrap());
    for txid in 0..2 {
        insert(&app, 1);
        let worker = Arc::clone(&database);
        let sync = std::thread::spawn(move || worker.sync());
        gate.await_somebody();
        ask(&database, txid, || gate.open());
        assert_eq!(sync.join().unwrap().unwrap().txid.get(), txid + 1);
        assert_eq!(database.pos().txid.get(), txid + 1);
    }
    let status = database.status().unwrap();
    assert_eq!((status.counters.full_syncs, status.counters.incremental_syncs), (1, 1));
    assert!(status.wal_size > 0);
    database.abandon();
    assert_eq!(database.status().unwrap(), engine::Status::default());
    assert!(matches!(database.local_files(), Err(Error::NotOpen { .. })));
}

/// Output that holds whoever writes to it, once.
struct Held<'a>(&'a Gate, bool);

impl Write for Held<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.1, true) {
            self.0.pass();
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_pass_over_all_pages_ends_when_it_is_cancelled() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    app.execute("INSERT INTO t(b) VALUES (randomblob(8000000))", []).unwrap();
    let database = Arc::new(bench.replicator(0));
    database.sync().unwrap();
    let gate = Gate::new();
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| database.snapshot(Held(&gate, false)));
        gate.await_somebody();
        ask(&database, 1, || {
            database.cancel();
            gate.open();
        });
        assert!(matches!(snapshot.join().unwrap(), Err(Error::Cancelled { .. })));
    });
    // What does not read everything goes on; what would, is refused.
    insert(&app, 1);
    assert_eq!(database.sync().unwrap().txid.get(), 2);
    assert!(matches!(database.snapshot(io::sink()), Err(Error::Cancelled { .. })));
    database.close().unwrap();
    let again = bench.replicator(2);
    assert!(again.snapshot(io::sink()).is_ok());
}
