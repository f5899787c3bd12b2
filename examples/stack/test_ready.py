"""Waiting for addresses: until each has answered, and no longer than asked for."""

import http.server
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import ready  # noqa: E402


class Ready(unittest.TestCase):
    def serve(self, *statuses):
        """A server that answers with each of these, and then with the last."""
        left = list(statuses)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(left.pop(0) if left[1:] else left[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}/", left

    def test_an_address_is_asked_until_it_answers_with_200(self):
        (first, left), (second, _) = self.serve(503, 404, 200), self.serve(200)
        self.assertEqual(ready.missing([first, second], 600), [])
        self.assertEqual(left, [200])

    def test_an_address_that_does_not_answer_is_named(self):
        (good, _), (bad, _) = self.serve(200), self.serve(503)
        self.assertEqual(ready.missing([good, bad], 0), [bad])

    def test_an_address_where_nothing_listens_is_named(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        address = f"http://127.0.0.1:{server.server_port}/"
        server.server_close()
        self.assertEqual(ready.missing([address], 0), [address])


if __name__ == "__main__":
    unittest.main()
