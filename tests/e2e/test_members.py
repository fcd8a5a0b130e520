"""Nodes that join a running cluster, leave it, and take the place of others."""

import shutil
import subprocess
import unittest

import marmot
import pane
from case import Case
from failpoints import BUILD, FailCase
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


class Joining(MemberCase):
    def test_a_voter_joins_under_load_and_leads(self):
        cluster = self.begin(3)
        writers = [self.writer(cluster, node, f"w{node.id}", 6)
                   for node in cluster.nodes]
        node = self.join(cluster, 4)
        node.wait_ready()
        self.assertVotes(node)
        for writer in writers:
            self.assertWrote(cluster, writer)
        self.assertLeads(node)
        self.assertMembers(cluster[2], dict.fromkeys((1, 2, 3, 4), "voter"))
        self.writes(cluster.session(4), "INSERT INTO rows VALUES('new', 1)")
        self.assertSamePages(cluster)

    def test_a_replica_joins_under_load_and_only_reads(self):
        cluster = self.begin(3)
        writer = self.writer(cluster, cluster[1], "w", 5)
        node = self.join(cluster, 9, role="replica")
        node.wait_ready()
        self.assertWrote(cluster, writer)
        self.assertRefused(cluster.session(9),
                           "INSERT INTO rows VALUES('new', 1)",
                           "SQLITE_READONLY")
        self.assertMembers(node, {1: "voter", 2: "voter", 3: "voter",
                                  9: "replica"})
        self.assertNotIn(9, pane.leaders(cluster[1]).values())

    def test_two_nodes_join_at_once(self):
        cluster = self.begin(1)
        nodes = [self.join(cluster, node_id, [cluster[1]])
                 for node_id in (2, 3)]
        for node in nodes:
            node.wait_ready()
            self.assertVotes(node)
        cluster[1].kill()
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('two', 1)")

    def test_a_cluster_of_one_grows_and_its_first_node_leaves(self):
        cluster = self.begin(1)
        first = cluster[1]
        session = cluster.session(1)
        for n in range(20):
            session.sql("INSERT INTO rows VALUES('old', ?)", n)
        session.close()
        for node_id in 2, 3:
            node = self.join(cluster, node_id).wait_ready()
            self.assertVotes(node)
        said = self.remove(first, cluster[2])
        self.assertIn("node 1 is no longer a member", said)
        first.wait_log(r"\bremoved node=1\b")
        self.assertEqual(first.stop(), 0)
        cluster.forget(first)
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('new', 1)")
        self.assertMembers(cluster[3], {2: "voter", 3: "voter"})
        self.assertSees(cluster[2], [(21,)], "SELECT count(*) FROM rows")
        self.assertSamePages(cluster)


class Leaving(MemberCase):
    def test_of_two_voters_one_stays_and_writes(self):
        cluster = self.begin(2)
        self.remove(cluster[2], cluster[1])
        cluster[2].kill()
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")

    def test_of_three_voters_two_stay_and_need_each_other(self):
        cluster = self.begin(3)
        self.remove(cluster[3], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('two', 1)")
        cluster[2].kill()
        self.assertRefused(cluster.session(1, busy_ms=100),
                           "INSERT INTO rows VALUES('half', 1)")

    def test_a_node_is_not_asked_to_remove_itself(self):
        """It would never see the end of it."""
        cluster = self.begin(2)
        done = pane.command("remove", 2, node=cluster[2])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("ask another node", done.stdout)

    def test_the_last_voter_stays(self):
        cluster = self.begin(1, replicas=1)
        done = pane.command("remove", 1, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("the last voter; add another one first", done.stdout)
        self.remove(cluster[2], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")

    def test_wrong_input(self):
        cluster = self.begin(1)
        for words, status, text in (
                (["9"], 1, "node 9 is not a member"),
                (["x"], 2, "usage: marmot remove NODE"),
                (["0"], 2, "usage: marmot remove NODE"),
                ([], 2, "usage: marmot remove NODE")):
            done = pane.command("remove", *words, node=cluster[1])
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn(text, done.stdout)
        self.assertEqual(pane.ask(cluster[1], "/remove/node/9").status, 405)
        self.assertEqual(
            pane.ask(cluster[1], "/remove/node/9", "POST").status, 404)
        self.assertEqual(
            pane.ask(cluster[1], "/remove/node/x", "POST").status, 400)

    def test_without_a_majority_it_is_refused(self):
        cluster = self.begin(3)
        for node_id in 2, 3:
            cluster[node_id].kill()
        self.assertTrue(eventually(lambda: not any(
            g["quorum"] for g in pane.status(cluster[1])["groups"])))
        done = pane.command("remove", 3, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, "no majority|no quorum|no leader")

    def test_a_dead_node_leaves_before_a_living_one(self):
        cluster = self.begin(3)
        cluster[3].kill()
        self.assertTrue(eventually(
            lambda: 3 not in pane.leaders(cluster[1]).values()))
        done = pane.command("remove", 2, node=cluster[1])
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("node 3", done.stdout)
        self.remove(cluster[3], cluster[1])
        self.remove(cluster[2], cluster[1])
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('one', 1)")


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


class Moving(MemberCase):
    """Addresses change, members do not."""

    def test_a_node_comes_back_at_another_address(self):
        cluster = self.begin(3)
        node = cluster[2]
        self.assertEqual(node.stop(), 0)
        node.port = marmot.free_port()
        node.start().wait_ready()
        for other in cluster[1], cluster[3]:
            self.assertTrue(eventually(lambda other=other: any(
                peer["address"] == node.address() and peer["connected"]
                for peer in pane.status(other)["peers"])), other.log())
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('a', 1)")
        for other in cluster[1], cluster[3]:
            self.assertTrue(eventually(lambda other=other: node.address() in
                            (other.raft / "members").read_text()))
            self.assertEqual(other.stop(), 0)
            other.start().wait_ready()
        self.assertSees(cluster[3], [("a",)], "SELECT tag FROM rows")
        self.assertSamePages(cluster)

    def test_others_find_a_node_that_moved(self):
        """They dial: it knows none of their new addresses."""
        cluster = self.begin(3)
        moved, away = cluster[2], cluster[3]
        self.assertEqual(away.stop(), 0)
        self.assertEqual(moved.stop(), 0)
        moved.port = marmot.free_port()
        moved.start().wait_ready()
        self.assertTrue(eventually(lambda: moved.address() in
                        (cluster[1].raft / "members").read_text()))
        away.port = marmot.free_port()
        away.start().wait_ready()
        self.assertTrue(eventually(lambda: all(
            peer["connected"] or peer["self"]
            for peer in pane.status(away)["peers"])), away.log())


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


class Dying(FailCase):
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
