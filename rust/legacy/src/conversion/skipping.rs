//! What a conversion does about files that are damaged or missing, if it is to leave them out.
//!
//! An older snapshot of the generation takes the place of a damaged one: the segments between them lead to the same states. Without one,
//! and behind a damaged segment, no state can be had up to the next snapshot.

use super::Conversion;
use crate::error::Error;
use crate::schedule::Step;
use crate::verify::Damage;
use crate::work::State;

impl Conversion {
    /// How a state is made: from its own snapshot, or from an older one. Nothing, if it cannot be.
    pub(super) fn state_of(&self, step: &Step) -> Option<State> {
        let state = State::of(step);
        let replaced = self.replaced.get(&(state.generation, state.snapshot)).copied();
        let snapshot = replaced.unwrap_or(Some(state.snapshot))?;
        Some(State { snapshot, ..state })
    }

    /// Whether an error is about the snapshot of a state, and not about a segment.
    pub(super) fn is_about(&self, error: &Error, state: &State) -> bool {
        let snapshot = self.schedule.files(state.generation).snapshots.get(state.snapshot);
        snapshot.is_some_and(|snapshot| error.key() == Some(snapshot.key()))
    }

    /// Lets the snapshot before that of a state take its place, if there is one.
    pub(super) fn replace(&mut self, state: &State) -> Option<usize> {
        let is_before = |step: &&Step| step.generation == state.generation && step.snapshot != state.snapshot;
        let steps = self.schedule.steps().iter();
        let mut before =
            steps.take_while(|step| (step.generation, step.snapshot) != (state.generation, state.snapshot));
        let older = before
            .by_ref()
            .filter(is_before)
            .last()
            .and_then(|step| self.state_of(step))
            .map(|older| older.snapshot);
        self.replaced.insert((state.generation, state.snapshot), older);
        older
    }

    /// Leaves out the present step, and with it what depends on it.
    pub(super) fn leave_out(&mut self, error: &Error) {
        let Some(step) = self.schedule.steps().get(self.next).copied() else { return };
        let own = State::of(&step);
        let older = if step.is_snapshot && self.is_about(error, &own) { self.replace(&own) } else { None };
        self.replaced.insert((own.generation, own.snapshot), older);
        let key = error.key().unwrap_or_default();
        let known = self.left_out.iter().position(|each| each.key == key);
        let number = known.unwrap_or_else(|| {
            self.left_out.push(Damage::new(error));
            self.left_out.len() - 1
        });
        if older.is_none() {
            self.lost.insert((own.generation, own.snapshot), number);
            self.count_lost(&step);
        }
        self.skip(&step);
    }

    pub(super) fn count_lost(&mut self, step: &Step) {
        let number = self.lost.get(&(step.generation, step.snapshot));
        if let Some(lost) = number.and_then(|number| self.left_out.get_mut(*number)) {
            lost.add(step);
            self.lacks = true;
        }
    }
}
