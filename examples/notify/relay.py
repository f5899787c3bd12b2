#!/usr/bin/env python3
"""Takes Changeover's notifications and posts each on in the form that another service takes.

    relay.py --to slack https://hooks.slack.com/services/…
    relay.py --to teams https://….webhook.office.com/…
    relay.py --to github https://api.github.com/repos/OWNER/REPOSITORY/dispatches --token-file FILE

Envoy's cluster of `notify` leads to `--port`. A notification is answered 204 once the other service has taken it; what that
answers otherwise is passed on, so that Changeover tries again, or gives up what can never be taken. Python 3.10, no packages.
"""
import argparse
import collections
import http.server
import json
import pathlib
import threading
import urllib.error
import urllib.request

LARGEST_BODY = 1 << 20
REMEMBERED = 1_000


def lines(event):
    """The sentences of a notification: what happened, by whom, the shares, what was counted, what can be done."""
    data = event["data"]
    said = [data["message"]]
    if data.get("reason"):
        said.append(f"reason: {data['reason']}" + (f" ({data['token']})" if data.get("token") else ""))
    if data.get("samples") and data["action"] in ("step", "flip", "succeed"):  # other messages have their numbers
        said.append(f"so far: {seen(data)}")
    shares = [", ".join(f"{name} {share} %" for name, share in sorted(data[side].items())) for side in ("from", "to")]
    if shares[0] != shares[1]:
        said.append(f"shares: {shares[0]} → {shares[1]}")
    for label, commands in (("to go on", data["go_on"]), ("to go back", data["go_back"])):
        if commands:
            said.append(f"{label}: " + " or ".join(f"`{command}`" for command in commands))
    return said


def seen(data):
    """What speaks most against the candidate: `error_rate: 2 of 112 requests against 3 of 338; evidence 1.6 to 1, of 100 to 1`."""
    def of(sample, unit=""):
        if sample.get("mean") is not None:
            return f"a mean of {sample['mean']} over {sample['units']}{unit}"
        return f"{sample['events']} of {sample['units']}{unit}"

    samples = data["samples"]
    odds = f"{10 ** (data['value'] or 0):.3g} to 1, of {10 ** data['threshold']:.3g} to 1"
    return f"{data['rule']}: {of(samples['candidate'], ' ' + samples['unit'])} against {of(samples['stable'])}; evidence {odds}"


def title(event):
    return f"{event['subject']} {event['data']['release']}: {event['data']['action']}"


def escaped(text):
    """Slack's three control characters: escaped, a name or a reason mentions no user and no channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def slack(event):
    """Slack's incoming webhook: https://api.slack.com/messaging/webhooks."""
    return {"text": escaped("\n".join([f"*{title(event)}*", *lines(event)]))}


def teams(event):
    """Teams' incoming webhook, of a workflow: an adaptive card."""
    block = {"type": "TextBlock", "wrap": True}
    texts = [{**block, "text": title(event), "weight": "Bolder"}, *({**block, "text": line} for line in lines(event))]
    card = {"type": "AdaptiveCard", "version": "1.4", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "body": texts}
    return {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}]}


def github(event):
    """A workflow `on: {repository_dispatch: {types: [changeover.rollout.rollback]}}`: a job of CI, or one that trains again."""
    return {"event_type": event["type"], "client_payload": {"event": event}}


FORMS = {"slack": slack, "teams": teams, "github": github}


def post(url, document, token=None):
    """Posts, and returns the status; 502 where there is no answer."""
    headers = {"content-type": "application/json", "user-agent": "changeover-relay"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=4) as answer:  # less than the `timeout` of `notify`: 5 s
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 502


class Seen:
    """The newest ids: a notification whose answer was lost comes again, perhaps while it is still being sent."""

    def __init__(self):
        self.ids = collections.OrderedDict()
        self.sending = set()
        self.lock = threading.Lock()

    def begin(self, event):
        """Whether it is to be sent; 204: it was, 503: it is being sent."""
        key = event["source"], event["id"]
        with self.lock:
            if key in self.ids:
                return 204
            if key in self.sending:
                return 503
            self.sending.add(key)
            return None

    def end(self, event, is_sent):
        key = event["source"], event["id"]
        with self.lock:
            self.sending.discard(key)
            if is_sent:
                self.ids[key] = True
            while len(self.ids) > REMEMBERED:
                self.ids.popitem(last=False)


def handler(form, send):
    seen = Seen()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                length = min(int(self.headers.get("content-length", "0")), LARGEST_BODY)
                event = json.loads(self.rfile.read(length))
                document = form(event)
                known = seen.begin(event)
            except (KeyError, TypeError, ValueError, AttributeError):
                return self.answer(400)
            if known is not None:
                return self.answer(known)
            status = 502
            try:
                status = send(document)
            finally:
                seen.end(event, status < 300)
            return self.answer(204 if status < 300 else status)

        def answer(self, status):
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--to", choices=FORMS, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--token-file", type=pathlib.Path, help="a file with a bearer token, as GitHub wants one")
    options = parser.parse_args()
    token = options.token_file.read_text().strip() if options.token_file else None
    serve = handler(FORMS[options.to], lambda document: post(options.url, document, token))
    http.server.ThreadingHTTPServer((options.host, options.port), serve).serve_forever()


if __name__ == "__main__":
    main()
