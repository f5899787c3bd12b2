//! A valid configuration, compiled for the hot path.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::affinity::{Affinity, Cookie, User};
use super::assign::{BUCKETS, Salt, Split, to_bucket};
use super::matcher::Matcher;
use super::mirror::{Mirror, Mirrored};
use super::request::{Facts, Request};
use crate::config::schema::{self, Config};
use crate::config::units::Share;

/// All rollouts of a filter.
pub struct Plan {
    matcher: Matcher,
    rollouts: Vec<Rollout>,
}

/// One rollout. Its versions are stable first, then the others by name; a version is named by its position.
pub struct Rollout {
    /// Its name: the label of its metrics.
    pub name: String,
    /// Further labels of its metrics, by name.
    pub labels: Vec<(String, String)>,
    /// The versions, stable first, then by name.
    pub versions: Vec<Version>,
    /// Whether the version is told on the request.
    pub tells_upstream: bool,
    /// Whether the version is told on the response.
    pub tells_client: bool,
    candidate: Option<usize>,
    pin: Option<usize>,
    override_header: Option<String>,
    affinity: Option<Affinity>,
    salt: Salt,
    split: Split,
    mirror: Option<Mirror>,
}

/// One version.
pub struct Version {
    /// Its name.
    pub name: String,
    /// The Envoy cluster that serves it.
    pub cluster: String,
    /// Its weight in hundredths of a percent, as it is in force (a pin included).
    pub weight: u16,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The version's position in the rollout's versions.
    pub version: usize,
    /// A cookie to issue, and the id in it.
    pub cookie: Option<(&'a Cookie, String)>,
    /// Set when the request was drawn for the shadow.
    pub mirror: Option<Mirrored>,
}

impl Plan {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { matcher: Matcher::new(config), rollouts: config.rollouts.iter().map(Rollout::new).collect() }
    }

    /// The rollouts, in the configuration's order.
    #[must_use]
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// The position of the rollout a request belongs to, and where it goes.
    pub fn route<R: Request>(&self, request: &R, rng: &mut Rng) -> Option<(usize, Decision<'_>)> {
        let facts = Facts::new(request);
        let index = self.matcher.find(&facts)?;
        Some((index, self.rollouts.get(index)?.assign(&facts, rng)))
    }
}

/// Stable's position.
const STABLE: usize = 0;

impl Rollout {
    fn new(config: &schema::Rollout) -> Self {
        let others = config.versions.keys().filter(|name| **name != config.stable);
        let names: Vec<&str> = [&config.stable].into_iter().chain(others).map(String::as_str).collect();
        let position =
            |name: Option<&String>| names.iter().position(|known| Some(*known) == name.map(String::as_str));

        let pin = position(config.pin.as_ref());
        let active = config.blue_green.as_ref().and_then(|blue_green| position(blue_green.active.as_ref()));
        let weights = weights_in_force(&names, pin.or(active), config.weights.as_ref());
        let cluster =
            |name: &str| config.versions.get(name).map(|version| version.cluster.clone()).unwrap_or_default();
        let salt = config.release.as_ref().unwrap_or(&config.name);
        // Pinned, a rollout does nothing but send everything to one version.
        let mirror = config.mirror.as_ref().filter(|_| pin.is_none());
        Self {
            name: config.name.clone(),
            labels: config.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            tells_upstream: config.version_header.request,
            tells_client: config.version_header.response,
            candidate: position(config.candidate.as_ref()),
            pin,
            override_header: config.overrides.as_ref().map(|overrides| overrides.header.to_ascii_lowercase()),
            affinity: config.session_affinity.as_ref().map(Affinity::new),
            salt: Salt::new(salt),
            split: Split::new(weights.get(1..).unwrap_or_default()),
            mirror: mirror.and_then(|mirror| Some(Mirror::new(mirror, position(Some(&mirror.to))?, salt))),
            versions: names
                .iter()
                .zip(weights)
                .map(|(name, weight)| Version { name: (*name).to_owned(), cluster: cluster(name), weight })
                .collect(),
        }
    }

    /// Pin beats override, override beats affinity, affinity beats drawing.
    fn assign<R: Request>(&self, facts: &Facts<'_, R>, rng: &mut Rng) -> Decision<'_> {
        if let Some(pinned) = self.pin {
            return Decision { version: pinned, cookie: None, mirror: None };
        }
        let overridden = self.overridden(facts);
        if let (Some(version), None) = (overridden, &self.mirror) {
            return Decision { version, cookie: None, mirror: None };
        }
        let user = self.affinity.as_ref().map_or(User::Nobody, |affinity| affinity.user(facts, rng));
        let version = overridden.unwrap_or_else(|| match &user {
            User::Known(key) => self.version_of(self.salt.bucket(key)),
            User::New(_, id) => self.version_of(self.salt.bucket(id.as_bytes())),
            User::Nobody => self.version_of(to_bucket(rng.u64(..))),
            User::Missing => STABLE,
        });
        let mirror = self.mirror.as_ref().filter(|_| version == STABLE).and_then(|mirror| {
            let bucket = match &user {
                User::Known(key) => mirror.bucket(key),
                User::New(_, id) => mirror.bucket(id.as_bytes()),
                User::Nobody | User::Missing => to_bucket(rng.u64(..)),
            };
            mirror.decide(bucket, facts)
        });
        let cookie = match user {
            User::New(cookie, id) => Some((cookie, id)),
            _ => None,
        };
        Decision { version, cookie, mirror }
    }

    fn overridden<R: Request>(&self, facts: &Facts<'_, R>) -> Option<usize> {
        let value = facts.request().header(self.override_header.as_ref()?)?;
        match value.trim_ascii() {
            b"always" => self.candidate,
            b"never" => Some(STABLE),
            name => self.versions.iter().position(|version| version.name.as_bytes() == name),
        }
    }

    /// The version a bucket belongs to.
    #[must_use]
    pub fn version_of(&self, bucket: u16) -> usize {
        // The split knows the versions besides stable, which come behind it.
        self.split.version(bucket).map_or(STABLE, |rank| rank.saturating_add(1))
    }

    /// The bucket of a user's key.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> u16 {
        self.salt.bucket(key)
    }
}

/// The weights of the versions `names`, stable first: all to the one that is `chosen`, or as configured.
fn weights_in_force(
    names: &[&str],
    chosen: Option<usize>,
    configured: Option<&BTreeMap<String, Share>>,
) -> Vec<u16> {
    let mut left = BUCKETS;
    let mut weights: Vec<u16> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let wanted = match chosen {
                _ if index == STABLE => 0, // gets what the others leave
                Some(chosen) if chosen == index => BUCKETS,
                Some(_) => 0,
                None => {
                    configured.and_then(|weights| weights.get(*name)).map_or(0, |share| share.basis_points())
                }
            };
            let weight = wanted.min(left);
            left = left.saturating_sub(weight);
            weight
        })
        .collect();
    if let Some(stable) = weights.get_mut(STABLE) {
        *stable = left;
    }
    weights
}

#[cfg(test)]
mod tests;
