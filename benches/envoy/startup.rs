//! What starting costs: CPU until Envoy is ready, and the memory that it then holds, by workers.

use super::cpu::{Cpus, Times};
use super::upstream::Upstream;
use super::variants::Variant;

const WORKERS: [u32; 3] = [1, 4, 8];
/// Starts of each, of which the one with the least CPU counts: anything else the machine does adds to the others.
const STARTS: usize = 3;

/// One kind of Envoy with so many workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Startup {
    pub(crate) variant: &'static str,
    pub(crate) workers: u32,
    /// Seconds of CPU of all threads until `/ready` says so.
    pub(crate) cpu: f64,
    /// Resident megabytes.
    pub(crate) megabytes: f64,
}

/// Starts Envoys without the filter, with one that does nothing, and with Changeover.
pub(crate) async fn measure(cpus: &Cpus) -> Vec<Startup> {
    let upstreams = [Upstream::start("blue").await, Upstream::start("green").await];
    let mut all = Vec::new();
    for variant in [Variant::Native, Variant::Idle, Variant::Changeover] {
        for workers in WORKERS {
            let mut best: Option<Startup> = None;
            for _ in 0..STARTS {
                let envoy = variant.setup(&upstreams).workers(workers).on_cpus(&cpus.all).start().await;
                let cpu = Times::of_process(envoy.id()).ran.as_secs_f64();
                let megabytes = envoy.resident_kilobytes() as f64 / 1024.0;
                if best.is_none_or(|best| cpu < best.cpu) {
                    best = Some(Startup { variant: variant.name(), workers, cpu, megabytes });
                }
            }
            all.extend(best);
        }
    }
    all
}
