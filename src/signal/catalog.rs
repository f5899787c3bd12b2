//! The signals there are, and all that is particular about each.
//!
//! Names of signals stand here and in the documentation, nowhere else. A new signal needs its row and something that
//! observes it.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::sums::Fraction;

/// A signal's row.
#[derive(Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number in what VMs and Envoys share. Never used again for another signal.
    pub id: SignalId,
    /// Its name in configurations, events, metrics and the API.
    pub name: &'static str,
    /// What stands behind the name and a colon, such as the field of `input.missing:/user/age`, and right behind a name that
    /// ends with a dot; `None`: nothing does.
    pub parameter: Option<&'static str>,
    /// What an observation is.
    pub kind: Kind,
    /// Which difference between the versions counts.
    pub differs: Differs,
    /// The requests that it is observed among.
    pub among: Among,
    /// When it is observed.
    pub settles: Settles,
    /// What a request counts as that has not settled at the deadline.
    pub overdue: Overdue,
    /// What a configured bound limits a share of.
    pub bound: BoundOn,
    /// Its part in the average that decides.
    pub weight: Weight,
    /// What its event says of a request, besides being compared.
    pub role: Option<Role>,
}

impl Signal {
    /// What stands between its name and its parameter.
    fn separator(&self) -> &'static str {
        if self.name.ends_with('.') { "" } else { ":" }
    }
}

/// A signal's number: its row's, and the number of its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalId {
    row: u8,
    /// A hash of the parameter; 0 without one.
    of: u32,
}

impl SignalId {
    const fn row(row: u8) -> Self {
        Self { row, of: 0 }
    }

    /// The row's number with a parameter.
    #[allow(clippy::cast_possible_truncation)] // any 32 bits tell apart
    fn with(self, parameter: &str) -> Self {
        let of = SipHasher24::new().hash(parameter.as_bytes()) as u32;
        Self { of: of.clamp(1, Self::SPREAD - 1), ..self }
    }

    /// What is no parameter's hash.
    const SPREAD: u32 = u32::MAX;

    /// The same signal observed by the bucket that its value is in.
    const fn spread(self) -> Self {
        Self { of: Self::SPREAD, ..self }
    }

    /// Whether it is observed by the bucket that its value is in.
    #[must_use]
    pub fn is_spread(self) -> bool {
        self.of == Self::SPREAD
    }
}

/// What an observation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Event,
    /// A length of time. Compared as events: longer than a quantile of stable's.
    Duration,
    /// A value between 0 and 1. Compared by its mean.
    Mean(Scale),
}

/// How a value becomes one between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// It is one.
    Linear,
    /// A count x ≥ 0 on a logarithmic scale: ln(1 + x) / ln(1 + 2^20). The mean stands for the geometric mean, which a few
    /// very large values hardly move.
    Logarithmic,
}

impl Scale {
    /// ln(1 + 2^20).
    const LN_MOST: f64 = 13.862_944_573_676_936;

    /// A value on the scale: what lies outside of it is at its end. `None` for what is not a number.
    #[must_use]
    pub fn fraction(self, value: f64) -> Option<Fraction> {
        match self {
            Self::Linear => Fraction::new(value),
            Self::Logarithmic => {
                Fraction::new(value.max(0.0).ln_1p() / Self::LN_MOST).filter(|_| !value.is_nan())
            }
        }
    }

    /// The value that a mean of fractions stands for.
    #[must_use]
    pub fn value(self, mean: f64) -> f64 {
        match self {
            Self::Linear => mean,
            Self::Logarithmic => (mean * Self::LN_MOST).exp_m1(),
        }
    }

    /// So many times as much, as a difference on the logarithmic scale.
    #[must_use]
    pub fn difference(times: f64) -> f64 {
        times.ln() / Self::LN_MOST
    }
}

/// Which difference between the versions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// More on the candidate counts against it.
    Up,
    /// More or less on the candidate counts against it.
    Both,
    /// Any difference means that the versions get different requests: nothing can be said about the candidate.
    Inputs,
}

/// The requests that a signal is observed among: its denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Every request that was drawn.
    Every,
    /// Requests that the version has answered.
    Answered,
    /// Requests whose body was read.
    ReadRequests,
    /// Requests that the version has answered well, with an answer whose body was read, or was to be.
    ReadAnswers,
    /// Requests that stable has answered, and the candidate as its shadow. They count when both answers were compared.
    Pairs,
    /// Nothing: it happens apart from requests, and is observed when it does.
    Events,
}

impl Among {
    /// Whether bodies have to be read for it.
    #[must_use]
    pub fn reads_bodies(self) -> bool {
        matches!(self, Self::ReadRequests | Self::ReadAnswers)
    }
}

/// When a signal is observed: until then a request is pending, and anything may come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    /// When the response's headers come.
    AtHeaders,
    /// When the request ends. A duration may settle earlier, at the headers of a streamed answer.
    AtEnd,
}

/// What a request counts as that has not settled when its tick is closed, after the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// As one with the event.
    Event,
    /// As one with the event if no answer has begun, otherwise as one without.
    EventUnlessAnswered,
    /// As one without the event.
    NoEvent,
    /// It is left out.
    LeftOut,
}

/// What a bound limits a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOn {
    /// Requests that have settled; where users are judged, users by their first observation.
    Observations,
    /// Requests that ended with an answer or an error of the version; where users are judged, users by their first
    /// request in a step.
    Answers,
}

/// A metric's part in the average of e-values that decides about the candidate: a share of alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weight {
    /// Half of it, however many other metrics there are.
    Half,
    /// The other half, with all others of this weight.
    #[default]
    Others,
}

/// What an event says of a request, besides being compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It failed: what must be no worse before a step ends, and what a window after a flip watches.
    Failed,
    /// Its client gave it up, which counts as a failure where a version is judged alone.
    GivenUp,
    /// The version refused it, or sent its client elsewhere: an answer, and none that is wanted.
    Refused,
    /// The shadow's answer differs from stable's: what steps wait for, and what comes when the candidate serves no request.
    Differs,
}

/// The request failed.
pub const ERROR_RATE: Signal = Signal {
    id: SignalId::row(1),
    name: "error_rate",
    parameter: None,
    kind: Kind::Event,
    differs: Differs::Up,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::EventUnlessAnswered,
    bound: BoundOn::Answers,
    weight: Weight::Half,
    role: Some(Role::Failed),
};

/// How long the answer took; of a streamed answer, until it began.
pub const LATENCY: Signal = Signal {
    id: SignalId::row(2),
    name: "latency",
    parameter: None,
    kind: Kind::Duration,
    differs: Differs::Up,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::Event,
    bound: BoundOn::Observations,
    weight: Weight::Others,
    role: None,
};

/// The client left before the answer began.
pub const UNANSWERED: Signal = Signal {
    id: SignalId::row(3),
    name: "unanswered",
    parameter: None,
    kind: Kind::Event,
    differs: Differs::Up,
    among: Among::Every,
    settles: Settles::AtEnd,
    overdue: Overdue::NoEvent, // it has failed by then
    bound: BoundOn::Observations,
    weight: Weight::Others,
    role: Some(Role::GivenUp),
};

/// The version refused, or sent the client elsewhere: 4xx, 3xx but 304, or a gRPC status that is no error.
pub const CLIENT_ERROR_RATE: Signal = Signal {
    id: SignalId::row(4),
    name: "client_error_rate",
    parameter: None,
    kind: Kind::Event,
    differs: Differs::Up,
    among: Among::Answered,
    settles: Settles::AtEnd,
    overdue: Overdue::LeftOut,
    bound: BoundOn::Observations,
    weight: Weight::Others,
    role: Some(Role::Refused),
};

/// An answer without a value: null, empty, not a number, missing, or a configured text.
pub const OUTPUT_NULL: Signal = of_answers(10, "output.null", Kind::Event, Differs::Up);

/// An error inside an answer whose status is good.
pub const OUTPUT_ERROR_OBJECT: Signal = of_answers(11, "output.error_object", Kind::Event, Differs::Up);

/// An answer that cannot be read although its status is good: empty, broken off, broken, or of another type.
pub const OUTPUT_UNREADABLE: Signal = of_answers(23, "output.unreadable", Kind::Event, Differs::Up);

/// An answer with this label.
pub const OUTPUT_LABEL: Signal =
    Signal { parameter: Some("label"), ..of_answers(12, "output.label", Kind::Event, Differs::Both) };

/// An answer that ended at a limit of tokens.
pub const OUTPUT_TRUNCATED: Signal = of_answers(13, "output.truncated", Kind::Event, Differs::Up);

/// An answer in which the model refused, or a filter of the server removed content.
pub const OUTPUT_REFUSED: Signal = of_answers(24, "output.refused", Kind::Event, Differs::Up);

/// How long an answer is: characters of text, or elements.
pub const OUTPUT_LENGTH: Signal =
    of_answers(14, "output.length", Kind::Mean(Scale::Logarithmic), Differs::Both);

/// Tokens of an answer, as the server counted them.
pub const OUTPUT_TOKENS: Signal =
    of_answers(15, "output.tokens", Kind::Mean(Scale::Logarithmic), Differs::Both);

/// The value of an answer, as a part of its configured range.
pub const OUTPUT_VALUE: Signal = of_answers(16, "output.value", Kind::Mean(Scale::Linear), Differs::Both);

/// The confidence of an answer.
pub const OUTPUT_CONFIDENCE: Signal =
    of_answers(17, "output.confidence", Kind::Mean(Scale::Linear), Differs::Both);

/// From the request's end to the first event of a streamed answer that carries text.
pub const FIRST_TOKEN: Signal = of_answers(18, "latency.first_token", Kind::Duration, Differs::Up);

/// From the first token of a streamed answer to its last, by token.
pub const PER_TOKEN: Signal = of_answers(19, "latency.per_token", Kind::Duration, Differs::Up);

/// A request in which a field is missing.
pub const INPUT_MISSING: Signal =
    Signal { parameter: Some("field"), ..of_requests(20, "input.missing", Kind::Event) };

/// How long a request is: characters of text, elements, or tokens.
pub const INPUT_LENGTH: Signal = of_requests(21, "input.length", Kind::Mean(Scale::Logarithmic));

/// A request in which a field has none of its configured categories.
pub const INPUT_UNSEEN: Signal =
    Signal { parameter: Some("field"), ..of_requests(22, "input.unseen", Kind::Event) };

/// A pair of answers that differ: stable's and the shadow's.
pub const MIRROR_DISAGREEMENT: Signal = Signal {
    among: Among::Pairs,
    role: Some(Role::Differs),
    ..of_answers(30, "mirror.disagreement", Kind::Event, Differs::Up)
};

/// What a user did afterwards, as a rule of `feedback` names it.
pub const FEEDBACK: Signal = Signal {
    parameter: Some("name"),
    among: Among::Events,
    ..of_answers(40, "feedback.", Kind::Event, Differs::Both)
};

/// Pairs in which the shadow's answer differs from stable's and that of stable's copy does not, among those in which one of
/// the two differs.
pub const BESIDE_BASELINE: SignalId = SignalId { of: 1, ..MIRROR_DISAGREEMENT.id };

const fn of_answers(row: u8, name: &'static str, kind: Kind, differs: Differs) -> Signal {
    Signal {
        id: SignalId::row(row),
        name,
        parameter: None,
        kind,
        differs,
        among: Among::ReadAnswers,
        settles: Settles::AtEnd,
        overdue: Overdue::LeftOut,
        bound: BoundOn::Observations,
        weight: Weight::Others,
        role: None,
    }
}

const fn of_requests(row: u8, name: &'static str, kind: Kind) -> Signal {
    Signal { among: Among::ReadRequests, ..of_answers(row, name, kind, Differs::Inputs) }
}

/// A yes/no signal of test builds: the answer carries the header `x-test-event`.
#[cfg(any(test, feature = "test-build"))]
pub const TEST_EVENT: Signal = Signal {
    id: SignalId::row(255),
    name: "test.event",
    parameter: None,
    kind: Kind::Event,
    differs: Differs::Up,
    among: Among::Answered,
    settles: Settles::AtHeaders,
    overdue: Overdue::LeftOut,
    bound: BoundOn::Observations,
    weight: Weight::Others,
    role: None,
};

/// A bounded mean of test builds.
#[cfg(any(test, feature = "test-build"))]
pub const TEST_MEAN: Signal = Signal {
    id: SignalId::row(254),
    name: "test.mean",
    parameter: None,
    kind: Kind::Mean(Scale::Linear),
    differs: Differs::Both,
    among: Among::Answered,
    settles: Settles::AtEnd,
    overdue: Overdue::LeftOut,
    bound: BoundOn::Observations,
    weight: Weight::Others,
    role: None,
};

/// All signals that can be configured.
pub const ALL: &[&Signal] = &[
    &ERROR_RATE,
    &LATENCY,
    &UNANSWERED,
    &CLIENT_ERROR_RATE,
    &OUTPUT_NULL,
    &OUTPUT_ERROR_OBJECT,
    &OUTPUT_UNREADABLE,
    &OUTPUT_LABEL,
    &OUTPUT_TRUNCATED,
    &OUTPUT_REFUSED,
    &OUTPUT_LENGTH,
    &OUTPUT_TOKENS,
    &OUTPUT_VALUE,
    &OUTPUT_CONFIDENCE,
    &FIRST_TOKEN,
    &PER_TOKEN,
    &INPUT_MISSING,
    &INPUT_LENGTH,
    &INPUT_UNSEEN,
    &MIRROR_DISAGREEMENT,
    &FEEDBACK,
];

/// The metrics that are compared unless the configuration names some.
pub const DEFAULT: &[&Signal] = &[&ERROR_RATE, &LATENCY, &UNANSWERED, &CLIENT_ERROR_RATE];

/// The signal with this role.
#[must_use]
pub const fn with_role(role: Role) -> &'static Signal {
    match role {
        Role::Failed => &ERROR_RATE,
        Role::GivenUp => &UNANSWERED,
        Role::Refused => &CLIENT_ERROR_RATE,
        Role::Differs => &MIRROR_DISAGREEMENT,
    }
}

/// The numbers of rows without a parameter.
#[must_use]
pub fn ids(signals: &[&Signal]) -> Vec<SignalId> {
    signals.iter().map(|signal| signal.id).collect()
}

/// Signals of test builds.
#[cfg(any(test, feature = "test-build"))]
const OF_TESTS: &[&Signal] = &[&TEST_EVENT, &TEST_MEAN];
#[cfg(not(any(test, feature = "test-build")))]
const OF_TESTS: &[&Signal] = &[];

/// A signal as a configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its row.
    pub signal: &'static Signal,
    /// Its number, with the parameter in it.
    pub id: SignalId,
    /// The parameter.
    pub parameter: Option<&'a str>,
}

/// The names of all signals that can be configured; parameters as `output.label:<label>`.
#[must_use]
pub fn names() -> Vec<String> {
    let name = |signal: &&Signal| match signal.parameter {
        Some(parameter) => format!("{}{}<{parameter}>", signal.name, signal.separator()),
        None => signal.name.to_owned(),
    };
    ALL.iter().map(name).collect()
}

/// The signal of that name. A row with a parameter has no name without one.
#[must_use]
pub fn named(name: &str) -> Option<Named<'_>> {
    ALL.iter().chain(OF_TESTS).copied().find_map(|signal| {
        let rest = name.strip_prefix(signal.name)?;
        if signal.parameter.is_none() {
            return rest.is_empty().then_some(Named { signal, id: signal.id, parameter: None });
        }
        let given = rest.strip_prefix(signal.separator()).filter(|given| !given.is_empty())?;
        Some(Named { signal, id: signal.id.with(given), parameter: Some(given) })
    })
}

/// A signal whose movement can be seen, as a configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving<'a> {
    /// The signal.
    pub named: Named<'a>,
    /// The number under which it is observed for that.
    pub id: SignalId,
    /// What is compared.
    pub moves: Moves,
}

/// What is compared of a signal whose movement is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moves {
    /// How often it happens.
    Rate,
    /// How its values are spread.
    Values,
    /// Which categories there are, and how often.
    Categories,
}

/// The signal of that name whose movement can be seen. The row of labels has a name without a parameter here: all of them.
#[must_use]
pub fn moving(name: &str) -> Option<Moving<'_>> {
    if name == OUTPUT_LABEL.name {
        let named = Named { signal: &OUTPUT_LABEL, id: OUTPUT_LABEL.id, parameter: None };
        return Some(Moving { named, id: named.id.spread(), moves: Moves::Categories });
    }
    let named = named(name).filter(|named| !matches!(named.signal.among, Among::Pairs | Among::Events))?;
    Some(match named.signal.kind {
        Kind::Event => Moving { named, id: named.id, moves: Moves::Rate },
        Kind::Duration => Moving { named, id: named.id, moves: Moves::Values },
        Kind::Mean(_) => Moving { named, id: named.id.spread(), moves: Moves::Values },
    })
}

/// The names of all signals whose movement can be seen.
#[must_use]
pub fn moving_names() -> Vec<String> {
    let mut names = names();
    names.retain(|name| moving(name).is_some());
    names.push(OUTPUT_LABEL.name.to_owned());
    names
}

/// The rule of `feedback` that a metric is about, if it is about one.
#[must_use]
pub fn rule_of(metric: &str) -> Option<&str> {
    named(metric).filter(|named| named.signal.among == Among::Events)?.parameter
}

/// The number of what a rule of `feedback` names.
#[must_use]
pub fn event(name: &str) -> SignalId {
    FEEDBACK.id.with(name)
}

/// The number under which workers count requests of another rollout for a rule of `feedback`, until it is known whose of them
/// follow a request of its own. No rule has such a name.
#[must_use]
pub fn elsewhere(name: &str) -> SignalId {
    FEEDBACK.id.with(&format!("{name}\0"))
}

/// Whether it happens apart from requests.
#[must_use]
pub fn is_of_events(signal: SignalId) -> bool {
    by_id(signal).is_some_and(|signal| signal.among == Among::Events)
}

/// The row of that number.
#[must_use]
pub fn by_id(id: SignalId) -> Option<&'static Signal> {
    ALL.iter().chain(OF_TESTS).find(|signal| signal.id.row == id.row).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for signal in ALL.iter().chain(OF_TESTS) {
            let name = match signal.parameter {
                Some(_) => format!("{}{}x:y", signal.name, signal.separator()),
                None => signal.name.to_owned(),
            };
            let named = named(&name).unwrap();
            assert_eq!((named.signal, named.parameter), (*signal, signal.parameter.map(|_| "x:y")));
            assert_eq!(by_id(named.id), Some(*signal));
        }
    }

    #[test]
    fn each_role_is_that_of_one_signal() {
        for role in [Role::Failed, Role::GivenUp, Role::Refused, Role::Differs] {
            let of_role: Vec<&Signal> =
                ALL.iter().chain(OF_TESTS).filter(|signal| signal.role == Some(role)).copied().collect();
            assert_eq!(of_role, [with_role(role)]);
        }
    }

    #[test]
    fn counts_on_a_logarithmic_scale_come_back_and_never_leave_it() {
        let scale = Scale::Logarithmic;
        for count in [0.0, 1.0, 20.0, 1_000.0, 1_048_576.0] {
            let back = scale.value(scale.fraction(count).unwrap().value());
            assert!((back - count).abs() <= 2e-4 * (1.0 + count), "{count}: {back}");
        }
        assert_eq!(scale.fraction(f64::INFINITY), Fraction::new(1.0));
        assert_eq!(scale.fraction(-1.0), Fraction::new(0.0));
        assert_eq!((scale.fraction(f64::NAN), Scale::Linear.fraction(f64::NAN)), (None, None));
        let twice = Scale::difference(2.0);
        assert!((scale.value(0.4 + twice) / scale.value(0.4) - 2.0).abs() < 0.01);
    }

    #[test]
    fn a_parameter_belongs_to_the_number_and_is_there_exactly_where_the_row_has_one() {
        assert_ne!(named("output.label:cat").unwrap().id, named("output.label:dog").unwrap().id);
        for name in [
            "output.label",
            "output.label:",
            "output.null:x",
            "error_rate:",
            "",
            ":",
            "feedback",
            "feedback.",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
