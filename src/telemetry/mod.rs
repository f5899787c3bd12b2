//! What is counted, under which names, and how a request's end is judged. Pure: the host's shell counts.

#![forbid(unsafe_code)]

pub mod breaker;
pub mod class;
pub mod defined;
pub mod failures;
pub mod feedback;
pub mod figure;
pub mod latency;
pub mod ledger;
pub mod load_report;
pub mod looks;
pub mod mirror_result;
pub mod mirrored;
pub mod outcome;
pub mod reader;
pub mod series;
pub mod served;
pub mod streamed;
pub mod tasks;
pub mod tracked;
