//! Measures restores of a large database: one snapshot, and a smaller snapshot with 2,000 files on top.
//!
//! `cargo run --release -p replica --example restore_speed -- DIRECTORY [MEGABYTES]` makes the replicas below
//! DIRECTORY unless they are there.

#![expect(clippy::unwrap_used, reason = "a measurement has nobody to report errors to")]
#![expect(clippy::disallowed_methods, reason = "no SQLite has these files open")]

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use ltx::{Checksum, Encoder, Header, PageCount, PageSize, Pgno, TxId};
use replica::{FileClient, ReplicaClient, RestoreOptions, Target, compact_level, plan, restore};

const PAGE: u32 = 4096;

/// Half noise, half text: LZ4 makes about half of it, as of rows with random keys.
fn fill(page: &mut [u8], state: &mut u64) {
    let text = b"the quick brown fox jumps over the lazy dog and back again ";
    for chunk in page.chunks_mut(128) {
        let (noise, rest) = chunk.split_at_mut(64);
        for word in noise.chunks_mut(8) {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&state.rotate_left(29).to_be_bytes());
        }
        rest.iter_mut().zip(text.iter().cycle()).for_each(|(byte, letter)| *byte = *letter);
    }
}

fn write(client: &FileClient, dir: &Path, level: u8, txids: (u64, u64), commit: u32, pgnos: &[u32]) {
    let size = PageSize::new(PAGE).unwrap();
    let (min, max) = (TxId::new(txids.0), TxId::new(txids.1));
    let header = Header::new(size, PageCount::new(commit), min, max);
    let path = dir.join("staged");
    let mut encoder = Encoder::new(BufWriter::new(fs::File::create(&path).unwrap()), &header).unwrap();
    let (mut page, mut state) = (vec![0; PAGE as usize], txids.1);
    for pgno in pgnos {
        fill(&mut page, &mut state);
        encoder.write_page(Pgno::new(*pgno).unwrap(), &page).unwrap();
    }
    encoder.finish(Checksum::NONE).unwrap().0.flush().unwrap();
    client.write_ltx_path(level, min, max, &path).unwrap();
    fs::remove_file(path).unwrap();
}

fn measure(name: &str, client: &FileClient, output: &Path) {
    for _ in 0..3 {
        let _ = fs::remove_file(output);
        // Otherwise the first run pays for what was written before it.
        let _ = std::process::Command::new("sync").status();
        let (start, before) = (Instant::now(), cpu_seconds());
        let planned = plan(client, &Target::Latest).unwrap();
        let done = restore(client, &planned, output, &RestoreOptions::default()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let megabytes = done.commit.bytes(done.page_size) as f64 / 1e6;
        let ((user, system), (user0, system0)) = (cpu_seconds(), before);
        println!(
            "{name}: {seconds:.2} s, {:.0} MB/s of database, {} files, processor {:.2} s user, {:.2} s system",
            megabytes / seconds,
            done.files,
            user - user0,
            system - system0
        );
    }
}

/// Makes the pages of a snapshot again and compares them with what was restored.
fn check(output: &Path, commit: u32) {
    let bytes = fs::File::open(output).unwrap();
    let (mut page, mut found, mut state) = (vec![0; PAGE as usize], vec![0; PAGE as usize], 1);
    for pgno in PageCount::new(commit).pgnos(PageSize::new(PAGE).unwrap()) {
        fill(&mut page, &mut state);
        let offset = pgno.offset(PageSize::new(PAGE).unwrap());
        ltx::ReadAt::read_exact_at(&bytes, &mut found, offset).unwrap();
        assert!(page == found, "page {pgno} is not the one that was stored");
    }
}

/// Processor time of this process so far, which other processes disturb less than the clock.
fn cpu_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let field =
        |n: usize| stat.split_whitespace().nth(n).and_then(|text| text.parse().ok()).unwrap_or(0.0) / 100.0;
    (field(13), field(14))
}

fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).collect()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| "restore-speed".into(), std::path::PathBuf::from);
    let megabytes: u32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    fs::create_dir_all(&dir).unwrap();
    let snapshot = FileClient::new(dir.join("snapshot"));
    let many = FileClient::new(dir.join("many"));
    if !dir.join("many").exists() {
        let commit = megabytes * 1_000_000 / PAGE;
        write(&snapshot, &dir, 9, (1, 1), commit, &(1..=commit).collect::<Vec<_>>());
        let commit = commit / 5;
        write(&many, &dir, 0, (1, 1), commit, &(1..=commit).collect::<Vec<_>>());
        for txid in 2..=2001_u32 {
            let mut pgnos: Vec<u32> = (0..25).map(|i| (txid * 7919 + i * 1931) % commit + 1).collect();
            pgnos.sort_unstable();
            pgnos.dedup();
            write(&many, &dir, 0, (txid.into(), txid.into()), commit, &pgnos);
        }
    }
    measure("snapshot", &snapshot, &dir.join("snapshot.db"));
    check(&dir.join("snapshot.db"), megabytes * 1_000_000 / PAGE);
    measure("2,000 files", &many, &dir.join("many.db"));
    println!("{}", peak_memory());
    let start = Instant::now();
    let info = compact_level(&many, 1).unwrap();
    println!("compaction of level 0: {:.2} s, {info:?}", start.elapsed().as_secs_f64());
    many.delete_ltx_files(&many.ltx_files(1, TxId::NONE, false).unwrap()).unwrap();
    println!("{}", peak_memory());
}
