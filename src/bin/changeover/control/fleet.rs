//! What a fleet has to say beside the answer of one Envoy: whether all members follow.

use std::time::{Duration, Instant};

use changeover::control::view::{Fleet, Member};
use changeover::fleet::store::view::MOST_NAMES;

use super::client::Client;
use super::read;

/// How long members have to report that they follow. It usually takes two seconds: a report a second, and the leader's a second
/// later. On a busy machine it takes longer.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
/// How often to look.
const INTERVAL: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_millis(250) };

/// The fleet that an Envoy belongs to; `None` without a store.
pub(super) fn of(client: &Client) -> Option<Fleet> {
    read(&client.get("/v1/fleet").ok()?).ok()
}

/// One Envoy of each fleet, the first that answers, and all that belong to none or do not answer: all Envoys of a fleet
/// obey what one of them is told, and would do it once for each. Those that act on their own are each told themselves.
pub(super) fn one_of_each(clients: Vec<Client>) -> Vec<Client> {
    let fleets: Vec<Option<Fleet>> = std::thread::scope(|scope| {
        let asked: Vec<_> = clients.iter().map(|client| scope.spawn(move || of(client))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap_or_default()).collect()
    });
    let mut names = Vec::new();
    let is_first = |fleet: Option<Fleet>| {
        let Some(fleet) = fleet.filter(|fleet| !fleet.alone) else { return true };
        let is_first = !names.contains(&fleet.name);
        names.push(fleet.name);
        is_first
    };
    let firsts: Vec<bool> = fleets.into_iter().map(is_first).collect();
    clients.into_iter().zip(firsts).filter_map(|(client, is_first)| is_first.then_some(client)).collect()
}

/// What is lost of aborts that were just given, should their Envoy end; `None`: nothing, for the store has them, or has them after
/// a moment.
pub(super) fn lost_at_a_restart(client: &Client, rollouts: &[&str]) -> Option<&'static str> {
    let end = Instant::now().checked_add(PATIENCE);
    loop {
        let Some(fleet) = of(client) else { return Some("a restart of Envoy begins the release again") };
        if is_stored(&fleet, rollouts) && !fleet.alone {
            return None;
        }
        if fleet.alone || end.is_none_or(|end| Instant::now() >= end) {
            return Some(
                "the store does not have the abort yet, and a restart of this Envoy before it answers loses it",
            );
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Whether the store has what this Envoy was told of these rollouts.
fn is_stored(fleet: &Fleet, rollouts: &[&str]) -> bool {
    // Of many that are not stored not all are named.
    fleet.unstored.len() < MOST_NAMES && !fleet.unstored.iter().any(|name| rollouts.contains(&name.as_str()))
}

/// How a fleet stands, in one sentence, and its problems.
pub(super) fn sentences(fleet: &Fleet) -> Vec<String> {
    let mut sentences = vec![standing(fleet, &behind(fleet, fleet.revision))];
    sentences.extend(fleet.problems.iter().cloned());
    sentences
}

/// Waits until all members have reported that they follow a command to these rollouts. Returns what came of it, in one
/// sentence; `None` without a store, and where no rollout was commanded.
pub(super) fn await_followers(client: &Client, rollouts: &[&str]) -> Option<String> {
    if rollouts.is_empty() {
        return None;
    }
    let end = Instant::now().checked_add(PATIENCE);
    let mut fleet = of(client)?;
    let mut wanted = None;
    loop {
        if is_stored(&fleet, rollouts) && !fleet.alone {
            // The records have it. Later ones say nothing about this command.
            let wanted = *wanted.get_or_insert(fleet.revision);
            let behind = behind(&fleet, wanted);
            // Without a leader that has heard of this Envoy, the list of members proves nothing.
            if behind.is_empty() && counted(&fleet).any(|member| member.member == fleet.member) {
                return Some(standing(&fleet, &behind));
            }
        }
        if fleet.alone || end.is_none_or(|end| Instant::now() >= end) {
            return Some(standing(&fleet, &behind(&fleet, wanted.unwrap_or(u64::MAX))));
        }
        std::thread::sleep(INTERVAL);
        // One that ends meanwhile leaves what it has said last. One that has started in its place does not know of a command that
        // was not stored.
        let is_heard = |next: &Fleet| wanted.is_some() || next.member == fleet.member;
        fleet = of(client).filter(is_heard).unwrap_or(fleet);
    }
}

fn counted(fleet: &Fleet) -> impl Iterator<Item = &Member> {
    fleet.members.iter().filter(|member| member.counted)
}

/// Members that have not reported that they follow the store up to this revision.
fn behind(fleet: &Fleet, revision: u64) -> Vec<&str> {
    counted(fleet).filter(|member| member.revision < revision).map(|member| member.member.as_str()).collect()
}

/// Whether something needs attention.
pub(super) fn is_bad(fleet: &Fleet) -> bool {
    let is_led = fleet.leader.is_some() && counted(fleet).next().is_some();
    fleet.alone || !is_led || !fleet.problems.is_empty()
}

/// What is known of a member, in a word.
pub(super) fn state(fleet: &Fleet, member: &Member) -> &'static str {
    match member {
        // What the leader said last may be old.
        _ if fleet.alone => "not known",
        Member { silent: true, .. } => "silent",
        Member { counted: false, .. } => "not counted",
        Member { revision, .. } if *revision < fleet.revision => "behind",
        _ => "follows",
    }
}

fn standing(fleet: &Fleet, behind: &[&str]) -> String {
    let name = &fleet.name;
    if fleet.alone {
        return match fleet.store_age_ms {
            Some(age) => format!(
                "{name}: the store has not answered for {} s: this Envoy acts on its own",
                age / 1_000
            ),
            None => format!("{name}: the store has not answered yet: this Envoy acts on its own"),
        };
    }
    let all = counted(fleet).count();
    let (envoys, verb) = if all == 1 { ("Envoy", "follows") } else { ("Envoys", "follow") };
    if all == 0 {
        return format!("{name}: no Envoy leads yet");
    }
    let mut sentence = if behind.is_empty() {
        format!("{name}: {all} of {all} {envoys} {verb}")
    } else {
        let follow = all.saturating_sub(behind.len());
        format!("{name}: {follow} of {all} {envoys} follow; not reported yet by {}", list(behind))
    };
    let silent = fleet.members.iter().filter(|member| member.silent).map(|member| member.member.as_str());
    let silent: Vec<&str> = silent.collect();
    if !silent.is_empty() {
        sentence += &format!("; not heard of lately: {}, which ended or act on their own", list(&silent));
    }
    sentence
}

/// The first few of these names.
fn list(names: &[&str]) -> String {
    const MOST: usize = 5;
    let more = if names.len() > MOST { ", …" } else { "" };
    format!("{}{more}", names.get(..MOST).unwrap_or(names).join(", "))
}
