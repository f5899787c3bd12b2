//! The labels of two answers: a class, a ranked list of them, or a text.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use siphasher::sip::SipHasher24;

use super::diff::{Place, cut};
use super::number::{Tolerance, whole};
use super::pointer::Pointer;
use super::settings::Settings;
use super::text::{normalised, token_f1};

/// Bytes of a label's name.
const LONGEST_LABEL: usize = 64;
/// Places of a ranked list that are looked at.
const MOST_PLACES: usize = 10;

/// The labels of two answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Whether they are the same. Of ranked lists: the first places.
    pub agree: bool,
    /// Their names, stable's first: cut to 64 bytes, without what would end a metric's label.
    pub names: (String, String),
    /// The part that two ranked lists share.
    pub overlap: Option<f64>,
    /// How alike two texts are.
    pub likeness: Option<Likeness>,
}

/// How alike two texts are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// The same but for upper and lower case and for white space.
    pub normalised: bool,
    /// F1 of the tokens that they share.
    pub f1: f64,
}

impl Labels {
    /// The labels of two answers; `None` if neither has one.
    #[must_use]
    pub fn new(stable: Option<&Value>, shadow: Option<&Value>, tolerance: &Tolerance) -> Option<Self> {
        let (one, other) = (stable.and_then(first), shadow.and_then(first));
        if one.is_none() && other.is_none() {
            return None;
        }
        let agree = one.zip(other).is_some_and(|(one, other)| is_same(one, other, tolerance));
        let overlap = match (stable, shadow) {
            (Some(Value::Array(one)), Some(Value::Array(other))) => Some(overlap(one, other, tolerance)),
            _ => None,
        };
        let likeness = match (stable, shadow) {
            (Some(Value::String(one)), Some(Value::String(other))) => {
                Some(Likeness { normalised: normalised(one) == normalised(other), f1: token_f1(one, other) })
            }
            _ => None,
        };
        Some(Self { agree, names: (name(one), name(other)), overlap, likeness })
    }
}

/// The label itself, or the first place of a ranked list. Null and objects are no labels.
fn first(value: &Value) -> Option<&Value> {
    let is_label = |label: &&Value| matches!(label, Value::Bool(_) | Value::Number(_) | Value::String(_));
    front(value).filter(is_label)
}

/// Where two labels that differ stand, with both; of ranked lists their first places.
pub(super) fn place(
    settings: &Settings,
    label: &Pointer,
    (stable, shadow): (Option<&Value>, Option<&Value>),
) -> Place {
    let is_list = [stable, shadow].into_iter().flatten().any(Value::is_array);
    let path = format!("{label}{}", if is_list { "/0" } else { "" });
    Place::of(&settings.redact, &path, (stable.and_then(front), shadow.and_then(front)))
}

/// The first place of a list; what is none, itself.
fn front(value: &Value) -> Option<&Value> {
    if let Value::Array(list) = value { list.first() } else { Some(value) }
}

/// Whole numbers are classes or identifiers: they are the same when they are equal, however they are written.
fn is_same(one: &Value, other: &Value, tolerance: &Tolerance) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (integer(one), integer(other)) {
            (Some(one), Some(other)) => one == other,
            _ => tolerance.compare(one, other).0,
        },
        _ => one == other,
    }
}

/// The whole number that a number is, also written as 4.0 or 4e0; beyond 64 bits the one that a double holds.
fn integer(number: &Number) -> Option<i128> {
    let written = || number.as_f64().filter(|real| real.fract() == 0.0 && real.abs() < 1e38);
    #[allow(clippy::cast_possible_truncation)] // the range is checked
    whole(number).or_else(|| written().map(|real| real as i128))
}

/// Overlap at k: the part of the first k places that both lists have, for k the longer one's length, at most 10.
fn overlap(one: &[Value], other: &[Value], tolerance: &Tolerance) -> f64 {
    let places = one.len().max(other.len()).min(MOST_PLACES);
    if places == 0 {
        return 1.0;
    }
    let mut left: Vec<&Value> = other.iter().take(places).collect();
    let mut shared = 0_u64;
    for value in one.iter().take(places) {
        if let Some(at) = left.iter().position(|other| is_same(value, other, tolerance)) {
            left.swap_remove(at);
            shared = shared.saturating_add(1);
        }
    }
    crate::model::real(shared) / crate::model::real(places as u64)
}

/// The name of a single label, or of the first place of a ranked list: alike for all spellings of a number. `None`: there is
/// none, or one of more than 64 bytes, which could not be told from others.
#[must_use]
pub fn label_of(value: Option<&Value>) -> Option<String> {
    let label = value.and_then(first)?;
    let is_long = label.as_str().is_some_and(|text| text.len() > LONGEST_LABEL);
    (!is_long).then(|| name(Some(label)))
}

/// The same, also of a longer text: cut, with a hash of all of it. No shorter one is equal to that.
#[must_use]
pub fn any_label_of(value: Option<&Value>) -> Option<String> {
    let label = value.and_then(first)?;
    let name = name(Some(label));
    Some(match label.as_str().filter(|text| text.len() > LONGEST_LABEL) {
        Some(text) => format!("{name}…{:016x}", SipHasher24::new().hash(text.as_bytes())),
        None => name,
    })
}

/// A label's name.
fn name(label: Option<&Value>) -> String {
    let text = match label {
        None => return "(none)".to_owned(),
        Some(Value::String(text)) => cut(text, LONGEST_LABEL).to_owned(),
        // A whole number has one name, however it is written.
        Some(Value::Number(number)) => {
            integer(number).map_or_else(|| number.to_string(), |integer| integer.to_string())
        }
        Some(other) => other.to_string(),
    };
    let plain = |char: char| if char == ';' || char.is_control() { '_' } else { char };
    let text: String = cut(&text, LONGEST_LABEL).chars().map(plain).collect();
    if text.is_empty() { "(empty)".to_owned() } else { text }
}

/// Which labels stand in for which: stable's, then the shadow's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The first [`Confusion::MOST`] labels that came.
    labels: Vec<String>,
    /// By stable's label, then the shadow's; the last one of each stands for all others.
    cells: Vec<(u8, u8, u64)>,
    /// Pairs that agree.
    agreed: u64,
}

impl Confusion {
    /// Labels that are told apart.
    pub const MOST: usize = 16;
    /// The name of all others.
    pub const OTHER: &str = "other";

    /// Counts pairs with these labels.
    pub fn count(&mut self, stable: &str, shadow: &str, agree: bool, pairs: u64) {
        let cell = (self.place(stable), self.place(shadow));
        match self.cells.iter_mut().find(|(one, other, _)| (*one, *other) == cell) {
            Some((_, _, count)) => *count = count.saturating_add(pairs),
            None => self.cells.push((cell.0, cell.1, pairs)),
        }
        self.agreed = self.agreed.saturating_add(if agree { pairs } else { 0 });
    }

    /// The names under which pairs with these labels are counted.
    #[must_use]
    pub fn names<'a>(&'a self, stable: &'a str, shadow: &'a str) -> (&'a str, &'a str) {
        let name =
            |label: &'a str| if self.labels.iter().any(|known| known == label) { label } else { Self::OTHER };
        (name(stable), name(shadow))
    }

    fn place(&mut self, label: &str) -> u8 {
        #[allow(clippy::cast_possible_truncation)] // at most 16
        let number = |at: usize| at.min(Self::MOST) as u8;
        if let Some(at) = self.labels.iter().position(|known| known == label) {
            return number(at);
        }
        if self.labels.len() < Self::MOST && label != Self::OTHER {
            self.labels.push(label.to_owned());
            return number(self.labels.len().saturating_sub(1));
        }
        number(Self::MOST)
    }

    /// The name of a place.
    fn name(&self, place: u8) -> &str {
        self.labels.get(usize::from(place)).map_or(Self::OTHER, String::as_str)
    }

    /// The pairs by stable's label and the shadow's.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.cells.iter().map(|(one, other, pairs)| (self.name(*one), self.name(*other), *pairs))
    }

    /// By the shadow's label: its pairs, and those of them that agree. For labels that agree when they are equal.
    pub fn by_shadow(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let places = Self::MOST.saturating_add(1);
        let mut sums = vec![(0_u64, 0_u64); places];
        let mut named = 0_u64;
        for (stable, shadow, pairs) in &self.cells {
            if let Some((all, agreed)) = sums.get_mut(usize::from(*shadow)) {
                *all = all.saturating_add(*pairs);
                if stable == shadow && usize::from(*shadow) < Self::MOST {
                    *agreed = agreed.saturating_add(*pairs);
                    named = named.saturating_add(*pairs);
                }
            }
        }
        // Two labels without a name of their own may differ: of those agree as many as are left.
        if let Some((all, agreed)) = sums.last_mut() {
            *agreed = self.agreed.saturating_sub(named).min(*all);
        }
        let of_place = |(place, (all, agreed))| {
            #[allow(clippy::cast_possible_truncation)] // at most 16
            let name = self.name(place as u8);
            (name, all, agreed)
        };
        sums.into_iter().enumerate().filter(|(_, (all, _))| *all > 0).map(of_place)
    }

    /// Adds other pairs.
    pub fn add(&mut self, other: &Self) {
        for (stable, shadow, pairs) in other.cells() {
            self.count(stable, shadow, false, pairs);
        }
        self.agreed = self.agreed.saturating_add(other.agreed);
    }

    /// How far labels agree; `None` without any.
    #[must_use]
    pub fn agreement(&self) -> Option<Agreement> {
        let places = Self::MOST.saturating_add(1);
        let (mut rows, mut columns) = (vec![0_u64; places], vec![0_u64; places]);
        let mut all = 0_u64;
        for (stable, shadow, pairs) in &self.cells {
            all = all.saturating_add(*pairs);
            for (sums, at) in [(&mut rows, stable), (&mut columns, shadow)] {
                if let Some(sum) = sums.get_mut(usize::from(*at)) {
                    *sum = sum.saturating_add(*pairs);
                }
            }
        }
        if all == 0 {
            return None;
        }
        let part = |count: u64| crate::model::real(count) / crate::model::real(all);
        let observed = part(self.agreed);
        let chance: f64 = rows.iter().zip(&columns).map(|(row, column)| part(*row) * part(*column)).sum();
        let left = 1.0 - chance;
        let kappa = if left > 0.0 { (observed - chance) / left } else { 1.0 };
        let variance = observed * (1.0 - observed) / (crate::model::real(all) * left * left);
        Some(Agreement { observed, chance, kappa, error: if left > 0.0 { variance.sqrt() } else { 0.0 } })
    }
}

/// How far the labels of pairs agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// p_o: the share of pairs that agree.
    pub observed: f64,
    /// p_e: the share that would agree if the shadow's labels were drawn at random, as often as they come.
    pub chance: f64,
    /// Cohen's kappa: (p_o − p_e) / (1 − p_e).
    pub kappa: f64,
    /// Its standard error: √(p_o (1 − p_o) / (n (1 − p_e)²)).
    pub error: f64,
}
