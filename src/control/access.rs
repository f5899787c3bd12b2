//! Who may ask.
//!
//! The listener is on loopback, where other users' programs and the browser's pages also are. A page reaches it
//! under its own host name by pointing that at 127.0.0.1 (DNS rebinding), or under ours from elsewhere: the first
//! is known by its `Host`, the second by its `Origin`. What remains is what the token is for.

use std::net::Ipv4Addr;

use crate::config::schema::Control;
use crate::config::units::Sha256;

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    token: Option<Sha256>,
    hosts: Vec<String>,
}

impl Access {
    pub(super) fn new(control: &Control) -> Self {
        Self { token: control.token_sha256, hosts: control.hosts.clone() }
    }

    /// Whether a request was sent to a name under which this listener is known.
    pub(super) fn knows_host(&self, authority: &[u8]) -> bool {
        let Ok(authority) = str::from_utf8(authority) else { return false };
        let host = without_port(authority);
        let is_configured =
            |known: &String| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(authority);
        is_loopback(host) || self.hosts.iter().any(is_configured)
    }

    /// Whether a request carries the token, where one is wanted.
    pub(super) fn has_token(&self, authorization: Option<&[u8]>) -> bool {
        let Some(wanted) = &self.token else { return true };
        let Some((scheme, token)) = authorization.and_then(|value| value.split_at_checked(7)) else {
            return false;
        };
        // In constant time, so that timing reveals nothing about the digest.
        let is_right = hmac_sha256::Hash::verify(token.trim_ascii(), wanted.as_bytes());
        scheme.eq_ignore_ascii_case(b"bearer ") && is_right
    }
}

/// Whether a script on a page of another origin sent the request. Browsers send `Origin`; other clients have no pages.
pub(super) fn is_foreign(origin: Option<&[u8]>, authority: &[u8]) -> bool {
    origin.is_some_and(|origin| {
        let own = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        !own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
    })
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str]) -> Access {
        Access { token: None, hosts: hosts.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn loopback_and_configured_hosts_are_known() {
        let access = access(&["control.example.com", "models:9911"]);
        for known in [
            "localhost",
            "LocalHost:9911",
            "127.0.0.1",
            "127.0.0.1:9911",
            "127.255.1.2:1",
            "[::1]",
            "[::1]:9911",
            "control.example.com",
            "Control.Example.com:80",
            "models:9911",
        ] {
            assert!(access.knows_host(known.as_bytes()), "{known}");
        }
        for foreign in [
            "",
            ":",
            ":9911",
            "evil.example.com",
            "localhost.evil.example.com",
            "127.0.0.1.evil.example.com",
            "127.1",
            "0177.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "::1",
            "[::1",
            "[::2]",
            "[::1]]",
            "localhost:x",
            "localhost@evil",
            "evil#localhost",
            "models",
            "models:80",
            "control.example.com.",
            "localhost 127.0.0.1",
            "localhost,evil",
        ] {
            assert!(!access.knows_host(foreign.as_bytes()), "{foreign}");
        }
        assert!(!access.knows_host(b"localhost\xff"));
    }

    #[test]
    fn a_page_is_foreign_unless_it_came_from_here() {
        let foreign = |origin: &str| is_foreign(Some(origin.as_bytes()), b"localhost:9911");
        for own in ["http://localhost:9911", "https://LOCALHOST:9911"] {
            assert!(!foreign(own), "{own}");
        }
        for other in [
            "null",
            "",
            "http://",
            "http://localhost",
            "http://localhost:3000",
            "http://evil.example.com",
            "http://localhost:9911.evil.example.com",
            "localhost:9911",
            "ftp://localhost:9911",
            "http://localhost:9911/",
        ] {
            assert!(foreign(other), "{other}");
        }
        assert!(!is_foreign(None, b"localhost:9911"), "no browser sent it");
    }

    #[test]
    fn the_token_is_compared_by_its_digest() {
        let control = serde_json::from_str(
            // sha256("secret")
            r#"{"token_sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#,
        );
        let access = Access::new(&control.unwrap());
        for right in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert!(access.has_token(Some(right.as_bytes())), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer Secret",
            "Bearer secret2",
            "Basic secret",
            "secret",
            "Bearersecret",
        ] {
            assert!(!access.has_token(Some(wrong.as_bytes())), "{wrong}");
        }
        assert!(!access.has_token(None));
        let long = Access::new(&serde_json::from_value(serde_json::json!({"token_sha256": "2f8ab27c794db6afcc4f795f819f1d1c0d90fe357d0584cb0c38710838013aa5"})).unwrap());
        assert!(long.has_token(Some(format!("Bearer {}", "0123456789abcdef".repeat(16)).as_bytes())));
        assert!(Access::default().has_token(None), "none is wanted");
    }
}
