"""Nodes that come back: without their memory, after they were removed, with the
flags of their first start, or as the only one that is left."""

import shutil
import subprocess
import unittest

import marmot
import pane
from marmot import eventually
from members import MemberCase


class Returning(MemberCase):
    """A node comes back without its memory, or after it was removed."""

    def wiped(self, database):
        cluster = self.begin(3)
        node = cluster[3]
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('a', 1)")
        self.assertSees(node, [(1,)], "SELECT count(*) FROM rows")
        self.assertTrue(eventually(lambda: "00000000-" not in
                        (cluster[1].raft / "members").read_text()))
        node.kill()
        shutil.rmtree(node.raft)
        if database == "deleted":
            node.wipe()
        node.via = [cluster[1], cluster[2]]
        node.start()
        self.assertExits(node, r"node 3 is a member with another store, .*"
                         r"marmot remove 3")
        self.remove(node, cluster[1])
        node.start().wait_ready()
        self.assertVotes(node)
        self.assertMembers(cluster[1], dict.fromkeys((1, 2, 3), "voter"))
        cluster[1].kill()
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('b', 1)")
        self.assertSees(cluster[2], [(2,)], "SELECT count(*) FROM rows")

    def test_a_wiped_voter_whose_database_is_there(self):
        self.wiped("kept")

    def test_a_wiped_voter_whose_database_is_gone(self):
        self.wiped("deleted")

    def test_an_old_copy_of_a_store(self):
        cluster = self.begin(3)
        node = cluster[3]
        self.assertEqual(node.stop(), 0)
        shutil.copytree(node.raft, node.folder / "old")
        node.start().wait_ready()
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('a', 1)")
        self.assertEqual(node.stop(), 0)
        shutil.rmtree(node.raft)
        (node.folder / "old").rename(node.raft)
        node.start()
        node.wait_log(r"refused .*an old copy of its store")
        node.kill()
        self.remove(node, cluster[1])
        node.wipe()
        node.via = [cluster[2]]
        node.start().wait_ready()
        self.assertVotes(node)

    def test_a_removed_node_starts_again(self):
        cluster = self.begin(3)
        node = cluster[3]
        self.remove(node, cluster[1])
        node.wait_log(r"\bremoved node=3\b")
        self.assertEqual(node.stop(), 0)
        node.start()
        self.assertTurnedAway(node, "was removed from this cluster; .* empty "
                              "-raft-path and -join")

    def test_a_node_that_was_removed_while_it_was_away(self):
        cluster = self.begin(3)
        node = cluster[3]
        self.assertEqual(node.stop(), 0)
        self.remove(node, cluster[2])
        node.start()
        node.wait_log("(?i)refused .*was removed from this cluster; .* empty "
                      "-raft-path and -join")
        self.assertEqual(node.stop(), 0)
        node.via = [cluster[1]]
        node.start()
        self.assertTrue(eventually(
            lambda: "was removed from this cluster" in node.log()))
        node.kill()
        node.wipe()
        node.start().wait_ready()
        self.assertVotes(node)
        self.assertSamePages(cluster)

    def test_a_new_node_with_a_number_that_is_taken(self):
        cluster = self.begin(2)
        node = self.join(cluster, 3)
        node.wait_ready()
        twin = cluster.add(4, [cluster[2]])
        command = twin.command()
        command[command.index("-node-id") + 1] = 3
        twin.start_command(command)
        self.assertExits(twin, "node 3 is a member with another store, at "
                         rf"127.0.0.1:{node.port}: take another -node-id")


class Starting(MemberCase):
    """A start after the members have changed, with the flags of the first."""

    def test_all_nodes_with_their_first_flags(self):
        cluster = self.begin(2)
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('a', 1)")
        for node_id in 3, 4:
            self.assertVotes(self.join(cluster, node_id).wait_ready())
        first = cluster[1]
        self.remove(first, cluster[2])
        first.kill()
        cluster.forget(first)
        for node in cluster.nodes:
            self.assertEqual(node.stop(), 0)
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.wait_ready()
        self.assertMembers(cluster[2], dict.fromkeys((2, 3, 4), "voter"))
        cluster[4].kill()
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('b', 1)")
        self.assertSees(cluster[3], [(2,)], "SELECT count(*) FROM rows")

    def test_a_damaged_members_file(self):
        cluster = self.begin(1)
        node = cluster[1]
        members = node.raft / "members"
        self.assertEqual(node.stop(), 0)
        whole = members.read_text()
        for text in "nonsense\n", "", whole.replace("voter", "king"), \
                whole[:len(whole) // 2], whole.replace(":", "#"):
            members.write_text(text)
            node.start()
            self.assertExits(node, "members is damaged; correct or remove it")
        members.write_text(whole)
        node.start().wait_ready()
        self.assertEqual(node.stop(), 0)
        members.unlink()
        node.start().wait_ready()
        self.assertTrue(eventually(members.exists))

    def test_a_store_without_its_members_file_does_not_join(self):
        cluster = self.begin(1)
        node = self.join(cluster, 2).wait_ready()
        self.assertVotes(node)
        self.assertEqual(node.stop(), 0)
        (node.raft / "members").unlink()
        node.start()
        self.assertExits(node, r"store\.db .* without .*members")

    def test_a_join_that_nobody_answers_goes_on(self):
        cluster = self.begin(1)
        first = cluster[1]
        self.assertEqual(first.stop(), 0)
        node = self.join(cluster, 2)
        node.wait_log("joining node=2 .*none of the nodes in -join answers")
        node.kill()
        node.via = None
        node.start()
        self.assertExits(node, "had begun to join .* -join")
        node.via = [first]
        node.start()
        first.start().wait_ready()
        node.wait_ready()
        self.assertVotes(node)


class Recovering(MemberCase):
    """A cluster whose majority is lost for ever."""

    def command(self, node, *flags, typed=None):
        return subprocess.run(
            [str(marmot.MARMOT), "recover", "-raft-path", str(node.raft),
             "-node-id", str(node.id), *flags], input=typed, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)

    def test_one_of_three_goes_on_and_two_new_ones_join(self):
        cluster = self.begin(3)
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('old', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [(1,)], "SELECT n FROM rows")
            self.assertTrue(eventually(lambda node=node: "00000000-" not in
                            (node.raft / "members").read_text()))
        cluster.close_sessions()
        lost = cluster.nodes[:2]
        for node in cluster.nodes:
            node.kill()
        old_id = (cluster[3].raft / "members").read_text().split()[1]
        done = self.command(cluster[3], typed="3\n")
        self.assertEqual(done.returncode, 0, done.stdout)
        for text in old_id, "Node 1 at ", "Node 2 at ", "4 shards", \
                "with an empty -raft-path and -join":
            self.assertIn(text, done.stdout)
        alone = cluster[3].start().wait_ready()
        self.assertMembers(alone, {3: "voter"})
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('new', 2)")
        self.assertNotIn(old_id, (alone.raft / "members").read_text())
        lost[0].start()
        lost[0].wait_log("(?i)refused .*node 1 was removed from this cluster")
        lost[0].kill()
        lost[0].wipe()
        lost[0].via = [alone]
        cluster.forget(lost[1])
        new = [lost[0], cluster.add(7, [alone])]
        for node in new:
            node.start().wait_ready()
            self.assertVotes(node)
        self.assertSees(new[0], [(1,), (2,)], "SELECT n FROM rows ORDER BY n")
        self.assertEqual(alone.stop(), 0)
        self.writes(cluster.session(7), "INSERT INTO rows VALUES('three', 3)")
        alone.start().wait_ready()
        self.assertMembers(alone, dict.fromkeys((1, 3, 7), "voter"))
        self.assertSamePages(cluster)

    def test_it_keeps_a_shortened_log(self):
        """The state is in a snapshot then, and names the old cluster."""
        cluster = self.begin(3, more_flags=["-max-log-entries", "16",
                                            "-shards", "1"])
        session = cluster.session(1)
        session.call("repeat", sql=["INSERT INTO rows VALUES(?, ?)"],
                     count=200, tag="many")
        self.assertSees(cluster[2], [(200,)], "SELECT count(*) FROM rows")
        node = cluster[2]
        self.assertTrue(eventually(lambda: any(
            g["log_entries"] < 150 and g["last"] > 200
            for g in pane.status(node)["groups"])), pane.status(node))
        cluster.close_sessions()
        for each in cluster.nodes:
            each.kill()
        self.assertEqual(marmot.read_plain(
            node.raft / "store.db", "SELECT grp FROM snapshots"), [(0,)])
        done = self.command(node, "-yes")
        self.assertEqual(done.returncode, 0, done.stdout)
        for other in cluster[1], cluster[3]:
            cluster.forget(other)
        node.start().wait_ready()
        self.assertSees(node, [(200,)], "SELECT count(*) FROM rows")
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('new', 2)")
        self.assertEqual(node.stop(), 0)
        node.start().wait_ready()
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('new', 3)")
        new = cluster.add(4, [node]).start().wait_ready()
        self.assertSees(new, [(202,)], "SELECT count(*) FROM rows")
        self.assertVotes(new, 1)
        self.assertEqual(pane.status(new)["node"]["cluster"],
                         pane.status(node)["node"]["cluster"])

    def test_a_replica_becomes_a_voter(self):
        cluster = self.begin(1, replicas=1)
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('a', 1)")
        self.assertSees(cluster[2], [(1,)], "SELECT n FROM rows")
        for node in cluster.nodes:
            node.kill()
        done = self.command(cluster[2], "-yes")
        self.assertEqual(done.returncode, 0, done.stdout)
        cluster[2].start().wait_ready()
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('b', 2)")
        self.assertVotes(cluster[2])

    def test_nothing_is_done_unasked(self):
        cluster = self.begin(2)
        node = cluster[1]
        running = self.command(node, "-yes")
        self.assertEqual(running.returncode, 1)
        self.assertIn("is in use by a running node", running.stdout)
        self.assertEqual(node.stop(), 0)
        before = (node.raft / "members").read_text()
        for typed in "2\n", "yes\n", "", "11\n", "1x\n":
            done = self.command(node, typed=typed)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("Nothing was changed", done.stdout)
        self.assertEqual((node.raft / "members").read_text(), before)
        wrong = subprocess.run(
            [marmot.MARMOT, "recover", "-raft-path", node.raft, "-node-id",
             "2", "-yes"], capture_output=True, text=True)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("belongs to node 1, this is node 2", wrong.stderr)
        for words in [], ["-node-id", "0"], ["-raft-path"], ["-what"]:
            wrong = subprocess.run([marmot.MARMOT, "recover", *words],
                                   capture_output=True, text=True)
            self.assertEqual(wrong.returncode, 2, wrong.stderr)
        missing = subprocess.run(
            [marmot.MARMOT, "recover", "-raft-path", node.folder, "-node-id",
             "1"], capture_output=True, text=True)
        self.assertEqual(missing.returncode, 1)
        self.assertIn("store.db is missing", missing.stderr)
        node.start().wait_ready()
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('a', 1)")


if __name__ == "__main__":
    unittest.main()
