//! What events must obey beyond their types.

use super::condition::conditions;
use super::mirror::pointer;
use super::receipt::{place, receipt_place};
use super::words::{at_most, bounded, name, unique_name};
use crate::config::feedback::{After, Better, Feedback, Join};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::{Config, Rollout};
use crate::signal::catalog::{self, Among};

/// Milliseconds for which events may come.
const LONGEST_WITHIN: u64 = 24 * 3_600_000;
/// The same of users who come again, who are followed for as long.
const LONGEST_AFTER: u64 = 10 * 60_000;

pub(super) fn feedback(rollout: &Rollout, rollout_path: &Path<'_>, problems: &mut Problems) {
    let path = rollout_path.field("feedback");
    at_most(rollout.feedback.len(), &path, problems);
    if !rollout.feedback.is_empty() && rollout.automation.is_some() {
        problems.add(
            &path,
            "beside `automation`, where decisions are the feedback; expected it in a rollout of its own",
        );
    }
    for (index, rule) in rollout.feedback.iter().enumerate() {
        let path = path.index(index);
        name(&rule.name, &path.field("name"), problems);
        let earlier = rollout.feedback.iter().take(index).position(|earlier| earlier.name == rule.name);
        unique_name(&rule.name, earlier, "feedback", &path, problems);
        match &rule.after {
            Some(_) => again(rule, rollout, &path, problems),
            None => self::rule(rule, rollout, &path, problems),
        }
        within(rule, rollout, &path, problems);
    }
}

fn rule(rule: &Feedback, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let own = path.field("match");
    conditions(&rule.matches, &own, problems);
    let is_any = rule.matches == crate::config::schema::Match::default();
    if is_any && !problems.concern(&own) {
        problems.add(&own, "empty; every request would be an event; expected at least a path");
    }
    let body = own.field("body");
    at_most(rule.matches.body.len(), &body, problems);
    for (place, value) in &rule.matches.body {
        let path = body.field(place);
        bounded(value, &path, problems);
        if pointer(place, &path, problems).is_some_and(|pointer| pointer.is_pattern()) {
            problems.add(&path, "matches several places; expected one without `*`");
        }
    }
    if rule.not_before.is_some() {
        problems.add(&path.field("not_before"), "needs `after` beside it");
    }
    let join = path.field("join");
    match rule.join {
        None if problems.concern(&join) => {}
        None => problems.add(&join, "missing; expected user or receipt, or `after` in place of `match`"),
        Some(Join::User) if rollout.session_affinity.is_none() => {
            problems.add(&join, "no key names a user; expected `session_affinity` beside `feedback`");
        }
        Some(Join::Receipt) if rollout.receipt.is_none() => {
            problems.add(&join, "no answer carries a receipt; expected `receipt` beside `feedback`");
        }
        Some(Join::User | Join::Receipt) => {}
    }
    receipt(rule, rollout, path, problems);
    value(rule, path, problems);
}

/// Of users who come again.
fn again(rule: &Feedback, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let others = [
        ("match", rule.matches != crate::config::schema::Match::default()),
        ("join", rule.join.is_some()),
        ("receipt", rule.receipt.is_some()),
        ("value", rule.value.is_some()),
        ("bad_below", rule.bad_below.is_some()),
    ];
    for (field, _) in others.into_iter().filter(|(_, given)| *given) {
        problems.add(
            &path.field(field),
            "beside `after`, where a user's next request is the event; expected one of both",
        );
    }
    let after = path.field("after");
    if rollout.session_affinity.is_none() {
        problems.add(&after, "no key names a user; expected `session_affinity` beside `feedback`");
    }
    if rollout.analysis.is_none() {
        problems.add(
            &after,
            "users are followed for `analysis`; expected it beside `feedback`, if only with `dry_run: true`",
        );
    }
    let not_before = path.field("not_before");
    if rule.not_before().as_millis() < 1_000 {
        problems.add(&not_before, "expected at least 1s: users are counted by the second");
    }
    if rule.not_before() > rule.within {
        problems.add(&not_before, "longer than `within`, after which nothing counts");
    }
    if rule.within.as_millis() > LONGEST_AFTER {
        problems.add(&path.field("within"), "with `after` expected at most 10m");
    }
}

/// What one Envoy keeps to itself, in a filter whose Envoys judge together.
pub(super) fn shared(config: &Config, problems: &mut Problems) {
    let rollouts = Path::Root.field("rollouts");
    for (at, rollout) in config.rollouts.iter().enumerate() {
        let path = rollouts.index(at);
        let feedback = path.field("feedback");
        for (index, _) in rollout.feedback.iter().enumerate().filter(|(_, rule)| rule.after.is_some()) {
            problems.add(
                &feedback.index(index).field("after"),
                "beside `store`: users are followed by one Envoy; expected a filter without `store`, with a `vm_id` of its own, for this rollout",
            );
        }
        let (analysis, metrics) =
            (path.field("analysis"), rollout.analysis.iter().flat_map(|of| &of.metrics));
        let metrics_path = analysis.field("metrics");
        let is_of_answers = |name: &str| {
            let named = catalog::named(name).filter(|named| named.signal.among == Among::Events);
            let rule = named.and_then(|named| named.parameter);
            let rule = rule.and_then(|rule| rollout.feedback.iter().find(|known| known.name == rule));
            rollout.session_affinity.is_none() && rule.is_some_and(|rule| rule.join == Some(Join::Receipt))
        };
        for (index, _) in metrics.enumerate().filter(|(_, metric)| is_of_answers(&metric.name)) {
            problems.add(
                &metrics_path.index(index).field("name"),
                "beside `store`: each Envoy remembers the receipts that came to it, so an answer could count at several; expected \
                 `session_affinity`, whose users count once, or a filter without `store`, with a `vm_id` of its own, for this rollout",
            );
        }
    }
}

/// What names another rollout.
pub(super) fn references(config: &Config, problems: &mut Problems) {
    let rollouts = Path::Root.field("rollouts");
    for (at, rollout) in config.rollouts.iter().enumerate() {
        let (path, rules) = (rollouts.index(at), rollout.feedback.iter().enumerate());
        for (index, rule) in rules.filter(|(_, rule)| rule.after.is_some()) {
            let (feedback, field) = (path.field("feedback"), "after");
            let rule_path = feedback.index(index);
            let path = rule_path.field(field);
            let Some(After::Rollout(after)) = &rule.after else { continue };
            let path = path.field("rollout");
            if after.rollout == rollout.name {
                problems.add(&path, "this rollout itself; expected `after: same`");
            } else if !config.rollouts.iter().any(|other| other.name == after.rollout)
                && !problems.concern(&path)
            {
                problems.add(&path, format_args!("unknown rollout {}", Shown(&after.rollout)));
            }
        }
    }
}

fn within(rule: &Feedback, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let path = path.field("within");
    if rule.within.as_millis() > LONGEST_WITHIN {
        problems.add(&path, "expected at most 24h");
    }
    let deadline = rollout.analysis.as_ref().and_then(|analysis| analysis.progress_deadline);
    if deadline.is_some_and(|deadline| rule.within >= deadline) {
        problems.add(&path, "not shorter than `progress_deadline`; a step that waits for it could never end");
    }
}

fn receipt(rule: &Feedback, rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    if let Some(receipt) = &rule.receipt {
        let path = path.field("receipt");
        receipt_place(receipt, &path, problems);
        if rule.join == Some(Join::User) {
            problems.add(&path, "with `join: user` no receipt is read; expected `join: receipt`");
        }
    }
    let ttl = rollout.receipt.as_ref().filter(|_| rule.join == Some(Join::Receipt)).map(|of| of.ttl);
    if ttl.is_some_and(|ttl| rule.within > ttl) {
        problems.add(&path.field("within"), "longer than `receipt.ttl`, after which receipts are late");
    }
}

fn value(rule: &Feedback, path: &Path<'_>, problems: &mut Problems) {
    let (value, bad_below) = (path.field("value"), path.field("bad_below"));
    if let Some(pointer) = &rule.value {
        place(pointer, &value, problems);
    }
    match (&rule.value, rule.bad_below) {
        (Some(_), None) if !problems.concern(&bad_below) => {
            problems.add(&bad_below, "missing; expected the number below which `value` is bad");
        }
        (None, Some(_)) if !problems.concern(&value) => {
            problems.add(&value, "missing; expected a JSON pointer to the number that `bad_below` is about");
        }
        _ => {}
    }
    if rule.value.is_some() && rule.better == Better::More {
        problems.add(
            &path.field("better"),
            "with `value` bad events are counted, of which fewer are better; expected `less`",
        );
    }
}
