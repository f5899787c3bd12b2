"""The relay, between a notification as Changeover writes it and a service that takes it."""

import copy
import http.server
import json
import pathlib
import sys
import threading
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import relay  # noqa: E402

EVENT = json.loads((pathlib.Path(__file__).parent / "rollback.json").read_text())


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def post(url, body):
    request = urllib.request.Request(url, body, {"content-type": "application/cloudevents+json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Forms(unittest.TestCase):
    def test_every_form_has_the_sentence_the_shares_and_the_commands(self):
        for name in ("slack", "teams"):
            text = json.dumps(relay.FORMS[name](EVENT), ensure_ascii=False)
            for part in (
                "digits 2026-11-24.1: rollback", "green is worse than blue", "blue 75 %, green 25 % → blue 100 %",
                "to go on: `changeover retry digits`",
            ):
                with self.subTest(form=name, part=part):
                    self.assertIn(part.replace(">", "&gt;") if name == "slack" else part, text)
            self.assertNotIn("to go back", text)

    def test_the_sentence_begins_with_what_was_done(self):
        begin = "green is rolled back, its traffic goes to blue: at 25 % green is worse than blue (error_rate): "
        self.assertTrue(relay.lines(EVENT)[0].startswith(begin), relay.lines(EVENT)[0])
        self.assertIn(f"\n{begin}", relay.slack(EVENT)["text"])
        self.assertTrue(relay.teams(EVENT)["attachments"][0]["content"]["body"][1]["text"].startswith(begin))

    def test_a_step_says_what_is_known_so_far(self):
        event = copy.deepcopy(EVENT)
        event["data"] |= {"action": "step", "message": "step 4 of 5: green at 25 %, until it is promoted", "value": 0.2}
        seen = "so far: error_rate: 9 of 112 requests against 2 of 338; evidence 1.58 to 1, of 100 to 1"
        self.assertIn(seen, relay.lines(event))
        event["data"] |= {"rule": "output.confidence", "samples": {
            "unit": "users", "candidate": {"mean": 0.42, "units": 12}, "stable": {"mean": 0.5, "units": 36}}}
        seen = "so far: output.confidence: a mean of 0.42 over 12 users against a mean of 0.5 over 36; evidence 1.58 to 1, of 100 to 1"
        self.assertIn(seen, relay.lines(event))
        self.assertFalse([line for line in relay.lines(EVENT) if line.startswith("so far")], "its message says it")
        event["data"]["samples"] = None
        self.assertFalse([line for line in relay.lines(event) if line.startswith("so far")])

    def test_the_document_shows_what_slack_shows(self):
        document = (pathlib.Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
        shown = [line.removeprefix("> ").removesuffix("\\") for line in document.splitlines() if line.startswith("> ")]
        expected = relay.slack(EVENT)["text"].replace("*", "**")
        self.assertEqual(" ".join(shown), " ".join(expected.splitlines()))

    def test_a_form_is_what_the_service_takes(self):
        self.assertEqual(list(relay.slack(EVENT)), ["text"])
        card = relay.teams(EVENT)["attachments"][0]
        self.assertEqual(card["contentType"], "application/vnd.microsoft.card.adaptive")
        self.assertTrue(all(block["type"] == "TextBlock" for block in card["content"]["body"]))
        dispatch = relay.github(EVENT)
        self.assertEqual((dispatch["event_type"], dispatch["client_payload"]["event"]), ("changeover.rollout.rollback", EVENT))

    def test_no_reason_mentions_a_channel(self):
        event = copy.deepcopy(EVENT)
        event["data"]["reason"] = "<!channel> & <@U1>"
        self.assertIn("&lt;!channel&gt; &amp; &lt;@U1&gt;", relay.slack(event)["text"])


class Relay(unittest.TestCase):
    def setUp(self):
        self.status, self.taken = 200, []
        test = self

        class Service(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                test.taken.append((body, self.headers.get("authorization")))
                self.send_response(test.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.service, service = serve(Service)
        self.relay, self.url = serve(relay.handler(relay.slack, lambda document: relay.post(service, document, "secret")))
        for server in (self.service, self.relay):
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)

    def test_a_notification_is_posted_on_once(self):
        body = json.dumps(EVENT).encode()
        self.assertEqual([post(self.url, body), post(self.url, body)], [204, 204])
        self.assertEqual(self.taken, [(relay.slack(EVENT), "Bearer secret")])

    def test_what_the_service_answers_is_passed_on_and_the_notification_taken_when_it_comes_again(self):
        body = json.dumps(EVENT).encode()
        for self.status in (503, 404):
            self.assertEqual(post(self.url, body), self.status)
        self.status = 200
        self.assertEqual(post(self.url, body), 204)
        self.assertEqual(len(self.taken), 3)

    def test_a_service_that_is_not_there_is_a_bad_gateway(self):
        self.service.shutdown()
        self.service.server_close()
        self.assertEqual(post(self.url, json.dumps(EVENT).encode()), 502)

    def test_what_is_no_notification_is_refused(self):
        for body in (b"", b"[]", b"7", b"{}", b"\xff", b'{"subject": 1, "data": []}'):
            self.assertEqual(post(self.url, body), 400, body)
        self.assertEqual(self.taken, [])


if __name__ == "__main__":
    unittest.main()
