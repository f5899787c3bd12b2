//! What `or_milliseconds` of `latency` saves and costs: a healthy candidate whose few requests find no open connection, and
//! candidates that are slower.

use changeover::analysis::rules::OR_MILLISECONDS;
use serde_json::json;

use crate::table::{mark, quantile, whole};
use crate::traps::{ALPHA, COLD_CONNECTIONS, PLAIN, configuration_of, most};
use crate::world::{Late, SECOND, World};
use crate::{Effort, envoy, parallel};

/// Milliseconds by which all answers of the slower candidates come later.
const SLOWER: [u64; 3] = [30, 50, 100];

/// Whether the default is safe where a new connection costs 20 ms, and finds a candidate that takes 50 ms longer.
pub(crate) fn simulate(effort: &Effort) -> bool {
    let runs = effort.healthy_runs;
    println!("or_milliseconds of latency, at 5 %, answers of 30 ms in the median");
    println!(
        "  {} healthy runs of an hour, 20 requests/s, connections idle for 2 s cost 20 ms: false rollbacks",
        whole(runs as f64)
    );
    println!(
        "  {} runs of an hour, 100 requests/s: the candidate's requests until rollback, median, where it takes longer",
        effort.runs_by_request
    );
    println!("  or_milliseconds │ false rollbacks │ 30 ms │ 50 ms │ 100 ms longer");
    let mut all = true;
    for or_milliseconds in [0.0, 10.0, 20.0, OR_MILLISECONDS, 50.0] {
        let is_default = or_milliseconds == OR_MILLISECONDS;
        // In short only what is promised.
        if !is_default && runs < 1_000 {
            continue;
        }
        let metrics = vec![json!({"name": "latency", "or_milliseconds": or_milliseconds})];
        let config = configuration_of(&PLAIN, metrics);
        let healthy = World { late: COLD_CONNECTIONS, requests: 20, ..PLAIN };
        let rolled_back =
            parallel::runs(runs, 400, |rng| envoy::run(&healthy, &config, rng).rolled_back.is_some());
        let rollbacks = rolled_back.into_iter().filter(|is| *is).count() as f64;
        let found = SLOWER.map(|by| {
            let world = World { late: Late::Candidate(1.0, by * SECOND / 1_000), ..PLAIN };
            let requests = parallel::runs(effort.runs_by_request, 401, |rng| {
                envoy::run(&world, &config, rng).requests(0)
            });
            let requests: Vec<f64> = requests.into_iter().flatten().collect();
            quantile(&requests, 0.5)
        });
        let kept = !is_default || rollbacks <= most(runs, ALPHA, 3.0) && found[1].is_finite();
        let shares = format!("{:>5}  {:>6.2} %", whole(rollbacks), 100.0 * rollbacks / runs as f64);
        println!(
            "  {or_milliseconds:>15} │ {shares:>15} │ {:>5} │ {:>5} │ {:>5}   {}",
            whole(found[0]),
            whole(found[1]),
            whole(found[2]),
            mark(kept)
        );
        all &= kept;
    }
    println!();
    all
}
