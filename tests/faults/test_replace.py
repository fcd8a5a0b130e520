"""All nodes of a cluster make way for new ones, one after the other, while
clients work on it."""

import time
import unittest

import checker
import pane
from history import OK
from soak import is_write, longest_gap
from workloads import WORKLOADS
from world import Client, World, marmot

SHARDS = 8
ELECTION = 5  # seconds; with a busy machine's share


class Members(marmot.Cluster):
    """Three founders, and whoever takes their places."""

    def __init__(self, databases):
        super().__init__(3, databases, flags=["-shards", str(SHARDS)])
        for node in self.nodes:
            node.epoch, node.back_at = 0, 0.0

    def add(self, *args, **options):
        node = super().add(*args, **options)
        node.epoch, node.back_at = 0, 0.0
        return node


class Replace(unittest.TestCase):
    def tend(self, seconds):
        """Let it work, and nothing end that nobody ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.world.tend()
            time.sleep(0.05)

    def until(self, check, what):
        def look():
            self.world.tend()
            return check()
        self.assertTrue(marmot.eventually(look, 60), what)

    def votes_everywhere(self, node):
        return all(group["role"] == "voter"
                   for group in pane.status(node)["groups"])

    def add_clients(self, node):
        for workload in self.world.workloads:
            client = Client(self.world, workload, node, 1)
            self.world.clients.append(client)
            client.start()

    def end_clients_of(self, node):
        ending = [c for c in self.world.clients if c.node is node]
        self.world.clients = [c for c in self.world.clients
                              if c.node is not node]
        for client in ending:
            client.end()
        for client in ending:
            self.assertTrue(client.wait(40), client.name)

    def join(self, node_id):
        cluster = self.world.cluster
        new = cluster.add(node_id, [n for n in cluster.nodes if n.running()])
        new.start().wait_ready(60)
        self.until(lambda: self.votes_everywhere(new),
                   f"node {node_id} does not vote")
        self.add_clients(new)
        self.tend(1)

    def remove(self, old):
        cluster = self.world.cluster
        cluster.forget(old)
        asked = cluster.nodes[-1]
        removed = pane.command("remove", old.id, node=asked, timeout=90)
        self.assertEqual(removed.returncode, 0, removed.stdout)
        self.tend(1)

    def replace(self, old, node_id):
        self.join(node_id)
        self.end_clients_of(old)
        self.remove(old)
        self.assertEqual(old.stop(), 0)

    def replace_lost(self, old, node_id):
        self.end_clients_of(old)
        self.world.expected_down.add(old.id)
        old.kill()
        self.tend(2)
        self.remove(old)
        self.join(node_id)

    def judge(self):
        world, cluster = self.world, self.world.cluster
        self.assertTrue(world.end_clients(), "a client did not end")
        self.assertEqual(world.surprises, [])
        self.assertEqual(cluster.stop(), [0, 0, 0])
        histories = {w: world.operations(w) for w in world.workloads}
        for workload, operations in histories.items():
            done = [op for op in operations if is_write(op) and op.type == OK]
            self.assertGreater(len(done), 20, workload)
            for node in cluster.nodes:
                final = checker.final_state(workload, node.path(workload))
                verdict = checker.check(workload, operations, final)
                self.assertTrue(verdict, verdict.texts)
        gaps = {w: longest_gap({w: ops}) for w, ops in histories.items()}
        print("longest time without a commit, s:",
              {w: round(gap, 1) for w, gap in gaps.items()})
        self.assertLess(max(gaps.values()), ELECTION, gaps)

    def all_three(self, replace):
        self.world = World(1, list(WORKLOADS), rate=8, make=Members)
        self.addCleanup(self.world.close)
        self.world.start()
        self.tend(2)
        for old in list(self.world.cluster.nodes):
            replace(old, old.id + 3)
        self.assertEqual([node.id for node in self.world.nodes], [4, 5, 6])
        self.tend(1)
        self.judge()

    def test_three_nodes_one_after_the_other(self):
        self.all_three(self.replace)

    def test_three_nodes_that_are_lost_one_after_the_other(self):
        self.all_three(self.replace_lost)


if __name__ == "__main__":
    unittest.main()
