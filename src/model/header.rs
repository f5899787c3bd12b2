//! Headers of the filter's own. None of them passes from a client or an upstream.

/// By it Envoy's routes learn of the chosen cluster.
pub const CLUSTER: &str = "x-changeover-cluster";
/// By it Envoy's mirror policy learns of the shadow's cluster.
pub const MIRROR: &str = "x-changeover-mirror";
/// It marks a copy.
pub const SHADOW: &str = "x-changeover-shadow";
/// Contains the version.
pub const VERSION: &str = "x-changeover-version";

/// All of them.
pub const ALL: [&str; 4] = [CLUSTER, MIRROR, SHADOW, VERSION];
