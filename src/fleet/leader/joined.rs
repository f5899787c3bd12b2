//! A pass of an Envoy that belongs to a fleet: records come from the store, and what was counted goes there.

use super::{InUse, Leader, configured, happened, heads, journal, record_key, shared};
use crate::fleet::effect::Effect;
use crate::fleet::heads::Closed;
use crate::fleet::joined::{self, Joined};
use crate::fleet::shared::{Cached, Shared, Version};
use crate::fleet::store::member::{Counts, News};
use crate::model::{Assignment, Shares};
use crate::rollout::record::{Clock, Head, Record};

impl Leader {
    /// Takes over what was commanded and reported, and has all VMs follow what has changed in the fleet. Returns whether
    /// something has.
    pub(in crate::fleet) fn pass_joined(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        joined: &mut Joined,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(mut pass) = self.pass.take() else { return false };
        effects.append(&mut self.gone);
        if joined.configured.as_ref() != Some(&self.configured) {
            let at = |led: &super::Led| plans.get(led.at.0)?.plan.rollouts().get(led.at.1);
            let programs = self.led.iter().filter_map(at);
            let programs = programs.map(|rollout| (rollout.name.as_str(), &rollout.program));
            let before = |name: &str| shared::read::<Record>(shared, &record_key(name));
            joined.member.configure(programs, before, clock);
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
        let has_changed = self.follow_fleet(shared, plans, joined, clock, effects);
        let closed = reported.into_iter().filter_map(|name| {
            let record = joined.member.record(&name)?;
            Some(Closed { through: record.closed_through, watch: record.watch(), name })
        });
        heads::write_closed(shared, &closed.collect::<Vec<_>>());
        self.end_pass(shared, clock);
        self.show_fleet(shared, joined, clock, effects);
        has_changed
    }

    /// Has all VMs follow what has changed in the fleet. Returns whether something has.
    pub(in crate::fleet) fn follow_fleet(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        joined: &mut Joined,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let pending = joined::pending(shared);
        for made in &pending {
            // Refused: the VM that made it had a record that is not the fleet's.
            if joined.member.make(made, clock).is_ok_and(|is_new| is_new) {
                joined.member.announced(&made.change.rollout);
            }
        }
        if !pending.is_empty() {
            joined::settle(shared, |made| joined.member.waits(made));
        }
        let is_stale = joined.member.is_stale(clock);
        if std::mem::replace(&mut joined.is_stale, is_stale) != is_stale {
            joined.member.show_all();
        }
        effects.extend(joined.member.poll_questions().into_iter().map(Effect::Ask));
        let mut changed = Vec::new();
        for news in joined.member.poll_news() {
            if let Some(name) = self.take_over_news(shared, plans, news, is_stale, clock, effects) {
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            heads::note(shared, &changed);
        }
        !changed.is_empty()
    }

    fn take_over_news(
        &mut self,
        shared: &mut impl Shared,
        plans: &[InUse<'_>],
        news: News,
        is_stale: bool,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> Option<String> {
        let led = self.led.get_mut(*self.by_name.get(news.rollout.as_str())?)?;
        let configured = configured(plans, led.at)?;
        let head = match news.counts {
            Counts::Record(mut record) => {
                // Where this Envoy has another configuration of the same release: as it would go on by it.
                record.push(configured.program, clock);
                record.configured_at = configured.loaded_at;
                let head = record.head(&news.rollout);
                led.record = Cached::create(shared, &record_key(&news.rollout), *record, Version::ANY);
                led.show(shared, effects);
                head
            }
            Counts::Standing(standing) => standing.head(&news.rollout, configured.program),
        };
        if !news.is_history {
            happened(shared, &led.rollout, news.events, effects);
        } else if journal::of(shared, &news.rollout).is_empty() {
            journal::add(shared, &news.rollout, &news.events);
        }
        let head = if is_stale { at_stable(head) } else { head };
        let is_known = heads::read(shared, &head.name).is_some_and(|known| known == head);
        heads::replace(shared, &head);
        let is_told = led.told.replace(head).is_some_and(|told| led.told.as_ref() == Some(&told));
        (!is_told || !is_known).then_some(news.rollout)
    }

    /// Shows the fleet to the other VMs and to people.
    pub(in crate::fleet) fn show_fleet(
        &self,
        shared: &mut impl Shared,
        joined: &mut Joined,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) {
        let view = joined.member.view(clock);
        joined::show(shared, &view);
        let counted = view.members.iter().filter(|member| member.left_out.is_none()).count();
        effects
            .push(Effect::Fleet { age: joined.member.age(clock) / 1_000_000_000, members: counted as u64 });
        let problems = view.problems();
        let new = problems.iter().filter(|problem| !joined.told.contains(problem));
        effects.extend(new.map(|problem| Effect::Problem(problem.clone())));
        if problems.is_empty() && !joined.told.is_empty() {
            effects.push(Effect::Solved);
        }
        joined.told = problems;
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
