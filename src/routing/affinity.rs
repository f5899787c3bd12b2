//! What identifies a user, so that he keeps his version.

use std::borrow::Cow;

use fastrand::Rng;
use percent_encoding::percent_decode;

use super::request::{Facts, Request};
use crate::config::one_of::AffinitySource;
use crate::config::schema::{self, SessionAffinity, WhenMissing};
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
    /// Somebody with this key.
    Known(Cow<'r, [u8]>),
    /// Somebody who gets this cookie with this id, which is his key from now on.
    New(&'p Cookie, String),
    /// Nobody in particular: each request is drawn on its own.
    Nobody,
    /// Somebody without the key: stable's.
    Missing,
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
    /// Seconds to live; 0 until the browser closes.
    max_age: u64,
}

impl Cookie {
    /// The value of a `set-cookie` header that carries `id`. `secure`: the client came over TLS.
    #[must_use]
    pub fn set(&self, id: &str, secure: bool) -> String {
        let max_age = match self.max_age {
            0 => String::new(),
            seconds => format!("; Max-Age={seconds}"),
        };
        let secure = if secure { "; Secure" } else { "" };
        format!("{}={id}; Path=/{max_age}; HttpOnly; SameSite=Lax{secure}", self.name)
    }
}

impl Affinity {
    /// Compiles a valid configuration; `None` for one that is refused.
    #[must_use]
    pub fn new(config: &SessionAffinity) -> Option<Self> {
        let issued = |cookie: &schema::Cookie, ttl: Duration| Cookie {
            name: cookie.name.clone(),
            max_age: ttl.as_millis() / 1_000,
        };
        let source = match config.source()? {
            AffinitySource::Header(name) => Source::Header(name.to_ascii_lowercase()),
            AffinitySource::Cookie(cookie) => Source::Cookie {
                name: cookie.name.clone().into_bytes(),
                issued: cookie.ttl.map(|ttl| issued(cookie, ttl)),
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
            None if self.random_when_missing => User::Nobody,
            None => User::Missing,
        }
    }

    /// The request's key: whatever bytes the client sent, `None` when there are none.
    fn key<'r, R: Request>(&self, facts: &'r Facts<'_, R>) -> Option<Cow<'r, [u8]>> {
        let key = match &self.source {
            Source::Header(name) => facts.request().header(name),
            Source::Cookie { name, .. } => {
                facts.request().header("cookie").and_then(|cookies| part(cookies, |all| cookie(all, name)))
            }
            Source::Query(name) => query(facts.query(), name),
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

/// The first value of the cookie `name` in a `cookie` header (RFC 6265, 4.2.1), without quotes around it.
fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies.split(|byte| *byte == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// The first value of the parameter `name` in a query, decoded: `a%20b` and `a+b` are the same user. What is
/// no valid escape stays as it is.
fn query<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let found = decode(parts.next()?);
        (*found == *name).then(|| decode(parts.next().unwrap_or_default()))
    })
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
        return Cow::Owned(percent_decode(&spaced).collect());
    }
    percent_decode(text).into()
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
