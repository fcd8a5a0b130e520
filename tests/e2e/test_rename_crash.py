"""Nodes that die at each step of a database's way to another name and group."""

import glob
import random
import time

import marmot
from failpoints import FailCase, STATUS_KILLED
from marmot import eventually
from pane import ask
from test_rename import SHARDS, names

POINTS = ("move.begin", "move.held", "move.adopt", "move.moved",
          "move.renamed", "file.member")


class Dying(FailCase):
    slow = True

    def begin(self):
        cluster = self.fail_cluster(3, flags=SHARDS)
        for node in cluster.nodes:
            node.wait_log(r"\bready db=main\b")
        return cluster

    def ask(self, cluster, node, old, new):
        """Whatever the answer is: the node may die of it."""
        try:
            return ask(cluster[node], f"/rename/{old}?to={new}", "POST").status
        except OSError:
            return None

    def assertAgree(self, cluster, allowed):
        """All nodes come to have the same name for it, one of these."""
        def same():
            same.seen = [names(node) for node in cluster.nodes]
            return same.seen[0] in [[name] for name in allowed] and \
                all(seen == same.seen[0] for seen in same.seen)
        if not eventually(same, 20):
            self.fail(f"the nodes have {same.seen}")
        return same.seen[0][0]

    def assertWorks(self, cluster, rows):
        """All that was acknowledged, on all nodes, and each can write."""
        for node in cluster.nodes:
            session = cluster.session(node.id, busy_ms=10000)
            tag = f"after {len(rows)}"
            self.writes(session, f"INSERT INTO rows VALUES('{tag}', 0)", 20)
            rows.add((tag, 0))
            session.close()
        self.assertWhole(cluster, rows)
        for node in cluster.nodes:
            self.assertEqual(glob.glob(node.path() + ".before*"), [])

    def died(self, cluster, seconds=10):
        """Whoever did; killed by the point, not by anything else."""
        eventually(lambda: any(not n.running() for n in cluster.nodes), seconds)
        time.sleep(0.3)
        dead = [node for node in cluster.nodes if not node.running()]
        for node in dead:
            self.assertEqual(node.process.wait(), STATUS_KILLED, node.log())
        return dead

    def one_step(self, point, victims):
        cluster = self.begin()
        session = cluster.session(1, busy_ms=10000)
        self.writes(session, "INSERT INTO rows VALUES('before', 1)")
        rows = {("before", 1)}
        session.close()
        self.assertRows(cluster, rows)
        switches = []
        for node in cluster.nodes:
            if node.id in victims:
                node.stop()
                switch = self.armed(node, f"{point}:1:kill")
                node.env = switch.environment()
                node.start().wait_log(r"\bready db=main\b")
                switches.append(switch)
        for switch in switches:
            switch.on()
        asked = victims[0]
        # It may be refused while groups elect their leaders.
        eventually(lambda: self.ask(cluster, asked, "main", "alpha") in
                   (202, None, 404, 409), 10)
        dead = self.died(cluster)
        for switch in switches:
            switch.off()
        for node in dead:
            node.env = {}
            node.start()
        name = self.assertAgree(cluster, ("main", "alpha"))
        self.assertWorks(cluster, rows)
        if name == "main":
            eventually(lambda: self.ask(cluster, 2, "main", "alpha") in
                       (202, 409), 10)
            self.assertAgree(cluster, ("alpha",))
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
            for victim in (1, 2, 3):
                with self.subTest(point=point, victim=victim):
                    self.one_step(point, (victim,))

    def test_nodes_are_killed_while_it_wanders(self):
        """One node after the other, at any time, with writers on all."""
        cluster, chosen = self.begin(), random.Random(11)
        tags = []
        writers = []
        for node in cluster.nodes:
            session = cluster.session(node.id, busy_ms=20000)
            session.sql("SELECT 1")
            session.send("rows_until", tag=f"w{node.id}", seconds=20)
            writers.append(session)
            tags.append(f"w{node.id}")
        old, wanted, asked_for = "main", iter(range(1000)), ["main"]
        end = time.monotonic() + 18
        while time.monotonic() < end:
            victim = chosen.choice(cluster.nodes)
            new = f"n{next(wanted)}"
            asked_for.append(new)
            asked = chosen.choice(cluster.nodes)
            self.ask(cluster, asked.id, old, new)
            time.sleep(chosen.uniform(0, 0.8))
            victim.kill()
            time.sleep(chosen.uniform(0, 0.5))
            victim.start()
            old = self.assertAgree(cluster, asked_for)
        outcomes = [writer.receive() for writer in writers]
        for writer in writers:
            writer.close()
        acknowledged, possible = set(), set()
        for tag, outcome in zip(tags, outcomes):
            acknowledged |= {(tag, n) for n in outcome["acknowledged"]}
            possible |= {(tag, n) for n, _ in outcome["unknown"]}
        self.assertGreater(len(acknowledged), 100)
        self.assertNotEqual(self.assertAgree(cluster, asked_for), "main")
        self.assertSamePages(cluster)
        seen = set(marmot.read_plain(cluster[1].path(),
                                     "SELECT tag, n FROM rows"))
        self.assertEqual(acknowledged - seen, set())
        self.assertEqual(seen - acknowledged - possible, set())
        self.assertWorks(cluster, seen)
