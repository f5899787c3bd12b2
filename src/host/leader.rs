//! One VM of an Envoy acts for all at each tick: it judges what all have counted and moves the rollouts on.
//!
//! Preferably the main thread's VM, which serves no request. Whoever leads is written down; when it has not
//! led for two ticks somebody else takes over. Two that lead at once do no harm: a record is only replaced by
//! who has seen its latest form.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::rollouts::{Configured, Heads, Records, clock, count_dropped, heads_key, record_key, report_key};
use super::shared::{self, Cached};
use super::shelf::{self, Shelf};
use super::{journal, presence, progress::Progress};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::event::Event;
use crate::rollout::lead::Lead;
use crate::rollout::record::{Clock, Head, Record, Report};
use crate::telemetry::ledger::Entry;

/// Ticks after which nobody waits for a worker that does not report.
const SILENT: u64 = 3;
/// Nanoseconds after which a rollout that is configured no more is forgotten: other VMs may still be loading.
const FORGET: u64 = 60_000_000_000;

/// Nanoseconds after which it is written down again that a configuration names a rollout.
const SEEN: u64 = 10_000_000_000;

/// What leading needs to remember from tick to tick.
#[derive(Default)]
pub(super) struct Leader {
    records: RefCell<Records>,
    progress: RefCell<Progress>,
    /// Commands that others carried out, when they were last looked at.
    commands: Cell<u64>,
}

fn lead_key() -> String {
    shared::key("lead")
}

fn commands_key() -> String {
    shared::key("commands")
}

impl Leader {
    /// Leads this tick, unless somebody else does. Returns the version of the heads when others must be told.
    pub(super) fn lead(&self, vm: u64, serves: bool, configured: &[Configured<'_>]) -> Option<u64> {
        let clock = clock();
        // Whoever does not know all rollouts leaves the lead to others, as if it served requests: a VM whose
        // plugin is still being set up, or is gone already, would leave theirs alone.
        if configured.is_empty() {
            return None;
        }
        let serves = serves || !knows_all(configured, clock.uptime);
        if !self.takes_the_lead(vm, serves, clock.tick()) {
            return None;
        }
        let commands = shared::read(&commands_key()).unwrap_or(0);
        if self.commands.replace(commands) != commands {
            self.records.borrow_mut().clear();
        }
        let reports = reports(clock.tick());
        let known_before = reports.iter().map(|report| report.tick).min().unwrap_or(0);
        let mut counted: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for (rollout, entries) in reports.iter().flat_map(|report| &report.rollouts) {
            let all = counted.entry(rollout).or_default();
            for entry in entries {
                let at = all.partition_point(|known| known.tick <= entry.tick);
                all.insert(at, entry);
            }
        }
        let configured = newest(configured);
        let mut records = self.records.borrow_mut();
        let mut heads = Vec::new();
        for rollout in &configured {
            let entries = counted.remove(rollout.name).unwrap_or_default();
            if let Some(tracked) = tracked(&mut records, rollout, clock) {
                step(tracked, rollout, &entries, known_before, clock);
                heads.push(tracked.value.head(rollout.name));
            }
        }
        let told = tell(heads, clock.uptime);
        if records.len() > configured.len() {
            records.retain(|name, _| configured.iter().any(|rollout| rollout.name == name));
        }
        self.progress.borrow_mut().show(&configured, &records);
        told
    }

    /// Whether this VM leads now; written down so that nobody else does.
    fn takes_the_lead(&self, vm: u64, serves: bool, tick: u64) -> bool {
        let mut leads = false;
        let changed = shared::update::<Lead>(&lead_key(), |last| {
            let next = Lead { vm, tick, serves };
            // Of several that write the very first one, the last stays, and leads from the next tick on.
            let Some(last) = last else { return Some(next) };
            leads = last.gives_way_to(&next);
            if leads && last.vm != vm {
                // What is remembered is from another time.
                self.records.borrow_mut().clear();
                self.progress.borrow_mut().forget();
            }
            leads.then_some(next)
        });
        leads && changed
    }
}

/// Whether all rollouts that somebody has named lately are among these.
fn knows_all(configured: &[Configured<'_>], now: u64) -> bool {
    let heads = shared::read::<Heads>(&heads_key()).unwrap_or_default();
    let names: HashSet<&str> = configured.iter().map(|rollout| rollout.name).collect();
    let is_recent = |head: &&Head| now.saturating_sub(head.seen) < SEEN.saturating_mul(2);
    heads.list.iter().filter(is_recent).all(|head| names.contains(head.name.as_str()))
}

/// Each rollout once: several plugins of this VM may have it, and the newest configuration counts.
fn newest<'a>(configured: &[Configured<'a>]) -> Vec<Configured<'a>> {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut newest: Vec<Configured<'a>> = Vec::new();
    for rollout in configured {
        match by_name.get(rollout.name).and_then(|at| newest.get_mut(*at)) {
            Some(known) if known.loaded_at < rollout.loaded_at => *known = *rollout,
            Some(_) => {}
            None => {
                by_name.insert(rollout.name, newest.len());
                newest.push(*rollout);
            }
        }
    }
    newest
}

/// What all workers have told that were heard of lately.
fn reports(tick: u64) -> Vec<Report> {
    let report = |(worker, vm): (usize, u64)| {
        let report = shared::read::<Report>(&report_key(worker))?;
        (report.vm == vm && report.tick.saturating_add(SILENT) >= tick).then_some(report)
    };
    presence::alive().into_iter().filter_map(report).collect()
}

/// A rollout's record, begun if there is none.
fn tracked<'a>(
    records: &'a mut Records,
    rollout: &Configured<'_>,
    clock: Clock,
) -> Option<&'a mut Cached<Record>> {
    if !records.contains_key(rollout.name) {
        let key = record_key(rollout.name);
        let record = match Cached::read(&key) {
            Some(record) => record,
            None => {
                let (mut record, events) = Record::begin(rollout.program.clone(), clock);
                record.configured_at = rollout.loaded_at;
                let record = Cached::create(&key, record)?;
                journal::note(rollout.name, rollout.labels, &events);
                record
            }
        };
        records.insert(rollout.name.to_owned(), record);
    }
    records.get_mut(rollout.name)
}

/// Has a record follow a configuration that is newer than its own.
fn configure(record: &mut Record, rollout: &Configured<'_>, clock: Clock) -> Vec<Event> {
    if rollout.loaded_at <= record.configured_at {
        return Vec::new();
    }
    record.configured_at = rollout.loaded_at;
    record.push(rollout.program, clock)
}

/// Moves one rollout on.
fn step(
    tracked: &mut Cached<Record>,
    rollout: &Configured<'_>,
    entries: &[&Entry],
    known_before: u64,
    clock: Clock,
) {
    let (mut record, mut shelf) = (tracked.value.clone(), Shelf::default());
    let shelved = shelf::named_by(&record);
    record.fetch(&shelf);
    let before = record.run.judge.losses();
    let mut events = configure(&mut record, rollout, clock);
    events.extend(record.advance(entries, known_before, clock));
    record.put(&mut shelf);
    // Lost to somebody's command: the same ticks are judged again at the next one.
    if tracked.replace(&record_key(rollout.name), record) {
        shelf::sweep(&shelved, &tracked.value);
        let losses = tracked.value.run.judge.losses();
        count_dropped("users_of_run", losses.0.saturating_sub(before.0));
        count_dropped("users_with_event", losses.1.saturating_sub(before.1));
        journal::note(rollout.name, rollout.labels, &events);
    } else {
        shelf.undo();
    }
}

/// Writes down where rollouts stand. Returns the heads' version when somebody must route differently.
///
/// A rollout that no configuration has named for a while is forgotten: not at once, for another VM may know a
/// newer configuration, or a plugin that this one has not loaded yet.
fn tell(new: Vec<Head>, now: u64) -> Option<u64> {
    let mut told = None;
    shared::update::<Heads>(&heads_key(), |heads| {
        let mut heads = heads.unwrap_or_default();
        let mut differs = false;
        for head in &new {
            let mut head = head.clone();
            head.seen = now;
            match heads.list.binary_search_by(|known| known.name.cmp(&head.name)) {
                Ok(at) => {
                    let Some(known) = heads.list.get_mut(at) else { continue };
                    if known.revision > head.revision && known.program == head.program {
                        continue; // somebody knows better
                    }
                    differs |= !known.routes_like(&head);
                    if now.saturating_sub(known.seen) < SEEN {
                        head.seen = known.seen; // the same again needs no writing
                    }
                    *known = head;
                }
                Err(at) => {
                    differs = true;
                    heads.list.insert(at, head);
                }
            }
        }
        heads.list.retain(|head| {
            let is_known = now.saturating_sub(head.seen) < FORGET;
            if !is_known {
                if let Some(record) = record(&head.name) {
                    shelf::sweep(&shelf::named_by(&record), &Record::default());
                }
                shared::erase(&record_key(&head.name));
                journal::erase(&head.name);
            }
            is_known
        });
        if differs {
            heads.version = heads.version.saturating_add(1);
        }
        told = differs.then_some(heads.version);
        Some(heads)
    });
    told
}

/// Makes a change that a person asks for at once, on whichever VM it has come to. Returns what became of the
/// rollout, and the version of the heads that everybody must follow.
///
/// A push that nobody has taken over yet comes first, as `configured` has it: the command is about what workers do by
/// now.
pub(super) fn command(
    change: &Change,
    configured: Option<Configured<'_>>,
) -> Result<(Record, u64), NotChanged> {
    const TRIES: usize = 16;
    let key = record_key(&change.rollout);
    let mut cached = Cached::<Record>::read(&key).ok_or(NotChanged::Unknown)?;
    for _ in 0..TRIES {
        let mut record = cached.value.clone();
        let shelved = shelf::named_by(&record);
        let mut events =
            configured.map(|configured| configure(&mut record, &configured, clock())).unwrap_or_default();
        events.extend(change.apply(&mut record, clock())?);
        if cached.replace(&key, record.clone()) {
            shelf::sweep(&shelved, &record);
            // Whoever leads remembers the record as it was.
            shared::update::<u64>(&commands_key(), |count| Some(count.unwrap_or(0).saturating_add(1)));
            let labels = configured.map(|configured| configured.labels).unwrap_or_default();
            journal::note(&change.rollout, labels, &events);
            let version = tell(vec![record.head(&change.rollout)], clock().uptime);
            let version = version.or_else(|| Some(shared::read::<Heads>(&heads_key())?.version));
            return Ok((record, version.unwrap_or(0)));
        }
    }
    Err(NotChanged::Busy)
}

/// The names of all rollouts.
pub(super) fn names() -> Vec<String> {
    let heads = shared::read::<Heads>(&heads_key()).unwrap_or_default();
    heads.list.into_iter().map(|head| head.name).collect()
}

/// A rollout's record as it stands.
pub(super) fn record(rollout: &str) -> Option<Record> {
    shared::read(&record_key(rollout))
}
