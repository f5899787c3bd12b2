//! How many of a rollout's requests a route takes, as far as its `match` shows.

use changeover::config::condition::ValueRule;
use changeover::config::one_of::{PathRule, ValueTest};
use changeover::config::schema::Match;
use serde_json::Value;

use super::{CLUSTER, MIRROR, Node, SHADOW};

/// How many of certain requests. Of two conditions the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Taken {
    All,
    Some,
    /// Only Envoy can tell.
    Unclear,
    None,
}

/// A rollout's requests behind the filter.
pub(crate) struct Requests<'a> {
    pub(crate) matches: &'a Match,
    /// The value of `x-changeover-cluster`; `None` without the filter.
    pub(crate) cluster: Option<&'a str>,
    /// The value of `x-changeover-mirror`; `None` where nothing is copied.
    pub(crate) shadow: Option<&'a str>,
}

impl Requests<'_> {
    /// How many of them a route takes that stands first.
    pub(crate) fn taken_by(&self, route: &Node<'_>) -> Taken {
        let Some(matches) = route.field("match") else { return Taken::Unclear };
        let mut takes = self.path(&matches);
        if takes == Taken::None {
            return takes; // most routes of a long list
        }
        for header in matches.list("headers") {
            takes = takes.max(self.header(&header));
        }
        for parameter in matches.list("query_parameters") {
            takes = takes.max(self.parameter(&parameter));
        }
        for (field, value) in matches.value.as_object().into_iter().flatten() {
            let is_empty = value.as_array().is_some_and(Vec::is_empty);
            takes = takes.max(match field.as_str() {
                "cookies" if !is_empty => Taken::Some,
                "case_sensitive" | "cookies" | "headers" | "query_parameters" => Taken::All,
                field if PATHS.contains(&field) => Taken::All,
                _ => Taken::Unclear, // `grpc`, `runtime_fraction`, `dynamic_metadata`, what is not known here
            });
        }
        takes
    }

    /// Whether a route's path leaves room for any of them.
    pub(super) fn may_come_to(&self, route: &Node<'_>) -> bool {
        route.field("match").is_none_or(|matches| self.path(&matches) != Taken::None)
    }

    fn path(&self, matches: &Node<'_>) -> Taken {
        if matches.field("connect_matcher").is_some() {
            let connects = self.matches.methods.iter().any(|method| method == "CONNECT");
            return if connects { Taken::Unclear } else { Taken::None };
        }
        match self.matches.path_rule() {
            PathRule::Exact(path) => path_taken(matches, path, true),
            PathRule::Prefix(prefix) => path_taken(matches, prefix, false),
            PathRule::SeparatedPrefix(prefix) => {
                let itself = path_taken(matches, prefix, true);
                let below = path_taken(matches, &format!("{prefix}/"), false);
                if itself == below || [itself, below].contains(&Taken::Unclear) {
                    itself.min(below)
                } else {
                    Taken::Some
                }
            }
            PathRule::Any => path_taken(matches, "/", false),
        }
    }

    fn header(&self, matcher: &Node<'_>) -> Taken {
        let test = HeaderMatcher::of(matcher);
        let name = matcher.text("name").unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            CLUSTER => test.on(self.cluster),
            MIRROR => test.on(self.shadow),
            SHADOW => test.on(None),
            ":method" if self.matches.methods.is_empty() => test.on_any(true),
            ":method" => {
                let mut each = self.matches.methods.iter().map(|method| test.on(Some(method)));
                let first = each.next().unwrap_or(Taken::Unclear);
                each.fold(first, |all, one| if all == one { all } else { Taken::Some })
            }
            ":authority" | "host" | ":path" | "x-request-id" => Taken::Unclear,
            // Envoy sets both; which of them depends on what is in front.
            ":scheme" | "x-forwarded-proto" => match ["http", "https"].map(|scheme| test.on(Some(scheme))) {
                [http, https] if http == https => http,
                _ => Taken::Unclear,
            },
            _ => {
                let own = self.matches.headers.iter();
                test.on_rules(own.filter(|rule| rule.name.eq_ignore_ascii_case(&name)))
            }
        }
    }

    /// The filter compares decoded values, and Envoy those that were sent.
    fn parameter(&self, matcher: &Node<'_>) -> Taken {
        let name = matcher.text("name").unwrap_or_default();
        let own = || self.matches.query.iter().filter(|rule| rule.name == name);
        let mut values = own().filter_map(|rule| rule.exact.as_deref().or(rule.prefix.as_deref()));
        if values.any(|value| !value.chars().all(is_sent_as_it_is)) {
            return Taken::Unclear;
        }
        HeaderMatcher::of(matcher).on_rules(own())
    }
}

/// How many requests a route's path takes: of those with exactly this path, or of those whose path begins with it.
fn path_taken(matches: &Node<'_>, own: &str, is_whole: bool) -> Taken {
    let fold = |text: &str| match matches.value.get("case_sensitive") {
        Some(Value::Bool(false)) => text.to_ascii_lowercase(),
        _ => text.to_owned(),
    };
    let as_sent = own;
    let own = fold(own);
    let below = |wanted: &str| if !is_whole && wanted.starts_with(&own) { Taken::Some } else { Taken::None };
    let prefix = |wanted: &str| if own.starts_with(wanted) { Taken::All } else { below(wanted) };
    let exact = |wanted: &str| if is_whole && own == wanted { Taken::All } else { below(wanted) };
    let text = |field| matches.text(field).map(fold);
    if let Some(wanted) = text("prefix") {
        prefix(&wanted)
    } else if let Some(wanted) = text("path") {
        exact(&wanted)
    } else if let Some(wanted) = text("path_separated_prefix") {
        // The prefix itself, and what follows it behind a slash.
        exact(&wanted).min(prefix(&format!("{wanted}/")))
    } else if let Some(regex) = matches.field("safe_regex").and_then(|regex| regex.text("regex")) {
        // An expression has its own way to ignore case.
        let Some(alternatives) = alternatives(regex) else { return Taken::Unclear };
        let each = alternatives.iter().map(|one| one.takes(as_sent, is_whole));
        each.min().unwrap_or(Taken::Unclear)
    } else {
        Taken::Unclear
    }
}

const PATHS: [&str; 5] = ["prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher"];

/// A text, or all that begin with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) text: String,
    is_open: bool,
}

impl Alternative {
    fn holds(&self, value: &str) -> bool {
        if self.is_open { value.starts_with(&self.text) } else { value == self.text }
    }

    /// How many of the texts that are `own`, or begin with it.
    fn takes(&self, own: &str, is_whole: bool) -> Taken {
        if if self.is_open { own.starts_with(&self.text) } else { is_whole && own == self.text } {
            Taken::All
        } else if !is_whole && self.text.starts_with(own) {
            Taken::Some
        } else {
            Taken::None
        }
    }
}

/// What a regular expression takes, if it is nothing but texts side by side, each perhaps with `.*` at its end.
pub(super) fn alternatives(regex: &str) -> Option<Vec<Alternative>> {
    let inside = regex.strip_prefix("(?:").or_else(|| regex.strip_prefix('('));
    let inside = inside.and_then(|inside| inside.strip_suffix(')')).filter(|inside| !inside.ends_with('\\'));
    inside.unwrap_or(regex).split('|').map(alternative).collect()
}

fn alternative(regex: &str) -> Option<Alternative> {
    let (head, is_open) = match regex.strip_suffix(".*") {
        Some(head) if !head.ends_with('\\') => (head, true),
        _ => (regex, false),
    };
    let mut text = String::new();
    let mut letters = head.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => letters.next().filter(char::is_ascii_punctuation)?,
            letter if letter.is_alphanumeric() || "/-_~%!@&=:,; ".contains(letter) => letter,
            _ => return None,
        });
    }
    Some(Alternative { text, is_open })
}

/// Whether clients have no reason to escape a letter in a query.
fn is_sent_as_it_is(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-._~".contains(letter)
}

/// A route's condition on a header, or on a parameter.
pub(super) struct HeaderMatcher<'a> {
    pub(super) test: Test<'a>,
    ignore_case: bool,
    invert: bool,
    missing_is_empty: bool,
}

pub(super) enum Test<'a> {
    Present(bool),
    Exact(&'a str),
    Prefix(&'a str),
    Suffix(&'a str),
    Contains(&'a str),
    OneOf(Vec<Alternative>),
    /// Whole numbers from the first to below the second.
    Range(i64, i64),
    Unclear,
}

impl<'a> HeaderMatcher<'a> {
    pub(super) fn of(matcher: &Node<'a>) -> Self {
        let flag = |node: &Node<'_>, field: &str| node.value.get(field) == Some(&true.into());
        let string = matcher.field("string_match");
        let of = |own: &str, general: &str| {
            matcher.text(own).or_else(|| string.as_ref().and_then(|string| string.text(general)))
        };
        let regex = matcher.field("safe_regex_match").or_else(|| string.as_ref()?.field("safe_regex"));
        let test = if let Some(value) = of("exact_match", "exact") {
            Test::Exact(value)
        } else if let Some(value) = of("prefix_match", "prefix") {
            Test::Prefix(value)
        } else if let Some(value) = of("suffix_match", "suffix") {
            Test::Suffix(value)
        } else if let Some(value) = of("contains_match", "contains") {
            Test::Contains(value)
        } else if let Some(regex) = regex {
            match regex.text("regex") {
                Some(".*") => Test::Prefix(""),
                regex => regex.and_then(alternatives).map_or(Test::Unclear, Test::OneOf),
            }
        } else if let Some(range) = matcher.field("range_match") {
            let bound = |field| match range.value.get(field) {
                None => Some(0),
                Some(Value::String(text)) => text.parse().ok(),
                Some(number) => number.as_i64(),
            };
            bound("start").zip(bound("end")).map_or(Test::Unclear, |(start, end)| Test::Range(start, end))
        } else if string.is_some() {
            Test::Unclear
        } else {
            Test::Present(matcher.value.get("present_match") != Some(&false.into()))
        };
        // An expression has its own way to ignore case.
        let is_regex = matches!(test, Test::OneOf(_));
        Self {
            test,
            ignore_case: !is_regex && string.as_ref().is_some_and(|string| flag(string, "ignore_case")),
            invert: flag(matcher, "invert_match"),
            missing_is_empty: flag(matcher, "treat_missing_header_as_empty"),
        }
    }

    /// Requests in which the header has this value, or is missing.
    fn on(&self, value: Option<&str>) -> Taken {
        let fold = |text: &str| if self.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let held = if let Test::Present(present) = self.test {
            (value.is_some() || self.missing_is_empty) == present
        } else {
            // What is missing has no value, be it inverted or not.
            let Some(value) = value.or(self.missing_is_empty.then_some("")).map(fold) else {
                return Taken::None;
            };
            match &self.test {
                Test::Exact(wanted) => value == fold(wanted),
                Test::Prefix(wanted) => value.starts_with(&fold(wanted)),
                Test::Suffix(wanted) => value.ends_with(&fold(wanted)),
                Test::Contains(wanted) => value.contains(&fold(wanted)),
                Test::OneOf(texts) => texts.iter().any(|one| one.holds(&value)),
                Test::Range(start, end) => {
                    value.parse::<i64>().is_ok_and(|number| (start..end).contains(&&number))
                }
                Test::Present(_) | Test::Unclear => return Taken::Unclear,
            }
        };
        if held == self.invert { Taken::None } else { Taken::All }
    }

    /// Requests that all of these rules of the rollout take. What holds for those of one rule holds for fewer, too.
    fn on_rules<'r>(&self, rules: impl Iterator<Item = &'r ValueRule>) -> Taken {
        let each: Vec<Taken> = rules.map(|rule| self.on_rule(rule)).collect();
        let is_sure = |taken: &&Taken| matches!(taken, Taken::All | Taken::None);
        each.iter().find(is_sure).or(each.first()).copied().unwrap_or_else(|| self.on_any(false))
    }

    fn on_rule(&self, rule: &ValueRule) -> Taken {
        match rule.test() {
            Some(ValueTest::Exact(value)) => self.on(Some(value)),
            Some(ValueTest::Present(false)) => self.on(None),
            Some(ValueTest::Present(true)) => self.on_any(true),
            Some(ValueTest::Prefix(prefix)) => self.on_prefix(prefix),
            None => self.on_any(false),
        }
    }

    /// Requests in which the header's value begins with this.
    fn on_prefix(&self, own: &str) -> Taken {
        let fold = |text: &str| if self.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let own = fold(own);
        let (all, some) = match &self.test {
            Test::Exact(wanted) => (false, fold(wanted).starts_with(&own)),
            Test::Prefix(wanted) => {
                let wanted = fold(wanted);
                (own.starts_with(&wanted), wanted.starts_with(&own))
            }
            Test::Contains(wanted) => (own.contains(&fold(wanted)), true),
            Test::OneOf(texts) => {
                let each = || texts.iter().map(|one| one.takes(&own, false));
                (each().any(|taken| taken == Taken::All), each().any(|taken| taken != Taken::None))
            }
            Test::Suffix(_) | Test::Range(..) => (false, true),
            Test::Present(_) | Test::Unclear => return self.on_any(true),
        };
        match (all, some) {
            (false, true) => Taken::Some,
            (all, _) if all == self.invert => Taken::None,
            _ => Taken::All,
        }
    }

    /// Requests in which the header has any value, and may be missing unless it is there for certain.
    fn on_any(&self, is_there: bool) -> Taken {
        match self.test {
            Test::Present(_) | Test::Prefix("") | Test::Suffix("") | Test::Contains("")
                if is_there || self.missing_is_empty =>
            {
                self.on(Some(""))
            }
            Test::Unclear => Taken::Unclear,
            _ => Taken::Some,
        }
    }
}

#[cfg(test)]
mod tests;
