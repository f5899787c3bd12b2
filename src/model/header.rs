//! Headers of the filter's own. None of them passes from a client. Of an upstream's, the filter removes [`VERSION`], and the shipped
//! routes the others.

/// Names the chosen cluster for Envoy's routes.
pub const CLUSTER: &str = "x-changeover-cluster";
/// Names the shadow's cluster for Envoy's mirror policy.
pub const MIRROR: &str = "x-changeover-mirror";
/// Marks a copy.
pub const SHADOW: &str = "x-changeover-shadow";
/// Contains the version.
pub const VERSION: &str = "x-changeover-version";

/// All of them.
pub const ALL: [&str; 4] = [CLUSTER, MIRROR, SHADOW, VERSION];
