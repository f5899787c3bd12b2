#!/usr/bin/env python3
"""Chats by the `openai` client, and prints what it has sent and got, by version.

    chat.py http://127.0.0.1:10000 20

The model's name says what the test's server should answer (tests/envoy/clients_test.rs): each as often as asked. The
answer's `system_fingerprint` is the version that gave it.
"""
import collections
import json
import sys

import openai

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
STREAMS = ["streamed", "streamed-without-usage", "streamed-tools", "streamed-refusal", "streamed-error"]
WHOLE = ["plain", "tools", "refusal", "cut", "empty"]


class Versions(collections.defaultdict):
    """What clients counted, by version."""

    def __init__(self):
        super().__init__(collections.Counter)

    def answered(self, answer, prompt, messages, text, finish, calls, refusal):
        """Counts an answer that came to its end."""
        count = self[answer.system_fingerprint]
        count.update({
            "answers": 1, "input_length": len(prompt), "output_length": len(text), f"finish_{finish}": 1,
            "null": int(not (text or calls or refusal)), "truncated": int(finish == "length"), "tool_calls": calls,
            "refusals": int(bool(refusal)), "input_messages": messages,
        })
        if answer.usage:
            count.update({
                "input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens,
                "cached_tokens": answer.usage.prompt_tokens_details.cached_tokens,
                "reasoning_tokens": answer.usage.completion_tokens_details.reasoning_tokens,
            })


def whole(client, model, prompt, versions):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], tools=[TOOL])
    choice = answer.choices[0]
    calls = len(choice.message.tool_calls or [])
    versions.answered(answer, prompt, 1, choice.message.content or "", choice.finish_reason, calls, choice.message.refusal)


def streamed(client, model, prompt, versions):
    options = {} if model == "streamed-without-usage" else {"stream_options": {"include_usage": True}}
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": [{"type": "text", "text": prompt}]}]
    text, calls, refusal, finish, last = "", set(), "", None, None
    try:
        for event in client.chat.completions.create(model=model, messages=messages, stream=True, **options):
            last = event
            for choice in event.choices:
                text += choice.delta.content or ""
                refusal += choice.delta.refusal or ""
                calls.update(call.index for call in choice.delta.tool_calls or [])
                finish = choice.finish_reason or finish
    except openai.APIError:
        versions[last.system_fingerprint].update(
            answers=1, error_objects=1, input_length=len(prompt), input_messages=len(messages), streams=1, finish_none=1)
        return
    versions.answered(last, prompt, len(messages), text, finish, len(calls), refusal)
    versions[last.system_fingerprint]["streams"] += 1


def main():
    url, rounds = sys.argv[1], int(sys.argv[2])
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    versions = Versions()
    for number in range(rounds):
        prompt = "Wie wär's? " * (1 + number % 7)
        for model in WHOLE:
            whole(client, model, prompt, versions)
        for model in STREAMS:
            streamed(client, model, prompt, versions)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
