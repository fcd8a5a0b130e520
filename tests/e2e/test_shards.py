"""More shards while programs write, and a node that was down meanwhile."""

import marmot
from case import ROWS, Case
from marmot import eventually
from pane import ask, command, status

NAMES = [f"db{i}" for i in range(20)]


def shards_of(node):
    """{name: shard} of its databases; none while it does not answer."""
    try:
        return {d["name"]: d["shard"] for d in status(node)["databases"]}
    except OSError:
        return {}


def has_grown(node, shards):
    try:
        seen = status(node)["node"]
    except OSError:
        return False
    return seen["shards"] == shards and not seen["adding_shards"]


class More(Case):
    def begin(self, names=NAMES, flags=("-shards", "4")):
        cluster = self.cluster(3, databases=names, flags=list(flags),
                               start=False)
        for name in names:
            marmot.make_database(cluster[1].path(name), ROWS)
        cluster.start()
        for node in cluster.nodes:
            for name in names:
                node.wait_log(rf"\bready db={name}\b")
        return cluster

    def grow(self, cluster, shards, node=1, timeout=60):
        done = command("shards", str(shards), node=cluster[node],
                       timeout=timeout)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"{shards} shards", done.stdout)

    def assertPlaced(self, cluster, shards, names=NAMES):
        """All nodes agree on it, and some are in new groups."""
        for node in cluster.nodes:
            self.assertTrue(eventually(lambda n=node: has_grown(n, shards)),
                            node.log())
            self.assertTrue(
                eventually(lambda n=node: shards_of(n) ==
                           shards_of(cluster.nodes[0])),
                (shards_of(node), shards_of(cluster.nodes[0])))
        self.assertEqual(sorted(shards_of(cluster.nodes[0])), sorted(names))

    def assertAllRows(self, cluster, rows, names=NAMES):
        for name in names:
            for node in cluster.nodes:
                self.assertSees(node, sorted(rows[name]), "SELECT tag, n FROM "
                                "rows ORDER BY tag, n", name)
            self.assertSamePages(cluster, name)

    def test_programs_write_on_while_databases_move(self):
        """Twenty databases, four shards that become eight, then eleven."""
        cluster = self.begin()
        rows = {name: set() for name in NAMES}
        writers = []
        for i, name in enumerate(NAMES[:8]):
            session = cluster.session(1 + i % 3, name, busy_ms=20000)
            session.sql("SELECT 1")
            session.send("rows_until", tag="w", seconds=8)
            writers.append((session, name))
        before = shards_of(cluster[1])
        self.grow(cluster, 8)
        self.assertPlaced(cluster, 8)
        after = shards_of(cluster[1])
        self.assertGreater(len([n for n in NAMES if after[n] >= 4]), 3)
        self.assertTrue(all(after[n] % 4 == before[n] for n in NAMES))
        self.grow(cluster, 11, 2)
        self.assertPlaced(cluster, 11)
        for session, name in writers:
            outcome = session.receive()
            self.assertEqual(outcome["unknown"], [], name)
            self.assertLessEqual(outcome["refused"], 4, name)
            self.assertLess(outcome["longest"], 3, name)
            self.assertGreater(len(outcome["acknowledged"]), 10, name)
            rows[name] |= {("w", n) for n in outcome["acknowledged"]}
            session.close()
        for name in NAMES:
            with marmot.Session(cluster[3].path(name)) as session:
                self.writes(session, "INSERT INTO rows VALUES('after', 1)")
            rows[name].add(("after", 1))
        self.assertAllRows(cluster, rows)

    def test_a_node_that_was_down_comes_back(self):
        """With the flags of its first start; and all are started again."""
        cluster = self.begin()
        rows = {name: {("a", 1)} for name in NAMES}
        cluster[3].stop()
        self.grow(cluster, 8)
        for name in NAMES:
            with marmot.Session(cluster[2].path(name)) as session:
                self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        cluster[3].start()
        self.assertPlaced(cluster, 8)
        self.assertAllRows(cluster, rows)
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        self.assertPlaced(cluster, 8)
        for name in NAMES:
            with marmot.Session(cluster[3].path(name)) as session:
                self.writes(session, "INSERT INTO rows VALUES('b', 2)")
            rows[name].add(("b", 2))
        self.assertAllRows(cluster, rows)

    def test_a_node_that_gets_snapshots_alone_has_all_shards(self):
        """The log no longer says how the new groups began: they come from the
        others, as to a node that joins. And it counts when another is gone."""
        cluster = self.begin(NAMES[:8],
                             ("-shards", "2", "-max-log-entries", "16"))
        names = NAMES[:8]
        for name in names:
            self.assertSees(cluster[3], [], "SELECT * FROM rows", name)
        cluster[3].stop()
        self.grow(cluster, 5)
        self.grow(cluster, 6)
        rows = {name: {("a", i) for i in range(40)} for name in names}
        for name in names:
            with marmot.Session(cluster[2].path(name)) as session:
                for i in range(40):
                    self.writes(session, f"INSERT INTO rows VALUES('a', {i})")
        cluster[3].start()
        self.assertPlaced(cluster, 6, names)
        cluster[3].wait_log(r"\bto=6 begin=empty\b")
        self.assertAllRows(cluster, rows, names)
        cluster[3].kill()
        cluster[3].start()
        self.assertPlaced(cluster, 6, names)
        cluster[1].kill()
        for name in names:
            with marmot.Session(cluster[3].path(name)) as session:
                self.writes(session, "INSERT INTO rows VALUES('b', 1)", 30)
            rows[name].add(("b", 1))
        cluster[1].start()
        self.assertAllRows(cluster, rows, names)
        for node in cluster.nodes:
            self.assertEqual(list(node.folder.glob("*.before*")), [])

    def test_a_name_that_is_new_meanwhile_has_one_group(self):
        """It waits for its home, and a node that joins has all shards."""
        cluster = self.begin(NAMES[:4])
        ask(cluster[1], "/shards?to=16", "POST")
        names = NAMES[:4] + [f"new{i}" for i in range(8)]
        for name in names[4:]:
            for node in cluster.nodes:
                done = command("attach", f"{name}={node.path(name)}",
                               node=node)
                self.assertEqual(done.returncode, 0, done.stdout)
        rows = {name: set() for name in names}
        for name in names[4:]:
            with marmot.Session(cluster[2].path(name)) as session:
                self.writes(session, ROWS)
                self.writes(session, "INSERT INTO rows VALUES('n', 1)")
            rows[name].add(("n", 1))
        self.assertPlaced(cluster, 16, names)
        self.assertAllRows(cluster, rows, names)
        joined = cluster.add(4, [cluster[1]])
        cluster.flags[:] = []
        joined.start()
        self.assertTrue(eventually(lambda: has_grown(joined, 16)),
                        joined.log())
        joined.wait_log(r"\bready db=db0\b")
        with marmot.Session(joined.path("db0")) as session:
            self.writes(session, "INSERT INTO rows VALUES('j', 1)", 20)
        for node in cluster.nodes:
            self.assertSees(node, [("j", 1)], "SELECT * FROM rows", "db0")

    def test_wrong_words_are_refused_and_change_nothing(self):
        """Each with a message, and the status that a program expects."""
        cluster = self.cluster(1, flags=["-shards", "4"])
        node = cluster[1]
        for path, code, text in (
                ("/shards", 400, "positive number"),
                ("/shards?to=", 400, "positive number"),
                ("/shards?to=x", 400, "positive number"),
                ("/shards?to=-8", 400, "positive number"),
                ("/shards?to=0", 400, "positive number"),
                ("/shards?to=99999999999999999999", 400, "positive number"),
                ("/shards?to=1025", 400, "1 to 1024"),
                ("/shards?to=4", 409, "only become more"),
                ("/shards?to=3", 409, "only become more"),
        ):
            answer = ask(node, path, "POST")
            self.assertEqual(answer.status, code, path)
            self.assertIn(text, answer.body.decode(), path)
        self.assertEqual(ask(node, "/shards?to=8").status, 405)
        for words in (("shards", "x"), ("shards", "0"), ("shards", "1025"),
                      ("shards", "8", "9")):
            done = command(*words, node=node)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("usage", done.stdout)
        done = command("shards", node=node)
        self.assertEqual(done.stdout.strip(), "4 shards")
        self.assertEqual(status(node)["node"]["shards"], 4)
        node.stop()
        node.start("-shards", "9")
        self.assertExits(node, "marmot shards N")
