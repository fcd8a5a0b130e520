"""Databases that come and go while the nodes run: attach, detach, drop, and
-db-dir."""

import glob
import http.client
import json
import os
import subprocess
import time

import marmot
from case import ROWS, Case
from marmot import eventually
from pane import ask, command


def attach(node, name="extra"):
    done = command("attach", f"{name}={node.path(name)}", node=node)
    assert done.returncode == 0, done.stdout


class ByHand(Case):
    def with_extra(self):
        """Three nodes; `extra` is attached to all, and has a table."""
        cluster = self.cluster(3)
        for node in cluster.nodes:
            attach(node)
        with marmot.Session(cluster[1].path("extra")) as session:
            self.writes(session, ROWS)
            self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        return cluster

    def test_what_is_attached_is_replicated(self):
        """Written on one node, read and written on the others."""
        cluster = self.with_extra()
        for node in cluster.nodes:
            self.assertSees(node, [("a", 1)], "SELECT * FROM rows", "extra")
        with marmot.Session(cluster[3].path("extra")) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
        self.assertSamePages(cluster, "extra")

    def test_a_restart_finds_what_was_attached(self):
        """No flag names it; the list beside the store does."""
        cluster = self.with_extra()
        cluster[2].stop()
        with marmot.Session(cluster[1].path("extra")) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
        cluster[2].start().wait_log(r"\bready db=extra\b")
        self.assertSees(cluster[2], [(2,)], "SELECT count(*) FROM rows",
                        "extra")

    def test_what_is_detached_stays_where_it_is(self):
        """The others go on without it; attached again, it catches up."""
        cluster = self.with_extra()
        self.assertSees(cluster[3], [(1,)], "SELECT count(*) FROM rows",
                        "extra")
        done = command("detach", "extra", node=cluster[3])
        self.assertEqual(done.returncode, 0, done.stdout)
        cluster[3].wait_log(r"\bdetached db=extra\b")
        self.assertFalse(os.path.exists(cluster[3].path("extra") + "-marmot"))
        with marmot.Session(cluster[1].path("extra")) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
        self.assertEqual(marmot.read_plain(cluster[3].path("extra"),
                                           "SELECT count(*) FROM rows"),
                         [(1,)])
        attach(cluster[3])
        self.assertSees(cluster[3], [(2,)], "SELECT count(*) FROM rows",
                        "extra")
        self.assertEqual(glob.glob(cluster[3].path("extra") + ".before*"), [])

    def test_a_session_does_not_keep_it(self):
        """An application that has it open reads on, and writes no more."""
        cluster = self.with_extra()
        with marmot.Session(cluster[3].path("extra"), busy_ms=200) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
            command("detach", "extra", node=cluster[3])
            cluster[3].wait_log(r"\bdetached db=extra\b")
            self.assertEqual(session.value("SELECT count(*) FROM rows"), 2)
            self.assertRefused(session, "INSERT INTO rows VALUES('c', 3)")
        for node in (1, 2):
            self.assertSees(cluster[node], [(2,)],
                            "SELECT count(*) FROM rows", "extra")

    def test_what_is_dropped_is_put_aside_everywhere(self):
        """Also on a node that was down, and the name is free again."""
        cluster = self.with_extra()
        for node in cluster.nodes:
            self.assertSees(node, [(1,)], "SELECT count(*) FROM rows", "extra")
        cluster[3].stop()
        done = command("drop", "extra", "-yes", node=cluster[1])
        self.assertEqual(done.returncode, 0, done.stdout)
        cluster[3].start()
        for node in cluster.nodes:
            self.assertTrue(
                eventually(lambda n=node: glob.glob(n.path("extra")
                                                    + ".dropped-*")),
                node.log())
            self.assertFalse(os.path.exists(node.path("extra")))
            aside = glob.glob(node.path("extra") + ".dropped-*")[0]
            self.assertEqual(marmot.read_plain(aside, "SELECT * FROM rows"),
                             [("a", 1)])
        for node in cluster.nodes:
            attach(node)
        with marmot.Session(cluster[2].path("extra")) as session:
            self.writes(session, "CREATE TABLE other(x)")
        for node in cluster.nodes:
            self.assertSees(node, [(0,)], "SELECT count(*) FROM other",
                            "extra")

    def test_wrong_words_are_refused_and_change_nothing(self):
        """Each with a message, and the status that a program expects."""
        cluster = self.cluster(1)
        node = cluster[1]
        attach(node)
        for path, status, text in (
                ("/attach/extra?path=/tmp/other.db", 409, "there is a database"),
                ("/attach/second?path=" + node.path("extra"), 409, "already"),
                ("/attach/second?path=relative.db", 400, "from the root"),
                ("/attach/second?path=/nowhere/at/all.db", 400, "/nowhere"),
                ("/attach/second", 400, "path is missing"),
                ("/attach/a%20b?path=/tmp/x.db", 400, "a name"),
                ("/detach/nothing", 404, "no database"),
                ("/drop/nothing", 404, "no database"),
        ):
            answer = ask(node, path, "POST")
            self.assertEqual(answer.status, status, path)
            self.assertIn(text, answer.body.decode(), path)
        self.assertEqual(ask(node, "/detach/extra").status, 405)
        asked = command("drop", "extra", node=node)
        self.assertEqual(asked.returncode, 1)
        self.assertIn("nothing was done", asked.stdout)


class WhileItIsRead(Case):
    """Detached in the middle of a backup or a verification: those of this
    database end, those of another one go on as if nothing had happened."""

    LARGE = """CREATE TABLE rows(tag, n);
        CREATE TABLE large AS SELECT randomblob(30000000) AS x;"""

    def large(self, n=1):
        cluster = self.cluster(n, start=False)
        for name in ("main", "extra"):
            marmot.make_database(cluster[1].path(name), self.LARGE)
        cluster.start()
        for node in cluster.nodes:
            attach(node)
            node.wait_log(r"\bready db=extra\b")
        return cluster

    def backup(self, node, name):
        """One whose reader has taken the first bytes only."""
        connection = http.client.HTTPConnection("127.0.0.1", node.pane,
                                                timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", f"/backup/{name}")
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        return connection, response

    def detach(self, node):
        """Returns when it is gone."""
        node.mark = node.log_path.stat().st_size
        done = command("detach", "extra", node=node)
        self.assertEqual(done.returncode, 0, done.stdout)
        node.wait_log(r"\bdetached db=extra\b")

    def test_a_backup_of_it_ends_and_another_does_not(self):
        """Also where nobody takes the bytes any more."""
        cluster = self.large()
        for _ in range(3):
            _, its = self.backup(cluster[1], "extra")
            _, other = self.backup(cluster[1], "main")
            idle, _ = self.backup(cluster[1], "extra")
            self.assertEqual(len(its.read(4096)), 4096)
            begun = other.read(4096)
            self.detach(cluster[1])
            with self.assertRaises((http.client.IncompleteRead,
                                    ConnectionError)):
                its.read()
            whole = begun + other.read()
            self.assertEqual(whole, marmot.pages(cluster[1].path()))
            self.assertEqual(
                marmot.read_plain(cluster[1].path("extra"),
                                  "PRAGMA integrity_check"), [("ok",)])
            idle.close()
            attach(cluster[1])
            cluster[1].wait_log(r"\bready db=extra\b")
        self.assertEqual(cluster[1].stop(), 0)

    def verify(self, node, name):
        return marmot.spawn(
            [marmot.MARMOT, "verify", "-json", name, "-pane",
             f"127.0.0.1:{node.pane}"], stdout=subprocess.PIPE, text=True,
            env=marmot.environment(False))

    def verified(self, process):
        """(exit status, {node: state})"""
        said, _ = process.communicate(timeout=30)
        document = json.loads(said)
        return (process.returncode,
                {one["node"]: one["state"] for one in document["nodes"]})

    def test_a_verification_of_it_ends_and_another_does_not(self):
        """On the node that lets it go and on the one that asks."""
        cluster = self.large(3)
        seen = set()
        for turn in range(8):
            its = self.verify(cluster[1], "extra")
            other = self.verify(cluster[1], "main")
            time.sleep(0.02 * turn)
            self.detach(cluster[3])
            status, states = self.verified(other)
            self.assertEqual((status, set(states.values())), (0, {"ok"}))
            status, states = self.verified(its)
            self.assertEqual([states[1], states[2]], ["ok", "ok"])
            self.assertIn(states[3], ("ok", "absent", "busy", "failed"))
            seen.add(states[3])
            attach(cluster[3])
            cluster[3].wait_log(r"\bready db=extra\b")
        self.assertIn("ok", seen)  # what was begun is finished
        self.assertEqual(cluster.stop(), [0, 0, 0])

    def test_it_is_detached_where_the_verification_was_asked_for(self):
        cluster = self.large(3)
        for turn in range(4):
            its = self.verify(cluster[1], "extra")
            time.sleep(0.03 * turn)
            self.detach(cluster[1])
            said, _ = its.communicate(timeout=30)
            self.assertIn(its.returncode, (0, 1))
            attach(cluster[1])
            cluster[1].wait_log(r"\bready db=extra\b")
        self.assertEqual(cluster.stop(), [0, 0, 0])


GROUP_MOST = 1024  # databases of a shard


class Refused(Case):
    """Databases that do not come into the cluster are said, with a way out."""

    def listed(self, node, name):
        """(state, why) of a database, and `marmot list`."""
        for one in ask(node, "/status").json()["databases"]:
            if one["name"] == name:
                done = command("list", node=node)
                self.assertEqual(done.returncode, 0)
                return (one["copy"]["state"], one["writing"]["locked_why"],
                        done.stdout)
        self.fail(f"no {name}")

    def test_one_more_than_a_shard_has_room_for(self):
        cluster = self.cluster(1, databases=(), start=False)
        node = cluster[1]
        folder = node.folder / "dbs"
        folder.mkdir()
        marmot.make_database(str(folder / "d0"), "CREATE TABLE t(a)")
        content = (folder / "d0").read_bytes()
        for i in range(1, GROUP_MOST):
            (folder / f"d{i}").write_bytes(content)
        node.start("-db-dir", folder, "-shards", "1")
        node.wait_ready(120)
        self.assertNotIn("not_enrolled", node.log())
        (folder / "more").write_bytes(content)
        said = node.wait_log("E not_enrolled db=more .*", 30).group()
        self.assertIn("shard 0 has 1024 databases", said)
        state, why, said = self.listed(node, "more")
        self.assertEqual(state, "not-enrolled")
        self.assertIn("begin a cluster with more -shards", why)
        self.assertRegex(said, "(?m)^more +not-enrolled ")
        self.assertIn(f"\nmore: {why}\n", said)
        with marmot.Session(str(folder / "more")) as session:
            self.assertRefused(session, "INSERT INTO t VALUES(1)")
        # Room is made: it comes in by itself.
        done = command("drop", "-yes", "d7", node=node)
        self.assertEqual(done.returncode, 0, done.stdout)
        node.wait_log(r"\bready db=more\b", 30)
        self.assertEqual(self.listed(node, "more")[0], "ready")
        self.assertEqual(node.stop(60), 0)

    def test_what_only_a_replica_has(self):
        cluster = self.cluster(1, replicas=1, start=False)
        marmot.make_database(cluster[2].path(), ROWS)
        for node in cluster.nodes:
            node.start()
        cluster[2].wait_log("E not_enrolled db=main .*bring it on a voter", 30)
        state, why, _ = self.listed(cluster[2], "main")
        self.assertEqual(state, "not-enrolled")
        self.assertIn("only follows", why)


class Folder(Case):
    def folders(self, n=3):
        """Nodes that keep a folder each, and nothing else."""
        cluster = self.cluster(n, databases=(), start=False)
        for node in cluster.nodes:
            (node.folder / "dbs").mkdir()
            node.start("-db-dir", node.folder / "dbs")
        for node in cluster.nodes:
            node.wait_ready()
        return cluster

    @staticmethod
    def path(node, name):
        return str(node.folder / "dbs" / name)

    def comes(self, node, name, expected, statement):
        def check():
            try:
                return marmot.read_plain(self.path(node, name),
                                         statement) == expected
            except Exception:  # not there yet
                return False

        self.assertTrue(eventually(check), f"node {node.id}: {name}")

    def test_a_new_file_is_everywhere(self):
        """Made by a program that knows nothing of it; then written elsewhere."""
        cluster = self.folders()
        marmot.make_database(self.path(cluster[1], "shop.db"), ROWS,
                             journal="delete")
        for node in cluster.nodes:
            self.comes(node, "shop.db", [(0,)], "SELECT count(*) FROM rows")
        with marmot.Session(self.path(cluster[2], "shop.db")) as session:
            self.writes(session, "INSERT INTO rows VALUES('x', 1)")
        for node in cluster.nodes:
            self.comes(node, "shop.db", [("x", 1)], "SELECT * FROM rows")

    def test_what_is_no_database_is_left_alone(self):
        """Files beside, names that cannot be, an empty file."""
        cluster = self.folders(1)
        for name in ("notes.txt", "empty.db", "a b.db", "x.db-journal"):
            with open(self.path(cluster[1], name), "w") as file:
                file.write("" if name == "empty.db" else "text" * 100)
        marmot.make_database(self.path(cluster[1], "real.db"), ROWS)
        cluster[1].wait_log(r"\bready db=real\.db\b")
        self.assertEqual(
            [d["name"] for d in ask(cluster[1], "/status").json()["databases"]],
            ["real.db"])

    def test_a_restart_has_them_all(self):
        """Those that were found, and one that another node brought meanwhile."""
        cluster = self.folders()
        marmot.make_database(self.path(cluster[1], "one.db"), ROWS)
        for node in cluster.nodes:
            self.comes(node, "one.db", [(0,)], "SELECT count(*) FROM rows")
        cluster[3].stop()
        marmot.make_database(self.path(cluster[2], "two.db"), ROWS)
        self.comes(cluster[1], "two.db", [(0,)], "SELECT count(*) FROM rows")
        cluster[3].start("-db-dir", cluster[3].folder / "dbs")
        for name in ("one.db", "two.db"):
            self.comes(cluster[3], name, [(0,)], "SELECT count(*) FROM rows")
