"""History files, and the search for a linear order."""

import math
import os
import tempfile
import unittest

import history
import linear
from history import INFO, OK
from linear import CAS, READ, WRITE, Step


class Linear(unittest.TestCase):
    """The search, on histories that can be judged by eye."""

    def assertLinear(self, expected, *steps):
        self.assertIs(linear.linearizable(list(steps)), expected)

    def test_a_read_after_a_write(self):
        self.assertLinear(True, Step(0, 1, WRITE, new="a"),
                          Step(2, 3, READ, "a"))
        self.assertLinear(False, Step(0, 1, WRITE, new="a"),
                          Step(2, 3, READ, None))

    def test_a_read_beside_a_write(self):
        for value in None, "a":
            self.assertLinear(True, Step(0, 5, WRITE, new="a"),
                              Step(1, 2, READ, value))

    def test_new_then_old(self):
        self.assertLinear(False, Step(0, 9, WRITE, new="a"),
                          Step(1, 2, READ, "a"), Step(3, 4, READ, None))

    def test_two_readers_disagree(self):
        self.assertLinear(False, Step(0, 9, WRITE, new="a"),
                          Step(0, 9, WRITE, new="b"),
                          Step(1, 2, READ, "a"), Step(3, 4, READ, "b"),
                          Step(5, 6, READ, "a"))

    def test_only_one_of_two_swaps(self):
        self.assertLinear(False, Step(0, 9, CAS, None, "a"),
                          Step(0, 9, CAS, None, "b"))
        self.assertLinear(True, Step(0, 9, CAS, None, "a"),
                          Step(0, 9, CAS, "a", "b"))

    def test_an_unknown_write_may_come_late_or_never(self):
        unknown = Step(0, math.inf, WRITE, new="a")
        self.assertLinear(True, unknown, Step(1, 2, READ, None))
        self.assertLinear(True, unknown, Step(1, 2, READ, None),
                          Step(5, 6, READ, "a"))
        self.assertLinear(False, unknown, Step(1, 2, READ, "a"),
                          Step(5, 6, READ, None))


class Files(unittest.TestCase):
    def test_an_operation_without_an_end_is_unknown(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x-1.jsonl")
            recorder = history.Recorder(path, "x-1", 2)
            recorder.invoke("insert", {"time": 1})
            recorder.event(OK, value=5)
            recorder.invoke("insert", {"time": 1})
            with open(path, "a") as file:
                file.write('{"p": "x-1", "seq": 2, "type": "o')
            done, open_ = history.pair(history.read_events(folder, "x-"))
        self.assertEqual((done.type, done.value, done.node), (OK, 5, 2))
        self.assertEqual((open_.type, open_.end), (INFO, math.inf))
        self.assertLessEqual(done.start, done.end)
