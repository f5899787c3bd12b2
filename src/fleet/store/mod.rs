//! The Envoys of one name share their rollouts through a store. Pure: what a store is asked and what it answers are
//! values, time is an argument.
//!
//! The member of a fleet is an Envoy, and its leading VM speaks for it. Each member writes what it has counted and nobody
//! has judged. One member leads: it adds up what all have counted, judges, and writes records. All others follow.
//!
//! * Counts are added up by the tick in which requests *arrived* and by their assignment, never by when something was
//!   written or read: whose answers come late depends on the version.
//! * A record has its evidence and the tick up to which it was judged as one value, and is replaced only by a member that
//!   has read its latest form. So a leader that dies, sleeps or shares the lead loses and repeats nothing.
//! * Records have an [order](values::Standing). No member follows a lesser one, and a member with a greater one writes it back: a
//!   store may be restored from a backup.
//! * A call that was not answered may have been carried out. So a member reads before it decides again.
//!
//! A store is asked by [`call::Call`] and answers by [`call::Answer`], and nothing here knows more of it. What knows that it is etcd
//! is one [`call::Engine`], which writes calls as bytes and reads answers; `host/store.rs` carries the bytes, and the configuration
//! names the cluster. A second store needs an `Engine` and its field in the configuration. One without transactions over several
//! keys, such as the API server of Kubernetes, also needs the values that one call writes together (a record, its sets of users
//! and the lead) in one object, or an order of writes in which each state in between is harmless; one without gRPC, a second way
//! in `host/store.rs`.
//!
//! Keys, all under `/changeover/<fleet>/`:
//!
//! | key | value | who writes it |
//! |---|---|---|
//! | `m/<member>` | what it has counted and has not been judged | each member, once a period |
//! | `c/<member>` | which programs it has | each member, after a change |
//! | `r/<rollout>/<run>` | the record of a release | the leader, or the member that takes a command |
//! | `u/<name>` | a set of users that is too large for its record | the leader |
//! | `lead` | who leads, and whose counts are used | the leader, once a period |

pub mod alone;
pub mod call;
pub mod etcd;
pub mod known;
pub mod member;
pub mod memory;
pub mod pool;
mod rules;
pub mod simulated;
pub mod values;
pub mod view;

#[cfg(test)]
mod tests;
