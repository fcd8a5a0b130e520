"""Logs that are shortened: what stays, what comes back, and from where.

The bound is the smallest that a node takes, so that seconds of writing are many
times more than the log keeps. MARMOT_LONG=1 writes 100,000 commits instead,
under a bound of 8 MiB.
"""

import os
import pathlib
import random
import signal
import sqlite3
import time

import marmot
from case import Case
from failpoints import FailCase
from marmot import eventually
from test_disk import SmallDisk

LONG = bool(os.environ.get("MARMOT_LONG"))
SEED = int(os.environ.get("MARMOT_KILL_SEED", 0)) or random.randrange(1, 10**6)
BOUND = 8 << 20 if LONG else 1 << 20
SMALL = ("-max-log-bytes", 1 << 20)
ENTRIES = ("-max-log-entries", 64)  # shortened all the time
BLOB = "INSERT INTO blobs VALUES(randomblob(?))"
BLOBS = "SELECT count(*), sum(length(b)) FROM blobs"
ROWS = "SELECT count(*) FROM rows"


def store_bytes(node):
    """store.db and its WAL."""
    return sum(os.stat(f).st_size for f in node.raft.glob("store.db*"))


def resident(node):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def log_rows(node):
    """How many entries a stopped node's store holds, and of how many bytes."""
    store = sqlite3.connect(node.raft / "store.db")
    try:
        return store.execute(
            "SELECT count(*), total(length(data)) FROM log").fetchone()
    finally:
        store.close()


def aside(node, name="main"):
    return list(node.folder.glob(f"{name}.db.before-marmot-*"))


class CompactionCase(Case):
    def small_cluster(self, flags=SMALL, databases=("main",), **options):
        """A running cluster; its first database has tables already."""
        cluster = self.cluster(3, start=False, flags=flags,
                               databases=databases, **options)
        marmot.make_database(cluster[1].path(databases[0]),
                             "CREATE TABLE rows(tag, n);"
                             "CREATE TABLE blobs(b)")
        return cluster.start()

    def write_blobs(self, session, total, each=50_000):
        """Transactions that do not compress, of `total` bytes together."""
        for _ in range(total // each):
            session.sql(BLOB, each)

    def assertSameRows(self, cluster, statement=BLOBS):
        expected = marmot.read_plain(cluster[1].path(), statement)
        for node in cluster.nodes:
            self.assertSees(node, expected, statement)

    def assertWhole(self, cluster, name="main"):
        self.assertSamePages(cluster, name)
        for node in cluster.nodes:
            self.assertIntact(node, name)

    def assertWrites(self, cluster, timeout=marmot.DEADLINE):
        for node in cluster.nodes:
            self.writes(cluster.session(node.id, busy_ms=5000),
                        f"INSERT INTO rows VALUES('on', {node.id})", timeout)


class Bounded(CompactionCase):
    def test_the_log_stays_within_its_bound(self):
        """However many commits: in the store, in memory, and at a start."""
        count = 100_000 if LONG else 3000
        cluster = self.small_cluster(("-max-log-bytes", BOUND))
        session = cluster.session(1, busy_ms=20000)
        session.call("repeat", count=500, tag="first", sql=[
            "REPLACE INTO rows(rowid, tag, n) VALUES(1, ?, ?)"])
        before = [(store_bytes(n), resident(n)) for n in cluster.nodes]
        started = time.monotonic()
        session.call("repeat", count=count, tag="then", sql=[
            "INSERT INTO rows VALUES(? || hex(randomblob(1000)), ?)"])
        seconds = time.monotonic() - started
        time.sleep(2)
        for node, (store, memory) in zip(cluster.nodes, before):
            print(f"     node {node.id}: store {store >> 10} -> "
                  f"{store_bytes(node) >> 10} KiB, memory {memory >> 10} -> "
                  f"{resident(node) >> 10} KiB after {count} commits in "
                  f"{seconds:.0f} s", flush=True)
            self.assertLess(store_bytes(node), (20 << 20) + 6 * BOUND)
            self.assertLess(resident(node) - memory, (16 << 20) + 3 * BOUND)
        self.assertSameRows(cluster, ROWS)
        self.assertSameFiles(cluster)
        for node in cluster.nodes:
            self.assertLess(log_rows(node)[1], 3 * BOUND)
        cluster.start()
        self.assertSees(cluster[3], [(count + 1,)], ROWS)
        self.assertWrites(cluster)
        self.assertWhole(cluster)

    def test_a_transaction_larger_than_the_bound(self):
        cluster = self.small_cluster()
        session = cluster.session(2, busy_ms=20000)
        for _ in range(2):
            session.sql(BLOB, 30_000_000)
            self.write_blobs(session, 2_000_000)
        cluster[1].kill()
        session.sql(BLOB, 30_000_000)
        self.write_blobs(session, 2_000_000)
        cluster[1].start().wait_ready()
        self.assertSameRows(cluster)
        self.assertWrites(cluster)
        self.assertWhole(cluster)
        self.assertSameFiles(cluster)
        for node in cluster.nodes:
            self.assertLess(log_rows(node)[1], 8 << 20, f"node {node.id}")

    def test_a_bound_on_entries(self):
        cluster = self.small_cluster(ENTRIES)
        session = cluster.session(3, busy_ms=20000)
        session.call("repeat", count=1500, tag="e", sql=[
            "INSERT INTO rows VALUES(?, ?)"])
        self.assertSees(cluster[1], [(1500,)], ROWS)
        time.sleep(1)
        self.assertSameFiles(cluster)
        for node in cluster.nodes:
            self.assertLess(log_rows(node)[0], 500, f"node {node.id}")
        cluster.start()
        self.assertWrites(cluster)

    def test_many_databases_in_one_group(self):
        """One is written to, one now and then, the others never."""
        names = ["main", *(f"quiet{i}" for i in range(12))]
        cluster = self.small_cluster(("-shards", 1, *SMALL), names)
        for i, name in enumerate(names[1:]):
            session = cluster.session(i % 3 + 1, name)
            self.writes(session, "CREATE TABLE quiet(a)")
            session.close()
        now_and_then = cluster.session(2, names[1], busy_ms=20000)
        session = cluster.session(1, busy_ms=20000)
        for i in range(6):
            self.write_blobs(session, 1_000_000)
            now_and_then.sql("INSERT INTO quiet VALUES(?)", i)
        cluster[3].kill()
        self.write_blobs(session, 4_000_000)
        now_and_then.sql("INSERT INTO quiet VALUES(6)")
        cluster[3].start().wait_ready()
        self.assertSees(cluster[3], [(7,)], "SELECT count(*) FROM quiet",
                        names[1])
        for name in names:
            self.assertSamePages(cluster, name)
            self.assertEqual(aside(cluster[3], name), [])
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0, 0, 0])
        for node in cluster.nodes:
            self.assertLess(log_rows(node)[1], 3 << 20)
        cluster.start()
        for name in names:
            cluster[1].wait_log(rf"\bready db={name}\b")
            self.assertSamePages(cluster, name)

class Away(CompactionCase):
    slow = True

    def miss(self, cluster, node, total=5_000_000):
        """`node` dies, and the log no longer has what it misses."""
        node.kill()
        writer = cluster.session(node.id % 3 + 1, busy_ms=20000)
        self.write_blobs(writer, total)
        writer.close()

    def test_a_node_that_missed_too_much(self):
        cluster = self.small_cluster()
        self.write_blobs(cluster.session(1, busy_ms=20000), 300_000)
        for node in cluster[3], cluster[1]:
            self.miss(cluster, node)
            node.start().wait_ready()
            node.wait_log(r"\bbehind db=main\b")
            self.assertNotIn("unknown_state", node.log())
            self.assertSameRows(cluster)
            self.assertWhole(cluster)
            self.assertEqual(aside(node), [])
        self.assertWrites(cluster)
        self.assertSameFiles(cluster)
        cluster.start()
        self.assertWrites(cluster)
        self.assertWhole(cluster)

    def test_a_node_that_was_never_there(self):
        """Its first start comes after the others have shortened their logs."""
        cluster = self.cluster(3, start=False, flags=SMALL)
        marmot.make_database(cluster[1].path(), "CREATE TABLE blobs(b);"
                             "CREATE TABLE rows(tag, n)")
        for node in cluster.nodes[:2]:
            node.start()
        cluster[2].wait_log(r"\bready db=main\b")
        session = cluster.session(1, busy_ms=20000)
        self.write_blobs(session, 4_000_000)
        cluster[3].start().wait_ready()
        self.assertSameRows(cluster)
        self.assertWrites(cluster)
        self.assertWhole(cluster)
        self.assertSameFiles(cluster)

    def test_files_that_are_missing_or_foreign(self):
        """As before the log was shortened: fetched, or kept aside."""
        cluster = self.small_cluster()
        node = cluster[3]
        self.miss(cluster, node)
        for leftover in node.folder.glob("main.db*"):
            leftover.unlink()
        node.start().wait_ready()
        self.assertSameRows(cluster)
        self.assertEqual(aside(node), [])
        self.miss(cluster, node)
        for leftover in node.folder.glob("main.db*"):
            leftover.unlink()
        marmot.make_database(node.path(), "CREATE TABLE foreign_one(a)")
        node.start().wait_ready()
        node.wait_log("unknown_state")
        self.assertSameRows(cluster)
        self.assertEqual(len(aside(node)), 1)
        self.assertWrites(cluster)
        self.assertWhole(cluster)

    def test_without_room_on_the_disk(self):
        """It keeps its log while nothing can be written, and comes back."""
        cluster = self.cluster(3, start=False, flags=SMALL)
        disk = SmallDisk(os.path.dirname(cluster[2].path()))
        self.addCleanup(disk.close)
        marmot.make_database(cluster[1].path(), "CREATE TABLE rows(tag, n);"
                             "CREATE TABLE blobs(b)")
        cluster.start()
        writer = cluster.session(1, busy_ms=20000)
        self.write_blobs(writer, 2_000_000)
        disk.fill()
        for _ in range(300):
            writer.sql(BLOB, 50_000)
            disk.fill()
            if "disk_full" in cluster[2].log():
                break
        cluster[2].wait_log("disk_full")
        self.write_blobs(writer, 5_000_000)
        cluster[2].kill()
        cluster[2].start()
        self.write_blobs(writer, 1_000_000)
        disk.free()
        self.assertSameRows(cluster)
        self.assertNotIn("unknown_state", cluster[2].log(whole=True))
        session = cluster.session(2, busy_ms=5000)
        self.assertTrue(eventually(lambda: self.has_room(session)))
        self.assertWrites(cluster)
        self.assertWhole(cluster)
        cluster.close_sessions()
        cluster.stop()

    def has_room(self, session):
        try:
            session.sql("INSERT INTO rows VALUES('room', 1)")
        except marmot.SqlError as failed:
            self.assertIn(failed.name, ("SQLITE_FULL", "SQLITE_BUSY"))
            return False
        return True

    def test_a_database_that_is_enrolled_late(self):
        """A new name in a group whose log begins with a snapshot; and a
        stranger's file under a name that the group knows only from one."""
        flags = ["-shards", 1, *SMALL]
        cluster = self.small_cluster(flags)
        self.write_blobs(cluster.session(1, busy_ms=20000), 3_000_000)
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0, 0, 0])
        cluster.databases.append("late")
        marmot.make_database(cluster[2].path("late"), "CREATE TABLE l(a)")
        cluster.start()
        late = cluster.session(3, "late", busy_ms=20000)
        self.writes(late, "INSERT INTO l VALUES(1)")
        self.assertSamePages(cluster, "late")
        self.write_blobs(cluster.session(1, busy_ms=20000), 3_000_000)
        cluster[3].stop()
        (cluster[3].raft / "late.member").unlink()
        for leftover in cluster[3].folder.glob("late.db*"):
            leftover.unlink()
        marmot.make_database(cluster[3].path("late"), "CREATE TABLE x(y)")
        cluster[3].start()
        self.assertExits(cluster[3], "another database than the cluster's")

    def test_all_die_in_the_middle(self):
        """kill -9 of all three, with writers on each, twice."""
        cluster = self.small_cluster(("-max-log-bytes", 1 << 20,
                                      "-max-log-entries", 200))
        kept, unknown = set(), set()
        for turn in range(2):
            writers = []
            for node in cluster.nodes:
                tag = f"{node.id}.{turn}"
                writer = cluster.session(node.id, busy_ms=20000)
                writer.sql("SELECT 1")
                writer.send("rows_until", tag=tag, seconds=4,
                            sql="INSERT INTO rows VALUES(? || "
                                "substr(hex(randomblob(2000)), 1, 0), ?)")
                writers.append((writer, tag))
            time.sleep(3)
            for node in cluster.nodes:
                node.kill()
            cluster.start()
            for writer, tag in writers:
                outcome = writer.receive()
                kept |= {(tag, n) for n in outcome["acknowledged"]}
                unknown |= {(tag, n) for n, _ in outcome["unknown"]}
            cluster.close_sessions()
        self.assertSamePages(cluster)
        for node in cluster.nodes:
            self.assertNotIn("unknown_state", node.log(whole=True))
        seen = set(marmot.read_plain(cluster[1].path(),
                                     "SELECT tag, n FROM rows"))
        self.assertEqual(kept - seen, set())
        self.assertEqual(seen - kept - unknown, set())
        self.assertWrites(cluster)
        self.assertWhole(cluster)

    def test_killed_while_it_catches_up(self):
        """kill -9 of the node that comes back, ten times, at any moment, while
        the others go on."""
        chance = random.Random(SEED)
        print(f"     seed {SEED}", flush=True)
        cluster = self.small_cluster()
        node = cluster[2]
        self.write_blobs(cluster.session(1, busy_ms=20000), 3_000_000)
        writers = []
        for other in cluster[1], cluster[3]:
            writer = cluster.session(other.id, busy_ms=20000)
            writer.sql("SELECT 1")
            writers.append(writer)
        for turn in range(10):
            self.miss(cluster, node, 2_000_000)
            for writer in writers:
                writer.send("rows_until", tag="w", seconds=1.5,
                            sql="INSERT INTO rows VALUES(hex(randomblob("
                                "length(?) * 4000)), ?)")
            node.start()
            time.sleep(chance.random() * (0.3 if turn % 2 else 1.5))
            node.kill()
            for writer in writers:
                outcome = writer.receive()
                self.assertEqual(outcome["unknown"], [])
        node.start().wait_ready()
        node.wait_log(r"\bready db=main\b")
        self.assertSameRows(cluster)
        self.assertSameRows(cluster, ROWS)
        self.assertNotIn("unknown_state", node.log(whole=True))
        self.assertWrites(cluster)
        self.assertWhole(cluster)
        cluster.close_sessions()
        self.assertSameFiles(cluster)


class InTheWay(CompactionCase):
    def test_a_stopped_session_holds_the_slot(self):
        """Its node cannot apply, and keeps its log; the others go on."""
        cluster = self.small_cluster()
        holder = cluster.session(2, busy_ms=20000)
        writer = cluster.session(1, busy_ms=20000)
        holder.sql("BEGIN IMMEDIATE")
        holder.sql("INSERT INTO rows VALUES('held', 1)")
        holder.process.send_signal(signal.SIGSTOP)
        self.writes(writer, "INSERT INTO rows VALUES('free', 1)")
        self.write_blobs(writer, 8_000_000)
        self.assertLess(store_bytes(cluster[1]), 40 << 20)
        cluster[2].kill()
        cluster[2].start().wait_log(r"\bwaiting db=main\b")
        self.write_blobs(writer, 2_000_000)
        holder.process.send_signal(signal.SIGCONT)
        with self.assertRaises(marmot.SqlError):
            holder.sql("COMMIT")
        self.assertSees(cluster[2], [("free",)], "SELECT tag FROM rows")
        self.assertSameRows(cluster)
        self.assertNotIn("unknown_state", cluster[2].log(whole=True))
        self.assertWrites(cluster)
        self.assertWhole(cluster)


class Points(FailCase):
    """A node dies at each step of shortening its log, and of coming back."""

    def setUp(self):
        self.cluster = self.fail_cluster(flags=SMALL)
        self.node = self.cluster[3]
        self.writer = self.fail_session(self.cluster, self.cluster[1],
                                        busy_ms=20000)
        self.writer.sql("CREATE TABLE blobs(b)")

    def write(self, total):
        for _ in range(total // 50_000):
            self.writer.sql(BLOB, 50_000)

    def comes_back(self):
        self.start_again(self.node)
        self.assertSees(self.node, marmot.read_plain(
            self.cluster[1].path(), BLOBS), BLOBS)
        self.assertNotIn("unknown_state", self.node.log(whole=True))
        self.assertSamePages(self.cluster)
        self.assertIntact(self.node)

    def test_shortening(self):
        for point in ("raft.settled:1", "store.swept:1", "store.swept:3",
                      "store.committed:40"):
            with self.subTest(point=point):
                armed = self.restart_with(self.node, f"{point}:kill")
                armed.on()
                for _ in range(100):
                    self.write(200_000)
                    if not self.node.running():
                        break
                self.assertDies(self.node.process, point)
                self.write(300_000)
                self.comes_back()

    def test_coming_back(self):
        """With a snapshot, and with an image of the database."""
        for point in ("raft.settled:1", "file.member:1", "raft.restored:2",
                      "file.member:2", "image.patch:1", "image.patched:1",
                      "file.member:3"):
            with self.subTest(point=point):
                self.node.kill()
                self.write(4_000_000)
                self.dies_starting(self.node, f"{point}:kill")
                self.write(1_000_000)
                self.comes_back()


class Abandoned(FailCase):
    """Parts of a transaction whose rest never comes."""

    def abandon(self, cluster, name, statements):
        """An application dies with ten parts of 1 MiB on their way."""
        victim, armed = self.fail_session(cluster, cluster[2],
                                          "guest.part:10:kill", name=name,
                                          busy_ms=20000)
        victim.sql("SELECT 1")
        armed.on()
        with self.assertRaises(marmot.SqlError) as died:
            victim.script(statements)
        self.assertEqual(died.exception.name, "DIED")

    def dropped(self, cluster, name):
        return any(f"parts_dropped db={name}" in node.log()
                   for node in cluster.nodes)

    def assertDropped(self, cluster, names):
        """Once another database of the group is written to, and not before its
        log needs it."""
        other = cluster.session(1, "other", busy_ms=20000)
        self.writes(other, "CREATE TABLE blobs(b)")

        def all_dropped():
            for _ in range(10):
                other.sql(BLOB, 50_000)
            return all(self.dropped(cluster, name) for name in names)

        self.assertFalse(all_dropped())
        self.assertTrue(eventually(all_dropped, every=0.1))
        for _ in range(20):
            other.sql(BLOB, 50_000)

    def test_they_do_not_keep_the_log(self):
        """A session dies in the middle of a large transaction, and nobody
        writes to that database again; the same with one that is new."""
        cluster = self.fail_cluster(flags=("-shards", 1, *SMALL),
                                    databases=("main", "fresh", "other"))
        blob = "VALUES(randomblob(40000000))"
        self.abandon(cluster, "main", f"INSERT INTO wide {blob}")
        self.abandon(cluster, "fresh", "BEGIN; CREATE TABLE f(b);"
                     f"INSERT INTO f {blob}; COMMIT")
        self.assertDropped(cluster, ("main", "fresh"))
        self.writes(cluster.session(3, "fresh"), "CREATE TABLE f(b)")
        self.writes(cluster.session(1, "fresh"), "INSERT INTO f VALUES(1)")
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('on', 1)")
        self.assertWhole(cluster, {("on", 1)})
        for name in cluster.databases:
            self.assertSamePages(cluster, name)
        cluster.close_sessions()
        self.assertEqual(cluster.stop(), [0, 0, 0])
        for node in cluster.nodes:
            self.assertLess(log_rows(node)[1], 8 << 20, f"node {node.id}")
        cluster.start()
        self.writes(cluster.session(2, "fresh"), "INSERT INTO f VALUES(2)")
        self.assertSamePages(cluster, "fresh")
