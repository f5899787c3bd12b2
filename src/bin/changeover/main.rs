//! The command line `changeover`.

#![forbid(unsafe_code)]

mod check;
mod control;
mod documents;
mod envoy;
mod kubernetes;
mod replay;
mod schema;
mod source;
mod suggest;
mod yaml;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Release models safely behind Envoy
#[derive(Parser)]
#[command(version = changeover::VERSION, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate configurations: bare ones, or the changeover filters inside YAML for Envoy, Istio or Envoy Gateway
    ///
    /// It reads Envoy's /config_dump and the output of egctl and istioctl, too.
    ///
    /// Exit status: 0 all are valid, 1 at least one is not, 2 a file cannot be read, 3 no file has a changeover filter.
    Check {
        /// YAML or JSON files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Judge a recording as the filter would: evidence and verdict after each tick
    ///
    /// Reads and prints JSON lines. Exit status: 0 no rollback, 1 a rollback, 2 the input is wrong.
    Replay {
        /// The configuration, in any form that `check` takes
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The rollout, if several are judged
        #[arg(long, value_name = "NAME")]
        rollout: Option<String>,
        /// The recording; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Propose alarms that fit a recording, and say when each would have been raised
    ///
    /// Thresholds are from what stable did. Prints YAML. Exit status: 0 the candidate would have raised none of them, 1 it would
    /// have, 2 the input is wrong.
    Suggest {
        /// The configuration, in any form that `check` takes
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The rollout, if several are judged
        #[arg(long, value_name = "NAME")]
        rollout: Option<String>,
        /// The recording; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    #[command(flatten)]
    Control(control::Command),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { files } => check::run(&files),
        Command::Schema => schema::run(),
        Command::Replay { config, rollout, file } => replay::run(&config, rollout.as_deref(), &file),
        Command::Suggest { config, rollout, file } => suggest::run(&config, rollout.as_deref(), &file),
        Command::Control(command) => control::run(&command),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "changeover", &mut script);
    // A reader that closes the pipe early has what it wanted.
    let _ = stdout().write_all(&script);
    ExitCode::SUCCESS
}
