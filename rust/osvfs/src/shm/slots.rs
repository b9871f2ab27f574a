//! Lock slots among the connections of one process: counted, for the kernel or for nobody.

use vfs::{Code, Result, ShmLock};

/// Which slots a connection holds, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) shared: u8,
    pub(super) exclusive: u8,
}

impl Held {
    /// The slots of a request that this connection holds in that way.
    pub(super) fn of(self, lock: ShmLock) -> u8 {
        lock.mask() & if lock.is_exclusive { self.exclusive } else { self.shared }
    }

    pub(super) fn add(&mut self, lock: ShmLock) {
        *self.field(lock) |= lock.mask();
    }

    pub(super) fn remove(&mut self, lock: ShmLock) {
        *self.field(lock) &= !lock.mask();
    }

    fn field(&mut self, lock: ShmLock) -> &mut u8 {
        if lock.is_exclusive { &mut self.exclusive } else { &mut self.shared }
    }
}

/// How many connections of this process hold each slot; -1 for one that holds it alone.
#[derive(Debug, Default)]
pub(super) struct Counts([i32; ShmLock::SLOTS as usize]);

/// What the process as a whole has to do so that its lock is what its connections hold together.
pub(super) trait Outside {
    /// Takes slots for the process: shared, or alone.
    fn take(&mut self, mask: u8, is_exclusive: bool) -> Result<()>;

    /// Lets slots go for the process.
    fn let_go(&mut self, mask: u8) -> Result<()>;
}

/// For slots that no other process can want.
pub(super) struct Nobody;

impl Outside for Nobody {
    fn take(&mut self, _mask: u8, _is_exclusive: bool) -> Result<()> {
        Ok(())
    }

    fn let_go(&mut self, _mask: u8) -> Result<()> {
        Ok(())
    }
}

impl Counts {
    /// Takes slots for one connection, if neither its siblings nor other processes are in the way.
    pub(super) fn try_lock(
        &mut self,
        held: &mut Held,
        lock: ShmLock,
        outside: &mut dyn Outside,
    ) -> Result<()> {
        let mask = lock.mask() & !held.of(lock);
        let slots = || slots(mask);
        if lock.is_exclusive {
            if slots().any(|slot| self.0[slot] != 0) {
                return Err(Code::BUSY.into());
            }
            outside.take(mask, true)?;
            slots().for_each(|slot| self.0[slot] = -1);
        } else {
            if slots().any(|slot| self.0[slot] < 0) {
                return Err(Code::BUSY.into());
            }
            let first = slots().filter(|&slot| self.0[slot] == 0).fold(0, |mask, slot| mask | 1 << slot);
            outside.take(first, false)?;
            slots().for_each(|slot| self.0[slot] += 1);
        }
        held.add(lock);
        Ok(())
    }

    /// Lets slots go for one connection. Those that its siblings still share stay with the process.
    pub(super) fn unlock(&mut self, held: &mut Held, lock: ShmLock, outside: &mut dyn Outside) -> Result<()> {
        let mask = held.of(lock);
        let last = slots(mask).filter(|&slot| self.0[slot] <= 1).fold(0, |mask, slot| mask | 1 << slot);
        outside.let_go(last)?;
        slots(mask).for_each(|slot| self.0[slot] = (self.0[slot] - 1).max(0));
        held.remove(lock);
        Ok(())
    }
}

/// The numbers of the slots in `mask`. Nearly always there is one: no step for each that is not there.
fn slots(mut mask: u8) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = mask.trailing_zeros() as usize;
        mask &= mask.checked_sub(1)?;
        Some(slot)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(first: u8) -> ShmLock {
        ShmLock { first, count: 1, is_exclusive: false }
    }

    fn exclusive(first: u8, count: u8) -> ShmLock {
        ShmLock { first, count, is_exclusive: true }
    }

    /// Remembers what the process asked the kernel for.
    #[derive(Default)]
    struct Calls(Vec<(&'static str, u8)>);

    impl Outside for Calls {
        fn take(&mut self, mask: u8, is_exclusive: bool) -> Result<()> {
            if mask != 0 {
                self.0.push((if is_exclusive { "alone" } else { "shared" }, mask));
            }
            Ok(())
        }

        fn let_go(&mut self, mask: u8) -> Result<()> {
            if mask != 0 {
                self.0.push(("go", mask));
            }
            Ok(())
        }
    }

    #[test]
    fn the_process_locks_with_its_first_and_unlocks_with_its_last() {
        let (mut counts, mut calls) = (Counts::default(), Calls::default());
        let (mut a, mut b) = (Held::default(), Held::default());
        counts.try_lock(&mut a, shared(3), &mut calls).unwrap();
        counts.try_lock(&mut a, shared(3), &mut calls).unwrap();
        counts.try_lock(&mut b, shared(3), &mut calls).unwrap();
        counts.unlock(&mut a, shared(3), &mut calls).unwrap();
        counts.unlock(&mut a, shared(3), &mut calls).unwrap();
        assert_eq!(counts.try_lock(&mut a, exclusive(0, 8), &mut calls).unwrap_err().code, Code::BUSY);
        counts.unlock(&mut b, shared(3), &mut calls).unwrap();
        counts.try_lock(&mut a, exclusive(0, 8), &mut calls).unwrap();
        assert_eq!(counts.try_lock(&mut b, shared(7), &mut calls).unwrap_err().code, Code::BUSY);
        counts.unlock(&mut a, exclusive(0, 8), &mut calls).unwrap();
        assert_eq!(calls.0, [("shared", 8), ("go", 8), ("alone", 0xff), ("go", 0xff)]);
        assert_eq!((a, b), (Held::default(), Held::default()));
    }

    #[test]
    fn a_range_keeps_what_a_sibling_shares() {
        let (mut counts, mut calls) = (Counts::default(), Calls::default());
        let (mut a, mut b) = (Held::default(), Held::default());
        counts.try_lock(&mut a, exclusive(1, 2), &mut calls).unwrap();
        counts.try_lock(&mut b, shared(4), &mut calls).unwrap();
        counts.unlock(&mut a, exclusive(0, 8), &mut calls).unwrap();
        assert_eq!(calls.0.last(), Some(&("go", 0b110)));
        assert_eq!(counts.try_lock(&mut a, exclusive(3, 5), &mut calls).unwrap_err().code, Code::BUSY);
    }
}
