"""The demo's own parts."""

import collections
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import acts  # noqa: E402
import client  # noqa: E402
import counters  # noqa: E402
import demo  # noqa: E402
import processes  # noqa: E402
import show  # noqa: E402

SCRAPE = """# TYPE changeover_requests_total counter
changeover_requests_total{rollout="digits",version="svm",class="2xx",outcome="ok"} 5
changeover_requests_total{rollout="digits",version="svm",class="5xx",outcome="error"} 1
changeover_requests_total{rollout="digits",version="logreg",class="2xx",outcome="ok"} 20
changeover_mirror_requests_total{rollout="digits",version="svm",result="asked"} 3
changeover_mirror_requests_total{rollout="digits",version="svm",result="skipped_method"} 4
changeover_output_null_total{rollout="digits",version="svm"} 2
changeover_output_null_total{rollout="digits",version="logreg"} 1
changeover_tasks_total{rollout="digits",route="human",reason="degree"} 4
changeover_tasks_total{rollout="digits",route="human",reason="late"} 1
changeover_tasks_total{rollout="digits",route="audit",reason="drawn"} 2
changeover_config_hash{worker="0"} 281474976710655
changeover_config_hash{worker="1"} 7
up 1
"""


class CrowdTest(unittest.TestCase):
    def test_some_come_more_often_than_others(self):
        crowd = client.Crowd(100)
        seen = collections.Counter(crowd.one() for _ in range(20_000))
        self.assertTrue(seen["user-1"] > seen["user-10"] > seen["user-100"])
        self.assertTrue(set(crowd.BROKEN) <= set(crowd.names) and len(seen) > 90)


class CountersTest(unittest.TestCase):
    def test_scrape(self):
        series = counters.parse(SCRAPE)
        self.assertEqual(counters.requests_by_version(series), {"svm": 6, "logreg": 20})
        self.assertEqual(counters.hashes(series), {"0": 281474976710655, "1": 7})
        self.assertEqual(counters.mirrored(series), 3)
        self.assertEqual(counters.nulls(series), 3)
        self.assertEqual(counters.tasks(series), {"human": 5, "audit": 2})
        self.assertEqual(len(series), 13)

    def test_labels_with_quotes(self):
        self.assertEqual(counters.parse('m{a="x\\"y",b="1,2"} 3')[0][1], {"a": 'x\\"y', "b": "1,2"})

    def test_within_four_standard_deviations(self):
        self.assertTrue(counters.within(471, 2_000, 0.2))
        self.assertFalse(counters.within(472, 2_000, 0.2))

    def test_sums(self):
        self.assertEqual(counters.add({"a": 1}, {"a": 2, "b": 3}), {"a": 3, "b": 3})
        self.assertEqual(counters.subtract({"a": 1}, {"b": 3}), {"a": 1, "b": -3})


class DemoTest(unittest.TestCase):
    def test_the_flip_that_is_printed_is_a_rename(self):
        # Envoy notices nothing else, and from another folder it may be a copy.
        new, old = map(pathlib.Path, re.search(r"mv (\S+) (\S+)", demo.URLS).groups())
        self.assertEqual(new.parent, old.parent)


class ShowTest(unittest.TestCase):
    def test_table(self):
        self.assertEqual(show.table(("a", "n"), [("xx", 1), ("y", 100)]), ["a     n", "──  ───", "xx    1", "y   100"])


class ActsTest(unittest.TestCase):
    def test_percentile(self):
        self.assertEqual([acts.percentile(range(100), share) for share in (0, 0.5, 0.99, 1)], [0, 50, 99, 99])
        self.assertEqual(acts.percentile([], 0.5), 0)

    def test_the_example_of_people_and_a_model_can_be_changed(self):
        text = processes.automation()
        self.assertNotIn("0.0.0.0", text)
        self.assertIn("port_value: 8003", text)

    def test_the_shipped_file_can_be_changed(self):
        self.assertIn("            blue_green: {active: svm}\n", acts.configuration("blue_green: {active: svm}"))
        self.assertNotIn("blue_green: {", acts.configuration("weights: {svm: 5}"))


if __name__ == "__main__":
    unittest.main()
