//! `changeover status`, `events`, and the commands: what people ask of a running Envoy, over its control listener.

mod client;
mod compared;
mod draw;
mod lines;
mod screen;
mod show;
mod table;
mod terminal;
mod text;
mod wait;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use changeover::control::view::{Journal, Page, Rollout};
use changeover::rollout::command;
use changeover::rollout::phase::Phase;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use client::{Client, Failure};
use terminal::Reader;
use text::Line;
use watch::Subject;

/// The control listener's default address.
const ENDPOINT: &str = "http://127.0.0.1:9911";
/// What `weight` does, at length.
const WEIGHT: &str = "Set versions' shares of the traffic; stable gets the rest\n\nA rollout with steps is \
                      paused; `resume` keeps the shares if a step waits there, `promote` takes the next step";
/// Said where the API knows no rollout at all.
const NOT_YET: &str = "not known yet: Envoy has just started, or its configuration has no rollout";
/// What the exit status of a command means.
const DONE: &str = "Exit status: 0 done, 1 refused, 2 the control listener cannot be reached.";

/// The commands of the control API.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the state of one rollout, or of all
    ///
    /// Exit status: 0 all is well, 1 a rollout is failed or aborted, or none has that name, 2 the control listener cannot
    /// be reached, 3 no rollout is known yet.
    Status {
        /// Absent: all rollouts
        #[arg(value_parser = name)]
        rollout: Option<String>,
        /// Keep watching until Ctrl-C: redraws the screen, or prints one line per change when output is not a terminal
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what happened to a rollout, newest first
    ///
    /// Exit status: 0 done, 1 no rollout has that name, 2 the control listener cannot be reached.
    Events {
        #[command(flatten)]
        target: Target,
        /// Keep watching until Ctrl-C: prints past and new events, oldest first
        #[arg(long)]
        watch: bool,
    },
    /// Show how often a shadow agrees with stable, and where it does not
    ///
    /// Exit status: 0 done, 1 no rollout has that name, 2 the control listener cannot be reached.
    Differences(Target),
    /// Wait until a rollout has succeeded, is paused, or has failed
    ///
    /// Exit status: 0 it is there, 1 there is none of that name, 2 the control listener cannot be asked, 3 it has ended
    /// otherwise, 4 the time is over.
    Wait {
        #[command(flatten)]
        target: Target,
        /// What to wait for
        #[arg(long = "for", value_name = "PHASE", value_enum)]
        wanted: wait::Wanted,
        /// How long at most, such as 90s, 30m or 2h
        #[arg(long, value_name = "DURATION", value_parser = wait::duration)]
        timeout: std::time::Duration,
    },
    #[command(about = command::PROMOTE.summary, after_long_help = DONE)]
    Promote {
        #[command(flatten)]
        target: Target,
        /// Skip all remaining steps: all traffic to the candidate
        #[arg(long)]
        full: bool,
    },
    #[command(about = command::ABORT.summary, after_long_help = DONE)]
    Abort {
        /// The rollout's name
        #[arg(value_parser = name, required_unless_present = "all", conflicts_with = "all")]
        rollout: Option<String>,
        /// Abort every rollout that is progressing or paused
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    #[command(about = command::PAUSE.summary, after_long_help = DONE)]
    Pause(Target),
    #[command(about = command::RESUME.summary, after_long_help = DONE)]
    Resume(Target),
    #[command(about = command::RETRY.summary, after_long_help = DONE)]
    Retry(Target),
    #[command(about = command::WEIGHT.summary, long_about = WEIGHT, after_long_help = DONE)]
    Weight {
        #[command(flatten)]
        target: Target,
        /// A version's share in percent, such as green=10; versions that are not named keep theirs
        #[arg(required = true, value_name = "VERSION=PERCENT", value_parser = share)]
        shares: Vec<(String, Number)>,
    },
    #[command(about = command::SWITCH.summary, after_long_help = DONE)]
    Switch {
        #[command(flatten)]
        target: Target,
        /// The version to send all traffic to
        #[arg(value_parser = version)]
        version: String,
    },
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
    #[arg(long, value_name = "URL", env = "CHANGEOVER_ENDPOINT", default_value = ENDPOINT)]
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
    let reader = Reader::of_stdout();
    let answered = match command {
        Command::Wait { target, wanted, timeout } => wait(target, *wanted, *timeout, reader),
        command => ask(command, reader).map(|shown| (u8::from(shown.bad), shown)),
    };
    match answered {
        Ok((status, shown)) => {
            // A reader that closes the pipe early has seen what it wanted.
            let _ = std::io::stdout().write_all(shown.text.as_bytes());
            ExitCode::from(status)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

/// Waits, and shows where the rollout is then; the exit status comes first.
fn wait(
    target: &Target,
    wanted: wait::Wanted,
    timeout: std::time::Duration,
    reader: Reader,
) -> Result<(u8, Shown), Failure> {
    let client = client(&target.connection)?;
    let (ending, answer) = wait::run(&client, &target.rollout, wanted, timeout)?;
    let shown = answer.map(|answer| show(&answer, &target.connection, reader, show::rollout, |_| false));
    Ok((ending.exit_status(), shown.transpose()?.unwrap_or_default()))
}

fn ask(command: &Command, reader: Reader) -> Result<Shown, Failure> {
    let (target, verb, body) = match command {
        Command::Status { rollout, watch: true, connection } => {
            let subject = rollout.clone().map_or(Subject::All, Subject::Rollout);
            let rollouts = watch::run(client(connection)?, subject, connection.json, reader)?;
            return Ok(Shown { text: String::new(), bad: rollouts.iter().any(show::is_bad) });
        }
        Command::Status { rollout: Some(rollout), connection, .. } => {
            return status(rollout, connection, reader);
        }
        Command::Status { rollout: None, connection, .. } => return all(connection, reader),
        Command::Wait { target, wanted, timeout } => {
            return wait(target, *wanted, *timeout, reader).map(|(_, shown)| shown);
        }
        Command::Events { target, watch: true } => {
            let subject = Subject::Events(target.rollout.clone());
            watch::run(client(&target.connection)?, subject, target.connection.json, reader)?;
            return Ok(Shown::default());
        }
        Command::Events { target, .. } => return events(target, reader),
        Command::Differences(target) => return differences(target, reader),
        Command::Promote { target, full } => {
            (target, &command::PROMOTE, if *full { r#"{"full":true}"#.into() } else { "{}".into() })
        }
        Command::Abort { rollout: Some(rollout), connection, .. } => {
            let answer = send(&client(connection)?, rollout, &command::ABORT, "{}")?;
            say_what_a_restart_does(&read(&answer)?);
            return show(&answer, connection, reader, show::rollout, |_| false);
        }
        Command::Abort { rollout: None, connection, .. } => return abort_all(connection, reader),
        Command::Pause(target) => (target, &command::PAUSE, "{}".into()),
        Command::Resume(target) => (target, &command::RESUME, "{}".into()),
        Command::Retry(target) => (target, &command::RETRY, "{}".into()),
        Command::Weight { target, shares } => (target, &command::WEIGHT, weights(shares)?),
        Command::Switch { target, version } => {
            (target, &command::SWITCH, serde_json::json!({"active": version}).to_string())
        }
    };
    let answer = send(&client(&target.connection)?, &target.rollout, verb, &body)?;
    show(&answer, &target.connection, reader, show::rollout, |_| false)
}

/// Sends a command to a rollout.
fn send(client: &Client, rollout: &str, verb: &command::Verb, body: &str) -> Result<String, Failure> {
    let answer = client.post(&format!("/v1/rollouts/{rollout}/{}", verb.name), body);
    answer.map_err(|failure| with_known_names(client, rollout, failure))
}

/// An abort is of the running Envoy: after a restart the configuration counts alone.
fn say_what_a_restart_does(rollout: &Rollout) {
    if !rollout.steps.is_empty() && !rollout.pinned {
        let Rollout { name, stable, .. } = rollout;
        eprintln!(
            "{name}: a restart of Envoy begins the release again; `pin: {stable}` in its configuration prevents that"
        );
    }
}

/// Aborts every rollout that is progressing or paused. One that is refused does not stop the others.
fn abort_all(connection: &Connection, reader: Reader) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let mut all = Shown::default();
    let moving = |rollout: &Rollout| matches!(rollout.phase, Phase::Progressing | Phase::Paused);
    for rollout in pages(&client)?.0.into_iter().filter(moving) {
        let answer = send(&client, &rollout.name, &command::ABORT, "{}");
        answer.iter().for_each(|_| say_what_a_restart_does(&rollout));
        match answer.and_then(|answer| show(&answer, connection, reader, show::rollout, |_| false)) {
            Ok(shown) => {
                if !all.text.is_empty() && !connection.json {
                    all.text.push('\n');
                }
                all.text.push_str(&shown.text);
            }
            Err(failure) => {
                eprintln!("{}: {failure}", rollout.name);
                all.bad = true;
            }
        }
    }
    if all == Shown::default() && !connection.json {
        all.text.push_str("no rollout is progressing or paused\n");
    }
    Ok(all)
}

fn status(rollout: &str, connection: &Connection, reader: Reader) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let answer = client.get(&format!("/v1/rollouts/{rollout}"));
    let answer = answer.map_err(|failure| with_known_names(&client, rollout, failure))?;
    show(&answer, connection, reader, show::rollout, show::is_bad)
}

fn events(target: &Target, reader: Reader) -> Result<Shown, Failure> {
    let client = client(&target.connection)?;
    let answer = client.get(&format!("/v1/rollouts/{}/events", target.rollout));
    let answer = answer.map_err(|failure| with_known_names(&client, &target.rollout, failure))?;
    let lines = |journal: &Journal, width| show::events(&journal.events, width);
    show(&answer, &target.connection, reader, lines, |_| false)
}

fn differences(target: &Target, reader: Reader) -> Result<Shown, Failure> {
    let client = client(&target.connection)?;
    let answer = client.get(&format!("/v1/rollouts/{}/differences", target.rollout));
    let answer = answer.map_err(|failure| with_known_names(&client, &target.rollout, failure))?;
    show(&answer, &target.connection, reader, compared::lines, |_| false)
}

fn all(connection: &Connection, reader: Reader) -> Result<Shown, Failure> {
    let (rollouts, answers) = pages(&client(connection)?)?;
    if rollouts.is_empty() && !connection.json {
        return Err(Failure::NotYet(NOT_YET.into()));
    }
    let text = if connection.json {
        answers
    } else {
        text::write(&show::rollouts(&rollouts, reader.width), reader.tones)
    };
    Ok(Shown { text, bad: rollouts.iter().any(show::is_bad) })
}

/// All rollouts, page by page, and the answers as they came, one a line.
fn pages(client: &Client) -> Result<(Vec<Rollout>, String), Failure> {
    let (mut rollouts, mut answers) = (Vec::new(), String::new());
    let mut after: Option<String> = None;
    loop {
        let answer = client.get(&match &after {
            Some(after) => format!("/v1/rollouts?after={after}"),
            None => "/v1/rollouts".into(),
        })?;
        let page: Page = read(&answer)?;
        rollouts.extend(page.rollouts);
        answers.push_str(&answer);
        answers.push('\n');
        // Names rise from page to page: a listing that goes round in circles ends here.
        if page.next <= after {
            return Ok((rollouts, answers));
        }
        after = page.next;
    }
}

/// Where a rollout's name is refused, adds those that there are.
fn with_known_names(client: &Client, rollout: &str, failure: Failure) -> Failure {
    let Failure::Refused(why) = failure else { return failure };
    match pages(client) {
        Ok((rollouts, _)) => with_names(&rollouts, rollout, why),
        Err(_) => Failure::Refused(why),
    }
}

/// The same, where those that there are have been asked for.
fn with_names(rollouts: &[Rollout], rollout: &str, why: String) -> Failure {
    const MOST_NAMES: usize = 10;
    if rollouts.iter().any(|known| known.name == rollout) {
        return Failure::Refused(why);
    }
    let names: Vec<String> =
        rollouts.iter().take(MOST_NAMES).map(|known| format!("\"{}\"", known.name)).collect();
    let more = if rollouts.len() > MOST_NAMES { ", … (changeover status lists all)" } else { "" };
    if names.is_empty() {
        return Failure::NotYet(format!("\"{rollout}\": {NOT_YET}"));
    }
    Failure::Refused(format!("{why}; known here: {}{more}", names.join(", ")))
}

/// The body of `weight`.
fn weights(shares: &[(String, Number)]) -> Result<String, Failure> {
    let mut body = Map::new();
    for (version, share) in shares {
        if body.insert(version.clone(), Value::Number(share.clone())).is_some() {
            return Err(Failure::Unreachable(format!("{version} is named twice")));
        }
    }
    Ok(Value::Object(body).to_string())
}

fn show<T: DeserializeOwned>(
    answer: &str,
    connection: &Connection,
    reader: Reader,
    human: impl Fn(&T, Option<usize>) -> Vec<Line>,
    bad: impl Fn(&T) -> bool,
) -> Result<Shown, Failure> {
    let value: T = read(answer)?;
    let text = if connection.json {
        format!("{answer}\n")
    } else {
        text::write(&human(&value, reader.width), reader.tones)
    };
    Ok(Shown { text, bad: bad(&value) })
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer)
        .map_err(|error| Failure::Unreachable(format!("this version cannot read the answer: {error}")))
}

fn client(connection: &Connection) -> Result<Client, Failure> {
    let token = token(connection.token_file.as_deref(), std::env::var("CHANGEOVER_TOKEN").ok())?;
    Client::new(endpoint(&connection.endpoint), token.as_deref())
}

/// The endpoint: an empty variable in the environment says nothing.
fn endpoint(given: &str) -> &str {
    match given.trim() {
        "" => ENDPOINT,
        given => given,
    }
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
    named(text, "rollout")
}

fn version(text: &str) -> Result<String, String> {
    named(text, "version")
}

fn named(text: &str, what: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a {what}'s name: lower-case letters, digits and -"))
    }
}

/// Reads a version and its share: `green=10`.
fn share(text: &str) -> Result<(String, Number), String> {
    let expected =
        || "expected a version and its share in percent, such as green=10 or green=0.25".to_owned();
    let (version, share) = text.split_once('=').ok_or_else(expected)?;
    let version = name(version).map_err(|_| expected())?;
    // Passed on as written: the API validates shares.
    let share = share.parse().map_err(|_| expected())?;
    Ok((version, share))
}

#[cfg(test)]
mod tests;
