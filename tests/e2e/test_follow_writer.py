"""Leadership follows the node that writes a group."""

import time

import marmot
from case import Case
from marmot import eventually
from pane import leaders, status


class FollowWriter(Case):
    def test_a_steady_writer_gets_its_group(self):
        """It writes on a follower for a few seconds, and is the leader then;
        no commit fails, and it stays there."""
        cluster = self.rows_cluster(3)
        shard = status(cluster[1])["databases"][0]["shard"]
        leader = leaders(cluster[1])[shard]
        writer = cluster[leader % 3 + 1]
        with marmot.Session(writer.path()) as session:
            def moved():
                session.sql("INSERT INTO rows VALUES('w', 1)")
                return leaders(cluster[1])[shard] == writer.id

            self.assertTrue(eventually(moved, timeout=25, every=0.01))
            end = time.monotonic() + 3
            while time.monotonic() < end:
                session.sql("INSERT INTO rows VALUES('w', 2)")
            self.assertEqual(leaders(cluster[1])[shard], writer.id)
        self.assertSamePages(cluster)
