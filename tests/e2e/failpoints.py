"""A cluster whose processes die where a test says (base/failpoint.h).

Needs the products of `make failpoint-build`. Every process has a file whose
presence arms it: passages of a point count only from then on.
"""

import os
import pathlib
import subprocess
import unittest

import marmot
from case import ROWS, Case
from marmot import eventually

BUILD = pathlib.Path(os.environ.get(
    "MARMOT_FAILPOINTS", marmot.ROOT / "build" / "failpoints")).resolve()
INSERT = "INSERT INTO rows VALUES(?, ?)"
ALL = "SELECT tag, n FROM rows ORDER BY tag, n"
STATUS_KILLED = -9


def points():
    """{name: meaning} of all points."""
    listed = subprocess.run([marmot.ROOT / "scripts" / "failpoints"],
                            stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split(None, 1) for line in listed.stdout.splitlines())


def is_stopped(process):
    """Has the process met SIGSTOP, in all its threads?"""
    try:
        with open(f"/proc/{process.pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "T"
    except FileNotFoundError:
        return False


class Armed:
    """What makes one process fail: its environment, and the switch."""

    def __init__(self, path, rules):
        self.path, self.rules = pathlib.Path(path), rules
        self.off()

    def environment(self):
        return {"MARMOT_FAIL": self.rules, "MARMOT_FAIL_WHEN": self.path,
                "MARMOT_FAIL_LOG": str(self.path) + ".log"}

    def on(self):
        self.path.touch()

    def off(self):
        self.path.unlink(missing_ok=True)

    def acted(self):
        log = pathlib.Path(str(self.path) + ".log")
        return log.read_text().splitlines() if log.exists() else []


@unittest.skipUnless((BUILD / "marmot").exists(),
                     f"{BUILD} is missing: make failpoint-build")
class FailCase(Case):
    """Clusters of the failpoint build."""

    serial = 0

    def fail_cluster(self, n=3, **options):
        cluster = self.cluster(n, start=False, **options)
        for node in cluster.nodes:
            node.program = BUILD / "marmot"
        marmot.make_database(cluster[1].path(), ROWS + ";CREATE TABLE wide(b)")
        return cluster.start()

    def armed(self, node, rules):
        FailCase.serial += 1
        return Armed(node.folder / f"armed-{FailCase.serial}", rules)

    def fail_session(self, cluster, node, rules=None, **options):
        """A session of the failpoint build; with rules also its switch."""
        armed = self.armed(node, rules) if rules else None
        env = {"LD_PRELOAD": BUILD / "libmarmot-preload.so",
               **(armed.environment() if armed else {})}
        session = cluster.session(node.id, env=env, **options)
        return (session, armed) if rules else session

    def restart_with(self, node, rules):
        """An orderly restart, after which `rules` wait for their switch."""
        if node.running():
            self.assertEqual(node.stop(), 0, node.log())
        armed = self.armed(node, rules)
        node.env = armed.environment()
        node.start().wait_ready()
        node.wait_log(r"\bready db=main\b")
        return armed

    def start_again(self, node):
        """After a death, without any rule."""
        node.env = {}
        node.start().wait_ready()
        node.wait_log(r"\bready db=main\b")

    def dies_starting(self, node, rules):
        """Start a node that does not get far."""
        armed = self.armed(node, rules)
        node.env = armed.environment()
        armed.on()
        node.start()
        self.assertDies(node.process, rules)
        armed.off()

    def leader(self, cluster):
        """The node that leads the group of the only database."""
        def look():
            for node in cluster.nodes:
                if not node.running():
                    continue
                with marmot.Session(node.path()) as session:
                    status = session.value("PRAGMA marmot_status")
                for peer in cluster.nodes:
                    if f" leader={peer.id} " in status:
                        return peer
            return None
        leader = eventually(look)
        self.assertIsNotNone(leader, "no leader")
        return leader

    # ---- writers beside what happens ----------------------------------------

    def begin_neighbours(self, cluster, nodes, tag, seconds=1.0):
        """One writer on each of these nodes, for a while."""
        writers = []
        for node in nodes:
            session = cluster.session(node.id, busy_ms=20000)
            session.sql("SELECT 1")
            session.send("rows_until", tag=f"{tag}@{node.id}", seconds=seconds)
            writers.append((session, f"{tag}@{node.id}"))
        return writers

    def end_neighbours(self, writers):
        """The rows they wrote; they went on to the end."""
        rows = set()
        for session, tag in writers:
            outcome = session.receive()
            self.assertEqual(outcome["unknown"], [], tag)
            self.assertGreater(len(outcome["acknowledged"]), 0, tag)
            self.writes(session, f"INSERT INTO rows VALUES('{tag}', -1)", 10)
            rows.add((tag, -1))
            rows |= {(tag, n) for n in outcome["acknowledged"]}
            session.close()
        return rows

    # ---- what must hold ------------------------------------------------------

    def assertDies(self, process, what):
        """By the point, not by anything else."""
        try:
            status = process.wait(marmot.DEADLINE)
        except subprocess.TimeoutExpired:
            self.fail(f"did not die at {what}")
        self.assertEqual(status, STATUS_KILLED, what)

    def assertStops(self, process, what):
        self.assertTrue(eventually(lambda: is_stopped(process)),
                        f"did not stop at {what}")

    def assertRows(self, cluster, expected):
        """{(tag, n)}: every node comes to show exactly these."""
        for node in cluster.nodes:
            seen = []

            def same():
                seen[:] = marmot.read_plain(node.path(), ALL)
                return seen == sorted(expected)

            if not eventually(same, 15):
                lacks, more = expected - set(seen), set(seen) - expected
                self.fail(f"node {node.id} shows {len(seen)} rows of "
                          f"{len(expected)}: lacks {sorted(lacks)[:10]}, and "
                          f"has {sorted(more)[:10]}")

    def assertWhole(self, cluster, expected):
        """These rows and equal, intact pages on every node."""
        self.assertRows(cluster, expected)
        self.assertSamePages(cluster)
        for node in cluster.nodes:
            self.assertIntact(node)
