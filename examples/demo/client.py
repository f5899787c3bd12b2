"""Clients that ask the model about handwritten digits, and remember who answered."""

import collections
import http.client
import itertools
import json
import random
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


class Crowd:
    """Users of very different activity: the nth comes 1/n times as often as the first. Some send what no model takes."""

    BROKEN = ("user-3", "user-12", "user-40")

    def __init__(self, count=300):
        self.names = [f"user-{rank}" for rank in range(1, count + 1)]
        self.weights = list(itertools.accumulate(1 / rank for rank in range(1, count + 1)))

    def one(self):
        return random.choices(self.names, cum_weights=self.weights)[0]


class Client:
    """One connection, kept open."""

    def __init__(self, images):
        self.images = images
        self.connection = http.client.HTTPConnection("127.0.0.1", processes.LISTENER, timeout=20)

    def ask(self, number, headers=None, broken=False):
        """Sends the nth image, or half of it; status 0 is no answer."""
        body = self.images.bodies[number % len(self.images)]
        body = body[: len(body) // 2] if broken else body
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

    def __init__(self, images, clients=4, crowd=None):
        self.answers = [[] for _ in range(clients)]
        self.images, self.crowd = images, crowd
        # By user, how often each has asked, and failed.
        self.asked, self.failed = collections.Counter(), collections.Counter()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(at,)) for at in range(clients)]

    def image(self, at, number):
        """The image that a client's nth request is about: each client begins elsewhere."""
        return number + at * len(self.images) // len(self.answers)

    def work(self, at):
        client = Client(self.images)
        while not self.stopped.is_set():
            number = self.image(at, len(self.answers[at]))
            if not self.crowd:
                self.answers[at].append(client.ask(number))
                continue
            user = self.crowd.one()
            answer = client.ask(number, {"x-user-id": user}, broken=user in Crowd.BROKEN)
            self.asked[user] += 1
            self.failed[user] += answer.status != 200
            self.answers[at].append(answer)

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
