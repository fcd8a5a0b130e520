"""A disk without room. Needs to mount a small tmpfs: root."""

import os
import subprocess
import unittest

import marmot
from case import Case

COUNT = "SELECT count(*) FROM rows"
SIZE = "160m"


class SmallDisk:
    """A tmpfs over a node's folder."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}",
                               "tmpfs", folder], capture_output=True,
                              check=False, text=True)
        if done.returncode != 0:
            raise unittest.SkipTest(f"cannot mount a tmpfs: {done.stderr}")

    def fill(self, leave=0):
        """Use up all room but `leave` bytes."""
        with open(os.path.join(self.folder, "filler"), "ab",
                  buffering=0) as file:
            room = os.statvfs(self.folder)
            left = room.f_bavail * room.f_bsize - leave
            try:
                while left > 0:
                    left -= file.write(bytes(min(left, 1 << 20)))
            except OSError:
                pass

    def free(self):
        os.remove(os.path.join(self.folder, "filler"))

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=False)


class FullDisk(Case):
    def small(self, cluster, node_id):
        disk = SmallDisk(os.path.dirname(cluster[node_id].path()))
        self.addCleanup(disk.close)
        return disk

    def fill_until_refused(self, disk, session):
        """The log's pre-written blocks take a while to fill."""
        for i in range(400):
            disk.fill()
            try:
                session.sql("INSERT INTO blobs VALUES(randomblob(200000))")
            except marmot.SqlError as failed:
                return failed
        self.fail("a full disk was never noticed")

    def has_room(self, session):
        try:
            session.sql("INSERT INTO blobs VALUES(2)")
        except marmot.SqlError as failed:
            self.assertIn(failed.name, ("SQLITE_FULL", "SQLITE_BUSY",
                                        "SQLITE_BUSY_SNAPSHOT"), str(failed))
            return False
        return True

    def test_a_full_disk_refuses_writes_and_recovers(self):
        """SQLITE_FULL with the way out; reads and the other nodes go on; with
        room again so does this one, without a restart."""
        cluster = self.cluster(3, start=False)
        disk = self.small(cluster, 2)
        cluster.start()
        session = cluster.session(2, busy_ms=5000)
        session.script("CREATE TABLE blobs(b); INSERT INTO blobs VALUES(0)")
        failed = self.fill_until_refused(disk, session)
        self.assertIn(failed.name, ("SQLITE_FULL", "SQLITE_IOERR"),
                      str(failed))
        other = cluster.session(1, busy_ms=20000)
        for _ in range(100):
            other.sql("INSERT INTO blobs VALUES(randomblob(200000))")
        cluster[2].wait_log(r"disk_full .*no room")
        self.assertGreater(session.value("SELECT count(*) FROM blobs"), 0)
        refused = self.assertRefused(
            session, "INSERT INTO blobs VALUES(1)", "SQLITE_FULL")
        self.assertIn("full", str(refused))
        self.assertRegex(session.value("PRAGMA marmot_status"),
                         "no room on the disk .* free at least 64 MB")
        disk.free()
        self.assertTrue(marmot.eventually(lambda: self.has_room(session)))
        count = session.value("SELECT count(*) FROM blobs")
        for node in cluster.nodes:
            self.assertSees(node, [(count,)], "SELECT count(*) FROM blobs")
        self.assertSamePages(cluster)
        cluster.close_sessions()

    def test_a_node_starts_and_stops_on_a_full_disk(self):
        cluster = self.cluster(3, start=False)
        disk = self.small(cluster, 2)
        cluster.start()
        cluster.session(1).script("CREATE TABLE blobs(b)")
        cluster[2].stop()
        disk.fill()
        cluster[2].start().wait_log("disk_full")
        self.writes(cluster.session(1), "INSERT INTO blobs VALUES(1)")
        cluster[2].stop()
        disk.free()
        cluster[2].start().wait_ready()
        self.assertSees(cluster[2], [(1,)], "SELECT count(*) FROM blobs")
