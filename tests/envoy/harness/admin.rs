//! Prometheus' text format.

use std::collections::BTreeMap;

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// What Prometheus would scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Vec<Series>);

impl Metrics {
    /// Reads a scrape. A line that is none of Prometheus' fails the test.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(|line| parse_line(line).unwrap_or_else(|| panic!("no series: {line}"))).collect())
    }

    /// All series of a metric.
    pub(crate) fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.0.iter().filter(move |series| series.name == name)
    }

    /// The sum over all series of a metric that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |series: &&Series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|known| known == value))
        };
        self.series(name).filter(fits).map(|series| series.value).sum()
    }

    /// The names of all metrics that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|series| series.name.as_str()).collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}')?)?),
        None => (head, BTreeMap::new()),
    };
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    Some(Series { name: name.to_owned(), labels, value })
}

fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (label, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(chars.next()?.1),
                (_, other) => value.push(other),
            }
        };
        labels.insert(label.to_owned(), value);
        text = rest[end + 1..].trim_start_matches(',');
    }
    Some(labels)
}
