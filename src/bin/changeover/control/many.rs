//! Several control listeners at once: the same question to all of them, and their answers side by side.

use std::sync::mpsc;
use std::thread;

use changeover::control::view::{Event, Rollout};
use serde_json::json;

use super::client::{Client, Failure};
use super::compared;
use super::fleet;
use super::lines::under;
use super::terminal::Reader;
use super::text;
use super::wait;
use super::{Answer, Command, Content, NONE_MOVES, Shown, answer, rollout, show};

/// An answer, or why there is none, and where it is from.
type Told = (String, Result<Answer, Failure>);

/// Asks all of them at the same time. The exit status is 0 if all have answered and all is well; where
/// none has answered, it is that of one alone.
///
/// # Errors
/// None of those that were to be waited for has answered.
pub(super) fn ask(clients: Vec<Client>, command: &Command, reader: Reader) -> Result<Shown, Failure> {
    let told = match command {
        Command::Wait { target, wanted, timeout, release } => {
            let wanted_of = (target.rollout.as_str(), release.as_deref());
            let (status, told) = wait_for_all(clients, wanted_of, *wanted, *timeout)?;
            let (text, _) = told_text(&told, command, reader);
            return Ok(Shown { text, status, ..Shown::default() });
        }
        command => ask_all(&clients, command),
    };
    let (text, all_well) = told_text(&told, command, reader);
    let failures: Vec<&Failure> = told.iter().filter_map(|(_, told)| told.as_ref().err()).collect();
    let status = match failures.iter().map(|failure| failure.exit_status()).min() {
        Some(status) if failures.len() == told.len() => status,
        _ => (!all_well).into(),
    };
    let is_order = matches!(command, Command::Order(_));
    let remarks = if is_order { await_followers(&clients, &told) } else { Vec::new() };
    Ok(Shown { text, remarks, status })
}

/// Waits for the fleets of all that have obeyed, at the same time. What came of each, behind the endpoint that was asked.
fn await_followers(clients: &[Client], told: &[Told]) -> Vec<String> {
    thread::scope(|scope| {
        let obeyed = clients.iter().zip(told).filter_map(|(client, (endpoint, answer))| {
            let commanded = answer.as_ref().ok()?.commanded();
            Some((endpoint, scope.spawn(move || fleet::await_followers(client, &commanded))))
        });
        let waits: Vec<_> = obeyed.collect();
        let sentences = waits.into_iter().filter_map(|(endpoint, waits)| {
            let sentence = waits.join().unwrap_or_default()?;
            Some(format!("{endpoint}: {sentence}"))
        });
        sentences.collect()
    })
}

fn ask_all(clients: &[Client], command: &Command) -> Vec<Told> {
    thread::scope(|scope| {
        let ask = |client| scope.spawn(move || answer(command, client));
        let asked: Vec<_> = clients.iter().map(ask).collect();
        let answers = asked.into_iter().map(|asked| {
            asked.join().unwrap_or_else(|_| Err(Failure::Unreachable("the question failed".into())))
        });
        clients.iter().map(Client::name).zip(answers).collect()
    })
}

/// Waits until a rollout is where it is wanted at all of them. Ends with the first one that cannot get there any more.
fn wait_for_all(
    clients: Vec<Client>,
    (name, release): (&str, Option<&str>),
    wanted: wait::Wanted,
    timeout: std::time::Duration,
) -> Result<(u8, Vec<Told>), Failure> {
    let (sender, endings) = mpsc::channel();
    for client in clients {
        let (sender, name, release) = (sender.clone(), name.to_owned(), release.map(str::to_owned));
        // Those that still wait when one has failed end with the program.
        thread::spawn(move || {
            let ending = wait::run(&client, (&name, release.as_deref()), wanted, timeout);
            let _ = sender.send((client.name(), ending)); // the receiver may be gone
        });
    }
    drop(sender);
    let mut told = Vec::new();
    for (endpoint, ending) in endings {
        let status = match ending {
            Err(failure) => {
                let status = failure.exit_status();
                told.push((endpoint, Err(failure)));
                status
            }
            Ok((ending, last)) => {
                if let Some(last) = last {
                    told.push((endpoint, rollout(last)));
                } else {
                    told.push((endpoint, Err(Failure::NotYet("no answer until the time was over".into()))));
                }
                ending.exit_status()
            }
        };
        if status != 0 {
            return Ok((status, told));
        }
    }
    Ok((0, told))
}

/// What they have told, and whether all have answered and all is well. Those that have not are named on standard error.
fn told_text(told: &[Told], command: &Command, reader: Reader) -> (String, bool) {
    let mut all_well = true;
    for (endpoint, told) in told {
        match told {
            Ok(answer) => all_well &= !answer.bad,
            Err(failure) => {
                all_well = false;
                eprintln!("{endpoint}: {}", failure.without(endpoint));
            }
        }
    }
    let text = if command.connection().json { lines(told) } else { side_by_side(told, reader) };
    (text, all_well)
}

/// A line of JSON for each answer, and for each that is missing.
fn lines(told: &[Told]) -> String {
    let mut text = String::new();
    for (endpoint, told) in told {
        match told {
            Ok(answer) => text.push_str(&under(endpoint, &answer.raw, true)),
            Err(failure) => {
                text.push_str(&json!({"endpoint": endpoint, "error": failure.to_string()}).to_string());
                text.push('\n');
            }
        }
    }
    text
}

fn side_by_side(told: &[Told], reader: Reader) -> String {
    let mut rollouts: Vec<(&str, &Rollout)> = Vec::new();
    let mut journals: Vec<(&str, &[Event])> = Vec::new();
    let mut sections: Vec<String> = Vec::new();
    let mut commanded = false;
    for (endpoint, answer) in told.iter().filter_map(|(endpoint, told)| Some((endpoint, told.as_ref().ok()?)))
    {
        match &answer.content {
            Content::List(found) => rollouts.extend(found.iter().map(|rollout| (endpoint.as_str(), rollout))),
            Content::Commanded(found) => {
                commanded = true;
                rollouts.extend(found.iter().map(|rollout| (endpoint.as_str(), rollout)));
            }
            Content::Rollout(rollout) => rollouts.push((endpoint, rollout)),
            Content::Events(events) => journals.push((endpoint, events)),
            Content::Differences(found) => {
                let found = text::write(&compared::lines(found, reader.width), reader.tones);
                sections.push(format!("{endpoint}\n{found}"));
            }
            Content::Fleet(fleet) => {
                let members = text::write(&show::members(fleet, reader.width), reader.tones);
                sections.push(format!("{endpoint}\n{members}"));
            }
        }
    }
    if !rollouts.is_empty() {
        return text::write(&show::side_by_side(&rollouts, reader.width), reader.tones);
    }
    let journal = |(endpoint, events): &(&str, &[Event])| {
        format!("{endpoint}\n{}", text::write(&show::events(events, reader.width), reader.tones))
    };
    sections.extend(journals.iter().map(journal));
    let mut text = sections.join("\n");
    if commanded {
        text.push_str(NONE_MOVES);
    }
    text
}
