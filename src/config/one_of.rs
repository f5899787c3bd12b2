//! Fields of which exactly one is to be given, as the enum that they are: decided here, for validation and compilation.

use super::affinity::{Cookie, SessionAffinity};
use super::condition::{Match, ValueRule};
use super::release::{Pause, Ready, SetMirror, SetWeight, Step};
use crate::model::Degree;

/// What a rule asks of a header's first value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueTest<'a> {
    /// It is this.
    Exact(&'a str),
    /// It starts with this.
    Prefix(&'a str),
    /// Whether it is there.
    Present(bool),
}

impl ValueRule {
    /// The fields of which one is given.
    pub(super) const ONE_OF: &'static [&'static str] = &["exact", "prefix", "present"];

    /// What the rule asks; `None` if that is not exactly one thing.
    #[must_use]
    pub fn test(&self) -> Option<ValueTest<'_>> {
        one([
            self.exact.as_deref().map(ValueTest::Exact),
            self.prefix.as_deref().map(ValueTest::Prefix),
            self.present.map(ValueTest::Present),
        ])
    }
}

/// Where a user's key is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AffinitySource<'a> {
    /// In this request header.
    Header(&'a str),
    /// In this cookie.
    Cookie(&'a Cookie),
    /// In this query parameter.
    Query(&'a str),
    /// It is the client's address.
    Address,
}

impl SessionAffinity {
    /// The fields of which one is given.
    pub(super) const ONE_OF: &'static [&'static str] = &["header", "cookie", "query", "source_ip"];

    /// Where the key is read; `None` if that is not exactly one place.
    #[must_use]
    pub fn source(&self) -> Option<AffinitySource<'_>> {
        one([
            self.header.as_deref().map(AffinitySource::Header),
            self.cookie.as_ref().map(AffinitySource::Cookie),
            self.query.as_deref().map(AffinitySource::Query),
            self.source_ip.map(|_| AffinitySource::Address),
        ])
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepAction<'a> {
    /// It sets weights.
    SetWeight(&'a SetWeight),
    /// It sets the mirror's share.
    SetMirror(&'a SetMirror),
    /// It sets the degree of automation.
    SetDegree(Degree),
    /// It waits.
    Pause(&'a Pause),
    /// It waits until the candidate is ready.
    Ready(&'a Ready),
}

impl Step {
    /// The fields of which one is given.
    pub(super) const ONE_OF: &'static [&'static str] =
        &["set_weight", "set_mirror", "set_degree", "pause", "ready"];

    /// What the step does; `None` if that is not exactly one thing.
    #[must_use]
    pub fn action(&self) -> Option<StepAction<'_>> {
        one([
            self.set_weight.as_ref().map(StepAction::SetWeight),
            self.set_mirror.as_ref().map(StepAction::SetMirror),
            self.set_degree.map(StepAction::SetDegree),
            self.pause.as_ref().map(StepAction::Pause),
            self.ready.as_ref().map(StepAction::Ready),
        ])
    }
}

/// Which paths a rollout is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule<'a> {
    /// All.
    Any,
    /// This one.
    Exact(&'a str),
    /// Those that start with this.
    Prefix(&'a str),
    /// This one, and those that start with this and a `/`.
    SeparatedPrefix(&'a str),
}

impl Match {
    /// Which paths match; of two rules in a configuration that is refused for that, the exact one.
    #[must_use]
    pub fn path_rule(&self) -> PathRule<'_> {
        match (&self.path, &self.prefix, &self.path_separated_prefix) {
            (Some(path), _, _) => PathRule::Exact(path),
            (None, Some(prefix), _) => PathRule::Prefix(prefix),
            (None, None, Some(prefix)) => PathRule::SeparatedPrefix(prefix),
            (None, None, None) => PathRule::Any,
        }
    }
}

/// The only one that is given; `None` for none or several.
fn one<T, const N: usize>(given: [Option<T>; N]) -> Option<T> {
    let mut given = given.into_iter().flatten();
    let first = given.next()?;
    given.next().is_none().then_some(first)
}
