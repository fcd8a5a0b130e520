"""What the tests of members share: clusters of few shards whose members come and
go, and what must hold of them."""

import marmot
import pane
from case import Case
from marmot import eventually

SHARDS = 4
FEW = ["-shards", str(SHARDS)]


class MemberCase(Case):
    """A cluster of few shards, whose database `main` has the table `rows`."""

    def begin(self, n, more_flags=(), **options):
        return self.rows_cluster(n, flags=[*FEW, *more_flags], **options)

    def join(self, cluster, node_id, via=None, role="voter"):
        """A new node that asks `via`, the first one if nobody is named."""
        return cluster.add(node_id, via or [cluster.nodes[0]], role).start()

    def writer(self, cluster, node, tag, seconds):
        """Somebody who inserts rows meanwhile; see end_writer."""
        session = cluster.session(node.id, busy_ms=20000)
        session.sql("SELECT 1")
        session.send("rows_until", tag=tag, seconds=seconds)
        return session, tag

    def end_writer(self, writer, longest=10):
        """What it wrote; nothing failed, and it never waited for long."""
        session, tag = writer
        outcome = session.receive()
        self.assertEqual(outcome["unknown"], [], tag)
        self.assertEqual(outcome["refused"], 0, tag)
        self.assertGreater(len(outcome["acknowledged"]), 0, tag)
        self.assertLess(outcome["longest"], longest, tag)
        return [(n,) for n in outcome["acknowledged"]]

    def assertWrote(self, cluster, writer, longest=10):
        rows = self.end_writer(writer, longest)
        for node in cluster.nodes:
            self.assertSees(node, rows, f"SELECT n FROM rows WHERE "
                            f"tag='{writer[1]}' ORDER BY n")

    def members(self, node):
        """{id: "voter", "replica" or "leaving"} as this node has it."""
        return {p["id"]: "leaving" if p["leaving"] else p["role"]
                for p in pane.status(node)["peers"]}

    def assertMembers(self, node, expected, timeout=marmot.DEADLINE):
        def same():
            try:
                seen = self.members(node)
            except OSError as error:
                seen = error
            same.seen = seen
            return seen == expected
        if not eventually(same, timeout):
            self.fail(f"node {node.id} has the members {same.seen}, "
                      f"not {expected}")

    def assertVotes(self, node, groups=SHARDS):
        """The node has become a voter in all groups."""
        def done():
            return sum(g["role"] == "voter"
                       for g in pane.status(node)["groups"]) == groups
        self.assertTrue(eventually(done), f"node {node.id} is no voter: "
                        f"{pane.status(node)['groups']}")

    def assertLeads(self, node):
        self.assertTrue(
            eventually(lambda: node.id in pane.leaders(node).values()),
            f"node {node.id} leads nothing: {pane.leaders(node)}")

    def remove(self, node, asked):
        """marmot remove, which must do it."""
        done = pane.command("remove", node.id, node=asked, timeout=90)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout
