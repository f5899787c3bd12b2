//! An answer: choices, how they ended, what they cost; whole or in events.
//!
//! An event is not a token: one can carry several, and the first one of vLLM carries none. Only the server counts how many
//! tokens there are, and says so in `usage`: in a stream in the last event, when the client asked for it.

use json_sieve::{Event, Slot, Text, Want};

use crate::payload::protocol::{Pointers, Reads, count, is_something};
use crate::payload::summary::{Choice, Finish, MAX_CHOICES, Seen};

/// What stands at a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Error,
    /// The whole.
    Answer,
    /// What answers with a value have.
    Value,
    /// The type of the whole: `error` in older servers.
    Object,
    Choice,
    Index,
    Text,
    Reasoning,
    Refusal,
    /// A call of a tool.
    Call,
    /// Its number, in streams, where pieces of it follow.
    CallIndex,
    /// A call of a function as it was before tools.
    OldCall,
    Attachment,
    Finish,
    Input,
    Output,
    Cached,
    Reasoned,
    /// The type of an event.
    EventType,
    Delta,
    Status,
    Incomplete,
    /// The type of an item in the output.
    ItemType,
    ItemText,
    ItemReasoning,
    ItemRefusal,
    /// The type of an item that an event is about.
    EventItemType,
}

const PLACES: [(&str, Place); 53] = [
    ("/error", Place::Error),
    ("/object", Place::Object),
    // Chat and completions, whole.
    ("/choices/*", Place::Choice),
    ("/choices/*/index", Place::Index),
    ("/choices/*/finish_reason", Place::Finish),
    ("/choices/*/text", Place::Text),
    ("/choices/*/message/content", Place::Text),
    ("/choices/*/message/content/*/text", Place::Text),
    ("/choices/*/message/reasoning", Place::Reasoning),
    ("/choices/*/message/reasoning_content", Place::Reasoning),
    ("/choices/*/message/refusal", Place::Refusal),
    ("/choices/*/message/tool_calls/*", Place::Call),
    ("/choices/*/message/function_call", Place::OldCall),
    ("/choices/*/message/audio", Place::Attachment),
    // The same in events.
    ("/choices/*/delta/content", Place::Text),
    ("/choices/*/delta/content/*/text", Place::Text),
    ("/choices/*/delta/reasoning", Place::Reasoning),
    ("/choices/*/delta/reasoning_content", Place::Reasoning),
    ("/choices/*/delta/refusal", Place::Refusal),
    ("/choices/*/delta/tool_calls/*", Place::Call),
    ("/choices/*/delta/tool_calls/*/index", Place::CallIndex),
    ("/choices/*/delta/function_call", Place::OldCall),
    ("/choices/*/delta/audio", Place::Attachment),
    ("/usage/prompt_tokens", Place::Input),
    ("/usage/completion_tokens", Place::Output),
    ("/usage/prompt_tokens_details/cached_tokens", Place::Cached),
    ("/usage/completion_tokens_details/reasoning_tokens", Place::Reasoned),
    // Responses, whole.
    ("/status", Place::Status),
    ("/incomplete_details/reason", Place::Incomplete),
    ("/output/*/type", Place::ItemType),
    ("/output/*/content/*/text", Place::ItemText),
    ("/output/*/content/*/refusal", Place::ItemRefusal),
    ("/output/*/summary/*/text", Place::ItemReasoning),
    ("/usage/input_tokens", Place::Input),
    ("/usage/output_tokens", Place::Output),
    ("/usage/input_tokens_details/cached_tokens", Place::Cached),
    ("/usage/output_tokens_details/reasoning_tokens", Place::Reasoned),
    // Responses in events. The last one repeats the whole answer; its text has been counted by then.
    ("/type", Place::EventType),
    ("/delta", Place::Delta),
    ("/item/type", Place::EventItemType),
    ("/response/error", Place::Error),
    ("/response/status", Place::Status),
    ("/response/incomplete_details/reason", Place::Incomplete),
    ("/response/usage/input_tokens", Place::Input),
    ("/response/usage/output_tokens", Place::Output),
    ("/response/usage/input_tokens_details/cached_tokens", Place::Cached),
    ("/response/usage/output_tokens_details/reasoning_tokens", Place::Reasoned),
    // Where the reasons of an error stand in place of a choice's end.
    ("/choices/*/error", Place::Error),
    ("/choices/*/message/content/*/refusal", Place::Refusal),
    ("/choices/*/delta/content/*/refusal", Place::Refusal),
    // Embeddings, rankings and tokens have neither.
    ("", Place::Answer),
    ("/choices", Place::Value),
    ("/output", Place::Value),
];

pub(in crate::payload::protocol) fn pointers() -> Pointers {
    PLACES.iter().map(|(pointer, _)| ((*pointer).to_owned(), Want::Value)).collect()
}

/// The state of one answer: what is known of the document that is being read.
#[derive(Debug, Default)]
pub(in crate::payload::protocol) struct Answer {
    choice: Choice,
    /// Calls by their highest number, in events.
    calls: u64,
    /// The document carries text, reasoning, a refusal or a call.
    carries: bool,
    event: EventType,
    delta: u64,
    adds_call: bool,
    status: Option<Status>,
    incomplete: Option<Finish>,
    /// A document is not empty.
    is_something: bool,
    /// A document has a place for a value.
    has_value: bool,
}

/// Types of events of the responses protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EventType {
    #[default]
    Other,
    Text,
    Reasoning,
    Refusal,
    Arguments,
    ItemAdded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Completed,
    Incomplete,
    Failed,
    Cancelled,
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

impl Answer {
    fn text(&mut self, place: Place, text: Text<'_>) {
        self.carries |= text.bytes > 0;
        match place {
            Place::Reasoning | Place::ItemReasoning => add(&mut self.choice.reasoning, text.characters),
            Place::Refusal | Place::ItemRefusal => self.choice.refused |= text.bytes > 0,
            _ => add(&mut self.choice.characters, text.characters),
        }
    }

    /// Adds what the document said about a choice.
    fn choice_ends(&mut self, seen: &mut Seen) {
        let part = std::mem::take(&mut self.choice);
        let calls = std::mem::take(&mut self.calls);
        let at = seen.choices.iter().position(|choice| choice.index == part.index);
        let at = at.unwrap_or_else(|| {
            if seen.choices.len() < MAX_CHOICES {
                seen.choices.push(Choice { index: part.index, ..Choice::default() });
            }
            seen.choices.len().saturating_sub(1)
        });
        let Some(choice) = seen.choices.get_mut(at).filter(|choice| choice.index == part.index) else {
            return;
        };
        add(&mut choice.characters, part.characters);
        add(&mut choice.reasoning, part.reasoning);
        match calls {
            0 => add(&mut choice.tool_calls, part.tool_calls),
            calls => choice.tool_calls = choice.tool_calls.max(calls),
        }
        choice.refused |= part.refused || part.finish == Some(Finish::ContentFilter);
        choice.attachment |= part.attachment;
        choice.finish = part.finish.or(choice.finish);
    }

    /// Applies what a document of the responses protocol said, whose output is one choice.
    fn response_ends(&mut self, seen: &mut Seen) {
        match std::mem::take(&mut self.event) {
            EventType::Text => add(&mut self.choice.characters, self.delta),
            EventType::Reasoning => add(&mut self.choice.reasoning, self.delta),
            EventType::Refusal => self.choice.refused |= self.delta > 0,
            EventType::ItemAdded if self.adds_call => {
                add(&mut self.choice.tool_calls, 1);
                self.carries = true;
            }
            EventType::ItemAdded | EventType::Arguments => {}
            EventType::Other => self.delta = 0,
        }
        self.carries |= std::mem::take(&mut self.delta) > 0;
        self.adds_call = false;
        let known = seen.choices.first().map_or(0, |choice| choice.tool_calls);
        let incomplete = self.incomplete.take();
        self.choice.finish = match self.status.take() {
            Some(Status::Completed) if known.saturating_add(self.choice.tool_calls) > 0 => {
                Some(Finish::ToolCalls)
            }
            Some(Status::Completed) => Some(Finish::Stop),
            Some(Status::Incomplete) => incomplete.or(Some(Finish::Other)),
            Some(Status::Failed) => Some(Finish::Error),
            Some(Status::Cancelled) => Some(Finish::Other),
            None => None,
        };
        if self.choice != Choice::default() {
            self.choice_ends(seen);
        }
    }
}

impl Reads for Answer {
    fn event(&mut self, slot: Slot, event: Event<'_>, seen: &mut Seen) {
        let Some((_, place)) = PLACES.get(usize::from(slot)) else { return };
        match (place, event) {
            (Place::Error, event) => seen.error |= is_something(event),
            (Place::Answer, Event::Close { empty }) => self.is_something |= !empty,
            (Place::Value, _) => self.has_value = true,
            (Place::Object, Event::Text(text)) => seen.error |= text.head == b"error",
            (Place::Choice, Event::Open(_)) => (self.choice, self.calls) = (Choice::default(), 0),
            (Place::Choice, Event::Close { .. }) => self.choice_ends(seen),
            (Place::Index, event) => self.choice.index = count(event).unwrap_or_default(),
            (
                Place::Text
                | Place::Reasoning
                | Place::Refusal
                | Place::ItemText
                | Place::ItemReasoning
                | Place::ItemRefusal,
                Event::Text(text),
            ) => self.text(*place, text),
            (Place::Call, Event::Open(_)) => {
                self.carries = true;
                add(&mut self.choice.tool_calls, 1);
            }
            (Place::CallIndex, event) => {
                self.calls = self.calls.max(count(event).unwrap_or_default().saturating_add(1).min(1024));
            }
            (Place::OldCall, Event::Open(_)) => {
                self.carries = true;
                self.calls = self.calls.max(1);
            }
            (Place::Attachment, Event::Open(_)) => {
                self.carries = true;
                self.choice.attachment = true;
            }
            (Place::Finish, Event::Text(text)) => self.choice.finish = finish(text.head),
            (Place::Input, event) => seen.usage.input = count(event).or(seen.usage.input),
            (Place::Output, event) => seen.usage.output = count(event).or(seen.usage.output),
            (Place::Cached, event) => seen.usage.cached = count(event).or(seen.usage.cached),
            (Place::Reasoned, event) => seen.usage.reasoning = count(event).or(seen.usage.reasoning),
            (Place::EventType, Event::Text(text)) => {
                seen.error |= text.head == b"error";
                self.event = event_type(text.head);
            }
            (Place::Delta, Event::Text(text)) => self.delta = text.characters,
            (Place::Status, Event::Text(text)) => {
                self.has_value = true;
                self.status = status(text.head);
            }
            (Place::Incomplete, Event::Text(text)) => self.incomplete = finish(text.head),
            (Place::ItemType, Event::Text(text)) => {
                add(&mut self.choice.tool_calls, u64::from(text.head.ends_with(b"_call")));
            }
            (Place::EventItemType, Event::Text(text)) => self.adds_call = text.head.ends_with(b"_call"),
            _ => {}
        }
    }

    fn document_ends(&mut self, seen: &mut Seen) {
        self.response_ends(seen);
        seen.other_kind = self.is_something && !self.has_value;
        let carries = std::mem::take(&mut self.carries);
        if let Some(stream) = &mut seen.stream {
            add(&mut stream.token_events, u64::from(carries));
        }
    }
}

/// Why a choice ended; `None` for the empty text that old servers write for "not yet".
fn finish(reason: &[u8]) -> Option<Finish> {
    Some(match reason {
        b"" => return None,
        b"stop" => Finish::Stop,
        b"length" | b"max_output_tokens" => Finish::Length,
        b"tool_calls" | b"function_call" => Finish::ToolCalls,
        b"content_filter" => Finish::ContentFilter,
        b"error" => Finish::Error,
        _ => Finish::Other,
    })
}

fn event_type(name: &[u8]) -> EventType {
    match name {
        b"response.output_text.delta" => EventType::Text,
        b"response.reasoning_text.delta" | b"response.reasoning_summary_text.delta" => EventType::Reasoning,
        b"response.refusal.delta" => EventType::Refusal,
        b"response.function_call_arguments.delta" => EventType::Arguments,
        b"response.output_item.added" => EventType::ItemAdded,
        _ => EventType::Other,
    }
}

fn status(name: &[u8]) -> Option<Status> {
    Some(match name {
        b"completed" => Status::Completed,
        b"incomplete" => Status::Incomplete,
        b"failed" => Status::Failed,
        b"cancelled" => Status::Cancelled,
        _ => return None,
    })
}
