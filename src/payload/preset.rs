//! What is wanted of messages: a protocol and configured pointers, compiled once.

use json_sieve::{Plan, PlanError, Slot};

use super::fields::{Fields, Wanted};
use super::protocol::infer_message::InferMessage;
use super::protocol::{Direction, Limits, Protocol, Reads};

/// What is wanted of all messages of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where things stand.
    pub protocol: Protocol,
    /// Requests or answers.
    pub direction: Direction,
    /// Pointers beside those of the protocol.
    pub fields: Vec<Wanted>,
    /// Texts that count as missing, beside the empty one and `NaN`.
    pub null_values: Vec<String>,
    /// How much of a body is read, in bytes, uncompressed.
    pub max_body: u64,
    /// How many elements of a tensor are read.
    pub max_elements: u64,
}

impl Spec {
    /// A protocol's own values, of up to 1 MiB and 1,024 elements per tensor.
    #[must_use]
    pub fn new(protocol: Protocol, direction: Direction) -> Spec {
        Spec {
            protocol,
            direction,
            fields: Vec::new(),
            null_values: Vec::new(),
            max_body: 1 << 20,
            max_elements: 1024,
        }
    }
}

/// A compiled [`Spec`].
#[derive(Debug)]
pub struct Preset {
    protocol: Protocol,
    direction: Direction,
    pub(crate) plan: Plan,
    /// Slots of the protocol; those of the fields follow.
    pub(crate) own: Slot,
    pub(crate) fields: Fields,
    pub(crate) limits: Limits,
    pub(crate) max_body: u64,
}

impl Preset {
    /// Compiles.
    ///
    /// # Errors
    /// A field's pointer that is none, with its place among the fields; or too many of them, without a place.
    pub fn new(spec: &Spec) -> Result<Preset, (Option<usize>, PlanError)> {
        use json_sieve::Want;
        for (at, field) in spec.fields.iter().enumerate() {
            Plan::new([(field.pointer.as_str(), Want::Value)]).map_err(|error| (Some(at), error))?;
        }
        let mut pointers = spec.protocol.pointers(spec.direction);
        let own = Slot::try_from(pointers.len()).map_err(|_| (None, PlanError::TooMany))?;
        let fields = Fields::new(&spec.fields, &mut pointers);
        let missing = spec.null_values.iter().map(String::as_str).chain(["NaN"]);
        let plan = Plan::new(pointers.iter().map(|(pointer, want)| (pointer.as_str(), *want)))
            .map_err(|error| (None, error))?
            .missing(missing.clone())
            .max_elements(spec.max_elements);
        let limits = Limits {
            max_elements: spec.max_elements,
            missing: missing.map(|text| Box::from(text.as_bytes())).collect(),
            picked: fields.picked().collect(),
        };
        Ok(Preset {
            protocol: spec.protocol,
            direction: spec.direction,
            plan,
            own,
            fields,
            limits,
            max_body: spec.max_body,
        })
    }

    pub(crate) fn reads(&self) -> Box<dyn Reads> {
        self.protocol.reads(self.direction, &self.limits)
    }

    /// A reader for a message of gRPC, if the protocol has one.
    pub(crate) fn reads_message(&self) -> Option<InferMessage> {
        (self.protocol == Protocol::OpenInference).then(|| InferMessage::new(self.direction, &self.limits))
    }

    /// Whether the protocol has streams of events, which say that they end.
    pub(crate) fn has_streams(&self) -> bool {
        self.protocol == Protocol::OpenAi
    }

    /// Whether the protocol does not say where an answer has its value.
    pub(crate) fn has_only_fields(&self) -> bool {
        self.protocol == Protocol::Json
    }

    /// Whether streams are read to their end, each of their events up to `max_body`. Clients are not trusted with that.
    pub(crate) fn has_long_streams(&self) -> bool {
        self.direction == Direction::Output
    }

    pub(crate) fn has_binary_data(&self) -> bool {
        self.protocol == Protocol::OpenInference
    }
}
