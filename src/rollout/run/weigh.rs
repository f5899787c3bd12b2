//! Weights that a person sets.

use super::turn::Turn;
use super::{HeldBy, Run};
use crate::config::report::Shown;
use crate::model::{Share, Shares};
use crate::rollout::command::Refused;
use crate::rollout::event::{Action, Actor};
use crate::rollout::program::{Program, Step};

impl Run {
    /// What is wrong with weights in any phase, with the name of the version.
    pub(super) fn flaw_of_weights(&self, program: &Program, weights: &Shares) -> Option<String> {
        if weights.is_empty() {
            return Some(
                "expected a share in percent for at least one version, such as {\"green\": 10}".into(),
            );
        }
        let mut sum = 0_u32;
        for (version, share) in weights {
            let name = Shown(version);
            if *version == program.stable {
                return Some(format!("{name}: stable gets the rest; expected other versions only"));
            }
            if !program.versions.contains(version) {
                return Some(format!("unknown version {name}; known here: {}", program.versions.join(", ")));
            }
            sum = sum.saturating_add(share.basis_points().into());
        }
        for (version, share) in &self.weights {
            if !weights.contains_key(version) {
                sum = sum.saturating_add(share.basis_points().into());
            }
        }
        let percent = f64::from(sum) / 100.0;
        let is_over = sum > Share::ALL.basis_points().into();
        is_over.then(|| format!("together with the other versions the sum {percent} is over 100"))
    }
}

impl Turn<'_> {
    /// Sets a step's weights. Other versions keep theirs, as far as there is room: a person may have set more than
    /// the steps foresaw.
    pub(super) fn take_weights(&mut self, set: &Shares) {
        let mut left = Share::rest(set.values().copied());
        for (version, share) in &mut self.run.weights {
            if !set.contains_key(version) {
                *share = left.min(*share);
                left = left.minus(*share);
            }
        }
        self.run.weights.extend(set.clone());
    }

    /// The candidate gets all that other versions leave, and stable nothing.
    pub(super) fn take_rest(&mut self) {
        if let Some(candidate) = &self.program.candidate {
            let others = self.run.weights.iter().filter(|(name, _)| *name != candidate);
            let rest = Share::rest(others.map(|(_, share)| *share));
            self.run.weights.insert(candidate.clone(), rest);
        }
    }

    /// The candidate has this weight: the steps up to the last one that sets it, or a lower one, are done.
    pub(super) fn stand_at(&mut self, weight: Share) {
        self.run.position = self.program.position_of(weight);
        self.run.mirror = self.program.mirror_at(self.run.position);
    }

    /// All steps are done, those that were skipped as well.
    pub(super) fn stand_at_end(&mut self) {
        self.run.position = self.program.steps.len();
        self.run.mirror = self.program.mirror_at(self.run.position);
    }

    /// Why a run whose weights a person has set cannot go on with them: no step waits there.
    pub(super) fn flaw_of_resuming(&self) -> Option<String> {
        let (program, run) = (self.program, &*self.run);
        // The judge may have stopped it anew at such weights.
        let may_be_set = matches!(run.held, Some(HeldBy::Weights | HeldBy::Judge));
        let waits = program.steps.get(run.position).is_some_and(Step::waits);
        if !may_be_set || waits || program.blue_green {
            return None;
        }
        let mut next = run.clone();
        Turn::new(program, &mut next, self.now).advance(Actor::User);
        let (here, there) = (run.candidate_weight(program), next.candidate_weight(program));
        (next.weights != run.weights)
            .then(|| format!(", and no step waits at {here}; promote takes the next one, at {there}"))
    }

    /// Obeys a person who sets weights: beside steps the run then waits for a person too.
    pub(super) fn weigh(&mut self, weights: Shares) -> Result<(), Refused> {
        let program = self.program;
        if program.blue_green {
            return Err(Refused(
                "a blue_green rollout has no weights to set; switch sends all traffic to a side".into(),
            ));
        }
        if program.automation.is_some() {
            return Err(Refused(
                "a rollout with `automation` has no weights to set; degree sets how much the model does"
                    .into(),
            ));
        }
        self.unless_pinned()?;
        if let Some(flaw) = self.run.flaw_of_weights(program, &weights) {
            return Err(Refused(flaw));
        }
        let before = self.run.candidate_weight(program);
        let wanted = program.candidate.as_ref().and_then(|candidate| weights.get(candidate));
        if wanted.is_some_and(|weight| !weight.is_none()) {
            self.unless_taken_back()?;
        }
        let is_rolled_back = self.run.phase.is_rolled_back();
        let walks = !program.steps.is_empty() && program.candidate.is_some() && !is_rolled_back;
        let present = |name: &String| self.run.weights.get(name).copied().unwrap_or_default();
        let is_known = weights.iter().all(|(name, share)| present(name) == *share);
        if is_known && (!walks || self.run.held == Some(HeldBy::Weights)) {
            return Ok(());
        }
        self.run.weights.extend(weights);
        if walks {
            self.release();
            let weight = self.run.candidate_weight(program);
            if weight != before {
                self.stand_at(weight);
            }
            self.run.active.turn_to(false);
            self.hold(HeldBy::Weights, "paused at weights set by command".into());
        }
        self.begin_step();
        let message =
            if walks { "weights set by command; the run is paused" } else { "weights set by command" };
        self.happen(Actor::User, Action::Change, message.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, green, of, program, steps, turn};
    use super::super::{Phase, Run};
    use super::*;
    use crate::model::shares;
    use crate::rollout::command::Command;
    use crate::rollout::event::Event;
    use serde_json::json;

    fn set(run: &mut Run, program: &Program, weights: &[(&str, u16)]) -> Result<Vec<Event>, Refused> {
        let weights = weights.iter().map(|(name, share)| ((*name).to_owned(), Share::new(*share)));
        run.command(program, Command::Weight(shares(weights)), at(0))
    }

    #[test]
    fn beside_steps_it_pauses_and_goes_on_behind_the_highest_weight_not_above_it() {
        let program = steps();
        let (mut run, _) = Run::begin(&program, at(0));
        let events = set(&mut run, &program, &[("green", 3_000)]).unwrap();
        assert_eq!((events[0].actor, events[0].action), (Actor::User, Action::Change));
        assert_eq!(events[0].message, "weights set by command; the run is paused");
        assert_eq!(
            (events[0].from.get("green"), events[0].to.get("green")),
            (Some(&Share::new(500)), Some(&Share::new(3_000)))
        );
        assert_eq!((run.phase, green(&run), run.position), (Phase::Paused, 3_000, 4));
        assert_eq!(run.reason.sentence(), "paused at weights set by command");
        assert_eq!(set(&mut run, &program, &[("green", 3_000)]), Ok(vec![]), "again: nothing");
        // Time does not move it, other steps leave the weights alone.
        assert_eq!((1..100).flat_map(|now| run.tick(&program, &[], at(now))).count(), 0);
        let fewer = Program { steps: program.steps.iter().skip(3).cloned().collect(), ..program.clone() };
        run.push(&program, &fewer, at(100));
        assert_eq!((run.phase, green(&run)), (Phase::Paused, 3_000));
        run.push(&fewer, &program, at(100));
        run.command(&program, Command::Resume, at(100)).unwrap();
        assert_eq!((run.phase, green(&run), run.position), (Phase::Paused, 3_000, 4));
        assert_eq!(run.reason.sentence(), "the step waits for a promotion");
        run.command(&program, Command::Promote { full: false }, at(100)).unwrap();
        assert_eq!(green(&run), 5_000);
        // Down as well; another version alone moves nothing along the steps.
        set(&mut run, &program, &[("green", 700)]).unwrap();
        assert_eq!((run.position, run.in_force().get("red")), (2, Some(&Share::new(1_000))));
        set(&mut run, &program, &[("red", 0)]).unwrap();
        assert_eq!((run.position, run.in_force().get("red")), (2, None));
        run.command(&program, Command::Resume, at(100)).unwrap();
        assert_eq!((run.phase, green(&run)), (Phase::Progressing, 700));
        // Below all of them: from the first on.
        set(&mut run, &program, &[("green", 100)]).unwrap();
        assert_eq!((run.position, green(&run)), (0, 100));
    }

    #[test]
    fn resume_keeps_the_weights_or_says_that_nothing_waits_there() {
        let refused = |here: &str, next: &str| {
            Err(Refused(format!(
                "the rollout is paused, and no step waits at {here}; promote takes the next one, at {next}"
            )))
        };
        let waits = json!({"steps": [{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {"duration": "1m"}}]});
        let waits = program(&waits);
        let (mut run, _) = Run::begin(&waits, at(0));
        set(&mut run, &waits, &[("green", 100)]).unwrap();
        assert_eq!(run.command(&waits, Command::Resume, at(1)), refused("1 %", "5 %"));
        assert_eq!((run.phase, green(&run), run.held), (Phase::Paused, 100, Some(HeldBy::Weights)));
        // Nor when the judge stops it there once more.
        turn(&waits, &mut run).hold(HeldBy::Judge, "suspected".into());
        assert_eq!(run.command(&waits, Command::Resume, at(1)), refused("1 %", "5 %"));
        set(&mut run, &waits, &[("green", 3_000)]).unwrap();
        run.command(&waits, Command::Resume, at(1)).unwrap();
        assert_eq!((run.phase, green(&run), run.position), (Phase::Progressing, 3_000, 3));

        let ends = program(&json!({"steps": [{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}]}));
        let (mut run, _) = Run::begin(&ends, at(0));
        set(&mut run, &ends, &[("green", 3_000)]).unwrap();
        assert_eq!(run.command(&ends, Command::Resume, at(1)), refused("30 %", "100 %"));
        run.command(&ends, Command::Promote { full: false }, at(1)).unwrap();
        assert_eq!((run.phase, green(&run)), (Phase::Succeeded, 10_000));
    }

    /// The steps foresaw none for it.
    #[test]
    fn a_step_takes_what_another_version_has_too_much() {
        let program =
            program(&json!({"steps": [{"set_weight": 5}, {"pause": {}}, {"set_weight": 25}, {"pause": {}}]}));
        let (mut run, _) = Run::begin(&program, at(0));
        set(&mut run, &program, &[("red", 9_000)]).unwrap();
        run.command(&program, Command::Promote { full: false }, at(0)).unwrap();
        assert_eq!(run.in_force(), &of([("green", 2_500), ("red", 7_500)]));
    }

    #[test]
    fn a_weight_after_a_finding_begins_another_attempt() {
        let program = steps();
        let (mut run, _) = Run::begin(&program, at(0));
        turn(&program, &mut run).hold(HeldBy::Judge, "suspected".into());
        set(&mut run, &program, &[("green", 100)]).unwrap();
        assert_eq!((run.attempt, run.held), (2, Some(HeldBy::Weights)));
    }

    #[test]
    fn beside_weights_it_replaces_them_until_others_are_pushed() {
        let at_weight = |weight: u64| program(&json!({"weights": {"green": weight}}));
        let five = at_weight(5);
        let (mut run, _) = Run::begin(&five, at(0));
        let events = set(&mut run, &five, &[("green", 2_000), ("red", 1)]).unwrap();
        assert_eq!(events[0].message, "weights set by command");
        assert_eq!((run.phase, run.in_force().len()), (Phase::Steady, 2));
        let labelled = Program { mirror: Some(Share::new(1)), ..five.clone() };
        run.push(&five, &labelled, at(1));
        assert_eq!(green(&run), 2_000, "the pushed weights are those of the push before");
        run.push(&labelled, &at_weight(10), at(2));
        assert_eq!((green(&run), run.in_force().len()), (1_000, 1));
    }

    #[test]
    fn impossible_weights_are_refused() {
        let program = program(&json!({"weights": {"green": 5, "red": 50}}));
        let (mut run, _) = Run::begin(&program, at(0));
        for wrong in [&[][..], &[("blue", 1)], &[("purple", 1)], &[("green", 5_001)], &[("red", 9_501)]] {
            assert!(set(&mut run, &program, wrong).is_err(), "{wrong:?}");
        }
        run.command(&program, Command::Abort, at(0)).unwrap();
        let why = "the rollout is aborted; the candidate gets no traffic until a retry";
        assert_eq!(set(&mut run, &program, &[("green", 1)]), Err(Refused(why.into())));
        set(&mut run, &program, &[("green", 0), ("red", 100)]).unwrap();
        assert_eq!((run.phase, run.in_force().get("red")), (Phase::Aborted, Some(&Share::new(100))));
        let pinned = Program { pin: Some("red".into()), ..program.clone() };
        run.push(&program, &pinned, at(1));
        assert!(set(&mut run, &pinned, &[("red", 1)]).unwrap_err().0.contains("pinned"));
    }
}
