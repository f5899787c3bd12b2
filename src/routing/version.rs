//! The versions of a rollout: stable first, then the others by name. A version is named by its position.

use crate::config::schema::Rollout;

/// Stable's position.
pub const STABLE: usize = 0;

/// One version.
pub struct Version {
    /// Its name.
    pub name: String,
    /// The Envoy cluster that serves it.
    pub cluster: String,
}

/// The versions of a valid configuration.
pub(super) fn versions_of(config: &Rollout) -> Vec<Version> {
    let others = config.versions.keys().filter(|name| **name != config.stable);
    let names = [&config.stable].into_iter().chain(others);
    let cluster =
        |name: &str| config.versions.get(name).map(|version| version.cluster.clone()).unwrap_or_default();
    names.map(|name| Version { name: name.clone(), cluster: cluster(name) }).collect()
}
