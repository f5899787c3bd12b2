//! A request: how much is asked.

use json_sieve::{Container, Event, Slot, Want};

use crate::payload::protocol::{Pointers, Reads};
use crate::payload::summary::{Prompt, Seen};

/// What stands at a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Stream,
    /// A message, or a text of a batch.
    Message,
    /// Text of the prompt that is no message by itself.
    Text,
    /// A part of a message; without text it is an attachment.
    Part,
    PartText,
    Token,
    Tool,
}

const PLACES: [(&str, Place); 17] = [
    ("/stream", Place::Stream),
    ("/tools/*", Place::Tool),
    ("/messages/*", Place::Message),
    ("/messages/*/content", Place::Text),
    ("/messages/*/content/*", Place::Part),
    ("/messages/*/content/*/text", Place::PartText),
    // Completions: a text, texts, tokens, or several lists of tokens.
    ("/prompt", Place::Message),
    ("/prompt/*", Place::Message),
    ("/prompt/*/*", Place::Token),
    // Responses and embeddings.
    ("/instructions", Place::Text),
    ("/input", Place::Message),
    ("/input/*", Place::Message),
    ("/input/*/*", Place::Token),
    ("/input/*/content", Place::Text),
    ("/input/*/content/*", Place::Part),
    ("/input/*/content/*/text", Place::PartText),
    ("/input/*/output", Place::Text),
];

pub(in crate::payload::protocol) fn pointers() -> Pointers {
    PLACES.iter().map(|(pointer, _)| ((*pointer).to_owned(), Want::Value)).collect()
}

#[derive(Debug, Default)]
pub(in crate::payload::protocol) struct Request {
    part_has_text: bool,
}

impl Reads for Request {
    fn event(&mut self, slot: Slot, event: Event<'_>, seen: &mut Seen) {
        let Some((pointer, place)) = PLACES.get(usize::from(slot)) else { return };
        let prompt = seen.prompt.get_or_insert_default();
        let add = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        match (place, event) {
            (Place::Stream, Event::Bool(stream)) => prompt.stream = stream,
            (Place::Tool, Event::Open(_)) => add(&mut prompt.tools, 1),
            // The list of messages is no message.
            (Place::Message, Event::Open(Container::Array)) if !pointer.ends_with('*') => {}
            (Place::Message, Event::Open(_)) => add(&mut prompt.messages, 1),
            (Place::Message, Event::Text(text)) => {
                add(&mut prompt.messages, 1);
                add(&mut prompt.characters, text.characters);
            }
            (Place::Message | Place::Token, Event::Number(_)) => add(&mut prompt.tokens, 1),
            (Place::Text, Event::Text(text)) => add(&mut prompt.characters, text.characters),
            (Place::Part, Event::Open(_)) => self.part_has_text = false,
            (Place::Part, Event::Close { .. }) if !self.part_has_text => add(&mut prompt.attachments, 1),
            (Place::PartText, Event::Text(text)) => {
                self.part_has_text = true;
                add(&mut prompt.characters, text.characters);
            }
            _ => {}
        }
    }

    fn document_ends(&mut self, seen: &mut Seen) {
        let prompt: &mut Prompt = seen.prompt.get_or_insert_default();
        // One list of tokens is one text.
        if prompt.tokens > 0 && prompt.messages == 0 {
            prompt.messages = 1;
        }
    }
}
