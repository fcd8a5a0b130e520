"""Programs without the library beside a node, and unmanaged databases under
the library."""

import re
import subprocess
import sys

import marmot
from case import Case


class PlainPrograms(Case):
    def test_plain_sqlite_reads_and_is_kept_from_writing(self):
        """While writers are busy, the plain CLI reads, checks and copies;
        each of its writes gets "database is locked"."""
        cluster = self.rows_cluster(2)
        self.assertSees(cluster[2], [(0,)], "SELECT count(*) FROM rows")
        writer = cluster.session(1, busy_ms=20000)
        writer.send("rows_until", tag="w", seconds=4)
        last = 0
        for turn in range(8):
            for node in cluster.nodes:
                path = node.path()
                read = marmot.cli(path, "SELECT count(*) FROM rows",
                                  preload=False, timeout_ms=2000)
                self.assertEqual(read.returncode, 0, read.stdout)
                check = marmot.cli(path, "PRAGMA quick_check", preload=False,
                                   timeout_ms=2000)
                self.assertEqual(check.stdout, "ok\n")
                for sql in ("INSERT INTO rows VALUES('plain', 1)",
                            "BEGIN IMMEDIATE", "VACUUM"):
                    write = marmot.cli(path, sql, preload=False)
                    self.assertIn("database is locked", write.stdout, sql)
                    self.assertNotEqual(write.returncode, 0)
            self.assertGreaterEqual(int(read.stdout), last)
            last = int(read.stdout)
        self.assertGreater(last, 0)
        copy = cluster.folder / "copy.db"
        done = marmot.cli(cluster[2].path(), f"VACUUM INTO '{copy}'",
                          preload=False, timeout_ms=2000)
        self.assertEqual(done.returncode, 0, done.stdout)
        acknowledged = writer.receive()["acknowledged"]
        self.assertSees(cluster[2], [(len(acknowledged), 0)],
                        "SELECT count(*), sum(tag = 'plain') FROM rows")
        self.assertSamePages(cluster)

    def test_plain_writes_stay_locked_out_while_the_session_lives(self):
        """The node dies inside a transaction; its session still protects."""
        cluster = self.rows_cluster(1)
        session = cluster.session(1)
        self.assertRegex(session.value("PRAGMA marmot_position"), ":")
        session.sql("BEGIN IMMEDIATE")
        session.sql("INSERT INTO rows VALUES('open', 1)")
        cluster[1].kill()
        write = marmot.cli(cluster[1].path(), "INSERT INTO rows VALUES(1, 1)",
                           preload=False)
        self.assertIn("database is locked", write.stdout)
        self.assertEqual(
            marmot.read_plain(cluster[1].path(), "SELECT * FROM rows"), [])

    def test_readers_stay_up_and_writers_wait_while_the_node_is_down(self):
        """A session without a node: reads work, writes are refused."""
        cluster = self.rows_cluster(1)
        cluster.session(1).sql("INSERT INTO rows VALUES('a', 1)")
        cluster.stop()
        late = cluster.session(1, busy_ms=500)
        self.assertEqual(late.sql("SELECT * FROM rows"), [["a", 1]])
        self.assertRefused(late, "INSERT INTO rows VALUES('b', 2)")
        cluster[1].start().wait_ready()
        self.writes(late, "INSERT INTO rows VALUES('c', 3)")


def python_with_suite():
    """A Python that uses libsqlite3.so.0 and has SQLite's test suite."""
    probe = ("import _sqlite3, subprocess, sys, test.test_sqlite3;"
             "out = subprocess.run(['ldd', _sqlite3.__file__],"
             " capture_output=True, text=True).stdout;"
             "sys.exit('libsqlite3.so.0' not in out)")
    for python in dict.fromkeys([marmot.PYTHON, sys.executable, "python3"]):
        if subprocess.run([python, "-c", probe], capture_output=True,
                          check=False).returncode == 0:
            return python
    return None


class Unmanaged(Case):
    def suite(self, python, preload):
        done = marmot.run([python, "-m", "unittest", "test.test_sqlite3"],
                          preload, timeout=120)
        ran = re.search(r"^Ran (\d+) tests", done.stdout, re.M)
        self.assertTrue(ran, done.stdout[-2000:])
        return int(ran.group(1)), done.stdout.rstrip().splitlines()[-1]

    def test_pythons_own_sqlite_suite_is_unchanged(self):
        """The same number of tests, failures and skips under LD_PRELOAD."""
        python = python_with_suite()
        if python is None:
            self.skipTest("no python3 linked to libsqlite3.so.0 has "
                          "test.test_sqlite3 (libpython3.11-testsuite)")
        without = self.suite(python, False)
        self.assertGreater(without[0], 400)
        self.assertEqual(self.suite(python, True), without)

    def test_an_unmanaged_database_is_left_alone(self):
        """Created, written and closed as ever; no file appears beside it."""
        cluster = self.cluster(1, start=False)
        folder = cluster.folder / "plain"
        folder.mkdir()
        done = marmot.cli(folder / "x.db", "PRAGMA journal_mode=delete; "
                          "CREATE TABLE t(a); INSERT INTO t VALUES(1); "
                          "SELECT a FROM t")
        self.assertEqual(done.stdout, "delete\n1\n")
        self.assertEqual([p.name for p in folder.iterdir()], ["x.db"])

    def test_a_required_node_is_required(self):
        """MARMOT_REQUIRE=1 refuses a database that no node manages."""
        cluster = self.cluster(1, start=False)
        session = marmot.Session(cluster.folder / "x.db",
                                 env={"MARMOT_REQUIRE": "1"})
        self.addCleanup(session.close)
        self.assertRefused(session, "CREATE TABLE t(a)", "SQLITE_CANTOPEN")
