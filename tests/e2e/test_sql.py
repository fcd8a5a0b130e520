"""Whatever SQLite can write: each replicated byte for byte."""

import os
import random

import marmot
from case import Case, SharedCase

NAMES = ["vacuum", "ddl", "savepoint", "spill", "shrink", "words", "fts",
         "blobs", "left", "right", "temp"]


class Statements(SharedCase):
    databases = NAMES
    prepared = {
        "shrink": "PRAGMA auto_vacuum=1; CREATE TABLE t(a)",
        **{name: "CREATE TABLE t(a)" for name in NAMES if name != "shrink"},
    }

    def fill(self, session, rows, size=1000):
        session.sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                    "FROM c WHERE i < ?) INSERT INTO t SELECT randomblob(?) "
                    "FROM c", rows, size)

    def same(self, name):
        self.assertSamePages(self.shared, name)
        for node in self.shared.nodes:
            self.assertIntact(node, name)

    def test_vacuum(self):
        """VACUUM rewrites every page and shrinks the file."""
        session = self.session(2, "vacuum")
        self.fill(session, 2000)
        session.sql("DELETE FROM t WHERE rowid % 2")
        before = session.value("PRAGMA page_count")
        session.sql("VACUUM")
        self.assertLess(session.value("PRAGMA page_count"), before)
        self.same("vacuum")

    def test_schema_changes(self):
        """Tables, indexes, views, triggers and columns come and go."""
        session = self.session(3, "ddl")
        session.script("""
            CREATE TABLE u(id INTEGER PRIMARY KEY, a REFERENCES t(a));
            CREATE INDEX ia ON t(a);
            ALTER TABLE u ADD COLUMN b DEFAULT 5;
            CREATE VIEW v AS SELECT * FROM u;
            CREATE TRIGGER tr AFTER INSERT ON t BEGIN
                INSERT INTO u(a) VALUES(new.a); END;
            INSERT INTO t VALUES(1), (2);
            ALTER TABLE u RENAME COLUMN a TO c;
            DROP INDEX ia;
            PRAGMA user_version=42;
            PRAGMA application_id=17;""")
        self.same("ddl")
        self.assertSees(self.shared[1], [(1, 1, 5), (2, 2, 5)],
                        "SELECT * FROM v", "ddl")
        session.script("DROP VIEW v; DROP TABLE u; DROP TRIGGER IF EXISTS tr;")
        self.same("ddl")

    def test_savepoints(self):
        """Nested savepoints, rolled back and released, with a spill."""
        session = self.session(1, "savepoint")
        session.sql("PRAGMA cache_size=10")
        session.sql("BEGIN")
        self.fill(session, 200)
        session.sql("SAVEPOINT a")
        self.fill(session, 300)
        session.sql("UPDATE t SET a = zeroblob(900)")
        session.sql("SAVEPOINT b")
        session.sql("DELETE FROM t WHERE rowid % 3")
        session.sql("ROLLBACK TO a")
        session.sql("UPDATE t SET a = 'kept' WHERE rowid <= 10")
        session.sql("RELEASE a")
        session.sql("COMMIT")
        self.same("savepoint")
        self.assertSees(self.shared[2], [(200, 10)],
                        "SELECT count(*), sum(a = 'kept') FROM t", "savepoint")

    def test_a_rolled_back_transaction_leaves_no_trace(self):
        """ROLLBACK after a spill, then a commit over the leftovers."""
        session = self.session(2, "spill")
        session.sql("PRAGMA cache_size=10")
        session.sql("BEGIN")
        self.fill(session, 500)
        session.sql("ROLLBACK")
        self.assertEqual(session.sql("SELECT count(*) FROM t"), [[0]])
        self.fill(session, 300)
        session.sql("UPDATE t SET a = randomblob(1500)")
        self.same("spill")
        self.assertSees(self.shared[3], [(300,)], "SELECT count(*) FROM t",
                        "spill")

    def test_auto_vacuum_shrinks_the_copies(self):
        """auto_vacuum=FULL gives pages back at each commit."""
        session = self.session(3, "shrink")
        self.fill(session, 1000)
        session.sql("DELETE FROM t WHERE rowid > 10")
        self.assertLess(session.value("PRAGMA page_count"), 20)
        self.same("shrink")

    def test_without_rowid(self):
        """A table that is its own index."""
        session = self.session(1, "words")
        session.sql("CREATE TABLE w(k TEXT PRIMARY KEY, n) WITHOUT ROWID")
        for i in range(50):
            session.sql("INSERT INTO w VALUES(?, ?)", f"key {i * 7919 % 50}", i)
        session.sql("DELETE FROM w WHERE n % 2")
        self.same("words")

    def test_full_text(self):
        """FTS5 finds on every node what one node wrote."""
        session = self.session(2, "fts")
        session.sql("CREATE VIRTUAL TABLE f USING fts5(body)")
        for word in "whistling", "burrow", "alpine":
            session.sql("INSERT INTO f VALUES(?)", f"a marmot {word}")
        session.sql("INSERT INTO f(f) VALUES('optimize')")
        self.same("fts")
        self.assertSees(self.shared[1], [("a marmot burrow",)],
                        "SELECT body FROM f WHERE f MATCH 'burrow'", "fts")

    def test_blobs(self):
        """Blobs of megabytes, with overflow chains."""
        session = self.session(3, "blobs")
        for size in 0, 1, 4096, 100000, 5000000:
            session.sql("INSERT INTO t VALUES(randomblob(?))", size)
        self.same("blobs")

    def test_two_attached_databases(self):
        """One transaction over two managed databases reaches both."""
        session = self.session(1, "left")
        session.sql("ATTACH ? AS r", self.shared[1].path("right"))
        session.sql("BEGIN")
        session.sql("INSERT INTO t VALUES('left')")
        session.sql("INSERT INTO r.t VALUES('right')")
        session.sql("COMMIT")
        for name in "left", "right":
            self.assertSees(self.shared[3], [(name,)], "SELECT a FROM t", name)
            self.same(name)

    def test_journal_mode_stays_wal(self):
        """An application that asks for another mode is told wal."""
        session = self.session(2, "temp")
        for mode in "delete", "off", "memory":
            self.assertEqual(
                session.value(f"PRAGMA journal_mode={mode}"), "wal")
        session.value("PRAGMA locking_mode=exclusive")
        session.sql("INSERT INTO t VALUES(1)")
        self.assertSees(self.shared[2], [(1,)], "SELECT a FROM t", "temp")
        self.same("temp")


SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]


class PageSizes(SharedCase):
    databases = [f"p{size}" for size in SIZES]
    prepared = {f"p{size}": f"PRAGMA page_size={size}; CREATE TABLE t(a, b);"
                            "CREATE INDEX i ON t(b)" for size in SIZES}

    def test_every_page_size(self):
        """512 to 65536 bytes, each written on another node."""
        for number, size in enumerate(SIZES):
            with self.subTest(page_size=size):
                name = f"p{size}"
                session = self.session(number % 3 + 1, name)
                self.assertEqual(session.value("PRAGMA page_size"), size)
                session.sql("BEGIN IMMEDIATE")
                for i in range(200):
                    session.sql("INSERT INTO t VALUES(randomblob(2000), ?)", i)
                session.sql("COMMIT")
                session.sql("DELETE FROM t WHERE b % 3 = 0")
                session.sql("VACUUM")
                self.assertSamePages(self.shared, name)
                self.assertIntact(self.shared[(number + 1) % 3 + 1], name)


class Large(Case):
    def test_a_transaction_of_200_megabytes(self):
        """Far more than the page cache, one packet or the log's bound."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), "CREATE TABLE t(a)")
        cluster.start()
        self.assertSees(cluster[2], [(0,)], "SELECT count(*) FROM t")
        session = cluster.session(2, busy_ms=30000)
        session.sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                    "FROM c WHERE i < 200) INSERT INTO t "
                    "SELECT randomblob(1048576) FROM c")
        session.sql("INSERT INTO t VALUES('after')")
        for node in cluster.nodes:
            self.assertSees(node, [(201, 200 * 1048576 + 5)],
                            "SELECT count(*), sum(length(a)) FROM t",
                            timeout=60)
        self.assertSameFiles(cluster)


class WriteBack(Case):
    def test_the_wal_starts_over_under_a_steady_writer(self):
        """On the writer's node and on those that only apply."""
        cluster = self.rows_cluster()
        session = cluster.session(1)
        session.sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                    "FROM c WHERE i < 40) INSERT INTO rows "
                    "SELECT zeroblob(4000), i FROM c")
        for _ in range(250):  # of 40 frames and more each
            session.sql("UPDATE rows SET tag = randomblob(4000)")
        for node in cluster.nodes:
            frames = os.path.getsize(node.path() + "-wal") // 4120
            self.assertLess(frames, 6000, node.id)
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)


class Random(Case):
    def test_random_transactions_on_changing_nodes(self):
        """Replicas are compared with the origin after every 250."""
        seed = random.randrange(1 << 30)
        print(f"     random seed {seed}", flush=True)
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(),
                             "PRAGMA auto_vacuum=2; CREATE TABLE first(a)")
        cluster.start()
        for turn in range(4):
            with self.subTest(seed=seed, turn=turn):
                session = cluster.session(turn % 3 + 1, busy_ms=20000)
                session.call("random", seed=seed + turn, count=250)
                session.close()
                self.assertSamePages(cluster)
                for node in cluster.nodes:
                    self.assertIntact(node)
        self.assertSameFiles(cluster)
