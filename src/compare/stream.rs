//! A streamed answer → the document that it adds up to.

use serde_json::{Map, Value};

use super::tree;

/// Choices of an answer, and calls of each, that are put together.
const MOST: usize = 16;

/// A call of a tool or a function.
#[derive(Default)]
struct Call {
    name: Option<String>,
    arguments: Option<String>,
}

/// What a stream says of one choice.
#[derive(Default)]
struct Choice {
    content: Option<String>,
    refusal: Option<String>,
    calls: Vec<Call>,
    /// As it was before tools.
    function: Call,
    text: Option<String>,
    finish: Option<Value>,
}

/// What a stream of the responses API says.
#[derive(Default)]
struct Response {
    text: Option<String>,
    refusal: Option<String>,
    calls: Vec<Call>,
    /// How it ended.
    status: Option<Value>,
}

/// Puts together the events of a stream: for the protocols of OpenAI the document that the same answer would be without
/// streaming (`choices` with `text`, or a `message` of text, refusal and calls, and `finish_reason`; of responses
/// `output_text`, `refusal`, `tool_calls` and `status`), for others `events`, in order. Ids of calls, which are drawn for each, are
/// left out. `None`: they have too many elements.
#[must_use]
pub fn assemble(body: &[u8]) -> Option<Value> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut response = Response::default();
    let mut others = Vec::new();
    let mut room = tree::MOST_ELEMENTS;
    for event in events(body).filter(|event| event.trim() != "[DONE]") {
        let left = room.checked_sub(tree::elements(event.as_bytes()))?;
        let event = serde_json::from_slice(event.as_bytes()).unwrap_or(Value::String(event));
        if let Some(list) = event.get("choices").and_then(Value::as_array) {
            list.iter().for_each(|choice| add(&mut choices, choice));
        } else if let Some(kind) =
            event.get("type").and_then(Value::as_str).filter(|kind| kind.starts_with("response."))
        {
            response.add(kind, &event);
        } else {
            others.push(event);
            room = left;
        }
    }
    let whole = document(&mut [
        ("choices", list(choices.into_iter().map(Choice::document).collect())),
        ("output_text", text(response.text)),
        ("refusal", text(response.refusal)),
        ("tool_calls", of_calls(response.calls)),
        ("status", response.status),
        ("events", list(others)),
    ]);
    whole.or_else(|| Some(Value::Object(Map::new())))
}

/// What stands under the number that a piece of it has.
fn numbered<'a, T: Default>(all: &'a mut Vec<T>, number: Option<&Value>) -> Option<&'a mut T> {
    let number = usize::try_from(number.and_then(Value::as_u64).unwrap_or(0)).ok()?;
    if all.len() <= number && number < MOST {
        all.resize_with(number.saturating_add(1), T::default);
    }
    all.get_mut(number)
}

fn add(choices: &mut Vec<Choice>, seen: &Value) {
    let Some(choice) = numbered(choices, seen.get("index")) else { return };
    push(&mut choice.content, seen.pointer("/delta/content"));
    push(&mut choice.refusal, seen.pointer("/delta/refusal"));
    for call in seen.pointer("/delta/tool_calls").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(known), Some(function)) =
            (numbered(&mut choice.calls, call.get("index")), call.get("function"))
        {
            known.add(function);
        }
    }
    if let Some(function) = seen.pointer("/delta/function_call") {
        choice.function.add(function);
    }
    push(&mut choice.text, seen.get("text"));
    if let Some(finish) = seen.get("finish_reason").filter(|finish| finish.is_string()) {
        choice.finish = Some(finish.clone());
    }
}

fn push(text: &mut Option<String>, piece: Option<&Value>) {
    if let Some(piece) = piece.and_then(Value::as_str) {
        text.get_or_insert_default().push_str(piece);
    }
}

/// A document with what is there of these; `None`: nothing is.
fn document(of: &mut [(&str, Option<Value>)]) -> Option<Value> {
    let mut document = Map::new();
    for (name, value) in of {
        if let Some(value) = value.take() {
            document.insert((*name).to_owned(), value);
        }
    }
    (!document.is_empty()).then_some(Value::Object(document))
}

/// `None`: nothing is in it.
fn list(of: Vec<Value>) -> Option<Value> {
    (!of.is_empty()).then_some(Value::Array(of))
}

fn text(text: Option<String>) -> Option<Value> {
    text.map(Value::String)
}

impl Call {
    fn add(&mut self, seen: &Value) {
        push(&mut self.name, seen.get("name"));
        push(&mut self.arguments, seen.get("arguments"));
    }

    /// `None`: there was none.
    fn document(self) -> Option<Value> {
        document(&mut [("name", text(self.name)), ("arguments", text(self.arguments))])
    }
}

/// `None`: there are none.
fn of_calls(calls: Vec<Call>) -> Option<Value> {
    list(calls.into_iter().filter_map(|call| document(&mut [("function", call.document())])).collect())
}

impl Response {
    /// Adds an event of this type.
    fn add(&mut self, kind: &str, event: &Value) {
        let piece = event.get("delta");
        match kind {
            "response.output_text.delta" => push(&mut self.text, piece),
            "response.refusal.delta" => push(&mut self.refusal, piece),
            "response.output_item.added" => self.add_call(event, event.pointer("/item/name"), None),
            "response.function_call_arguments.delta" => self.add_call(event, None, piece),
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.status = event.pointer("/response/status").filter(|status| status.is_string()).cloned();
            }
            _ => {}
        }
    }

    fn add_call(&mut self, event: &Value, name: Option<&Value>, arguments: Option<&Value>) {
        if let Some(call) = numbered(&mut self.calls, event.get("output_index")) {
            push(&mut call.name, name);
            push(&mut call.arguments, arguments);
        }
    }
}

impl Choice {
    fn document(self) -> Value {
        let message = document(&mut [
            ("content", text(self.content)),
            ("refusal", text(self.refusal)),
            ("tool_calls", of_calls(self.calls)),
            ("function_call", self.function.document()),
        ]);
        let finish = Some(self.finish.unwrap_or(Value::Null));
        let mut choice = [("message", message), ("text", text(self.text)), ("finish_reason", finish)];
        document(&mut choice).unwrap_or_default()
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
