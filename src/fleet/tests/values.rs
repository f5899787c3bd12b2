//! Values that are cut off, damaged, or of another form.

use super::*;

fn busy() -> Fleet {
    let mut fleet = Fleet::new(3, &configuration(&[("r", waiting())]));
    for _ in 0..3 {
        for side in Side::BOTH {
            (0..5).for_each(|_| fleet.request(1, side, false));
        }
        fleet.second();
    }
    fleet
}

#[test]
fn a_damaged_value_heals_and_stops_nothing() {
    let keys: Vec<String> = busy().shared.values().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        for damage in 0..4 {
            let mut fleet = busy();
            let value = fleet.shared.read(&key).unwrap().0;
            let damaged = match damage {
                0 => Vec::new(),
                1 => value[..value.len() / 2].to_vec(),
                2 => vec![0xff; 64],
                _ => value.iter().map(|byte| byte.wrapping_add(1)).collect(),
            };
            fleet.shared.swap(&key, &damaged, Version::ANY).unwrap();
            for _ in 0..25 {
                fleet.request(2, Side::Stable, false);
                fleet.second();
            }
            // A number in the future is accepted where it cannot be distinguished from a real one; anything else is replaced.
            let record = record(&fleet.shared, "r").unwrap_or_else(|| panic!("{key}, damage {damage}"));
            if damage < 3 {
                let share = Share::ALL.percent() / 2.0;
                assert!((0..3).all(|vm| fleet.share(vm).percent() == share), "{key}, damage {damage}");
                assert_eq!(record.run.phase, Phase::Paused, "{key}, damage {damage}");
                fleet.command(2, Command::Abort).unwrap();
                fleet.second();
                assert!((0..3).all(|vm| fleet.share(vm) == Share::NONE), "{key}, damage {damage}");
            }
        }
    }
}

#[test]
fn another_form_of_the_data_is_left_alone() {
    let mut fleet = Fleet::empty(2);
    let other = [("changeover.2.lead", b"old".as_slice()), ("changeover.4.record.r", b"new"), ("lead", b"x")];
    for (key, value) in other {
        fleet.shared.swap(key, value, Version::ANY).unwrap();
    }
    let config = configuration(&[("r", waiting())]);
    (0..2).for_each(|vm| fleet.load(vm, &config));
    (0..3).for_each(|_| drop(fleet.second()));
    assert_eq!(fleet.phase(), Phase::Paused);
    for (key, value) in other {
        assert_eq!(fleet.shared.read(key).unwrap().0, value);
    }
    let own = shared::key("");
    let foreign = |key: &&str| !key.starts_with(&own) && !other.iter().any(|(other, _)| other == key);
    assert_eq!(fleet.shared.values().map(|(key, _)| key).find(foreign), None);
}
