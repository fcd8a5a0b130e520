"""Processes that die at random points (base/failpoint.h), under load.

MARMOT_KILL_SECONDS (10) is how long, MARMOT_KILL_SEED which points; both are
printed. One node at a time is down, applications die whenever they do.
"""

import os
import random
import threading
import time

import marmot
from failpoints import ALL, INSERT, STATUS_KILLED, FailCase, points

SECONDS = float(os.environ.get("MARMOT_KILL_SECONDS", 10))
SEED = int(os.environ.get("MARMOT_KILL_SEED", 0)) or random.randrange(1, 10**6)
PATIENCE = 1.5  # for a point that may never be passed
# Points a process passes many times a second wait for a later passage.
LATE = {"raft.received": 300, "raft.sent": 300, "raft.append": 100,
        "store.row": 100, "store.begin": 50, "store.commit": 50,
        "store.committed": 50, "store.complete": 50, "checkpoint.page": 1000}


class Writer(threading.Thread):
    """Applications on one node, one after the other, and what they were told.

    A row whose application died, or was told of an error that is no refusal,
    may be there or not."""

    def __init__(self, case, cluster, node, seed, end):
        super().__init__()
        self.case, self.cluster, self.node, self.end = case, cluster, node, end
        self.random = random.Random(seed)
        self.acknowledged, self.unknown, self.failure = set(), set(), None
        self.deaths, self.serial = {}, 0

    def run(self):
        try:
            while time.monotonic() < self.end:
                self.application()
        except Exception as error:  # told to the test, which fails
            self.failure = error

    def application(self):
        names = [name for name in points() if name.startswith("guest.")]
        point = self.random.choice(names)
        session, armed = self.case.fail_session(
            self.cluster, self.node,
            f"{point}:{self.random.randrange(1, 15)}:kill", busy_ms=2000)
        armed.on()
        try:
            for _ in range(60):
                self.transaction(session)
        except marmot.SqlError:
            self.case.assertEqual(session.process.wait(), STATUS_KILLED)
            self.deaths[point] = self.deaths.get(point, 0) + 1
        session.close()

    def transaction(self, session):
        """One row, sometimes in a large transaction."""
        self.serial += 1
        row = (f"w{self.node.id}", self.serial)
        statements = [(INSERT, row)]
        if self.random.random() < 0.2:
            size = self.random.choice((20_000, 200_000, 2_000_000))
            statements = [("BEGIN IMMEDIATE", ()),
                          ("PRAGMA cache_size=20", ()),
                          ("UPDATE wide SET b = randomblob(?)", (size,)),
                          (INSERT, row), ("COMMIT", ())]
        try:
            for statement, parameters in statements:
                session.sql(statement, *parameters)
            self.acknowledged.add(row)
        except marmot.SqlError as error:
            if not error.name.startswith("SQLITE_BUSY"):
                self.unknown.add(row)
            if error.name == "DIED" or time.monotonic() > self.end:
                raise_if_dead(session, error)
            self.roll_back(session)

    def roll_back(self, session):
        try:
            session.sql("ROLLBACK")
        except marmot.SqlError as error:
            raise_if_dead(session, error)


def raise_if_dead(session, error):
    if error.name == "DIED":
        raise error


class RandomKills(FailCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.deaths = {}

    def rules(self):
        """All that a node may meet on its way."""
        names = [name for name in points() if not name.startswith("guest.")]
        chosen = self.random.sample(names, 12)
        return ",".join(
            f"{n}:{self.random.randrange(1, 1 + LATE.get(n, 5))}:kill"
            for n in chosen)

    def start(self, node):
        """Until it is up; it may die on the way."""
        armed = self.armed(node, self.rules())
        node.env = armed.environment()
        for last in False, True:
            if self.random.random() < 0.3 and not last:
                armed.on()
            else:
                armed.off()
            node.start()
            up = marmot.eventually(
                lambda: f"ready node={node.id}" in node.log()
                or node.process.poll() is not None)
            self.assertTrue(up, f"node {node.id} does not start")
            if node.process.poll() is None:
                return armed
            self.note_death(node, armed)
        self.fail(f"node {node.id} does not start")

    def note_death(self, node, armed):
        self.assertEqual(node.process.wait(), STATUS_KILLED, node.log()[-3000:])
        point = armed.acted()[-1].split()[1]
        self.deaths[point] = self.deaths.get(point, 0) + 1

    def storm(self, cluster, end):
        armed = {node: self.restart_with(node, self.rules())
                 for node in cluster.nodes}
        while time.monotonic() < end:
            node = self.random.choice(cluster.nodes)
            armed[node].on()
            marmot.eventually(lambda n=node: n.process.poll() is not None,
                              PATIENCE)
            if node.process.poll() is None:
                armed[node].off()
                continue
            self.note_death(node, armed[node])
            armed[node] = self.start(node)
        for switch in armed.values():
            switch.off()

    def test_nothing_is_lost_or_made_up(self):
        print(f"     random kills: seed {SEED}, {SECONDS:.0f} s", flush=True)
        cluster = self.fail_cluster()
        cluster.session(1, busy_ms=20000).sql(
            "INSERT INTO wide VALUES(randomblob(100))")
        end = time.monotonic() + SECONDS
        writers = [Writer(self, cluster, node, self.random.random(), end)
                   for node in cluster.nodes]
        for writer in writers:
            writer.start()
        self.storm(cluster, end)
        for writer in writers:
            writer.join(60)
        self.check(cluster, writers)

    def check(self, cluster, writers):
        for node in cluster.nodes:
            if not node.running():
                node.env = {}
                node.start().wait_ready()
        for writer in writers:
            self.assertIsNone(writer.failure)
            for point, n in writer.deaths.items():
                self.deaths[point] = self.deaths.get(point, 0) + n
        acknowledged = set().union(*(w.acknowledged for w in writers))
        unknown = set().union(*(w.unknown for w in writers))
        print(f"     {len(acknowledged)} acknowledged, {len(unknown)} unknown, "
              f"{sum(self.deaths.values())} deaths at {len(self.deaths)} "
              "points", flush=True)
        for node in cluster.nodes:
            self.writes(cluster.session(node.id, busy_ms=20000),
                        "UPDATE wide SET b = 1")
        self.assertSamePages(cluster)
        seen = marmot.read_plain(cluster[1].path(), ALL)
        self.assertEqual(len(seen), len(set(seen)), "a row is there twice")
        lost = sorted(acknowledged - set(seen))
        self.assertEqual(lost, [], f"lost with seed {SEED}")
        made_up = sorted(set(seen) - acknowledged - unknown)
        self.assertEqual(made_up, [], f"refused and there, seed {SEED}")
        for node in cluster.nodes:
            self.assertIntact(node)
            self.assertEqual(
                list(node.folder.glob("main.db.before-marmot-*")), [],
                "a state of its own was unknown to the node")
        self.assertSameFiles(cluster)
