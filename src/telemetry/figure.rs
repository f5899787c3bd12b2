//! Figures about the bodies of requests and answers, as metrics show them.

use json_sieve::Scalar;

use crate::payload::exchange::{self, Exchange, Places};
use crate::payload::summary::{Choice, Finish, Summary};

/// What a figure is about, and so its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// How far a request's body was read.
    Input,
    /// How far an answer's body was read.
    Output,
    /// Bytes of requests that were read.
    InputBytes,
    /// Bytes of answers that were read.
    OutputBytes,
    /// gRPC messages of requests.
    InputMessages,
    /// gRPC messages of answers.
    OutputMessages,
    /// Bytes of the messages of requests.
    InputMessageBytes,
    /// Bytes of the messages of answers.
    OutputMessageBytes,
    /// A request's length.
    InputLength,
    /// The same, added up.
    InputLengthTotal,
    /// Values that stood at a field.
    Values,
    /// Values of a field that were missing.
    Missing,
    /// Values of a field that have none of its categories.
    Unseen,
    /// Values of a field that are numbers, and in the sums.
    Numbers,
    /// The positive sums of a field's numbers in a request, in thousandths.
    Above,
    /// The negative ones.
    Below,
    /// Requests whose batch size is known.
    Batches,
    /// The same, added up.
    Batched,
    /// Messages, or texts of a batch, of a prompt.
    PromptMessages,
    /// Tokens of a prompt, as the server counted them.
    InputTokens,
    /// The same, added up.
    InputTokensTotal,
    /// Tokens of a prompt that came from a cache.
    CachedTokens,
    /// Answers whose content is known.
    Answers,
    /// Answers without a value.
    Null,
    /// Answers that are errors although their status is good.
    ErrorObjects,
    /// Answers that were cut at a limit of tokens.
    Truncated,
    /// Answers that the model, or a filter of the server, refused.
    Refusals,
    /// Calls of tools.
    ToolCalls,
    /// Choices of answers, by how they ended.
    Choices,
    /// Answers by label.
    Labels,
    /// An answer's length.
    OutputLength,
    /// The same, added up.
    OutputLengthTotal,
    /// Tokens of an answer.
    OutputTokens,
    /// The same, added up.
    OutputTokensTotal,
    /// Tokens of reasoning in an answer.
    ReasoningTokens,
    /// An answer's value, in thousandths of its range.
    Value,
    /// The same, added up.
    ValueTotal,
    /// An answer's confidence, in thousandths.
    Confidence,
    /// The same, added up.
    ConfidenceTotal,
    /// Milliseconds to the first token.
    FirstToken,
    /// Microseconds for each further token.
    PerToken,
}

impl About {
    /// The metric that shows it.
    #[must_use]
    pub fn metric(self) -> Metric {
        match self {
            Self::Input => counter("changeover_payload_total", ";kind=input;result="),
            Self::Output => counter("changeover_payload_total", ";kind=output;result="),
            Self::InputBytes => counter("changeover_payload_read_bytes_total", ";kind=input"),
            Self::OutputBytes => counter("changeover_payload_read_bytes_total", ";kind=output"),
            Self::InputMessages => counter("changeover_payload_messages_total", ";kind=input"),
            Self::OutputMessages => counter("changeover_payload_messages_total", ";kind=output"),
            Self::InputMessageBytes => counter("changeover_payload_message_bytes_total", ";kind=input"),
            Self::OutputMessageBytes => counter("changeover_payload_message_bytes_total", ";kind=output"),
            Self::InputLength => histogram("changeover_input_length"),
            Self::InputLengthTotal => counter("changeover_input_length_total", ""),
            Self::Values => counter("changeover_input_values_total", ";field="),
            Self::Missing => counter("changeover_input_missing_total", ";field="),
            Self::Unseen => counter("changeover_input_unseen_total", ";field="),
            Self::Numbers => counter("changeover_input_numbers_total", ";field="),
            Self::Above => counter("changeover_input_sum_thousandths_total", ";field="),
            Self::Below => counter("changeover_input_negative_sum_thousandths_total", ";field="),
            Self::Batches => counter("changeover_input_batches_total", ""),
            Self::Batched => counter("changeover_input_batch_size_total", ""),
            Self::PromptMessages => counter("changeover_input_messages_total", ""),
            Self::InputTokens => histogram("changeover_input_tokens"),
            Self::InputTokensTotal => counter("changeover_input_tokens_total", ""),
            Self::CachedTokens => counter("changeover_input_cached_tokens_total", ""),
            Self::Answers => counter("changeover_output_answers_total", ""),
            Self::Null => counter("changeover_output_null_total", ""),
            Self::ErrorObjects => counter("changeover_output_error_objects_total", ""),
            Self::Truncated => counter("changeover_output_truncated_total", ""),
            Self::Refusals => counter("changeover_output_refusals_total", ""),
            Self::ToolCalls => counter("changeover_output_tool_calls_total", ""),
            Self::Choices => counter("changeover_output_choices_total", ";result="),
            Self::Labels => counter("changeover_output_labels_total", ";label="),
            Self::OutputLength => histogram("changeover_output_length"),
            Self::OutputLengthTotal => counter("changeover_output_length_total", ""),
            Self::OutputTokens => histogram("changeover_output_tokens"),
            Self::OutputTokensTotal => counter("changeover_output_tokens_total", ""),
            Self::ReasoningTokens => counter("changeover_output_reasoning_tokens_total", ""),
            Self::Value => histogram("changeover_output_value_thousandths"),
            Self::ValueTotal => counter("changeover_output_value_thousandths_total", ""),
            Self::Confidence => histogram("changeover_output_confidence_thousandths"),
            Self::ConfidenceTotal => counter("changeover_output_confidence_thousandths_total", ""),
            Self::FirstToken => histogram("changeover_output_first_token_milliseconds"),
            Self::PerToken => histogram("changeover_output_per_token_microseconds"),
        }
    }
}

/// A metric of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is for Envoy.
    pub kind: Kind,
    /// The label that figures differ in, if any. A label with a value of its own stands behind a `=`.
    pub label: &'static str,
}

/// What a metric is for Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It sorts values into buckets.
    Histogram,
}

const fn counter(name: &'static str, label: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, label }
}

const fn histogram(name: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, label: "" }
}

/// A label's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label<'a> {
    /// The metric has none.
    None,
    /// A text that the configuration or the code has.
    Known(&'a str),
    /// The label of an answer.
    Answer(&'a Scalar),
}

/// The label of all answers whose own label is not counted.
pub const OTHER: &str = "other";
/// The longest label, in bytes.
const LONGEST_LABEL: usize = 64;

/// An answer's label as a metric shows it: without what would end it there, and of bounded length.
#[must_use]
pub fn label_text(label: &Scalar) -> String {
    let text = match label {
        Scalar::Null => String::new(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => String::from_utf8_lossy(text).into_owned(),
    };
    let plain = |char: char| if char == ';' || char.is_control() { '_' } else { char };
    let mut text: String = text.chars().map(plain).collect();
    while text.len() > LONGEST_LABEL {
        text.pop();
    }
    if text.is_empty() { "_".to_owned() } else { text }
}

/// Calls `show` with every figure of an exchange. `counts_labels`: answers are counted by their value.
pub fn each<'a>(
    exchange: &'a Exchange,
    (places, counts_labels): (&'a Places, bool),
    mut show: impl FnMut(About, Label<'a>, u64),
) {
    if let Some(input) = &exchange.input {
        of_input(input, places, &mut show);
    }
    let Some(output) = &exchange.output else { return };
    show(About::Output, Label::Known(output.outcome.name()), 1);
    show(About::OutputBytes, Label::None, output.bytes_read);
    if let Some(grpc) = output.seen.grpc {
        show(About::OutputMessages, Label::None, grpc.messages);
        show(About::OutputMessageBytes, Label::None, grpc.bytes);
    }
    if output.is_understood() {
        show(About::Answers, Label::None, 1);
        if output.is_error() {
            show(About::ErrorObjects, Label::None, 1);
        }
    }
    let usage = &output.seen.usage;
    let mut counted = |(histogram, total), value: Option<u64>| {
        if let Some(value) = value {
            show(histogram, Label::None, value);
            show(total, Label::None, value);
        }
    };
    counted((About::InputTokens, About::InputTokensTotal), usage.input);
    counted((About::OutputTokens, About::OutputTokensTotal), usage.output);
    if output.is_read() && !output.is_error() {
        let length = exchange::output_length(output, places);
        counted((About::OutputLength, About::OutputLengthTotal), length);
        let confidence = exchange::confidence_of(output, places).map(thousandths);
        counted((About::Confidence, About::ConfidenceTotal), confidence);
        let value = exchange::value_of(output, places).filter(|_| !counts_labels).map(thousandths);
        counted((About::Value, About::ValueTotal), value);
    }
    let mut some = |about, value: Option<u64>| {
        if let Some(value) = value.filter(|value| *value > 0) {
            show(about, Label::None, value);
        }
    };
    some(About::CachedTokens, usage.cached);
    some(About::ReasoningTokens, usage.reasoning);
    some(About::Null, output.is_null().map(u64::from));
    some(About::Truncated, output.is_cut().map(u64::from));
    some(About::Refusals, output.is_refused().map(u64::from));
    some(About::ToolCalls, Some(output.tool_calls()));
    if let Some(first) = exchange.first_token {
        show(About::FirstToken, Label::None, first / 1_000_000);
    }
    if let Some(each) = exchange.per_token() {
        show(About::PerToken, Label::None, each / 1_000);
    }
    for Choice { finish, .. } in &output.seen.choices {
        show(About::Choices, Label::Known(finish.map_or("none", Finish::name)), 1);
    }
    if let Some(label) = exchange::label_of(output, places).filter(|_| counts_labels) {
        show(About::Labels, Label::Answer(label), 1);
    }
}

fn of_input<'a>(input: &'a Summary, places: &'a Places, show: &mut impl FnMut(About, Label<'a>, u64)) {
    show(About::Input, Label::Known(input.outcome.name()), 1);
    show(About::InputBytes, Label::None, input.bytes_read);
    if let Some(grpc) = input.seen.grpc {
        show(About::InputMessages, Label::None, grpc.messages);
        show(About::InputMessageBytes, Label::None, grpc.bytes);
    }
    if let Some(length) = exchange::input_length(input, places) {
        show(About::InputLength, Label::None, length);
        show(About::InputLengthTotal, Label::None, length);
    }
    if !input.is_read() {
        return;
    }
    if let Some(prompt) = input.seen.prompt {
        show(About::PromptMessages, Label::None, prompt.messages);
    }
    if let Some(size) = exchange::batch_size(input) {
        show(About::Batches, Label::None, 1);
        show(About::Batched, Label::None, size);
    }
    for (name, at) in &places.fields {
        let Some(field) = input.seen.fields.get(*at) else { continue };
        show(About::Values, Label::Known(name), field.elements.count);
        show(About::Missing, Label::Known(name), field.elements.missing);
        let numbers = &field.elements.numbers;
        if numbers.count > 0 && numbers.sum.abs() <= LARGEST_SUM {
            // Both, so that one can be subtracted from the other.
            show(About::Numbers, Label::Known(name), numbers.count);
            show(About::Above, Label::Known(name), in_thousandths(numbers.sum));
            show(About::Below, Label::Known(name), in_thousandths(-numbers.sum));
        }
    }
    for (name, at) in &places.categories {
        let Some(field) = input.seen.fields.get(*at) else { continue };
        if !places.fields.iter().any(|(known, _)| known == name) {
            show(About::Values, Label::Known(name), field.elements.count);
        }
        show(About::Unseen, Label::Known(name), field.unseen);
    }
}

/// The largest sum of a field's numbers in one request that is added to those of others: one request with absurd numbers
/// would hide all of them.
const LARGEST_SUM: f64 = 1e12;

/// A part of one in thousandths; what lies outside is at the end.
fn thousandths(part: f64) -> u64 {
    in_thousandths(part.clamp(0.0, 1.0))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it saturates; below 0 and not a number are 0
fn in_thousandths(value: f64) -> u64 {
    (value * 1_000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::encoding::Inflaters;
    use crate::payload::fields::Wanted;
    use crate::payload::head::Head;
    use crate::payload::preset::{Preset, Spec};
    use crate::payload::protocol::{Direction, Protocol};
    use crate::payload::reading::Reading;

    #[test]
    fn numbers_of_a_field_are_added_up_by_sign_and_absurd_ones_are_left_out() {
        let wanted = Wanted { pointer: "/x/*".to_owned(), categories: Vec::new() };
        let spec = Spec { fields: vec![wanted], ..Spec::new(Protocol::Json, Direction::Input) };
        let preset = std::rc::Rc::new(Preset::new(&spec).unwrap());
        let places = Places { fields: vec![("/x/*".to_owned(), 0)], ..Places::default() };
        let shown = |body: &str| {
            let mut reading = Reading::new(&preset, &Head::default(), &Inflaters::new(1));
            reading.read(body.as_bytes());
            let exchange = Exchange { input: Some(reading.finish()), ..Exchange::default() };
            let mut sums = Vec::new();
            each(&exchange, (&places, false), |about, _, value| {
                if matches!(about, About::Numbers | About::Above | About::Below) {
                    sums.push((about, value));
                }
            });
            sums
        };
        assert_eq!(
            shown(r#"{"x":[1.5,-0.25,null,"3"]}"#),
            [(About::Numbers, 2), (About::Above, 1_250), (About::Below, 0)]
        );
        assert_eq!(shown(r#"{"x":[1,-3]}"#), [(About::Numbers, 2), (About::Above, 0), (About::Below, 2_000)]);
        let most = 1_000_000_000_000_000;
        assert_eq!(shown(r#"{"x":[1e12]}"#), [(About::Numbers, 1), (About::Above, most), (About::Below, 0)]);
        for left_out in [r#"{"x":[1e13]}"#, r#"{"x":[-1e300]}"#, r#"{"x":["1"]}"#, r#"{"x":[null]}"#] {
            assert_eq!(shown(left_out), [], "{left_out}");
        }
    }
}
