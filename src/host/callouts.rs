//! Questions to candidates, as callouts of Envoy. They belong to the root that leads: with it, open ones end unanswered.

use std::cell::RefCell;

use super::calls;
use crate::abi::pairs;
use crate::fleet::effect::Question;
use crate::model::SortedMap;
use crate::rollout::ready::{Answer, PATIENCE, Said};

/// What is under way in one VM.
#[derive(Default)]
pub(super) struct Callouts {
    /// By the number that Envoy gave it: the rollout, and when it was asked.
    open: RefCell<SortedMap<u32, (String, u64)>>,
}

impl Callouts {
    /// Asks a candidate.
    ///
    /// # Errors
    /// Envoy does not try: the rollout and its answer at once.
    pub(super) fn ask(&self, question: Question) -> Result<(), (String, Answer)> {
        let Question { rollout, ready, asked } = question;
        let headers = [
            (":method", "GET".to_owned()),
            (":path", ready.path),
            (":authority", ready.authority),
            ("user-agent", "changeover".to_owned()),
        ];
        let timeout = u32::try_from(PATIENCE).unwrap_or(u32::MAX);
        let Some(token) = calls::http_call(&ready.cluster, &pairs::write(&headers), &[], timeout) else {
            return Err((rollout, Answer { asked, said: Said::NoAnswer }));
        };
        let mut open = self.open.borrow_mut();
        // Those of a root that is gone are never answered.
        open.retain(|_, (_, earlier)| asked.abs_diff(*earlier) <= 2 * PATIENCE);
        open.insert(token, (rollout, asked));
        Ok(())
    }

    /// The rollout that a callout was about, and its answer; `status`: that of the answer, if one came.
    pub(super) fn answered(&self, token: u32, status: Option<u64>) -> Option<(String, Answer)> {
        let (rollout, asked) = self.open.borrow_mut().remove(&token)?;
        Some((rollout, Answer { asked, said: status.map_or(Said::NoAnswer, Said::Status) }))
    }
}
