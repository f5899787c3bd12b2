//! `changeover wait`: looks at a rollout until it is where a pipeline wants it, or cannot get there any more.

use std::time::{Duration, Instant};

use changeover::config::units;
use changeover::control::view::Rollout;
use changeover::rollout::phase::Phase;
use clap::ValueEnum;

use super::about::About;
use super::client::{Client, Failure};
use super::{pages, read, with_names};

/// How often it looks.
const INTERVAL: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(1) };

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wanted {
    /// The last step has ended
    Succeeded,
    /// It waits for a command
    Paused,
    /// The candidate was rolled back, automatically or by a command
    Failed,
}

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The rollout is where it was wanted.
    There,
    /// It has ended in another phase.
    Elsewhere,
    /// The time is over.
    TimedOut,
}

impl Ending {
    pub(super) fn exit_status(self) -> u8 {
        match self {
            Self::There => 0,
            Self::Elsewhere => 1,
            Self::TimedOut => 3,
        }
    }
}

impl Wanted {
    /// How a phase ends the waiting; `None` while it may still change.
    fn ended_by(self, phase: Phase) -> Option<Ending> {
        let is_there = match self {
            Self::Succeeded => phase == Phase::Succeeded,
            Self::Paused => phase == Phase::Paused,
            Self::Failed => phase.is_rolled_back(),
        };
        if is_there {
            Some(Ending::There)
        } else {
            (phase == Phase::Succeeded || phase.is_rolled_back()).then_some(Ending::Elsewhere)
        }
    }
}

/// Looks until the waiting ends, for this `release` if it is given; returns the last answer as well, if there was one.
///
/// # Errors
///
/// The first look fails, or there are rollouts and none has this name. (An Envoy that has just started has none yet, and
/// one that was reached before may come back.)
pub(super) fn run(
    client: &Client,
    (rollout, release): (&str, Option<&str>),
    wanted: Wanted,
    timeout: Duration,
) -> Result<(Ending, Option<String>), Failure> {
    let end = Instant::now().checked_add(timeout);
    let mut last = None;
    let mut was_reached = false;
    let about = About { client, rollout };
    loop {
        match about.ask("") {
            Ok(answer) => {
                let seen: Rollout = read(&answer)?;
                last = Some(answer);
                // Another release is the one before: its end says nothing about this one's.
                let is_it = release.is_none_or(|release| release == seen.release);
                if let Some(ending) = wanted.ended_by(seen.phase).filter(|_| is_it) {
                    return Ok((ending, last));
                }
                was_reached = true;
            }
            Err(Failure::Refused(why)) => match pages(client) {
                Ok((rollouts, _)) => match with_names(&rollouts, rollout, why) {
                    Failure::Refused(why) if rollouts.iter().all(|known| known.name != rollout) => {
                        return Err(Failure::Unknown(why));
                    }
                    _ => was_reached = true,
                },
                Err(failure) if !was_reached => return Err(Failure::Unreachable(failure.to_string())),
                Err(_) => {}
            },
            Err(unreachable) if !was_reached => return Err(unreachable),
            Err(_) => {}
        }
        let left = end.map_or(INTERVAL, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok((Ending::TimedOut, last));
        }
        std::thread::sleep(INTERVAL.min(left));
    }
}

/// Reads a duration as the configuration writes it: `90s`, `30m`, `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration: Result<units::Duration, serde_json::Error> = serde_json::from_value(text.into());
    duration.map(|duration| Duration::from_millis(duration.as_millis())).map_err(|error| error.to_string())
}
