//! Whether the candidate is ready, asked by HTTP: what is asked, and what the answers were so far.
//!
//! Only a run that waits for its candidate asks, about once a second, one question at a time. Answers may be late, lost
//! or of another time; one that is not the answer to the last question is ignored.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::release;
use crate::config::units::Count;

/// Milliseconds between two questions: a little under a tick, which may come early.
const BETWEEN_QUESTIONS: u64 = 900;
/// Milliseconds until which a question has its answer, or is not answered.
pub const PATIENCE: u64 = 5_000;
/// Milliseconds after which an answer is lost, for the VM that asked is gone.
const LOST: u64 = PATIENCE + 2_000;

/// When a candidate is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its cluster in Envoy.
    pub cluster: String,
    /// The host name that is asked for.
    pub authority: String,
    /// The path that is asked.
    pub path: String,
    /// The status of an answer that says so.
    pub expect: u64,
    /// So many in a row.
    pub successes: u64,
    /// Milliseconds until which this must be.
    pub timeout: u64,
}

impl Ready {
    /// When a candidate with this cluster is ready.
    #[must_use]
    pub fn new(config: &release::Ready, cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            authority: config.authority.clone().unwrap_or_else(|| cluster.to_owned()),
            path: config.path.clone(),
            expect: Count::get(config.expect),
            successes: Count::get(config.successes),
            timeout: config.timeout.as_millis(),
        }
    }
}

/// What the candidate has answered since the run began to wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// When the last question was asked, in milliseconds of the clock that all VMs share: that identifies it.
    asked: u64,
    /// Whether its answer is still to come.
    is_open: bool,
    /// Answers in a row that were as expected.
    successes: u64,
    last: Said,
}

/// What an answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// None has come yet.
    #[default]
    Nothing,
    /// None came in time, or the connection failed.
    NoAnswer,
    /// It had this status.
    Status(u64),
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the question was asked.
    pub asked: u64,
    /// What it said.
    pub said: Said,
}

impl Readiness {
    /// Whether it is time for a question; `uptime_ms`: of a clock that all VMs share.
    pub(super) fn is_to_ask(&self, uptime_ms: u64) -> bool {
        // By the distance, for the clock may go back.
        let since = uptime_ms.abs_diff(self.asked);
        since >= if self.is_open { LOST } else { BETWEEN_QUESTIONS }
    }

    /// Asks. Returns when, which goes with the answer.
    pub(super) fn ask(&mut self, uptime_ms: u64) -> u64 {
        (self.asked, self.is_open) = (uptime_ms, true);
        self.asked
    }

    /// Takes over an answer, if it is that to the last question.
    pub(super) fn hear(&mut self, ready: &Ready, answer: Answer) {
        if !self.is_open || answer.asked != self.asked {
            return;
        }
        (self.is_open, self.last) = (false, answer.said);
        let is_success = answer.said == Said::Status(ready.expect);
        self.successes = if is_success { self.successes.saturating_add(1) } else { 0 };
    }

    /// Whether the candidate is ready.
    pub(super) fn is_enough(&self, ready: &Ready) -> bool {
        self.successes >= ready.successes
    }

    /// What is still missing.
    pub(super) fn missing(&self, ready: &Ready) -> Missing {
        Missing {
            path: ready.path.clone(),
            expect: ready.expect,
            successes: ready.successes,
            so_far: self.successes,
            last: self.last,
        }
    }
}

/// What is still missing of a candidate that is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    path: String,
    expect: u64,
    successes: u64,
    so_far: u64,
    last: Said,
}

/// `/ready must answer 200 3 times in a row; 1 so far, the last answer was 503`.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, expect, successes, so_far, last } = self;
        write!(f, "{path} must answer {expect} ")?;
        match successes {
            1 => f.write_str("once; ")?,
            times => write!(f, "{times} times in a row; ")?,
        }
        match last {
            Said::Nothing => f.write_str("it has not answered yet"),
            Said::NoAnswer => f.write_str("the last question was not answered"),
            Said::Status(status) => write!(f, "{so_far} so far, the last answer was {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready() -> Ready {
        let config = release::Ready { path: "/ready".into(), successes: 2.into(), ..Default::default() };
        Ready::new(&config, "green")
    }

    fn answer(asked: u64, status: u64) -> Answer {
        Answer { asked, said: Said::Status(status) }
    }

    #[test]
    fn it_is_asked_for_by_the_clusters_name() {
        assert_eq!((ready().authority, ready().expect, ready().timeout), ("green".into(), 200, 900_000));
    }

    #[test]
    fn answers_count_in_a_row() {
        let mut readiness = Readiness::default();
        for (second, status, successes) in [(1, 200, 1), (2, 503, 0), (3, 200, 1), (4, 200, 2)] {
            let asked = readiness.ask(second * 1_000);
            readiness.hear(&ready(), answer(asked, status));
            assert_eq!(readiness.successes, successes, "{second}");
        }
        assert!(readiness.is_enough(&ready()));
        let asked = readiness.ask(5_000);
        readiness.hear(&ready(), Answer { asked, said: Said::NoAnswer });
        assert!(!readiness.is_enough(&ready()));
    }

    #[test]
    fn one_question_is_open_at_a_time_until_it_is_lost() {
        let mut readiness = Readiness::default();
        assert!(readiness.is_to_ask(1_000), "the first at once");
        let asked = readiness.ask(1_000);
        assert!(!readiness.is_to_ask(7_999));
        assert!(readiness.is_to_ask(8_000), "lost");
        readiness.hear(&ready(), answer(asked, 503));
        assert!(!readiness.is_to_ask(1_899));
        assert!(readiness.is_to_ask(1_900));
        assert!(readiness.is_to_ask(0), "also when the clock has gone back by as much");
    }

    #[test]
    fn a_missing_answer_is_reported_with_the_last_one() {
        let mut readiness = Readiness::default();
        let must = "/ready must answer 200 2 times in a row";
        assert_eq!(readiness.missing(&ready()).to_string(), format!("{must}; it has not answered yet"));
        let asked = readiness.ask(1_000);
        readiness.hear(&ready(), answer(asked, 503));
        assert_eq!(
            readiness.missing(&ready()).to_string(),
            format!("{must}; 0 so far, the last answer was 503")
        );
        let asked = readiness.ask(2_000);
        readiness.hear(&ready(), Answer { asked, said: Said::NoAnswer });
        assert_eq!(
            readiness.missing(&ready()).to_string(),
            format!("{must}; the last question was not answered")
        );
        let asked = readiness.ask(3_000);
        readiness.hear(&ready(), answer(asked, 200));
        assert_eq!(
            readiness.missing(&ready()).to_string(),
            format!("{must}; 1 so far, the last answer was 200")
        );
        let once = Ready { successes: 1, ..ready() };
        let missing = Readiness::default().missing(&once).to_string();
        assert_eq!(missing, "/ready must answer 200 once; it has not answered yet");
    }

    proptest! {
        /// Whatever comes in whatever order, as many good answers to questions of its own are needed.
        #[test]
        fn only_answers_to_the_last_question_count(
            inputs in proptest::collection::vec((0_u64..20_000, any::<bool>(), any::<bool>(), 0_u64..3), 0..60)
        ) {
            let (mut readiness, mut row) = (Readiness::default(), 0);
            for (uptime, asks, is_good, late_by) in inputs {
                if asks && readiness.is_to_ask(uptime) {
                    readiness.ask(uptime);
                    continue;
                }
                let is_last = readiness.is_open && late_by == 0;
                let asked = readiness.asked.wrapping_sub(late_by);
                readiness.hear(&ready(), answer(asked, if is_good { 200 } else { 404 }));
                if is_last {
                    row = if is_good { row + 1 } else { 0 };
                }
                prop_assert_eq!(readiness.successes, row);
            }
        }
    }
}
