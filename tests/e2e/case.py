"""What all end-to-end tests share: clusters that end with the test, and
assertions about replicas."""

import hashlib
import re
import sqlite3
import unittest

import marmot
from marmot import DEADLINE, eventually

ROWS = "CREATE TABLE rows(tag, n)"


class Case(unittest.TestCase):
    def cluster(self, *args, start=True, **options):
        cluster = marmot.Cluster(*args, **options)
        self.addCleanup(cluster.close)
        return cluster.start() if start else cluster

    def rows_cluster(self, n=3, **options):
        """A running cluster whose database `main` has the table `rows`."""
        cluster = self.cluster(n, start=False, **options)
        marmot.make_database(cluster[1].path(), ROWS)
        return cluster.start()

    def assertSees(self, node, expected, statement, name="main",
                   timeout=DEADLINE):
        """A stock reader on that node comes to see these rows."""
        seen = None

        def check():
            nonlocal seen
            try:
                seen = marmot.read_plain(node.path(name), statement)
            except sqlite3.OperationalError as error:
                seen = error
            return seen == expected

        if not eventually(check, timeout):
            self.fail(f"node {node.id}: {statement!r} gives {seen!r}, "
                      f"not {expected!r}")

    def assertSamePages(self, cluster, name="main", timeout=DEADLINE):
        """Every node's copy comes to hold the same bytes, WAL included.

        Only for a database nobody writes to meanwhile."""
        digests = {}

        def check():
            for node in cluster.nodes:
                try:
                    pages = marmot.pages(node.path(name))
                except (sqlite3.OperationalError, MemoryError) as error:
                    digests[node.id] = str(error)
                    return False
                digest = hashlib.sha256(pages).hexdigest()[:12]
                digests[node.id] = f"{digest} ({len(pages)} bytes)"
            return len(set(digests.values())) == 1

        if not eventually(check, timeout, every=0.1):
            self.fail(f"copies of {name} differ: {digests}")
        return next(iter(digests.values()))

    def assertIntact(self, node, name="main"):
        self.assertEqual(
            marmot.read_plain(node.path(name), "PRAGMA integrity_check"),
            [("ok",)], f"node {node.id}")

    def assertSameFiles(self, cluster, name="main"):
        """After the orderly stop, with no program left: byte-identical files
        and nothing in a WAL."""
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0] * len(cluster.nodes))
        contents = {}
        for node in cluster.nodes:
            with open(node.path(name), "rb") as file:
                contents[node.id] = hashlib.sha256(file.read()).hexdigest()
            for wal in node.folder.glob(f"{name}.db-wal"):
                self.assertEqual(wal.stat().st_size, 0, str(wal))
        self.assertEqual(len(set(contents.values())), 1, str(contents))
        self.assertIntact(cluster[1], name)

    def assertRefused(self, session, statement, name="SQLITE_BUSY"):
        """The statement fails with that error; returns the SqlError."""
        with self.assertRaises(marmot.SqlError) as caught:
            session.sql(statement)
        self.assertEqual(caught.exception.name, name, str(caught.exception))
        return caught.exception

    def assertExits(self, node, pattern, status=1):
        """The node gives up with this status and says why."""
        self.assertEqual(node.wait_exit(), status, node.log())
        self.assertRegex(node.log(), re.compile(pattern, re.I))

    def assertTurnedAway(self, node, pattern):
        """The other nodes will not talk to this one, and it says why. It goes
        on trying, for what is wrong may be put right on their side."""
        node.wait_log(rf"(?i)refused .*why=.*({pattern})")
        self.assertTrue(node.running())
        self.assertNotIn(f"ready node={node.id}", node.log())

    def writes(self, session, statement, timeout=DEADLINE):
        """Repeat a write until it is accepted, as after an election."""
        error = None

        def attempt():
            nonlocal error
            try:
                session.sql(statement)
                return True
            except marmot.SqlError as failure:
                error = failure
                if not failure.name.startswith("SQLITE_BUSY"):
                    raise
                return False

        if not eventually(attempt, timeout):
            self.fail(f"{statement!r} was never accepted: {error}")


class SharedCase(Case):
    """Tests on one cluster that none of them stops or breaks.

    Subclasses name the databases, and in `prepared` the script that makes the
    file on node 1 before the start; the others are created by an application.
    """

    databases = ("main",)
    prepared = {}

    @classmethod
    def setUpClass(cls):
        cls.shared = marmot.Cluster(3, databases=cls.databases)
        cls.addClassCleanup(cls.shared.close)
        for name, script in cls.prepared.items():
            marmot.make_database(cls.shared[1].path(name), script)
        cls.shared.start()

    def session(self, node_id, name="main", **options):
        session = marmot.Session(self.shared[node_id].path(name), **options)
        self.addCleanup(session.close)
        return session
