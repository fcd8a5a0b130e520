"""Deaths in the middle of a change of members."""

import unittest

import marmot
import pane
from failpoints import BUILD, STATUS_KILLED, FailCase
from marmot import eventually
from members import FEW, MemberCase


class Dying(FailCase):
    slow = True

    """kill -9 at every step of a change of members: what was begun is finished
    by whoever is left, or by the one that died when it is back."""

    assertVotes = MemberCase.assertVotes
    members = MemberCase.members
    assertMembers = MemberCase.assertMembers
    remove = MemberCase.remove

    def begin(self, n):
        return self.fail_cluster(n, flags=FEW)

    def add(self, cluster, node_id, via):
        node = cluster.add(node_id, via)
        node.program = BUILD / "marmot"
        return node

    def someone_died(self, nodes, point):
        dead = []

        def look():
            dead[:] = [node for node in nodes if not node.running()]
            return dead
        self.assertTrue(eventually(look), f"nobody died at {point}")
        return dead[0]

    def assertWorks(self, cluster, tag):
        self.writes(cluster.session(cluster.nodes[0].id),
                    f"INSERT INTO rows VALUES('{tag}', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [(1,)], "SELECT n FROM rows WHERE "
                            f"tag='{tag}'")

    def test_the_leader_dies_as_a_node_joins(self):
        for point in "member.add:1", "member.add:3", "member.assign:1", \
                "member.assign:6":
            with self.subTest(point=point):
                cluster = self.begin(3)
                armed = [self.restart_with(node, f"{point}:kill")
                         for node in cluster.nodes]
                for switch in armed:
                    switch.on()
                old = list(cluster.nodes)
                node = self.add(cluster, 4, old).start()
                dead = self.someone_died(old, point)
                for switch in armed:
                    switch.off()
                self.start_again(dead)
                node.wait_ready()
                self.assertVotes(node)
                self.assertWorks(cluster, "joined")
                cluster.close()

    def test_the_leader_dies_as_a_node_leaves(self):
        for point in "member.remove:1", "member.remove:2", "member.left:1", \
                "member.left:3":
            with self.subTest(point=point):
                cluster = self.begin(3)
                leaving, old = cluster[3], list(cluster.nodes)
                armed = [self.restart_with(node, f"{point}:kill")
                         for node in old]
                for switch in armed:
                    switch.on()
                asked = pane.ask(cluster[1], "/remove/node/3", "POST")
                self.assertEqual(asked.status, 202, asked.body)
                dead = self.someone_died(old, point)
                for switch in armed:
                    switch.off()
                if dead is not leaving:
                    self.start_again(dead)
                else:
                    dead.env = {}
                    dead.start()
                self.assertMembers(cluster[2], {1: "voter", 2: "voter"}, 40)
                cluster.forget(leaving)
                leaving.kill()
                self.assertWorks(cluster, "left")
                cluster.close()

    def test_the_joining_node_dies(self):
        cluster = self.begin(3)
        old = list(cluster.nodes)
        for node_id, rules in enumerate(
                ("join.answered:1:kill", "file.members:1:kill",
                 "file.members:2:kill", "store.commit:4:kill"), 4):
            with self.subTest(rules=rules):
                node = self.add(cluster, node_id, old)
                self.dies_starting(node, rules)
                self.assertWorks_without(cluster, node)
                node.env = {}
                node.start().wait_ready()
                self.assertVotes(node)
                self.remove(node, cluster[1])
                cluster.forget(node)
                node.kill()
        self.assertWorks(cluster, "after")

    def assertWorks_without(self, cluster, node):
        rest = [other for other in cluster.nodes if other is not node]
        self.writes(cluster.session(rest[0].id),
                    f"INSERT INTO rows VALUES('without', {node.id})")

    def test_a_joining_node_that_died_is_taken_back(self):
        """It never comes back: marmot remove undoes what was begun."""
        cluster = self.begin(3)
        for node_id, point in (4, "join.answered"), (5, "file.members:2"):
            rules = point if ":" in point else point + ":1"
            node = self.add(cluster, node_id, [cluster[2]])
            self.dies_starting(node, rules + ":kill")
            if node_id in self.members(cluster[1]):
                self.remove(node, cluster[1])
            self.assertMembers(cluster[1], dict.fromkeys((1, 2, 3), "voter"))
            cluster.forget(node)
        self.assertWorks(cluster, "undone")

    def test_marmot_recover_dies_half_way(self):
        """The store is changed, the members file is not: the start tells."""
        cluster = self.begin(3)
        for node in cluster.nodes:
            node.kill()
        left = cluster[2]
        command = [left.program, "recover", "-raft-path", left.raft,
                   "-node-id", 2, "-yes"]
        armed = self.armed(left, "file.members:1:kill")
        armed.on()
        died = marmot.run(command, env=armed.environment())
        self.assertEqual(died.returncode, STATUS_KILLED, died.stdout)
        armed.off()
        for node in cluster[1], cluster[3]:
            node.start()
        left.start().wait_ready()
        self.assertMembers(left, {2: "voter"})
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('a', 1)")
        for node in cluster[1], cluster[3]:
            node.kill()
            cluster.forget(node)
        self.assertEqual(left.stop(), 0)
        self.start_again(left)
        self.assertWorks(cluster, "alone")

    def test_the_leaving_node_dies(self):
        cluster = self.begin(3)
        leaving = cluster[3]
        asked = pane.ask(cluster[1], "/remove/node/3", "POST")
        self.assertEqual(asked.status, 202, asked.body)
        leaving.kill()
        self.assertMembers(cluster[1], {1: "voter", 2: "voter"}, 40)
        leaving.start()
        self.assertTrue(eventually(
            lambda: "was removed from" in leaving.log()), leaving.log())
        leaving.kill()
        cluster.forget(leaving)
        self.assertWorks(cluster, "left")


if __name__ == "__main__":
    unittest.main()
