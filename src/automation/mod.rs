//! Tasks that people or a model decide: what the model answered, what people decided, and what follows.
//!
//! The model is asked first, and the task carries its answer to the people in a sealed [`receipt`]. Their decision brings the
//! receipt back, minutes or weeks later, to any worker of any Envoy: nothing is stored in between.
//!
//! * [`answer`]: the label and the confidence in an answer of the model, the label in a decision;
//! * [`task`]: what becomes of a task, by the degree of automation;
//! * [`hold`]: how far a task is that waits for the model's answer;
//! * [`receipt`]: what a task carries;
//! * [`decisions`], [`band`]: what decisions add up to;
//! * [`proof`]: from which confidence on the model may answer alone;
//! * [`audit`]: whether it still may.

#![forbid(unsafe_code)]

pub mod answer;
pub mod audit;
pub mod band;
pub mod decisions;
pub mod hold;
pub mod proof;
pub mod receipt;
pub mod task;
