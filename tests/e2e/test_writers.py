"""Applications that write on all nodes at the same time."""

import re

import marmot
from case import Case

SETUP = """CREATE TABLE counter(n);
INSERT INTO counter VALUES(0);
CREATE TABLE rows(tag, n);"""


class Writers(Case):
    def test_three_writers_lose_nothing_and_see_no_error(self):
        """3 x 1000 increments of one counter and 3 x 1000 inserts."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), SETUP)
        cluster.start()
        for node in cluster.nodes:
            self.assertSees(node, [(0,)], "SELECT n FROM counter")
        writers = [cluster.session(node.id, busy_ms=30000)
                   for node in cluster.nodes]
        for number, writer in enumerate(writers):
            writer.send("repeat", sql=["UPDATE counter SET n = n + 1",
                                       "INSERT INTO rows VALUES(?, ?)"],
                        count=1000, tag=number)
        self.assertEqual([w.receive() for w in writers], [1000] * 3)
        for node in cluster.nodes:
            self.assertSees(node, [(3000,)], "SELECT n FROM counter")
            self.assertSees(node, [(3000, 3)], "SELECT count(*), "
                            "count(DISTINCT tag) FROM rows")
        self.assertSameFiles(cluster)

    def test_two_programs_on_one_node_take_turns(self):
        """Contention within one node needs no more than a busy timeout."""
        cluster = self.cluster(2, start=False)
        marmot.make_database(cluster[1].path(), SETUP)
        cluster.start()
        writers = [cluster.session(1, busy_ms=30000) for _ in range(2)]
        for number, writer in enumerate(writers):
            writer.send("repeat", sql=["UPDATE counter SET n = n + 1"],
                        count=500, tag=number)
        self.assertEqual([w.receive() for w in writers], [500] * 2)
        for node in cluster.nodes:
            self.assertSees(node, [(1000,)], "SELECT n FROM counter")


class ManyDatabases(Case):
    def test_sixteen_databases_are_written_at_once(self):
        """16 processes, 16 databases, leaders on all three nodes."""
        names = [f"db{i:02}" for i in range(16)]
        cluster = self.cluster(3, databases=names, start=False)
        for name in names:
            marmot.make_database(cluster[1].path(name),
                                 "CREATE TABLE rows(tag, n)")
        cluster.start()
        writers = []
        for i, name in enumerate(names):
            node = cluster.nodes[i % 3]
            self.assertSees(node, [(0,)], "SELECT count(*) FROM rows", name)
            writers.append(cluster.session(node.id, name, busy_ms=30000))
        for name, writer in zip(names, writers):
            writer.send("repeat", sql=["INSERT INTO rows VALUES(?, ?)"],
                        count=100, tag=name)
        self.assertEqual([w.receive() for w in writers], [100] * 16)
        for name in names:
            for node in cluster.nodes:
                self.assertSees(node, [(name, 100)],
                                "SELECT tag, count(*) FROM rows GROUP BY tag",
                                name)
        self.assertTrue(marmot.eventually(
            lambda: set(cluster.leaders().values()) == {1, 2, 3}),
            f"leaders: {cluster.leaders()}")


class Pragmas(Case):
    def test_a_position_can_be_waited_for_on_another_node(self):
        """marmot_position on the writer, marmot_wait on a reader."""
        cluster = self.rows_cluster(3)
        writer = cluster.session(1)
        writer.sql("INSERT INTO rows VALUES('a', 1)")
        position = writer.value("PRAGMA marmot_position")
        self.assertRegex(position, r"^\d+:[0-9a-f]+$")
        txid = re.match(r"\d+", position).group()
        for node_id in 2, 3:
            reader = cluster.session(node_id)
            reader.sql(f"PRAGMA marmot_wait='{txid}'")
            self.assertEqual(reader.sql("SELECT * FROM rows"), [["a", 1]])
            self.assertEqual(reader.value("PRAGMA marmot_position"), position)

    def test_status_names_the_leader(self):
        """marmot_status is a text for people."""
        cluster = self.rows_cluster(3)
        self.assertRegex(cluster.session(2).value("PRAGMA marmot_status"),
                         r"leader")
