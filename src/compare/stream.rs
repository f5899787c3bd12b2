//! A streamed answer → the document that it adds up to.

use serde_json::{Map, Value, json};

/// Choices of an answer that are put together.
const MOST_CHOICES: usize = 16;

/// What a stream says of one choice.
#[derive(Default)]
struct Choice {
    content: Option<String>,
    text: Option<String>,
    finish: Option<Value>,
}

/// Puts together the events of a stream: for the protocols of OpenAI the document that the same answer would be without
/// streaming (`choices` with `message.content` or `text`, and `finish_reason`; `output_text`), for others `events`, in order.
#[must_use]
pub fn assemble(body: &[u8]) -> Value {
    let mut choices: Vec<Choice> = Vec::new();
    let mut output: Option<String> = None;
    let mut others = Vec::new();
    for event in events(body).filter(|event| event.trim() != "[DONE]") {
        let Ok(event) = serde_json::from_slice::<Value>(event.as_bytes()) else {
            others.push(Value::String(event));
            continue;
        };
        if let Some(list) = event.get("choices").and_then(Value::as_array) {
            list.iter().for_each(|choice| add(&mut choices, choice));
        } else if let Some(kind) =
            event.get("type").and_then(Value::as_str).filter(|kind| kind.starts_with("response."))
        {
            if kind == "response.output_text.delta" {
                push(&mut output, event.get("delta"));
            }
        } else {
            others.push(event);
        }
    }
    let mut document = Map::new();
    if !choices.is_empty() {
        let choices: Vec<Value> = choices.into_iter().map(Choice::document).collect();
        document.insert("choices".to_owned(), choices.into());
    }
    if let Some(output) = output {
        document.insert("output_text".to_owned(), output.into());
    }
    if !others.is_empty() {
        document.insert("events".to_owned(), others.into());
    }
    Value::Object(document)
}

fn add(choices: &mut Vec<Choice>, seen: &Value) {
    let index = seen.get("index").and_then(Value::as_u64).unwrap_or(0);
    let Some(index) = usize::try_from(index).ok().filter(|index| *index < MOST_CHOICES) else { return };
    if choices.len() <= index {
        choices.resize_with(index.saturating_add(1), Choice::default);
    }
    let Some(choice) = choices.get_mut(index) else { return };
    push(&mut choice.content, seen.pointer("/delta/content"));
    push(&mut choice.text, seen.get("text"));
    if let Some(finish) = seen.get("finish_reason").filter(|finish| !finish.is_null()) {
        choice.finish = Some(finish.clone());
    }
}

fn push(text: &mut Option<String>, piece: Option<&Value>) {
    if let Some(piece) = piece.and_then(Value::as_str) {
        text.get_or_insert_default().push_str(piece);
    }
}

impl Choice {
    fn document(self) -> Value {
        let mut document = Map::new();
        if let Some(content) = self.content {
            document.insert("message".to_owned(), json!({"content": content}));
        }
        if let Some(text) = self.text {
            document.insert("text".to_owned(), text.into());
        }
        document.insert("finish_reason".to_owned(), self.finish.unwrap_or(Value::Null));
        Value::Object(document)
    }
}

/// The data of each event, as the HTML standard reads a stream of events.
fn events(body: &[u8]) -> impl Iterator<Item = String> {
    let body = String::from_utf8_lossy(body).replace("\r\n", "\n").replace('\r', "\n");
    let mut all = Vec::new();
    let mut data: Option<String> = None;
    for line in body.strip_prefix('\u{feff}').unwrap_or(&body).split('\n') {
        if line.is_empty() {
            all.extend(data.take());
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            }
        }
    }
    // A stream that was cut off ends inside of an event: what was said counts.
    all.extend(data);
    all.into_iter()
}
