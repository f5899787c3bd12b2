//! Speaks HTTP to the control listener.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use changeover::control::response::Problem;
use ureq::http::uri::InvalidUri;
use ureq::http::{Request, Response, Uri};
use ureq::{Agent, Body};

use super::text;

/// More than the API ever answers on one page.
const MOST_ANSWER: u64 = 64 << 20;
/// A command is answered within a second and a bit.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a question is asked that the API has no time for.
const RETRIES: u32 = 20;
/// The longest that an answer may have it wait before it asks again.
const LONGEST_WAIT: u64 = 30;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The API says no.
    Refused(String),
    /// The API was not reached, or would not talk to us.
    Unreachable(String),
    /// The API has no rollout at all: Envoy may have just started.
    NotYet(String),
    /// The API has rollouts, and the one that is waited for is none of them.
    Unknown(String),
}

impl Failure {
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Unreachable(_) => 2,
            Self::NotYet(_) => 3,
            Self::Unknown(_) => 4,
        }
    }

    pub(super) fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// The first line, without the endpoint's name.
    pub(super) fn without(&self, endpoint: &str) -> String {
        let line = self.first_line();
        let rest = line.strip_prefix(endpoint).and_then(|rest| rest.strip_prefix(": "));
        rest.map(str::to_owned).unwrap_or(line)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(message)
        | Self::Unreachable(message)
        | Self::NotYet(message)
        | Self::Unknown(message)) = self;
        // Much of it comes from the server.
        f.write_str(&text::harmless(message))
    }
}

/// A control listener.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    /// Where it is asked.
    endpoint: String,
    /// The name under which it is called, where the endpoint is one of the name's addresses.
    host: Option<String>,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<&str>) -> Result<Self, Failure> {
        if !endpoint.starts_with("http://") {
            return Err(Failure::Unreachable(format!(
                "{endpoint}: expected a URL that starts with http://; the control listener stays on loopback, other \
                 machines reach it through a tunnel (ssh -L 9911:127.0.0.1:9911, kubectl port-forward)"
            )));
        }
        // Whatever HTTP_PROXY and redirects say: the token goes to the endpoint and nowhere else.
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("changeover/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            host: None,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// One client for each address of the endpoint's name. An address that is no name, and a name that cannot be resolved,
    /// is one.
    pub(super) fn for_each_address(self) -> Vec<Self> {
        let Ok(uri) = self.endpoint.parse::<Uri>() else { return vec![self] };
        let addresses = uri.authority().map(|authority| {
            (authority.host(), authority.port_u16().unwrap_or(80)).to_socket_addrs().map(Iterator::collect)
        });
        let Some(Ok(addresses)) = addresses else { return vec![self] };
        self.at(&uri, distinct(addresses))
    }

    /// A client for each of the addresses; itself if there are not several.
    pub(super) fn at(self, uri: &Uri, addresses: Vec<SocketAddr>) -> Vec<Self> {
        if addresses.len() < 2 {
            return vec![self];
        }
        let path = uri.path().trim_end_matches('/');
        let host = uri.authority().map(ToString::to_string);
        let at = |address| Self {
            endpoint: format!("http://{address}{path}"),
            host: host.clone(),
            ..self.clone()
        };
        addresses.into_iter().map(at).collect()
    }

    /// Where it is asked, for people.
    pub(super) fn name(&self) -> String {
        text::harmless(&self.endpoint)
    }

    /// The answer to a question.
    pub(super) fn get(&self, path: &str) -> Result<String, Failure> {
        self.send("GET", path, "")
    }

    /// The answer to a command.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<String, Failure> {
        self.send("POST", path, body)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        for _ in 0..RETRIES {
            let (response, answer) = self.send_once(method, path, body)?;
            if response.status().is_success() {
                return if is_json(&answer) { Ok(answer) } else { Err(self.another(&response)) };
            }
            let Some(seconds) = retry_after(&response) else { return Err(self.refused(&response, &answer)) };
            std::thread::sleep(Duration::from_secs(seconds));
        }
        Err(Failure::Refused("the API gets too many requests; try again later".into()))
    }

    fn send_once(&self, method: &str, path: &str, body: &str) -> Result<(Response<Body>, String), Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(body.to_owned()).map_err(|error| {
            // Only a token can be no header.
            let what = if error.is::<InvalidUri>() { "not a URL" } else { "cannot send this token" };
            Failure::Unreachable(format!("{}: {what}: {error}", self.endpoint))
        })?;
        let mut response = self.agent.run(request).map_err(|error| self.unreachable(&error, method))?;
        let body = response.body_mut().with_config().limit(MOST_ANSWER).read_to_string();
        let body = body.map_err(|error| self.unreachable(&error, method))?;
        Ok((response, body))
    }

    fn unreachable(&self, error: &ureq::Error, method: &str) -> Failure {
        if let ("POST", ureq::Error::Timeout(_)) = (method, error) {
            return Failure::Unreachable(format!(
                "{}: no answer within {} s; the change may still have been made: check the status",
                self.endpoint,
                PATIENCE.as_secs()
            ));
        }
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            error => error.to_string(),
        };
        Failure::Unreachable(format!(
            "{}: {why}\n\
             Is Envoy running there, its bootstrap with the listener of envoy/control.yaml?\n\
             In Kubernetes it is in Envoy's pod: kubectl port-forward pod/NAME 9911\n\
             Another address: --endpoint URL, or CHANGEOVER_ENDPOINT",
            self.endpoint
        ))
    }

    fn another(&self, response: &Response<Body>) -> Failure {
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        Failure::Unreachable(format!(
            "{} is not a control listener (it answered {} {}); set its address with --endpoint URL",
            self.endpoint,
            response.status().as_u16(),
            kind.unwrap_or("without a content-type"),
        ))
    }

    fn refused(&self, response: &Response<Body>, body: &str) -> Failure {
        let status = response.status().as_u16();
        let problem: Option<Problem> = serde_json::from_str(body).ok();
        match (status, problem) {
            (401, _) if self.authorization.is_none() => Failure::Unreachable(format!(
                "{}: a token is required: --token-file FILE, or CHANGEOVER_TOKEN",
                self.endpoint
            )),
            (401, _) => Failure::Unreachable(format!(
                "{}: the token is none of those in the configuration, where `control.token_sha256` and `control.tokens` \
                 have their SHA-256 (tr -d '\\n' < FILE | sha256sum)",
                self.endpoint
            )),
            (403, Some(problem)) => Failure::Unreachable(format!("{}: {}", self.endpoint, problem.detail)),
            (_, Some(problem)) => Failure::Refused(problem.detail),
            (503, None) => Failure::Unreachable(format!(
                "{}: Envoy itself answered 503: Changeover's filter has failed or its configuration was refused; see Envoy's log",
                self.endpoint
            )),
            (_, None) => Failure::Unreachable(format!(
                "{}: status {status}: this is not Changeover's API; set its address with --endpoint URL",
                self.endpoint
            )),
        }
    }
}

/// Whether an answer is JSON, or lines of it.
fn is_json(answer: &str) -> bool {
    let is = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    answer.is_empty() || answer.lines().next().is_some_and(is) || is(answer)
}

/// The addresses that may be different Envoys: those of loopback are one. A machine with addresses of both kinds is named by
/// its older one.
pub(super) fn distinct(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v4 = |address: &SocketAddr| matches!(address.ip(), IpAddr::V4(_));
    if addresses.iter().all(|address| address.ip().is_loopback()) {
        addresses.truncate(1);
    }
    if addresses.iter().any(is_v4) {
        addresses.retain(is_v4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The seconds after which to ask again, when the API has no time now.
fn retry_after(response: &Response<Body>) -> Option<u64> {
    let seconds = response.headers().get("retry-after").filter(|_| response.status() == 429)?;
    seconds.to_str().ok()?.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT)
}
