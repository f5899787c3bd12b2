//! A pass of an Envoy that belongs to a fleet: records come from the store, and what was counted goes there.

use std::rc::Rc;

use super::{Leader, configured, happened, heads, journal, outbox, record_key, shared, shelf};
use crate::fleet::callback::Callback;
use crate::fleet::effect::Effect;
use crate::fleet::heads::Closed;
use crate::fleet::joined::{self, Joined};
use crate::fleet::outbox::Done;
use crate::fleet::shared::{Cached, Shared, Version};
use crate::fleet::store::member::{Counts, News};
use crate::model::{Assignment, Shares};
use crate::rollout::event::Event;
use crate::rollout::record::{Head, Record};

impl Leader {
    /// Takes over what was commanded and reported, and has all VMs follow what has changed in the fleet. Returns whether
    /// something has.
    pub(in crate::fleet) fn pass_joined<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        joined: &mut Joined,
    ) -> bool {
        let (plans, clock) = (callback.plans, callback.clock);
        let Some(mut pass) = self.pass.take() else { return false };
        callback.effects.append(&mut self.gone);
        if joined.configured.as_ref() != Some(&self.configured) {
            let at = |led: &super::Led| plans.get(led.at.0)?.plan.rollouts().get(led.at.1);
            let programs = self.led.iter().filter_map(at);
            let programs = programs.map(|rollout| (rollout.name.as_str(), &rollout.program));
            let before = |name: &str| {
                let record: Record = shared::read(callback.shared, &record_key(name))?;
                let users = shelf::of(callback.shared, &record);
                Some((record, users))
            };
            joined.member.configure(programs, before, clock);
            for led in &self.led {
                let found = joined::judged_alone(callback.shared, &led.rollout.name);
                found.into_iter().for_each(|found| joined.member.go_on_alone(&led.rollout.name, found));
            }
            joined.configured = Some(self.configured.clone());
        }
        let mut told = Vec::new();
        for led in &self.led {
            let entries = pass.reports.take(&led.rollout.name);
            if !entries.is_empty() {
                told.push((led.rollout.name.clone(), entries));
            }
        }
        for led in &mut self.led {
            let heard = led.heard.take();
            heard.into_iter().for_each(|answer| joined.member.hear(&led.rollout.name, answer));
        }
        let reported: Vec<String> = told.iter().map(|(name, _)| name.clone()).collect();
        joined.member.tell(pass.reports.known_before, told, clock);
        for name in &reported {
            if let Some(fork) = joined.member.judged_alone(name) {
                joined::keep_judged_alone(callback.shared, name, fork);
            }
        }
        let cut = joined.member.take_cut();
        callback.effects.extend((cut > 0).then_some(Effect::Dropped { what: "ticks_of_report", count: cut }));
        callback.effects.extend(Effect::dropped_of_users(joined.member.take_losses()));
        let has_changed = self.follow_fleet(callback, joined);
        let closed = reported.into_iter().filter_map(|name| {
            let through = joined.member.closed_through(&name, clock);
            let watch = joined.member.record(&name).map(Record::watch).unwrap_or_default();
            (through > 0).then_some(Closed { name, through, watch })
        });
        heads::write_closed(callback.shared, &closed.collect::<Vec<_>>());
        self.end_pass(callback.shared, clock);
        self.show_fleet(callback, joined);
        has_changed
    }

    /// Has all VMs follow what has changed in the fleet. Returns whether something has.
    pub(in crate::fleet) fn follow_fleet<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        joined: &mut Joined,
    ) -> bool {
        let clock = callback.clock;
        let mut pending = joined.pending(callback.shared, clock);
        for made in &pending {
            // Refused: the VM that made it had a record that is not the fleet's.
            if joined.member.make(made, clock).is_ok_and(|is_new| is_new) {
                joined.member.announced(&made.change.rollout);
            }
        }
        pending.retain(|made| !joined.member.waits(made));
        if !pending.is_empty() {
            // With the revision at which the store has the change, before the change is settled.
            joined::show(callback.shared, &joined.member.view(clock));
            joined::settle(callback.shared, &pending);
        }
        let refused = joined.member.poll_refused().into_iter();
        callback.effects.extend(refused.map(|rollout| {
            Effect::Problem(format!(
                "{rollout}: a command was not obeyed in the fleet, for the release had moved on since it was given"
            ))
        }));
        let is_stale = joined.member.is_stale(clock);
        let mut changed = Vec::new();
        if std::mem::replace(&mut joined.is_stale, is_stale) != is_stale {
            joined.member.show_all();
            if is_stale {
                changed = self.hand_unknown_to_stable(callback, joined);
            }
        }
        callback.effects.extend(joined.member.poll_questions().into_iter().map(Effect::Ask));
        let news = joined.member.poll_news();
        let done = Done::of(callback.shared, callback.plans, (joined.member.done(), &news), clock);
        for news in news {
            if let Some(name) = self.take_over_news(callback, news, (&done, is_stale)) {
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            heads::note(callback.shared, &changed);
        }
        !changed.is_empty()
    }

    /// Hands to stable what has no record here, for another VM led the Envoy when the store last answered.
    fn hand_unknown_to_stable<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        joined: &Joined,
    ) -> Vec<String> {
        let mut changed = Vec::new();
        for led in &mut self.led {
            let name = &led.rollout.name;
            let head = heads::read(callback.shared, name).filter(|head| {
                let has_candidate = !head.weights.is_empty() || head.candidate_on_request || head.mirrors;
                has_candidate && joined.member.record(name).is_none()
            });
            if let Some(head) = head.map(at_stable) {
                heads::replace(callback.shared, &head);
                led.told = Some(head);
                changed.push(name.clone());
            }
        }
        changed
    }

    fn take_over_news<S: Shared>(
        &mut self,
        callback: &mut Callback<'_, S>,
        news: News,
        (done, is_stale): (&Done<'_>, bool),
    ) -> Option<String> {
        let led = self.led.get_mut(*self.by_name.get(news.rollout.as_str())?)?;
        let configured = configured(callback.plans, led)?;
        let head = match news.counts {
            Counts::Record(mut record) => {
                let (of_fleet, run_of_fleet) = (record.head(&news.rollout), record.run.clone());
                // Where this Envoy has another configuration of the same release: as it would go on by it, unless that gives a
                // version more than the fleet does.
                record.push(configured.program, callback.clock);
                record.configured_at = configured.loaded_at;
                record.run.revision = of_fleet.revision;
                if record.head(&news.rollout).gives_more_than(&of_fleet, configured.program) {
                    record.run = run_of_fleet;
                    if !of_fleet.pinned {
                        record.run.beat_pin();
                    }
                }
                let head = record.head(&news.rollout);
                let key = record_key(&news.rollout);
                led.record = Cached::create(callback.shared, &key, *record, Version::ANY);
                led.show(callback);
                head
            }
            Counts::Standing(standing) => standing.head(&news.rollout, configured.program),
        };
        let shared = &mut *callback.shared;
        if !news.is_history {
            let told = (&led.rollout, configured.receivers);
            happened(shared, told, news.events, callback.clock, &mut callback.effects);
        } else {
            // Some of it may have happened while no VM of this Envoy led.
            let (missed, was_there) = journal::fill(shared, &news.rollout, &news.events);
            let (clock, effects) = (callback.clock, &mut callback.effects);
            outbox::add_missed(shared, configured.receivers, (&news.rollout, &missed), done, clock);
            // An Envoy that has just started, or has got an earlier release again, logs nothing of what was before.
            let is_new = |event: &Event| outbox::age(event, clock) <= outbox::LATELY;
            let logged = missed.into_iter().filter(|event| was_there && is_new(event));
            effects.extend(logged.map(|event| {
                let (rollout, event) = (Rc::clone(&led.rollout), Box::new(event));
                Effect::Happened { rollout, event }
            }));
        }
        let head = if is_stale { at_stable(head) } else { head };
        let is_known = heads::read(shared, &head.name).is_some_and(|known| known == head);
        heads::replace(shared, &head);
        let is_told = led.told.replace(head).is_some_and(|told| led.told.as_ref() == Some(&told));
        (!is_told || !is_known).then_some(news.rollout)
    }

    /// Shows the fleet to the other VMs and to people.
    pub(in crate::fleet) fn show_fleet<S: Shared>(
        &self,
        callback: &mut Callback<'_, S>,
        joined: &mut Joined,
    ) {
        let (clock, effects) = (callback.clock, &mut callback.effects);
        let view = joined.member.view(clock);
        joined::show(callback.shared, &view);
        let counted = view.members.iter().filter(|member| member.left_out.is_none()).count();
        let kinds = view.kinds_of_problems();
        effects.push(Effect::Fleet {
            age: joined.member.age(clock) / 1_000_000_000,
            members: counted as u64,
            problems: kinds.len() as u64,
        });
        let new = view.problems().into_iter().zip(&kinds).filter(|(_, kind)| !joined.told.contains(kind));
        effects.extend(new.map(|(problem, _)| Effect::Problem(problem)));
        if kinds.is_empty() && !joined.told.is_empty() {
            effects.push(Effect::Solved);
        }
        joined.told = kinds;
    }
}

/// Everything to stable, and nothing counts.
fn at_stable(head: Head) -> Head {
    Head {
        assignment: Assignment(!head.assignment.0),
        weights: Shares::new(),
        candidate_on_request: false,
        mirrors: false,
        ..head
    }
}
