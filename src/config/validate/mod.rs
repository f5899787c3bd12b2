//! The rules of a configuration beyond its types. All errors are reported, not only the first.

mod alarm;
mod automation;
mod control;
mod drift;
mod feedback;
mod metric;
mod mirror;
mod notify;
mod payload;
mod receipt;
mod release;
mod steps;
mod store;

use std::collections::BTreeMap;
use std::fmt::Display;

use super::report::{Path, Problems, Shown};
use super::schema::{
    BlueGreen, Config, Cookie, HeaderRule, Match, Override, Rollout, SameSite, SessionAffinity, known,
};
use super::units::{Percent, Size};
use crate::model::{Share, header};

/// Rollouts in one configuration.
pub const MOST_ROLLOUTS: usize = 4_096;
/// Versions of one rollout.
pub const MOST_VERSIONS: usize = 16;
/// Header rules, authorities, methods or labels of one rollout.
pub const MOST_RULES: usize = 16;
/// Bytes of a name: a rollout's, a version's, a label's.
pub const LONGEST_NAME: usize = 63;
/// Bytes of a text that is not a name: a release, a path, a header's value, a cluster.
pub const LONGEST_TEXT: usize = 1_024;
/// What a mirror copies at most of a request.
const LARGEST_BODY: Size = Size::kib(64 * 1_024);
/// Milliseconds that a progress deadline, a bake or a window must have.
const SHORTEST: u64 = 1_000;
/// Bytes of a host name in DNS.
const LONGEST_HOST: usize = 253;
/// Milliseconds a cookie may live: browsers cut it to 400 days (RFC 6265bis, 5.5).
const LONGEST_TTL: u64 = 400 * 24 * 3_600_000;

/// Labels the metrics have themselves, now or by their contract.
const RESERVED_LABELS: [&str; 29] = [
    "route",
    "reason",
    "shown",
    "model",
    "human",
    "rollout",
    "name",
    "release",
    "attempt",
    "stable",
    "candidate",
    "version",
    "class",
    "outcome",
    "worker",
    "build_version",
    "commit",
    "metric",
    "phase",
    "action",
    "actor",
    "result",
    "field",
    "kind",
    "label",
    "shadow",
    "what",
    "window",
    "le",
];

/// Adds everything that is wrong with `config` to `problems`.
pub fn validate(config: &Config, problems: &mut Problems) {
    control::control(config, &Path::Root.field("control"), problems);
    store::store(config, &Path::Root.field("store"), problems);
    notify::notify(config, &Path::Root.field("notify"), problems);
    feedback::references(config, problems);
    let path = Path::Root.field("rollouts");
    let count = config.rollouts.len();
    if count > MOST_ROLLOUTS {
        problems.add(&path, format_args!("{count} rollouts are over the limit of {MOST_ROLLOUTS}"));
        return;
    }
    let mut names = BTreeMap::new();
    for (index, rollout) in config.rollouts.iter().enumerate() {
        let path = path.index(index);
        if problems.is_full() {
            return;
        }
        validate_rollout(rollout, &path, problems);
        let first = names.insert(rollout.name.as_str(), index);
        unique_name(&rollout.name, first, "rollouts", &path, problems);
    }
}

fn validate_rollout(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    name(&rollout.name, &path.field("name"), problems);
    if let Some(release) = &rollout.release {
        text(release, &path.field("release"), problems);
    }
    matches(&rollout.matches, &path.field("match"), problems);
    versions(rollout, path, problems);
    if rollout.stable.is_empty() {
        problems.add(&path.field("stable"), "missing; expected the name of a version");
    }
    // With versions that could not be read, every reference to one would be wrong as well.
    if !problems.concern(&path.field("versions")) {
        references(rollout, path, problems);
    }
    let ways = [
        ("weights", rollout.weights.is_some()),
        ("steps", rollout.steps.is_some()),
        ("blue_green", rollout.blue_green.is_some()),
    ];
    if let [_, .., (last, _)] = ways.iter().filter(|(_, given)| *given).collect::<Vec<_>>().as_slice() {
        problems.add(&path.field(last), "expected at most one of weights, steps, blue_green");
    }
    release::release(rollout, path, problems);
    alarm::alarms(rollout, &path.field("alarms"), problems);
    if let Some(drift) = &rollout.drift {
        drift::drift(drift, rollout, &path.field("drift"), problems);
    }
    if let Some(affinity) = &rollout.session_affinity {
        session_affinity(affinity, &path.field("session_affinity"), problems);
    }
    if let Some(overrides) = &rollout.overrides {
        self::overrides(overrides, &path.field("override"), problems);
    }
    if let Some(mirror) = &rollout.mirror {
        self::mirror::mirror(mirror, &path.field("mirror"), problems);
    }
    if let Some(automation) = &rollout.automation {
        self::automation::automation(automation, rollout, path, problems);
    }
    self::feedback::feedback(rollout, path, problems);
    self::receipt::of_answers(rollout, path, problems);
    if let Some(payload) = &rollout.payload {
        payload::payload(payload, &path.field("payload"), problems);
    }
    labels(rollout, &path.field("labels"), problems);
}

fn versions(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let path = path.field("versions");
    match rollout.versions.len() {
        0 => problems.add(&path, "empty; expected at least the stable version, such as `blue: {cluster: …}`"),
        1..=MOST_VERSIONS => {}
        count => problems.add(&path, format_args!("{count} versions are over the limit of {MOST_VERSIONS}")),
    }
    for (version, settings) in &rollout.versions {
        let path = path.field(version);
        name(version, &path, problems);
        if matches!(version.as_str(), "always" | "never") {
            problems.add(&path, "reserved by the override header; expected another name");
        }
        cluster(&settings.cluster, &path.field("cluster"), problems);
    }
}

/// Everything that names a version.
fn references(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    let unknown = |found: &str| {
        format!(
            "unknown version {}; known here: {}",
            Shown(found),
            known(rollout.versions.keys().map(String::as_str))
        )
    };
    let mut check = |version: &str, path: &Path<'_>| {
        if !rollout.versions.contains_key(version) {
            problems.add(path, unknown(version));
        }
    };
    if !rollout.stable.is_empty() {
        check(&rollout.stable, &path.field("stable"));
    }
    if let Some(candidate) = &rollout.candidate {
        check(candidate, &path.field("candidate"));
    }
    if let Some(pin) = &rollout.pin {
        check(pin, &path.field("pin"));
    }
    if let Some(to) = rollout.mirror.as_ref().map(|mirror| &mirror.to).filter(|to| !to.is_empty()) {
        let path = path.field("mirror");
        check(to, &path.field("to"));
    }
    let weights_path = path.field("weights");
    for version in rollout.weights.iter().flat_map(BTreeMap::keys) {
        check(version, &weights_path.field(version));
    }
    if let Some(to) = rollout.mirror.as_ref().map(|mirror| &mirror.to).filter(|to| **to == rollout.stable) {
        let message =
            format!("{} is stable, whose requests are mirrored; expected another version", Shown(to));
        problems.add(&path.field("mirror").field("to"), message);
    }
    if let Some(weights) = &rollout.weights {
        total(weights, &rollout.stable, &weights_path, problems);
    }
    if let Some(BlueGreen { active: Some(active), .. }) = &rollout.blue_green {
        let candidate = rollout.candidate.as_deref();
        let path = path.field("blue_green");
        let path = path.field("active");
        if !rollout.versions.contains_key(active) {
            problems.add(&path, unknown(active));
        } else if *active != rollout.stable && Some(active.as_str()) != candidate {
            let stable = Shown(&rollout.stable);
            let candidate = candidate.map_or("there is none".into(), |name| Shown(name).to_string());
            problems.add(
                &path,
                format_args!(
                    "{} is neither stable ({stable}) nor the candidate ({candidate})",
                    Shown(active)
                ),
            );
        }
    }
}

fn total(weights: &BTreeMap<String, Percent>, stable: &str, path: &Path<'_>, problems: &mut Problems) {
    let sum: u32 = weights.values().map(|percent| u32::from(percent.0.basis_points())).sum();
    let all = u32::from(Share::ALL.basis_points());
    let percent = f64::from(sum) / 100.0;
    if sum > all {
        problems.add(path, format_args!("the sum {percent} is over 100"));
    } else if sum < all && weights.contains_key(stable) {
        problems.add(
            &path.field(stable),
            format_args!(
                "with stable's share the sum is {percent}, not 100; leave it out: stable gets the rest"
            ),
        );
    }
}

fn matches(matches: &Match, path: &Path<'_>, problems: &mut Problems) {
    if !matches.body.is_empty() {
        problems.add(&path.field("body"), "bodies are read of events alone; expected it in `feedback`");
    }
    conditions(matches, path, problems);
}

/// Conditions on a request without its body.
fn conditions(matches: &Match, path: &Path<'_>, problems: &mut Problems) {
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
    let headers = path.field("headers");
    at_most(matches.headers.len(), &headers, problems);
    for (index, rule) in matches.headers.iter().enumerate() {
        let path = headers.index(index);
        read_header(&rule.name, &path.field("name"), problems);
        for (field, value) in [("exact", &rule.exact), ("prefix", &rule.prefix)] {
            if let Some(value) = value {
                bounded(value, &path.field(field), problems);
            }
        }
        exactly_one(HeaderRule::ONE_OF, rule.test().is_some(), &path, problems);
    }
    let query = path.field("query");
    at_most(matches.query.len(), &query, problems);
    for (index, rule) in matches.query.iter().enumerate() {
        let path = query.index(index);
        text(&rule.name, &path.field("name"), problems);
        for (field, value) in [("exact", &rule.exact), ("prefix", &rule.prefix)] {
            if let Some(value) = value {
                bounded(value, &path.field(field), problems);
            }
        }
        exactly_one(HeaderRule::ONE_OF, rule.test().is_some(), &path, problems);
    }
}

fn overrides(overrides: &Override, path: &Path<'_>, problems: &mut Problems) {
    if let Some(header) = &overrides.header {
        read_header(header, &path.field("header"), problems);
    }
    if let Some(query) = &overrides.query {
        text(query, &path.field("query"), problems);
    }
    if let Some(cookie) = &overrides.cookie {
        token(cookie, "cookie", &path.field("cookie"), problems);
    }
    if *overrides == Override::default() && !problems.concern(path) {
        problems.add(path, "empty; expected at least one of header, query, cookie");
    }
}

fn methods(methods: &[String], path: &Path<'_>, problems: &mut Problems) {
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

fn session_affinity(affinity: &SessionAffinity, path: &Path<'_>, problems: &mut Problems) {
    exactly_one(SessionAffinity::ONE_OF, affinity.source().is_some(), path, problems);
    if let Some(header) = &affinity.header {
        read_header(header, &path.field("header"), problems);
    }
    if let Some(cookie) = &affinity.cookie {
        let path = path.field("cookie");
        self::cookie(cookie, &path, problems);
    }
    if let Some(query) = &affinity.query {
        text(query, &path.field("query"), problems);
    }
    if affinity.source_ip == Some(false) {
        problems.add(&path.field("source_ip"), "found false, expected true (or leave the field out)");
    }
}

fn cookie(cookie: &Cookie, path: &Path<'_>, problems: &mut Problems) {
    token(&cookie.name, "cookie", &path.field("name"), problems);
    let ttl = cookie.ttl.map_or(0, super::units::Duration::as_millis);
    if !ttl.is_multiple_of(1_000) || ttl > LONGEST_TTL {
        problems.add(
            &path.field("ttl"),
            "expected whole seconds, at most 400 days (9600h): browsers keep none longer",
        );
    }
    let attributes = [
        ("same_site", cookie.same_site != SameSite::Lax),
        ("domain", cookie.domain.is_some()),
        ("path", cookie.path.is_some()),
        ("partitioned", cookie.partitioned),
    ];
    let is_read_only = cookie.ttl.is_none() && !problems.concern(&path.field("ttl"));
    if let Some((field, _)) = attributes.iter().find(|(_, given)| is_read_only && *given) {
        problems.add(&path.field(field), "without ttl the cookie is only read; expected a ttl beside it");
    }
    if let Some(domain) = &cookie.domain {
        let path = path.field("domain");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if cookie.is_host_only_by_name() {
            problems.add(&path, "a cookie named __Host-… has none");
        } else if domain.is_empty() || !domain.bytes().all(plain) || domain.len() > LONGEST_HOST {
            problems.add(
                &path,
                format_args!("{} is not a domain; expected one such as \"example.com\"", Shown(domain)),
            );
        }
    }
    if let Some(value) = &cookie.path {
        let path = path.field("path");
        if !value.starts_with('/') || value.contains(';') || !value.is_ascii() {
            problems.add(
                &path,
                format_args!(
                    "{} is not a path of a cookie; expected one such as \"/\", without `;`",
                    Shown(value)
                ),
            );
        } else if cookie.is_host_only_by_name() && value != "/" {
            problems.add(&path, "a cookie named __Host-… has the path \"/\"");
        } else {
            text(value, &path, problems);
        }
    }
}

fn labels(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    at_most(rollout.labels.len(), path, problems);
    for (label, value) in &rollout.labels {
        let path = path.field(label);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let starts_well = label.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if label.len() > LONGEST_NAME || !starts_well || !label.bytes().all(plain) {
            problems.add(
                &path,
                "not a label name; expected lower-case letters, digits and _, at most 63, no digit first",
            );
        } else if RESERVED_LABELS.contains(&label.as_str()) {
            problems.add(&path, "a label that the metrics already have; expected another name");
        } else if value.contains([';', '\0']) || value.is_empty() || value.chars().any(char::is_control) {
            // `;` separates the labels in Envoy's name of the metric.
            problems
                .add(&path, format_args!("{} is empty or holds `;` or a control character", Shown(value)));
        } else if value.len() > LONGEST_NAME {
            problems.add(&path, format_args!("{} bytes are over the limit of {LONGEST_NAME}", value.len()));
        }
    }
}

/// Checks that a number lies between two others, inclusive.
fn within(number: f64, least: f64, most: f64, path: &Path<'_>, problems: &mut Problems) {
    if !(least..=most).contains(&number) {
        problems.add(path, format_args!("{number} is out of range; expected {least} to {most}"));
    }
}

/// Reports that an entry of `list` has the name of an earlier one, the `first`.
fn unique_name(name: &str, first: Option<usize>, list: &str, path: &Path<'_>, problems: &mut Problems) {
    if let Some(first) = first {
        problems.add(
            &path.field("name"),
            format_args!("{} is already the name of {list}[{first}]; expected a unique name", Shown(name)),
        );
    }
}

fn at_most(count: usize, path: &Path<'_>, problems: &mut Problems) {
    if count > MOST_RULES {
        problems.add(path, format_args!("{count} entries are over the limit of {MOST_RULES}"));
    }
}

fn exactly_one(fields: &[&str], is_one: bool, path: &Path<'_>, problems: &mut Problems) {
    // A field that could not be read was given all the same.
    if !is_one && !problems.concern(path) {
        problems.add(path, format_args!("expected exactly one of {}", fields.join(", ")));
    }
}

/// A host name, with or without a port.
fn authority(authority: &str, path: &Path<'_>, problems: &mut Problems) {
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

/// A rollout's or a version's name.
fn name(name: &str, path: &Path<'_>, problems: &mut Problems) {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() {
        problems.add(path, "missing or empty; expected a name");
    } else if name.len() > LONGEST_NAME {
        problems.add(path, format_args!("{} characters are over the limit of {LONGEST_NAME}", name.len()));
    } else if !name.bytes().all(plain) {
        problems.add(
            path,
            format_args!("{} is not a valid name; expected lower-case letters, digits and -", Shown(name)),
        );
    }
}

/// The name of a header that is read from requests.
fn read_header(name: &str, path: &Path<'_>, problems: &mut Problems) {
    if name.eq_ignore_ascii_case("host") {
        // Envoy has it as `:authority`.
        problems.add(path, "the request's host, which is no header here; expected match.authority");
    } else {
        header_name(name, path, problems);
    }
}

/// A header's name, as HTTP allows it, of a header that is not the filter's own.
fn header_name(name: &str, path: &Path<'_>, problems: &mut Problems) {
    if name.starts_with(':') {
        problems.add(path, "a pseudo-header; expected a header (match has authority, path and methods)");
    } else if header::ALL.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        problems.add(path, "a header the filter uses itself; expected another");
    } else {
        token(name, "header", path, problems);
    }
}

/// A token of RFC 9110, 5.6.2: what names headers and cookies.
fn token(name: &str, what: impl Display, path: &Path<'_>, problems: &mut Problems) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() {
        problems.add(path, format_args!("missing or empty; expected the name of a {what}"));
    } else if name.len() > LONGEST_NAME {
        problems.add(path, format_args!("{} characters are over the limit of {LONGEST_NAME}", name.len()));
    } else if !name.bytes().all(plain) {
        problems.add(path, format_args!("{} is not a valid name of a {what}", Shown(name)));
    }
}

/// A cluster's name: whatever can stand in the header that carries it.
fn cluster(cluster: &str, path: &Path<'_>, problems: &mut Problems) {
    if cluster.trim() != cluster {
        problems.add(path, format_args!("{} starts or ends with a space", Shown(cluster)));
    } else {
        text(cluster, path, problems);
    }
}

/// A text that is not empty, not too long and has no control characters.
fn text(text: &str, path: &Path<'_>, problems: &mut Problems) {
    if text.is_empty() {
        problems.add(path, "missing or empty");
    } else {
        bounded(text, path, problems);
    }
}

/// A text, possibly empty, that is not too long and has no control characters.
fn bounded(text: &str, path: &Path<'_>, problems: &mut Problems) {
    if text.len() > LONGEST_TEXT {
        problems.add(path, format_args!("{} bytes are over the limit of {LONGEST_TEXT}", text.len()));
    } else if text.chars().any(char::is_control) {
        problems.add(path, format_args!("{} holds a control character", Shown(text)));
    }
}
