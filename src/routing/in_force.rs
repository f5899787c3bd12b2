//! What decides at present who gets which version.

use super::assign::{Salt, Split};
use super::log;
use super::mirror::Mirror;
use super::version::{STABLE, Version};
use crate::automation::task;
use crate::model::{Assignment, Share};
use crate::rollout::program::Program;
use crate::rollout::record::Head;

/// What decides at present who gets which version.
pub(super) struct InForce {
    pub(super) pinned: Option<usize>,
    /// Whether a client that asks for the candidate gets it: not after a rollback.
    pub(super) candidate_on_request: bool,
    /// Whether the candidate was taken back.
    pub(super) is_taken_back: bool,
    pub(super) salt: Salt,
    /// Names users for the judge, independently of their buckets; 0: nothing is known of them yet.
    pub(super) user_key: [u64; 2],
    pub(super) names: Salt,
    pub(super) split: Split,
    /// By version.
    pub(super) weights: Vec<Share>,
    /// The mirror's share and its cohort; `None`: nothing is mirrored.
    pub(super) mirror: Option<(Share, Salt)>,
    pub(super) assignment: Assignment,
    pub(super) revision: u64,
    /// What access logs say of the attempt; `None`: nothing.
    pub(super) logged: Option<String>,
    /// What is in force for tasks, and what identifies the attempt.
    pub(super) tasks: task::InForce,
    pub(super) attempt: u64,
}

impl InForce {
    pub(super) fn new(program: &Program, versions: &[Version], mirror: Option<&Mirror>, head: &Head) -> Self {
        let mut left = Share::ALL;
        let others = versions.iter().skip(1).map(|version| {
            let weight = head.weights.get(&version.name).copied().unwrap_or_default().min(left);
            left = left.minus(weight);
            weight
        });
        let others: Vec<Share> = others.collect();
        let buckets: Vec<u16> = others.iter().map(|share| share.basis_points()).collect();
        // Another attempt draws another cohort.
        let salt = match head.attempt {
            0 | 1 => program.release.clone(),
            attempt => format!("{}\0{attempt}", program.release),
        };
        let pin = program.pin.as_ref().filter(|_| head.pinned);
        Self {
            pinned: pin.and_then(|pin| versions.iter().position(|version| version.name == *pin)),
            candidate_on_request: head.candidate_on_request,
            is_taken_back: head.is_taken_back,
            split: Split::new(&buckets),
            mirror: mirror
                .filter(|_| head.mirrors)
                .map(|mirror| (head.mirror.unwrap_or(mirror.share()), Salt::new(&format!("{salt}\0mirror")))),
            user_key: head.user_key,
            names: Salt::with_key(head.user_key),
            salt: Salt::new(&salt),
            weights: [left].into_iter().chain(others).collect(),
            assignment: head.assignment,
            revision: head.revision,
            logged: None,
            tasks: task::InForce { degree: head.degree, threshold: head.threshold },
            attempt: program.attempt(head.attempt),
        }
    }

    /// The same with what access logs say, if they are to.
    pub(super) fn logged(self, logs: bool, program: &Program, head: &Head) -> Self {
        Self { logged: logs.then(|| log::of_attempt(&head.name, program, head.attempt)), ..self }
    }

    /// Tells it from what is in force under another assignment, or names users by another key.
    pub(super) fn hash(&self) -> u64 {
        self.assignment.0 ^ self.user_key.iter().fold(0, |all, part| all ^ part)
    }

    pub(super) fn version_of(&self, bucket: u16) -> usize {
        // The split has the versions besides stable, which come after it.
        self.split.version(bucket).map_or(STABLE, |rank| rank.saturating_add(1))
    }
}
