"""What happens to the files that nodes bring along."""

import glob
import os

import marmot
from case import Case

THREE = "CREATE TABLE t(a PRIMARY KEY); INSERT INTO t VALUES(1), (2), (3);"
FIVE = THREE + "INSERT INTO t VALUES(4), (5);"
SUM = "SELECT count(*), sum(a) FROM t"


class FirstContact(Case):
    def joined(self, theirs, *flags, journal="wal", at=2):
        """Nodes 1 and 3 run with THREE; then node `at` brings `theirs`."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), THREE)
        others = [node for node in cluster.nodes if node.id != at]
        for node in others:
            node.start()
        for node in others:
            node.wait_ready()
        if theirs is not None:
            marmot.make_database(cluster[at].path(), theirs, journal)
        cluster[at].start(*flags)
        return cluster, cluster[at]

    def aside(self, node):
        return glob.glob(node.path() + ".before-marmot-*")

    def assertWorks(self, cluster, rows=3):
        session = cluster.session(2)
        self.writes(session, "INSERT INTO t VALUES(10)")
        expected = (rows + 1, rows * (rows + 1) // 2 + 10)
        for node in cluster.nodes:
            self.assertSees(node, [expected], SUM)
        self.assertSameFiles(cluster)

    def test_equal_files_stay(self):
        """The same bytes on both nodes: nothing is set aside."""
        cluster, node = self.joined(THREE)
        node.wait_ready()
        self.assertEqual(self.aside(node), [])
        self.assertWorks(cluster)

    def test_different_content_is_refused(self):
        """The second node says where they differ, exits, keeps its file."""
        cluster, node = self.joined(FIVE)
        self.assertExits(node, r"(?s)\bt\b.*\b5\b.*\b3\b|\bt\b.*\b3\b.*\b5\b")
        self.assertRegex(node.log(), "-accept-cluster-copy")
        self.assertEqual(marmot.read_plain(node.path(), SUM), [(5, 15)])
        self.assertEqual(self.aside(node), [])
        self.writes(cluster.session(1), "INSERT INTO t VALUES(10)")
        self.assertSees(cluster[3], [(4, 16)], SUM)

    def test_different_content_is_replaced_on_demand(self):
        """-accept-cluster-copy takes the cluster's and keeps the old file."""
        cluster, node = self.joined(FIVE, "-accept-cluster-copy")
        node.wait_ready()
        self.assertSees(node, [(3, 6)], SUM)
        kept = self.aside(node)
        self.assertEqual(len(kept), 1)
        self.assertEqual(marmot.read_plain(kept[0], SUM), [(5, 15)])
        self.assertWorks(cluster)

    def test_same_rows_with_other_bytes_are_replaced(self):
        """Made by other statements: the cluster's copy, the old one kept."""
        cluster, node = self.joined(
            FIVE + "DELETE FROM t WHERE a > 3; CREATE TABLE x(y);"
            "DROP TABLE x;")
        node.wait_ready()
        self.assertEqual(len(self.aside(node)), 1)
        self.assertWorks(cluster)

    def test_same_rows_with_another_page_size_are_replaced(self):
        """The cluster's page size wins."""
        cluster, node = self.joined("PRAGMA page_size=8192;" + THREE)
        node.wait_ready()
        self.assertSees(node, [(4096,)], "PRAGMA page_size")
        self.assertEqual(len(self.aside(node)), 1)
        self.assertWorks(cluster)

    def test_a_missing_file_is_fetched(self):
        """And has the same bytes."""
        cluster, node = self.joined(None, at=3)
        node.wait_ready()
        self.assertSees(node, [(3, 6)], SUM)
        self.assertSamePages(cluster)
        self.assertWorks(cluster)

    def test_an_empty_file_is_filled(self):
        """0 bytes count as no file."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), THREE)
        open(cluster[2].path(), "w").close()
        cluster.start()
        self.assertSees(cluster[2], [(3, 6)], SUM)
        self.assertWorks(cluster)

    def test_two_that_differ_at_the_same_moment(self):
        """Exactly one of two conflicting first contacts wins."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), THREE)
        marmot.make_database(cluster[2].path(), FIVE)
        for node in cluster.nodes:
            node.start()
        cluster[3].wait_ready()
        pair = cluster.nodes[:2]
        self.assertTrue(marmot.eventually(
            lambda: sum(not node.running() for node in pair) == 1))
        winner = next(node for node in pair if node.running())
        loser = next(node for node in pair if not node.running())
        self.assertNotEqual(loser.wait_exit(), 0)
        expected = {1: (3, 6), 2: (5, 15)}
        for node in winner, cluster[3]:
            self.assertSees(node, [expected[winner.id]], SUM)
        self.assertEqual(marmot.read_plain(loser.path(), SUM),
                         [expected[loser.id]])

    def test_a_lost_file_is_fetched_again(self):
        """A managed file that is gone at start is named in the log."""
        cluster, node = self.joined(THREE)
        node.wait_ready()
        node.stop()
        os.unlink(node.path())
        node.start().wait_ready()
        self.assertRegex(node.log(), "missing|gone")
        self.assertSees(node, [(3, 6)], SUM)
        self.assertWorks(cluster)


class ReplacedUnderneath(Case):
    def test_a_replaced_file_is_noticed(self):
        """mv of another database over a managed one: sessions get DBMOVED and
        the node says so; the other nodes go on."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), THREE)
        cluster.start()
        before = cluster.session(2)
        before.sql("INSERT INTO t VALUES(10)")
        other = str(cluster.folder / "other.db")
        marmot.make_database(other, FIVE)
        os.replace(other, cluster[2].path())
        after = cluster.session(2, busy_ms=1000)
        for session in before, after:
            refused = self.assertRefused(session, "INSERT INTO t VALUES(11)",
                                         "SQLITE_READONLY_DBMOVED")
            self.assertIn("readonly", str(refused))
        cluster[2].wait_log(r"(?i)replaced|moved|another file")
        self.writes(cluster.session(1), "INSERT INTO t VALUES(12)")
        self.assertSees(cluster[3], [(5, 28)], SUM)


class NewDatabases(Case):
    def test_an_application_creates_the_database(self):
        """No file anywhere: page size, encoding and auto_vacuum are the
        application's own."""
        cluster = self.cluster(3)
        session = cluster.session(2)
        session.script("PRAGMA page_size=8192; PRAGMA encoding='UTF-16le';"
                       "PRAGMA auto_vacuum=2;")
        session.script(THREE)
        for node in cluster.nodes:
            self.assertSees(node, [(3, 6)], SUM)
            for pragma, value in (("page_size", 8192), ("auto_vacuum", 2),
                                  ("encoding", "UTF-16le"),
                                  ("journal_mode", "wal")):
                self.assertEqual(
                    marmot.read_plain(node.path(), f"PRAGMA {pragma}"),
                    [(value,)])
        self.assertSamePages(cluster)
        session.close()
        self.assertWorks(cluster)

    assertWorks = FirstContact.assertWorks

    def test_a_rollback_mode_file_is_converted(self):
        """journal_mode=delete becomes wal, the rows stay."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), THREE, journal="delete")
        cluster.start()
        self.assertSees(cluster[1], [("wal",)], "PRAGMA journal_mode")
        self.assertWorks(cluster)
