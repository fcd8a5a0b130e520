"""Nodes that die, come back, or come back without their memory."""

import signal
import time

import marmot
from case import Case

COUNT = "SELECT count(*) FROM rows"
BUSY_MS = 2000


class Failover(Case):
    def assertHolds(self, node, tag, outcome):
        """Every acknowledged row is there; besides them at most the unknown
        ones."""
        acknowledged = set(outcome["acknowledged"])
        unknown = {row for row, _ in outcome["unknown"]}

        def present():
            rows = marmot.read_plain(
                node.path(), "SELECT n FROM rows WHERE tag = ?", tag)
            return {n for n, in rows}

        marmot.eventually(lambda: acknowledged <= present())
        seen = present()
        self.assertEqual(acknowledged - seen, set(), f"node {node.id} lost")
        self.assertEqual(seen - acknowledged - unknown, set(),
                         f"node {node.id} shows refused rows")

    def test_writes_go_on_when_one_of_three_dies(self):
        """kill -9 of the leader of the database's group, under load."""
        cluster = self.rows_cluster(3)
        first = cluster.session(1, busy_ms=20000)
        first.sql("INSERT INTO rows VALUES('before', 1)")
        dead = self.busiest(cluster)
        alive = [node for node in cluster.nodes if node is not dead]
        writer = cluster.session(alive[0].id, busy_ms=20000)
        writer.send("rows_until", tag="w", seconds=8)
        time.sleep(1)
        dead.kill()
        outcome = writer.receive()
        self.assertGreater(len(outcome["acknowledged"]), 100, outcome)
        self.assertLess(outcome["longest"], 15)
        for node in alive:
            self.assertHolds(node, "w", outcome)
        self.writes(cluster.session(alive[1].id),
                    "INSERT INTO rows VALUES('after', 1)")
        dead.start().wait_ready()
        self.assertHolds(dead, "w", outcome)
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def busiest(self, cluster):
        """The node that leads the shard of the only database."""
        leaders = cluster.leaders()
        status = cluster.session(1).value("PRAGMA marmot_status")
        for node in cluster.nodes:
            if f"leader={node.id}" in status.replace(": ", "="):
                return node
        return cluster[next(iter(leaders.values()), 1)]

    def assertResumes(self, home):
        """A session whose node dies while its commit waits learns from the next
        start what became of it, and its neighbours agree."""
        cluster = self.rows_cluster(3)
        others = [node for node in cluster.nodes if node.id != home]
        session = cluster.session(home, busy_ms=20000)
        session.sql("BEGIN IMMEDIATE")
        session.sql("INSERT INTO rows VALUES('r', 1)")
        for node in others:
            node.process.send_signal(signal.SIGSTOP)
        session.send("sql", sql="COMMIT")
        time.sleep(0.3)
        cluster[home].kill()
        for node in others:
            node.process.send_signal(signal.SIGCONT)
        cluster[home].start()
        try:
            session.receive()
            expected = 1
        except marmot.SqlError as failed:
            self.assertEqual(failed.name, "SQLITE_BUSY_SNAPSHOT", str(failed))
            expected = 0
        self.writes(session, "INSERT INTO rows VALUES('r', 2)")
        for node in cluster.nodes:
            self.assertSees(node, [(expected + 1,)], COUNT)
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_a_commit_whose_node_dies_is_resumed(self):
        for home in 1, 2, 3:
            with self.subTest(home=home):
                self.assertResumes(home)

    def test_without_a_majority_writes_are_refused_in_time(self):
        """Two of three die: BUSY within 1.5 busy timeouts, with the reason;
        reads go on; with one back, writes go on."""
        cluster = self.rows_cluster(3)
        session = cluster.session(1, busy_ms=BUSY_MS)
        for i in range(10):
            session.sql("INSERT INTO rows VALUES('kept', ?)", i)
        cluster[2].kill()
        cluster[3].kill()
        time.sleep(2)  # the leader's patience with silent followers
        refused = self.assertRefused(session, "INSERT INTO rows VALUES('x', 1)")
        self.assertIn("database is locked", str(refused))
        self.assertLess(refused.seconds, 1.5 * BUSY_MS / 1000)
        self.assertRegex(session.value("PRAGMA marmot_status"), "no quorum")
        self.assertEqual(session.value(COUNT), 10)
        cluster[2].start().wait_ready()
        self.writes(session, "INSERT INTO rows VALUES('back', 1)")
        cluster[3].start().wait_ready()
        for node in cluster.nodes:
            self.assertSees(node, [("back", 1), ("kept", 10)],
                            "SELECT tag, count(*) FROM rows GROUP BY tag")
        self.assertSameFiles(cluster)

    def test_a_killed_node_catches_up(self):
        """It missed a schema change, thousands of rows and a VACUUM."""
        cluster = self.rows_cluster(3)
        cluster[3].kill()
        session = cluster.session(1, busy_ms=20000)
        session.sql("CREATE TABLE more(a)")
        for _ in range(20):
            session.sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT "
                        "i + 1 FROM c WHERE i < 200) INSERT INTO more "
                        "SELECT randomblob(300) FROM c")
        session.sql("DELETE FROM more WHERE rowid % 4")
        session.sql("VACUUM")
        cluster[3].start().wait_ready()
        self.assertSees(cluster[3], [(1000,)], "SELECT count(*) FROM more")
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_all_nodes_die_and_come_back(self):
        """kill -9 of everything: the rows are on every node afterwards."""
        cluster = self.rows_cluster(3)
        session = cluster.session(2, busy_ms=20000)
        outcome = session.call("rows_until", tag="w", seconds=2)
        for node in cluster.nodes:
            node.kill()
        session.kill()
        cluster.start()
        for node in cluster.nodes:
            self.assertHolds(node, "w", outcome)
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('on', 1)")
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_a_killed_application_leaves_a_clean_database(self):
        """kill -9 of a program inside a transaction that has spilled."""
        cluster = self.rows_cluster(3)
        session = cluster.session(1)
        session.sql("PRAGMA cache_size=10")
        session.sql("BEGIN IMMEDIATE")
        session.sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                    "FROM c WHERE i < 500) INSERT INTO rows "
                    "SELECT randomblob(900), i FROM c")
        session.kill()
        for node_id in 2, 1:
            self.writes(cluster.session(node_id),
                        "INSERT INTO rows VALUES('next', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [(2,)], COUNT)
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_a_session_survives_the_restart_of_its_node(self):
        """The same connection writes before and after."""
        cluster = self.rows_cluster(3)
        session = cluster.session(1, busy_ms=20000)
        session.sql("INSERT INTO rows VALUES('a', 1)")
        cluster[1].kill()
        self.assertEqual(session.value(COUNT), 1)
        cluster[1].start().wait_ready()
        self.writes(session, "INSERT INTO rows VALUES('b', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [(2,)], COUNT)


class Amnesia(Case):
    def test_a_wiped_node_cannot_vote_rows_away(self):
        """A and B acknowledge, A stops, B is wiped: B and C together must not
        go on without the rows."""
        cluster = self.rows_cluster(3)
        a, b, c = cluster.nodes
        self.assertSees(c, [(0,)], COUNT)
        c.stop()
        writer = cluster.session(a.id, busy_ms=20000)
        writer.call("repeat", sql=["INSERT INTO rows VALUES(?, ?)"],
                    count=50, tag="acknowledged")
        writer.close()
        a.stop()
        b.stop()
        b.wipe()
        b.start()
        c.start()
        c.wait_log(r"(?i)another store|other store")
        for node in b, c:
            session = marmot.Session(node.path(), busy_ms=1000,
                                     env={"MARMOT_REQUIRE": "1"})
            self.addCleanup(session.close)
            with self.assertRaises(marmot.SqlError) as caught:
                session.sql("CREATE TABLE lost(a)")
            self.assertIn(caught.exception.name,
                          ("SQLITE_BUSY", "SQLITE_CANTOPEN"))
        a.start()
        for node in a, c:
            node.wait_ready()
            self.assertSees(node, [("acknowledged", 50)],
                            "SELECT tag, count(*) FROM rows GROUP BY tag")
        self.writes(cluster.session(c.id),
                    "INSERT INTO rows VALUES('further', 1)")
