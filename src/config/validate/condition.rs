//! The rules of `match`, which feedback and automation have as well.

use super::LONGEST_NAME;
use super::words::{at_most, bounded, exactly_one, read_header, text};
use crate::config::condition::{Match, ValueRule};
use crate::config::report::{Path, Problems, Shown};

pub(super) fn matches(matches: &Match, path: &Path<'_>, problems: &mut Problems) {
    if !matches.body.is_empty() {
        problems.add(&path.field("body"), "bodies are read of events alone; expected it in `feedback`");
    }
    conditions(matches, path, problems);
}

/// Conditions on a request without its body.
pub(super) fn conditions(matches: &Match, path: &Path<'_>, problems: &mut Problems) {
    let paths = [
        ("prefix", &matches.prefix),
        ("path_separated_prefix", &matches.path_separated_prefix),
        ("path", &matches.path),
    ];
    if let [_, .., (last, _)] =
        paths.iter().filter(|(_, given)| given.is_some()).collect::<Vec<_>>().as_slice()
    {
        problems.add(&path.field(last), "expected at most one of prefix, path_separated_prefix, path");
    }
    for (field, value) in paths {
        let path = path.field(field);
        let Some(value) = value else { continue };
        if !value.starts_with('/') {
            problems.add(&path, format_args!("{} does not start with \"/\"", Shown(value)));
        } else if value.contains(['?', '#']) {
            problems.add(
                &path,
                format_args!("{} has a query or fragment; the path is compared without them", Shown(value)),
            );
        } else if field == "path_separated_prefix" && value.ends_with('/') {
            problems.add(
                &path,
                format_args!("{} ends with \"/\"; omit it, the separator is implied", Shown(value)),
            );
        } else {
            text(value, &path, problems);
        }
    }
    let authorities = path.field("authority");
    at_most(matches.authority.len(), &authorities, problems);
    for (index, host) in matches.authority.iter().enumerate() {
        authority(host, &authorities.index(index), problems);
    }
    methods(&matches.methods, &path.field("methods"), problems);
    value_rules(&matches.headers, &path.field("headers"), read_header, problems);
    value_rules(&matches.query, &path.field("query"), text, problems);
}

/// Conditions on values that are found by a name, which `name` checks.
fn value_rules(
    rules: &[ValueRule],
    path: &Path<'_>,
    name: fn(&str, &Path<'_>, &mut Problems),
    problems: &mut Problems,
) {
    at_most(rules.len(), path, problems);
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        name(&rule.name, &path.field("name"), problems);
        for (field, value) in [("exact", &rule.exact), ("prefix", &rule.prefix)] {
            if let Some(value) = value {
                bounded(value, &path.field(field), problems);
            }
        }
        exactly_one(ValueRule::ONE_OF, rule.test().is_some(), &path, problems);
    }
}

pub(super) fn methods(methods: &[String], path: &Path<'_>, problems: &mut Problems) {
    at_most(methods.len(), path, problems);
    for (index, method) in methods.iter().enumerate() {
        let plain = method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if method.is_empty() || method.len() > LONGEST_NAME || !plain {
            let message =
                format!("{} is not a method; expected one in capitals, such as \"POST\"", Shown(method));
            problems.add(&path.index(index), message);
        }
    }
}

/// A host name, with or without a port.
pub(super) fn authority(authority: &str, path: &Path<'_>, problems: &mut Problems) {
    if authority.is_empty() || authority.contains(|c: char| c.is_whitespace() || "/*?#@".contains(c)) {
        problems.add(
            path,
            format_args!(
                "{} is not a host name; expected one such as \"models.example.com\"",
                Shown(authority)
            ),
        );
    } else {
        text(authority, path, problems);
    }
}
