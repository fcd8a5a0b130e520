"""The orderly stop, and what it waits for."""

import hashlib
import re
import time

import marmot
from case import Case


class Stop(Case):
    def files(self, cluster):
        digests = set()
        for node in cluster.nodes:
            with open(node.path(), "rb") as file:
                digests.add(hashlib.sha256(file.read()).hexdigest())
        return digests

    def test_nodes_that_stop_together_stop_soon(self):
        """All are told at the same moment: nobody hands leadership to a node
        that is leaving too, back and forth."""
        for count in 2, 3:
            with self.subTest(nodes=count):
                cluster = self.rows_cluster(count)
                started = time.monotonic()
                self.assertEqual(cluster.stop(), [0] * count)
                took = time.monotonic() - started
                terms = [int(term) for node in cluster.nodes
                         for term in re.findall(r"term=(\d+)", node.log())]
                self.assertLess(max(terms), 50, "elections while stopping")
                self.assertLess(took, 5)

    def test_an_idle_program_does_not_keep_the_rows_in_the_wal(self):
        """A connection that stays open through the stop: the database file is
        complete all the same."""
        cluster = self.rows_cluster(3)
        session = cluster.session(1)
        session.call("repeat", sql=["INSERT INTO rows VALUES(?, ?)"],
                     count=300, tag="idle")
        idle = [cluster.session(node.id) for node in cluster.nodes]
        for node, program in zip(cluster.nodes, idle):
            self.assertSees(node, [(300,)], "SELECT count(*) FROM rows")
            program.sql("SELECT count(*) FROM rows")
        self.assertEqual(cluster.stop(), [0] * 3)
        self.assertEqual(len(self.files(cluster)), 1)

    def test_an_open_transaction_does_not_keep_the_node(self):
        """SIGTERM while a program is inside BEGIN IMMEDIATE: the node ends,
        the transaction is refused, nothing of it stays."""
        cluster = self.rows_cluster(2)
        session = cluster.session(1, busy_ms=500)
        session.sql("BEGIN IMMEDIATE")
        session.sql("INSERT INTO rows VALUES('open', 1)")
        cluster[1].process.terminate()
        self.assertEqual(cluster[1].wait_exit(15), 0)
        with self.assertRaises(marmot.SqlError):
            session.sql("COMMIT")
        session.close()
        cluster[1].start().wait_ready()
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('next', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [("next",)], "SELECT tag FROM rows")

    def test_writes_go_on_while_one_node_stops(self):
        """An orderly stop of the leader costs the others no error."""
        cluster = self.rows_cluster(3)
        writer = cluster.session(2, busy_ms=20000)
        writer.send("rows_until", tag="w", seconds=4)
        time.sleep(1)
        self.assertEqual(cluster[1].stop(), 0)
        outcome = writer.receive()
        self.assertEqual((outcome["unknown"], outcome["refused"]), ([], 0))
        self.assertLess(outcome["longest"], 5)
        self.assertSees(cluster[3], [(len(outcome["acknowledged"]),)],
                        "SELECT count(*) FROM rows")
