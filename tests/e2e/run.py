"""Run the end-to-end suites: run.py [PATTERN...]

A pattern selects tests whose name (test_file.Class.test) contains it. Prints
what each test took, the logs of the nodes behind a failure, and totals; appends
"e2e PASSED FAILED SKIPPED" to the file named by $MARMOT_COUNTS.
"""

import os
import pathlib
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
    chosen = unittest.TestSuite(
        test for test in tests_in(suite)
        if not patterns or any(p in test.id() for p in patterns))
    result = Result()
    started = time.monotonic()
    chosen.run(result)
    for cluster in list(marmot.live):
        cluster.close()
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"e2e: {result.passed} passed, {failed} failed, {skipped} skipped "
          f"({time.monotonic() - started:.0f} s)")
    counts = os.environ.get("MARMOT_COUNTS")
    if counts:
        with open(counts, "a") as out:
            out.write(f"e2e {result.passed} {failed} {skipped}\n")
    return 0 if result.passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
