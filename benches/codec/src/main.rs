//! Speed of the LTX codec against bare LZ4 on the same pages, and of the LZ4 libraries against each other.
//!
//! ```text
//! cargo run --release -p codec-bench                        # lz4_flex with its unsafe code
//! cargo run --release -p codec-bench --features flex-safe   # lz4_flex without
//! ```
//!
//! Single thread, everything in memory. What is compared runs in turns, so that a busy machine slows all alike;
//! each figure is the median of the fastest fifth of its turns.

mod codec;
mod libraries;
mod pages;
mod timing;

use std::error::Error;

/// Uncompressed bytes of a run: so few that many runs fit between two switches of a busy scheduler.
const TOTAL: usize = 4 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    for page_size in [4096, 65536] {
        let pages = pages::database(page_size, TOTAL / page_size);
        println!("\npage size {page_size}, {} pages\n", pages.len());
        libraries::measure(&pages)?;
        println!();
        codec::measure(&pages)?;
    }
    Ok(())
}
