"""Nodes that join a running cluster, leave it, and take the place of others."""

import re
import shutil
import signal
import unittest

import marmot
import pane
from case import ROWS, Case
from marmot import eventually

SHARDS = 4
FEW = ["-shards", str(SHARDS)]
TAGGED = "SELECT n FROM rows WHERE tag=? ORDER BY n"


class MemberCase(Case):
    """A cluster of few shards, whose database `main` has the table `rows`."""

    def begin(self, n, **options):
        return self.rows_cluster(n, flags=FEW, **options)

    def join(self, cluster, node_id, via=None, role="voter"):
        """A new node that asks `via`, the first one if nobody is named."""
        return cluster.add(node_id, via or [cluster.nodes[0]], role).start()

    def writer(self, cluster, node, tag, seconds):
        """Somebody who inserts rows meanwhile; see end_writer."""
        session = cluster.session(node.id, busy_ms=20000)
        session.sql("SELECT 1")
        session.send("rows_until", tag=tag, seconds=seconds)
        return session, tag

    def end_writer(self, writer, longest=10):
        """What it wrote; nothing failed, and it never waited for long."""
        session, tag = writer
        outcome = session.receive()
        self.assertEqual(outcome["unknown"], [], tag)
        self.assertEqual(outcome["refused"], 0, tag)
        self.assertGreater(len(outcome["acknowledged"]), 0, tag)
        self.assertLess(outcome["longest"], longest, tag)
        return [(n,) for n in outcome["acknowledged"]]

    def assertWrote(self, cluster, writer, longest=10):
        rows = self.end_writer(writer, longest)
        for node in cluster.nodes:
            self.assertSees(node, rows, f"SELECT n FROM rows WHERE "
                            f"tag='{writer[1]}' ORDER BY n")

    def members(self, node):
        """{id: "voter", "replica" or "leaving"} as this node has it."""
        return {p["id"]: "leaving" if p["leaving"] else p["role"]
                for p in pane.status(node)["peers"]}

    def assertMembers(self, node, expected, timeout=marmot.DEADLINE):
        def same():
            try:
                seen = self.members(node)
            except OSError as error:
                seen = error
            same.seen = seen
            return seen == expected
        if not eventually(same, timeout):
            self.fail(f"node {node.id} has the members {same.seen}, "
                      f"not {expected}")

    def assertVotes(self, node, groups=SHARDS):
        """The node has become a voter in all groups."""
        def done():
            return sum(g["role"] == "voter"
                       for g in pane.status(node)["groups"]) == groups
        self.assertTrue(eventually(done), f"node {node.id} is no voter: "
                        f"{pane.status(node)['groups']}")

    def assertLeads(self, node):
        self.assertTrue(
            eventually(lambda: node.id in pane.leaders(node).values()),
            f"node {node.id} leads nothing: {pane.leaders(node)}")

    def remove(self, node, asked):
        """marmot remove, which must do it."""
        done = pane.command("remove", node.id, node=asked, timeout=90)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout


class Joining(MemberCase):
    def test_a_voter_joins_under_load_and_leads(self):
        cluster = self.begin(3)
        writers = [self.writer(cluster, node, f"w{node.id}", 6)
                   for node in cluster.nodes]
        node = self.join(cluster, 4)
        node.wait_ready()
        self.assertVotes(node)
        for writer in writers:
            self.assertWrote(cluster, writer)
        self.assertLeads(node)
        self.assertMembers(cluster[2], dict.fromkeys((1, 2, 3, 4), "voter"))
        self.writes(cluster.session(4), "INSERT INTO rows VALUES('new', 1)")
        self.assertSamePages(cluster)

    def test_a_replica_joins_under_load_and_only_reads(self):
        cluster = self.begin(3)
        writer = self.writer(cluster, cluster[1], "w", 5)
        node = self.join(cluster, 9, role="replica")
        node.wait_ready()
        self.assertWrote(cluster, writer)
        self.assertRefused(cluster.session(9),
                           "INSERT INTO rows VALUES('new', 1)",
                           "SQLITE_READONLY")
        self.assertMembers(node, {1: "voter", 2: "voter", 3: "voter",
                                  9: "replica"})
        self.assertNotIn(9, pane.leaders(cluster[1]).values())

    def test_two_nodes_join_at_once(self):
        cluster = self.begin(1)
        nodes = [self.join(cluster, node_id, [cluster[1]])
                 for node_id in (2, 3)]
        for node in nodes:
            node.wait_ready()
            self.assertVotes(node)
        cluster[1].kill()
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('two', 1)")

    def test_a_cluster_of_one_grows_and_its_first_node_leaves(self):
        cluster = self.begin(1)
        first = cluster[1]
        session = cluster.session(1)
        for n in range(20):
            session.sql("INSERT INTO rows VALUES('old', ?)", n)
        session.close()
        for node_id in 2, 3:
            node = self.join(cluster, node_id).wait_ready()
            self.assertVotes(node)
        said = self.remove(first, cluster[2])
        self.assertIn("node 1 is no longer a member", said)
        first.wait_log(r"\bremoved node=1\b")
        self.assertEqual(first.stop(), 0)
        cluster.forget(first)
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('new', 1)")
        self.assertMembers(cluster[3], {2: "voter", 3: "voter"})
        self.assertSees(cluster[2], [(21,)], "SELECT count(*) FROM rows")
        self.assertSamePages(cluster)


class Leaving(MemberCase):
    def test_of_two_voters_one_stays_and_writes(self):
        cluster = self.begin(2)
        self.remove(cluster[2], cluster[1])
        cluster[2].kill()
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")

    def test_a_node_takes_itself_out(self):
        cluster = self.begin(3)
        self.remove(cluster[3], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('two', 1)")
        cluster[2].kill()
        self.assertRefused(cluster.session(1, busy_ms=100),
                           "INSERT INTO rows VALUES('half', 1)")

    def test_the_last_voter_stays(self):
        cluster = self.begin(1, replicas=1)
        done = pane.command("remove", 1, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("the last voter; add another one first", done.stdout)
        self.remove(cluster[2], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")

    def test_wrong_input(self):
        cluster = self.begin(1)
        for words, status, text in (
                (["9"], 1, "node 9 is not a member"),
                (["x"], 2, "usage: marmot remove NODE"),
                (["0"], 2, "usage: marmot remove NODE"),
                ([], 2, "usage: marmot remove NODE")):
            done = pane.command("remove", *words, node=cluster[1])
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn(text, done.stdout)
        self.assertEqual(pane.ask(cluster[1], "/remove/node/9").status, 405)
        self.assertEqual(
            pane.ask(cluster[1], "/remove/node/9", "POST").status, 404)
        self.assertEqual(
            pane.ask(cluster[1], "/remove/node/x", "POST").status, 400)

    def test_without_a_majority_it_is_refused(self):
        cluster = self.begin(3)
        for node_id in 2, 3:
            cluster[node_id].kill()
        self.assertTrue(eventually(lambda: not any(
            g["quorum"] for g in pane.status(cluster[1])["groups"])))
        done = pane.command("remove", 3, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, "no majority|no quorum|no leader")

    def test_a_dead_node_leaves_before_a_living_one(self):
        cluster = self.begin(3)
        cluster[3].kill()
        self.assertTrue(eventually(
            lambda: 3 not in pane.leaders(cluster[1]).values()))
        done = pane.command("remove", 2, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("node 3", done.stdout)
        self.remove(cluster[3], cluster[1])
        self.remove(cluster[2], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")


if __name__ == "__main__":
    unittest.main()
