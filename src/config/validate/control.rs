//! What `control` must obey beyond its type.

use super::MOST_RULES;
use super::condition::authority;
use super::words::{at_most, name, unique_name};
use crate::config::report::{Path, Problems};
use crate::config::schema::{Config, Control, Token};

/// Checks the control listener's configuration.
pub(super) fn control(config: &Config, path: &Path<'_>, problems: &mut Problems) {
    let Some(control) = &config.control else { return };
    if !config.rollouts.is_empty() {
        problems.add(path, "beside rollouts; expected it alone, in the filter of a listener of its own");
    }
    tokens(control, &path.field("tokens"), problems);
    hosts(control, &path.field("hosts"), problems);
}

fn tokens(control: &Control, path: &Path<'_>, problems: &mut Problems) {
    at_most(control.tokens.len(), path, problems);
    for (index, token) in control.tokens.iter().enumerate().take(MOST_RULES) {
        let path = path.index(index);
        name(&token.name, &path.field("name"), problems);
        let earlier = control.tokens.get(..index).unwrap_or_default();
        let first = earlier.iter().position(|other| other.name == token.name);
        unique_name(&token.name, first, "tokens", &path, problems);
        let digest = path.field("sha256");
        // What was refused for its form is not missing.
        if token.sha256.is_none() && !problems.concern(&digest) {
            problems.add(&digest, "missing; expected the token's SHA-256");
        }
        let is_same = |other: &Token| other.sha256.is_some() && other.sha256 == token.sha256;
        if earlier.iter().any(is_same) || (token.sha256.is_some() && token.sha256 == control.token_sha256) {
            problems.add(&digest, "duplicate digest: each token needs its own");
        }
        let rights = path.field("rights");
        if token.rights.is_none() && !problems.concern(&rights) {
            problems.add(&rights, "missing; expected read or write");
        }
    }
}

fn hosts(control: &Control, path: &Path<'_>, problems: &mut Problems) {
    at_most(control.hosts.len(), path, problems);
    for (index, host) in control.hosts.iter().enumerate() {
        authority(host, &path.index(index), problems);
    }
}
