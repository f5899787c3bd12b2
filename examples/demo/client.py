"""Clients that ask the model about handwritten digits, and remember who answered."""

import collections
import http.client
import json
import threading
import time

import processes
import show

PATH = "/v2/models/digits/infer"

Answer = collections.namedtuple("Answer", "status version label seconds")


class Images:
    """Requests made of the data set's images, and the right answers."""

    def __init__(self):
        import digits

        images, self.labels = digits.data()[1]
        self.bodies = [
            json.dumps({"inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32", "data": row.tolist()}]})
            for row in images
        ]

    def __len__(self):
        return len(self.bodies)


class Client:
    """One connection, kept open."""

    def __init__(self, images):
        self.images = images
        self.connection = http.client.HTTPConnection("127.0.0.1", processes.LISTENER, timeout=20)

    def ask(self, number, headers=None):
        """Sends the nth image; status 0 is no answer."""
        body = self.images.bodies[number % len(self.images)]
        began = time.perf_counter()
        try:
            self.connection.request("POST", PATH, body, {"content-type": "application/json", **(headers or {})})
            response = self.connection.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return Answer(0, None, None, time.perf_counter() - began)
        seconds = time.perf_counter() - began
        if response.status != 200:
            return Answer(response.status, response.headers["x-changeover-version"], None, seconds)
        answer = json.loads(payload)
        # The model's own word; the header is the filter's.
        version = answer["model_version"]
        assert response.headers["x-changeover-version"] == version, "the header names another version"
        return Answer(200, version, answer["outputs"][0]["data"][0], seconds)


def ask_all(images, questions, what, clients=6):
    """Sends (number, headers) by several clients; the answers in the order of the questions."""
    answers = [None] * len(questions)
    pending = iter(enumerate(questions))
    lock = threading.Lock()
    with show.Progress(what, len(questions)) as progress:

        def work():
            client = Client(images)
            while True:
                with lock:
                    at, question = next(pending, (None, None))
                if at is None:
                    return
                answers[at] = client.ask(*question)
                progress.step()

        threads = [threading.Thread(target=work) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answers


class Load:
    """Requests that do not stop until told to."""

    def __init__(self, images, clients=4):
        self.answers = [[] for _ in range(clients)]
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(images, at)) for at in range(clients)]

    def work(self, images, at):
        client = Client(images)
        while not self.stopped.is_set():
            self.answers[at].append(client.ask(len(self.answers[at])))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def all(self):
        return [answer for answers in self.answers for answer in answers]

    def newest(self, count):
        """The newest answers of each client, so many in all."""
        each = count // len(self.answers)
        return [answer for answers in self.answers for answer in answers[-each:]]

    def wait_for_requests_in_flight(self):
        """Until every client has sent and finished a request after now."""
        before = [len(answers) for answers in self.answers]
        processes.wait_for("requests in flight", lambda: all(
            len(answers) > known + 1 for answers, known in zip(self.answers, before)
        ))

    def wait_for_more(self, count):
        """Until so many further requests have been answered."""
        before = len(self.all())
        processes.wait_for("more requests", lambda: len(self.all()) >= before + count)


def by_version(answers):
    """{version: answers}."""
    return dict(collections.Counter(answer.version for answer in answers if answer.version))
