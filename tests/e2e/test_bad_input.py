"""Everything that is given wrongly gets a message, a status, and harms
nothing."""

import os
import random
import shutil
import socket

import marmot
from case import Case

ROWS = "CREATE TABLE rows(tag, n)"


class BadFlags(Case):
    def node(self, n=1):
        return self.cluster(n, start=False)[1]

    def refused(self, command, pattern, status=1):
        node = self.node()
        node.start_command([marmot.MARMOT, *command])
        self.assertExits(node, pattern, status)

    def path(self, name="main"):
        return self.node().path(name)

    def test_an_unknown_flag(self):
        """Usage, status 2."""
        self.refused(["-node-id", "1", "-no-such-flag"], "no-such-flag", 2)

    def test_a_missing_node_id(self):
        """It has no default."""
        self.refused(["-db-path", self.path()], "node-id", 2)

    def test_a_node_id_that_is_no_number(self):
        """Nor zero."""
        for value in "0", "-3", "x", "1x", "99999999999999999999":
            with self.subTest(value=value):
                self.refused([f"-node-id={value}", "-db-path", self.path()],
                             "node-id", 2)

    def test_a_garbled_bootstrap(self):
        """What is wrong with it is said."""
        for value in "2", "2@", "2@host", "2@127.0.0.1:99999", "1@127.0.0.1:9":
            with self.subTest(value=value):
                self.refused(["-node-id", "1", "-bootstrap", value,
                              "-db-path", self.path()], "bootstrap", 2)

    def test_a_non_loopback_address_needs_insecure(self):
        """Peers are not authenticated, and the message says what to do."""
        self.refused(["-node-id", "1", "-bind", "192.0.2.1:8610",
                      "-db-path", self.path()], "-insecure", 2)

    def test_a_wildcard_needs_an_address_for_the_others(self):
        """-bind 0.0.0.0 without -advertise."""
        self.refused(["-node-id", "1", "-bind", "0.0.0.0:8610", "-insecure",
                      "-db-path", self.path()], "-advertise", 2)

    def test_two_databases_need_names(self):
        """Without NAME= both would be called main."""
        self.refused(["-node-id", "1", "-db-path", self.path("a"),
                      "-db-path", self.path("b")], "NAME=", 2)

    def test_replicate_is_accepted_with_a_warning(self):
        """A flag of the original that has no effect."""
        node = self.node()
        node.start("-replicate", "news,history").wait_ready()
        self.assertRegex(node.log(), "replicate")
        self.assertEqual(node.stop(), 0)


class BadSurroundings(Case):
    def node(self, script=ROWS):
        node = self.cluster(1, start=False)[1]
        if script:
            marmot.make_database(node.path(), script)
        return node

    def test_a_file_that_is_no_database(self):
        """It is named and stays as it is."""
        node = self.node(None)
        text = b"this is a letter, not a database\n" * 100
        with open(node.path(), "wb") as file:
            file.write(text)
        node.start()
        self.assertExits(node, r"main\.db.*(not a database|no database|"
                         r"not an SQLite)|(not a database|no database|"
                         r"not an SQLite).*main\.db")
        with open(node.path(), "rb") as file:
            self.assertEqual(file.read(), text)
        self.assertFalse(os.path.exists(node.path() + "-marmot"))

    def test_a_port_in_use(self):
        """The address is named; the database is no node's afterwards."""
        node = self.node()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", node.port))
            taken.listen()
            node.start()
            self.assertExits(node, rf"{node.port}.*in use|in use.*{node.port}")
        self.assertIntact(node)

    def test_a_folder_that_cannot_be_written(self):
        """Neither a database nor a store can be made in /proc."""
        node = self.node(None)
        node.start_command([marmot.MARMOT, "-node-id", "1", "-bind",
                            f"127.0.0.1:{node.port}", "-bind-pane",
                            f"localhost:{node.pane}",
                            "-raft-path", node.raft,
                            "-db-path", "/proc/marmot/x.db"])
        self.assertExits(node, "/proc/marmot")
        node.start_command([marmot.MARMOT, "-node-id", "1", "-bind",
                            f"127.0.0.1:{node.port}", "-bind-pane",
                            f"localhost:{node.pane}",
                            "-raft-path", "/proc/raft",
                            "-db-path", node.path()])
        self.assertExits(node, "/proc/raft")

    def test_a_second_node_on_the_same_database(self):
        """The running one goes on, the second one exits."""
        node = self.node()
        node.start().wait_ready()
        second = self.cluster(1, start=False)[1]
        second.path = node.path
        second.start()
        self.assertNotEqual(second.wait_exit(), 0)
        done = marmot.cli(node.path(), "INSERT INTO rows VALUES(1, 1)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_cleanup_refuses_while_the_node_lives(self):
        """-cleanup beside the running node changes nothing."""
        node = self.node()
        node.start().wait_ready()
        done = marmot.run(node.command("-cleanup"))
        self.assertEqual(done.returncode, 1, done.stdout)
        done = marmot.cli(node.path(), "INSERT INTO rows VALUES(1, 1)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_cleanup_leaves_plain_sqlite(self):
        """After the stop: no marker, and stock SQLite writes again."""
        node = self.node()
        node.start().wait_ready()
        marmot.cli(node.path(), "INSERT INTO rows VALUES('kept', 1)")
        self.assertEqual(node.stop(), 0)
        self.assertTrue(os.path.exists(node.path() + "-marmot"))
        done = marmot.run(node.command("-cleanup"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(
            sorted(p.name for p in node.folder.glob("main.db*")), ["main.db"])
        for preload in False, True:
            done = marmot.cli(node.path(), "PRAGMA journal_mode=delete; "
                              "INSERT INTO rows VALUES('plain', 2); "
                              "SELECT count(*) FROM rows", preload=preload)
            self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(done.stdout.endswith("3\n"), done.stdout)


class BadPeers(Case):
    def assertLives(self, cluster, *node_ids):
        for node_id in node_ids:
            self.writes(cluster.session(node_id),
                        f"INSERT INTO rows VALUES('lives', {node_id})")

    def test_a_second_node_with_the_same_id(self):
        """Another machine claims id 2: it is refused, the first one stays."""
        cluster = self.rows_cluster(3)
        twin = marmot.Node.__new__(marmot.Node)
        twin.__dict__.update(cluster[2].__dict__)
        twin.folder = cluster.folder / "twin"
        twin.folder.mkdir()
        twin.raft, twin.log_path = twin.folder / "raft", twin.folder / "log"
        twin.port, twin.pane = marmot.free_port(), marmot.free_port()
        twin.process = None
        self.addCleanup(twin.kill)
        command = [str(word) for word in cluster[2].command()]
        command[command.index("-bind") + 1] = f"127.0.0.1:{twin.port}"
        command[command.index("-bind-pane") + 1] = f"localhost:{twin.pane}"
        command[command.index("-raft-path") + 1] = str(twin.raft)
        command[command.index("-db-path") + 1] = f"main={twin.path()}"
        twin.start_command(command)
        self.assertTurnedAway(twin, "another store|two nodes have the id 2")
        self.assertLives(cluster, 1, 2, 3)

    def test_a_node_of_another_cluster(self):
        """Its store remembers the cluster it belongs to."""
        first, second = self.rows_cluster(2), self.rows_cluster(2)
        for cluster in first, second:
            self.assertSees(cluster[2], [(0,)], "SELECT count(*) FROM rows")
        stranger = second[2]
        second.stop()
        first[2].stop()
        shutil.rmtree(first[2].raft)
        shutil.copytree(stranger.raft, first[2].raft)
        first[2].start()
        self.assertTurnedAway(first[2], "cluster|another store")
        self.assertTrue(first[1].running())

    def test_nodes_that_disagree_about_shards(self):
        """-shards is the same everywhere; the newcomer is told."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), ROWS)
        cluster[1].start()
        cluster[2].start()
        cluster[1].wait_ready()
        cluster[3].start("-shards", "8")
        self.assertTurnedAway(cluster[3], "shards")
        self.assertLives(cluster, 1, 2)

    def test_shards_cannot_change_later(self):
        """The store remembers the number."""
        cluster = self.rows_cluster(1)
        cluster.stop()
        cluster[1].start("-shards", "4")
        self.assertExits(cluster[1], "shards")
        cluster[1].start().wait_ready()
        self.assertLives(cluster, 1)

    def test_nodes_that_disagree_about_members(self):
        """A node that names others than its peers do is refused."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), ROWS)
        cluster[1].start()
        cluster[2].start()
        cluster[1].wait_ready()
        command = [str(word) for word in cluster[3].command()]
        at = command.index("-bootstrap") + 1
        command[at] += f",9@127.0.0.1:{marmot.free_port()}"
        cluster[3].start_command(command)
        self.assertTurnedAway(cluster[3], "member")
        self.assertLives(cluster, 1, 2)

    def test_content_with_another_page_size_is_refused(self):
        """Other rows in pages of another size: nothing is touched."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(cluster[1].path(), ROWS)
        cluster[1].start()
        cluster[3].start()
        cluster[1].wait_ready()
        marmot.make_database(cluster[2].path(), "PRAGMA page_size=8192;" + ROWS
                             + ";INSERT INTO rows VALUES('mine', 1)")
        cluster[2].start()
        self.assertExits(cluster[2], "rows")
        self.assertEqual(
            marmot.read_plain(cluster[2].path(), "SELECT * FROM rows"),
            [("mine", 1)])

    def test_garbled_packets(self):
        """Noise, huge lengths and half packets: the connection is closed, the
        node lives and its memory does not grow."""
        cluster = self.rows_cluster(2)
        noise = random.Random(1)
        before = self.memory(cluster[1])
        for i in range(60):
            with socket.create_connection(("127.0.0.1", cluster[1].port)) as s:
                s.settimeout(1)
                try:
                    s.sendall([noise.randbytes(3000), b"\xff" * 64,
                               b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 5000,
                               bytes.fromhex("dd0fffffffc0")][i % 5])
                    while i % 2 and s.recv(4096):
                        pass
                except OSError:
                    pass
        self.assertTrue(cluster[1].running())
        self.assertLess(self.memory(cluster[1]), before + 100 * 1024)
        self.assertLives(cluster, 1, 2)

    def test_garbled_sessions(self):
        """The same at the socket beside the database."""
        cluster = self.rows_cluster(1)
        noise = random.Random(2)
        for _ in range(40):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(cluster[1].path() + "-marmot")
                try:
                    s.sendall(noise.randbytes(noise.randrange(1, 2000)))
                except OSError:
                    pass
        self.assertTrue(cluster[1].running())
        self.assertLives(cluster, 1)

    def memory(self, node):
        """KiB resident."""
        with open(f"/proc/{node.process.pid}/status") as status:
            return int(next(line.split()[1] for line in status
                            if line.startswith("VmRSS")))
