//! Measures small reads of one object: `small_reads URL SIZE THREADS READS` reads 4 KiB at random places of its SIZE bytes and
//! prints the seconds that it took.

#![expect(clippy::unwrap_used, reason = "a measurement has nobody to report errors to")]

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use http_ranges::{Counter, Settings, Source};

const READ: u64 = 4096;

fn main() {
    http_ranges::prepare();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, size, threads, reads] = args.as_slice() else {
        eprintln!("usage: small_reads URL SIZE THREADS READS");
        std::process::exit(2)
    };
    let (size, threads, reads): (u64, u64, u64) =
        (size.parse().unwrap(), threads.parse().unwrap(), reads.parse().unwrap());
    let counter = Arc::new(Counter::new());
    let source = Source::new(url, [], Arc::new(Settings::default()), Arc::clone(&counter)).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        for seed in 0..threads {
            let source = &source;
            scope.spawn(move || read_some(source, size, seed, reads / threads));
        }
    });
    println!("{}", begun.elapsed().as_secs_f64());
    assert_eq!(counter.requests(), reads / threads * threads, "a read was repeated");
}

fn read_some(source: &Source, size: u64, seed: u64, count: u64) {
    let (mut state, mut bytes) = (seed + 1, [0; READ as usize]);
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = (state >> 20) % (size - READ);
        source.read(offset, Some(READ)).unwrap().read_exact(&mut bytes).unwrap();
    }
}
