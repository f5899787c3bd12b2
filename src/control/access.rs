//! Who may ask.
//!
//! The listener is on loopback, where other users' programs and the browser's pages also are. A page reaches it
//! under its own host name by pointing that at 127.0.0.1 (DNS rebinding), or under ours from elsewhere: the first
//! is known by its `Host`, the second by its `Origin`. What remains is what the token is for.

use crate::config::schema::{Control, Rights};
use crate::config::units::Sha256;
use crate::model::authority::{is_loopback, without_port};

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    tokens: Vec<Token>,
    hosts: Vec<String>,
}

/// A token that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    digest: Sha256,
    caller: Caller,
}

/// What is known of a client that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name of its token.
    pub(super) token: Option<String>,
    /// Whether it may give commands.
    pub(super) may_write: bool,
}

impl Access {
    pub(super) fn new(control: &Control) -> Self {
        let nameless = control.token_sha256.map(|digest| Token { digest, caller: Caller::ANONYMOUS });
        let named = control.tokens.iter().filter_map(|token| {
            let caller =
                Caller { token: Some(token.name.clone()), may_write: token.rights == Some(Rights::Write) };
            Some(Token { digest: token.sha256?, caller })
        });
        Self { tokens: nameless.into_iter().chain(named).collect(), hosts: control.hosts.clone() }
    }

    /// Whether a request was sent to a name under which this listener is known.
    pub(super) fn knows_host(&self, authority: &[u8]) -> bool {
        let host = without_port(authority).unwrap_or(authority);
        let is_configured = |known: &String| {
            let known = known.as_bytes();
            known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(authority)
        };
        str::from_utf8(host).is_ok_and(is_loopback) || self.hosts.iter().any(is_configured)
    }

    /// The client by its token; `None` if a token is wanted and it carries none of those.
    pub(super) fn caller(&self, authorization: Option<&[u8]>) -> Option<Caller> {
        if self.tokens.is_empty() {
            return Some(Caller::ANONYMOUS);
        }
        let (scheme, token) = authorization?.split_at_checked(7)?;
        // In constant time, so that timing reveals nothing about the digests.
        let is_right =
            |known: &&Token| hmac_sha256::Hash::verify(token.trim_ascii(), known.digest.as_bytes());
        let known = self.tokens.iter().find(is_right)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| known.caller.clone())
    }
}

impl Caller {
    /// One without a name, which may do everything.
    const ANONYMOUS: Self = Self { token: None, may_write: true };
}

/// Whether a script on a page of another origin sent the request. Browsers send `Origin`; other clients have no pages.
pub(super) fn is_foreign(origin: Option<&[u8]>, authority: &[u8]) -> bool {
    origin.is_some_and(|origin| {
        let own = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        !own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str]) -> Access {
        Access { tokens: Vec::new(), hosts: hosts.iter().map(ToString::to_string).collect() }
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
            assert!(access.caller(Some(right.as_bytes())) == Some(Caller::ANONYMOUS), "{right}");
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
            assert_eq!(access.caller(Some(wrong.as_bytes())), None, "{wrong}");
        }
        assert_eq!(access.caller(None), None);
        let long = Access::new(&serde_json::from_value(serde_json::json!({"token_sha256": "2f8ab27c794db6afcc4f795f819f1d1c0d90fe357d0584cb0c38710838013aa5"})).unwrap());
        let token = format!("Bearer {}", "0123456789abcdef".repeat(16));
        assert_eq!(long.caller(Some(token.as_bytes())), Some(Caller::ANONYMOUS));
        assert_eq!(Access::default().caller(None), Some(Caller::ANONYMOUS), "none is wanted");
    }

    #[test]
    fn a_token_gives_its_name_and_its_rights() {
        let digest = |token: &str| {
            let digest = hmac_sha256::Hash::hash(token.as_bytes());
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let control = serde_json::json!({
            "token_sha256": digest("nameless"),
            "tokens": [
                {"name": "pipeline", "sha256": digest("writes"), "rights": "write"},
                {"name": "dashboard", "sha256": digest("reads"), "rights": "read"},
            ],
        });
        let access = Access::new(&serde_json::from_value(control).unwrap());
        let caller = |token: &str| access.caller(Some(format!("Bearer {token}").as_bytes()));
        let named = |name: &str, may_write| Some(Caller { token: Some(name.into()), may_write });
        assert_eq!(caller("nameless"), Some(Caller::ANONYMOUS));
        assert_eq!(caller("writes"), named("pipeline", true));
        assert_eq!(caller("reads"), named("dashboard", false));
        assert_eq!((caller("pipeline"), caller(""), access.caller(None)), (None, None, None));
        assert_eq!(access.caller(Some(b"Basic writes")), None);
    }
}
