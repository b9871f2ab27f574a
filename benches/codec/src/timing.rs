//! Durations of interleaved runs on a machine that has other things to do.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// One thing to be timed.
pub(crate) type Task<'a> = Box<dyn FnMut() -> Result<usize, Box<dyn Error>> + 'a>;

const TURNS: usize = 201;

/// Duration of each task when nothing disturbs it. All tasks run once without being timed, then take turns, in the opposite order
/// every other time: whoever comes second finds the data of the first in the cache.
pub(crate) fn measure(tasks: &mut [Task<'_>]) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut durations = vec![Vec::new(); tasks.len()];
    for turn in 0..=TURNS {
        for place in 0..tasks.len() {
            let place = if turn % 2 == 0 { place } else { tasks.len() - 1 - place };
            let (task, durations) = (&mut tasks[place], &mut durations[place]);
            let start = Instant::now();
            black_box(task()?);
            if turn > 0 {
                durations.push(start.elapsed());
            }
        }
    }
    Ok(durations.into_iter().map(undisturbed).collect())
}

/// The median of the faster fifth: the other turns say more about the machine's other work.
fn undisturbed(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations.get(durations.len() / 10).copied().unwrap_or_default()
}

/// Megabytes (10^6 bytes) a second.
pub(crate) fn speed(bytes: usize, duration: Duration) -> f64 {
    bytes as f64 / 1e6 / duration.as_secs_f64()
}
