//! One rollout of a member: what the store has of it, and what counts here.

use std::cmp::Ordering;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::alone::Alone;
use super::rules::{self, Rule};
use super::values::{Place, Read, Standing, Stored, run_of};
use crate::analysis::users::Losses;
use crate::model::Shares;
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::Clock;
use crate::rollout::command::Command;
use crate::rollout::event::{Action, Event};
use crate::rollout::program::Program;
use crate::rollout::record::Record;

/// Changes that wait for the store; of more the oldest are only in the record.
const MOST_CHANGES: usize = 32;

/// A change that was made here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Random.
    pub id: u64,
    /// The run that it was about.
    pub run: u64,
    /// The attempt.
    pub attempt: u32,
    /// The revision of the record that it was made in.
    pub revision: u64,
    /// The change.
    pub change: Change,
}

impl Made {
    /// A change that is about to be made in this record. `id`: random.
    #[must_use]
    pub fn new(id: u64, record: &Record, change: Change) -> Self {
        let run = run_of(&record.program);
        Self { id, run, attempt: record.run.attempt, revision: record.run.revision, change }
    }

    /// Whether it takes the candidate back, which is obeyed beside another version's record as well.
    fn takes_back(&self) -> bool {
        matches!(self.change.command, Command::Abort | Command::Trip(_))
    }

    /// Whether it may be made in this record, which may not be the one that it was made in. What gives the candidate more was
    /// decided about what had happened by then, and about nothing else. What was decided before a retry is over.
    fn fits(&self, stored: &Stored) -> bool {
        let run = &stored.record.run;
        let gives_no_more = || self.change.command.gives_no_more(run.given(&stored.record.program));
        match self.attempt.cmp(&run.attempt) {
            // What a breaker has counted is of its attempt.
            Ordering::Less if matches!(self.change.command, Command::Trip(_)) => false,
            Ordering::Less => !stored.may_be_retried_since(self.attempt) && gives_no_more(),
            Ordering::Equal => self.revision == run.revision || gives_no_more(),
            Ordering::Greater => gives_no_more(),
        }
    }
}

/// A rollout that this member is configured with.
#[derive(Debug)]
pub struct Known {
    /// What it is to do, as this member is configured.
    pub program: Rc<Program>,
    /// The run of the program.
    pub run: u64,
    /// The program's fingerprint.
    pub fingerprint: u64,
    /// The revision of the store's record; 0: it has none. `None`: the store has not said.
    pub revision: Option<u64>,
    /// The revision of the store's record when it last moved, and how it stood then: more evidence moves nothing.
    pub moved: u64,
    /// Attempt, whether the candidate has been taken back, revision.
    stood: Option<(u32, bool, u64)>,
    /// What counts: the store's record, or what is greater and has yet to be written there.
    pub current: Option<Stored>,
    /// The place of the greatest record that the store has had.
    pub base: Place,
    /// Whether `current` has yet to be written.
    pub is_unstored: bool,
    /// The sets of users that the store's record names.
    pub stored_users: Vec<u64>,
    /// Whether the store may lack sets of users that `current` names: it has lost data, or was restored.
    pub lacks_users: bool,
    /// Changes made here since the store's record; before there is one, those to be made in it.
    pub changes: Vec<Made>,
    /// What counted before the first of them.
    unchanged: Option<Stored>,
    /// Whether changes were refused here after people had been told that they are made.
    pub has_refused: bool,
    /// Another version of this software writes the record.
    pub foreign: Option<Standing>,
    /// The last attempt that was seen taken back, by whichever version: another version's record gives it nothing again.
    pub taken_back: u32,
    /// The store's record cannot be read.
    pub is_unreadable: bool,
    /// What was known of it before there was a store: counted by another clock.
    pub before: Option<Record>,
    /// What this Envoy followed when another of its VMs led it, until the store has said what it has: it is judged by while the
    /// store is away.
    pub followed: Option<Record>,
    /// When evidence was last written.
    pub written: u64,
    /// What the judge has lost of users in the record that is to be written.
    pub losses: Losses,
    /// The revision up to which events were handed out; `None`: nothing was.
    pub announced: Option<u64>,
    /// The standing that was handed out.
    pub shown: Option<Standing>,
    /// The judge while the store is away.
    pub alone: Alone,
}

impl Known {
    /// A rollout of which nothing is known.
    #[must_use]
    pub fn new(program: Rc<Program>) -> Self {
        let (run, fingerprint) = (run_of(&program), program.fingerprint());
        Self {
            program,
            run,
            fingerprint,
            revision: None,
            moved: 0,
            stood: None,
            current: None,
            base: Place::default(),
            is_unstored: false,
            stored_users: Vec::new(),
            lacks_users: false,
            changes: Vec::new(),
            unchanged: None,
            has_refused: false,
            foreign: None,
            taken_back: 0,
            is_unreadable: false,
            losses: Losses::default(),
            before: None,
            followed: None,
            written: 0,
            announced: None,
            shown: None,
            alone: Alone::default(),
        }
    }

    /// Takes over what the store has, at this revision.
    pub fn read(&mut self, read: Read, revision: u64, clock: Clock) {
        self.revision = Some(revision);
        (self.foreign, self.is_unreadable) = (None, false);
        self.stored_users.clear();
        match read {
            Read::Whole(mut stored) => {
                self.stored_users.extend(stored.record.shelved());
                self.note_moved(&stored.standing(), revision);
                stored.record.wake(clock);
                if let Some(mine) = self.current.as_ref().filter(|_| rules::is_out(Rule::OneValue)) {
                    stored.record.closed_through = mine.record.closed_through;
                }
                self.adopt(*stored, clock);
            }
            Read::Foreign(standing) => {
                self.note_moved(&standing, revision);
                self.foreign = Some(standing);
                self.refuse_unstored(clock);
                self.is_unstored = false;
            }
            Read::Unreadable => {
                // A member with a greater record writes it anew; another waits for such a member, or for a person.
                self.is_unreadable = self.current.is_none();
                self.is_unstored = self.current.is_some();
            }
        }
    }

    /// Another version writes the record: what was changed here and is not stored would have effect when that version has gone.
    /// What takes the candidate back is kept.
    fn refuse_unstored(&mut self, clock: Clock) {
        let changes = std::mem::take(&mut self.changes);
        let (kept, refused): (Vec<Made>, Vec<Made>) = changes.into_iter().partition(Made::takes_back);
        if refused.is_empty() {
            self.changes = kept;
            return;
        }
        (self.has_refused, self.shown) = (true, None);
        let is_taken_back = self.current.as_ref().is_some_and(|mine| mine.record.is_taken_back());
        match self.unchanged.take() {
            Some(unchanged) if !is_taken_back => {
                self.current = Some(unchanged);
                for change in &kept {
                    let _ = self.make(change, clock); // what is refused is noted
                }
            }
            _ => self.changes = kept,
        }
    }

    /// The store has a record that stands so, at this revision.
    pub fn note_moved(&mut self, standing: &Standing, revision: u64) {
        let stands = Some((standing.attempt, standing.is_taken_back, standing.revision));
        if self.stood != stands || revision < self.moved {
            (self.stood, self.moved) = (stands, revision);
        }
    }

    /// The store was restored: what it has is read anew.
    pub fn forget_revision(&mut self) {
        (self.revision, self.moved, self.stood) = (None, 0, None);
        self.stored_users.clear();
        self.lacks_users |= self.current.is_some();
    }

    /// The store has no record.
    pub fn miss(&mut self) {
        self.revision = Some(0);
        self.stored_users.clear();
        (self.foreign, self.is_unreadable) = (None, false);
        self.lacks_users |= self.current.is_some();
        self.is_unstored = self.current.is_some() || !self.changes.is_empty();
    }

    fn adopt(&mut self, stored: Stored, clock: Clock) {
        let place = stored.place();
        // The store has forgotten: it was restored from a backup.
        let is_lesser = place < self.base;
        self.base = self.base.max(place);
        self.lacks_users |= is_lesser;
        let Some(mine) = &mut self.current else {
            self.advance(stored, clock);
            return;
        };
        match mine.order(&stored) {
            Ordering::Equal => {
                self.is_unstored = false;
                self.changes.clear();
            }
            // A candidate that was taken back stays so. Another attempt owes nothing to the one before, unless it is the same but
            // for a finding.
            Ordering::Greater
                if is_lesser
                    || self.changes.is_empty()
                    || mine.stays_taken_back()
                    || mine.record.run.attempt > stored.record.run.attempt
                        && (!stored.record.is_taken_back()
                            || mine.may_be_retried_since(stored.record.run.attempt)) =>
            {
                self.is_unstored = true;
                mine.learn_history(&stored);
                let revision = stored.record.run.revision;
                if mine.record.run.revision < revision {
                    mine.record.run.revision = revision.saturating_add(1);
                }
            }
            Ordering::Greater | Ordering::Less => self.advance(stored, clock),
        }
    }

    /// Goes on from a record of the store. What was changed here is changed in it as well.
    fn advance(&mut self, stored: Stored, clock: Clock) {
        let changes = std::mem::take(&mut self.changes);
        self.is_unstored = false;
        let made = stored.made.clone();
        (self.current, self.before, self.followed) = (Some(stored), None, None);
        // The store's record may have it already: an answer was lost.
        for change in changes.iter().filter(|one| !made.contains(&one.id)) {
            let _ = self.make(change, clock); // what is refused is noted
        }
    }

    /// Makes a change here. Before the store has said what it is to be made in, the change waits for that.
    ///
    /// # Errors
    /// It was not made.
    #[inline(never)] // one copy in the module
    pub fn make(&mut self, made: &Made, clock: Clock) -> Result<(), NotChanged> {
        if self.changes.is_empty() {
            self.unchanged.clone_from(&self.current);
        }
        let changes = match (&mut self.current, &self.foreign) {
            _ if made.run != self.run => Err(NotChanged::Unknown),
            // What was accepted before this record was read: it would have effect here when the other version has gone.
            (_, Some(standing)) if !made.takes_back() => Err(NotChanged::OtherRevision(standing.revision)),
            (Some(mine), _) => mine.make(made, clock),
            (None, _) => Ok(true),
        };
        // Other VMs route by what they have made of it: they are shown what counts.
        self.shown = None;
        self.has_refused |= changes.is_err() && !matches!(made.change.command, Command::Trip(_));
        if !changes? {
            return Ok(());
        }
        self.is_unstored = true;
        self.changes.push(made.clone());
        let surplus = self.changes.len().saturating_sub(MOST_CHANGES);
        self.changes.drain(..surplus);
        Ok(())
    }

    /// Takes over what another VM of this Envoy has followed. All that has happened in it was told.
    pub fn take_over(&mut self, followed: Record) {
        self.announced = Some(followed.run.revision);
        self.current = Some(Stored { record: followed, ..Stored::default() });
    }

    /// What this member found on its own.
    pub fn take_back(&mut self, record: Record, event: Event) {
        if let (None, Some(followed)) = (&self.current, self.followed.take()) {
            self.take_over(followed);
        }
        let Some(mine) = &mut self.current else { return };
        mine.record = record;
        mine.generation = mine.generation.saturating_add(1);
        mine.add(vec![event]);
        self.is_unstored = true;
    }

    /// How another version's record is followed, unless the candidate was taken back here.
    #[must_use]
    pub fn follows(&mut self) -> Option<Standing> {
        if let Some(mine) = self.current.as_ref().filter(|mine| mine.record.is_taken_back()) {
            self.taken_back = self.taken_back.max(mine.record.run.attempt);
        }
        let mut standing = self.foreign.clone().filter(|standing| !self.has_taken_back(standing))?;
        if standing.is_taken_back {
            self.taken_back = self.taken_back.max(standing.attempt);
        } else if standing.attempt <= self.taken_back {
            standing.is_taken_back = true;
            standing.weights = Shares::new();
            standing.mirrors = false;
        }
        Some(standing)
    }

    /// Whether the candidate was taken back here, and what another version has written has no later attempt.
    fn has_taken_back(&self, standing: &Standing) -> bool {
        self.current
            .as_ref()
            .is_some_and(|mine| mine.record.is_taken_back() && mine.record.run.attempt >= standing.attempt)
    }

    /// The record with which the rollout begins, once the store has said that there is none. `since`: the store's revision.
    /// Those of the record go on from there, so that no event has the identity of one in an earlier record.
    #[must_use]
    pub fn begin(&self, clock: Clock, since: u64) -> Stored {
        let program = Program::clone(&self.program);
        let mut stored = Stored::default();
        if let Some(mut record) = self.before.clone() {
            record.change_clock(clock);
            record.push(&program, clock);
            record.wake(clock);
            stored.record = record;
        } else {
            let (record, mut events) = Record::begin(program, clock);
            stored.record = record;
            let run = &mut stored.record.run;
            run.revision = run.revision.saturating_add(since);
            events.iter_mut().for_each(|event| event.revision = event.revision.saturating_add(since));
            stored.add(events);
        }
        for made in &self.changes {
            let _ = stored.make(made, clock); // it may not fit
        }
        stored
    }
}

impl Stored {
    /// Whether a later attempt than this one may have begun with a retry, and not because a person has gone on past a finding.
    #[inline(never)] // one copy in the module
    fn may_be_retried_since(&self, attempt: u32) -> bool {
        let is_later = |event: &Event| event.attempt > attempt;
        let is_known = self.events.first().is_some_and(|(_, first)| !is_later(first));
        !is_known || self.events.iter().any(|(_, event)| is_later(event) && event.action == Action::Retry)
    }

    /// Makes a change. Returns whether it changes anything.
    ///
    /// # Errors
    /// It was not made.
    fn make(&mut self, made: &Made, clock: Clock) -> Result<bool, NotChanged> {
        if !made.fits(self) {
            return Err(NotChanged::OtherRevision(self.record.run.revision));
        }
        let mut record = self.record.clone();
        let mut change = made.change.clone();
        if let Command::Trip(trip) = &mut change.command {
            // Counted by the shares of this member's own configuration, where it has another one.
            trip.assignment = record.run.assignment(&record.program);
        }
        let events = change.apply(&mut record, clock)?;
        let changes = record != self.record;
        if changes {
            self.record = record;
            self.generation = self.generation.saturating_add(1);
            self.add(events);
            self.made.push(made.id);
            let surplus = self.made.len().saturating_sub(MOST_CHANGES);
            self.made.drain(..surplus);
        }
        Ok(changes)
    }
}
