//! How far a task is that is held back until the model has answered.

use super::task::Reason;

/// How far a held task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The request is still coming; so many bytes are there.
    Comes(usize),
    /// The model was asked, at this time in nanoseconds.
    Asked(u64),
}

impl Progress {
    /// So many bytes of the request are there, of which `most` may be held; `is_whole`: all of it. Returns how many the model
    /// is to be asked with now, which it is once.
    ///
    /// # Errors
    /// Why the task waits no longer.
    pub fn receive(&mut self, size: usize, is_whole: bool, most: usize) -> Result<Option<usize>, Reason> {
        let Self::Comes(bytes) = self else { return Ok(None) };
        *bytes = size;
        match size > most {
            true => Err(Reason::TooLarge),
            false => Ok(is_whole.then_some(size)),
        }
    }

    /// The request ends with trailers. Returns how many bytes the model is to be asked with now.
    #[must_use]
    pub fn end(self) -> Option<usize> {
        match self {
            Self::Comes(bytes) => Some(bytes),
            Self::Asked(_) => None,
        }
    }

    /// Why there is no answer: none at all is a late one once the model's time, in milliseconds, is about over. Envoy's timer
    /// goes by another clock.
    #[must_use]
    pub fn reason(self, reason: Reason, now: u64, timeout: u32) -> Reason {
        let Self::Asked(since) = self else { return reason };
        let waited = now.saturating_sub(since) / 1_000_000;
        let is_over = waited.saturating_mul(10) >= u64::from(timeout).saturating_mul(9);
        if reason == Reason::NoAnswer && is_over { Reason::Late } else { reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_model_that_does_not_answer_is_late_once_its_time_is_about_over() {
        let asked = Progress::Asked(1_000_000_000);
        let after =
            |milliseconds: u64| asked.reason(Reason::NoAnswer, 1_000_000_000 + milliseconds * 1_000_000, 500);
        assert_eq!(after(449), Reason::NoAnswer);
        assert_eq!(after(450), Reason::Late);
        assert_eq!(asked.reason(Reason::Unreadable, u64::MAX, 500), Reason::Unreadable);
        assert_eq!(
            Progress::Comes(1).reason(Reason::NoAnswer, u64::MAX, 500),
            Reason::NoAnswer,
            "it was not asked"
        );
    }

    proptest! {
        /// Pieces of a request in any number, an end with its last piece, with trailers, or not at all.
        #[test]
        fn the_model_is_asked_once_with_the_whole_task_or_not_at_all(
            pieces in prop::collection::vec(0..40_usize, 1..8), ends in 0..3_u8, most in 0..200_usize,
        ) {
            let (mut progress, mut size, mut asked) = (Progress::Comes(0), 0, Vec::new());
            let mut released = None;
            for (at, piece) in pieces.iter().enumerate() {
                size += piece;
                let is_last = at + 1 == pieces.len();
                // Envoy may show what is held once more.
                for _ in 0..2 {
                    match progress.receive(size, is_last && ends == 0, most) {
                        Ok(Some(with)) => {
                            asked.push(with);
                            progress = Progress::Asked(1);
                        }
                        Ok(None) => {}
                        Err(reason) => released = Some(reason),
                    }
                }
                if released.is_some() {
                    break;
                }
            }
            if ends == 1 && released.is_none() {
                asked.extend(progress.end());
                progress = Progress::Asked(1);
                prop_assert_eq!(progress.end(), None);
            }
            prop_assert_eq!(released, (size > most).then_some(Reason::TooLarge));
            let expected = if ends < 2 && size <= most { vec![size] } else { vec![] };
            prop_assert_eq!(asked, expected);
        }
    }
}
