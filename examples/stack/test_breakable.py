"""The candidate breaks as it is told to, and not before."""

import importlib
import os
import pathlib
import random
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parent))


class Broken(Exception):
    """Stands for MLServer's error."""


class Good:
    """Stands for MLServer's model: it answers a label."""

    async def predict(self, payload):
        return types.SimpleNamespace(outputs=[types.SimpleNamespace(data=types.SimpleNamespace(root=[payload]))])


def model(how):
    """The candidate that breaks so after a minute of traffic."""
    modules = {name: types.ModuleType(name) for name in ("mlserver", "mlserver.errors", "mlserver_sklearn")}
    modules["mlserver.errors"].MLServerError = Broken
    modules["mlserver_sklearn"].SKLearnModel = Good
    with mock.patch.dict(sys.modules, modules), mock.patch.dict(os.environ, {"BREAK": how, "BREAK_AFTER": "60"}):
        sys.modules.pop("breakable", None)
        return importlib.import_module("breakable").Breakable()


def asked(model, second, times=1):
    """What it answers then: labels, `None` or errors; and the seconds that it has slept."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async def answers():
        found = []
        for _ in range(times):
            try:
                found.append((await model.predict("7")).outputs[0].data.root[0])
            except Broken as error:
                found.append(error)
        return found

    with mock.patch("time.monotonic", lambda: second), mock.patch("asyncio.sleep", sleep):
        try:
            answers().send(None)
        except StopIteration as ended:
            return ended.value, slept
    raise AssertionError("it waits for something")


class Breakable(unittest.TestCase):
    def setUp(self):
        random.seed(1)

    def test_nothing_breaks_within_the_first_minute_of_traffic(self):
        for how in ("errors", "nulls", "slow"):
            with self.subTest(how=how):
                candidate = model(how)
                for second in (1_000, 1_059):
                    self.assertEqual(asked(candidate, second, 100), (["7"] * 100, []))

    def test_without_a_way_to_break_it_never_does(self):
        candidate = model("")
        asked(candidate, 1_000)
        self.assertEqual(asked(candidate, 10_000, 100), (["7"] * 100, []))

    def test_a_third_of_the_answers_are_errors_or_have_no_value(self):
        for how, is_bad in (("errors", lambda one: isinstance(one, Broken) and one.args[1] == 500), ("nulls", lambda one: one is None)):
            with self.subTest(how=how):
                candidate = model(how)
                asked(candidate, 1_000)
                found, slept = asked(candidate, 1_060, 3_000)
                bad = [one for one in found if one != "7"]
                self.assertTrue(all(map(is_bad, bad)))
                self.assertAlmostEqual(len(bad) / len(found), 1 / 3, delta=0.03)
                self.assertEqual(slept, [])

    def test_all_answers_take_half_a_second_longer(self):
        candidate = model("slow")
        asked(candidate, 1_000)
        self.assertEqual(asked(candidate, 1_060, 10), (["7"] * 10, [0.5] * 10))


if __name__ == "__main__":
    unittest.main()
