//! The methods of our VFS beside those of SQLite's own `unix`, as C calls them, at random.
//!
//! A case is a row of calls by four actors in two processes. A model says what must come of each (`model.rs`). Then the row is
//! run in four worlds: by stock alone, by ours alone, by both on the same files, and by ours with locks of processes. In each
//! all answers must be those of the model: codes, contents, sizes, who gets which lock. In the end nothing may be locked, while
//! children of the processes still live.
//!
//! A second or two as a test; `cargo test --package osvfs --test beside_stock -- --seconds 600 [--seed N]` goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "files are small here"
)]

mod case;
mod model;
mod raw;
mod step;
mod worker;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use case::Case;
use step::{Call, Step};

/// Rounds of a test, cases of a round, and calls of the longest case.
const ROUNDS: u64 = 4;
const CASES: u32 = 25;
const LONGEST: usize = 120;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Elsewhere the names stand for other locks than those of stock.
    if !cfg!(target_os = "linux") || arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(place + 1)?.parse::<u64>().expect("a number"))
    };
    let until = Instant::now() + Duration::from_secs(number("--seconds").unwrap_or(0));
    let first = number("--seed").unwrap_or(1);
    let mut seed = first;
    loop {
        if let Err(problem) = run(seed) {
            eprintln!("--seed {seed}: {problem}");
            std::process::exit(1);
        }
        seed += 1;
        if seed - first >= ROUNDS && Instant::now() >= until {
            break;
        }
    }
    println!("{} cases, seeds {first} to {}", u64::from(CASES) * (seed - first), seed - 1);
}

/// Some cases; of one that fails, the shortest that does.
fn run(seed: u64) -> Result<(), String> {
    let config =
        Config { cases: CASES, failure_persistence: None, max_shrink_iters: 3000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner
        .run(&case::case(LONGEST), |case| check(&case).map_err(TestCaseError::fail))
        .map_err(|error| error.to_string())
}

fn check(case: &Case) -> Result<(), String> {
    let steps = model::plan(case);
    let folder = tempfile::tempdir_in(place()).unwrap();
    let mut stock = Vec::new();
    for (name, vfses) in world::worlds(case) {
        let answers = world::run(&folder.path().join(name), case, &vfses, &steps)
            .map_err(|wrong| format!("{name}: {wrong}\n{}", told(&steps)))?;
        let characteristics: Vec<_> =
            steps.iter().zip(answers).filter(|(step, _)| step.call == Call::Characteristics).collect();
        let characteristics: Vec<_> = characteristics.into_iter().map(|(_, answer)| answer).collect();
        if name == "stock" {
            stock = characteristics;
        } else if characteristics != stock {
            return Err(format!("{name}: {characteristics:?} where stock has {stock:?}"));
        }
    }
    Ok(())
}

/// Syncs take no time in memory.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { PathBuf::from(env!("CARGO_TARGET_TMPDIR")) }
}

fn told(steps: &[Step]) -> String {
    steps
        .iter()
        .enumerate()
        .map(|(number, Step { actor, call, .. })| format!("  {number}: {actor} {call:?}\n"))
        .collect()
}
