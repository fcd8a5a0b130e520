"""Nodes that die at each step while shards are added."""

import glob
import random
import time

import marmot
from case import ROWS
from failpoints import BUILD, FailCase, STATUS_KILLED
from marmot import eventually
from pane import ask
from test_shards import has_grown, shards_of

NAMES = ["main"] + [f"db{i}" for i in range(5)]
POINTS = ("shards.begin", "shards.grow", "shards.stored", "shards.rule",
          "shards.move", "shards.done", "move.adopt", "move.moved")


class Dying(FailCase):
    slow = True

    def begin(self):
        cluster = self.cluster(3, databases=NAMES, flags=["-shards", "2"],
                               start=False)
        for node in cluster.nodes:
            node.program = BUILD / "marmot"
        for name in NAMES:
            marmot.make_database(cluster[1].path(name), ROWS)
        cluster.start()
        for node in cluster.nodes:
            self.wait_ready(node)
        return cluster

    def wait_ready(self, node):
        for name in NAMES:
            node.wait_log(rf"\bready db={name}\b")

    def ask(self, node, shards):
        """Whatever the answer is: the node may die of it."""
        try:
            return ask(node, f"/shards?to={shards}", "POST").status
        except OSError:
            return None

    def assertPlaced(self, cluster, shards):
        for node in cluster.nodes:
            self.assertTrue(eventually(lambda n=node: has_grown(n, shards), 40),
                            node.log())
            self.assertTrue(
                eventually(lambda n=node: shards_of(n) ==
                           shards_of(cluster.nodes[0])), node.log())
        placed = shards_of(cluster.nodes[0])
        self.assertEqual(sorted(placed), sorted(NAMES))
        self.assertGreater(len([s for s in placed.values() if s >= 2]), 0)

    def assertWorks(self, cluster, rows):
        """All that was acknowledged is on all nodes, and each can write."""
        for name in NAMES:
            for node in cluster.nodes:
                session = marmot.Session(node.path(name), busy_ms=10000)
                self.writes(session,
                            f"INSERT INTO rows VALUES('after', {node.id})", 20)
                rows[name].add(("after", node.id))
                session.close()
        for name in NAMES:
            for node in cluster.nodes:
                self.assertSees(node, sorted(rows[name]), "SELECT DISTINCT tag,"
                                " n FROM rows ORDER BY tag, n", name)
                self.assertIntact(node, name)
                self.assertEqual(glob.glob(node.path(name) + ".before*"), [])
            self.assertSamePages(cluster, name)

    def one_step(self, point, victims, passage=1):
        cluster = self.begin()
        rows = {name: {("before", 1)} for name in NAMES}
        for name in NAMES:
            with marmot.Session(cluster[2].path(name)) as session:
                self.writes(session, "INSERT INTO rows VALUES('before', 1)")
        switches = []
        for node in cluster.nodes:
            if node.id in victims:
                node.stop()
                switch = self.armed(node, f"{point}:{passage}:kill")
                node.env = switch.environment()
                node.start()
                self.wait_ready(node)
                switches.append(switch)
        for switch in switches:
            switch.on()
        eventually(lambda: self.ask(cluster[victims[0]], 8) in
                   (202, None, 409), 10)
        eventually(lambda: any(not n.running() for n in cluster.nodes), 10)
        time.sleep(0.3)
        for switch in switches:
            switch.off()
        time.sleep(0.1)
        dead = [node for node in cluster.nodes if not node.running()]
        for node in dead:
            self.assertEqual(node.process.wait(), STATUS_KILLED, node.log())
            node.env = {}
            node.start()
        # When it died before the question left, nothing has begun.
        eventually(lambda: self.ask(cluster[1], 8) in (202, 409), 20)
        self.assertPlaced(cluster, 8)
        self.assertWorks(cluster, rows)
        cluster.close()
        return len(dead)

    def test_who_comes_to_a_point_dies_there(self):
        """All nodes, if all of them come to it."""
        for point in POINTS:
            with self.subTest(point=point):
                self.assertGreater(self.one_step(point, (1, 2, 3)), 0, point)

    def test_one_node_dies(self):
        """The others finish it, and it follows."""
        for point in POINTS[1:]:
            victim = 1 + POINTS.index(point) % 3
            with self.subTest(point=point, victim=victim):
                self.one_step(point, (victim,))

    def test_nodes_are_killed_while_shards_are_added(self):
        """At any time, again and again, with writers on all."""
        cluster, chosen = self.begin(), random.Random(5)
        rows = {name: set() for name in NAMES}
        maybe = {name: set() for name in NAMES}
        writers = []
        for i, name in enumerate(NAMES):
            session = cluster.session(1 + i % 3, name, busy_ms=20000)
            session.sql("SELECT 1")
            session.send("rows_until", tag="w", seconds=20)
            writers.append((session, name))
        end, shards = time.monotonic() + 18, 2
        while time.monotonic() < end:
            if self.ask(chosen.choice(cluster.nodes), shards + 2) == 202:
                shards += 2
            time.sleep(chosen.uniform(0, 1.0))
            victim = chosen.choice(cluster.nodes)
            victim.kill()
            time.sleep(chosen.uniform(0, 0.5))
            victim.start()
        for session, name in writers:
            outcome = session.receive()
            rows[name] |= {("w", n) for n in outcome["acknowledged"]}
            maybe[name] |= {("w", n) for n, _ in outcome["unknown"]}
            session.close()
        for node in cluster.nodes:
            self.wait_ready(node)
        eventually(lambda: self.ask(cluster[1], shards + 2) in (202, 409), 30)
        eventually(lambda: has_grown(cluster[1], shards + 2) or
                   has_grown(cluster[1], shards), 40)
        grown = max(shards_of(cluster[1]).values())
        self.assertGreaterEqual(grown, 2)
        for name in NAMES:
            self.assertSamePages(cluster, name)
            seen = set(marmot.read_plain(cluster[1].path(name),
                                         "SELECT tag, n FROM rows"))
            self.assertEqual(rows[name] - seen, set(), name)
            self.assertEqual(seen - rows[name] - maybe[name], set(), name)
            rows[name] = seen
        self.assertWorks(cluster, rows)
