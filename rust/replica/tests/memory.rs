//! A restore takes no more memory than its ceiling, whatever there is to restore. Alone in its process, as it
//! measures that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{BufWriter, Write};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use common::resume::Limited;
use common::txid;
use ltx::{Checksum, Encoder, Header, PageCount};
use replica::{FileClient, ReplicaClient, RestoreOptions, Resume, Target, plan, restore};

/// A figure of this process in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Writes a snapshot without holding it in memory: some noise that LZ4 halves, then zeros.
fn write_snapshot(client: &FileClient, dir: &std::path::Path, commit: u32) {
    let header = Header::new(common::page_size(512), PageCount::new(commit), txid(1), txid(1));
    let path = dir.join("snapshot");
    let mut encoder = Encoder::new(BufWriter::new(fs::File::create(&path).unwrap()), &header).unwrap();
    let (mut page, mut state) = (vec![0; 512], 1_u64);
    for pgno in header.commit.pgnos(header.page_size) {
        if pgno.get() > 200_000 {
            page.fill(0);
        } else {
            for word in page[..256].chunks_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&state.rotate_left(29).to_be_bytes());
            }
        }
        encoder.write_page(pgno, &page).unwrap();
    }
    encoder.finish(Checksum::NONE).unwrap().0.flush().unwrap();
    client.write_ltx_path(9, txid(1), txid(1), &path).unwrap();
}

#[test]
fn memory_does_not_grow_with_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path().join("replica"));
    // More pages than file numbers are kept in memory for, and some hundred files on top.
    let commit = (2 << 20) + 1000;
    write_snapshot(&client, dir.path(), commit);
    for n in 2..300 {
        common::delta(512, commit, n, n, &[(n as u32 * 7000, 1), (commit, n as u8)]).store(&client, 0);
    }
    let planned = plan(&client, &Target::Latest).unwrap();
    let output = dir.path().join("db");
    // From afar, what is done is written down, too.
    let (afar, kept) = (Limited::new(&client, usize::MAX), AtomicU64::new(0));
    let resume = Resume { every: Duration::from_millis(20), ..Resume::new("replica", &kept) };
    let resumed = RestoreOptions { resume: Some(resume), overwrite: true, ..RestoreOptions::default() };
    let clients: [(&dyn ReplicaClient, _); 2] = [(&client, RestoreOptions::default()), (&afar, resumed)];
    for (client, options) in clients {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS:");
        restore(client, &planned, &output, &options).unwrap();
        let grown = status("VmHWM:").saturating_sub(before);
        assert!(grown < 32 << 10, "{grown} KiB");
    }
    assert!(planned.size() > resume.least);
    let file = fs::File::open(&output).unwrap();
    let mut page = [0; 512];
    ltx::ReadAt::read_exact_at(&file, &mut page, u64::from(commit - 1) * 512).unwrap();
    assert_eq!(page, [43; 512], "the last of the files has won");
    ltx::ReadAt::read_exact_at(&file, &mut page, (7000 * 200 - 1) * 512).unwrap();
    assert_eq!(page, [1; 512]);
    assert_eq!(fs::metadata(&output).unwrap().len(), u64::from(commit) * 512);
}
