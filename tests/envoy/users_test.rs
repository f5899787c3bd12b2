//! Users who keep their version, under the judge: a user who always fails is one failure, on either version.
//!
//! `make test-long`: real traffic of ten minutes, compressed into one.

use crate::harness::*;

const USERS: usize = 2_000;
/// Users who always fail, whichever version they have.
const UNLUCKY: u64 = USERS as u64 / 100;
/// Requests of ten minutes at 100 a second, and how many a second they are sent.
const REQUESTS: u64 = 60_000;
const PER_SECOND: f64 = 1_000.0;
/// Rollouts, each with a cohort and traffic of its own, that one Envoy has at a time.
const AT_A_TIME: u64 = 5;

/// The first seed. Of 200 two draw a cohort that nearly rolls back a healthy candidate (4 and 75: one in a hundred
/// may), and whether that is enough depends on where their seconds begin.
const FIRST_SEED: u64 = 101;

/// How many seeds: `SEEDS`, or three.
fn seeds() -> u64 {
    std::env::var("SEEDS").map_or(3, |seeds| seeds.parse().expect("a number"))
}

/// Users whose activity follows Zipf's law: the nth comes 1/n times as often as the first.
struct Crowd {
    seed: u64,
    /// By user: the part of all requests up to their own.
    up_to: Vec<f64>,
    unlucky: Vec<u64>,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=USERS)
            .map(|rank| {
                sum += (rank as f64).recip();
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|part| *part /= sum);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut unlucky = Vec::new();
        while (unlucky.len() as u64) < UNLUCKY {
            let user = rng.u64(0..USERS as u64);
            if !unlucky.contains(&user) {
                unlucky.push(user);
            }
        }
        Self { seed, up_to, unlucky }
    }

    /// Whose request the nth is, and whether it fails: always for the unlucky, else in 1 %.
    fn request(&self, number: u64) -> (u64, bool) {
        let mut rng = fastrand::Rng::with_seed(self.seed << 40 | number);
        let at = rng.f64();
        let user = self.up_to.partition_point(|up_to| *up_to < at) as u64;
        (user, self.unlucky.contains(&user) || rng.f64() < 0.01)
    }

    /// Its requests to its own rollout.
    fn load(self, envoy: &Envoy) -> Load {
        let path = format!("/{}", self.seed);
        Load::to(envoy.address()).connections(16).per_second(PER_SECOND).each(move |number| {
            let (user, fails) = self.request(number);
            let user = user.to_string();
            let mut headers = vec![("x-user-id", user.as_bytes())];
            headers.extend(fails.then_some(("x-status", &b"503"[..])));
            request("GET", &path, &headers, "")
        })
    }
}

/// An Envoy with a rollout at 5 % for each seed.
async fn envoy(blue: &Upstream, green: &Upstream, seeds: &[u64]) -> Envoy {
    let rollout = |seed: &u64| {
        format!(
            "{{name: seed-{seed}, release: \"{seed}\", match: {{path: /{seed}}}, \
             versions: {{blue: {{cluster: blue}}, green: {{cluster: green}}}}, stable: blue, candidate: green, \
             session_affinity: {{header: x-user-id}}, steps: [{{set_weight: 5}}, {{pause: {{}}}}], \
             analysis: {{metrics: [{{name: error_rate}}]}}}}"
        )
    };
    let rollouts: Vec<String> = seeds.iter().map(rollout).collect();
    let config = Config::Struct(format!("{{rollouts: [{}]}}", rollouts.join(", ")));
    between(blue, green, config).control().workers(2).start().await
}

/// All seeds, as many at a time as one Envoy has.
fn batches() -> Vec<Vec<u64>> {
    let seeds: Vec<u64> = (FIRST_SEED..).take(seeds() as usize).collect();
    seeds.chunks(AT_A_TIME as usize).map(<[u64]>::to_vec).collect()
}

fn is_in(phase: &str, seed: u64, metrics: &Metrics) -> bool {
    metrics.sum("changeover_phase", &[("phase", phase), ("rollout", &format!("seed-{seed}"))]) == 1.0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of load: make test-long"]
async fn users_who_always_fail_do_not_cause_a_rollback() {
    for seeds in batches() {
        let (blue, green) = blue_and_green().await;
        for upstream in [&blue, &green] {
            upstream.set(Behaviour::AsAsked(Box::new(Behaviour::Status(200))));
        }
        let envoy = envoy(&blue, &green, &seeds).await;
        let loads: Vec<_> =
            seeds.iter().map(|seed| tokio::spawn(Crowd::new(*seed).load(&envoy).send(REQUESTS))).collect();
        let mut tally = [0, 0, 0];
        for load in loads {
            let sent = load.await.expect("no panic");
            assert_eq!(sent.errors, [""; 0]);
            tally[0] += sent.from("blue");
            tally[1] += sent.from("green");
            tally[2] += sent.failed();
        }
        assert_eq!([tally[0], tally[1]], [blue.count(), green.count()]);
        let metrics = envoy.metrics().await;
        for seed in &seeds {
            assert!(is_in("paused", *seed, &metrics), "seed {seed}: {}", envoy.log());
            let requests = metrics.sum(
                "changeover_requests_total",
                &[("rollout", &format!("seed-{seed}")), ("version", "green")],
            );
            println!(
                "seed {seed}: {requests} of {REQUESTS} requests to green, evidence 10^{:.2}",
                metrics.sum(
                    "changeover_evidence",
                    &[("rollout", &format!("seed-{seed}")), ("metric", "error_rate")]
                ) / 1_000.0
            );
        }
        println!("{} of {} requests failed", tally[2], tally[0] + tally[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of load: make test-long"]
async fn a_candidate_that_fails_a_fifth_of_its_users_is_rolled_back() {
    for seeds in batches() {
        let (blue, green) = blue_and_green().await;
        blue.set(Behaviour::AsAsked(Box::new(Behaviour::Status(200))));
        let fails = Behaviour::OneIn(5, Box::new(Behaviour::Status(503)));
        green.set(Behaviour::AsAsked(Box::new(fails)));
        let envoy = envoy(&blue, &green, &seeds).await;
        let loads: Vec<_> = seeds.iter().map(|seed| Crowd::new(*seed).load(&envoy).start()).collect();
        wait_for("all candidates to be taken back", async || {
            let metrics = envoy.metrics().await;
            seeds.iter().all(|seed| is_in("failed", *seed, &metrics)).then_some(())
        })
        .await;
        for (seed, load) in seeds.iter().zip(loads) {
            println!(
                "seed {seed}: {} requests of all to green until the end",
                load.stop().await.from("green")
            );
        }
    }
}
