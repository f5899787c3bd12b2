//! The command line, beside real Envoys.

use std::net::SocketAddr;
use std::process::Command;

/// The command line with these endpoints, and nothing of the environment.
pub(crate) fn command(arguments: &[&str], endpoints: &[SocketAddr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_changeover"));
    command.args(arguments).env_remove("CHANGEOVER_ENDPOINT").env_remove("CHANGEOVER_TOKEN");
    command.args(endpoints.iter().flat_map(|endpoint| ["--endpoint".into(), format!("http://{endpoint}")]));
    command
}

/// What it says about these endpoints: standard output, standard error and exit status.
pub(crate) fn changeover(arguments: &[&str], endpoints: &[SocketAddr]) -> (String, String, Option<i32>) {
    let output = command(arguments, endpoints).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (text(output.stdout), text(output.stderr), output.status.code())
}
