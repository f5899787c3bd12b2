//! What identifies a user, so that they keep their version.

use std::borrow::Cow;

use fastrand::Rng;

use super::assign::{Salt, to_bucket};
use super::request::{Facts, Request};
use crate::config::one_of::AffinitySource;
use crate::config::schema::{self, SameSite, SessionAffinity, WhenMissing};
use crate::config::units::Duration;

/// Where a user's key is read.
#[derive(Clone, Debug)]
pub struct Affinity {
    source: Source,
    /// Whether requests without a key are drawn on their own; otherwise they go to stable.
    random_when_missing: bool,
}

/// Who sent a request `'r` to a plan `'p`.
#[derive(Debug)]
pub enum User<'p, 'r> {
    /// A user with this key.
    Known(Cow<'r, [u8]>),
    /// A new user, who gets this cookie with this id, which is their key from now on.
    New(&'p Cookie, String),
    /// No user is named: each request is drawn on its own.
    Anonymous,
    /// A request without the key: it goes to stable.
    Missing,
}

impl User<'_, '_> {
    /// What names the user; `None`: nothing does.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Known(key) => Some(key),
            Self::New(_, id) => Some(id.as_bytes()),
            Self::Anonymous | Self::Missing => None,
        }
    }

    /// The user's bucket in a cohort; a request without a user is drawn.
    pub(super) fn bucket(&self, salt: &Salt, rng: &mut Rng) -> u16 {
        self.key().map_or_else(|| to_bucket(rng.u64(..)), |key| salt.bucket(key))
    }
}

#[derive(Clone, Debug)]
enum Source {
    Header(String),
    Cookie { name: Vec<u8>, issued: Option<Cookie> },
    Query(Vec<u8>),
    Address,
}

/// A cookie to issue to clients that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    /// Everything behind the value, `Secure` excepted.
    attributes: String,
    /// `Secure` also where the client came without TLS: browsers refuse the cookie otherwise.
    always_secure: bool,
}

impl Cookie {
    /// The value of a `set-cookie` header that carries `id`. `secure`: the client came over TLS.
    #[must_use]
    pub fn set(&self, id: &str, secure: bool) -> String {
        let secure = if secure || self.always_secure { "; Secure" } else { "" };
        format!("{}={id}{}{secure}", self.name, self.attributes)
    }

    fn new(config: &schema::Cookie, ttl: Duration) -> Self {
        let mut attributes = format!("; Path={}", config.path.as_deref().unwrap_or("/"));
        if let Some(domain) = &config.domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        match ttl.as_millis() / 1_000 {
            0 => {}
            seconds => attributes.push_str(&format!("; Max-Age={seconds}")),
        }
        attributes.push_str("; HttpOnly; SameSite=");
        attributes.push_str(match config.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        });
        if config.partitioned {
            attributes.push_str("; Partitioned");
        }
        let prefixed = config.is_secure_by_name() || config.is_host_only_by_name();
        Self {
            name: config.name.clone(),
            attributes,
            always_secure: config.same_site == SameSite::None || config.partitioned || prefixed,
        }
    }
}

impl Affinity {
    /// Compiles a valid configuration; `None` for one that is refused.
    #[must_use]
    pub fn new(config: &SessionAffinity) -> Option<Self> {
        let source = match config.source()? {
            AffinitySource::Header(name) => Source::Header(name.to_ascii_lowercase()),
            AffinitySource::Cookie(cookie) => Source::Cookie {
                name: cookie.name.clone().into_bytes(),
                issued: cookie.ttl.map(|ttl| Cookie::new(cookie, ttl)),
            },
            AffinitySource::Query(name) => Source::Query(name.as_bytes().to_vec()),
            AffinitySource::Address => Source::Address,
        };
        Some(Self { source, random_when_missing: config.when_missing == WhenMissing::Random })
    }

    /// Who sent the request.
    pub fn user<'p, 'r, R: Request>(&'p self, facts: &'r Facts<'_, R>, rng: &mut Rng) -> User<'p, 'r> {
        if let Some(key) = self.key(facts) {
            return User::Known(key);
        }
        match self.issued() {
            // The id that the client will come back with decides now already.
            Some(cookie) => User::New(cookie, format!("{:032x}", rng.u128(..))),
            None if self.random_when_missing => User::Anonymous,
            None => User::Missing,
        }
    }

    /// The request's key: whatever bytes the client sent, `None` when there are none.
    pub(super) fn key<'r, R: Request>(&self, facts: &'r Facts<'_, R>) -> Option<Cow<'r, [u8]>> {
        let key = match &self.source {
            Source::Header(name) => facts.request().header(name),
            Source::Cookie { name, .. } => cookie_of(facts.request(), name),
            Source::Query(name) => facts.parameter(name),
            Source::Address => {
                facts.request().source_address().and_then(|address| part(address, |all| Some(host(all))))
            }
        };
        key.filter(|key| !key.is_empty())
    }

    /// The header that the key is in.
    pub(super) fn header(&self) -> Option<&str> {
        match &self.source {
            Source::Header(name) => Some(name),
            Source::Cookie { .. } => Some("cookie"),
            Source::Query(_) => Some(":path"),
            Source::Address => None,
        }
    }

    /// The cookie to issue to a client without a key.
    fn issued(&self) -> Option<&Cookie> {
        match &self.source {
            Source::Cookie { issued, .. } => issued.as_ref(),
            _ => None,
        }
    }
}

/// A part of some bytes, borrowed where they are.
fn part<'r>(
    bytes: Cow<'r, [u8]>,
    part: impl for<'b> Fn(&'b [u8]) -> Option<&'b [u8]>,
) -> Option<Cow<'r, [u8]>> {
    match bytes {
        Cow::Borrowed(bytes) => part(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => part(&bytes).map(|part| Cow::Owned(part.to_vec())),
    }
}

/// The first value of the cookie `name` that is not empty, in all lines of `cookie`: a client of HTTP/1.1 may send several.
pub(super) fn cookie_of<'r, R: Request>(request: &'r R, name: &[u8]) -> Option<Cow<'r, [u8]>> {
    let in_first = part(request.header("cookie")?, |line| cookie(line, name));
    in_first.or_else(|| {
        let lines = request.headers("cookie");
        lines.iter().skip(1).find_map(|line| cookie(line, name).map(|value| Cow::Owned(value.to_vec())))
    })
}

/// The first value of the cookie `name` that is not empty in a line of `cookie` (RFC 6265, 4.2.1), without quotes around it.
fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies.split(|byte| *byte == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        let value = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value);
        (!value.is_empty()).then_some(value)
    })
}

/// Whether a shared cache may keep an answer with these values of `cache-control` and give it to other users: the
/// answer says so by `public`, `s-maxage` or `immutable`, and neither `private` nor `no-store` (RFC 9111, 5.2.2; RFC 8246).
#[must_use]
pub fn is_shared(cache_control: &[Vec<u8>]) -> bool {
    let directives = || cache_control.iter().flat_map(|line| line.split(|byte| *byte == b','));
    let has = |names: &[&[u8]]| {
        directives().any(|directive| {
            // `private="x-user"` is about one header only.
            let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            let is_bare = name.len() == directive.trim_ascii().len();
            names.iter().any(|known| name.eq_ignore_ascii_case(known) && (is_bare || *known == b"s-maxage"))
        })
    };
    has(&[b"public", b"s-maxage", b"immutable"]) && !has(&[b"private", b"no-store"])
}

/// The host of `1.2.3.4:5678` or `[::1]:5678`, without the brackets; anything else as it is.
fn host(address: &[u8]) -> &[u8] {
    let Some(colon) = address.iter().rposition(|byte| *byte == b':') else { return address };
    let (host, _) = address.split_at_checked(colon).unwrap_or((address, b""));
    match host.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").unwrap_or(address),
        None if host.contains(&b':') => address, // an address of IPv6 without brackets and port
        None => host,
    }
}

#[cfg(test)]
mod tests;
