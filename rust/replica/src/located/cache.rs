//! Where files are, as far as their client was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::Result;
use crate::located::spot::Spot;
use crate::place::FileKey;

/// Files of which that is remembered. A URL has up to 2 KiB.
const MOST_FILES: usize = 4096;

/// Answers of the client, the oldest of which make room for new ones.
#[derive(Default)]
pub(super) struct Cache {
    files: Mutex<Files>,
    /// An answer has come, or will not.
    answered: Condvar,
}

#[derive(Default)]
struct Files {
    entries: HashMap<FileKey, Entry>,
    /// Those that are known, the oldest first.
    order: VecDeque<FileKey>,
}

enum Entry {
    /// Some thread asks the client.
    Asked,
    Known(Known),
}

struct Known {
    spot: Spot,
    /// When a URL should be renewed, and when it is of no use any more.
    life: Option<(Instant, Instant)>,
}

impl Known {
    fn new(spot: Spot) -> Self {
        let life = match &spot {
            Spot::Url(_, life) => {
                let now = Instant::now();
                // A life too long for the clock has no end.
                now.checked_add(*life).map(|end| (now + *life / 2, end))
            }
            _ => None,
        };
        Self { spot, life }
    }

    /// Whether it has to be renewed by the caller. Others go on with it for half of what is left, and are asked then.
    fn take_turn(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.life {
            Some((due, end)) if *due <= now => {
                *due = now + end.saturating_duration_since(now) / 2;
                true
            }
            _ => false,
        }
    }

    fn is_usable(&self) -> bool {
        self.life.is_none_or(|(_, end)| Instant::now() < end)
    }
}

impl Cache {
    /// Where a file is. The client is asked if that is not known; of several threads at once one asks, and no lock is held.
    pub(super) fn get(&self, file: FileKey, ask: impl FnOnce(FileKey) -> Result<Spot>) -> Result<Spot> {
        let mut files = self.files();
        loop {
            match files.entries.get_mut(&file) {
                Some(Entry::Asked) => {
                    files = self.answered.wait(files).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Entry::Known(known)) => {
                    if !known.take_turn() {
                        return Ok(known.spot.clone());
                    }
                    drop(files);
                    return self.renew(file, ask);
                }
                None => break,
            }
        }
        files.entries.insert(file, Entry::Asked);
        drop(files);
        let _asking = Asking { cache: self, file };
        let spot = ask(file)?;
        self.put(file, spot.clone());
        Ok(spot)
    }

    /// What is known does until its end, should the client not answer.
    fn renew(&self, file: FileKey, ask: impl FnOnce(FileKey) -> Result<Spot>) -> Result<Spot> {
        match ask(file) {
            Ok(spot) => {
                self.put(file, spot.clone());
                Ok(spot)
            }
            Err(error) => match self.files().entries.get(&file) {
                Some(Entry::Known(known)) if known.is_usable() => Ok(known.spot.clone()),
                _ => Err(error),
            },
        }
    }

    /// Remembers where a file is.
    pub(super) fn put(&self, file: FileKey, spot: Spot) {
        let mut files = self.files();
        if !matches!(files.entries.insert(file, Entry::Known(Known::new(spot))), Some(Entry::Known(_))) {
            files.order.push_back(file);
        }
        while files.order.len() > MOST_FILES
            && let Some(oldest) = files.order.pop_front()
        {
            files.remove_known(oldest);
        }
    }

    /// Forgets an answer that is of no use, unless there is a newer one.
    pub(super) fn forget(&self, file: FileKey, spot: &Spot) {
        let mut files = self.files();
        if matches!(files.entries.get(&file), Some(Entry::Known(known)) if known.spot.is(spot)) {
            files.remove_known(file);
            files.order.retain(|other| *other != file);
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Whole at any time.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn remove_known(&mut self, file: FileKey) {
        if matches!(self.entries.get(&file), Some(Entry::Known(_))) {
            self.entries.remove(&file);
        }
    }
}

/// A client is being asked: lets the others know when it has answered, or will not.
struct Asking<'a> {
    cache: &'a Cache,
    file: FileKey,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut files = self.cache.files();
        if matches!(files.entries.get(&self.file), Some(Entry::Asked)) {
            files.entries.remove(&self.file);
        }
        drop(files);
        self.cache.answered.notify_all();
    }
}
