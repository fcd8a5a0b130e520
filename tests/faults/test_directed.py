"""Faults at a chosen place: what a random run has found, made certain."""

import re
import shutil
import signal
import subprocess
import time
import unittest

from world import Cluster, marmot

from case import ROWS, Case

COUNT = "SELECT count(*) FROM rows"
INSERT = "INSERT INTO rows VALUES('x', 1)"


class Directed(Case):
    def cluster(self, nodes=3, **options):
        cluster = Cluster(["main"], nodes, **options)
        self.addCleanup(cluster.close)
        marmot.make_database(cluster[1].path(), ROWS)
        return cluster.start()

    def leader(self, cluster):
        return marmot.eventually(lambda: cluster.leader("main"))

    def strict(self, session):
        """What a read in a write transaction shows, or None when refused."""
        try:
            session.sql("BEGIN IMMEDIATE")
        except marmot.SqlError as error:
            self.assertEqual(error.name, "SQLITE_BUSY")
            return None
        count = session.value(COUNT)
        session.sql("ROLLBACK")
        return count

    def assertNotStale(self, session, least):
        count = self.strict(session)
        if count is not None:
            self.assertGreaterEqual(count, least, "a stale strict read")


class StrictReads(Directed):
    """A transaction that has begun with BEGIN IMMEDIATE sees everything that
    was acknowledged before, anywhere."""

    def race(self, here, there, may_write=lambda: True, seconds=2):
        """Strict reads at one session; writes at the other one as soon as it
        may. Ends some time after the first write."""
        count, end = 0, time.monotonic() + 15
        while time.monotonic() < end:
            if may_write():
                try:
                    there.sql(INSERT)
                    end = end if count else time.monotonic() + seconds
                    count = there.value(COUNT)
                except marmot.SqlError:
                    pass
            self.assertNotStale(here, count)
            time.sleep(0.01)
        self.assertGreater(count, 0, "the majority never wrote")

    def test_on_a_node_that_was_stopped(self):
        """Its session has the lock of a moment ago; the others go on."""
        cluster = self.cluster(hurt=False)
        for node in cluster.nodes:
            other = next(n for n in cluster.nodes if n is not node)
            here = cluster.session(node.id, busy_ms=500)
            there = cluster.session(other.id, busy_ms=20000)
            for _ in range(3):
                self.writes(here, INSERT)
            node.process.send_signal(signal.SIGSTOP)
            try:
                self.writes(there, INSERT)
                self.assertNotStale(here, there.value(COUNT))
            finally:
                node.process.send_signal(signal.SIGCONT)

    def test_when_leadership_moved_out_of_sight(self):
        """The holder's link to the new leader is cut; the old one is there."""
        cluster = self.cluster(hurt=False)
        preferred = self.leader(cluster)
        preferred.kill()
        rest = [n for n in cluster.nodes if n is not preferred]
        self.assertTrue(marmot.eventually(
            lambda: cluster.leader("main") in rest))
        old = cluster.leader("main")
        holder = next(n for n in rest if n is not old)
        cluster.network.set("cut", [(holder.id, preferred.id),
                                    (preferred.id, holder.id)], lose=True)
        here = cluster.session(holder.id, busy_ms=1000)
        there = cluster.session(old.id, busy_ms=1000)
        self.writes(here, INSERT)
        preferred.start()
        self.race(here, there, lambda: cluster.leader("main") is preferred)

    def test_with_the_leader_in_a_minority(self):
        """Five nodes; the holder is cut off together with the leader."""
        cluster = self.cluster(5, hurt=False)
        leader = self.leader(cluster)
        holder = next(n for n in cluster.nodes if n is not leader)
        most = [n for n in cluster.nodes if n not in (leader, holder)]
        here = cluster.session(holder.id, busy_ms=0)
        there = cluster.session(most[0].id, busy_ms=0)
        self.writes(here, INSERT)
        cluster.network.set("cut", [
            pair for a in (leader, holder) for b in most
            for pair in ((a.id, b.id), (b.id, a.id))], lose=True)
        self.race(here, there)


class FullDisk(Directed):
    def setUp(self):
        self.full = self.cluster()
        if "disk full" in self.full.skipped:
            self.skipTest(self.full.skipped["disk full"])
        self.node = self.full.nodes[-1]

    def use_up_the_reserve(self, session):
        self.node.fill(0)
        end = time.monotonic() + 20
        while "no room for the log" not in self.node.log():
            self.assertLess(time.monotonic(), end, "the disk is never full")
            try:
                session.sql("INSERT INTO rows VALUES(randomblob(900000), 1)")
            except marmot.SqlError:
                pass
        (self.node.disk / "balloon").rename(self.node.disk / "balloon.first")
        self.node.fill(0)

    def make_room(self):
        for balloon in self.node.disk.glob("balloon*"):
            balloon.unlink()

    def test_a_node_that_cannot_apply_lives_and_catches_up(self):
        session = self.full.session(1, busy_ms=20000)
        for left in 0, 40_000, 300_000:
            self.node.fill(left)
            for _ in range(20):
                session.sql("INSERT INTO rows VALUES(randomblob(30000), 1)")
            time.sleep(1)
            self.assertTrue(self.node.running(), self.node.log()[-2000:])
            self.make_room()
            self.assertSamePages(self.full)

    def test_a_leader_without_room_does_not_stop_the_others(self):
        """The small disk is that of the node which leads."""
        self.assertIs(self.leader(self.full), self.node)
        session = self.full.session(1, busy_ms=2000)
        self.use_up_the_reserve(session)
        count, end = 0, time.monotonic() + 25
        while count < 40 and time.monotonic() < end:
            try:
                session.sql("INSERT INTO rows VALUES(randomblob(900000), 1)")
                count += 1
            except marmot.SqlError:
                pass
        self.assertEqual(count, 40, "writes have stopped")
        self.make_room()
        self.assertSamePages(self.full)

    def test_a_node_that_starts_on_a_full_disk_waits_for_room(self):
        """Its reserve is used up, so not even the start can write."""
        session = self.full.session(1, busy_ms=2000)
        self.use_up_the_reserve(session)
        self.node.kill()
        self.node.fill(0)
        self.node.start()
        time.sleep(2)
        self.assertTrue(self.node.running(), self.node.log()[-2000:])
        self.make_room()
        self.assertSamePages(self.full)


@unittest.skipUnless(shutil.which("strace"), "strace is not installed")
class FailingSync(Directed):
    """One sync fails, once. The next would succeed, but nobody knows what it
    would be worth: there is no next one. The node stops and says why; the
    others go on, and it comes back with all that was acknowledged."""

    def fail_a_sync(self, node, when, *paths):
        """Of the files together, the sync number `when` from now on."""
        trace = node.cluster.folder / "trace"
        args = ["strace", "-f", "-o", trace, "-p", node.process.pid,
                "-e", "trace=fsync,fdatasync",
                "-e", f"inject=fsync,fdatasync:error=EIO:when={when}"]
        for path in paths:
            args += ["-P", path]
        tracer = marmot.spawn(args, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        self.addCleanup(tracer.stderr.close)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.kill)
        while "attached" not in tracer.stderr.readline():
            self.assertIsNone(tracer.poll(), "strace cannot attach")
        return tracer, trace

    def assertOneFailedAndNoneFollowed(self, tracer, trace):
        tracer.wait(30)
        calls = [line for line in trace.read_text().splitlines()
                 if re.search(r"fsync|fdatasync", line)
                 and "resumed" not in line]
        failed = [i for i, line in enumerate(calls) if "INJECTED" in line]
        self.assertEqual(len(failed), 1, calls)
        self.assertEqual(calls[failed[0] + 1:], [])

    def write_until(self, session, over):
        """Rows until `over`; how many were acknowledged."""
        count, end = 0, time.monotonic() + 60
        while not over():
            self.assertLess(time.monotonic(), end, "the node did not stop")
            try:
                session.sql("INSERT INTO rows VALUES(randomblob(30000), 1)")
                count += 1
            except marmot.SqlError:
                time.sleep(0.01)
        return count

    def survives(self, when, why, *names):
        cluster = self.cluster(hurt=False)
        node = cluster[2]
        session = cluster.session(1, busy_ms=20000)
        self.writes(session, INSERT)
        self.writes(cluster.session(2, busy_ms=5000), INSERT)
        tracer, trace = self.fail_a_sync(node, when,
                                         *(node.folder / n for n in names))
        count = 2 + self.write_until(session, lambda: not node.running())
        self.assertEqual(node.wait_exit(), 1)
        self.assertRegex(node.log(), why)
        self.assertOneFailedAndNoneFollowed(tracer, trace)
        node.start().wait_ready()
        self.writes(session, INSERT)
        self.assertGreaterEqual(session.value(COUNT), count + 1)
        self.assertSamePages(cluster)
        self.assertIntact(node)
        cluster.close_sessions()

    def test_of_the_log(self):
        self.survives(7, "fatal the log store cannot write: disk I/O error",
                      "raft/store.db", "raft/store.db-wal")

    def test_of_a_checkpoint_of_the_log(self):
        self.survives(1, "fatal the log store cannot checkpoint: disk I/O",
                      "raft/store.db")

    def test_of_the_wal_before_it_is_written_back(self):
        self.survives(1, r"fatal the database \S+ cannot be written to its",
                      "main.db-wal")

    def test_of_a_database_that_was_written_back(self):
        self.survives(1, r"fatal the database \S+ cannot be written to its",
                      "main.db")
