//! What becomes of a task.

use super::answer::Suggestion;
use super::receipt::Kind;
use crate::model::{Assignment, Degree};

/// Tasks in a row that a model which answers everything leaves unanswered on one worker, until the degree goes down.
pub const MOST_UNANSWERED: u64 = 20;

/// Tasks in a row that the model has left unanswered, all under one assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    assignment: Assignment,
    tasks: u64,
}

impl Unanswered {
    /// Another task has ended under an assignment, with an error of the model or with an answer.
    #[must_use]
    pub fn end(self, assignment: Assignment, is_error: bool) -> Self {
        let before = if self.assignment == assignment { self.tasks } else { 0 };
        Self { assignment, tasks: if is_error { before.saturating_add(1) } else { 0 } }
    }

    /// How many they are.
    #[must_use]
    pub fn tasks(self) -> u64 {
        self.tasks
    }
}

/// What was drawn for a task when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Where the model may answer alone: people decide it as well, whatever the model's confidence.
    pub audited: bool,
    /// Where people see suggestions: they do not see this one.
    pub blind: bool,
    /// Two people decide it, if they do not see what the model suggests.
    pub double: bool,
}

/// Who decides a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// People.
    Human,
    /// The model.
    Model,
    /// The model, and people afterwards.
    Audit,
    /// Neither: its caller left first.
    Neither,
}

impl Route {
    /// The value of the label `route`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Model => "model",
            Self::Audit => "audit",
            Self::Neither => "none",
        }
    }
}

/// Why a task went where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The degree says so.
    Degree,
    /// The model was confident enough.
    Confident,
    /// It was drawn, for people to see what the model does.
    Drawn,
    /// The model was not confident enough.
    Unsure,
    /// No threshold is proven yet.
    Unproven,
    /// The model did not answer in time.
    Late,
    /// It gave no answer, or an error.
    NoAnswer,
    /// Its answer has no label, or no confidence, where they should be.
    Unreadable,
    /// The task or the answer is larger than what is held.
    TooLarge,
    /// As many tasks are held as may be.
    Busy,
    /// Envoy does not ask: it does not know the model's cluster, or the request cannot be repeated.
    Refused,
    /// The caller left while the task was held.
    Left,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::Degree,
        Self::Confident,
        Self::Drawn,
        Self::Unsure,
        Self::Unproven,
        Self::Late,
        Self::NoAnswer,
        Self::Unreadable,
        Self::TooLarge,
        Self::Busy,
        Self::Refused,
        Self::Left,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Degree => "degree",
            Self::Confident => "confident",
            Self::Drawn => "drawn",
            Self::Unsure => "unsure",
            Self::Unproven => "unproven",
            Self::Late => "late",
            Self::NoAnswer => "no_answer",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Left => "left",
        }
    }
}

/// Where a task goes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Who decides it.
    pub route: Route,
    /// Why.
    pub reason: Reason,
    /// How it is handed to people, if the model's answer goes with it.
    pub kind: Option<Kind>,
}

/// What is in force for a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The degree of automation.
    pub degree: Degree,
    /// The confidence from which on the model answers alone, in hundredths of a percent; `None`: it does not.
    pub threshold: Option<u16>,
}

impl InForce {
    /// Whether the model is to be asked before a task goes on. Where it answers everything it gets the request itself, but
    /// for tasks that people decide as well.
    #[must_use]
    pub fn asks(self, drawn: Drawn) -> bool {
        match self.degree {
            Degree::Human => false,
            Degree::Shadow | Degree::Assist | Degree::Partial => true,
            Degree::Full => drawn.audited,
        }
    }

    /// Whether a task is the model's like any request: it answers everything, and people do not decide this one as well.
    #[must_use]
    pub fn is_models(self, drawn: Drawn) -> bool {
        self.degree == Degree::Full && !self.asks(drawn)
    }

    /// Where a task goes to which the model has answered; `Err`: why there is no answer.
    #[must_use]
    pub fn decide(self, drawn: Drawn, answer: Result<&Suggestion, Reason>) -> Fate {
        let people = |reason, kind| Fate { route: Route::Human, reason, kind };
        let suggestion = match answer {
            // Taken back while the model was asked.
            _ if self.degree == Degree::Human => return people(Reason::Degree, None),
            Ok(suggestion) => suggestion,
            Err(reason) => return people(reason, None),
        };
        let blind = |drawn_for_all| Kind { drawn: drawn_for_all, double: drawn.double, ..Kind::default() };
        let shown = Kind { shown: true, ..Kind::default() };
        let alone = |threshold| {
            if drawn.audited {
                let kind = Kind { answered: true, ..blind(true) };
                Fate { route: Route::Audit, reason: Reason::Drawn, kind: Some(kind) }
            } else if suggestion.confidence >= threshold {
                Fate { route: Route::Model, reason: Reason::Confident, kind: None }
            } else {
                people(Reason::Unsure, None)
            }
        };
        match self.degree {
            Degree::Human => people(Reason::Degree, None),
            Degree::Shadow => people(Reason::Degree, Some(blind(true))),
            Degree::Assist if drawn.blind => people(Reason::Degree, Some(blind(true))),
            Degree::Assist => people(Reason::Degree, Some(shown)),
            Degree::Full => alone(0),
            Degree::Partial => {
                let is_sure = self.threshold.is_some_and(|threshold| suggestion.confidence >= threshold);
                let reason = if self.threshold.is_none() { Reason::Unproven } else { Reason::Unsure };
                match self.threshold {
                    Some(threshold) if is_sure => alone(threshold),
                    _ if drawn.audited => people(reason, Some(blind(true))),
                    _ if drawn.blind => people(reason, Some(blind(false))),
                    _ => people(reason, Some(shown)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(confidence: u16) -> Suggestion {
        Suggestion { label: "cat".into(), confidence }
    }

    fn at(degree: Degree, threshold: Option<u16>) -> InForce {
        InForce { degree, threshold }
    }

    #[test]
    fn unanswered_tasks_are_in_a_row_under_one_assignment() {
        let (one, other) = (Assignment(1), Assignment(2));
        let ends = [(one, true, 1), (one, true, 2), (one, false, 0), (one, true, 1), (other, true, 1)];
        ends.into_iter().fold(Unanswered::default(), |before, (assignment, is_error, tasks)| {
            let unanswered = before.end(assignment, is_error);
            assert_eq!(unanswered.tasks(), tasks);
            unanswered
        });
    }

    const NONE: Drawn = Drawn { audited: false, blind: false, double: false };
    const AUDITED: Drawn = Drawn { audited: true, ..NONE };
    const BLIND: Drawn = Drawn { blind: true, ..NONE };

    #[test]
    fn the_degree_decides_who_sees_what() {
        let kind = |degree, drawn| at(degree, Some(9_000)).decide(drawn, Ok(&answer(5_000))).kind;
        let sealed = |drawn_for_all| Some(Kind { drawn: drawn_for_all, ..Kind::default() });
        let shown = Some(Kind { shown: true, ..Kind::default() });
        assert_eq!(kind(Degree::Human, NONE), None);
        assert_eq!(kind(Degree::Shadow, NONE), sealed(true));
        assert_eq!(kind(Degree::Assist, NONE), shown);
        assert_eq!(kind(Degree::Assist, BLIND), sealed(true));
        assert_eq!(kind(Degree::Partial, NONE), shown);
        assert_eq!(kind(Degree::Partial, BLIND), sealed(false), "drawn because the model was unsure");
        assert_eq!(kind(Degree::Partial, AUDITED), sealed(true));
    }

    #[test]
    fn the_model_answers_alone_from_its_threshold_on() {
        let fate = |in_force: InForce, drawn, confidence| {
            let fate = in_force.decide(drawn, Ok(&answer(confidence)));
            (fate.route, fate.reason)
        };
        let partial = at(Degree::Partial, Some(9_000));
        assert_eq!(fate(partial, NONE, 9_000), (Route::Model, Reason::Confident));
        assert_eq!(fate(partial, NONE, 8_999), (Route::Human, Reason::Unsure));
        assert_eq!(fate(partial, AUDITED, 9_000), (Route::Audit, Reason::Drawn));
        assert_eq!(fate(at(Degree::Partial, None), NONE, 10_000), (Route::Human, Reason::Unproven));
        assert_eq!(fate(at(Degree::Full, None), AUDITED, 0), (Route::Audit, Reason::Drawn));
        for degree in [Degree::Shadow, Degree::Assist] {
            assert_eq!(fate(at(degree, Some(0)), AUDITED, 10_000).0, Route::Human);
        }
    }

    #[test]
    fn people_get_every_task_that_the_model_has_not_answered() {
        for degree in Degree::ALL {
            for drawn in [NONE, AUDITED, BLIND] {
                for reason in Reason::ALL {
                    let fate = at(degree, Some(0)).decide(drawn, Err(reason));
                    assert_eq!((fate.route, fate.kind), (Route::Human, None), "{degree:?}");
                }
            }
        }
    }

    #[test]
    fn the_model_is_asked_only_where_a_degree_needs_it() {
        let asks = |degree, drawn| at(degree, None).asks(drawn);
        assert_eq!(Degree::ALL.map(|degree| asks(degree, NONE)), [false, true, true, true, false]);
        assert_eq!(Degree::ALL.map(|degree| asks(degree, AUDITED)), [false, true, true, true, true]);
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let mut names = Reason::ALL.map(Reason::label).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
