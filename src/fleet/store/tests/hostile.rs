//! Everything that may happen, in any order: what must hold whatever happens, and what must hold in the end.

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;

use super::super::rules::{self, Rule};
use super::super::simulated::Request;
use super::super::values::Standing;
use super::*;
use crate::analysis::kernel::ratio::Table;
use crate::fleet::shared::FORM;
use crate::model::Assignment;
use crate::telemetry::breaker::Trip;

/// Seeds, five of each kind; `SEEDS` for more: `make test-judge` runs 2,000.
const SEEDS: u64 = 40;
const MEMBERS: usize = 4;
/// Users where users are judged.
const USERS: u64 = 150;
/// What the candidate's answers take where there are outages.
const LATE: u64 = 1_300 * MS;

/// What a seed has happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// Only what loses no counts: all of them have to be judged.
    NothingIsLost,
    /// Everything.
    Everything,
}

/// What a seed runs.
#[derive(Clone, Copy, Debug)]
struct Kind {
    happens: Happens,
    /// Whether the rollout has one step, so that what the step has judged is what the attempt has.
    has_one_step: bool,
    has_users: bool,
    /// Whether the candidate answers late, and both versions have outages together. It is healthy.
    has_outages: bool,
}

impl Kind {
    fn of(seed: u64) -> Self {
        let happens = if seed % 8 < 3 { Happens::NothingIsLost } else { Happens::Everything };
        Self {
            happens,
            has_one_step: seed % 8 < 5,
            has_users: matches!(seed % 8, 1 | 3 | 5),
            has_outages: seed % 8 == 2,
        }
    }

    fn program(self) -> Program {
        let steps = if self.has_one_step {
            json!([{"set_weight": 50}, {"pause": {}}])
        } else {
            json!([
                {"set_weight": 10}, {"pause": {"duration": "6s"}}, {"set_weight": 30}, {"pause": {"duration": "6s"}},
                {"set_weight": 60}, {"pause": {}},
            ])
        };
        let mut fields = json!({"steps": steps, "analysis": {"metrics": [{"name": "error_rate"}]}});
        if self.has_users {
            fields["session_affinity"] = json!({"header": "x-user-id"});
        }
        program(&fields)
    }
}

/// What is followed all along.
struct Watched {
    seed: u64,
    kind: Kind,
    /// By member: the last attempt whose candidate it has seen taken back.
    taken_back: Vec<u32>,
    /// By member: the attempt and its share when it was last looked at, or when it was last given a command.
    before: Vec<(u32, u16)>,
    /// By member: the attempt that was last taken back there, if it has not been killed since.
    promises: Vec<Option<u32>>,
    /// Candidate's requests, or its users, by attempt.
    requests: BTreeMap<u32, u64>,
    users: BTreeMap<u32, BTreeSet<u64>>,
    /// The greatest share that a record of the store has had, by attempt.
    stored: BTreeMap<u32, u16>,
    /// The store's record when it was last looked at.
    found: Vec<u8>,
    /// The shares that the store's record has had within ten seconds: one that slept reads what was there before.
    lately: VecDeque<u16>,
    /// By member: the attempt and the share that a command has given it there.
    given: Vec<(u32, u16)>,
    /// What another version of this software has written, and what stood there before.
    foreign: Option<(Vec<u8>, Vec<u8>)>,
    /// Requests that are answered late: when, by which member, and whether they fail.
    under_way: Vec<(u64, usize, bool, Request)>,
}

impl Watched {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            kind: Kind::of(seed),
            taken_back: vec![0; MEMBERS],
            before: vec![(0, 0); MEMBERS],
            promises: vec![None; MEMBERS],
            requests: BTreeMap::new(),
            users: BTreeMap::new(),
            stored: BTreeMap::new(),
            found: Vec::new(),
            lately: VecDeque::new(),
            given: vec![(0, 0); MEMBERS],
            foreign: None,
            under_way: Vec::new(),
        }
    }

    /// What the candidate was sent in an attempt, in requests or in users.
    fn sent(&self, attempt: u32) -> u64 {
        if self.kind.has_users {
            self.users.get(&attempt).map_or(0, |users| users.len() as u64)
        } else {
            self.requests.get(&attempt).copied().unwrap_or(0)
        }
    }
}

/// The key of the rollout's record, and what stands there.
fn record_in(world: &World) -> Option<(&String, &(Vec<u8>, u64))> {
    world.store.values.iter().find(|(key, _)| key.contains("/r/"))
}

fn standing_in(world: &World) -> Option<Standing> {
    match Stored::decode(&record_in(world)?.1.0) {
        Read::Whole(stored) => Some(stored.standing()),
        Read::Foreign(standing) => Some(standing),
        Read::Unreadable => None,
    }
}

/// The candidate's share in a record.
fn share_of(standing: &Standing) -> u16 {
    standing.weights.get("green").copied().unwrap_or_default().basis_points()
}

fn put(world: &mut World, key: String, value: Vec<u8>) {
    world.store.revision += 1;
    let revision = world.store.revision;
    world.store.values.insert(key, (value, revision));
}

/// A fleet that everything happens to.
fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut watched = Watched::new(seed);
    let mut world = World::new(seed, MEMBERS, &watched.kind.program());
    world.step = 100 * MS;
    let mut backup = world.store.clone();
    let is_gentle = watched.kind.happens == Happens::NothingIsLost;
    let failing = rng.u8(..4) == 0 && !is_gentle;
    let trouble = [Trouble::Sleep, Trouble::Cut, Trouble::Away, Trouble::Lost][rng.usize(..4)];
    if is_gentle {
        if trouble != Trouble::Away {
            // A clock that jumps back later would count under ticks that were judged. What a report takes on its way adds to what
            // it is ahead, and both together are within what is tolerated.
            (0..MEMBERS).for_each(|nth| world.envoys[nth].ahead = rng.i64(-700..700) * 1_000_000);
        }
        // One that has counted nothing is not waited for, and what it then counts may come too late.
        for _ in 0..40 {
            let now = world.now;
            world.envoys.iter_mut().for_each(|envoy| envoy.request("r", Side::Stable, None, false, now));
            pass(&mut world, &mut watched, 2);
        }
    } else {
        pass(&mut world, &mut watched, rng.u32(..30));
    }
    for _ in 0..60 {
        if is_gentle {
            happen_gently(&mut world, &mut rng, trouble);
        } else {
            happen(&mut world, &mut rng, &mut backup, &mut watched);
        }
        for nth in 0..MEMBERS {
            let comes = is_gentle || rng.u8(..3) == 0;
            if comes && world.asleep[nth] <= world.now {
                request(&mut world, &mut rng, &mut watched, nth, failing);
            }
        }
        pass(&mut world, &mut watched, 2);
    }
    heal(&mut world, &mut rng, &mut watched);
    // Everything has ended, and has been judged after the deadline at the latest.
    pass(&mut world, &mut watched, 120);
    judge(&mut world, &mut watched, trouble);
}

/// So many steps pass, and after each everything is looked at.
fn pass(world: &mut World, watched: &mut Watched, steps: u32) {
    for _ in 0..steps {
        world.pass(world.step);
        answer(world, watched);
        look(world, watched);
    }
}

/// Members that are awake pass on the answers that have come.
fn answer(world: &mut World, watched: &mut Watched) {
    let (now, asleep) = (world.now, &world.asleep);
    let has_come = |(at, nth, ..): &mut (u64, usize, bool, Request)| *at <= now && asleep[*nth] <= now;
    for (_, nth, fails, request) in watched.under_way.extract_if(.., has_come) {
        world.envoys[nth].end(request, fails, now);
    }
}

fn request(world: &mut World, rng: &mut Rng, watched: &mut Watched, nth: usize, failing: bool) {
    let (share, attempt) = (world.share(nth).basis_points(), world.envoys[nth].routed["r"].attempt);
    let user = watched.kind.has_users.then(|| rng.u64(..USERS));
    // A user keeps their version for as long as its share does not shrink.
    let drawn = user.map_or_else(|| rng.u16(..10_000), |user| Rng::with_seed(user).u16(..10_000));
    let candidate = share > drawn;
    let side = if candidate { Side::Candidate } else { Side::Stable };
    let (now, hash) = (world.now, user.map(|user| UserHash(Rng::with_seed(user).u64(..))));
    let envoy = &mut world.envoys[nth];
    if watched.kind.has_outages {
        // Of what arrives in a tick all fail or none, so both versions fail alike.
        let fails = envoy.clock(now).tick() % 6 < 3;
        let at = if candidate { now + LATE } else { now };
        let request = envoy.arrive("r", side, hash, now);
        watched.under_way.extend(request.map(|request| (at, nth, fails, request)));
    } else {
        envoy.request("r", side, hash, candidate && failing, now);
    }
    if candidate {
        *watched.requests.entry(attempt).or_default() += 1;
        watched.users.entry(attempt).or_default().extend(user);
    }
}

/// What may happen without a count being lost: members sleep or are cut off for less time than others wait for them, the store
/// is away for any time, answers are lost. Several of these together may make a member silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Sleep,
    Cut,
    Away,
    Lost,
}

fn happen_gently(world: &mut World, rng: &mut Rng, trouble: Trouble) {
    let (nth, now) = (rng.usize(..MEMBERS), world.now);
    // The one before is over for long enough that all have reported since.
    let last = world.asleep.iter().chain(&world.cut).copied().max().unwrap_or(0).max(world.away);
    if last + 4 * SECOND > now && world.loses.is_none() {
        return;
    }
    match (trouble, rng.u8(..20)) {
        (Trouble::Sleep, 0) => world.asleep[nth] = now + rng.u64(..15) * 100 * MS,
        (Trouble::Cut, 0) => world.cut[nth] = now + rng.u64(..15) * 100 * MS,
        (Trouble::Away, 0) if rng.bool() => world.away = now + rng.u64(1..25) * TICK,
        (Trouble::Lost, 0) => world.loses = Some(rng.u64(4..9)),
        (Trouble::Lost, 1..4) => world.loses = None,
        _ => {}
    }
}

fn happen(world: &mut World, rng: &mut Rng, backup: &mut Memory, watched: &mut Watched) {
    let nth = rng.usize(..MEMBERS);
    let now = world.now;
    match rng.u8(..104) {
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
        // What another version has written is in no backup: a member that has read nothing else knows nothing else.
        22..24 if watched.foreign.is_none() => *backup = world.store.clone(),
        24 if watched.foreign.is_none() => world.store = backup.clone(),
        25 if watched.foreign.is_none() => {
            // Histories that share their numbers.
            world.store = backup.clone();
            world.store.revision += rng.u64(..60);
        }
        26 | 100 => garble(world, rng, watched),
        27 => world.store.is_full = !world.store.is_full,
        28..32 => command(world, watched, nth, Command::Abort),
        32..34 => command(world, watched, nth, Command::Retry),
        34..36 => command(world, watched, nth, Command::Promote { full: rng.bool() }),
        36 => command(world, watched, nth, Command::Pause),
        37 => command(world, watched, nth, Command::Resume),
        38 => {
            let trip = Trip { assignment: Assignment::default(), seen: Table::of((5, 5), (0, 5)) };
            command(world, watched, nth, Command::Trip(trip));
        }
        101 => upgrade(world, rng, watched),
        102..104 => downgrade(world, watched),
        _ => {}
    }
}

/// Gives a member a command, unless Envoys would refuse it. What it gives is not a rise on evidence.
fn command(world: &mut World, watched: &mut Watched, nth: usize, command: Command) {
    let envoy = &world.envoys[nth];
    let is_away = envoy.member.is_away(envoy.clock(world.now));
    let takes_back = envoy.member.record("r").is_none_or(|record| {
        let given = record.run.given(&record.program);
        command.gives_no_more(given)
    });
    if (is_away && !takes_back) || (watched.foreign.is_some() && command != Command::Abort) {
        return;
    }
    let was = world.share(nth).basis_points();
    let is_made = world.command(nth, command.clone()).is_ok();
    let routed = &world.envoys[nth].routed["r"];
    let is = routed.share.basis_points();
    assert!(is <= was || (is_made && !takes_back), "seed {}: {command:?} gives more", watched.seed);
    if routed.attempt >= watched.before[nth].0 {
        watched.before[nth] = (routed.attempt, is);
    }
    if is > was {
        watched.given[nth] = (routed.attempt, is);
    }
}

fn garble(world: &mut World, rng: &mut Rng, watched: &Watched) {
    let is_record = |key: &str| key.contains("/r/");
    let keys: Vec<String> = world
        .store
        .values
        .keys()
        .filter(|key| watched.foreign.is_none() || !is_record(key))
        .cloned()
        .collect();
    // As often a record as anything else.
    let wanted = rng.bool();
    let keys: Vec<String> = keys.into_iter().filter(|key| is_record(key) == wanted).collect();
    let Some(key) = rng.choice(&keys) else { return };
    // What begins otherwise is another version's.
    let bytes = (0..rng.usize(..40)).map(|_| rng.u8(2..)).collect();
    put(world, key.clone(), bytes);
}

/// Another version of this software goes on with the record, and gives the candidate no more.
fn upgrade(world: &mut World, rng: &mut Rng, watched: &mut Watched) {
    let Some((key, (before, _))) = record_in(world) else { return };
    let (key, before) = (key.clone(), before.clone());
    let Read::Whole(stored) = Stored::decode(&before) else { return };
    let mut standing = stored.standing();
    // It does not know what it has not read: no member has a retry or an abort that is not stored.
    let knows_more = |envoy: &Envoy| envoy.routed["r"].attempt > standing.attempt;
    let has_taken_back = watched.taken_back.iter().any(|attempt| *attempt >= standing.attempt);
    if world.envoys.iter().any(knows_more) || (has_taken_back && !standing.is_taken_back) {
        return;
    }
    standing.revision += 1;
    standing.weights.values_mut().for_each(|share| *share = Share::new(rng.u16(..=share.basis_points())));
    let written = postcard::to_allocvec(&(1_u8, standing, FORM + 1, [1_u8, 2, 3])).unwrap();
    put(world, key, written.clone());
    watched.foreign = Some((written, before));
}

/// The other version is gone, and has left what stood there before it came.
fn downgrade(world: &mut World, watched: &mut Watched) {
    if let Some((_, before)) = watched.foreign.take() {
        let key = record_in(world).expect("its record").0.clone();
        put(world, key, before);
    }
}

fn forget(watched: &mut Watched, nth: usize) {
    watched.taken_back[nth] = 0;
    (watched.before[nth], watched.given[nth]) = ((0, 0), (0, 0));
    watched.promises[nth] = None;
}

/// What must hold at any time.
fn look(world: &World, watched: &mut Watched) {
    let seed = watched.seed;
    let record = record_in(world);
    if let Some((written, _)) = &watched.foreign {
        let found = record.map(|(_, (value, _))| value);
        assert_eq!(found, Some(written), "seed {seed}: another version's record was overwritten");
    }
    let found = record.map(|(_, (value, _))| value);
    if found != Some(&watched.found) || watched.lately.is_empty() {
        watched.found = found.cloned().unwrap_or_default();
        let standing = standing_in(world);
        watched.lately.push_front(standing.as_ref().map_or(0, share_of));
        if let Some(standing) = standing {
            let most = watched.stored.entry(standing.attempt).or_default();
            *most = share_of(&standing).max(*most);
        }
    } else {
        watched.lately.push_front(watched.lately[0]);
    }
    watched.lately.truncate(100);
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
            assert_eq!(share, 0, "seed {seed}: member {nth} gives traffic to what is taken back");
            watched.taken_back[nth] = watched.taken_back[nth].max(routed.attempt);
            watched.promises[nth] = watched.promises[nth].max(Some(routed.attempt));
        }
        let (attempt, before) = watched.before[nth];
        assert!(
            routed.attempt >= attempt,
            "seed {seed}: member {nth} goes back to attempt {}",
            routed.attempt
        );
        // A command that is not stored yet is made again in what is.
        let is_given = watched.given[nth] == (routed.attempt, share);
        if (share > before || routed.attempt > attempt) && !is_given {
            let stored = watched.stored.get(&routed.attempt).copied().unwrap_or(0);
            assert!(
                share <= stored,
                "seed {seed}: member {nth} rises from {before} to {share} without a record: {stored}"
            );
        }
        // One whose reports are not taken is away, although it reads what others write.
        let is_away = envoy.member.is_away(envoy.clock(world.now)) && !watched.lately.contains(&share);
        assert!(
            !is_away || routed.attempt > attempt || share <= before || is_given,
            "seed {seed}: member {nth} rises from {before} to {share} without the store"
        );
        watched.before[nth] = (routed.attempt, share);
    }
}

fn heal(world: &mut World, rng: &mut Rng, watched: &mut Watched) {
    let now = world.now;
    (world.away, world.loses, world.store.is_full) = (0, None, false);
    for nth in 0..MEMBERS {
        world.asleep[nth] = world.asleep[nth].min(now);
        world.cut[nth] = 0;
        if watched.kind.happens == Happens::Everything {
            world.envoys[nth].ahead = 0;
        }
    }
    if rng.bool() {
        downgrade(world, watched);
    }
}

/// What must hold in the end.
fn judge(world: &mut World, watched: &mut Watched, trouble: Trouble) {
    let seed = watched.seed;
    assert_eq!(world.leaders().len(), 1, "seed {seed}: leaders");
    if let Some(standing) = standing_in(world).filter(|_| watched.foreign.is_some()) {
        for (nth, envoy) in world.envoys.iter().enumerate() {
            let is_kept = watched.promises[nth].is_some_and(|attempt| attempt >= standing.attempt);
            let share = if is_kept { 0 } else { share_of(&standing) };
            let routed = envoy.routed["r"].share.basis_points();
            assert_eq!(routed, share, "seed {seed}: member {nth} beside another version");
        }
        return;
    }
    if standing_in(world).is_none() {
        // No member has a readable record: stable serves until a person deletes it.
        for (nth, envoy) in world.envoys.iter().enumerate() {
            let view = envoy.member.view(envoy.clock(world.now));
            assert!(envoy.member.record("r").is_none(), "seed {seed}: member {nth} knows better");
            assert_eq!(view.unreadable, ["r"], "seed {seed}: member {nth}");
            assert_eq!(envoy.routed["r"].share, Share::NONE, "seed {seed}: member {nth}");
        }
        let key = record_in(world).expect("garbage").0.clone();
        world.store.revision += 1;
        world.store.values.remove(&key);
        pass(world, watched, 150);
    }
    let stored = world.stored().unwrap_or_else(|| panic!("seed {seed}: there is a record"));
    let run = &stored.record.run;
    for (nth, envoy) in world.envoys.iter().enumerate() {
        let record = envoy.member.record("r").unwrap_or_else(|| panic!("seed {seed}: member {nth}"));
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
    let is_healthy = watched.kind.has_outages;
    assert!(
        !is_healthy || !stored.record.is_taken_back(),
        "seed {seed}: a healthy candidate was rolled back"
    );
    let (judged, sent) = (run.judge.step_requests(), watched.sent(run.attempt));
    assert!(judged <= sent, "seed {seed}: {judged} of {sent} were judged");
    if watched.kind.happens == Happens::NothingIsLost {
        assert!(sent > 10, "seed {seed}: {sent} are too few to show anything");
        assert_eq!(judged, sent, "seed {seed}: all are judged, and each once; trouble: {trouble:?}");
    }
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

/// Runs seeds without a rule. One of them has to break a promise: `likely`, unless the simulation has changed.
fn without(rule: Rule, likely: u64) {
    rules::take_out(rule);
    (likely..200).chain(0..likely).for_each(run);
}

#[test]
#[should_panic(expected = "another version's record was overwritten")]
fn without_leaving_another_versions_record_alone_it_is_overwritten() {
    without(Rule::ForeignStays, 5);
}

#[test]
#[should_panic(expected = "a healthy candidate was rolled back")]
fn without_ticks_of_arrival_a_healthy_candidate_that_is_slower_is_rolled_back() {
    without(Rule::Arrival, 18);
}

#[test]
#[should_panic(expected = "taken back")]
fn without_the_order_of_records_a_promise_is_broken() {
    without(Rule::Order, 22);
}

#[test]
#[should_panic(expected = "were judged")]
fn without_sums_and_their_last_tick_as_one_value_requests_are_judged_twice() {
    without(Rule::OneValue, 159);
}

#[test]
#[should_panic(expected = "were judged")]
fn without_the_fleets_users_a_user_counts_twice() {
    without(Rule::UsersOnce, 1);
}

#[test]
#[should_panic(expected = "to a candidate that was taken back")]
fn without_a_candidate_that_stays_taken_back_it_gets_traffic_again() {
    without(Rule::TakenBackStays, 22);
}

#[test]
#[should_panic(expected = "without a record")]
fn without_waiting_for_the_store_a_member_on_its_own_moves_up() {
    without(Rule::NothingMovesUpAlone, 30);
}

#[test]
#[should_panic(expected = "without a record")]
fn without_the_stores_answer_a_rollout_begins_anywhere() {
    without(Rule::BeginsWhenTold, 0);
}
