//! Bytes of what is stored, as docs/fleet.md counts with them.

use super::*;

/// The longest value below a prefix.
fn longest(world: &World, prefix: &str) -> usize {
    let prefix = format!("/changeover/f/{prefix}");
    let values = world.store.values.iter().filter(|(key, _)| key.starts_with(&prefix));
    values.map(|(_, (value, _))| value.len()).max().unwrap_or_default()
}

/// A fleet that is judged for so many seconds, with 20 requests to each side in a second and Envoy; and the bytes of its
/// reports, on average.
fn judged(period: u64, members: usize, seconds: u64) -> (World, usize) {
    let rollout = json!({"steps": [{"set_weight": 50}, {"pause": {}}], "analysis": {}});
    let mut world = World::reporting(period, 1, members, &program(&rollout));
    world.pass(3 * period);
    let mut reports = Vec::new();
    for nth in 0..seconds * 20 {
        for member in 0..members {
            world.pair(member, nth % 40 == 0);
        }
        world.pass(SECOND / 20);
        reports.push(longest(&world, "m/"));
    }
    let settled = &reports[reports.len() / 2..];
    (world, settled.iter().sum::<usize>() / settled.len())
}

#[test]
fn a_report_a_record_and_a_member_in_the_lead_take_as_many_bytes_as_documented() {
    let ((small, report), (large, _)) = (judged(SECOND, 2, 60), judged(SECOND, 12, 10));
    let (_, rare) = judged(5 * SECOND, 2, 60);
    let record = longest(&small, "r/");
    let member = (longest(&large, "lead") - longest(&small, "lead")) / 10;
    assert!((200..350).contains(&report), "{report}");
    assert!((400..600).contains(&rare), "{rare}");
    assert!((2_000..3_000).contains(&record), "{record}");
    assert!((30..45).contains(&member), "{member}");
}
