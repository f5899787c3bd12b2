//! `changeover status`, `events`, and the commands: what people ask of a running Envoy, over its control listener.

mod about;
mod client;
mod compared;
mod draw;
mod fleet;
mod ladder;
mod lines;
mod look;
mod many;
mod order;
mod picture;
mod record;
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

use changeover::control::differences::Differences;
use changeover::control::view::{Event, Fleet, Journal, Page, Rollout};
use changeover::rollout::phase::Phase;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use about::About;
use client::{Client, Failure};
use look::Subject;
use order::Order;
use terminal::Reader;

/// The control listener's default address.
const ENDPOINT: &str = "http://127.0.0.1:9911";
/// Said where the API has no rollout at all.
const NOT_YET: &str = "not known yet: Envoy has just started, or its configuration has no rollout";
/// Said where there is nothing to abort.
const NONE_MOVES: &str = "no rollout is progressing or paused\n";

/// The commands of the control API.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the state of one rollout, or of all
    ///
    /// Exit status: 0 all is well, 1 a rollout is failed or aborted, or none has that name, or one of several endpoints
    /// cannot be reached, 2 the control listener cannot be reached, 3 no rollout is known yet.
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
    /// Show the Envoys that share their rollouts through a store: which one leads, and which are counted
    ///
    /// Exit status: 0 all is well, 1 something needs attention, no Envoy leads, the Envoy acts on its own or has no store, or one
    /// of several endpoints cannot be reached, 2 the control listener cannot be reached.
    Fleet {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what happened to a rollout, newest first
    ///
    /// Exit status: 0 done, 1 no rollout has that name, or one of several endpoints cannot be reached, 2 the control listener
    /// cannot be reached.
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
    /// Record the ticks that a rollout is judged by, for `replay`: one JSON object a line
    ///
    /// It follows the rollout until the time is over, Ctrl-C, or its output is closed. An Envoy that does not answer for a
    /// while is asked again; what it means for the recording is said on standard error.
    ///
    /// Exit status: 0 done, 1 no rollout has that name, or it is not judged, 2 the control listener cannot be reached.
    Record {
        #[command(flatten)]
        target: Target,
        /// For how long, such as 90s, 30m or 24h
        #[arg(long = "for", value_name = "DURATION", value_parser = wait::duration, default_value = "1h")]
        duration: std::time::Duration,
    },
    /// Wait until a rollout has succeeded, is paused, or has failed
    ///
    /// With several endpoints until it is there at all of them, or cannot get there any more at one.
    ///
    /// Exit status: 0 it is there, 1 it has ended otherwise, 2 the control listener, or one of several, cannot be asked, 3 the
    /// time is over, 4 there is none of that name.
    Wait {
        #[command(flatten)]
        target: Target,
        /// What to wait for
        #[arg(long = "for", value_name = "PHASE", value_enum)]
        wanted: wait::Wanted,
        /// How long at most, such as 90s, 30m or 2h
        #[arg(long, value_name = "DURATION", value_parser = wait::duration)]
        timeout: std::time::Duration,
        /// Wait for this release: one before it that is still there, or has ended, does not count
        #[arg(long, value_name = "RELEASE")]
        release: Option<String>,
    },
    #[command(flatten)]
    Order(Order),
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

/// Why a command is given.
#[derive(Args)]
pub(crate) struct Why {
    /// Why, for the rollout's events and Envoy's log: at most 256 characters
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// How to reach the control listener.
#[derive(Args)]
pub(crate) struct Connection {
    /// The control listener; several of them repeated, or behind commas. A name with several addresses is several
    #[arg(long = "endpoint", value_name = "URL", env = "CHANGEOVER_ENDPOINT", default_value = ENDPOINT, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// A file with the token; without it the token is CHANGEOVER_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what the API answers
    #[arg(long)]
    json: bool,
}

/// What one Envoy has answered.
#[derive(Debug)]
struct Answer {
    /// As it came, one answer a line.
    raw: String,
    content: Content,
    /// Whether something is wrong with it.
    bad: bool,
}

impl Answer {
    /// The rollouts that it is about, by name.
    fn commanded(&self) -> Vec<&str> {
        let rollouts = match &self.content {
            Content::Rollout(rollout) => std::slice::from_ref(rollout.as_ref()),
            Content::List(rollouts) | Content::Commanded(rollouts) => rollouts.as_slice(),
            Content::Events(_) | Content::Differences(_) | Content::Fleet(_) => &[],
        };
        rollouts.iter().map(|rollout| rollout.name.as_str()).collect()
    }
}

#[derive(Debug)]
enum Content {
    /// All rollouts.
    List(Vec<Rollout>),
    Rollout(Box<Rollout>),
    /// The rollouts that a command was sent to.
    Commanded(Vec<Rollout>),
    Events(Vec<Event>),
    Differences(Box<Differences>),
    Fleet(Box<Fleet>),
}

/// What there is to show, and the exit status.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    text: String,
    /// For standard error, one a line.
    remarks: Vec<String>,
    status: u8,
}

/// Asks, shows the answer, and says by the exit status what came of it.
pub(crate) fn run(command: &Command) -> ExitCode {
    match ask(command, Reader::of_stdout()) {
        Ok(shown) => {
            shown.remarks.iter().for_each(|remark| eprintln!("{}", text::harmless(remark)));
            // A reader that closes the pipe early has seen what it wanted.
            let _ = std::io::stdout().write_all(shown.text.as_bytes());
            ExitCode::from(shown.status)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

fn ask(command: &Command, reader: Reader) -> Result<Shown, Failure> {
    let connection = command.connection();
    let mut clients = clients(connection)?;
    if clients.len() > 1 && matches!(command, Command::Order(_)) {
        clients = fleet::one_of_each(clients);
    }
    if clients.len() > 1 && matches!(command, Command::Record { .. }) {
        return Err(Failure::Unreachable("a recording is of one Envoy; expected one endpoint".into()));
    }
    if let Some(subject) = command.watched() {
        let status = watch::run(clients, &subject, connection.json, reader)?;
        return Ok(Shown { status, ..Shown::default() });
    }
    if clients.len() > 1 {
        return many::ask(clients, command, reader);
    }
    let Some(client) = clients.pop() else { return Err(Failure::Unreachable("no endpoint".into())) };
    match command {
        Command::Record { target, duration } => {
            let (out, problems) = (&mut std::io::stdout().lock(), &mut std::io::stderr());
            record::run(&client, &target.rollout, *duration, out, problems)?;
            Ok(Shown::default())
        }
        Command::Wait { target, wanted, timeout, release } => {
            let wanted_of = (target.rollout.as_str(), release.as_deref());
            let (ending, answer) = wait::run(&client, wanted_of, *wanted, *timeout)?;
            let answer = answer.map(rollout).transpose()?;
            let shown = answer.map(|answer| shown(&answer, connection, reader));
            Ok(Shown { status: ending.exit_status(), ..shown.unwrap_or_default() })
        }
        command => {
            let is_status = matches!(command, Command::Status { .. }) && !connection.json; // what programs read stays as it is
            let of_fleet = || {
                let fleet = is_status.then(|| fleet::of(&client)).flatten()?;
                Some(text::write(&show::fleet(&fleet, reader.width), reader.tones))
            };
            let answer = match answer(command, &client) {
                Ok(answer) => answer,
                // Why a rollout is not known, the fleet may say.
                Err(failure @ (Failure::NotYet(_) | Failure::Refused(_))) => {
                    let Some(text) = of_fleet() else { return Err(failure) };
                    let status = failure.exit_status();
                    return Ok(Shown { text, remarks: vec![failure.to_string()], status });
                }
                Err(failure) => return Err(failure),
            };
            let mut shown = shown(&answer, connection, reader);
            if let Some(fleet) = of_fleet() {
                shown.text += &format!("\n{fleet}");
            }
            if let Command::Order(_) = command {
                shown.remarks.extend(fleet::await_followers(&client, &answer.commanded()));
            }
            Ok(shown)
        }
    }
}

/// The answer of one Envoy to a question or a command.
fn answer(command: &Command, client: &Client) -> Result<Answer, Failure> {
    match command {
        Command::Status { rollout: Some(name), .. }
        | Command::Wait { target: Target { rollout: name, .. }, .. }
        | Command::Record { target: Target { rollout: name, .. }, .. } => {
            let answer = rollout(About { client, rollout: name }.get("")?)?;
            let bad = matches!(&answer.content, Content::Rollout(rollout) if show::is_bad(rollout));
            Ok(Answer { bad, ..answer })
        }
        Command::Status { rollout: None, connection, .. } => all(client, connection),
        Command::Fleet { .. } => members(client),
        Command::Events { target, .. } => events(client, &target.rollout),
        Command::Differences(target) => differences(client, &target.rollout),
        Command::Order(order) => match &order.rollout {
            Some(name) => {
                let sent = rollout(send(client, name, order)?)?;
                if let Content::Rollout(rollout) = &sent.content {
                    say_what_a_restart_does(client, order, std::slice::from_ref(rollout.as_ref()));
                }
                Ok(sent)
            }
            None => send_to_all(client, order),
        },
    }
}

/// An answer that is a rollout.
fn rollout(answer: String) -> Result<Answer, Failure> {
    let rollout = Box::new(read(&answer)?);
    Ok(Answer { raw: answer + "\n", content: Content::Rollout(rollout), bad: false })
}

/// What a person or a program gets to see of an answer.
fn shown(answer: &Answer, connection: &Connection, reader: Reader) -> Shown {
    let text = match &answer.content {
        _ if connection.json => answer.raw.clone(),
        Content::List(rollouts) => text::write(&show::rollouts(rollouts, reader.width), reader.tones),
        Content::Rollout(rollout) => text::write(&show::rollout(rollout, reader.width), reader.tones),
        Content::Commanded(rollouts) if rollouts.is_empty() && !answer.bad => NONE_MOVES.to_owned(),
        Content::Commanded(rollouts) => {
            let one = |rollout| text::write(&show::rollout(rollout, reader.width), reader.tones);
            rollouts.iter().map(one).collect::<Vec<_>>().join("\n")
        }
        Content::Events(events) => text::write(&show::events(events, reader.width), reader.tones),
        Content::Differences(found) => text::write(&compared::lines(found, reader.width), reader.tones),
        Content::Fleet(fleet) => text::write(&show::members(fleet, reader.width), reader.tones),
    };
    Shown { text, status: answer.bad.into(), ..Shown::default() }
}

impl Command {
    fn connection(&self) -> &Connection {
        match self {
            Self::Status { connection, .. }
            | Self::Fleet { connection }
            | Self::Order(Order { connection, .. }) => connection,
            Self::Differences(target)
            | Self::Events { target, .. }
            | Self::Record { target, .. }
            | Self::Wait { target, .. } => &target.connection,
        }
    }

    /// What it keeps watching; `None`: it looks once.
    fn watched(&self) -> Option<Subject> {
        match self {
            Self::Status { rollout, watch: true, .. } => {
                Some(rollout.clone().map_or(Subject::All, Subject::Rollout))
            }
            Self::Events { target, watch: true } => Some(Subject::Events(target.rollout.clone())),
            _ => None,
        }
    }
}

/// Sends a command to a rollout.
fn send(client: &Client, rollout: &str, order: &Order) -> Result<String, Failure> {
    About { client, rollout }.post(order.verb.name, &order.body()?)
}

/// Says what becomes of aborts when the Envoy that has obeyed them ends.
fn say_what_a_restart_does(client: &Client, order: &Order, aborted: &[Rollout]) {
    if order.verb.name != "abort" {
        return;
    }
    let begins_again = |rollout: &&Rollout| !rollout.steps.is_empty() && !rollout.pinned;
    let aborted: Vec<&Rollout> = aborted.iter().filter(begins_again).collect();
    let names: Vec<&str> = aborted.iter().map(|rollout| rollout.name.as_str()).collect();
    let what = if names.is_empty() { None } else { fleet::lost_at_a_restart(client, &names) };
    if let Some(what) = what {
        for Rollout { name, stable, .. } in aborted {
            eprintln!("{name}: {what}; `pin: {stable}` in its configuration prevents that");
        }
    }
}

/// Sends a command to every rollout that is progressing or paused. One that is refused does not stop the others.
fn send_to_all(client: &Client, order: &Order) -> Result<Answer, Failure> {
    let (mut raw, mut commanded, mut bad) = (String::new(), Vec::new(), false);
    let moving = |rollout: &Rollout| matches!(rollout.phase, Phase::Progressing | Phase::Paused);
    let rollouts = pages(client)?.0;
    if rollouts.is_empty() {
        // An Envoy that has just started has yet to say what moves: nothing was aborted.
        return Err(Failure::NotYet(NOT_YET.into()));
    }
    for found in rollouts.into_iter().filter(moving) {
        let sent = send(client, &found.name, order);
        match sent.and_then(|answer| Ok((read(&answer)?, answer))) {
            Ok((rollout, answer)) => {
                raw = raw + &answer + "\n";
                commanded.push(rollout);
            }
            Err(failure) => {
                eprintln!("{}: {failure}", found.name);
                bad = true;
            }
        }
    }
    say_what_a_restart_does(client, order, &commanded);
    Ok(Answer { raw, content: Content::Commanded(commanded), bad })
}

fn events(client: &Client, rollout: &str) -> Result<Answer, Failure> {
    let answer = About { client, rollout }.get("/events")?;
    let journal: Journal = read(&answer)?;
    Ok(Answer { raw: answer + "\n", content: Content::Events(journal.events), bad: false })
}

fn members(client: &Client) -> Result<Answer, Failure> {
    let answer = client.get("/v1/fleet")?;
    let fleet: Box<Fleet> = Box::new(read(&answer)?);
    let bad = fleet::is_bad(&fleet);
    Ok(Answer { raw: answer + "\n", content: Content::Fleet(fleet), bad })
}

fn differences(client: &Client, rollout: &str) -> Result<Answer, Failure> {
    let answer = About { client, rollout }.get("/differences")?;
    let found = Box::new(read(&answer)?);
    Ok(Answer { raw: answer + "\n", content: Content::Differences(found), bad: false })
}

fn all(client: &Client, connection: &Connection) -> Result<Answer, Failure> {
    let (rollouts, raw) = pages(client)?;
    if rollouts.is_empty() && !connection.json {
        return Err(Failure::NotYet(NOT_YET.into()));
    }
    let bad = rollouts.iter().any(show::is_bad);
    Ok(Answer { raw, content: Content::List(rollouts), bad })
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

/// A refusal of a rollout's name, with those that there are.
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

fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::Unreachable(format!("this version cannot read the answer: {error}"))
}

/// A client for each control listener.
fn clients(connection: &Connection) -> Result<Vec<Client>, Failure> {
    let token = token(connection.token_file.as_deref(), std::env::var("CHANGEOVER_TOKEN").ok())?;
    let mut clients = Vec::new();
    for given in &connection.endpoints {
        clients.extend(Client::new(endpoint(given), token.as_deref())?.for_each_address());
    }
    Ok(clients)
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

fn named(text: &str, what: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a {what}'s name: lower-case letters, digits and -"))
    }
}

#[cfg(test)]
mod tests;
