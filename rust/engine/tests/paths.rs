//! What a path may be: a link, a further name, an empty file, a private one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use std::fs;

use common::{Bench, create, insert, rows};
use engine::Database;
use ltx::TxId;
use rusqlite::Connection;

#[test]
fn nobody_may_read_of_a_private_database_what_others_may_not() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    create(&bench.app());
    fs::set_permissions(&bench.path, fs::Permissions::from_mode(0o600)).unwrap();
    let app = bench.app();
    let replicator = bench.replicator(0);
    insert(&app, 1);
    replicator.sync().unwrap();
    replicator.close().unwrap();
    let meta = bench.dir.path().join(".app.db-litestream");
    for name in ["ltxcore/page-checksums", "ltx/0/0000000000000001-0000000000000001.ltx"] {
        assert_eq!(fs::metadata(meta.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_database_that_is_a_link_is_followed_where_it_leads() {
    let bench = Bench::new();
    fs::create_dir(bench.dir.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data/real.db", &bench.path).unwrap();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    insert(&app, 20);
    assert_eq!(rows(&bench.restore(replicator.sync().unwrap().txid.get())), 20);
    // The link leads to another database: that is the one to follow from now on, and the old one is left as it is.
    let other = Connection::open(bench.dir.path().join("data/other.db")).unwrap();
    other.pragma_update(None, "journal_mode", "wal").unwrap();
    create(&other);
    insert(&other, 7);
    std::os::unix::fs::symlink("data/other.db", bench.dir.path().join("new")).unwrap();
    fs::rename(bench.dir.path().join("new"), &bench.path).unwrap();
    assert_eq!(rows(&bench.restore(replicator.sync().unwrap().txid.get())), 7);
    assert_eq!(app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 20);
}

#[test]
fn a_hard_link_is_warned_of_and_an_empty_file_left_alone() {
    let bench = Bench::new();
    fs::write(&bench.path, b"").unwrap();
    let replicator = Database::new(bench.options()).unwrap();
    assert!(!replicator.open(TxId::NONE).unwrap());
    let app = Connection::open(&bench.path).unwrap();
    app.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, b)",
    )
    .unwrap();
    fs::hard_link(&bench.path, bench.dir.path().join("other.db")).unwrap();
    assert!(replicator.open(TxId::NONE).unwrap());
    replicator.sync().unwrap();
    assert_eq!(replicator.status().unwrap().page_size.map(ltx::PageSize::get), Some(8192));
    let told = replicator.take_notices();
    assert!(told.iter().any(|text| text.contains("2 hard links")), "{told:?}");
}
