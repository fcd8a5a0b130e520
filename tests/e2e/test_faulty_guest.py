"""An application that speaks the session protocol wrongly harms neither its
node nor the other copies; nor does a node that is repaired while it serves."""

import os
import signal
import threading
import time

import guest
import marmot
from case import Case

SIZE = 4096


class FaultyGuest(Case):
    def writer(self, cluster, node_id=1):
        """A guest that has the slot, and the pages of the database."""
        self.assertSamePages(cluster)
        faulty = guest.Guest(cluster[node_id].path())
        self.addCleanup(faulty.socket.close)
        self.assertEqual(faulty.hello(), guest.WELCOME)
        self.assertEqual(faulty.call(guest.LOCK), guest.GRANT)
        data = marmot.pages(cluster[node_id].path())
        return faulty, [data[i:i + SIZE] for i in range(0, len(data), SIZE)]

    def assertLives(self, cluster):
        for node in cluster.nodes:
            self.writes(cluster.session(node.id),
                        f"INSERT INTO rows VALUES('lives', {node.id})")
        self.assertSees(cluster[1], [(3,)], "SELECT count(*) FROM rows")
        self.assertSamePages(cluster)

    def test_a_page_in_two_parts(self):
        """No copy could follow: content and checksum would differ."""
        cluster = self.rows_cluster(3)
        faulty, pages = self.writer(cluster)
        faulty.propose([(2, bytes(SIZE))], 0, 0, last=False)
        faulty.propose([(2, pages[1])], len(pages), 1)
        self.assertEqual(faulty.receive()[0], guest.FAILED)
        faulty.socket.close()
        self.assertLives(cluster)

    def test_a_size_far_beyond_the_pages(self):
        """Refused: every node would keep memory for it."""
        cluster = self.rows_cluster(3)
        faulty, pages = self.writer(cluster)
        faulty.propose([(50000000, bytes(SIZE))], 50000000)
        self.assertEqual(faulty.receive()[0], guest.FAILED)
        faulty.socket.close()
        self.assertLives(cluster)

    def test_a_second_proposal_while_the_first_is_in_doubt(self):
        """Refused; the node lives."""
        cluster = self.rows_cluster(3)
        faulty, pages = self.writer(cluster)
        for node_id in 2, 3:
            os.kill(cluster[node_id].process.pid, signal.SIGSTOP)
        faulty.propose([(2, pages[1])], len(pages))
        self.assertEqual(faulty.receive()[0], guest.UNKNOWN)
        faulty.propose([(2, pages[1])], len(pages))
        self.assertEqual(faulty.receive()[0], guest.FAILED)
        faulty.socket.close()
        for node_id in 2, 3:
            os.kill(cluster[node_id].process.pid, signal.SIGCONT)
        self.assertLives(cluster)

    def test_a_number_that_was_used_before(self):
        """A token names one attempt: parts of two must not mix."""
        cluster = self.rows_cluster(3)
        faulty, pages = self.writer(cluster)
        faulty.propose([(2, bytes(SIZE))], 0, 0, last=False)
        faulty.propose([(2, pages[1])], len(pages), 1)
        self.assertEqual(faulty.receive()[0], guest.FAILED)
        faulty.propose([(2, pages[1])], len(pages), same=True)
        self.assertEqual(faulty.receive()[0], guest.FAILED)
        faulty.socket.close()
        self.assertLives(cluster)

    def test_answers_that_nobody_reads(self):
        """The node does not keep them for ever: it hangs up."""
        cluster = self.rows_cluster(1)
        with guest.Guest(cluster[1].path(), timeout=5) as deaf:
            deaf.hello()
            with self.assertRaises(OSError):
                for _ in range(300000):
                    deaf.send(guest.STATUS)
        done = marmot.cli(cluster[1].path(), "INSERT INTO rows VALUES(1, 1)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class RepairedSender(Case):
    def brake(self, node, done):
        while not done.is_set():
            os.kill(node.process.pid, signal.SIGSTOP)
            time.sleep(0.3)
            os.kill(node.process.pid, signal.SIGCONT)
            time.sleep(0.01)

    def damage(self, node):
        """Change the file, and make the node look at it."""
        data = marmot.pages(node.path())
        with open(node.path(), "r+b") as file:
            file.seek(len(data) - 3 * SIZE + 500)
            file.write(os.urandom(100))
        with guest.Guest(node.path()) as faulty:
            self.assertEqual(faulty.hello(), guest.WELCOME)
            self.assertEqual(faulty.call(guest.LOCK), guest.GRANT)
            faulty.propose([(2, data[SIZE:2 * SIZE])], len(data) // SIZE)
            self.assertEqual(faulty.receive()[0], guest.COMMITTED)

    def test_a_node_is_repaired_while_another_fetches_from_it(self):
        """Both have the content afterwards."""
        cluster = self.cluster(3, start=False)
        marmot.make_database(
            cluster[1].path(), "CREATE TABLE rows(tag, b); WITH RECURSIVE n(x) "
            "AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<5000) INSERT "
            "INTO rows SELECT x, randomblob(20000) FROM n")
        cluster.start()
        self.assertSamePages(cluster)
        cluster[3].kill()
        for leftover in cluster[3].folder.glob("*.db*"):
            leftover.unlink()
        cluster[3].start().wait_log("image_fetching db=main node=1")
        done = threading.Event()
        slow = threading.Thread(target=self.brake, args=(cluster[3], done))
        slow.start()
        try:
            self.damage(cluster[1])
            cluster[1].wait_log("image_installed db=main")
            time.sleep(1)
        finally:
            done.set()
            slow.join()
        cluster[3].wait_log("image_installed db=main")
        self.assertTrue(all(node.running() for node in cluster.nodes))
        self.assertSamePages(cluster)
