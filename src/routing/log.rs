//! What access logs say of a request: `rollout=… release=… attempt=… version=… by=…`.

use crate::rollout::program::Program;

/// What decided which version a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The weights: the request was drawn on its own.
    Weight,
    /// The session affinity: the user's key, or the rule for requests without one.
    Affinity,
    /// What the client asked for.
    Override,
    /// The configuration's pin.
    Pin,
    /// The degree of automation.
    Degree,
}

impl By {
    fn label(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Affinity => "affinity",
            Self::Override => "override",
            Self::Pin => "pin",
            Self::Degree => "degree",
        }
    }
}

/// What is the same for all requests of an attempt.
pub(super) fn of_attempt(rollout: &str, program: &Program, attempt: u32) -> String {
    // The first attempt is 1; a rollout whose state is not known yet is at its beginning.
    format!("rollout={rollout} release={} attempt={}", value(&program.release), attempt.max(1))
}

/// The entry of a request.
pub(super) fn of_request(of_attempt: &str, version: &str, by: By) -> String {
    let by = by.label();
    let mut entry = String::with_capacity(of_attempt.len().saturating_add(version.len()).saturating_add(24));
    for part in [of_attempt, " version=", version, " by=", by] {
        entry.push_str(part);
    }
    entry
}

/// A value in quotes where it would not end at the next space.
fn value(text: &str) -> String {
    if text.contains([' ', '"', '=', '\\']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_spaces_or_quotes_are_quoted() {
        assert_eq!(value("2026-11-24.1"), "2026-11-24.1");
        assert_eq!(value("v 1"), r#""v 1""#);
        assert_eq!(value(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(value("x=y"), r#""x=y""#);
    }
}
