//! How long a version took to answer.
//!
//! A version that gets few requests finds more of its connections closed than one that gets many: the time to make one is
//! not its own. Envoy says how long a request waited for a connection, and not what for. So only as much as making one
//! may take is left out; what is longer, such as a queue for connections, is the version's.

/// Nanoseconds that making a connection may take.
const CONNECTING: u64 = 100_000_000;
/// Nanoseconds below which an answer is quick whatever it waited for: Envoy is not asked, which costs as much as reading
/// two headers.
const QUICK: u64 = 5_000_000;

/// When a request came, when all of it had come, and when it was answered, in nanoseconds of one clock.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its headers came.
    pub begun: u64,
    /// It had come as a whole, or its answer's headers before: from then on the version is waited for.
    pub asked: u64,
    /// The answer's headers came before: the version had the request from the beginning.
    pub is_early: bool,
    /// It was answered.
    pub answered: u64,
}

impl Times {
    /// Nanoseconds that the version took. `ready`: those until there was a connection, from [`Times::begun`] on, if they are
    /// known.
    #[must_use]
    pub fn latency(&self, ready: impl FnOnce() -> Option<u64>) -> u64 {
        let asked = if self.is_early { self.begun } else { self.asked };
        let whole = self.answered.saturating_sub(asked);
        if whole < QUICK {
            return whole;
        }
        let connected = self.begun.saturating_add(ready().unwrap_or(0).min(CONNECTING));
        self.answered.saturating_sub(connected.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn latency(begun: u64, asked: u64, answered: u64, ready: Option<u64>) -> u64 {
        let times = Times { begun: begun * MS, asked: asked * MS, is_early: false, answered: answered * MS };
        times.latency(|| ready.map(|ready| ready * MS)) / MS
    }

    #[test]
    fn the_time_to_make_a_connection_is_not_the_versions() {
        assert_eq!(latency(1_000, 1_000, 1_080, Some(60)), 20);
        assert_eq!(latency(1_000, 1_000, 1_080, Some(0)), 80);
        assert_eq!(latency(1_000, 1_000, 1_080, None), 80, "Envoy does not tell");
    }

    #[test]
    fn of_an_upload_only_what_it_was_waited_for_after_its_end_is_left_out() {
        assert_eq!(latency(1_000, 1_050, 1_100, Some(20)), 50, "the connection was there before");
        assert_eq!(latency(1_000, 1_050, 1_100, Some(60)), 40);
    }

    #[test]
    fn a_queue_for_connections_is_the_versions() {
        assert_eq!(latency(1_000, 1_000, 3_000, Some(1_900)), 1_900);
    }

    #[test]
    fn an_upgrade_or_a_call_that_is_answered_while_its_client_sends_takes_the_time_since_it_began() {
        let times = Times { begun: 1_000 * MS, asked: 1_200 * MS, is_early: true, answered: 1_200 * MS };
        assert_eq!(times.latency(|| Some(60 * MS)) / MS, 140);
    }

    #[test]
    fn a_quick_answer_asks_for_nothing() {
        let times = Times { begun: 0, asked: 0, is_early: false, answered: 4 * MS };
        assert_eq!(times.latency(|| panic!("Envoy is asked")), 4 * MS);
        let times = Times { begun: 9 * MS, asked: 9 * MS, is_early: false, answered: MS };
        assert_eq!(times.latency(|| panic!("Envoy is asked")), 0, "also when the clock has gone back");
    }
}
