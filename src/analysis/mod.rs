//! The judge: from what each tick counted to how sure one can be that the candidate is worse, or no worse.
//!
//! An *event* is anything that a request either has or has not: it failed, it took longer than an edge. Every test here
//! is anytime-valid: it may be looked at after each tick, for ever, and the probability that it ever rolls back a healthy
//! candidate stays below what was allowed. `docs/analysis.md` explains it in plain words.
//!
//! * [`judge`]: all metrics of a release together, and what follows;
//! * [`rules`]: what is judged, compiled from the configuration;
//! * [`mod@test`]: one signal, and what it is compared with;
//! * [`tick`]: what a tick has counted, closed or still open;
//! * [`ring`]: what was seen in a window that moves with time;
//! * [`look`]: what a test sees of a tick;
//! * [`totals`]: what it has seen, as people read it;
//! * [`kernel`]: what that shows of one suspected regression, as the logarithm of a likelihood ratio;
//! * [`evidence`]: ticks added up, over many suspected regressions and over when they may have begun;
//! * [`edges`]: the edges that make events of durations;
//! * [`promotion`]: the opposite question, whether the candidate is no worse than a margin;
//! * [`warm_up`]: the beginning of a candidate, which is not judged;
//! * [`answers`]: what became of a version's requests;
//! * [`excess`]: whether an event is clearly more frequent, which only delays;
//! * [`window`]: after a flip, the new side beside what the old one was before;
//! * [`users`]: users instead of requests, where a user keeps their version;
//! * [`at_risk`]: users that can still have an event for the first time;
//! * [`user_set`]: users that have had it, in bounded memory;
//! * [`trail`]: users that come back.

#![forbid(unsafe_code)]

pub mod answers;
pub mod at_risk;
pub mod edges;
pub mod evidence;
pub mod excess;
pub mod judge;
pub mod kernel;
pub mod look;
pub mod promotion;
pub mod ring;
pub mod rules;
pub mod test;
pub mod tick;
pub mod totals;
pub mod trail;
pub mod user_set;
pub mod users;
pub mod warm_up;
pub mod window;
