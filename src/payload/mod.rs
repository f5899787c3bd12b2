//! What goes in and what comes out: bodies, read while they pass.
//!
//! A body is read in the pieces in which Envoy has it. No piece is kept, altered or held back; what is left of a message
//! is one bounded [`Summary`](summary::Summary).
//!
//! ```text
//! bytes ─► encoding ─► framing ─► json-sieve ─► protocol ─► Summary
//!          gzip         events     pointers      fields
//! ```
//!
//! * [`reading`]: one message, from its headers to its summary;
//! * [`preset`]: what is wanted of messages, compiled once for a configuration;
//! * [`head`]: what a message's headers say about its body;
//! * [`encoding`]: compressed bodies;
//! * [`framing`]: events of a stream, messages of gRPC;
//! * [`protocol`]: where things stand in the protocols of model servers;
//! * [`fields`]: JSON pointers of the configuration;
//! * [`summary`]: what was seen of one message;
//! * [`exchange`]: what was seen of a request and its answer, as figures and observations.

#![forbid(unsafe_code)]

pub mod encoding;
pub mod exchange;
pub mod fields;
pub mod framing;
pub mod head;
pub mod preset;
pub mod protocol;
pub mod reading;
pub mod summary;
#[cfg(test)]
pub(crate) mod tests;
