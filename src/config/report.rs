//! What is wrong with a configuration, said so that it can be mended: where, what was found, what would be right.

use std::fmt;

/// A place in a configuration, such as `rollouts[0].weights.green`.
///
/// A chain of borrowed segments: it costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The whole document.
    Root,
    /// A field, or a key of a map.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list.
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The field (or map key) `name` below this place.
    #[must_use]
    pub fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Field(self, name)
    }

    /// The list element `index` below this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Field(parent, name) if is_plain(name) => match parent {
                Path::Root => f.write_str(name),
                _ => write!(f, "{parent}.{name}"),
            },
            Path::Field(parent, name) => write!(f, "{parent}[{}]", Shown(name)),
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A value as a message shows it: quoted, without control characters, cut when long.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let mut chars = self.0.chars();
        f.write_str("\"")?;
        for c in chars.by_ref().take(LONGEST) {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                _ if c.is_control() => write!(f, "{}", c.escape_unicode())?,
                _ => write!(f, "{c}")?,
            }
        }
        f.write_str(if chars.next().is_some() { "…\"" } else { "\"" })
    }
}

/// One finding about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, as [`Path`] prints it; empty for the document as a whole.
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// All findings about one configuration, in the order they were made; at most [`Problems::MOST`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    more: bool,
}

impl Problems {
    /// How many findings are worth reading at once. A configuration of thousands of rollouts that is wrong
    /// everywhere must not fill Envoy's log.
    pub const MOST: usize = 100;

    /// Notes a finding. Only the first finding about a field is kept: others follow from it.
    pub fn add(&mut self, path: &Path<'_>, message: impl fmt::Display) {
        self.add_at(path.to_string(), message.to_string());
    }

    /// As [`Problems::add`], with the path already printed.
    pub fn add_at(&mut self, path: String, message: String) {
        if self.list.len() >= Self::MOST {
            self.more = true;
        } else if !self.list.iter().any(|known| known.path == path) {
            self.list.push(Problem { path, message });
        }
    }

    /// Whether there is a finding about `path` or something below it.
    #[must_use]
    pub fn concern(&self, path: &Path<'_>) -> bool {
        // Printing the path is the costly part, and nearly every configuration is without a finding.
        if self.list.is_empty() {
            return false;
        }
        let path = path.to_string();
        self.list.iter().any(|known| {
            known
                .path
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether further findings are no longer kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    /// The findings, one line each, and a last line when there were more than are kept.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let rest = self.more.then(|| format!("and more: only the first {} are shown", Self::MOST));
        self.list.iter().map(ToString::to_string).chain(rest)
    }

    /// The findings.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_document() {
        let rollouts = Path::Root.field("rollouts");
        let third = rollouts.index(2);
        let weights = third.field("weights");
        assert_eq!(weights.field("green").to_string(), "rollouts[2].weights.green");
        assert_eq!(weights.field("a b\n\"").to_string(), r#"rollouts[2].weights["a b\u{a}\""]"#);
        assert_eq!(Path::Root.to_string(), "");
    }

    #[test]
    fn a_field_is_complained_about_once_and_the_list_is_bounded() {
        let mut problems = Problems::default();
        problems.add(&Path::Root.field("a"), "first");
        problems.add(&Path::Root.field("a"), "second");
        assert_eq!(problems.lines().collect::<Vec<_>>(), ["a: first"]);
        assert!(problems.concern(&Path::Root.field("a")));
        assert!(!problems.concern(&Path::Root.field("ab")));
        for i in 0..500 {
            problems.add(&Path::Root.index(i), "wrong");
        }
        assert_eq!(problems.as_slice().len(), Problems::MOST);
        assert_eq!(problems.lines().last().unwrap(), "and more: only the first 100 are shown");
    }

    #[test]
    fn a_finding_concerns_what_contains_it() {
        let mut problems = Problems::default();
        let versions = Path::Root.field("versions");
        problems.add(&versions.field("blue").field("cluster"), "empty");
        assert!(problems.concern(&versions));
        assert!(!problems.concern(&Path::Root.field("version")));
    }
}
