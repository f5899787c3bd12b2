//! What is asked, and the answer.
//!
//! A command is not carried out here: the shell does that, under compare-and-swap, and comes back with what came of
//! it. Whatever ends in a problem has changed nothing.

use super::access::{Access, Caller, is_foreign};
use super::allowance::Allowance;
use super::body;
use super::differences::Differences;
use super::page;
use super::request::{MOST_BODY, Request};
use super::response::Response;
use super::view::{Event, Fleet, Health, Journal, Page, Rollout};
use crate::config::report::Shown;
use crate::config::schema;
use crate::fleet::shared::Shared;
use crate::fleet::{self, decisions, differences, joined, journal, recordings};
use crate::rollout::change::{Change, NotChanged};
use crate::rollout::clock::{Clock, Now};
use crate::rollout::command::{self, Refused, Verb};
use crate::rollout::event::Origin;
use crate::rollout::record::Record;

/// Rollouts on one page.
pub const MOST_ON_A_PAGE: usize = 100;

/// The API of one control listener.
#[derive(Clone, Debug, Default)]
pub struct Api {
    access: Access,
    allowance: Allowance,
}

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Handled {
    /// Answer it.
    Answer(Response),
    /// Answer it with the live page.
    Page(page::Page),
    /// Answer it, and have this rollout be recorded from now on.
    Record {
        /// The rollout.
        rollout: String,
        /// The ticks that are known.
        answer: Response,
    },
    /// Make this change, let the workers take it, and answer what [`changed`] says.
    Change(Change),
}

impl Api {
    /// The API as it is configured.
    #[must_use]
    pub fn new(control: &schema::Control) -> Self {
        Self { access: Access::new(control), allowance: Allowance::default() }
    }

    /// Answers a request, or says what is to be changed.
    #[must_use]
    pub fn handle(&self, request: &Request, shared: &impl Shared, clock: Clock) -> Handled {
        self.decide(request, shared, clock).unwrap_or_else(Handled::Answer)
    }

    /// From the cheapest and most general refusal to the most special one.
    fn decide(&self, request: &Request, shared: &impl Shared, clock: Clock) -> Result<Handled, Response> {
        if !self.access.knows_host(&request.authority) {
            return Err(Response::problem(
                403,
                "the host is neither loopback nor one of `control.hosts` in the configuration",
            ));
        }
        let asked = request.path_and_query().and_then(|(path, query)| Some((Resource::at(path)?, query)));
        // The page has no data; what it asks for does.
        let is_open = matches!(asked, Some((Resource::Health | Resource::Page, _)));
        let caller = self.access.caller(request.authorization.as_deref());
        if !is_open && caller.is_none() {
            return Err(Response::problem(401, "expected `authorization: Bearer` with the token")
                .with("www-authenticate", "Bearer"));
        }
        let Some((resource, query)) = asked else {
            return Err(Response::problem(404, "not found; /v1/rollouts lists the rollouts"));
        };
        if request.body.len() > MOST_BODY {
            return Err(Response::problem(413, format!("the body is over {MOST_BODY} bytes")));
        }
        match resource {
            Resource::Command(name, verb) => {
                command((request, caller), query, name, verb, shared).map(Handled::Change)
            }
            Resource::Health => {
                looks(request)?;
                no_parameters(query)?;
                Ok(Handled::Answer(Response::json(200, &Health { status: "ok" })))
            }
            Resource::Page => {
                looks(request)?;
                Ok(Handled::Page(page::Page::to(request)))
            }
            Resource::State(state) => {
                looks(request)?;
                self.allowance.has_room(clock.now().uptime_ms).map_err(|seconds| {
                    Response::problem(429, format!("too many requests; try again in {seconds} s"))
                        .with("retry-after", seconds.to_string())
                })?;
                let (answer, shown) = look(query, &state, (shared, clock))?;
                self.allowance.take(shown);
                Ok(match state {
                    State::Ticks(rollout) => Handled::Record { rollout: rollout.to_owned(), answer },
                    _ => Handled::Answer(answer),
                })
            }
        }
    }
}

/// The answer once a change has been made, or not. Made: `outcome` is what became of the rollout, and
/// `missing_workers` are those that have not confirmed it in time.
#[must_use]
pub fn changed(
    name: &str,
    outcome: Result<&Record, &NotChanged>,
    missing_workers: &[usize],
    clock: Clock,
) -> Response {
    match outcome {
        Ok(record) => {
            let status = if missing_workers.is_empty() { 200 } else { 202 };
            let mut rollout = Rollout::new(name, record, clock.now());
            rollout.missing_workers = missing_workers.to_vec();
            shown(status, &rollout)
        }
        Err(NotChanged::Unknown) => no_such_rollout(name),
        Err(NotChanged::OtherRevision(revision)) => Response::problem(
            412,
            format!("{name} is now at revision {revision}; read it again before changing it"),
        )
        .with("etag", etag(*revision)),
        Err(NotChanged::Refused(Refused(why))) => Response::problem(409, why.clone()),
        Err(NotChanged::Busy) => {
            Response::problem(409, "too many changes to the rollout at the same time; try again")
        }
    }
}

/// What a path leads to.
enum Resource<'a> {
    Health,
    Page,
    State(State<'a>),
    Command(&'a str, &'static Verb),
}

/// What is to be seen of rollouts.
enum State<'a> {
    Rollouts,
    Rollout(&'a str),
    Events(&'a str),
    Differences(&'a str),
    Ticks(&'a str),
    /// The Envoys that share them.
    Fleet,
}

impl<'a> Resource<'a> {
    fn at(path: &'a str) -> Option<Self> {
        if path == "/healthz" {
            return Some(Self::Health);
        }
        if path == "/" {
            return Some(Self::Page);
        }
        if path == "/v1/fleet" {
            return Some(Self::State(State::Fleet));
        }
        let rest = path.strip_prefix("/v1/rollouts")?;
        if rest.is_empty() {
            return Some(Self::State(State::Rollouts));
        }
        let rest = rest.strip_prefix('/')?;
        let Some((name, what)) = rest.split_once('/') else { return Some(Self::State(State::Rollout(rest))) };
        if what == "events" {
            return Some(Self::State(State::Events(name)));
        }
        if what == "differences" {
            return Some(Self::State(State::Differences(name)));
        }
        if what == "ticks" {
            return Some(Self::State(State::Ticks(name)));
        }
        Some(Self::Command(name, command::verb(what)?))
    }
}

/// Whether a request changes nothing. Envoy leaves the body of an answer to HEAD out.
fn looks(request: &Request) -> Result<(), Response> {
    if matches!(request.method.as_slice(), b"GET" | b"HEAD") {
        Ok(())
    } else {
        Err(wrong_method("GET, HEAD"))
    }
}

/// Answers a request that changes nothing. Returns the answer, and how many rollouts, events or other rows it shows.
fn look(
    query: &str,
    state: &State<'_>,
    (shared, clock): (&impl Shared, Clock),
) -> Result<(Response, usize), Response> {
    let now = clock.now();
    match *state {
        State::Rollouts => {
            let page = page(parameter("after", query)?, shared, now);
            Ok((Response::json(200, &page), page.rollouts.len()))
        }
        State::Fleet => {
            no_parameters(query)?;
            let fleet = joined::view(shared).ok_or_else(|| {
                Response::problem(404, "no `store` is configured: this Envoy decides alone")
            })?;
            let fleet = Fleet::new(&fleet, now);
            Ok((Response::json(200, &fleet), fleet.members.len()))
        }
        State::Rollout(name) => {
            no_parameters(query)?;
            let record = fleet::record(shared, name).ok_or_else(|| no_such_rollout(name))?;
            let mut rollout = Rollout::new(name, &record, now);
            if record.program.automation.is_some() {
                rollout = rollout.with_decisions(&record, &decisions::of(shared, name, record.attempt()));
            }
            Ok((shown(200, &rollout), 1))
        }
        State::Events(name) => {
            no_parameters(query)?;
            fleet::record(shared, name).ok_or_else(|| no_such_rollout(name))?;
            let events = journal::of(shared, name);
            let events: Vec<Event> = events.iter().rev().map(|event| Event::new(name, event)).collect();
            let shown = events.len();
            Ok((Response::json(200, &Journal { events }), shown))
        }
        State::Differences(name) => {
            no_parameters(query)?;
            let record = fleet::record(shared, name).ok_or_else(|| no_such_rollout(name))?;
            let known = differences::of(shared, name, record.attempt());
            let differences = Differences::new(&record.program.release, known);
            Ok((Response::json(200, &differences), differences.listed()))
        }
        State::Ticks(name) => ticks(name, parameter("after", query)?, shared, clock),
    }
}

/// The ticks of a rollout that were closed after the one with the number `after`.
fn ticks(
    name: &str,
    after: Option<&str>,
    shared: &impl Shared,
    clock: Clock,
) -> Result<(Response, usize), Response> {
    let after = after.map_or(Ok(0), str::parse);
    let after = after
        .map_err(|_| Response::problem(422, "expected the number of a tick in the parameter `after`"))?;
    let record = fleet::record(shared, name).ok_or_else(|| no_such_rollout(name))?;
    let refused = if record.program.rules().is_none() {
        "nothing is judged of this rollout, so there are no ticks to record; expected `analysis`"
    } else if joined::view(shared).is_some() {
        "with a `store` no ticks are recorded: only the leading Envoy of a fleet judges"
    } else if recordings::are_full(shared, name, clock.uptime) {
        "too many rollouts are being recorded; try again later"
    } else {
        let lines = recordings::since(shared, name, after);
        return Ok((Response::lines(&lines), lines.len()));
    };
    Err(Response::problem(409, refused))
}

/// Reads a request that changes something.
fn command(
    (request, caller): (&Request, Option<Caller>),
    query: &str,
    name: &str,
    verb: &Verb,
    shared: &impl Shared,
) -> Result<Change, Response> {
    if request.method != b"POST" {
        return Err(wrong_method("POST"));
    }
    if is_foreign(request.origin.as_deref(), &request.authority) {
        return Err(Response::problem(403, "pages of another origin may not change anything"));
    }
    let token = match caller {
        Some(Caller { may_write: true, token }) => token,
        _ => {
            return Err(Response::problem(403, "this token is read-only: its rights are `read`"));
        }
    };
    if !request.is_json() {
        return Err(Response::problem(415, "expected `content-type: application/json`"));
    }
    if request.is_encoded() {
        let problem = Response::problem(415, "expected no `content-encoding`");
        return Err(problem.with("accept-encoding", "identity"));
    }
    no_parameters(query)?;
    let (command, reason) = body::command(verb.takes, &request.body)?;
    let if_match = request.if_match.as_deref().map_or(Ok(None), revisions)?;
    let record = fleet::record(shared, name).ok_or_else(|| no_such_rollout(name))?;
    if let Some(flaw) = record.run.flaw(&record.program, &command) {
        return Err(Response::problem(422, flaw));
    }
    Ok(Change { rollout: name.to_owned(), command, if_match, origin: Origin { token, reason } })
}

/// The rollouts by name, from the first one after `after`.
fn page(after: Option<&str>, shared: &impl Shared, now: Now) -> Page {
    let mut names = fleet::names(shared);
    names.retain(|name| after.is_none_or(|after| name.as_str() > after));
    let more = names.len() > MOST_ON_A_PAGE;
    names.truncate(MOST_ON_A_PAGE);
    let next = if more { names.last().cloned() } else { None };
    let rollout = |name: &String| Some(Rollout::new(name, &fleet::record(shared, name)?, now));
    Page { rollouts: names.iter().filter_map(rollout).collect(), next }
}

/// The value of the only query parameter there may be.
fn parameter<'a>(known: &str, query: &'a str) -> Result<Option<&'a str>, Response> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) if name == known && found.is_none() => found = Some(value),
            _ => {
                return Err(Response::problem(
                    422,
                    format!("expected at most one query parameter, `{known}`"),
                ));
            }
        }
    }
    Ok(found)
}

fn no_parameters(query: &str) -> Result<(), Response> {
    if query.is_empty() { Ok(()) } else { Err(Response::problem(422, "expected no query parameters")) }
}

/// Reads `if-match`: revisions, of which one suffices; `None` stands for `*`, which any matches.
fn revisions(if_match: &[u8]) -> Result<Option<Vec<u64>>, Response> {
    let text = str::from_utf8(if_match).unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    // A tag that is not a revision matches none; neither do the parts of a tag that contains a comma.
    let revision = |tag: &str| {
        let digits = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let revisions: Vec<u64> = text.split(',').filter_map(revision).collect();
    if revisions.is_empty() {
        return Err(Response::problem(412, "`if-match` has no revision in quotes, such as \"7\""));
    }
    Ok(Some(revisions))
}

fn shown(status: u16, rollout: &Rollout) -> Response {
    Response::json(status, rollout).with("etag", etag(rollout.revision))
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

fn wrong_method(allowed: &'static str) -> Response {
    Response::problem(405, format!("expected {allowed}")).with("allow", allowed)
}

fn no_such_rollout(name: &str) -> Response {
    Response::problem(404, format!("there is no rollout {}", Shown(name)))
}

#[cfg(test)]
mod tests;
