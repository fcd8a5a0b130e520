"""Check the models with spin: run.py [short] [PATTERN...]

Each line is a variant: a model with all its rules must hold, and with one rule
taken away (-DNO_...) it must not. "short" takes the small ones only; a pattern
selects variants whose name contains it. A variant whose search was not complete
has failed. The folder of one that failed is kept: `spin -t -p -g MODEL.pml`
there prints the trail.

Appends "model PASSED FAILED SKIPPED" to the file named by $MARMOT_COUNTS.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 900       # of one search
MEMORY_MB = 6000    # the same
DEPTH = 1000000
WORKERS = 2

HOLDS, BROKEN = "holds", "broken"

ONE = "-DTXNS_0=2 -DTXNS_1=0"
QUIET = f"{ONE} -DNODE_DEATHS=0"
BREAK = f"{QUIET} -DSESSION_DEATHS=0 -DBREAKS=1"
ONE_DEATH = "-DNODE_DEATHS=1"

# model, what is searched, macros, short?
ALL_RULES = [
    ("commit", "a node and a session die", ONE_DEATH, False),
    ("commit", "a node dies twice",
     "-DNODE_DEATHS=2 -DSESSION_DEATHS=0", False),
    ("commit", "no deadline", f"{ONE_DEATH} -DNO_DEADLINE", True),
    ("slot", "a session dies, lines break", f"{QUIET} -DBREAKS=1", False),
    ("slot", "a session dies", QUIET, True),
    ("slot", "a session and the node die", ONE, False),
    ("slot", "two sessions, each may die", "-DFOREIGN_COMMITS=1", False),
    ("slot", "NO_CURRENT: it costs a retry", f"{QUIET} -DNO_CURRENT", False),
    ("parts", "losses, leaders, a death", "", True),
    ("restart", "a power loss", "-DDEATHS=0", True),
    ("restart", "a power loss and a death", "", False),
]

# model, the macro that is the name, the other macros, short?
WITHOUT = [
    ("commit", "NO_CAS", ONE_DEATH, True),
    ("commit", "NO_FENCE", ONE_DEATH, True),
    ("commit", "FENCE_NOOP", ONE_DEATH, False),
    ("commit", "NO_FORGOTTEN", ONE_DEATH, False),
    ("commit", "NO_SENT", ONE_DEATH, True),
    ("commit", "FRESH_TOKEN", ONE_DEATH, False),
    ("commit", "NO_RESEND", f"{ONE_DEATH} -DNO_DEADLINE", False),
    ("commit", "NO_START", ONE_DEATH, False),
    ("commit", "NO_DOUBT", ONE_DEATH, False),
    ("slot", "NO_REAL", ONE, False),
    ("slot", "NO_REAL_FIRST", ONE, False),
    ("slot", "NO_LOOK", ONE, True),
    ("slot", "NO_CLAIM", QUIET, False),
    ("slot", "NO_ORPHAN", QUIET, True),
    ("slot", "NO_BYTE", QUIET, False),
    ("slot", "NO_COMPARE", ONE, False),
    ("slot", "NO_EXPECTED", BREAK, False),
    ("slot", "EARLY_RECORD", QUIET, False),
    ("slot", "NO_LOOK_AGAIN", f"{QUIET} -DNO_EXPECTED", False),
    ("slot", "NO_HOLD_BACK", QUIET, False),
    ("parts", "NO_COUNT", "", False),
    ("parts", "NO_TOKEN", "", True),
    ("parts", "NO_IDEMPOTENT", "", False),
    ("parts", "NO_AGAIN", "", False),
    ("parts", "NO_PARTS_AGAIN", "", False),
    ("parts", "NO_DROP", "", False),
    ("parts", "NO_CAS", "", False),
    ("restart", "NO_WAL_SYNC", "-DDEATHS=0", True),
    ("restart", "NO_DB_SYNC", "-DDEATHS=0", False),
    ("restart", "NO_HEADER_SYNC", "-DDEATHS=0", False),
    ("restart", "NO_LOAD_ALONE", "-DPOWER_LOSSES=0", False),
    ("restart", "NO_ZERO_FIRST",
     "-DPOWER_LOSSES=0 -DNO_LOAD_ALONE -DNO_STOCK", False),
    ("restart", "NO_X_SYNC", "-DDEATHS=0", False),
    ("restart", "NO_X_START", "-DDEATHS=0", False),
    ("restart", "NO_CHECKSUM", "-DDEATHS=0", False),
]


class Variant:
    def __init__(self, model, name, macros, short, expected):
        self.model, self.name, self.short = model, name, short
        self.macros = macros.split()
        if expected == BROKEN:
            self.macros.append(f"-D{name}")
        self.expected, self.found = expected, ""
        self.states, self.seconds, self.folder = 0, 0.0, None
        self.invariant = ""

    def passed(self):
        return self.found == self.expected

    def line(self):
        word = "ok" if self.passed() else "FAIL"
        found = f"{self.found} {self.invariant}".strip()
        return (f"{word:4} {self.model:8} {self.name:30} {self.expected:8} "
                f"{found:14} {self.states:10} {self.seconds:7.1f} s")


def run(command, folder, seconds=120):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=seconds)


def broken_invariant(variant):
    """Which one: the comment at the assertion where the trail ends."""
    said = run(["spin", "-t", *variant.macros, f"{variant.model}.pml"],
               variant.folder).stdout
    at = re.search(r"pml:(\d+), Error: assertion violated", said)
    if at is None:
        return ""
    lines = (HERE / f"{variant.model}.pml").read_text().splitlines()
    for line in lines[int(at[1]) - 1:int(at[1]) + 4]:
        name = re.search(r"/\* ([A-Z]\d)", line)
        if name:
            return name[1]
    return ""


def judge(variant, said):
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    if errors is None or states is None:
        variant.found = "no result"
        return
    variant.states = int(states[1])
    if errors[1] != "0":
        variant.found = BROKEN
        variant.invariant = broken_invariant(variant)
    elif "Search not completed" in said or "max search depth" in said:
        variant.found = "incomplete"
    else:
        variant.found = HOLDS


def check(variant):
    source = f"{variant.model}.pml"
    started = time.monotonic()
    variant.folder = tempfile.mkdtemp(prefix="marmot-model-")
    shutil.copy(HERE / source, variant.folder)
    # What is broken is found among the first states: compile quickly then.
    speed = "-O2" if variant.expected == HOLDS else "-O0"
    steps = (["spin", "-a", *variant.macros, source],
             ["gcc", speed, "-w", "-DSAFETY", "-DCOLLAPSE",
              f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"],
             ["nice", "./pan", f"-m{DEPTH}"])
    said = ""
    try:
        for step in steps:
            said = run(step, variant.folder, SECONDS).stdout
        judge(variant, said)
    except subprocess.TimeoutExpired:
        variant.found = "too slow"
    variant.seconds = time.monotonic() - started
    if variant.passed():
        shutil.rmtree(variant.folder)
    return variant


def count(passed, failed, skipped):
    counts = os.environ.get("MARMOT_COUNTS")
    if counts:
        with open(counts, "a") as out:
            out.write(f"model {passed} {failed} {skipped}\n")


def select(arguments):
    patterns = [a for a in arguments if a != "short"]
    variants = [Variant(*v, HOLDS) for v in ALL_RULES]
    variants += [Variant(*v, BROKEN) for v in WITHOUT]
    return [v for v in variants
            if (v.short or "short" not in arguments) and
            (not patterns or any(p in f"{v.model} {v.name}"
                                 for p in patterns))]


def main(arguments):
    if shutil.which("spin") is None:
        print("SKIP model: spin is not installed (scripts/install-deps)")
        count(0, 0, 1)
        return 0
    started = time.monotonic()
    print(f"     {'model':8} {'variant':30} {'expected':8} {'found':14} "
          f"{'states':>10} {'time':>9}", flush=True)
    done = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for variant in pool.map(check, select(arguments)):
            print(variant.line(), flush=True)
            if not variant.passed():
                print(f"     see {variant.folder}", flush=True)
            done.append(variant)
    passed = sum(v.passed() for v in done)
    failed = len(done) - passed
    print(f"model: {passed} passed, {failed} failed, 0 skipped "
          f"({time.monotonic() - started:.0f} s)")
    count(passed, failed, 0)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
