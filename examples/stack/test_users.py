"""The users' traffic: a heavy tail, a rhythm, and lines that add up."""

import collections
import json
import pathlib
import random
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import users  # noqa: E402


class Image(list):
    def tolist(self):
        return list(self)


class Users(unittest.TestCase):
    def test_a_few_ask_often_and_most_rarely(self):
        random.seed(1)
        asked = collections.Counter(users.user(5_000) for _ in range(20_000))
        self.assertTrue(all(1 <= number <= 5_000 for number in asked))
        top = sum(count for _, count in asked.most_common(len(asked) // 10))
        self.assertGreater(top, 10_000, "a tenth of the users asks more than half of all questions")
        self.assertGreater(sum(1 for count in asked.values() if count == 1), len(asked) / 4)

    def test_a_day_has_its_rhythm_and_its_mean(self):
        rates = [users.rate(20, second) for second in range(users.DAY)]
        self.assertAlmostEqual(sum(rates) / len(rates), 20, places=6)
        self.assertGreater(max(rates) / min(rates), 3)

    def test_every_fifth_user_lacks_pixels(self):
        image = Image([1.0] * 64)
        lacking = [json.loads(users.body(number, image))["inputs"][0]["data"].count(None) for number in range(1, 11)]
        self.assertEqual(lacking, [0, 0, 0, 0, users.GAP] * 2)

    def test_a_line_says_what_users_got(self):
        results = {("ok", "logreg"): 3, ("ok", "svm"): 1, ("status 500", "svm"): 2, ("no answer", ""): 1}
        self.assertEqual(
            json.loads(users.line(results)),
            {"answers": {"no answer": 1, "ok": 4, "status 500": 2}, "versions": {"logreg": 3, "svm": 3, "unknown": 1}},
        )

    def test_only_a_good_answer_is_one(self):
        bad = {("status 500", "svm"): 2, ("null", "svm"): 1, ("no answer", ""): 1}
        self.assertFalse(users.has_good({}) or users.has_good(bad))
        self.assertTrue(users.has_good({**bad, ("ok", "logreg"): 1}))


if __name__ == "__main__":
    unittest.main()
