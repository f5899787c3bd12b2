//! Where things stand in the protocols of model servers.

pub(crate) mod infer_message;
mod open_inference;
mod openai;
mod tensor_data;
mod tf_serving;

use std::rc::Rc;

use json_sieve::{Event, Slot, Want};
use serde::{Deserialize, Serialize};

use super::summary::Seen;
pub(crate) use tensor_data::{real, unsigned};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Protocol {
    /// Open Inference v2, over HTTP and gRPC: KServe, MLServer, Triton, Seldon.
    OpenInference,
    /// TensorFlow Serving; also KServe v1 and Vertex AI.
    TfServing,
    /// OpenAI: chat, completions and responses, streamed or not.
    #[serde(rename = "openai")]
    OpenAi,
    /// SageMaker's JSON, which is that of TensorFlow Serving.
    Sagemaker,
    /// Configured pointers only.
    Json,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A request.
    Input,
    /// An answer.
    Output,
}

/// What a protocol wants of a message, in the order of its slots.
pub(crate) type Pointers = Vec<(String, Want)>;

/// Reads one message of a protocol.
pub(crate) trait Reads {
    /// Takes what stands at a slot of the protocol.
    fn event(&mut self, slot: Slot, event: Event<'_>, seen: &mut Seen);

    /// A document has ended: an event of a stream, or the whole body.
    fn document_ends(&mut self, _seen: &mut Seen) {}

    /// Takes bytes behind the JSON.
    fn data(&mut self, _bytes: &[u8], _seen: &mut Seen) {}

    /// The body has ended; false when bytes are missing.
    fn ends(&mut self, _seen: &mut Seen) -> bool {
        true
    }
}

/// How a protocol reads binary data.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How many elements of a tensor are read.
    pub(crate) max_elements: u64,
    /// Texts that count as missing.
    pub(crate) missing: Rc<[Box<[u8]>]>,
    /// Elements that are values of fields.
    pub(crate) picked: Rc<[Picked]>,
}

/// An element of a tensor that is the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    /// The tensor's place among all.
    pub(crate) tensor: usize,
    /// The element's place among all of the tensor.
    pub(crate) element: u64,
    /// The field's place among all.
    pub(crate) field: usize,
}

impl Protocol {
    /// What it wants of messages of a direction.
    pub(crate) fn pointers(self, direction: Direction) -> Pointers {
        match (self, direction) {
            (Protocol::OpenInference, direction) => open_inference::pointers(direction),
            (Protocol::TfServing | Protocol::Sagemaker, direction) => tf_serving::pointers(direction),
            (Protocol::OpenAi, Direction::Input) => openai::request::pointers(),
            (Protocol::OpenAi, Direction::Output) => openai::answer::pointers(),
            (Protocol::Json, _) => Vec::new(),
        }
    }

    /// A reader for one message.
    pub(crate) fn reads(self, direction: Direction, limits: &Limits) -> Box<dyn Reads> {
        match (self, direction) {
            (Protocol::OpenInference, _) => Box::new(open_inference::OpenInference::new(limits)),
            (Protocol::TfServing | Protocol::Sagemaker, _) => Box::new(tf_serving::TfServing::new(direction)),
            (Protocol::OpenAi, Direction::Input) => Box::new(openai::request::Request::default()),
            (Protocol::OpenAi, Direction::Output) => Box::new(openai::answer::Answer::default()),
            (Protocol::Json, _) => Box::new(Json),
        }
    }
}

#[derive(Debug)]
struct Json;

impl Reads for Json {
    fn event(&mut self, _slot: Slot, _event: Event<'_>, _seen: &mut Seen) {}
}

/// A count in JSON: a number that is whole and not negative.
pub(crate) fn count(event: Event<'_>) -> Option<u64> {
    match event {
        // 2^53: from here on doubles skip integers.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked
        Event::Number(value) if (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 => {
            Some(value as u64)
        }
        _ => None,
    }
}

/// Whether something stands there: not `null`, not an empty text or container.
pub(crate) fn is_something(event: Event<'_>) -> bool {
    match event {
        Event::Text(text) => text.bytes > 0,
        Event::Close { empty } => !empty,
        Event::Number(_) | Event::Bool(true) => true,
        _ => false,
    }
}
