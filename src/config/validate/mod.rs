//! The rules of a configuration beyond its types. All errors are reported, not only the first.

mod affinity;
mod alarm;
mod automation;
mod condition;
mod control;
mod drift;
mod feedback;
mod labels;
mod metric;
mod mirror;
mod notify;
mod payload;
mod receipt;
mod release;
mod steps;
mod store;
mod words;

use std::collections::BTreeMap;

use super::report::{Path, Problems, Shown};
use super::schema::{BlueGreen, Config, Rollout, known};
use super::units::{Percent, Size};
use crate::model::Share;
use words::{cluster, name, text, unique_name};

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

/// Adds everything that is wrong with one rollout, but for what it has to do with others.
pub(super) fn validate_rollout(rollout: &Rollout, path: &Path<'_>, problems: &mut Problems) {
    name(&rollout.name, &path.field("name"), problems);
    if let Some(release) = &rollout.release {
        text(release, &path.field("release"), problems);
    }
    condition::matches(&rollout.matches, &path.field("match"), problems);
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
        affinity::session_affinity(affinity, &path.field("session_affinity"), problems);
    }
    if let Some(overrides) = &rollout.overrides {
        affinity::overrides(overrides, &path.field("override"), problems);
    }
    if let Some(mirror) = &rollout.mirror {
        mirror::mirror(mirror, &path.field("mirror"), problems);
    }
    if let Some(automation) = &rollout.automation {
        automation::automation(automation, rollout, path, problems);
    }
    feedback::feedback(rollout, path, problems);
    receipt::of_answers(rollout, path, problems);
    if let Some(payload) = &rollout.payload {
        payload::payload(payload, &path.field("payload"), problems);
    }
    labels::labels(rollout, &path.field("labels"), problems);
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
    let check = |version: &str, path: &Path<'_>, problems: &mut Problems| {
        if !rollout.versions.contains_key(version) {
            problems.add(path, unknown(version));
        }
    };
    if !rollout.stable.is_empty() {
        check(&rollout.stable, &path.field("stable"), problems);
    }
    if let Some(candidate) = &rollout.candidate {
        check(candidate, &path.field("candidate"), problems);
    }
    if let Some(pin) = &rollout.pin {
        check(pin, &path.field("pin"), problems);
    }
    if let Some(to) = rollout.mirror.as_ref().map(|mirror| &mirror.to).filter(|to| !to.is_empty()) {
        let path = path.field("mirror");
        let path = path.field("to");
        check(to, &path, problems);
        if *to == rollout.stable {
            let message = "is stable, whose requests are mirrored; expected another version";
            problems.add(&path, format_args!("{} {message}", Shown(to)));
        }
    }
    let weights_path = path.field("weights");
    for version in rollout.weights.iter().flat_map(BTreeMap::keys) {
        check(version, &weights_path.field(version), problems);
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
