//! A store each of whose answers takes longer than a period, or that hangs now and then.

use super::super::values::LeftOut;
use super::*;

/// A second in which a request to each side comes to each member that lives.
fn second(world: &mut World) {
    for nth in (0..3).filter(|nth| world.asleep[*nth] != u64::MAX).collect::<Vec<_>>() {
        world.pair(nth, false);
    }
    world.pass(SECOND);
}

/// Seconds that the store's record does not have yet.
fn behind(world: &World) -> u64 {
    (world.now / SECOND).saturating_sub(world.stored().unwrap().record.closed_through)
}

/// A member other than the leading one is killed with ticks that are not closed, while the store is slow so.
fn kill_one_while(slow: impl Fn(&mut World)) -> (World, usize) {
    let mut world = waiting_fleet(3);
    slow(&mut world);
    (0..20).for_each(|_| second(&mut world));
    let killed = (0..3).find(|nth| !world.leaders().contains(nth)).unwrap();
    world.asleep[killed] = u64::MAX;
    (world, killed)
}

/// Whether the leading member takes another one for silent.
fn is_silent(world: &World, nth: usize) -> bool {
    let leader = &world.envoys[world.leaders()[0]];
    let (view, life) = (leader.member.view(leader.clock(world.now)), world.envoys[nth].member.life());
    view.members.iter().any(|member| member.life == life && member.left_out == Some(LeftOut::Silent))
}

#[test]
fn ticks_are_closed_without_a_member_that_has_died_although_each_answer_takes_longer_than_a_period() {
    let judged = |world: &World| world.stored().unwrap().record.run.judge.step_requests();
    let (mut world, killed) = kill_one_while(|world| world.delay = 1_100 * MS);
    (0..10).for_each(|_| second(&mut world));
    assert!(is_silent(&world, killed));
    let before = judged(&world);
    for _ in 0..30 {
        second(&mut world);
        assert!(behind(&world) <= 16, "{}", behind(&world));
    }
    assert!(judged(&world) - before >= 50, "{}", judged(&world) - before);
    assert!((0..3).all(|nth| nth == killed || !is_silent(&world, nth)));
}

#[test]
fn ticks_are_closed_without_a_member_that_has_died_although_calls_hang_in_between() {
    let (mut world, _) = kill_one_while(|world| world.hangs = Some(3));
    (0..20).for_each(|_| second(&mut world));
    for _ in 0..30 {
        second(&mut world);
        assert!(behind(&world) <= 16, "{}", behind(&world));
    }
}
