"""The model server speaks its protocol, and misbehaves when told to."""

import http.client
import json
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import digits  # noqa: E402
import protocol  # noqa: E402
import server  # noqa: E402

CALM = {"delay_ms": 0, "fail_percent": 0, "null_percent": 0, "random_percent": 0}
INFER = "/v2/models/digits/infer"


def tensor(rows, **changes):
    flat = [float(value) for row in rows for value in row]
    return {"name": "image", "shape": [len(rows), 64], "datatype": "FP32", "data": flat, **changes}


class ServerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = server.Model("svm", dict(CALM))
        cls.server = server.Server(("127.0.0.1", 0), server.handler(cls.model))
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.images, cls.labels = digits.data()[1]

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        self.model.behaviour = dict(CALM)
        self.model.reset()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        self.addCleanup(self.connection.close)

    def call(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body))
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def test_health_and_metadata(self):
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready"):
            self.assertEqual(self.call("GET", path)[0], 200, path)
        status, metadata = self.call("GET", "/v2/models/digits")
        self.assertEqual((status, metadata["inputs"][0]["shape"]), (200, [-1, 64]))

    def test_inference_is_right_and_counted(self):
        request = {"id": "7", "inputs": [tensor(self.images[:50])]}
        status, answer = self.call("POST", INFER, request)
        self.assertEqual((status, answer["id"], answer["model_version"]), (200, "7", "svm"))
        labels, confidence = (output["data"] for output in answer["outputs"])
        right = sum(found == label for found, label in zip(labels, self.labels))
        self.assertGreaterEqual(right, 45)
        self.assertTrue(all(0 <= value <= 1 for value in confidence))
        nested = {"inputs": [tensor(self.images[:1], data=[self.images[0].tolist()])]}
        self.assertEqual(self.call("POST", INFER, nested)[0], 200)
        self.assertEqual(self.call("GET", "/stats")[1], {"model": "svm", "requests": {"200": 2}, "inferences": 2})

    def test_what_the_protocol_does_not_allow(self):
        row = self.images[:1]
        for body in (
            None, [], {}, {"inputs": []}, {"inputs": [7]}, {"inputs": [tensor(row, shape=[2, 64])]},
            {"inputs": [tensor(row, shape=[1, 63])]}, {"inputs": [tensor(row, datatype="BYTES")]},
            {"inputs": [tensor(row, data=["a"] * 64)]}, {"inputs": [tensor(row, data=None)]},
        ):
            status, answer = self.call("POST", INFER, body)
            self.assertEqual(status, 400, body)
            self.assertTrue(answer["error"])
        self.assertEqual(self.call("GET", INFER)[0], 405)
        self.assertEqual(self.call("POST", "/v2/health/ready", {})[0], 405)
        self.assertEqual(self.call("GET", "/nothing")[0], 404)

    def test_switches(self):
        request = {"inputs": [tensor(self.images[:2])]}
        self.assertEqual(self.call("POST", "/admin/behaviour", {"fail_percent": 100})[0], 200)
        self.assertEqual(self.call("POST", INFER, request)[0], 500)
        self.call("POST", "/admin/behaviour", {"fail_percent": 0, "null_percent": 100})
        self.assertEqual(self.call("POST", INFER, request)[1]["outputs"][0]["data"], [None, None])
        self.call("POST", "/admin/behaviour", {"null_percent": 0, "random_percent": 100})
        drawn = {self.call("POST", INFER, request)[1]["outputs"][0]["data"][0] for _ in range(50)}
        self.assertTrue(len(drawn) > 3 and drawn <= set(range(10)), drawn)
        for wrong in ({"speed": 1}, {"delay_ms": -1}, {"delay_ms": "x"}, []):
            self.assertEqual(self.call("POST", "/admin/behaviour", wrong)[0], 400, wrong)


class VersionsTest(unittest.TestCase):
    def test_the_versions_really_differ(self):
        images, labels = digits.data()[1]
        right = {}
        for name in digits.models():
            found, _ = digits.classify(digits.train(name), images)
            right[name] = sum(a == b for a, b in zip(found, labels)) / len(labels)
        self.assertGreater(right["svm"], right["logreg"] + 0.02)
        self.assertGreater(right["logreg"], 0.85)


class ProtocolTest(unittest.TestCase):
    def test_flatten(self):
        self.assertEqual(protocol.flatten([[1, [2]], 3]), [1, 2, 3])


if __name__ == "__main__":
    unittest.main()
