//! One rollout, compiled for the hot path: which version a request gets.

use std::cell::RefCell;

use fastrand::Rng;

use super::affinity::{Affinity, Cookie, User};
use super::assign::Salt;
use super::automation::Automation;
use super::feedback::{Origin, Rule};
use super::in_force::InForce;
use super::log::{self, By};
use super::mirror::{Comparison, Mirror, Mirrored};
use super::overrides::Overrides;
use super::receipt::AnswerReceipts;
use super::request::{Facts, Request};
use super::version::{STABLE, Version, versions_of};
use crate::automation::task;
use crate::config::schema;
use crate::model::{Arm, Assignment, Degree, Draw, Pair, Share, Side, Unit, UserHash, header};
use crate::receipt::answer;
use crate::rollout::clock::Clock;
use crate::rollout::program::Program;
use crate::rollout::record::{Head, Record};
use crate::telemetry::breaker;
use crate::telemetry::failures::Failures;
use crate::telemetry::reader::Reader;

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

/// Nanoseconds for which what goes on with a version may, once it was taken back.
fn drain_of(config: &schema::Rollout) -> Option<u64> {
    let nanoseconds = config.drain.unwrap_or(schema::DRAIN).as_nanos();
    (nanoseconds > 0).then_some(nanoseconds)
}

/// How bodies are read, if they are, and whose where it is not everybody's.
fn reader_of(config: &schema::Rollout, release: &str) -> Option<(Reader, Option<Salt>)> {
    let payload = config.payload.as_ref()?;
    let reader = Reader::new(payload, config.analysis.as_ref(), &config.alarms, config.drift.as_ref())?;
    let cohort = (reader.sample != Share::ALL).then(|| Salt::new(&format!("{release}\0payload")));
    Some((reader, cohort))
}

impl Rollout {
    /// Compiles one rollout of a valid configuration.
    #[must_use]
    pub fn new(config: &schema::Rollout) -> Self {
        let versions = versions_of(config);
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
            reader: reader_of(config, &program.release),
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

    /// Sends everything to stable until a head is followed: other Envoys know where the rollout stands.
    pub fn serve_stable_until_followed(&self) {
        let head = Head { program: self.fingerprint, ..Head::default() };
        self.in_force.replace(InForce::new(&self.program, &self.versions, self.mirror.as_ref(), &head));
    }

    /// Routes as a head says, if that follows from this rollout's own program. Returns whether it does.
    pub fn follow(&self, head: &Head) -> bool {
        if head.program != self.fingerprint {
            return false;
        }
        if !self.is_at(head) {
            let in_force = InForce::new(&self.program, &self.versions, self.mirror.as_ref(), head);
            self.in_force.replace(in_force.logged(self.logs, &self.program, head));
        }
        true
    }

    /// Whether it routes as a head of its own program says.
    #[must_use]
    pub fn is_at(&self, head: &Head) -> bool {
        let in_force = self.in_force.borrow();
        (in_force.assignment, in_force.revision, in_force.user_key)
            == (head.assignment, head.revision, head.user_key)
    }

    /// The assignment in force.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        self.in_force.borrow().assignment
    }

    /// What identifies the attempt.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.in_force.borrow().attempt
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
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        let mirror: &[&str] = if self.mirror.is_some() { &Mirror::HEADERS } else { &[] };
        let key = self.affinity.as_ref().and_then(Affinity::header);
        let shadow = self.trusts_shadow_header.then_some(header::SHADOW);
        self.overrides.headers().chain(key).chain(mirror.iter().copied()).chain(shadow)
    }

    /// Whether a request is another Envoy's copy.
    pub(super) fn is_copy<R: Request>(&self, facts: &Facts<'_, R>) -> bool {
        self.trusts_shadow_header && facts.request().header(header::SHADOW).is_some()
    }

    /// The version of an event's user: the key decides it, as it did before. `None`: there is no key.
    pub(super) fn version_of_user<R: Request>(&self, facts: &Facts<'_, R>) -> Option<Origin> {
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
        let judges_users = self.judges_users();
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
    pub(super) fn assign<R: Request>(&self, facts: &Facts<'_, R>, rng: &mut Rng) -> Decision<'_> {
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
        let overridden = match in_force.pinned {
            Some(_) => None,
            None => self.overridden(facts, in_force.candidate_on_request),
        };
        let pinned = in_force.pinned.map(|version| (version, By::Pin));
        let unmirrored =
            overridden.filter(|_| in_force.mirror.is_none()).map(|version| (version, By::Override));
        if let Some((version, by)) = pinned.or(unmirrored) {
            let user = self.user(facts, rng, self.samples_bodies());
            return silently(version, by, self.is_sampled(&user, rng));
        }
        let user = self.user(facts, rng, true);
        let version = overridden.unwrap_or_else(|| match &user {
            User::Missing => STABLE,
            user => in_force.version_of(user.bucket(&in_force.salt, rng)),
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
                (user.bucket(&salt, rng) < share.basis_points()).then(|| mirror.decide(facts))
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
    pub(super) fn assign_task<R: Request>(
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
            Some((reader, Some(cohort))) => user.bucket(cohort, rng) < reader.sample.basis_points(),
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
        let judges_users = self.judges_users();
        if judges_users && in_force.user_key == [0; 2] {
            return None; // the leader has not drawn the key yet
        }
        let named = |key: &[u8]| judges_users.then(|| UserHash(in_force.names.hash(key)));
        let user = match (user.key(), user) {
            (Some(key), _) => named(key),
            (None, User::Anonymous) if !judges_users => None,
            (None, _) => return None,
        };
        Some(Draw { assignment: in_force.assignment, side: self.side(version)?, user })
    }

    /// Which side of a comparison a version is on, when the candidate is judged at all. Without one stable may still be watched.
    fn side(&self, version: usize) -> Option<Side> {
        self.program.rules()?;
        let candidate = self.candidate.filter(|candidate| *candidate != STABLE);
        match version {
            STABLE => (candidate.is_some() || self.program.watches_stable()).then_some(Side::Stable),
            version => (candidate == Some(version)).then_some(Side::Candidate),
        }
    }

    /// Whether users are compared.
    fn judges_users(&self) -> bool {
        self.program.unit() == Unit::Users && self.program.candidate.is_some()
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
