//! The commands to rollouts: their subcommands, arguments and bodies, as the table of commands has them.

use changeover::model::Degree;
use changeover::rollout::command::{self, Takes, VERBS, Verb};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Subcommand};
use serde_json::{Map, Number, Value};

use super::client::Failure;
use super::{Connection, Why, name, named};

/// What the exit status of a command means.
const DONE: &str = "Exit status: 0 done, 1 refused, or by one of several endpoints, 2 the control listener cannot be reached.";

/// A command to a rollout.
pub(crate) struct Order {
    pub(super) verb: &'static Verb,
    /// `None`: every rollout that is progressing or paused.
    pub(super) rollout: Option<String>,
    /// As they were given: a version may be among them twice.
    fields: Vec<(String, Value)>,
    why: Why,
    pub(super) connection: Connection,
}

impl Order {
    /// Its body.
    pub(super) fn body(&self) -> Result<String, Failure> {
        let mut body = Map::new();
        for (field, value) in &self.fields {
            if body.insert(field.clone(), value.clone()).is_some() {
                return Err(Failure::Unreachable(format!("{field} is named twice")));
            }
        }
        if let Some(reason) = &self.why.reason
            && body.insert("reason".into(), reason.as_str().into()).is_some()
        {
            let message = "a share of a version named `reason` and a reason do not fit into one command";
            return Err(Failure::Unreachable(message.into()));
        }
        Ok(Value::Object(body).to_string())
    }
}

impl Subcommand for Order {
    fn augment_subcommands(parent: clap::Command) -> clap::Command {
        parent.subcommands(VERBS.iter().map(subcommand))
    }

    fn augment_subcommands_for_update(parent: clap::Command) -> clap::Command {
        Self::augment_subcommands(parent)
    }

    fn has_subcommand(name: &str) -> bool {
        command::verb(name).is_some()
    }
}

impl FromArgMatches for Order {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let verb = command::verb(name).ok_or_else(missing)?;
        Ok(Self {
            verb,
            rollout: matches.get_one::<String>("rollout").cloned(),
            fields: fields(verb.takes, matches),
            why: Why::from_arg_matches(matches)?,
            connection: Connection::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn subcommand(verb: &Verb) -> clap::Command {
    let rollout = Arg::new("rollout").value_name("ROLLOUT").help("The rollout's name").value_parser(name);
    let mut command = clap::Command::new(verb.name);
    command = if verb.for_all {
        let all = Arg::new("all").long("all").action(ArgAction::SetTrue);
        let all = all.help(format!("{} every rollout that is progressing or paused", capitalized(verb.name)));
        command.arg(rollout.required_unless_present("all").conflicts_with("all")).arg(all)
    } else {
        command.arg(rollout.required(true))
    };
    command = Why::augment_args(Connection::augment_args(command)).args(argument(verb.takes));
    // Afterwards: what derives arguments describes the command by them.
    command = command.about(verb.summary).after_long_help(DONE);
    match verb.more {
        Some(more) => command.long_about(format!("{}\n\n{more}", verb.summary)),
        None => command,
    }
}

/// The argument that fields are given by.
fn argument(takes: Takes) -> Option<Arg> {
    let argument = match takes {
        Takes::Nothing(_) => return None,
        Takes::Full(_) => Arg::new("full")
            .long("full")
            .action(ArgAction::SetTrue)
            .help("Skip all remaining steps: all traffic to the candidate"),
        Takes::Shares(_) => Arg::new("shares")
            .required(true)
            .value_name("VERSION=PERCENT")
            .num_args(1..)
            .action(ArgAction::Append)
            .value_parser(share)
            .help("A version's share in percent, such as green=10; versions that are not named keep theirs"),
        Takes::Active(_) => Arg::new("version")
            .required(true)
            .value_name("VERSION")
            .value_parser(version)
            .help("The version to send all traffic to"),
        Takes::Degree(_) => Arg::new("degree")
            .required(true)
            .value_name("DEGREE")
            .value_parser(degree)
            .help("human, shadow, assist, partial or full"),
        Takes::Window(_) => Arg::new("window")
            .long("of")
            .value_name("WINDOW")
            .value_parser(["5m", "1h", "1d"])
            .help("Of which window, where there is a reference already"),
    };
    Some(argument)
}

/// The fields that were given.
fn fields(takes: Takes, matches: &ArgMatches) -> Vec<(String, Value)> {
    let text = |argument: &str, field: &str| {
        let given = matches.get_one::<String>(argument).into_iter();
        given.map(|text| (field.to_owned(), Value::from(text.as_str()))).collect()
    };
    match takes {
        Takes::Nothing(_) => Vec::new(),
        Takes::Full(_) if matches.get_flag("full") => vec![("full".into(), Value::Bool(true))],
        Takes::Full(_) => Vec::new(),
        Takes::Shares(_) => {
            let given = matches.get_many::<(String, Number)>("shares").into_iter().flatten();
            given.map(|(version, share)| (version.clone(), Value::Number(share.clone()))).collect()
        }
        Takes::Active(_) => text("version", "active"),
        Takes::Degree(_) => text("degree", "degree"),
        Takes::Window(_) => text("window", "window"),
    }
}

fn version(text: &str) -> Result<String, String> {
    named(text, "version")
}

fn degree(text: &str) -> Result<String, String> {
    let degree = Degree::named(text).ok_or("expected human, shadow, assist, partial or full")?;
    Ok(degree.label().to_owned())
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

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
