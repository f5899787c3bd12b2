//! What events must obey beyond their types.

use super::mirror::pointer;
use super::receipt::{place, receipt_place};
use super::{at_most, bounded, conditions, name};
use crate::config::feedback::{Better, Feedback, Join};
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::Rollout;

/// Milliseconds for which events may come.
const LONGEST_WITHIN: u64 = 24 * 3_600_000;

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
        if let Some(earlier) = earlier {
            problems.add(
                &path.field("name"),
                format_args!(
                    "{} is already the name of feedback[{earlier}]; expected a unique name",
                    Shown(&rule.name)
                ),
            );
        }
        self::rule(rule, rollout, &path, problems);
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
            problems.add(&path, "stands for several places; expected one without `*`");
        }
    }
    if rule.within.as_millis() > LONGEST_WITHIN {
        problems.add(&path.field("within"), "expected at most 24h");
    }
    let deadline = rollout.analysis.as_ref().and_then(|analysis| analysis.progress_deadline);
    if deadline.is_some_and(|deadline| rule.within >= deadline) {
        problems.add(
            &path.field("within"),
            "not shorter than `progress_deadline`; a step that waits for it could never end",
        );
    }
    let join = path.field("join");
    match rule.join {
        None if problems.concern(&join) => {}
        None => problems.add(&join, "missing; expected user or receipt"),
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
