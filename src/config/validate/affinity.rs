//! The rules of `session_affinity` and `override`.

use super::words::{exactly_one, read_header, text, token};
use crate::config::affinity::{Cookie, Override, SameSite, SessionAffinity};
use crate::config::report::{Path, Problems, Shown};
use crate::config::units::Duration;

/// Bytes of a host name in DNS.
const LONGEST_HOST: usize = 253;

/// Milliseconds a cookie may live: browsers cut it to 400 days (RFC 6265bis, 5.5).
const LONGEST_TTL: u64 = 400 * 24 * 3_600_000;

pub(super) fn session_affinity(affinity: &SessionAffinity, path: &Path<'_>, problems: &mut Problems) {
    exactly_one(SessionAffinity::ONE_OF, affinity.source().is_some(), path, problems);
    if let Some(header) = &affinity.header {
        read_header(header, &path.field("header"), problems);
    }
    if let Some(cookie) = &affinity.cookie {
        let path = path.field("cookie");
        self::cookie(cookie, &path, problems);
    }
    if let Some(query) = &affinity.query {
        text(query, &path.field("query"), problems);
    }
    if affinity.source_ip == Some(false) {
        problems.add(&path.field("source_ip"), "found false, expected true (or leave the field out)");
    }
}

pub(super) fn cookie(cookie: &Cookie, path: &Path<'_>, problems: &mut Problems) {
    token(&cookie.name, "cookie", &path.field("name"), problems);
    let ttl = cookie.ttl.map_or(0, Duration::as_millis);
    if !ttl.is_multiple_of(1_000) || ttl > LONGEST_TTL {
        problems.add(
            &path.field("ttl"),
            "expected whole seconds, at most 400 days (9600h): browsers keep none longer",
        );
    }
    let attributes = [
        ("same_site", cookie.same_site != SameSite::Lax),
        ("domain", cookie.domain.is_some()),
        ("path", cookie.path.is_some()),
        ("partitioned", cookie.partitioned),
    ];
    let is_read_only = cookie.ttl.is_none() && !problems.concern(&path.field("ttl"));
    if let Some((field, _)) = attributes.iter().find(|(_, given)| is_read_only && *given) {
        problems.add(&path.field(field), "without ttl the cookie is only read; expected a ttl beside it");
    }
    if let Some(domain) = &cookie.domain {
        let path = path.field("domain");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if cookie.is_host_only_by_name() {
            problems.add(&path, "a cookie named __Host-… has none");
        } else if domain.is_empty() || !domain.bytes().all(plain) || domain.len() > LONGEST_HOST {
            problems.add(
                &path,
                format_args!("{} is not a domain; expected one such as \"example.com\"", Shown(domain)),
            );
        }
    }
    if let Some(value) = &cookie.path {
        let path = path.field("path");
        if !value.starts_with('/') || value.contains(';') || !value.is_ascii() {
            problems.add(
                &path,
                format_args!(
                    "{} is not a path of a cookie; expected one such as \"/\", without `;`",
                    Shown(value)
                ),
            );
        } else if cookie.is_host_only_by_name() && value != "/" {
            problems.add(&path, "a cookie named __Host-… has the path \"/\"");
        } else {
            text(value, &path, problems);
        }
    }
}

pub(super) fn overrides(overrides: &Override, path: &Path<'_>, problems: &mut Problems) {
    if let Some(header) = &overrides.header {
        read_header(header, &path.field("header"), problems);
    }
    if let Some(query) = &overrides.query {
        text(query, &path.field("query"), problems);
    }
    if let Some(cookie) = &overrides.cookie {
        token(cookie, "cookie", &path.field("cookie"), problems);
    }
    if *overrides == Override::default() && !problems.concern(path) {
        problems.add(path, "empty; expected at least one of header, query, cookie");
    }
}
