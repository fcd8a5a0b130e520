"""Run the end-to-end suites: run.py [PATTERN...]

A pattern selects tests whose name (test_file.Class.test) contains it. Prints
what each test took, the logs of the nodes behind a failure, and totals; appends
"e2e PASSED FAILED SKIPPED" to the file named by $MARMOT_COUNTS.

Without a pattern, several classes of tests run at the same time, since most of
them wait most of the time; $MARMOT_E2E_WORKERS (4) says how many. What they
print comes when a class is done.
"""

import contextlib
import io
import itertools
import multiprocessing
import os
import pathlib
import queue
import signal
import sys
import time
import traceback
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import marmot  # noqa: E402


class Result(unittest.TestResult):
    """One line a test, when it ends."""

    def __init__(self):
        super().__init__()
        self.passed, self.started = 0, 0.0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.bad = False

    def line(self, word, test, text=""):
        took = time.monotonic() - self.started
        name = test.id().removeprefix("__main__.")
        print(f"{word:4} {took:6.1f} s  {name}{text}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("SKIP", test, f": {reason}")

    def fail(self, test, error):
        print("".join(traceback.format_exception(*error)), flush=True)
        for cluster in marmot.live:
            cluster.report()
        self.line("FAIL", test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.fail(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.fail(subtest, error)

    def addError(self, test, error):
        super().addError(test, error)
        if not self.started:
            self.started = time.monotonic()
        self.fail(test, error)


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def by_class(tests):
    """{class: its tests}, those that take longest first, as far as that is
    known: a class with few but long tests says `slow = True`."""
    classes = {}
    for test in tests:
        classes.setdefault(type(test), []).append(test)
    return dict(sorted(classes.items(), key=lambda c: (
        not getattr(c[0], "slow", False), -len(c[1]))))


def run_tests(tests):
    """Returns (passed, failed, skipped)."""
    result = Result()
    unittest.TestSuite(tests).run(result)
    for cluster in list(marmot.live):
        cluster.close()
    return (result.passed, len(result.failures) + len(result.errors),
            len(result.skipped))


def work(number, classes, waiting, done, printing):
    """One worker: takes the numbers of classes until there are none left."""
    marmot._ports = itertools.count(15000 + 4200 * number)
    groups = list(classes.values())
    for index in iter(waiting.get, None):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            counts = run_tests(groups[index])
        with printing:
            print(text.getvalue(), end="", flush=True)
        done.put((index, counts))


def run_side_by_side(classes, workers):
    """Returns the sums of (passed, failed, skipped)."""
    context = multiprocessing.get_context("fork")
    waiting, done, printing = context.Queue(), context.Queue(), context.Lock()
    for index in range(len(classes)):
        waiting.put(index)
    crew = []
    for number in range(workers):
        waiting.put(None)
        crew.append(context.Process(target=work, args=(number, classes, waiting,
                                                       done, printing)))
        crew[-1].start()
    sums, left = [0, 0, 0], set(range(len(classes)))
    while left and (any(w.is_alive() for w in crew) or not done.empty()):
        try:
            index, counts = done.get(timeout=1)
        except queue.Empty:
            continue
        left.remove(index)
        sums = [a + b for a, b in zip(sums, counts)]
    for worker in crew:
        worker.join()
    for index in left:
        print(f"FAIL {list(classes)[index].__name__}: its worker died")
        sums[1] += 1
    return sums


def main(patterns):
    missing = [path for path in (marmot.MARMOT, marmot.PRELOAD)
               if not path.exists()]
    if missing:
        print(f"e2e: {missing[0]} is missing: run make first")
        return 1
    # A stopped runner still cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    loader = unittest.TestLoader()
    suite = loader.discover(str(pathlib.Path(__file__).parent), "test_*.py")
    chosen = [test for test in tests_in(suite)
              if not patterns or any(p in test.id() for p in patterns)]
    workers = int(os.environ.get("MARMOT_E2E_WORKERS", 1 if patterns else 4))
    started = time.monotonic()
    if workers > 1:
        passed, failed, skipped = run_side_by_side(by_class(chosen), workers)
    else:
        passed, failed, skipped = run_tests(chosen)
    print(f"e2e: {passed} passed, {failed} failed, {skipped} skipped "
          f"({time.monotonic() - started:.0f} s)")
    counts = os.environ.get("MARMOT_COUNTS")
    if counts:
        with open(counts, "a") as out:
            out.write(f"e2e {passed} {failed} {skipped}\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
