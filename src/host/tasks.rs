//! Tasks that people or a model decide: where each goes, once it is known what the model says ([`asking`]). People get it with
//! what [`people`] gives it, and [`decisions`] counts what they decide.
//!
//! [`asking`]: super::asking
//! [`people`]: super::people
//! [`decisions`]: super::decisions

use std::rc::Rc;

use super::asking::{Answer, Asker, Asking, HeldTask};
use super::calls::{self, Headers};
use super::decisions::{Deciding, Decisions};
use super::defined::Defined;
use super::keys::ReceiptKeys;
use super::loaded::Loaded;
use super::people::{Copied, Handed, People, drop_one};
use super::place::Place;
use crate::automation::receipt::Kind;
use crate::automation::task::{Fate, InForce, Reason, Route};
use crate::payload::encoding::Inflaters;
use crate::routing::plan::Task;
use crate::telemetry::tasks::About;

/// What one VM has to do with tasks.
pub(super) struct Tasks {
    pub(super) asking: Asking,
    pub(super) people: People,
    pub(super) decisions: Decisions,
    metrics: Defined<About>,
}

/// How a held task goes on.
pub(super) struct Released {
    /// Who decides it.
    pub(super) route: Route,
    /// Set if people's answer is their decision.
    pub(super) deciding: Option<Box<Deciding>>,
}

impl Tasks {
    pub(super) fn new(keys: Rc<ReceiptKeys>) -> Self {
        Self {
            asking: Asking::default(),
            people: People::new(Rc::clone(&keys)),
            decisions: Decisions::new(keys),
            metrics: Defined::default(),
        }
    }

    /// Counts a task that is not held.
    pub(super) fn pass(&self, place: &Place, task: &Task, reason: Reason) {
        let route = if task.in_force.is_models(task.drawn) { Route::Model } else { Route::Human };
        place.count(&self.metrics, About::Task(route, reason));
    }

    /// The model's answer to a held task has come, with a body of so many bytes; or none comes. Envoy's context is
    /// the root that made the callout, before and afterwards. `newest`: the plugin's present configuration. `None`: the stream is gone.
    pub(super) fn answered(
        &self,
        held: HeldTask,
        body: Option<usize>,
        newest: Option<&Rc<Loaded>>,
        inflaters: &Inflaters,
    ) -> Option<Released> {
        let answer = Answer::to(&held, body, inflaters);
        let Asker { stream, root } = held.by;
        if !calls::set_context(stream) {
            self.leave(&held);
            return None;
        }
        let released = self.release(held, answer, newest);
        calls::set_context(root);
        Some(released)
    }

    /// A held task goes on: to people, or back to its caller with the model's answer.
    fn release(
        &self,
        held: HeldTask,
        answer: Result<Answer, Reason>,
        newest: Option<&Rc<Loaded>>,
    ) -> Released {
        let now = newest.and_then(|newest| held.place.in_force_by(newest));
        let (now, run) = now.filter(|(_, run)| *run == held.task.attempt).unwrap_or_default();
        // A rollback while the model was asked counts at once; what was drawn was drawn for the degree at that time.
        let in_force =
            InForce { degree: held.task.in_force.degree.min(now.degree), threshold: now.threshold };
        let suggestion = answer.as_ref().map(|answer| &answer.suggestion).map_err(|reason| *reason);
        let Fate { route, reason, kind } = in_force.decide(held.task.drawn, suggestion);
        held.place.count(&self.metrics, About::Task(route, reason));
        let suggestion = answer.as_ref().map(|answer| answer.suggestion.clone()).unwrap_or_default();
        let handed = kind.map(|kind| Handed {
            suggestion,
            kind,
            task: calls::entropy(),
            time: calls::epoch_ms(),
            run,
        });
        let HeldTask { place, headers, body, .. } = held;
        let mut deciding = None;
        if route == Route::Human {
            if let Some(handed) = &handed {
                self.people.write_headers(&place, handed);
                deciding =
                    place.decides_by_answer().then(|| Box::new(Deciding::new(place.clone(), handed.clone())));
            }
            calls::resume();
        } else if let Ok(answer) = &answer {
            answer.hand_back();
        }
        if let Some(handed) = handed {
            let is_twice = handed.kind.double && !handed.kind.shown;
            if is_twice {
                let second = Handed { kind: Kind { second: true, ..handed.kind }, ..handed.clone() };
                let (headers, body) = (headers.clone(), body.clone());
                self.people.wait(Copied { place: place.clone(), headers, body, handed: second });
            }
            if route == Route::Audit {
                self.people.wait(Copied { place, headers, body, handed });
            }
        }
        Released { route, deciding }
    }

    /// A held task does not wait any longer.
    pub(super) fn let_go(&self, held: HeldTask, reason: Reason) {
        held.place.count(&self.metrics, About::Task(Route::Human, reason));
    }

    /// The caller left while its task was held.
    pub(super) fn leave(&self, held: &HeldTask) {
        held.place.count(&self.metrics, About::Task(Route::Neither, Reason::Left));
    }

    /// The answer to a callout has come, with a body of so many bytes; or none comes. Returns whether it was about a
    /// copy of a task for people.
    pub(super) fn handed_over(&self, token: u32, body: Option<usize>, inflaters: &Inflaters) -> bool {
        let Some(open) = self.people.close(token) else { return false };
        let is_good =
            || calls::status(Headers::CalloutResponse).is_some_and(|status| (200..300).contains(&status));
        match body.filter(|_| is_good()) {
            None => drop_one(),
            Some(size) if open.place.decides_by_answer() => {
                self.decisions.answered(Deciding::of_callout(open, size), inflaters);
            }
            Some(_) => {}
        }
        true
    }
}
