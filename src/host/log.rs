//! The `log` crate's lines into Envoy's log.

use log::{LevelFilter, Log, Metadata, Record};

use super::calls;
use crate::config::report::Problems;

/// Where every line of this filter begins, to be found in Envoy's log.
const PREFIX: &str = "changeover: ";

struct EnvoyLog;

impl Log for EnvoyLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true // the level is checked before, by the `log` crate
    }

    fn log(&self, record: &Record<'_>) {
        calls::log(record.level(), &format!("{PREFIX}{}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends the `log` crate's lines to Envoy.
pub(super) fn init() {
    // Refused when it was done before, by an earlier root of this VM.
    let _ = log::set_logger(&EnvoyLog);
    follow_level();
}

/// Takes over the level of Envoy's logger, which an operator may change while it runs.
pub(super) fn follow_level() {
    log::set_max_level(match calls::log_level() {
        0 => LevelFilter::Trace,
        1 => LevelFilter::Debug,
        2 => LevelFilter::Info,
        3 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    });
}

/// Says why a configuration is refused.
pub(super) fn refused(problems: &Problems) {
    for line in problems.lines() {
        log::error!("configuration refused: {line}");
    }
}
