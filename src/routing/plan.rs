//! A valid configuration, compiled for the hot path.

use std::borrow::Cow;
use std::cell::RefCell;
use std::iter;

use fastrand::Rng;

use super::affinity::{Affinity, Cookie, User, cookie_of};
use super::assign::{Salt, Split, to_bucket};
use super::automation::{Automation, Decisions};
use super::feedback::{Events, Join, Origin, Rule, Switch};
use super::log::{self, By};
use super::matcher::Matcher;
use super::mirror::{Comparison, Mirror, Mirrored};
use super::receipt::AnswerReceipts;
use super::request::{Facts, Request};
use crate::automation::task;
use crate::config::notify::Notify;
use crate::config::schema::{self, Config};
use crate::config::units::Duration;
use crate::model::{Arm, Assignment, Degree, Draw, Pair, Share, Side, Unit, UserHash, header};
use crate::receipt::answer;
use crate::rollout::program::Program;
use crate::rollout::record::{Clock, Head, Record};
use crate::signal::catalog::SignalId;
use crate::telemetry::breaker;
use crate::telemetry::outcome::Failures;
use crate::telemetry::reader::Reader;

/// All rollouts of a filter.
pub struct Plan {
    matcher: Matcher,
    rollouts: Vec<Rollout>,
    /// Whether a request may be asked for more than one header: then it is cheaper to read all of them at once.
    pub reads_several_headers: bool,
    /// Whether a rollout trusts the mark of copies. It stays on requests of the others then: they may come again, after an
    /// internal redirect, as that rollout's.
    pub trusts_shadow_header: bool,
    /// Which requests are decisions about tasks, if any are.
    decisions: Option<Decisions>,
    /// Which requests say what users did, if any do.
    events: Option<Events>,
    /// Which rollouts' requests are others' events.
    switches: Vec<Switch>,
    /// Receivers of notifications about its rollouts.
    pub receivers: Vec<Notify>,
}

/// One rollout. Its versions are stable first, then the others by name; a version is named by its position.
pub struct Rollout {
    /// Its name: the label of its metrics.
    pub name: String,
    /// Further labels of its metrics, by name.
    pub labels: Vec<(String, String)>,
    /// The versions, stable first, then by name.
    pub versions: Vec<Version>,
    /// Whether the version is set as a header of the request.
    pub tells_upstream: bool,
    /// Whether the version is set as a header of the response.
    pub tells_client: bool,
    /// Whether a request that says so is another Envoy's copy.
    pub trusts_shadow_header: bool,
    /// Whether model servers are asked for their load.
    pub asks_for_load: bool,
    /// Which answers are failures of the version that gave them.
    pub failures: Failures,
    /// What it is to do.
    pub program: Program,
    /// Identifies its program.
    fingerprint: u64,
    candidate: Option<usize>,
    /// Nanoseconds for which streams of a version go on when it was taken back; `None`: as long as they like.
    drain: Option<u64>,
    /// Whether what is decided about a request is logged.
    logs: bool,
    overrides: Overrides,
    affinity: Option<Affinity>,
    mirror: Option<Mirror>,
    automation: Option<Automation>,
    /// What says what its users did.
    pub feedback: Vec<Rule>,
    /// Set if its answers carry receipts.
    pub receipts: Option<AnswerReceipts>,
    /// How bodies are read, and whose where it is not everybody's.
    reader: Option<(Reader, Option<Salt>)>,
    /// Replaced whenever the rollout moves.
    in_force: RefCell<InForce>,
}

/// Where a client may say which version it wants.
#[derive(Default)]
struct Overrides {
    header: Option<String>,
    query: Option<Vec<u8>>,
    cookie: Option<Vec<u8>>,
}

impl Overrides {
    fn new(config: Option<&schema::Override>) -> Self {
        let Some(config) = config else { return Self::default() };
        Self {
            header: config.header.as_deref().map(str::to_ascii_lowercase),
            query: config.query.clone().map(String::into_bytes),
            cookie: config.cookie.clone().map(String::into_bytes),
        }
    }

    /// The headers that are asked for.
    fn headers(&self) -> impl Iterator<Item = &str> {
        let path = self.query.is_some().then_some(":path");
        let cookie = self.cookie.is_some().then_some("cookie");
        self.header.as_deref().into_iter().chain(path).chain(cookie)
    }

    /// What a client says, where it says something; what decides comes first.
    fn values<'r, R: Request>(&self, facts: &'r Facts<'_, R>) -> impl Iterator<Item = Cow<'r, [u8]>> {
        let header = || facts.request().header(self.header.as_ref()?);
        let query = || facts.parameter(self.query.as_ref()?);
        let cookie = || cookie_of(facts.request(), self.cookie.as_ref()?);
        iter::once_with(header).chain(iter::once_with(query)).chain(iter::once_with(cookie)).flatten()
    }
}

/// One version.
pub struct Version {
    /// Its name.
    pub name: String,
    /// The Envoy cluster that serves it.
    pub cluster: String,
}

/// What decides at present who gets which version.
struct InForce {
    pinned: Option<usize>,
    /// Whether a client that asks for the candidate gets it: not after a rollback.
    candidate_on_request: bool,
    /// Whether the candidate was taken back.
    is_taken_back: bool,
    salt: Salt,
    /// Names users for the judge, independently of their buckets; 0: nothing is known of them yet.
    user_key: [u64; 2],
    names: Salt,
    split: Split,
    /// By version.
    weights: Vec<Share>,
    /// The mirror's share and its cohort; `None`: nothing is mirrored.
    mirror: Option<(Share, Salt)>,
    assignment: Assignment,
    revision: u64,
    /// What access logs say of the attempt; `None`: nothing.
    logged: Option<String>,
    /// What is in force for tasks, and the attempt.
    tasks: task::InForce,
    attempt: u64,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The version's position in the rollout's versions.
    pub version: usize,
    /// What decided it.
    pub by: By,
    /// A cookie to issue, and the id in it.
    pub cookie: Option<(&'a Cookie, String)>,
    /// Set when the request was drawn for the shadow.
    pub mirror: Option<Mirrored>,
    /// The bodies of the request and its answer are read.
    pub is_read: bool,
    /// The request is another Envoy's copy: it counts for no version, and its answer is discarded.
    pub is_copy: bool,
    /// Set if the request is evidence about the candidate or stable. Overridden and pinned
    /// requests are not, nor are those without a user where users are judged.
    pub evidence: Option<Draw>,
    /// Set where people or a model decide it as a task.
    pub task: Option<Task>,
}

/// A request that people or a model decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// What was in force when it came.
    pub in_force: task::InForce,
    /// The attempt in which it came.
    pub attempt: u64,
    /// What was drawn for it.
    pub drawn: task::Drawn,
}

impl Plan {
    /// Compiles a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::of(config, config.rollouts.iter().map(Rollout::new).collect())
    }

    /// The same, of rollouts that are compiled already: one for each of the configuration's, in its order.
    #[must_use]
    pub fn of(config: &Config, rollouts: Vec<Rollout>) -> Self {
        let matcher = Matcher::new(config);
        let decisions = Decisions::new(config);
        let events = Events::new(config);
        let reads_several_headers = {
            let of_decisions = decisions.iter().flat_map(Decisions::headers);
            let own = rollouts.iter().flat_map(Rollout::headers);
            let of_events = events.iter().flat_map(Events::headers);
            let mut names = matcher.headers().chain(own).chain(of_decisions).chain(of_events);
            let first = names.next();
            names.any(|name| Some(name) != first)
        };
        let trusts_shadow_header = rollouts.iter().any(|rollout| rollout.trusts_shadow_header);
        Self {
            matcher,
            rollouts,
            reads_several_headers,
            trusts_shadow_header,
            decisions,
            events,
            switches: Switch::all(config),
            receivers: config.notify.clone(),
        }
    }

    /// The rollouts, in the configuration's order.
    #[must_use]
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// The rollout with that name.
    #[must_use]
    pub fn rollout(&self, name: &str) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.name == name)
    }

    /// The position of the rollout a request belongs to, and where it goes. `is_decision`: whether it [decides](Self::decides) a
    /// task.
    pub fn route<R: Request>(
        &self,
        request: &R,
        is_decision: bool,
        rng: &mut Rng,
    ) -> Option<(usize, Decision<'_>)> {
        let facts = Facts::new(request);
        let index = self.matcher.find(&facts)?;
        let rollout = self.rollouts.get(index)?;
        match &rollout.automation {
            None => Some((index, rollout.assign(&facts, rng))),
            Some(automation) => Some((index, rollout.assign_task(automation, is_decision, &facts, rng))),
        }
    }

    /// The rollouts and their rules whose event a request may be, as far as its headers say, each with the version that its user
    /// has; `None`: no user is named, or the receipt of an answer says it.
    pub fn events<R: Request>(&self, request: &R) -> Vec<(usize, usize, Option<Origin>)> {
        let Some(events) = &self.events else { return Vec::new() };
        let facts = Facts::new(request);
        let with_origin = |(at, rule): (usize, usize)| {
            let rollout = self.rollouts.get(at).filter(|rollout| !rollout.is_copy(&facts))?;
            let joins_by_user = matches!(rollout.feedback.get(rule)?.join, Join::User);
            Some((at, rule, if joins_by_user { rollout.version_of_user(&facts) } else { None }))
        };
        events.find(&facts).into_iter().filter_map(with_origin).collect()
    }

    /// Of a request of this rollout, with a user: what it is counted as for other rollouts, by their position.
    pub fn switches<R: Request>(&self, rollout: usize, request: &R) -> Vec<(usize, SignalId, Draw)> {
        let mut found = Vec::new();
        for Switch { from, signal, .. } in self.switches.iter().filter(|switch| switch.to == rollout) {
            let of = self.rollouts.get(*from).and_then(|from| from.version_of_user(&Facts::new(request)));
            found.extend(of.and_then(|of| Some((*from, *signal, of.evidence?))));
        }
        found
    }

    /// The positions of the rollouts about one of whose tasks the request is a decision, if it is one.
    pub fn decides<R: Request>(&self, request: &R) -> Vec<usize> {
        self.decisions.as_ref().map(|decisions| decisions.find(request)).unwrap_or_default()
    }
}

/// Stable's position.
pub const STABLE: usize = 0;

/// Nanoseconds for which what goes on with a version may, once it was taken back.
fn drain_of(config: &schema::Rollout) -> Option<u64> {
    let milliseconds = config.drain.map_or(schema::DRAIN, Duration::as_millis);
    (milliseconds > 0).then(|| milliseconds.saturating_mul(1_000_000))
}

impl Rollout {
    /// Compiles one rollout of a valid configuration.
    #[must_use]
    pub fn new(config: &schema::Rollout) -> Self {
        let others = config.versions.keys().filter(|name| **name != config.stable);
        let names = [&config.stable].into_iter().chain(others);
        let cluster =
            |name: &str| config.versions.get(name).map(|version| version.cluster.clone()).unwrap_or_default();
        let versions: Vec<Version> =
            names.map(|name| Version { name: name.clone(), cluster: cluster(name) }).collect();
        let position = |name: &String| versions.iter().position(|version| version.name == *name);
        let receipts = config.receipt.as_ref().map(AnswerReceipts::new);
        let program = Program::new(config);
        let mirror =
            config.mirror.as_ref().and_then(|mirror| Some(Mirror::new(mirror, position(&mirror.to)?)));
        // Until its state is known: as at the beginning of its first attempt.
        let (begun, _) = Record::begin(program.clone(), Clock::default());
        let head = begun.head(&config.name);
        let in_force =
            InForce::new(&program, &versions, mirror.as_ref(), &head).logged(config.log, &program, &head);
        let reader = config.payload.as_ref().and_then(|payload| {
            Reader::new(payload, config.analysis.as_ref(), &config.alarms, config.drift.as_ref())
        });
        let cohort = |reader: &Reader| {
            (reader.sample != Share::ALL).then(|| Salt::new(&format!("{}\0payload", program.release)))
        };
        Self {
            name: config.name.clone(),
            labels: config.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            tells_upstream: config.version_header.request,
            tells_client: config.version_header.response,
            trusts_shadow_header: config.trust_shadow_header,
            asks_for_load: config.server_load,
            candidate: config.candidate.as_ref().and_then(position),
            drain: drain_of(config),
            logs: config.log,
            overrides: Overrides::new(config.overrides.as_ref()),
            affinity: config.session_affinity.as_ref().and_then(Affinity::new),
            mirror,
            automation: config.automation.as_ref().and_then(|automation| {
                Automation::new(automation, config.candidate.as_ref().and_then(position)?)
            }),
            feedback: config.feedback.iter().map(|rule| Rule::new(rule, receipts.as_ref())).collect(),
            receipts,
            reader: reader.map(|reader| {
                let cohort = cohort(&reader);
                (reader, cohort)
            }),
            in_force: RefCell::new(in_force),
            failures: config
                .analysis
                .as_ref()
                .map_or_else(Failures::default, |a| Failures::new(&a.error_when)),
            fingerprint: program.fingerprint(),
            program,
            versions,
        }
    }

    /// Has stable serve until a head is followed: other Envoys know where the rollout stands.
    pub fn wait(&self) {
        let head = Head { program: self.fingerprint, ..Head::default() };
        self.in_force.replace(InForce::new(&self.program, &self.versions, self.mirror.as_ref(), &head));
    }

    /// Routes as a head says, if that follows from this rollout's own program. Returns whether it does.
    pub fn follow(&self, head: &Head) -> bool {
        let is_news = {
            let in_force = self.in_force.borrow();
            (in_force.assignment, in_force.revision, in_force.user_key)
                != (head.assignment, head.revision, head.user_key)
        };
        if head.program != self.fingerprint {
            return false;
        }
        if is_news {
            let in_force = InForce::new(&self.program, &self.versions, self.mirror.as_ref(), head);
            self.in_force.replace(in_force.logged(self.logs, &self.program, head));
        }
        true
    }

    /// The assignment in force.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        self.in_force.borrow().assignment
    }

    /// What is in force, as a circuit breaker wants it.
    #[must_use]
    pub fn in_force(&self) -> breaker::InForce {
        let in_force = self.in_force.borrow();
        let stable_serves = in_force.weights.get(STABLE).is_some_and(|weight| !weight.is_none());
        breaker::InForce { assignment: in_force.assignment, stable_serves }
    }

    /// The weights in force, by version; a pin included.
    #[must_use]
    pub fn weights(&self) -> Vec<Share> {
        self.in_force.borrow().weights.clone()
    }

    /// The version that was taken back, if one was, and for how many nanoseconds what goes on with it may.
    #[must_use]
    pub fn drained(&self) -> Option<(usize, u64)> {
        let in_force = self.in_force.borrow();
        if !in_force.is_taken_back && in_force.pinned != Some(STABLE) {
            return None;
        }
        // After a flip it may be stable that was left.
        let is_left = |at: &usize| in_force.weights.get(*at).is_some_and(|weight| weight.is_none());
        self.candidate.into_iter().chain([STABLE]).find(is_left).zip(self.drain)
    }

    /// What access logs say of a request; `None` unless they are to say something.
    #[must_use]
    pub fn log_entry(&self, version: usize, by: By) -> Option<String> {
        if !self.logs {
            return None;
        }
        let in_force = self.in_force.borrow();
        Some(log::of_request(in_force.logged.as_ref()?, &self.versions.get(version)?.name, by))
    }

    /// The headers that may be asked for, some more than once.
    fn headers(&self) -> impl Iterator<Item = &str> {
        let mirror: &[&str] = if self.mirror.is_some() { &Mirror::HEADERS } else { &[] };
        let key = self.affinity.as_ref().and_then(Affinity::header);
        let shadow = self.trusts_shadow_header.then_some(header::SHADOW);
        self.overrides.headers().chain(key).chain(mirror.iter().copied()).chain(shadow)
    }

    /// Whether a request is another Envoy's copy.
    fn is_copy<R: Request>(&self, facts: &Facts<'_, R>) -> bool {
        self.trusts_shadow_header && facts.request().header(header::SHADOW).is_some()
    }

    /// The version of an event's user: the key decides it, as it did before. `None`: there is no key.
    fn version_of_user<R: Request>(&self, facts: &Facts<'_, R>) -> Option<Origin> {
        let key = self.affinity.as_ref()?.key(facts)?;
        let in_force = self.in_force.borrow();
        let chosen = in_force.pinned.or_else(|| self.overridden(facts, in_force.candidate_on_request));
        if let Some(version) = chosen {
            return Some(Origin { version, evidence: None });
        }
        let version = in_force.version_of(in_force.salt.bucket(&key));
        Some(Origin { version, evidence: self.evidence(version, &User::Known(key), &in_force) })
    }

    /// What the answer to a request that was decided so is to carry; `None`: nothing.
    #[must_use]
    pub fn receipt(&self, version: usize, evidence: Option<Draw>) -> Option<answer::Receipt> {
        self.receipts.as_ref()?;
        let in_force = self.in_force.borrow();
        let drawn = evidence.map(|Draw { user, .. }| answer::Drawn { under: in_force.hash(), user });
        let version = answer::hash(&self.versions.get(version)?.name);
        Some(answer::Receipt { run: in_force.attempt, time: 0, version, drawn })
    }

    /// The version of the answer with this receipt; `None`: it is of another release or attempt. Evidence is only what was drawn
    /// under the weights that are in force: the odds are theirs.
    #[must_use]
    pub fn version_of_answer(&self, receipt: &answer::Receipt) -> Option<Origin> {
        let in_force = self.in_force.borrow();
        if receipt.run != in_force.attempt {
            return None;
        }
        let version =
            self.versions.iter().position(|version| answer::hash(&version.name) == receipt.version)?;
        let judges_users = self.program.unit() == Unit::Users;
        let drawn = receipt.drawn.filter(|drawn| drawn.under == in_force.hash());
        let drawn = drawn.filter(|drawn| drawn.user.is_some() == judges_users);
        let evidence = drawn.zip(self.side(version)).map(|(drawn, side)| Draw {
            assignment: in_force.assignment,
            side,
            user: drawn.user,
        });
        Some(Origin { version, evidence })
    }

    /// Pin beats override, override beats affinity, affinity beats drawing.
    fn assign<R: Request>(&self, facts: &Facts<'_, R>, rng: &mut Rng) -> Decision<'_> {
        let in_force = self.in_force.borrow();
        let is_copy = self.is_copy(facts);
        let silently = |version, by, is_read| Decision {
            version,
            by,
            cookie: None,
            mirror: None,
            is_read,
            is_copy,
            evidence: None,
            task: None,
        };
        if let Some(pinned) = in_force.pinned {
            return silently(
                pinned,
                By::Pin,
                self.is_sampled(&self.user(facts, rng, self.samples_bodies()), rng),
            );
        }
        let overridden = self.overridden(facts, in_force.candidate_on_request);
        if let (Some(version), None) = (overridden, in_force.mirror) {
            return silently(
                version,
                By::Override,
                self.is_sampled(&self.user(facts, rng, self.samples_bodies()), rng),
            );
        }
        let user = self.user(facts, rng, true);
        let version = overridden.unwrap_or_else(|| match &user {
            User::Known(key) => in_force.version_of(in_force.salt.bucket(key)),
            User::New(_, id) => in_force.version_of(in_force.salt.bucket(id.as_bytes())),
            User::Anonymous => in_force.version_of(to_bucket(rng.u64(..))),
            User::Missing => STABLE,
        });
        let by = match &user {
            _ if overridden.is_some() => By::Override,
            User::Anonymous => By::Weight,
            User::Known(_) | User::New(..) | User::Missing => By::Affinity,
        };
        if is_copy {
            return silently(version, by, false);
        }
        let is_read = self.is_sampled(&user, rng);
        let mirror = match (&self.mirror, in_force.mirror) {
            (Some(mirror), Some((share, salt))) if version == STABLE => {
                let bucket = match &user {
                    User::Known(key) => salt.bucket(key),
                    User::New(_, id) => salt.bucket(id.as_bytes()),
                    User::Anonymous | User::Missing => to_bucket(rng.u64(..)),
                };
                (bucket < share.basis_points()).then(|| mirror.decide(facts))
            }
            _ => None,
        };
        let evidence = if overridden.is_none() { self.evidence(version, &user, &in_force) } else { None };
        let cookie = match user {
            User::New(cookie, id) => Some((cookie, id)),
            _ => None,
        };
        Decision { version, by, cookie, mirror, is_read, is_copy, evidence, task: None }
    }

    /// Where a task goes first: to people, unless the model answers everything. A decision goes to people as well, and is no
    /// task.
    fn assign_task<R: Request>(
        &self,
        automation: &Automation,
        is_decision: bool,
        facts: &Facts<'_, R>,
        rng: &mut Rng,
    ) -> Decision<'_> {
        let in_force = self.in_force.borrow();
        let is_copy = self.is_copy(facts);
        let drawn = automation.draw(rng);
        let is_task = !is_decision && !is_copy;
        Decision {
            version: if is_task && in_force.tasks.is_models(drawn) { automation.model } else { STABLE },
            by: if in_force.pinned.is_some() { By::Pin } else { By::Degree },
            cookie: None,
            mirror: None,
            is_read: false,
            is_copy,
            evidence: None,
            task: is_task.then_some(Task { in_force: in_force.tasks, attempt: in_force.attempt, drawn }),
        }
    }

    /// How tasks are handled, where people or a model decide them.
    #[must_use]
    pub fn automation(&self) -> Option<&Automation> {
        self.automation.as_ref()
    }

    /// What is in force for tasks, and the attempt.
    #[must_use]
    pub fn tasks_in_force(&self) -> (task::InForce, u64) {
        let in_force = self.in_force.borrow();
        (in_force.tasks, in_force.attempt)
    }

    /// What is reported of so many tasks in a row that a model which answers everything has left unanswered; `None`: nothing.
    #[must_use]
    pub fn unanswered(&self, tasks: u64) -> Option<breaker::Trip> {
        let steps_down = self.program.automation.as_ref()?.steps_down;
        let in_force = self.in_force.borrow();
        let is_reported =
            steps_down && in_force.tasks.degree == Degree::Full && tasks >= task::MOST_UNANSWERED;
        let seen = Pair::new(Arm { events: tasks, units: tasks }, Arm::default());
        is_reported.then_some(breaker::Trip { assignment: in_force.assignment, seen })
    }

    /// The request's user, where that matters.
    fn user<'p, 'r, R: Request>(
        &'p self,
        facts: &'r Facts<'_, R>,
        rng: &mut Rng,
        matters: bool,
    ) -> User<'p, 'r> {
        let affinity = self.affinity.as_ref().filter(|_| matters);
        affinity.map_or(User::Anonymous, |affinity| affinity.user(facts, rng))
    }

    /// Whether bodies are read of some requests, and not of others.
    fn samples_bodies(&self) -> bool {
        self.reader.as_ref().is_some_and(|(_, cohort)| cohort.is_some())
    }

    /// Whether the bodies of a user's request and its answer are read.
    fn is_sampled(&self, user: &User<'_, '_>, rng: &mut Rng) -> bool {
        match &self.reader {
            None => false,
            Some((_, None)) => true,
            Some((reader, Some(cohort))) => {
                let bucket = match user {
                    User::Known(key) => cohort.bucket(key),
                    User::New(_, id) => cohort.bucket(id.as_bytes()),
                    User::Anonymous | User::Missing => to_bucket(rng.u64(..)),
                };
                bucket < reader.sample.basis_points()
            }
        }
    }

    /// How the shadow's answers are compared, if they are.
    #[must_use]
    pub fn comparison(&self) -> Option<&Comparison> {
        self.mirror.as_ref()?.comparison()
    }

    /// How bodies are read, if they are.
    #[must_use]
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref().map(|(reader, _)| reader)
    }

    /// What a request that was drawn says.
    fn evidence(&self, version: usize, user: &User<'_, '_>, in_force: &InForce) -> Option<Draw> {
        let judges_users = self.program.unit() == Unit::Users;
        if judges_users && in_force.user_key == [0; 2] {
            return None; // the leader has not drawn the key yet
        }
        let named = |key: &[u8]| judges_users.then(|| UserHash(in_force.names.hash(key)));
        let user = match user {
            User::Known(key) => named(key),
            User::New(_, id) => named(id.as_bytes()),
            User::Anonymous if !judges_users => None,
            User::Anonymous | User::Missing => return None,
        };
        Some(Draw { assignment: in_force.assignment, side: self.side(version)?, user })
    }

    /// Which side of a comparison a version is on, when the candidate is judged at all.
    fn side(&self, version: usize) -> Option<Side> {
        self.program.rules()?;
        let candidate = self.candidate.filter(|candidate| *candidate != STABLE)?;
        match version {
            STABLE => Some(Side::Stable),
            version if version == candidate => Some(Side::Candidate),
            _ => None,
        }
    }

    fn overridden<R: Request>(&self, facts: &Facts<'_, R>, candidate_on_request: bool) -> Option<usize> {
        let version = self.overrides.values(facts).find_map(|value| match value.trim_ascii() {
            b"always" => self.candidate,
            b"never" => Some(STABLE),
            name => self.versions.iter().position(|version| version.name.as_bytes() == name),
        });
        version.filter(|version| candidate_on_request || Some(*version) != self.candidate)
    }

    /// The version a bucket belongs to.
    #[must_use]
    pub fn version_of(&self, bucket: u16) -> usize {
        self.in_force.borrow().version_of(bucket)
    }

    /// The bucket of a user's key.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> u16 {
        self.in_force.borrow().salt.bucket(key)
    }
}

impl InForce {
    fn new(program: &Program, versions: &[Version], mirror: Option<&Mirror>, head: &Head) -> Self {
        let mut left = Share::ALL;
        let others = versions.iter().skip(1).map(|version| {
            let weight = head.weights.get(&version.name).copied().unwrap_or_default().min(left);
            left = left.minus(weight);
            weight
        });
        let others: Vec<Share> = others.collect();
        let buckets: Vec<u16> = others.iter().map(|share| share.basis_points()).collect();
        // Another attempt draws another cohort.
        let salt = match head.attempt {
            0 | 1 => program.release.clone(),
            attempt => format!("{}\0{attempt}", program.release),
        };
        let pin = program.pin.as_ref().filter(|_| head.pinned);
        Self {
            pinned: pin.and_then(|pin| versions.iter().position(|version| version.name == *pin)),
            candidate_on_request: head.candidate_on_request,
            is_taken_back: head.is_taken_back,
            split: Split::new(&buckets),
            mirror: mirror
                .filter(|_| head.mirrors)
                .map(|mirror| (head.mirror.unwrap_or(mirror.share()), Salt::new(&format!("{salt}\0mirror")))),
            user_key: head.user_key,
            names: Salt::with_key(head.user_key),
            salt: Salt::new(&salt),
            weights: [left].into_iter().chain(others).collect(),
            assignment: head.assignment,
            revision: head.revision,
            logged: None,
            tasks: task::InForce { degree: head.degree, threshold: head.threshold },
            attempt: program.attempt(head.attempt),
        }
    }

    /// The same with what access logs say, if they are to.
    fn logged(self, logs: bool, program: &Program, head: &Head) -> Self {
        Self { logged: logs.then(|| log::of_attempt(&head.name, program, head.attempt)), ..self }
    }

    /// Tells it from what is in force under another assignment, or names users by another key.
    fn hash(&self) -> u64 {
        self.assignment.0 ^ self.user_key.iter().fold(0, |all, part| all ^ part)
    }

    fn version_of(&self, bucket: u16) -> usize {
        // The split has the versions besides stable, which come after it.
        self.split.version(bucket).map_or(STABLE, |rank| rank.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
