"""marmot verify: every node compares its copy with what the log says."""

import json
import os
import pty
import re
import signal
import subprocess

import marmot
from case import Case
from pane import ask, command

FILLED = """CREATE TABLE rows(tag, n);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500)
INSERT INTO rows SELECT randomblob(3000), i FROM c;"""
PAGE = 4096


def flip(path, number):
    """One bit of a page, as a bad disk would."""
    with open(path, "r+b") as file:
        file.seek((number - 1) * PAGE + 2000)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


class Verify(Case):
    def filled(self, n=3, **options):
        cluster = self.cluster(n, start=False, **options)
        marmot.make_database(cluster[1].path(), FILLED)
        return cluster.start()

    def verified(self, node, expected):
        """{node: its answer}, after the exit status was compared."""
        done = command("verify", "-json", "main", node=node)
        self.assertEqual(done.returncode, expected, done.stdout)
        said = json.loads(done.stdout)
        self.assertEqual(said["ok"], expected == 0)
        return {one["node"]: one for one in said["nodes"]}

    def test_whole_copies_are_whole_under_writers(self):
        """At whatever position each node reads them."""
        cluster = self.filled(replicas=1)
        writer = cluster.session(2, busy_ms=20000)
        writer.send("rows_until", tag="w", seconds=3)
        for _ in range(3):
            said = self.verified(cluster[1], 0)
            self.assertEqual({one["state"] for one in said.values()}, {"ok"})
            self.assertEqual(sorted(said), [1, 2, 3, 4])
        self.assertEqual(writer.receive()["unknown"], [])
        self.assertSamePages(cluster)
        said = self.verified(cluster[4], 0)
        self.assertEqual(len({one["position"] for one in said.values()}), 1)
        self.assertEqual(len({one["found"] for one in said.values()}), 1)

    def test_a_flipped_bit_is_found_and_named(self):
        """On the node that has it, by a verification that another one asks
        for; the copies of the others are whole, and it is repaired from
        them."""
        cluster = self.filled()
        self.assertSamePages(cluster)
        flip(cluster[3].path(), 7)
        flip(cluster[3].path(), 311)
        said = self.verified(cluster[1], 1)
        self.assertEqual(said[3]["state"], "damaged")
        self.assertEqual(said[3]["damaged_pages"], [7, 311])
        self.assertNotEqual(said[3]["found"], said[3]["checksum"])
        self.assertEqual([said[1]["state"], said[2]["state"]], ["ok", "ok"])
        cluster[3].wait_log("damaged db=main .*page=7:")
        cluster[3].wait_log("damaged db=main .*page=311:")

        def whole():
            done = command("verify", "main", node=cluster[2])
            return done.returncode == 0

        self.assertTrue(marmot.eventually(whole))
        self.assertSamePages(cluster)
        self.assertSameFiles(cluster)

    def test_damage_that_nobody_can_repair_is_said_each_time(self):
        """A cluster of one; the table names the pages."""
        cluster = self.filled(1)
        flip(cluster[1].path(), 9)
        for _ in range(2):
            done = command("verify", node=cluster[1])
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, r"(?m)^main +1 +damaged ")
            self.assertIn("node 1, damaged pages: 9\n", done.stdout)

    def test_a_node_that_is_away_is_said(self):
        """The others are verified all the same."""
        cluster = self.filled()
        cluster[2].kill()
        said = self.verified(cluster[1], 1)
        self.assertEqual([said[n]["state"] for n in (1, 2, 3)],
                         ["ok", "silent", "ok"])

    def test_what_cannot_be_verified(self):
        """No such database, and not by GET."""
        cluster = self.filled(1)
        done = command("verify", "other", node=cluster[1])
        self.assertEqual(done.returncode, 1)
        self.assertIn("no database other", done.stdout)
        done = command("verify", "a/b", node=cluster[1])
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(ask(cluster[1], "/verify/main").status, 405)
        self.assertEqual(ask(cluster[1], "/verify/", "POST").status, 400)
        self.assertEqual(
            ask(cluster[1], "/verify/main", "POST",
                {"Origin": "http://evil.example"}).status, 403)

    def on_a_terminal(self, cluster, *words):
        """What `marmot verify` writes to a terminal as its stderr, and to
        stdout, while node 3 stands still for about two seconds."""
        self.verified(cluster[1], 0)  # all are in reach
        terminal, end = pty.openpty()
        os.set_blocking(terminal, False)
        shown = []

        def read():
            try:
                shown.append(os.read(terminal, 65536).decode())
            except (OSError, BlockingIOError):
                pass
            return re.search("6[67] %.*/s", "".join(shown))

        os.kill(cluster[3].process.pid, signal.SIGSTOP)
        asking = subprocess.Popen(
            [marmot.MARMOT, "verify", *words, "-pane",
             f"127.0.0.1:{cluster[1].pane}"], stdout=subprocess.PIPE,
            stderr=end, text=True)
        os.close(end)
        marmot.eventually(read, 2.2)
        os.kill(cluster[3].process.pid, signal.SIGCONT)
        said, _ = asking.communicate(timeout=30)
        read()
        os.close(terminal)
        self.assertEqual(asking.returncode, 0, said)
        return "".join(shown), said

    def test_progress_is_shown_on_a_terminal_only(self):
        cluster = self.filled()
        self.assertSamePages(cluster)
        shown, said = self.on_a_terminal(cluster, "main")
        self.assertRegex(shown, r"verify main:  ?6[67] % of \d+ pages "
                                r"\(\d+ read\), \d.* [KM]iB/s")
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)
        self.assertRegex(said, r"(?m)^main +1 +ok ")
        self.assertNotIn("%", said)
        shown, said = self.on_a_terminal(cluster, "-json", "main")
        self.assertEqual(shown, "")
        self.assertTrue(json.loads(said)["ok"])

    def test_a_node_stops_in_the_middle_of_it(self):
        """Neither the one that asks nor one that reads is kept."""
        cluster = self.filled()
        asking = marmot.spawn(
            [marmot.MARMOT, "verify", "main", "-pane",
             f"127.0.0.1:{cluster[1].pane}"], stdout=-3, stderr=-3,
            env=marmot.environment(False))
        self.assertEqual(cluster.stop(), [0, 0, 0])
        self.assertIn(asking.wait(30), (0, 1))
