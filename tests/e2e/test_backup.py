"""marmot backup and marmot restore, over the pane of a live node."""

import http.client
import json
import os
import sqlite3
import time

import marmot
import pane
from case import Case
from marmot import eventually
from pane import command

ACCOUNTS = """CREATE TABLE accounts(id INTEGER PRIMARY KEY, amount, filling);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO accounts SELECT i, 100, randomblob(2000) FROM n;"""
# More than what fits into the buffers of a connection.
LARGE = "CREATE TABLE large AS SELECT randomblob(30000000) AS x;"
TRANSFER = """UPDATE accounts SET amount = amount - 1,
    filling = randomblob(2000) WHERE id = {0};
UPDATE accounts SET amount = amount + 1 WHERE id = 2001 - {0};"""


def rows(path, statement):
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


class Backup(Case):
    def accounts(self, n=3):
        cluster = self.cluster(n, start=False)
        marmot.make_database(cluster[1].path(), ACCOUNTS)
        return cluster.start()

    def test_a_backup_under_writers_is_one_state(self):
        """Every one of them has the sum that every transaction keeps; what it
        names as its position is where it is."""
        cluster = self.accounts()
        writer = cluster.session(1, busy_ms=20000)
        for i in range(4):
            for k in range(20):
                writer.script("BEGIN IMMEDIATE;"
                              + TRANSFER.format(20 * i + k + 1) + "COMMIT;")
            node = cluster[i % 3 + 1]
            file = str(cluster.folder / f"copy{i}.db")
            writer.send("repeat", tag="w", count=60, sql=[
                "UPDATE accounts SET amount = amount WHERE id = 7 + ?2 "
                "AND 'w' = ?1"])
            done = command("backup", "-json", "main", file, node=node)
            writer.receive()
            self.assertEqual(done.returncode, 0, done.stdout)
            said = json.loads(done.stdout)
            self.assertEqual(said["bytes"], os.path.getsize(file))
            self.assertEqual(rows(file, "PRAGMA integrity_check"), [("ok",)])
            self.assertEqual(rows(file, "SELECT sum(amount) FROM accounts"),
                             [(200000,)])
            self.assertFalse(os.path.exists(file + ".part"))
        self.assertSamePages(cluster)

    def test_a_backup_of_a_still_database_is_its_bytes(self):
        """On each node, the pages that a stock reader sees."""
        cluster = self.accounts()
        self.assertSamePages(cluster)
        for node in cluster.nodes:
            file = str(cluster.folder / f"copy-{node.id}.db")
            done = command("backup", "main", file, node=node)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertIn("verified", done.stdout)
            with open(file, "rb") as copy:
                self.assertEqual(copy.read(), marmot.pages(node.path()))

    def test_what_cannot_be_backed_up(self):
        """No such name, a file that exists, a folder that does not."""
        cluster = self.accounts(1)
        existing = cluster[1].path()
        for words, expected, said in (
                (["backup"], 2, "usage"),
                (["backup", "main"], 2, "usage"),
                (["backup", "a/b", "x"], 2, "usage"),
                (["backup", "other", str(cluster.folder / "x")], 1,
                 "no database other"),
                (["backup", "main", existing], 1, "exists"),
                (["backup", "main", "/proc/nothing/x"], 1, "/proc/nothing/x")):
            with self.subTest(words=words):
                done = command(*words, node=cluster[1])
                self.assertEqual(done.returncode, expected, done.stdout)
                self.assertIn(said, done.stdout)
        self.assertFalse((cluster.folder / "x").exists())

    def begin_slowly(self, node):
        """A backup whose reader takes the first bytes only."""
        connection = http.client.HTTPConnection("127.0.0.1", node.pane,
                                                timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/backup/main")
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        response.read(4096)
        return connection, response

    def test_a_slow_reader_does_not_keep_the_node_from_stopping(self):
        """Nor from writing; and only so many are served at a time."""
        cluster = self.cluster(1, start=False)
        marmot.make_database(cluster[1].path(), ACCOUNTS + LARGE)
        cluster.start()
        held = [self.begin_slowly(cluster[1]) for _ in range(4)]
        refused = pane.ask(cluster[1], "/backup/main")
        self.assertEqual(refused.status, 503)
        self.writes(cluster.session(1), TRANSFER.format(3).split(";")[0])
        for end in reversed(held.pop()):
            end.close()
        self.assertTrue(eventually(
            lambda: pane.ask(cluster[1], "/backup/main", "HEAD").status == 200))
        cluster.close_sessions()
        started = time.monotonic()
        self.assertEqual(cluster[1].stop(), 0)
        self.assertLess(time.monotonic() - started, 10)

    def test_an_end_half_way_leaves_no_file(self):
        """The node is killed while the pages flow."""
        cluster = self.accounts(1)
        file = str(cluster.folder / "copy.db")
        process = marmot.spawn(
            [marmot.MARMOT, "backup", "main", file, "-timeout", "5",
             "-pane", f"127.0.0.1:{cluster[1].pane}"],
            stdout=-3, stderr=-3, env=marmot.environment(False))
        eventually(lambda: os.path.exists(file + ".part"), every=0.001)
        cluster[1].kill()
        status = process.wait(30)
        if status == 0:  # it was faster
            self.assertEqual(rows(file, "PRAGMA integrity_check"), [("ok",)])
        else:
            self.assertEqual(status, 1)
            self.assertFalse(os.path.exists(file))
        self.assertFalse(os.path.exists(file + ".part"))


class Restore(Case):
    def test_a_restore_is_a_change_like_any_other(self):
        """All nodes get the content; readers see the old or the new, and the
        cluster goes on."""
        cluster = self.rows_cluster(3)
        session = cluster.session(2)
        session.sql("INSERT INTO rows VALUES('before', 1)")
        file = str(cluster.folder / "copy.db")
        done = command("backup", "main", file, node=cluster[1])
        self.assertEqual(done.returncode, 0, done.stdout)
        session.sql("INSERT INTO rows VALUES('after', 1)")
        session.script("CREATE TABLE other(x)")
        done = command("restore", "main", file, node=cluster[3])
        self.assertEqual(done.returncode, 0, done.stdout)
        for node in cluster.nodes:
            self.assertSees(node, [("before", 1)], "SELECT * FROM rows")
            self.assertSees(node, [], "SELECT * FROM sqlite_schema"
                                      " WHERE name = 'other'")
        self.writes(session, "INSERT INTO rows VALUES('later', 1)")
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_what_cannot_be_restored(self):
        """Nothing is changed by any of it."""
        cluster = self.rows_cluster(1)
        folder = cluster.folder
        marmot.make_database(str(folder / "small.db"),
                             "PRAGMA page_size=1024; CREATE TABLE t(x)")
        (folder / "text").write_text("no database at all, " * 100)
        marmot.make_database(str(folder / "torn.db"), ACCOUNTS, "delete")
        os.truncate(folder / "torn.db", 100000)
        before = marmot.pages(cluster[1].path())
        for words, expected, said in (
                (["restore", "main"], 2, "usage"),
                (["restore", "other", "x"], 1, "no database other"),
                (["restore", "main", "/nothing"], 1, "/nothing"),
                (["restore", "main", str(folder / "text")], 1,
                 "not a database"),
                (["restore", "main", str(folder / "torn.db")], 1, "torn.db"),
                (["restore", "main", str(folder / "small.db")], 1,
                 "pages of 1024 bytes")):
            with self.subTest(words=words):
                done = command(*words, node=cluster[1])
                self.assertEqual(done.returncode, expected, done.stdout)
                self.assertIn(said, done.stdout)
                self.assertEqual(done.stdout.count("\n"), 1, done.stdout)
        self.assertEqual(marmot.pages(cluster[1].path()), before)
