"""What belongs to every test run: the checker's own tests, faults at chosen
places, and a short run with faults at random ones. run.py [PATTERN...]

A pattern selects tests whose name contains it; "soak" is the short run.

Prints totals; appends "faults PASSED FAILED SKIPPED" to the file named by
$MARMOT_COUNTS. A fault that cannot be had on this machine counts as skipped.
$MARMOT_FAULTS_SEED chooses another order of faults.
"""

import os
import pathlib
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from run import Result, tests_in  # noqa: E402

STORM = 25  # seconds; start, healing and checks take as long again
SEED = os.environ.get("MARMOT_FAULTS_SEED", "1")


def short_run():
    """Returns (failed, skipped) of one soak.py."""
    soak = subprocess.run(
        [sys.executable, HERE / "soak.py", str(STORM), "--seed", SEED],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=STORM + 300)
    skipped = [line for line in soak.stdout.splitlines()
               if line.startswith("SKIP ")]
    print(soak.stdout if soak.returncode else "\n".join(
        skipped + soak.stdout.splitlines()[-1:]), flush=True)
    return int(soak.returncode != 0), len(skipped)


def main(patterns):
    started = time.monotonic()
    result = Result()
    suite = unittest.defaultTestLoader.discover(str(HERE), "test_*.py")
    unittest.TestSuite(
        test for test in tests_in(suite)
        if not patterns or any(p in test.id() for p in patterns)).run(result)
    passed = result.passed
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    if not patterns or "soak" in patterns:
        bad, missing = short_run()
        passed, failed, skipped = (passed + 1 - bad, failed + bad,
                                   skipped + missing)
    print(f"faults: {passed} passed, {failed} failed, {skipped} skipped "
          f"({time.monotonic() - started:.0f} s)")
    counts = os.environ.get("MARMOT_COUNTS")
    if counts:
        with open(counts, "a") as out:
            out.write(f"faults {passed} {failed} {skipped}\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
