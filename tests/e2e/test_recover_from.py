#!/usr/bin/env python3
"""marmot recover -from FILE: after somebody copied files by hand, one of them
is made the truth."""

import contextlib
import glob
import os
import shutil
import sqlite3
import subprocess
import threading
import time
import unittest

import marmot
from case import ROWS, Case
from failpoints import STATUS_KILLED, FailCase

ALL = "SELECT tag, n FROM rows ORDER BY tag, n"


def make(path, tag, count=50, extra=""):
    """A database as an administrator may have it at hand."""
    marmot.make_database(path, f"""{ROWS}; {extra}
        WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c
                                WHERE i < {count})
        INSERT INTO rows SELECT '{tag}', i FROM c;""", journal="delete")
    return path


def copy_over(source, node, name="main"):
    """What `cp` onto a stopped node's database does."""
    for suffix in "-wal", "-shm":
        if os.path.exists(node.path(name) + suffix):
            os.unlink(node.path(name) + suffix)
    shutil.copyfile(source, node.path(name))


def rows(tag, count=50):
    return [(tag, i) for i in range(1, count + 1)]


def asides(node, name="main"):
    return sorted(path for path in
                  glob.glob(node.path(name) + ".before-marmot-*")
                  if not path.endswith(("-wal", "-shm")))


def contents(paths):
    """The rows of each, as plain SQLite reads it."""
    found = []
    for path in paths:
        with contextlib.closing(sqlite3.connect(path)) as db:
            found.append(db.execute(ALL).fetchall())
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


class Orders:
    """Giving the command, and what must hold afterwards."""

    def recover(self, node, file, *words, typed=None):
        words = [marmot.MARMOT, "recover", "-from", file, "-raft-path",
                 node.raft, "-node-id", str(node.id), *words]
        if typed is None:
            words.append("-yes")
        return subprocess.run(words, capture_output=True, text=True,
                              input=typed, timeout=60)

    def order(self, node, file, *words, **options):
        done = self.recover(node, file, *words, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def stopped(self, tag="old", **options):
        """A cluster that is stopped, with the row (tag, 0)."""
        cluster = self.rows_cluster(**options)
        self.writes(cluster.session(1), f"INSERT INTO rows VALUES('{tag}', 0)")
        for node in cluster.nodes:
            self.assertSees(node, [(tag, 0)], ALL)
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0] * len(cluster.nodes))
        return cluster

    def start_again(self, cluster):
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.wait_ready()

    def assertGoesOn(self, cluster, before):
        """Writes on every node are everywhere."""
        for node in cluster.nodes:
            session = cluster.session(node.id)
            self.writes(session, f"INSERT INTO rows VALUES('then', {node.id})")
        expected = sorted(before + [("then", n.id) for n in cluster.nodes])
        for node in cluster.nodes:
            self.assertSees(node, expected, ALL)
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)


class RecoverFrom(Orders, Case):
    def test_files_copied_everywhere_and_one_is_the_truth(self):
        cluster = self.stopped()
        for node in cluster.nodes:
            made = make(cluster.folder / f"{node.id}.db", f"by-{node.id}")
            copy_over(made, node)
        self.order(cluster[2], cluster[2].path())
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, rows("by-2"), ALL)
        cluster[2].wait_log("order_done")
        for node in cluster[1], cluster[3]:
            self.assertEqual(contents(asides(node)), [rows(f"by-{node.id}")])
        self.assertEqual(list(cluster[2].raft.glob("*.order*")), [])
        self.assertGoesOn(cluster, rows("by-2"))

    def test_a_file_from_elsewhere_replaces_what_the_nodes_have(self):
        cluster = self.stopped()
        made = make(cluster.folder / "elsewhere.db", "new", 3000)
        said = self.order(cluster[1], made, typed="main\n")
        self.assertIn("Type the name of the database", said.stdout)
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, rows("new", 3000), ALL)
            self.assertEqual(contents(asides(node)), [[("old", 0)]])
        self.assertGoesOn(cluster, rows("new", 3000))

    def test_an_older_copy_of_the_same_database_comes_back(self):
        """The log knows that state; the order counts more."""
        cluster = self.rows_cluster()
        session = cluster.session(1)
        self.writes(session, "INSERT INTO rows VALUES('kept', 1)")
        self.assertSees(cluster[1], [("kept", 1)], ALL)
        copied = cluster.folder / "bytes.db"
        copied.write_bytes(marmot.pages(cluster[1].path()))
        self.writes(session, "DELETE FROM rows")
        for node in cluster.nodes:
            self.assertSees(node, [], ALL)
        cluster.close_sessions()
        cluster.stop()
        copy_over(copied, cluster[3])
        self.order(cluster[3], cluster[3].path())
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, [("kept", 1)], ALL)
        self.assertGoesOn(cluster, [("kept", 1)])

    def test_others_run_and_write_meanwhile(self):
        cluster = self.rows_cluster()
        for node in cluster.nodes:
            self.assertSees(node, [], ALL)
        self.assertEqual(cluster[3].stop(), 0)
        made = make(cluster.folder / "new.db", "new", 20000)
        self.order(cluster[3], made)
        over, counted = threading.Event(), []

        def load(node_id):
            session = cluster.session(node_id)
            n = 0
            while not over.is_set():
                try:
                    session.sql(f"INSERT INTO rows VALUES('w{node_id}', {n})")
                    n += 1
                except marmot.SqlError as error:
                    if not error.name.startswith("SQLITE_BUSY"):
                        raise
            counted.append((node_id, n))

        threads = [threading.Thread(target=load, args=(i,)) for i in (1, 2)]
        for thread in threads:
            thread.start()
        try:
            cluster[3].start().wait_ready()
            cluster[3].wait_log("order_done")
            time.sleep(0.3)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        for node in cluster.nodes:
            self.assertSees(node, [(20000,)],
                            "SELECT count(*) FROM rows WHERE tag = 'new'")
        self.assertSamePages(cluster)
        # Each writer's rows have a gap at the most before the change: what is
        # there is a suffix of what was acknowledged, to the very last one.
        for node_id, n in counted:
            seen = [row[0] for row in marmot.read_plain(
                cluster[1].path(), f"SELECT n FROM rows WHERE tag = "
                f"'w{node_id}' ORDER BY n")]
            self.assertGreater(len(seen), 0)
            self.assertEqual(seen, list(range(n - len(seen), n)))
        self.assertEqual(len(asides(cluster[1])), 1)

    def test_without_a_majority_it_waits(self):
        cluster = self.stopped()
        made = make(cluster.folder / "new.db", "new")
        self.order(cluster[1], made)
        cluster[1].start()
        cluster[1].wait_log("started")
        time.sleep(1)
        self.assertNotIn("order_done", cluster[1].log())
        cluster[1].kill()
        cluster[1].start()
        cluster[2].start()
        cluster[1].wait_log("order_done")
        cluster[3].start()
        for node in cluster.nodes:
            self.assertSees(node, rows("new"), ALL)
        self.assertGoesOn(cluster, rows("new"))

    def test_nodes_are_killed_all_the_time(self):
        cluster = self.stopped()
        made = make(cluster.folder / "new.db", "new", 30000)
        self.order(cluster[2], made)
        for delay in (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2):
            for node in cluster.nodes:
                node.start()
            time.sleep(delay)
            for node in cluster.nodes:
                node.kill()
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, [(30000,)], "SELECT count(*) FROM rows")
            self.assertIn([("old", 0)], contents(asides(node)))
        session = cluster.session(1)
        self.writes(session, "DELETE FROM rows")
        cluster.close_sessions()
        for node in cluster.nodes:
            node.kill()
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, [], ALL)  # it does not happen twice
        self.assertSamePages(cluster)

    def test_a_database_of_several_and_its_wal(self):
        cluster = self.cluster(3, start=False, databases=("one", "two"))
        for name in "one", "two":
            make(cluster[1].path(name), name, 3)
        cluster.start()
        for name in "one", "two":
            self.assertSees(cluster[3], rows(name, 3), ALL, name)
        cluster.stop()
        made = cluster.folder / "wal.db"
        db = sqlite3.connect(made, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        db.execute(ROWS)
        db.execute("INSERT INTO rows VALUES('in the wal', 1)")
        several = self.recover(cluster[1], made)
        self.assertEqual(several.returncode, 2)
        self.assertRegex(several.stderr, "several.*-db NAME.*(one two|two one)")
        unknown = self.recover(cluster[1], made, "-db", "three")
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("-db three: this node has", unknown.stderr)
        said = self.order(cluster[1], made, "-db", "two")
        self.assertIn("wal.db-wal", said.stdout)
        db.close()
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, [("in the wal", 1)], ALL, "two")
            self.assertSees(node, rows("one", 3), ALL, "one")
        self.assertEqual(asides(cluster[3], "one"), [])

    def test_wrong_input_changes_nothing(self):
        cluster = self.stopped()
        node = cluster[1]
        good = make(cluster.folder / "good.db", "new")
        text = cluster.folder / "text"
        text.write_text("not a database, but long enough to be one " * 50)
        empty = cluster.folder / "empty.db"
        empty.touch()
        torn = cluster.folder / "torn.db"
        marmot.make_database(torn, f"{ROWS}; CREATE INDEX i ON rows(n);"
                             "INSERT INTO rows VALUES('a', 1)", "delete")
        with open(torn, "r+b") as file:
            file.seek(2 * 4096 + 4000)
            file.write(b"\xff" * 96)
        other = cluster.folder / "pages.db"
        marmot.make_database(other, f"PRAGMA page_size=8192; {ROWS}", "delete")
        for file, why in ((cluster.folder / "none.db", "No such file"),
                          (cluster.folder, "not a file"),
                          (text, "not a database"), (empty, "empty"),
                          (torn, "damaged|malformed"),
                          (other, "8192 bytes, the database main of 4096")):
            done = self.recover(node, file)
            self.assertEqual(done.returncode, 1, file)
            self.assertRegex(done.stderr, why)
            self.assertIn("nothing was changed", done.stderr)
        for typed in "yes\n", "", "mai\n", "mainn\n":
            done = self.recover(node, good, typed=typed)
            self.assertEqual(done.returncode, 1)
            self.assertIn("Nothing was changed", done.stdout)
        usage = subprocess.run(
            [marmot.MARMOT, "recover", "-db", "main", "-raft-path", node.raft,
             "-node-id", "1"], capture_output=True, text=True)
        self.assertEqual(usage.returncode, 2)
        self.assertEqual(list(node.raft.glob("*.order*")), [])
        self.start_again(cluster)
        running = self.recover(node, good)
        self.assertEqual(running.returncode, 1)
        self.assertIn("in use by a running node", running.stderr)
        self.assertGoesOn(cluster, [("old", 0)])

    def test_a_file_too_large_for_one_transaction_is_refused(self):
        cluster = self.stopped(n=1)
        large = cluster.folder / "large.db"
        marmot.make_database(large, ROWS, "delete")
        db = sqlite3.connect(large, isolation_level=None)
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("INSERT INTO rows VALUES(zeroblob(600000000), 1), "
                   "(zeroblob(600000000), 2)")
        db.close()
        done = self.recover(cluster[1], large)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, "has 1145 MiB, and one transaction at "
                                      "most 1024")

    def test_a_replica_is_not_asked(self):
        cluster = self.stopped(n=2, replicas=1)
        made = make(cluster.folder / "new.db", "new")
        done = self.recover(cluster[3], made)
        self.assertEqual(done.returncode, 1)
        self.assertIn("replica", done.stderr)
        self.order(cluster[1], made)
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, rows("new"), ALL)
            self.assertEqual(contents(asides(node)), [[("old", 0)]])


class Dies(Orders, FailCase):
    """The node with the order, or another one, dies at each step."""

    def begin(self, **options):
        cluster = self.fail_cluster(**options)
        self.writes(self.fail_session(cluster, cluster[1]),
                    "INSERT INTO rows VALUES('old', 0)")
        for node in cluster.nodes:
            self.assertSees(node, [("old", 0)], ALL)
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0, 0, 0])
        return cluster, make(cluster.folder / "new.db", "new", 3000)

    def finish(self, cluster):
        """It is done once, and what is written then stays."""
        for node in cluster.nodes:
            node.env = {}
            if not node.running():
                node.start()
        for node in cluster.nodes:
            self.assertSees(node, rows("new", 3000), ALL)
            self.assertIn([("old", 0)], contents(asides(node)))
        self.writes(cluster.session(1), "DELETE FROM rows")
        cluster.close_sessions()
        for node in cluster.nodes:
            node.kill()
        self.start_again(cluster)
        for node in cluster.nodes:
            self.assertSees(node, [], ALL)
        self.assertGoesOn(cluster, [])

    def dies_at(self, rules, node_id):
        cluster, made = self.begin()
        self.order(cluster[2], made)
        for node in cluster.nodes:
            if node.id != node_id:
                node.start()
        self.dies_starting(cluster[node_id], rules + ":1:kill")
        self.finish(cluster)

    def test_before_the_file_is_replaced(self):
        self.dies_at("order.install", 2)

    def test_when_the_file_is_replaced(self):
        self.dies_at("order.installed", 2)

    def test_before_it_proposes(self):
        self.dies_at("order.tried", 2)

    def test_with_its_proposal(self):
        self.dies_at("node.proposed", 2)

    def test_when_it_is_accepted_and_the_order_still_there(self):
        self.dies_at("order.accepted", 2)

    def forgotten(self, n):
        """It is accepted, and the order still there; then the others write n
        rows and forget the log. What the order's node does after that."""
        cluster, made = self.begin(flags=("-max-log-entries", "16"))
        self.order(cluster[2], made)
        for node in cluster[1], cluster[3]:
            node.start()
        self.dies_starting(cluster[2], "order.accepted:1:kill")
        self.assertSees(cluster[1], rows("new", 3000), ALL)
        session = cluster.session(1)
        self.writes(session, "DELETE FROM rows")
        for i in range(n):
            self.writes(session, f"INSERT INTO rows VALUES('after', {i})")
        cluster[2].env = {}
        cluster[2].start().wait_ready()
        for node in cluster.nodes:
            self.assertSees(node, [("after", i) for i in range(n)], ALL)
        self.assertEqual(list(cluster[2].raft.glob("*.order*")), [])
        self.assertGoesOn(cluster, [("after", i) for i in range(n)])
        return cluster[2].log()

    def test_when_a_snapshot_tells_that_it_was_accepted(self):
        self.assertNotIn("order_given_up", self.forgotten(40))

    def test_when_nobody_can_tell_any_more(self):
        """Then it is not done again: that could take changes away."""
        self.assertRegex(self.forgotten(200),
                         "order_given_up.*cannot be told any more")

    def test_another_node_with_the_old_content_aside(self):
        self.dies_at("file.aside", 1)

    def test_the_command_itself(self):
        cluster, made = self.begin()
        node = cluster[2]
        armed = self.armed(node, "file.order:1:kill")
        armed.on()
        died = marmot.run(
            [node.program, "recover", "-from", made, "-raft-path", node.raft,
             "-node-id", 2, "-yes"], env=armed.environment())
        self.assertEqual(died.returncode, STATUS_KILLED, died.stdout)
        armed.off()
        node.start().wait_log("started")
        self.assertNotIn("order", node.log())
        self.assertEqual(node.stop(), 0)
        self.order(node, made)
        self.finish(cluster)


if __name__ == "__main__":
    unittest.main()
