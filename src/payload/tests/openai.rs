//! OpenAI: vLLM and the PyPI client, as recorded. What a random model does not make (a refusal, a parallel call) and the
//! events of the responses protocol are written by OpenAI's reference.

use super::{Message, preset, read, read_json, read_message, recorded};
use crate::payload::encoding::Inflaters;
use crate::payload::head::{Framing, Head};
use crate::payload::preset::Spec;
use crate::payload::protocol::{Direction, Protocol};
use crate::payload::reading::Reading;
use crate::payload::summary::{Choice, Finish, Outcome, Prompt, Stream, Summary, Usage};

fn of(name: &str) -> Summary {
    read(Protocol::OpenAi, name)
}

fn output() -> Spec {
    Spec::new(Protocol::OpenAi, Direction::Output)
}

fn answer(document: &str) -> Summary {
    read_json(&output(), document)
}

/// An answer in events, with these documents.
fn events(documents: &[&str]) -> Summary {
    let body: String = documents.iter().map(|document| format!("data: {document}\n\n")).collect();
    let head = Head { framing: Framing::Events, ..Head::default() };
    read_message(&output(), &Message { head, body: body.into_bytes() })
}

fn choice(characters: u64, finish: Finish) -> Choice {
    Choice { characters, finish: Some(finish), ..Choice::default() }
}

#[test]
fn a_prompt_is_measured() {
    let chat = Prompt { messages: 2, characters: 314, ..Prompt::default() };
    assert_eq!(of("vllm-chat.request").seen.prompt, Some(chat));
    assert_eq!(of("vllm-chat-stream.request").seen.prompt, Some(Prompt { stream: true, ..chat }));
    assert_eq!(of("vllm-tool-stream.request").seen.prompt, Some(Prompt { stream: true, tools: 1, ..chat }));
    let one = Prompt { messages: 1, ..Prompt::default() };
    assert_eq!(of("vllm-completions.request").seen.prompt, Some(Prompt { characters: 19, ..one }));
    assert_eq!(of("vllm-responses-api.request").seen.prompt, Some(Prompt { characters: 17, ..one }));
}

#[test]
fn parts_batches_and_tokens_of_a_prompt_are_measured() {
    let request = |document: &str| {
        read_json(&Spec::new(Protocol::OpenAi, Direction::Input), document).seen.prompt.unwrap()
    };
    let parts = request(
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"what"},{"type":"image_url","image_url":{"url":"data:"}}]}]}"#,
    );
    assert_eq!(parts, Prompt { messages: 1, characters: 4, attachments: 1, ..Prompt::default() });
    let batch = request(r#"{"prompt":["a","bc"]}"#);
    assert_eq!(batch, Prompt { messages: 2, characters: 3, ..Prompt::default() });
    let tokens = request(r#"{"prompt":[1,2,3]}"#);
    assert_eq!(tokens, Prompt { messages: 1, tokens: 3, ..Prompt::default() });
    let tokens = request(r#"{"prompt":[[1,2,3],[4]]}"#);
    assert_eq!(tokens, Prompt { messages: 2, tokens: 4, ..Prompt::default() });
    let input = request(
        r#"{"instructions":"be","input":[{"role":"user","content":"hi"},{"content":[{"type":"input_text","text":"you"}]}]}"#,
    );
    assert_eq!(input, Prompt { messages: 2, characters: 7, ..Prompt::default() });
}

#[test]
fn choices_and_usage_of_whole_answers_are_read() {
    let usage = Usage { input: Some(136), output: Some(12), cached: Some(0), reasoning: None };
    let summary = of("vllm-chat.response");
    assert_eq!((&summary.seen.choices[..], summary.seen.usage), (&[choice(24, Finish::Length)][..], usage));
    assert_eq!((summary.is_cut(), summary.is_null(), summary.is_error()), (Some(true), Some(false), false));
    let summary = of("vllm-chat-cached-tokens.response");
    assert_eq!(summary.seen.usage, Usage { cached: Some(128), ..usage });
    let summary = of("vllm-completions.response");
    assert_eq!(summary.seen.choices, [choice(36, Finish::Length)]);
    assert_eq!(summary.seen.usage, Usage { input: Some(5), ..usage });
    let summary = of("vllm-json-schema-cut-by-length.response");
    assert_eq!(summary.seen.choices, [choice(227, Finish::Length)]);
    let summary = of("vllm-tool-forced.response");
    assert_eq!(summary.seen.choices, [choice(84, Finish::Length)]);
    let summary = of("vllm-responses-api.response");
    let [only] = &summary.seen.choices[..] else { panic!("{summary:?}") };
    assert_eq!((only.finish, only.characters > 40), (Some(Finish::Length), true));
    let usage = Usage { input: Some(19), output: Some(16), cached: Some(0), reasoning: Some(0) };
    assert_eq!((summary.seen.usage, summary.is_error(), summary.is_null()), (usage, false, Some(false)));
}

#[test]
fn streams_are_added_up_over_their_events() {
    let usage = Usage { input: Some(136), output: Some(12), cached: Some(128), reasoning: None };
    // The first of vLLM's events carries no token, and the last one holds the usage.
    for (name, events, expected) in [
        ("vllm-chat-stream.response", 13, Usage::default()),
        ("vllm-chat-stream-usage.response", 14, usage),
        ("vllm-chat-stream-continuous-usage.response", 14, usage),
    ] {
        let summary = of(name);
        let stream = Stream { events, token_events: 12, malformed: 0, done: true };
        assert_eq!((summary.outcome, summary.seen.stream), (Outcome::Read, Some(stream)), "{name}");
        assert_eq!(summary.seen.choices, [choice(24, Finish::Length)], "{name}");
        assert_eq!(summary.seen.usage.output, expected.output, "{name}");
        assert!(summary.is_cut() == Some(true) && !summary.is_error());
    }
    let summary = of("vllm-completions-stream.response");
    assert_eq!(summary.seen.choices[0].finish, Some(Finish::Length));
    assert_eq!(
        summary.seen.usage,
        Usage { input: Some(3), output: Some(12), cached: Some(0), reasoning: None }
    );
    let summary = of("vllm-tool-stream.response");
    assert_eq!((summary.seen.choices[0].tool_calls, summary.seen.choices[0].characters), (1, 0));
    assert_eq!((summary.is_null(), summary.is_error()), (Some(false), false));
}

#[test]
fn the_event_with_the_first_token_shows_when_it_comes() {
    let message = recorded("vllm-chat-stream.response");
    let events: Vec<&[u8]> = message.body.split_inclusive(|byte| *byte == b'\n').collect();
    let mut reading = Reading::new(&preset(&output()), &message.head, &Inflaters::new(0));
    let mut seen = Vec::new();
    for line in &events[..8] {
        reading.read(line);
        seen.push(reading.token_events());
    }
    // An event ends with its empty line. The first one carries the role alone.
    assert_eq!(seen, [0, 0, 0, 1, 1, 2, 2, 3]);
    // Also when the first token is a call, reasoning or a refusal.
    for delta in [
        r#""tool_calls":[{"index":0}]"#,
        r#""reasoning":"x""#,
        r#""reasoning_content":"x""#,
        r#""refusal":"x""#,
    ] {
        let event = format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":null,{delta}}},"finish_reason":null}}]}}"#
        );
        assert_eq!(self::events(&[&event]).seen.stream.unwrap().token_events, 1, "{delta}");
    }
}

#[test]
fn errors_inside_a_200_are_seen() {
    let summary = of("vllm-stream-error-in-200.response");
    assert_eq!((summary.outcome, summary.is_error()), (Outcome::Read, true));
    let stream = Stream { events: 11, token_events: 9, malformed: 0, done: true };
    assert_eq!(summary.seen.stream, Some(stream));
    assert!(of("vllm-404-model.response").is_error());
    assert!(of("vllm-500-engine-dead.response").is_error());
    assert!(!of("vllm-stream-orca-asked-none-given.response").is_error());
    assert!(answer(r#"{"object":"error","message":"x"}"#).is_error());
    let event =
        r#"{"error":{"code":502},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
    assert!(events(&[event]).is_error());
    assert!(answer(r#"{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}"#).is_error());
    assert!(
        !answer(r#"{"error":null,"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}"#)
            .is_error()
    );
}

#[test]
fn a_stream_without_any_sign_of_an_end_is_an_error() {
    let message = recorded("vllm-chat-stream.response");
    let text = String::from_utf8(message.body.clone()).unwrap();
    let events: Vec<&str> = text.split_inclusive("\n\n").collect();
    let ends = |events: &[&str]| {
        read_message(&output(), &Message { head: message.head, body: events.concat().into_bytes() })
            .is_error()
    };
    assert!(!ends(&events));
    // A reason suffices without `[DONE]`, and `[DONE]` without a reason.
    assert!(!ends(&events[..13]));
    assert!(!ends(&[&events[..12], &events[13..]].concat()));
    assert!(ends(&events[..12]));
    assert!(ends(&[]));
    // Of two choices both must end.
    let two = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},{"index":1,"delta":{"content":"b"},"finish_reason":""}]}"#;
    let summary = self::events(&[two]);
    assert_eq!(summary.seen.choices.iter().map(|choice| choice.characters).collect::<Vec<_>>(), [1, 1]);
    assert!(summary.is_error());
}

#[test]
fn empty_refused_and_calling_choices_are_told_apart() {
    let message = |members: &str, finish: &str| {
        let document =
            format!(r#"{{"choices":[{{"index":0,"message":{{{members}}},"finish_reason":"{finish}"}}]}}"#);
        answer(&document)
    };
    assert_eq!(message(r#""content":null"#, "stop").is_null(), Some(true));
    assert_eq!(message(r#""content":"""#, "length").is_null(), Some(true));
    let summary = message(r#""content":null,"refusal":"I cannot""#, "stop");
    assert_eq!((summary.is_null(), summary.seen.choices[0].refused), (Some(false), true));
    let summary = message(r#""content":"","refusal":null"#, "content_filter");
    assert_eq!((summary.is_null(), summary.seen.choices[0].refused), (Some(false), true));
    let calls =
        r#""content":null,"tool_calls":[{"id":"1","function":{"name":"a","arguments":"{}"}},{"id":"2"}]"#;
    let summary = message(calls, "tool_calls");
    assert_eq!((summary.is_null(), summary.seen.choices[0].tool_calls), (Some(false), 2));
    let summary = message(r#""content":null,"audio":{"id":"x"}"#, "stop");
    assert_eq!(summary.is_null(), Some(false));
    let summary = message(r#""content":null,"reasoning":"hm""#, "stop");
    assert_eq!((summary.is_null(), summary.seen.choices[0].reasoning), (Some(true), 2));
}

#[test]
fn answers_of_another_kind_are_neither_null_nor_not() {
    for document in [
        r#"{"object":"list","data":[{"embedding":[0.5,0.25]}],"usage":{"prompt_tokens":3}}"#,
        r#"{"id":"rerank-1","results":[{"index":0,"relevance_score":0.9}]}"#,
        r#"{"count":3,"max_model_len":2048,"tokens":[1,2,3]}"#,
        "[[0.5,0.25]]",
    ] {
        assert_eq!(answer(document).is_null(), None, "{document}");
    }
    for document in
        [r#"{"choices":[]}"#, r#"{"choices":null}"#, r#"{"output":[],"id":"x"}"#, "{}", "[]", "null"]
    {
        assert_eq!(answer(document).is_null(), Some(true), "{document}");
    }
    let ended = events(&[r#"{"type":"ping"}"#, r#"{"choices":[],"usage":{}}"#, "[DONE]"]);
    assert_eq!(ended.is_null(), Some(true));
}

#[test]
fn parallel_calls_in_events_are_counted_by_their_numbers() {
    let event = |calls: &str| {
        format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}},"finish_reason":null}}]}}"#)
    };
    let parts: Vec<String> =
        [r#"{"index":0,"id":"a"}"#, r#"{"index":0}"#, r#"{"index":1,"id":"b"}"#, r#"{"index":1}"#]
            .iter()
            .map(|calls| event(calls))
            .collect();
    let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    parts.push("[DONE]");
    let summary = events(&parts);
    assert_eq!((summary.seen.choices[0].tool_calls, summary.is_error()), (2, false));
}

#[test]
fn responses_are_read_from_their_events() {
    let summary = events(&[
        r#"{"type":"response.created","response":{"status":"in_progress","error":null,"output":[],"usage":null}}"#,
        r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hel"}"#,
        r#"{"delta":"lo","type":"response.output_text.delta"}"#,
        r#"{"type":"response.output_text.done","text":"Hello"}"#,
        r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#,
        r#"{"type":"response.function_call_arguments.delta","delta":"{}"}"#,
        r#"{"type":"response.completed","response":{"status":"completed","error":null,"output":[{"type":"message","content":[{"text":"Hello"}]}],"usage":{"input_tokens":7,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1}}}}"#,
    ]);
    let expected =
        Choice { characters: 5, tool_calls: 1, finish: Some(Finish::ToolCalls), ..Choice::default() };
    assert_eq!(summary.seen.choices, [expected]);
    assert_eq!(
        summary.seen.usage,
        Usage { input: Some(7), output: Some(3), cached: None, reasoning: Some(1) }
    );
    assert_eq!(summary.seen.stream.unwrap().token_events, 4);
    assert!(!summary.is_error());
    let failed =
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"}}}"#;
    assert!(events(&[failed]).is_error());
    assert!(events(&[r#"{"type":"error","code":"x","message":"y"}"#]).is_error());
    assert!(events(&[r#"{"type":"response.output_text.delta","delta":"Hel"}"#]).is_error());
    let refusal = r#"{"output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}],"status":"completed"}"#;
    let expected = Choice { refused: true, finish: Some(Finish::Stop), ..Choice::default() };
    assert_eq!(answer(refusal).seen.choices, [expected]);
}

#[test]
fn an_event_that_is_no_json_is_counted_and_the_others_are_read() {
    let good = r#"{"choices":[{"index":0,"delta":{"content":"ab"},"finish_reason":"stop"}]}"#;
    let summary = events(&[good, "{\"choices\":[}", good, "[DONE]"]);
    assert_eq!(summary.outcome, Outcome::Malformed);
    assert_eq!(summary.seen.choices, [choice(4, Finish::Stop)]);
    assert_eq!(summary.seen.stream.unwrap().malformed, 1);
    let cut = format!("data: {good}\n\ndata: {}", &good[..40]);
    let head = Head { framing: Framing::Events, ..Head::default() };
    assert_eq!(
        read_message(&output(), &Message { head, body: cut.into_bytes() }).outcome,
        Outcome::Truncated
    );
}

#[test]
fn choices_beyond_the_bound_are_left_out() {
    let choices: Vec<String> = (0..40).map(|at| format!(r#"{{"index":{at},"text":"a"}}"#)).collect();
    let summary = answer(&format!(r#"{{"choices":[{}]}}"#, choices.join(",")));
    assert_eq!(summary.seen.choices.len(), 16);
    assert!(summary.seen.choices.iter().all(|choice| choice.characters == 1));
}
