"""A fault run: soak.py SECONDS [--seed N] [--only FAULT]... [--clients N]

Three nodes, every workload, every fault that can be had here, all at random
from one seed; then everything is healed and the histories are checked. Prints
a table. The folder with histories, logs and databases is kept when something
was wrong, or with --keep. Exit status 0 only when all promises were kept.
"""

import argparse
import collections
import hashlib
import math
import os
import random
import signal
import sqlite3
import sys
import time

import checker
import history
import verdict
from history import INFO, OK
from nemesis import FAULTS, Nemesis
from workloads import WORKLOADS
from world import World, marmot

# A client may be told to come back later, that there is no room, or that the
# outcome is unknown. Errors of these kinds say that something is broken.
BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CONSTRAINT",
          "SQLITE_ERROR", "SQLITE_MISUSE", "SQLITE_PROTOCOL",
          "SQLITE_INTERNAL", "SQLITE_NOMEM")


class Report:
    def __init__(self, seed, seconds):
        self.seed, self.seconds = seed, seconds
        self.verdict = verdict.Verdict()
        self.operations = collections.Counter()
        self.outcomes = collections.Counter()
        self.errors = collections.Counter()
        self.faults = collections.Counter()
        self.problems = []
        self.identical = self.intact = "yes"
        self.slowest = self.longest_gap = 0.0
        self.leadership_moves = 0

    def good(self):
        return bool(self.verdict) and not self.problems

    def take(self, workload, operations):
        self.operations[workload] = len(operations)
        for op in operations:
            self.outcomes[op.type] += 1
            if op.error is not None:
                self.errors[op.error] += 1
                if op.error.startswith(BROKEN):
                    self.problems.append(f"{op.error}: {op}")
        if not any(op.type == OK for op in operations):
            self.problems.append(f"{workload}: nothing was ever acknowledged")

    def rows(self):
        yield "date", time.strftime("%F")
        yield "seed", self.seed
        yield "seconds", round(self.seconds)
        yield "operations", sum(self.operations.values())
        for workload, count in self.operations.items():
            yield f"  {workload}", count
        for outcome in "ok", "fail", "info":
            yield f"  answered {outcome}", self.outcomes[outcome]
        yield "faults injected", sum(self.faults.values())
        for fault, count in self.faults.items():
            yield f"  {fault}", count
        yield "leadership moves seen", self.leadership_moves
        for kind in verdict.KINDS:
            yield kind, self.verdict.counts[kind]
        if self.verdict.undecided:
            yield "registers too long to search", self.verdict.undecided
        yield "replicas identical", self.identical
        yield "integrity_check", self.intact
        yield "slowest write after healing", f"{self.slowest:.1f} s"
        yield "longest time without a commit", f"{self.longest_gap:.1f} s"
        yield "other problems", len(self.problems)

    def print(self):
        rows = [(str(name), str(value)) for name, value in self.rows()]
        width = max(len(name) for name, _ in rows)
        print(f"| {'what':{width}} | {'':>12} |")
        print(f"|{'-' * (width + 2)}|{'-' * 13}:|")
        for name, value in rows:
            print(f"| {name:{width}} | {value:>12} |")
        errors = ", ".join(f"{name} {count}" for name, count
                           in sorted(self.errors.items()))
        print(f"errors seen by clients: {errors or 'none'}")
        for text in self.problems[:20] + self.verdict.texts[:40]:
            print(f"! {text}")


def digests(world, workload):
    """{node: digest of what a stock reader sees}."""
    result = {}
    for node in world.nodes:
        try:
            pages = marmot.pages(node.path(workload))
            result[node.id] = hashlib.sha256(pages).hexdigest()[:12]
        except (sqlite3.Error, MemoryError) as error:
            result[node.id] = f"{type(error).__name__}: {error}"
    return result


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def compare_live(world, report):
    """The copies come to be equal while the nodes run."""
    for workload in world.workloads:
        if not marmot.eventually(
                lambda: len(set(digests(world, workload).values())) == 1, 60,
                every=0.5):
            report.identical = "NO"
            report.problems.append(f"{workload}: copies differ: "
                                   f"{digests(world, workload)}")


def compare_files(world, report):
    """After the orderly stop: equal files, nothing in a WAL, no damage."""
    statuses = world.cluster.stop()
    if statuses != [0] * len(world.nodes):
        report.problems.append(f"exit statuses of the nodes: {statuses}")
    for workload in world.workloads:
        paths = [node.path(workload) for node in world.nodes]
        for path in paths:
            wal = path + "-wal"
            if os.path.exists(wal) and os.path.getsize(wal):
                report.problems.append(f"{wal} is not empty")
            result = marmot.read_plain(path, "PRAGMA integrity_check")
            if result != [("ok",)]:
                report.intact = "NO"
                report.problems.append(f"{path}: {result[:3]}")
        found = {path: file_digest(path) for path in paths}
        if len(set(found.values())) != 1:
            report.identical = "NO"
            report.problems.append(f"{workload}: files differ: {found}")


def is_write(op):
    return op.name not in ("local", "strict", "damage", "give_up")


def longest_gap(histories):
    """The longest time in which somebody tried to write and nobody could: from
    a commit of anybody, or the first try after it, to the next commit's end."""
    writes = [op for operations in histories.values()
              for op in operations if is_write(op)]
    ends = sorted(op.end for op in writes if op.type == OK)

    def waited(a, b):
        # Of what has no known end, only the start tells of a try.
        tries = [op.start for op in writes if op.start < b
                 and (op.start > a or a < op.end < math.inf)]
        return b - max(a, min(tries, default=b))

    longest = 0
    for a, b in zip(ends, ends[1:]):
        if b - a > longest:  # or it cannot be, whatever was tried
            longest = max(longest, waited(a, b))
    return longest


def first_writes(world, nemesis, histories):
    """The longest that the clients of a node and a workload tried in vain to
    write after everything was healed."""
    slowest = 0.0
    for operations in histories.values():
        for node in world.nodes:
            writes = [op for op in operations
                      if history.node_of(op.node) == node.id and is_write(op)]
            for start, end in nemesis.calms:
                tries = [op for op in writes if start < op.start < end]
                done = [op.end for op in tries if op.type == OK]
                if tries:
                    slowest = max(slowest, min(done, default=end)
                                  - tries[0].start)
    return slowest


def writes_again(workload, node):
    """(seconds until a new program on that node may write, what is wrong)."""
    started = time.monotonic()
    session = marmot.Session(node.path(workload), busy_ms=2000)
    error = None

    def attempt():
        nonlocal error
        try:
            session.sql("PRAGMA user_version = 1")
            return True
        except marmot.SqlError as failure:
            error = failure
            return False

    try:
        if marmot.eventually(attempt, 30):
            return time.monotonic() - started, None
        return None, f"{workload}: no write on node {node.id}: {error}"
    finally:
        session.close()


def all_write_again(world, report):
    for workload in world.workloads:
        for node in world.nodes:
            seconds, problem = writes_again(workload, node)
            if problem is None:
                report.slowest = max(report.slowest, seconds)
            else:
                report.problems.append(problem)


def storm(world, nemesis, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        nemesis.step()
        world.tend()
        time.sleep(0.02)


def judge(world, nemesis, report):
    if not nemesis.settle():
        report.problems.append("a node was not ready 60 s after healing")
    now = time.monotonic()
    while time.monotonic() < now + 4:
        world.tend()
        time.sleep(0.1)
    nemesis.calms.append((now, time.monotonic()))
    if not world.end_clients():
        report.problems.append("a client did not end within 40 s")
    all_write_again(world, report)
    compare_live(world, report)
    compare_files(world, report)
    histories = {w: world.operations(w) for w in world.workloads}
    for workload, operations in histories.items():
        report.take(workload, operations)
        for node in world.nodes:
            final = checker.final_state(workload, node.path(workload))
            report.verdict.merge(checker.check(workload, operations, final))
            if report.identical == "yes":
                break
    report.slowest = max(report.slowest,
                         first_writes(world, nemesis, histories))
    report.longest_gap = longest_gap(histories)
    report.leadership_moves = world.cluster.leadership_moves()
    report.faults = nemesis.counts
    report.problems += world.surprises


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", action="append", default=[],
                        help="only faults whose name contains this")
    parser.add_argument("--workload", action="append", default=[],
                        choices=list(WORKLOADS))
    parser.add_argument("--clients", type=int, default=1,
                        help="per node and workload")
    parser.add_argument("--rate", type=float, default=5.0,
                        help="operations a second and client")
    parser.add_argument("--keep", action="store_true",
                        help="keep the folder in any case")
    return parser.parse_args()


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"soak: {args.seconds:.0f} s, seed {args.seed}", flush=True)
    started = time.monotonic()
    world = World(args.seed, args.workload or WORKLOADS, args.clients,
                  args.rate)
    report = Report(args.seed, args.seconds)
    world.cluster.failed = True  # until shown otherwise: keep the folder
    try:
        for fault, reason in world.cluster.skipped.items():
            print(f"SKIP {fault}: {reason}")
        world.start()
        nemesis = Nemesis(world, args.only)
        storm(world, nemesis, args.seconds)
        judge(world, nemesis, report)
        world.cluster.failed = args.keep or not report.good()
    finally:
        world.close()
        if world.cluster.failed:
            print(f"soak: kept {world.folder}", flush=True)
    report.print()
    print(f"soak: {'ok' if report.good() else 'FAILED'}, "
          f"{len(world.cluster.skipped)} of {len(FAULTS)} faults skipped "
          f"({time.monotonic() - started:.0f} s)")
    return 0 if report.good() else 1


if __name__ == "__main__":
    sys.exit(main())
