"""A node that follows without voting."""

from case import Case


class Replica(Case):
    def test_a_replica_reads_and_does_not_write(self):
        """Rows arrive; a write is refused as on a read-only file."""
        cluster = self.rows_cluster(2, replicas=1)
        writer = cluster.session(1)
        writer.sql("INSERT INTO rows VALUES('a', 1)")
        self.assertSees(cluster[3], [("a", 1)], "SELECT * FROM rows")
        session = cluster.session(3)
        self.assertEqual(session.sql("SELECT * FROM rows"), [["a", 1]])
        refused = self.assertRefused(
            session, "INSERT INTO rows VALUES('b', 2)", "SQLITE_READONLY")
        self.assertIn("attempt to write a readonly database", str(refused))
        self.assertRegex(session.value("PRAGMA marmot_status"), "replica")
        self.assertSamePages(cluster)

    def test_a_replica_does_not_count_for_the_majority(self):
        """With one of two voters gone, the replica is no substitute; without
        the replica, the voters go on."""
        cluster = self.rows_cluster(2, replicas=1)
        cluster[3].kill()
        session = cluster.session(1, busy_ms=1500)
        self.writes(session, "INSERT INTO rows VALUES('a', 1)")
        cluster[3].start().wait_ready()
        self.assertSees(cluster[3], [("a", 1)], "SELECT * FROM rows")
        cluster[2].kill()
        self.assertRefused(session, "INSERT INTO rows VALUES('b', 1)")
