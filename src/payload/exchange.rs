//! A request and its answer: what of their summaries is a figure or an observation.

use json_sieve::{Elements, Scalar};
use siphasher::sip::SipHasher24;

use super::protocol::Protocol;
use super::summary::{Choice, Outcome, Summary, Tensor};
use crate::model::real;
use crate::signal::catalog::{self, Kind, Named};
use crate::signal::observed::Observed;

/// Where the configured values stand among a summary's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// Of requests: whose length is theirs; `None`: the protocol's own.
    pub length: Option<usize>,
    /// Of requests: fields that may be missing, by pointer.
    pub fields: Vec<(String, usize)>,
    /// Of requests: fields with categories, by pointer.
    pub categories: Vec<(String, usize)>,
    /// Of answers: their value; `None`: the first element of the first tensor.
    pub value: Option<usize>,
    /// Of answers: their confidence.
    pub confidence: Option<usize>,
    /// The least and the most that values are expected to be.
    pub range: (f64, f64),
}

impl Default for Places {
    fn default() -> Self {
        let (fields, categories) = (Vec::new(), Vec::new());
        Self { length: None, fields, categories, value: None, confidence: None, range: (0.0, 1.0) }
    }
}

/// What is known of a request and its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// The request, unless it was not sampled.
    pub input: Option<Summary>,
    /// The answer, if it was a good one.
    pub output: Option<Summary>,
    /// The client has asked for an answer that can be read, and its status promises one.
    pub is_due: bool,
    /// Nanoseconds from the request's end to the first event of the answer that carries text.
    pub first_token: Option<u64>,
    /// Nanoseconds from there to the answer's end.
    pub generated: u64,
}

/// What a signal looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Whether the answer is null.
    Null,
    /// Whether it is an error object.
    ErrorObject,
    /// Whether nothing can be read of it.
    Unreadable,
    /// Whether its value is this label.
    Label(String),
    /// Which label it has.
    Category,
    /// Whether it was cut at the limit of tokens.
    Truncated,
    /// Whether the model refused.
    Refused,
    /// Its length.
    OutputLength,
    /// Its tokens.
    OutputTokens,
    /// Its value.
    Value,
    /// Its confidence.
    Confidence,
    /// The time to its first token.
    FirstToken,
    /// The time for each of its tokens.
    PerToken,
    /// Whether a field of the request is missing, by its place.
    Missing(usize),
    /// The request's length.
    InputLength,
    /// Whether a field of the request has an unknown category, by its place.
    Unseen(usize),
}

/// What a signal would need to be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// The parameter is none of the configured fields.
    Field,
    /// The parameter is no field with categories.
    Categories,
    /// A pointer to the confidence.
    Confidence,
    /// A pointer to the value.
    Value,
    /// A pointer to what the length of requests is of.
    Length,
    /// Answers of OpenAI's protocol.
    OpenAi,
}

impl Source {
    /// What a signal of bodies looks at; `None`: it is not about bodies.
    ///
    /// # Errors
    /// It cannot be observed with this protocol and these places.
    pub fn of(named: &Named<'_>, protocol: Protocol, places: &Places) -> Option<Result<Self, Lacks>> {
        let parameter = named.parameter.unwrap_or_default();
        let at = |known: &[(String, usize)]| {
            known.iter().find(|(pointer, _)| pointer == parameter).map(|(_, at)| *at)
        };
        let id = named.signal.id;
        let (is_json, is_openai) = (protocol == Protocol::Json, protocol == Protocol::OpenAi);
        let has_value = places.value.is_some();
        let needs = |lacks, is_there, source| if is_there { Ok(source) } else { Err(lacks) };
        let openai = |source| needs(Lacks::OpenAi, is_openai, source);
        // Where the protocol does not say which the value is.
        let value = |source| needs(Lacks::Value, has_value || !is_json && !is_openai, source);
        Some(match () {
            () if id == catalog::OUTPUT_NULL.id => {
                needs(Lacks::Value, !is_json || has_value || places.confidence.is_some(), Self::Null)
            }
            () if id == catalog::OUTPUT_ERROR_OBJECT.id => Ok(Self::ErrorObject),
            () if id == catalog::OUTPUT_UNREADABLE.id => Ok(Self::Unreadable),
            () if id == catalog::OUTPUT_LABEL.id => {
                value(named.parameter.map_or(Self::Category, |label| Self::Label(label.to_owned())))
            }
            () if id == catalog::OUTPUT_TRUNCATED.id => openai(Self::Truncated),
            () if id == catalog::OUTPUT_REFUSED.id => openai(Self::Refused),
            () if id == catalog::OUTPUT_LENGTH.id => {
                needs(Lacks::Value, has_value || !is_json, Self::OutputLength)
            }
            () if id == catalog::OUTPUT_TOKENS.id => openai(Self::OutputTokens),
            () if id == catalog::OUTPUT_VALUE.id => value(Self::Value),
            () if id == catalog::OUTPUT_CONFIDENCE.id => {
                needs(Lacks::Confidence, places.confidence.is_some(), Self::Confidence)
            }
            () if id == catalog::FIRST_TOKEN.id => openai(Self::FirstToken),
            () if id == catalog::PER_TOKEN.id => openai(Self::PerToken),
            () if id == catalog::INPUT_MISSING.id => {
                at(&places.fields).map(Self::Missing).ok_or(Lacks::Field)
            }
            () if id == catalog::INPUT_LENGTH.id => {
                needs(Lacks::Length, !is_json || places.length.is_some(), Self::InputLength)
            }
            () if id == catalog::INPUT_UNSEEN.id => {
                at(&places.categories).map(Self::Unseen).ok_or(Lacks::Categories)
            }
            () => return None,
        })
    }
}

impl Exchange {
    /// What a signal observes here; `None`: nothing, for the body does not show it.
    #[must_use]
    pub fn observe(&self, source: &Source, places: &Places) -> Option<Observed> {
        let scale = |signal: &catalog::Signal, value: f64| match signal.kind {
            Kind::Mean(scale) => scale.fraction(value).map(Observed::Mean),
            Kind::Event | Kind::Duration => None,
        };
        let output = self.output.as_ref();
        let field = |at: usize| self.input.as_ref().filter(|input| input.is_read())?.seen.fields.get(at);
        Some(match source {
            Source::Null => Observed::Event(output?.is_null()?),
            Source::ErrorObject => {
                Observed::Event(output.filter(|output| output.is_understood())?.is_error())
            }
            Source::Unreadable => Observed::Event(self.is_unreadable()?),
            Source::Label(label) => Observed::Event(is_label(label_of(output?, places)?, label)),
            Source::Category => Observed::category(hash_of(label_of(output?, places)?)),
            Source::Truncated => Observed::Event(self.good()?.is_cut()?),
            Source::Refused => Observed::Event(self.good()?.is_refused()?),
            Source::OutputLength => {
                scale(&catalog::OUTPUT_LENGTH, real(output_length(self.good()?, places)?))?
            }
            Source::OutputTokens => scale(&catalog::OUTPUT_TOKENS, real(self.good()?.seen.usage.output?))?,
            Source::Value => scale(&catalog::OUTPUT_VALUE, value_of(output?, places)?)?,
            Source::Confidence => scale(&catalog::OUTPUT_CONFIDENCE, confidence_of(output?, places)?)?,
            Source::FirstToken => Observed::Duration(self.first_token?),
            Source::PerToken => Observed::Duration(self.per_token()?),
            Source::Missing(at) => {
                let elements = &field(*at)?.elements;
                (elements.count > 0).then_some(Observed::Event(elements.missing > 0))?
            }
            Source::InputLength => {
                scale(&catalog::INPUT_LENGTH, real(input_length(self.input.as_ref()?, places)?))?
            }
            Source::Unseen(at) => Observed::Event(field(*at)?.unseen > 0),
        })
    }

    /// Whether the answer is not what a client can read. `None` where that may be due to the client, or to what is read here.
    fn is_unreadable(&self) -> Option<bool> {
        let output = self.output.as_ref().filter(|_| self.is_due)?;
        let is_of_another_type = |summary: &Summary| summary.outcome == Outcome::SkippedType;
        // Calls of gRPC have statuses for what goes wrong, and other methods.
        let is_grpc = output.seen.grpc.is_some();
        match output.outcome {
            Outcome::Read => Some(false),
            Outcome::Malformed | Outcome::Truncated => Some(true),
            Outcome::Empty => Some(true).filter(|_| !is_grpc),
            Outcome::SkippedType => {
                Some(true).filter(|_| !is_grpc && !self.input.as_ref().is_some_and(is_of_another_type))
            }
            Outcome::TooLarge | Outcome::TooComplex | Outcome::SkippedEncoding | Outcome::SkippedMemory => {
                None
            }
        }
    }

    /// Nanoseconds for each token after the first; of an answer whose server does not count its tokens, for each event
    /// with text.
    #[must_use]
    pub fn per_token(&self) -> Option<u64> {
        let seen = &self.good()?.seen;
        self.first_token?;
        let tokens = seen.usage.output.or(seen.stream.map(|stream| stream.token_events))?;
        self.generated.checked_div(tokens.checked_sub(1)?)
    }

    /// The answer, if it was read to its end and is no error.
    fn good(&self) -> Option<&Summary> {
        self.output.as_ref().filter(|output| output.is_read() && !output.is_error())
    }
}

impl Summary {
    /// Whether its content says whether it is an error: it was read to its end, or is one already. What broke off may have
    /// become one.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.is_read() || self.seen.error || self.outcome == Outcome::Truncated && self.is_error()
    }
}

/// How long a request is: characters of the text at the configured pointer, or how many values stand there; without one
/// what the protocol has: characters or tokens of the prompt, or elements of all tensors.
#[must_use]
pub fn input_length(input: &Summary, places: &Places) -> Option<u64> {
    let seen = &input.seen;
    match (places.length, seen.prompt) {
        _ if !input.is_read() => None,
        (Some(at), _) => Some(length(&seen.fields.get(at)?.elements)),
        (None, Some(prompt)) if prompt.characters == 0 => Some(prompt.tokens),
        (None, Some(prompt)) => Some(prompt.characters),
        (None, None) => elements(input),
    }
}

/// How long an answer is: characters of its choices, or of its value's text; otherwise elements of all tensors.
#[must_use]
pub fn output_length(output: &Summary, places: &Places) -> Option<u64> {
    let seen = &output.seen;
    if !seen.choices.is_empty() {
        let characters = |choice: &Choice| choice.characters;
        return Some(seen.choices.iter().map(characters).fold(0, u64::saturating_add));
    }
    match places.value.and_then(|at| seen.fields.get(at)) {
        Some(field) => Some(length(&field.elements)),
        None => elements(output),
    }
}

fn length(elements: &Elements) -> u64 {
    if elements.texts > 0 { elements.characters } else { elements.count.saturating_sub(elements.missing) }
}

/// Elements of all tensors. Shapes are what the sender says: there are no more elements than bytes.
fn elements(of: &Summary) -> Option<u64> {
    let tensors = &of.seen.tensors;
    let all = tensors.iter().map(Tensor::len).fold(0, u64::saturating_add);
    (!tensors.is_empty()).then(|| all.min(of.bytes_read))
}

/// The batch size of a request: that of its first tensor. Without a shape, rows that were counted: there are none where
/// the tensor has columns by name, and too few of one that was read in part. There are no more rows than bytes.
#[must_use]
pub fn batch_size(input: &Summary) -> Option<u64> {
    let size = input.seen.tensors.first()?.batch()?;
    Some(size.min(input.bytes_read)).filter(|size| *size > 0)
}

/// The first value of an answer that was read and is no error.
fn first(output: &Summary, at: Option<usize>) -> Option<&Scalar> {
    if !output.is_read() || output.is_error() {
        return None;
    }
    let elements = match at {
        Some(at) => &output.seen.fields.get(at)?.elements,
        None => output.seen.tensors.first()?.elements.as_ref()?,
    };
    elements.first.as_ref()
}

/// The value of an answer as its label: a text, a whole number, or a truth value.
#[must_use]
pub fn label_of<'a>(output: &'a Summary, places: &Places) -> Option<&'a Scalar> {
    first(output, places.value).filter(|scalar| !matches!(scalar, Scalar::Null))
}

/// A label's hash, the same on all workers.
fn hash_of(label: &Scalar) -> u64 {
    let hasher = SipHasher24::new();
    match label {
        Scalar::Null => 0,
        Scalar::Bool(value) => hasher.hash(&[u8::from(*value)]),
        Scalar::Number(number) => hasher.hash(&number.to_le_bytes()),
        Scalar::Text(text) => hasher.hash(text),
    }
}

/// Whether a value is this label: numbers as numbers, so that `4` is `4.0`.
#[must_use]
pub fn is_label(value: &Scalar, label: &str) -> bool {
    match value {
        Scalar::Null => false,
        Scalar::Bool(value) => label == if *value { "true" } else { "false" },
        Scalar::Number(number) => label.parse::<f64>().is_ok_and(|label| label == *number),
        Scalar::Text(text) => **text == *label.as_bytes(),
    }
}

/// The value of an answer as a part of the configured range.
#[must_use]
pub fn value_of(output: &Summary, places: &Places) -> Option<f64> {
    let (least, most) = places.range;
    number(first(output, places.value)?).map(|value| (value - least) / (most - least))
}

/// The confidence of an answer.
#[must_use]
pub fn confidence_of(output: &Summary, places: &Places) -> Option<f64> {
    number(first(output, Some(places.confidence?))?)
}

fn number(scalar: &Scalar) -> Option<f64> {
    match scalar {
        Scalar::Number(number) => Some(*number),
        Scalar::Null | Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}
