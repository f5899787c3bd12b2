//! `changeover status`, `events`, and the commands: what people ask of a running Envoy, over its control listener.

mod client;
mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use changeover::control::view::{Journal, Page, Rollout};
use changeover::rollout::run::Phase;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use client::{Client, Failure};

/// What may be asked.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show where a rollout stands, or all of them
    ///
    /// Exit status: 0 all is well, 1 one is failed or aborted, 2 the control listener cannot be asked.
    Status {
        /// Absent: all rollouts
        #[arg(value_parser = name)]
        rollout: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what happened to a rollout, newest first
    Events(Target),
    /// End the waiting of the present step
    ///
    /// Exit status of this and all other commands: 0 done, 1 refused, 2 the control listener cannot be asked.
    Promote {
        #[command(flatten)]
        target: Target,
        /// Give the candidate everything at once
        #[arg(long)]
        full: bool,
    },
    /// Take the candidate back: its share goes to stable
    Abort(Target),
    /// Stop moving; rollback stays armed
    Pause(Target),
    /// Go on after a pause
    Resume(Target),
    /// Begin another attempt after an abort or a failure
    Retry(Target),
}

/// A rollout of a running Envoy.
#[derive(Args)]
pub(crate) struct Target {
    /// The rollout's name
    #[arg(value_parser = name)]
    rollout: String,
    #[command(flatten)]
    connection: Connection,
}

/// How to reach the control listener.
#[derive(Args)]
pub(crate) struct Connection {
    /// The control listener
    #[arg(long, value_name = "URL", env = "CHANGEOVER_ENDPOINT", default_value = "http://127.0.0.1:9911")]
    endpoint: String,
    /// A file with the token; without it the token is CHANGEOVER_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what the API answers
    #[arg(long)]
    json: bool,
}

/// What there is to show, and whether something is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    text: String,
    bad: bool,
}

/// Asks, shows the answer, and says by the exit status what came of it.
pub(crate) fn run(command: &Command) -> ExitCode {
    match ask(command) {
        Ok(shown) => {
            // A reader that closes the pipe early has seen what it wanted.
            let _ = std::io::stdout().write_all(shown.text.as_bytes());
            ExitCode::from(u8::from(shown.bad))
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

fn ask(command: &Command) -> Result<Shown, Failure> {
    let (target, verb, body) = match command {
        Command::Status { rollout: Some(rollout), connection } => return status(rollout, connection),
        Command::Status { rollout: None, connection } => return all(connection),
        Command::Events(target) => return events(target),
        Command::Promote { target, full } => {
            (target, "promote", if *full { r#"{"full":true}"# } else { "{}" })
        }
        Command::Abort(target) => (target, "abort", "{}"),
        Command::Pause(target) => (target, "pause", "{}"),
        Command::Resume(target) => (target, "resume", "{}"),
        Command::Retry(target) => (target, "retry", "{}"),
    };
    let answer =
        client(&target.connection)?.post(&format!("/v1/rollouts/{}/{verb}", target.rollout), body)?;
    show(&answer, &target.connection, show::rollout, |_| false)
}

fn status(rollout: &str, connection: &Connection) -> Result<Shown, Failure> {
    let answer = client(connection)?.get(&format!("/v1/rollouts/{rollout}"))?;
    show(&answer, connection, show::rollout, is_bad)
}

fn events(target: &Target) -> Result<Shown, Failure> {
    let answer = client(&target.connection)?.get(&format!("/v1/rollouts/{}/events", target.rollout))?;
    show(&answer, &target.connection, |journal: &Journal| show::events(&journal.events), |_| false)
}

/// All rollouts, page by page.
fn all(connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let (mut rollouts, mut text) = (Vec::new(), String::new());
    let mut after: Option<String> = None;
    loop {
        let answer = client.get(&match &after {
            Some(after) => format!("/v1/rollouts?after={after}"),
            None => "/v1/rollouts".into(),
        })?;
        let page: Page = read(&answer)?;
        rollouts.extend(page.rollouts);
        text.push_str(&answer);
        text.push('\n');
        // Names rise from page to page: a listing that goes round in circles ends here.
        if page.next <= after {
            break;
        }
        after = page.next;
    }
    if !connection.json {
        text = show::rollouts(&rollouts);
    }
    Ok(Shown { text, bad: rollouts.iter().any(is_bad) })
}

/// Whether somebody should look at a rollout.
fn is_bad(rollout: &Rollout) -> bool {
    matches!(rollout.phase, Phase::Failed | Phase::Aborted)
}

fn show<T: DeserializeOwned>(
    answer: &str,
    connection: &Connection,
    human: impl Fn(&T) -> String,
    bad: impl Fn(&T) -> bool,
) -> Result<Shown, Failure> {
    let value: T = read(answer)?;
    let text = if connection.json { format!("{answer}\n") } else { human(&value) };
    Ok(Shown { text, bad: bad(&value) })
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer)
        .map_err(|error| Failure::Unreachable(format!("the answer is not what this version reads: {error}")))
}

fn client(connection: &Connection) -> Result<Client, Failure> {
    let token = token(connection.token_file.as_deref(), std::env::var("CHANGEOVER_TOKEN").ok())?;
    Client::new(&connection.endpoint, token.as_deref())
}

/// The token, from a file or the environment: what stands in the arguments, every user of the machine can see.
fn token(file: Option<&Path>, environment: Option<String>) -> Result<Option<String>, Failure> {
    let token = match file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            Failure::Unreachable(format!("cannot read the token in {}: {error}", file.display()))
        })?),
        None => environment,
    };
    Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// Refuses what no rollout is called, and what would be another path.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("expected a rollout's name: lower-case letters, digits and -".into())
    }
}

#[cfg(test)]
mod tests;
