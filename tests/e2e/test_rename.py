"""Databases that get another name, and with it another group, while programs
write to them."""

import marmot
from case import ROWS, Case
from marmot import eventually
from pane import ask, command, status

SHARDS = ["-shards", "4"]


def names(node):
    """Of its databases; none while it does not answer."""
    try:
        return sorted(d["name"] for d in status(node)["databases"])
    except OSError:
        return []


def shard(node, name):
    return next(d["shard"] for d in status(node)["databases"]
                if d["name"] == name)


class Renamed(Case):
    def begin(self, **options):
        return self.rows_cluster(3, flags=SHARDS, **options)

    def writer(self, cluster, node, tag, seconds):
        session = cluster.session(node.id, busy_ms=20000)
        session.sql("SELECT 1")
        session.send("rows_until", tag=tag, seconds=seconds)
        return session, tag

    def assertWrote(self, cluster, writer, longest):
        """All that was acknowledged is everywhere, and nothing else."""
        session, tag = writer
        outcome = session.receive()
        self.assertEqual(outcome["unknown"], [], tag)
        # A commit that was on its way, and another node's came first.
        self.assertLessEqual(outcome["refused"], 12, tag)
        self.assertGreater(len(outcome["acknowledged"]), 10, tag)
        self.assertLess(outcome["longest"], longest, tag)
        rows = [(n,) for n in outcome["acknowledged"]]
        for node in cluster.nodes:
            self.assertSees(node, rows, f"SELECT n FROM rows WHERE "
                            f"tag='{tag}' ORDER BY n")

    def rename(self, cluster, old, new, node=1):
        done = command("rename", old, new, node=cluster[node])
        if "no leader" in done.stdout:  # of one of the groups, so early
            self.assertTrue(eventually(lambda: cluster[node].log().count(
                " I leader shard=") >= 4))
            done = command("rename", old, new, node=cluster[node])
        self.assertEqual(done.returncode, 0, done.stdout)
        for each in cluster.nodes:
            if each.running():
                self.assertTrue(eventually(lambda n=each: new in names(n)),
                                each.log())
                self.assertNotIn(old, names(each))

    def test_programs_write_on_while_it_moves(self):
        """Through all groups and back, with a writer on each node."""
        cluster = self.begin()
        writers = [self.writer(cluster, n, f"w{n.id}", 8)
                   for n in cluster.nodes]
        shards, old = set(), "main"
        for new in ("alpha", "beta", "gamma", "delta", "main", "epsilon"):
            shards.add(shard(cluster[1], old))
            self.rename(cluster, old, new, 1 + len(shards) % 3)
            old = new
        self.assertGreater(len(shards), 2, shards)
        for writer in writers:
            self.assertWrote(cluster, writer, 3)
        self.assertSamePages(cluster)

    def test_a_restart_with_the_old_flag_follows(self):
        """Also of a node that was down when it happened."""
        cluster = self.begin()
        with cluster.session(1) as session:
            self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [("a", 1)], "SELECT * FROM rows")
        cluster[3].stop()
        self.rename(cluster, "main", "alpha")
        with marmot.Session(cluster[1].path()) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
        cluster[2].stop()
        for node in (cluster[2], cluster[3]):
            node.start()
        for node in cluster.nodes:
            self.assertSees(node, [(2,)], "SELECT count(*) FROM rows")
            self.assertTrue(eventually(lambda n=node: names(n) == ["alpha"]),
                            node.log())
        self.assertIn("renamed db=main to=alpha", cluster[2].log())
        self.assertIn("renamed db=main to=alpha", cluster[3].log())
        with marmot.Session(cluster[3].path()) as session:
            self.writes(session, "INSERT INTO rows VALUES('c', 3)")
        self.assertSamePages(cluster)
        for node in cluster.nodes:
            self.assertEqual(list(node.folder.glob("*.before*")), [])

    def test_all_are_restarted_with_either_flag(self):
        """The whole cluster forgets what it had in memory."""
        cluster = self.begin()
        self.rename(cluster, "main", "alpha")
        with marmot.Session(cluster[2].path()) as session:
            self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.wait_ready()
            self.assertSees(node, [(1,)], "SELECT count(*) FROM rows")
        cluster.databases[:] = []
        for node in cluster.nodes:
            node.stop()
        for node in cluster.nodes:
            node.start("-db-path", f"alpha={node.path()}")
        for node in cluster.nodes:
            node.wait_log(r"\bready db=alpha\b")
        with marmot.Session(cluster[3].path()) as session:
            self.writes(session, "INSERT INTO rows VALUES('b', 2)")
        for node in cluster.nodes:
            self.assertSees(node, [(2,)], "SELECT count(*) FROM rows")
            self.assertEqual(names(node), ["alpha"])

    def test_a_node_that_gets_snapshots_alone_follows(self):
        """The logs no longer say that it moved, twice, when it comes back;
        also when both groups' logs are read anew."""
        cluster = self.rows_cluster(
            3, flags=[*SHARDS, "-max-log-entries", "16"])
        self.assertSees(cluster[3], [], "SELECT * FROM rows")

        def write(tag, count, node=1):
            with marmot.Session(cluster[node].path()) as session:
                for i in range(count):
                    self.writes(session,
                                f"INSERT INTO rows VALUES('{tag}', {i})")
        write("a", 60)
        cluster[3].stop()
        old = "main"
        for new in ("alpha", "beta", "main2"):
            self.rename(cluster, old, new)
            write(new, 80)
            old = new
        # Their groups go on, and forget that it was ever there.
        for name in ("main", "x1", "x2", "x3", "x4", "x5"):
            for node in cluster.nodes[:2]:
                done = command("attach", f"{name}={node.path(name + 'x')}",
                               node=node)
                self.assertEqual(done.returncode, 0, done.stdout)
            with marmot.Session(cluster[1].path(name + "x")) as session:
                self.writes(session, ROWS)
                for i in range(60):
                    self.writes(session, f"INSERT INTO rows VALUES('x', {i})")
        cluster[3].start()
        self.assertSees(cluster[3], [(300,)], "SELECT count(*) FROM rows",
                        timeout=30)
        self.assertTrue(eventually(lambda: "main2" in names(cluster[3])),
                        cluster[3].log())
        self.assertNotIn("main", names(cluster[3]))
        write("back", 30, 3)
        self.assertSamePages(cluster)
        self.assertEqual(list(cluster[3].folder.glob("*.before*")), [])
        self.assertEqual(list(cluster[3].folder.glob("*.dropped*")), [])
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            self.assertSees(node, [(330,)], "SELECT count(*) FROM rows")
        write("again", 10, 2)
        self.assertSamePages(cluster)

    def test_the_old_name_is_free_again(self):
        """Another database takes it, on the same nodes."""
        cluster = self.begin()
        self.rename(cluster, "main", "alpha")
        for node in cluster.nodes:
            done = command("attach", f"main={node.path('other')}", node=node)
            self.assertEqual(done.returncode, 0, done.stdout)
        with marmot.Session(cluster[2].path("other")) as session:
            self.writes(session, ROWS)
            self.writes(session, "INSERT INTO rows VALUES('new', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [("new", 1)], "SELECT * FROM rows", "other")
            self.assertSees(node, [], "SELECT * FROM rows")
        for node in cluster.nodes:
            node.stop()
        cluster.databases[:] = []
        for node in cluster.nodes:
            node.start("-db-path", f"alpha={node.path()}")
        for node in cluster.nodes:
            self.assertTrue(
                eventually(lambda n=node: n.running() and
                           names(n) == ["alpha", "main"]), node.log())

    def test_wrong_words_are_refused_and_change_nothing(self):
        """Each with a message, and the status that a program expects."""
        cluster = self.cluster(1, databases=("one", "two"), flags=SHARDS)
        node = cluster[1]
        for name in ("one", "two"):
            with marmot.Session(node.path(name)) as session:
                self.writes(session, "CREATE TABLE t(x)")
        for path, code, text in (
                ("/rename/one", 400, "new name is missing"),
                ("/rename/one?to=", 400, "a name has"),
                ("/rename/one?to=a%20b", 400, "a name has"),
                ("/rename/one?to=" + 129 * "x", 400, "a name has"),
                ("/rename/a%20b?to=x", 400, "a name"),
                ("/rename/one?to=two", 409, "there is a database two"),
                ("/rename/one?to=one", 409, "there is a database one"),
                ("/rename/nothing?to=x", 404, "no database"),
        ):
            answer = ask(node, path, "POST")
            self.assertEqual(answer.status, code, path)
            self.assertIn(text, answer.body.decode(), path)
        self.assertEqual(ask(node, "/rename/one?to=x").status, 405)
        for words in (("rename",), ("rename", "one"), ("rename", "one", "a b"),
                      ("rename", "one", "x", "y")):
            done = command(*words, node=node)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("usage", done.stdout)
        self.assertEqual(names(node), ["one", "two"])


class InFolders(Case):
    def test_a_file_of_a_folder_keeps_its_name(self):
        """-db-dir: also after a restart, and nobody makes another file."""
        cluster = self.cluster(2, databases=(), start=False, flags=SHARDS)
        for node in cluster.nodes:
            (node.folder / "dbs").mkdir()
        marmot.make_database(cluster[1].folder / "dbs" / "main.db", ROWS)

        def start():
            for node in cluster.nodes:
                node.start("-db-dir", node.folder / "dbs")
            for node in cluster.nodes:
                node.wait_ready()

        def see(rows):
            for node in cluster.nodes:
                path = str(node.folder / "dbs" / "main.db")
                self.assertTrue(
                    eventually(lambda p=path: marmot.read_plain(
                        p, "SELECT count(*) FROM rows") == [(rows,)]),
                    node.log())
                self.assertEqual(names(node), ["alpha"])
                self.assertFalse((node.folder / "dbs" / "alpha").exists())

        start()
        self.assertTrue(eventually(
            lambda: (cluster[2].folder / "dbs" / "main.db").exists()))
        for node in cluster.nodes:
            node.wait_log(r"\bready db=main.db\b")
        done = command("rename", "main.db", "alpha", node=cluster[1])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(eventually(lambda: names(cluster[2]) == ["alpha"]),
                        cluster[2].log())
        for n in (1, 2):
            with marmot.Session(cluster[2].folder / "dbs" / "main.db") as s:
                self.writes(s, f"INSERT INTO rows VALUES('a', {n})")
            see(n)
            for node in cluster.nodes:
                node.stop()
            start()
            see(n)

    def test_what_a_program_created_moves_as_well(self):
        """It was born empty: no majority had to hold its content first."""
        cluster = self.cluster(3, flags=SHARDS)
        with marmot.Session(cluster[1].path()) as session:
            self.writes(session, ROWS)
        for i, new in enumerate(("a", "b", "c", "main")):
            done = command("rename", ("main", "a", "b", "c")[i], new,
                           node=cluster[1 + i % 3])
            self.assertEqual(done.returncode, 0, done.stdout)
        with marmot.Session(cluster[2].path()) as session:
            self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        self.assertSamePages(cluster)
