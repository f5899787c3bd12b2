//! Questions to candidates, as callouts of Envoy. They belong to the root that leads: with it, open ones end unanswered.

use std::cell::RefCell;

use super::callouts::{self, Callout};
use crate::abi::callouts::Callouts;
use crate::abi::pairs;
use crate::fleet::effect::Question;
use crate::rollout::ready::{Answer, PATIENCE, Said};

/// Those of one VM that are not answered yet.
#[derive(Default)]
pub(super) struct Questions {
    /// The rollout, and when its candidate was asked, in milliseconds.
    open: RefCell<Callouts<(String, u64)>>,
}

impl Questions {
    /// Asks a candidate, from a callback of `root`.
    ///
    /// # Errors
    /// Envoy does not try: the rollout and its answer at once.
    pub(super) fn ask(&self, root: u32, question: Question) -> Result<(), (String, Answer)> {
        let Question { rollout, ready, asked } = question;
        let headers = [
            (":method", "GET".to_owned()),
            (":path", ready.path),
            (":authority", ready.authority),
            ("user-agent", "changeover".to_owned()),
        ];
        let timeout = u32::try_from(PATIENCE).unwrap_or(u32::MAX);
        let headers = pairs::write(&headers);
        let callout = Callout { cluster: &ready.cluster, headers: &headers, body: &[], timeout };
        // Those of a root that is gone are never answered.
        callouts::end_overdue(&self.open);
        let sent = callouts::send(&self.open, root, &callout, (rollout, asked));
        sent.map(|_| ()).map_err(|(rollout, asked)| (rollout, Answer { asked, said: Said::NoAnswer }))
    }

    /// The rollout that a callout was about, and its answer; `status`: that of the answer, if one came.
    pub(super) fn answered(&self, token: u32, status: Option<u64>) -> Option<(String, Answer)> {
        let (rollout, asked) = self.open.borrow_mut().end(token)?;
        Some((rollout, Answer { asked, said: status.map_or(Said::NoAnswer, Said::Status) }))
    }
}
