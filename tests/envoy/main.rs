//! The module inside a real Envoy, between real clients and real upstreams: `make test-envoy`.
//!
//! Every test starts an Envoy of its own from the YAML this repository ships, on ports that the system chooses
//! and in a directory of its own. What is counted is counted by clients and upstreams.

// A test may fail, and counts with small numbers.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod access_log_test;
mod affinity_test;
mod alarms_test;
mod automation_test;
mod blind_test;
mod blue_green_test;
mod breaker_test;
mod clients_test;
mod compare_test;
mod configuration_test;
mod control_hardening_test;
mod control_test;
mod dashboards_test;
mod drain_test;
mod drift_test;
mod envoy_gateway_test;
mod failsafe_test;
mod feedback_test;
mod fleet_feedback_test;
mod fleet_test;
mod harness;
mod harness_test;
mod held_test;
mod holds_test;
mod hostile_test;
mod hot_restart_test;
mod istio_test;
mod mirror_test;
mod notify_test;
mod openapi_test;
mod page_test;
mod payload_release_test;
mod payload_test;
mod protocols_test;
mod push_test;
mod ready_test;
mod record_test;
mod rollout_test;
mod routing_test;
mod scale_test;
mod shipped_test;
mod soak_test;
mod telemetry_test;
mod users_test;
mod yaml_test;
