//! What `notify` must obey beyond its type.

use super::MOST_RULES;
use super::condition::authority;
use super::words::{at_most, cluster, name, text, unique_name};
use crate::config::notify::Notify;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::Config;

/// Milliseconds that a receiver of notifications may have to answer.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// Checks the receivers of notifications.
pub(super) fn notify(config: &Config, path: &Path<'_>, problems: &mut Problems) {
    if config.control.is_some() && !config.notify.is_empty() {
        problems.add(path, "beside control, where it does nothing; expected it beside rollouts");
    }
    at_most(config.notify.len(), path, problems);
    for (index, receiver) in config.notify.iter().enumerate().take(MOST_RULES) {
        let earlier = config.notify.get(..index).unwrap_or_default();
        let path = path.index(index);
        let first = earlier.iter().position(|other| other.name == receiver.name);
        unique_name(&receiver.name, first, "notify", &path, problems);
        receiver_of(receiver, &path, problems);
    }
}

fn receiver_of(receiver: &Notify, path: &Path<'_>, problems: &mut Problems) {
    name(&receiver.name, &path.field("name"), problems);
    cluster(&receiver.cluster, &path.field("cluster"), problems);
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    let target = path.field("path");
    if !receiver.path.starts_with('/') || !receiver.path.bytes().all(is_plain) {
        problems.add(
            &target,
            format_args!(
                "{} is not the path of a request; expected one such as \"/hooks/changeover\"",
                Shown(&receiver.path)
            ),
        );
    } else {
        text(&receiver.path, &target, problems);
    }
    if let Some(host) = &receiver.authority {
        authority(host, &path.field("authority"), problems);
    }
    if receiver.events.as_ref().is_some_and(Vec::is_empty) {
        problems.add(&path.field("events"), "empty; expected at least one event, or the field left out");
    }
    if !TIMEOUTS.contains(&receiver.timeout.as_millis()) {
        problems.add(&path.field("timeout"), format_args!("{} is not from 100ms to 60s", receiver.timeout));
    }
}
