//! The command line `changeover`.

#![forbid(unsafe_code)]

mod check;
mod control;
mod envoy;
mod kubernetes;
mod schema;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Releases models safely behind Envoy.
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
    /// Exit status: 0 all are valid, 1 one is not, 2 a file cannot be read.
    Check {
        /// YAML or JSON files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    #[command(flatten)]
    Control(control::Command),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { files } => check::run(&files),
        Command::Schema => schema::run(),
        Command::Control(command) => control::run(&command),
    }
}
