//! Follows a database for some seconds and prints what happened: `follow DB SECONDS [MIN_CHECKPOINT_PAGE_N]`.

use std::time::{Duration, Instant};

use engine::{Database, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("database path wanted")?;
    let seconds: u64 = args.next().ok_or("seconds wanted")?.parse()?;
    let mut options = Options::new(path.as_ref())?;
    if let Some(frames) = args.next() {
        options.min_checkpoint_page_n = frames.parse()?;
    }
    let database = Database::new(options)?;
    database.open(ltx::TxId::NONE)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if database.follow(end.saturating_duration_since(Instant::now()))? {
            database.enforce_l0_retention(database.pos().txid)?;
        }
    }
    println!("{:#?}", database.status()?);
    database.close()?;
    Ok(())
}
