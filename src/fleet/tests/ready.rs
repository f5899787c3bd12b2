//! Who asks a candidate whether it is ready, and what becomes of the answers.

use super::*;
use crate::fleet::effect::Question;
use crate::rollout::ready::{Answer, Said};

fn waits_for_ready() -> Value {
    json!({"steps": [{"ready": {"path": "/ready"}}, {"set_weight": 50}, {"pause": {}}]})
}

fn questions(effects: &[Effect]) -> Vec<Question> {
    let question = |effect: &Effect| match effect {
        Effect::Ask(question) => Some(question.clone()),
        _ => None,
    };
    effects.iter().filter_map(question).collect()
}

impl Fleet {
    /// A second in which a VM answers what it has asked with this status. Returns how many questions there were.
    fn answered(&mut self, status: u64) -> usize {
        self.second_of_all(|_, question| Some(Answer { asked: question.asked, said: Said::Status(status) }))
    }

    /// The same, with an answer for each VM and question; `None`: it comes no more.
    fn second_of_all(&mut self, answer: impl Fn(usize, &Question) -> Option<Answer>) -> usize {
        let (begins, mut asked) = ((self.now / TICK + 1) * TICK, 0);
        for milliseconds in [10, 60, 100, 140, 200] {
            self.now = begins + milliseconds * 1_000_000;
            for vm in 0..self.vms.len() {
                let effects = self.vms[vm].tick(&mut self.shared, at(self.now));
                for question in questions(&effects) {
                    asked += 1;
                    if let Some(answer) = answer(vm, &question) {
                        self.vms[vm].member.hear(&question.rollout, answer);
                    }
                }
                self.perform(effects);
            }
            (0..self.vms.len()).for_each(|vm| self.deliver(vm));
        }
        asked
    }
}

#[test]
fn the_leader_asks_once_a_second_until_the_candidate_is_ready() {
    let mut fleet = Fleet::empty(3);
    let config = configuration(&[("r", waits_for_ready())]);
    (0..3).for_each(|vm| fleet.load(vm, &config));
    let asked: Vec<usize> = (0..8).map(|_| fleet.answered(503)).collect();
    assert_eq!(asked[2..], [1; 6], "{asked:?}");
    assert_eq!((fleet.phase(), fleet.share(1)), (Phase::Progressing, Share::NONE));
    let asked: Vec<usize> = (0..4).map(|_| fleet.answered(200)).collect();
    assert_eq!(asked, [1, 1, 1, 0]);
    assert_eq!((fleet.phase(), fleet.share(1)), (Phase::Paused, Share::new(5_000)));
}

#[test]
fn the_question_names_what_is_configured() {
    let fields = json!({"steps": [
        {"ready": {"path": "/v2/health/ready?x=1", "authority": "models.example.com"}}, {"set_weight": 50}, {"pause": {}},
    ]});
    let mut fleet = Fleet::empty(1);
    fleet.load(0, &configuration(&[("r", fields)]));
    let asked = std::cell::RefCell::new(Vec::new());
    for _ in 0..3 {
        fleet.second_of_all(|_, question| {
            asked.borrow_mut().push(question.clone());
            None
        });
    }
    let asked = asked.into_inner();
    let question = &asked[0];
    assert_eq!((question.rollout.as_str(), question.ready.cluster.as_str()), ("r", "g"));
    assert_eq!(
        (question.ready.path.as_str(), question.ready.authority.as_str()),
        ("/v2/health/ready?x=1", "models.example.com")
    );
}

#[test]
fn an_answer_that_is_lost_with_its_vm_is_asked_for_again_by_the_next_leader() {
    let mut fleet = Fleet::empty(3);
    let config = configuration(&[("r", waits_for_ready())]);
    (0..3).for_each(|vm| fleet.load(vm, &config));
    for _ in 0..3 {
        fleet.answered(200);
    }
    assert_eq!(fleet.phase(), Phase::Progressing);
    // It asks, and is gone before the answer.
    assert_eq!(fleet.second_of_all(|_, _| None), 1);
    fleet.vms.remove(0);
    let asked: Vec<usize> = (0..12).map(|_| fleet.answered(200)).collect();
    assert!(asked.iter().sum::<usize>() <= 3, "{asked:?}");
    assert_eq!((fleet.phase(), fleet.share(0)), (Phase::Paused, Share::new(5_000)));
}

#[test]
fn answers_that_come_late_twice_or_to_another_vm_count_for_nothing() {
    let mut fleet = Fleet::empty(2);
    let config = configuration(&[("r", waits_for_ready())]);
    (0..2).for_each(|vm| fleet.load(vm, &config));
    for _ in 0..30 {
        fleet.second_of_all(|_, question| {
            Some(Answer { asked: question.asked.wrapping_sub(1_000), said: Said::Status(200) })
        });
        let rogue = Answer { asked: fleet.now / 1_000_000, said: Said::Status(200) };
        fleet.vms[1].member.hear("r", rogue);
        fleet.vms[0].member.hear("unknown", rogue);
    }
    assert_eq!((fleet.phase(), fleet.share(1)), (Phase::Progressing, Share::NONE));
}

#[test]
fn a_command_that_is_first_makes_the_answer_void() {
    let mut fleet = Fleet::empty(2);
    let config = configuration(&[("r", waits_for_ready())]);
    (0..2).for_each(|vm| fleet.load(vm, &config));
    for _ in 0..2 {
        fleet.answered(200);
    }
    fleet.command(1, Command::Abort).unwrap();
    for _ in 0..5 {
        assert_eq!(fleet.answered(200), 0);
    }
    assert_eq!((fleet.phase(), fleet.share(1)), (Phase::Aborted, Share::NONE));
}

#[test]
fn of_many_candidates_all_have_their_turn_and_a_pass_asks_only_some() {
    let rollouts: Vec<(String, Value)> = (0..150).map(|nth| (format!("r{nth}"), waits_for_ready())).collect();
    let rollouts: Vec<(&str, Value)> =
        rollouts.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
    let mut fleet = Fleet::empty(1);
    fleet.load(0, &configuration(&rollouts));
    let mut asked = Vec::new();
    for _ in 0..14 {
        asked.push(fleet.answered(200));
    }
    assert!(asked.iter().all(|asked| *asked <= 64), "{asked:?}");
    let is_past = |name: &&(String, Value)| fleet.record(&name.0).run.phase == Phase::Paused;
    let names: Vec<(String, Value)> = (0..150).map(|nth| (format!("r{nth}"), Value::Null)).collect();
    assert_eq!(names.iter().filter(is_past).count(), 150, "{asked:?}");
}
