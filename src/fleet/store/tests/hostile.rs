//! Everything that may happen, in any order: what must hold whatever happens, and what must hold in the end.

use fastrand::Rng;

use super::*;

/// Seeds where the compiler does not optimise; `SEEDS` for more: `make test-judge` runs 20,000.
const SEEDS: u64 = 400;
const MEMBERS: usize = 4;

/// What is followed all along.
#[derive(Default)]
struct Watched {
    /// By member: the last attempt whose candidate it has seen taken back.
    taken_back: Vec<u32>,
    /// By member: its share, and the position of its step, in which attempt.
    before: Vec<(u32, u16, usize)>,
    /// Requests that the candidate got, by attempt.
    requests: BTreeMap<u32, u64>,
    /// The highest attempt that was taken back and stored, or that is held by a member that has not been killed since.
    promises: Vec<Option<u32>>,
    /// Whether stored records may have been lost, and every copy of them.
    restored: bool,
}

fn steps() -> Program {
    program(&json!({
        "steps": [
            {"set_weight": 10}, {"pause": {"duration": "6s"}}, {"set_weight": 30}, {"pause": {"duration": "6s"}},
            {"set_weight": 60}, {"pause": {}},
        ],
        "analysis": {"metrics": [{"name": "error_rate"}]},
    }))
}

/// A fleet that everything happens to.
fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(seed, MEMBERS, &steps());
    world.step = 100 * MS;
    let mut backup = world.store.clone();
    let mut watched = Watched {
        taken_back: vec![0; MEMBERS],
        before: vec![(0, 0, 0); MEMBERS],
        promises: vec![None; MEMBERS],
        ..Watched::default()
    };
    let failing = rng.u8(..4) == 0;
    world.pass(rng.u64(..3) * TICK);
    for _ in 0..60 {
        happen(&mut world, &mut rng, &mut backup, &mut watched);
        for nth in 0..MEMBERS {
            if rng.u8(..3) == 0 && world.asleep[nth] <= world.now {
                let candidate = world.share(nth).basis_points() > rng.u16(..10_000);
                let side = if candidate { Side::Candidate } else { Side::Stable };
                let now = world.now;
                world.envoys[nth].request("r", side, None, candidate && failing, now);
                if candidate {
                    *watched.requests.entry(world.envoys[nth].routed["r"].attempt).or_default() += 1;
                }
            }
        }
        world.pass(200 * MS);
        look(&world, &mut watched, seed);
    }
    heal(&mut world);
    for _ in 0..60 {
        world.pass(200 * MS);
        look(&world, &mut watched, seed);
    }
    judge(&world, &watched, seed);
}

fn happen(world: &mut World, rng: &mut Rng, backup: &mut Memory, watched: &mut Watched) {
    let nth = rng.usize(..MEMBERS);
    let now = world.now;
    match rng.u8(..100) {
        0..4 => {
            world.restart(nth);
            forget(watched, nth);
        }
        4..8 => world.asleep[nth] = now + rng.u64(..9) * TICK,
        8..12 => world.cut[nth] = now + rng.u64(..9) * TICK,
        12..14 => world.away = now + rng.u64(..9) * TICK,
        14..16 => world.loses = Some(rng.u64(2..9)),
        16..18 => world.loses = None,
        18..20 => world.envoys[nth].ahead = rng.i64(-40..41) * 1_000_000_000,
        20..22 => world.envoys[nth].ahead = rng.i64(-2_000..2_000) * 1_000_000,
        22..24 => *backup = world.store.clone(),
        24 => {
            world.store = backup.clone();
            watched.restored = true;
        }
        25 => {
            // Histories that share their numbers.
            world.store = backup.clone();
            world.store.revision += rng.u64(..60);
            watched.restored = true;
        }
        26 => garble(world, rng),
        27 => world.store.is_full = !world.store.is_full,
        28..32 => drop(world.command(nth, Command::Abort)),
        32..34 => drop(world.command(nth, Command::Retry)),
        34..36 => drop(world.command(nth, Command::Promote { full: rng.bool() })),
        36 => drop(world.command(nth, Command::Pause)),
        37 => drop(world.command(nth, Command::Resume)),
        _ => {}
    }
}

fn garble(world: &mut World, rng: &mut Rng) {
    let keys: Vec<String> = world.store.values.keys().filter(|key| !key.contains("/r/")).cloned().collect();
    let Some(key) = rng.choice(&keys) else { return };
    world.store.revision += 1;
    // What begins otherwise is another version's.
    let bytes = (0..rng.usize(..40)).map(|_| rng.u8(2..)).collect();
    world.store.values.insert(key.clone(), (bytes, world.store.revision));
}

fn forget(watched: &mut Watched, nth: usize) {
    watched.taken_back[nth] = 0;
    watched.before[nth] = (0, 0, 0);
    watched.promises[nth] = None;
}

/// What must hold at any time.
fn look(world: &World, watched: &mut Watched, seed: u64) {
    for (nth, envoy) in world.envoys.iter().enumerate() {
        let routed = &envoy.routed["r"];
        let share = routed.share.basis_points();
        if routed.attempt <= watched.taken_back[nth] {
            assert_eq!(
                share, 0,
                "seed {seed}: member {nth} gives traffic to a candidate that was taken back"
            );
        }
        if routed.is_taken_back {
            assert_eq!(share, 0, "seed {seed}");
            watched.taken_back[nth] = watched.taken_back[nth].max(routed.attempt);
            watched.promises[nth] = watched.promises[nth].max(Some(routed.attempt));
        }
        let (attempt, before, _) = watched.before[nth];
        assert!(
            routed.attempt >= attempt,
            "seed {seed}: member {nth} goes back to attempt {}",
            routed.attempt
        );
        let is_cut_off = envoy.member.is_away(envoy.clock(world.now)) && routed.attempt == attempt;
        // Commands of the moment raise it; in this test they may while the store is away.
        let by_command = routed.position > watched.before[nth].2;
        assert!(
            !is_cut_off || share <= before || by_command,
            "seed {seed}: member {nth} rises from {before} to {share}"
        );
        watched.before[nth] = (routed.attempt, share, routed.position);
    }
}

fn heal(world: &mut World) {
    let now = world.now;
    (world.away, world.loses, world.store.is_full) = (0, None, false);
    for nth in 0..MEMBERS {
        world.asleep[nth] = world.asleep[nth].min(now);
        world.cut[nth] = 0;
        world.envoys[nth].ahead = 0;
    }
}

/// What must hold in the end.
fn judge(world: &World, watched: &Watched, seed: u64) {
    assert_eq!(world.leaders().len(), 1, "seed {seed}: leaders");
    let stored = world.stored().unwrap_or_else(|| panic!("seed {seed}: there is a record"));
    for (nth, envoy) in world.envoys.iter().enumerate() {
        let record = envoy.member.record("r").unwrap_or_else(|| panic!("seed {seed}: member {nth}"));
        let run = &stored.record.run;
        assert_eq!(
            (record.run.attempt, record.run.revision),
            (run.attempt, run.revision),
            "seed {seed}: {nth}"
        );
        let head = stored.record.head("r");
        let share = head.weights.get("green").copied().unwrap_or_default();
        assert_eq!(envoy.routed["r"].share, share, "seed {seed}: member {nth}");
        let promised = watched.promises[nth];
        let is_kept = promised.is_none_or(|attempt| run.attempt > attempt || stored.record.is_taken_back());
        assert!(is_kept, "seed {seed}: what member {nth} knew to be taken back is not");
    }
    let judged = stored.record.run.judge.step_requests();
    let sent = watched.requests.get(&stored.record.run.attempt).copied().unwrap_or(0);
    assert!(judged <= sent, "seed {seed}: {judged} of {sent} requests were judged");
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let first = std::env::var("FIRST").map_or(0, |first| first.parse().unwrap());
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (first..first + seeds).filter(|seed| seed % threads == thread).for_each(run));
        }
    });
}
