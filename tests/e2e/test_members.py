"""Nodes that join a running cluster, leave it, and move."""

import unittest

import marmot
import pane
from marmot import eventually
from members import MemberCase


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

    def test_of_three_voters_two_stay_and_need_each_other(self):
        cluster = self.begin(3)
        self.remove(cluster[3], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('two', 1)")
        cluster[2].kill()
        self.assertRefused(cluster.session(1, busy_ms=100),
                           "INSERT INTO rows VALUES('half', 1)")

    def test_a_program_on_a_removed_node_reads_and_is_told(self):
        cluster = self.begin(3)
        session = cluster.session(3, busy_ms=200)
        session.sql("INSERT INTO rows VALUES('a', 1)")
        self.remove(cluster[3], cluster[1])
        self.assertTrue(eventually(lambda: "removed" in session.value(
            "PRAGMA marmot_status")), session.value("PRAGMA marmot_status"))
        self.assertRefused(session, "INSERT INTO rows VALUES('b', 1)")
        self.assertEqual(session.sql("SELECT tag FROM rows"), [["a"]])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('c', 1)")

    def test_a_node_is_not_asked_to_remove_itself(self):
        """It would never see the end of it."""
        cluster = self.begin(2)
        done = pane.command("remove", 2, node=cluster[2])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("ask another node", done.stdout)

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


class Moving(MemberCase):
    """Addresses change, members do not."""

    def test_a_node_comes_back_at_another_address(self):
        cluster = self.begin(3)
        node = cluster[2]
        self.assertEqual(node.stop(), 0)
        node.port = marmot.free_port()
        node.start().wait_ready()
        for other in cluster[1], cluster[3]:
            self.assertTrue(eventually(lambda other=other: any(
                peer["address"] == node.address() and peer["connected"]
                for peer in pane.status(other)["peers"])), other.log())
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('a', 1)")
        for other in cluster[1], cluster[3]:
            self.assertTrue(eventually(lambda other=other: node.address() in
                            (other.raft / "members").read_text()))
            self.assertEqual(other.stop(), 0)
            other.start().wait_ready()
        self.assertSees(cluster[3], [("a",)], "SELECT tag FROM rows")
        self.assertSamePages(cluster)

    def test_others_find_a_node_that_moved(self):
        """They dial: it knows none of their new addresses."""
        cluster = self.begin(3)
        moved, away = cluster[2], cluster[3]
        self.assertEqual(away.stop(), 0)
        self.assertEqual(moved.stop(), 0)
        moved.port = marmot.free_port()
        moved.start().wait_ready()
        self.assertTrue(eventually(lambda: moved.address() in
                        (cluster[1].raft / "members").read_text()))
        away.port = marmot.free_port()
        away.start().wait_ready()
        self.assertTrue(eventually(lambda: all(
            peer["connected"] or peer["self"]
            for peer in pane.status(away)["peers"])), away.log())


if __name__ == "__main__":
    unittest.main()
