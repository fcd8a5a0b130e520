"""Whole databases on their way: only pages that differ, again after a death on
either side, in place under readers, not faster than allowed; and damage that a
running node finds."""

import os
import re
import sqlite3
import time

import marmot
from failpoints import BUILD, FailCase

PAGE = 4096
PART = 256  # pages of that size in one answer
SCRIPT = """
CREATE TABLE rows(tag, n);
CREATE TABLE wide(b);
WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<{})
INSERT INTO wide SELECT randomblob(100000) FROM n;
"""
COUNT = "SELECT count(*) FROM rows"


class Images(FailCase):
    """Three nodes and a database of some MB."""

    def wide_cluster(self, megabytes, flags=()):
        cluster = self.cluster(3, start=False, flags=flags)
        for node in cluster.nodes:
            node.program = BUILD / "marmot"
        marmot.make_database(cluster[1].path(), SCRIPT.format(megabytes * 10))
        return cluster.start()

    def remove(self, node):
        """Its file and all that belongs to it; not what had arrived."""
        for name in "", "-wal", "-shm":
            (node.folder / f"main.db{name}").unlink(missing_ok=True)

    def foreign_write(self, node, statement="INSERT INTO rows VALUES('f', 1)"):
        connection = sqlite3.connect(node.path(), isolation_level=None)
        connection.execute(statement)
        connection.close()

    def start_with(self, node, rules):
        armed = self.armed(node, rules)
        node.env = armed.environment()
        armed.on()
        return node.start()

    def installed(self, node):
        """(pages, received) of the last image, once it is there."""
        node.wait_log(r"image_installed db=main")
        node.wait_log(r"\bready db=main\b")
        line = re.findall(r"image_installed .* pages=(\d+) .* received=(\d+)",
                          node.log())[-1]
        return int(line[0]), int(line[1])

    def leftovers(self, node):
        return sorted(path.name for path in node.folder.glob("main.db.*"))

    def assertWhole(self, cluster, rows):
        self.writes(cluster.session(3), "INSERT INTO rows VALUES('end', 1)")
        for node in cluster.nodes:
            self.assertSees(node, [(rows + 1,)], COUNT)
            self.assertIntact(node)
        self.assertSamePages(cluster)


class Cut(Images):
    def setUp(self):
        self.cluster_of_three = self.wide_cluster(30)

    def test_the_sender_dies(self):
        """Another node sends the rest, and nothing twice."""
        cluster = self.cluster_of_three
        cluster[3].stop()
        self.remove(cluster[3])
        armed = self.restart_with(cluster[1], "image.send:15:kill")
        armed.on()
        cluster[3].start()
        self.assertDies(cluster[1].process, "image.send")
        pages, received = self.installed(cluster[3])
        self.assertEqual(re.findall(r"image_fetching db=main node=(\d)",
                                    cluster[3].log()), ["1", "2"])
        self.assertEqual(received, pages)
        self.start_again(cluster[1])
        self.assertWhole(cluster, 0)

    def test_the_receiver_dies(self):
        """It goes on from what it finds."""
        cluster = self.cluster_of_three
        cluster[3].stop()
        self.remove(cluster[3])
        self.dies_starting(cluster[3], "image.pages:15:kill")
        self.assertEqual(self.leftovers(cluster[3]), ["main.db.marmot-image"])
        self.writes(cluster.session(2), "INSERT INTO rows VALUES('new', 1)")
        self.start_again(cluster[3])
        pages, received = self.installed(cluster[3])
        self.assertLess(received, pages - 13 * PART)
        self.assertEqual(self.leftovers(cluster[3]), [])
        self.assertWhole(cluster, 1)

    def test_the_receiver_is_stopped(self):
        """In order: what had come is not lost either."""
        cluster = self.cluster_of_three
        cluster[3].stop()
        self.remove(cluster[3])
        self.start_with(cluster[3], "image.pages:10+:delay=200")
        cluster[3].wait_log("image_progress db=main .*percent=[34]")
        self.assertEqual(cluster[3].stop(), 0)
        self.assertEqual(self.leftovers(cluster[3]), ["main.db.marmot-image"])
        self.start_again(cluster[3])
        pages, received = self.installed(cluster[3])
        self.assertLess(received, pages * 0.8)
        self.assertWhole(cluster, 0)

    def test_a_receiver_in_place_dies_or_its_sender(self):
        """The old state is there until all is."""
        cluster = self.cluster_of_three
        cluster[3].stop()
        self.foreign_write(cluster[3], "UPDATE wide SET b = randomblob(100000)"
                           " WHERE rowid % 2")
        self.dies_starting(cluster[3],
                           "image.in_place:1+:error,image.pages:5:kill")
        self.assertIntact(cluster[3])
        armed = self.restart_with(cluster[1], "image.send:5:kill")
        armed.on()
        self.start_with(cluster[3], "image.in_place:1+:error")
        self.assertDies(cluster[1].process, "image.send")
        pages, received = self.installed(cluster[3])
        self.assertIn("in_place=yes", cluster[3].log())
        self.assertLess(received, pages * 0.6)
        self.assertEqual(self.leftovers(cluster[3]), [])
        self.start_again(cluster[1])
        self.assertWhole(cluster, 0)

    def test_the_last_copy_that_has_it_comes_back(self):
        """Nobody can send for a while; the asker waits."""
        cluster = self.cluster_of_three
        cluster[3].stop()
        self.remove(cluster[3])
        self.start_with(cluster[3], "image.pages:10+:delay=50")
        cluster[3].wait_log("image_progress db=main")
        for node in cluster.nodes[:2]:
            node.kill()
        time.sleep(1)
        for node in cluster.nodes[:2]:
            node.start()
        pages, received = self.installed(cluster[3])
        self.assertLessEqual(received, pages + 2 * PART)
        self.assertWhole(cluster, 0)


class Steps(Images):
    """The receiver dies at each step, and the next start gets there."""

    def dies_at(self, points, spoil, rule=""):
        cluster = self.wide_cluster(3)
        node, rows = cluster[3], 0
        session = cluster.session(1, busy_ms=20000)
        for point in points:
            with self.subTest(point):
                if node.running():
                    self.assertEqual(node.stop(), 0)
                spoil(node)
                self.writes(session, "INSERT INTO rows VALUES('x', 1)")
                rows += 1
                self.dies_starting(node, f"{rule}{point}:1:kill")
                self.start_again(node)
                self.assertSees(node, [(rows,)], COUNT)
        self.assertEqual(self.leftovers(node), [])
        self.assertWhole(cluster, rows)

    def test_a_new_file(self):
        self.dies_at(("image.begin", "image.pages", "image.install",
                      "image.link", "image.linked"), self.remove)

    def test_in_place(self):
        """Without the hook at the next start the copy is kept aside."""
        def spoil(node):
            self.foreign_write(node)
            for aside in node.folder.glob("main.db.before-*"):
                aside.unlink()
        self.dies_at(("image.begin", "image.pages", "image.patch",
                      "apply.frames", "apply.written", "apply.indexed",
                      "index.between_headers", "apply.published",
                      "image.patched"), spoil, "image.in_place:1+:error,")

    def leftovers(self, node):
        return [name for name in super().leftovers(node)
                if "before-marmot" not in name]


class InPlace(Images):
    def test_readers_go_on(self):
        """The old state until the commit, whoever has begun to read keeps it,
        then the new one; no second file, no copy aside."""
        cluster = self.wide_cluster(5)
        node = cluster[3]
        node.stop()
        self.foreign_write(node)
        before = os.stat(node.path()).st_ino
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('new', 1)")
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('new', 2)")
        self.start_with(node, "image.in_place:1+:error,"
                        "image.patch:1:delay=1500")
        node.wait_log("image_fetching db=main .*in_place=yes")
        old = sqlite3.connect(f"file:{node.path()}?mode=ro", uri=True,
                              isolation_level=None)
        self.addCleanup(old.close)
        old.execute("BEGIN")
        self.assertEqual(old.execute(COUNT).fetchall(), [(1,)])
        self.assertNotIn("image_installed", node.log())
        self.assertEqual(marmot.read_plain(node.path(), COUNT), [(1,)])
        pages, received = self.installed(node)
        self.assertLess(received, pages / 10)
        self.assertEqual(old.execute(COUNT).fetchall(), [(1,)])
        old.execute("COMMIT")
        self.assertEqual(old.execute(COUNT).fetchall(), [(2,)])
        self.assertEqual(os.stat(node.path()).st_ino, before)
        self.assertEqual(self.leftovers(node), [])
        self.assertWhole(cluster, 2)

    def resized(self, statement):
        cluster = self.wide_cluster(5)
        node = cluster[3]
        node.stop()
        self.foreign_write(node)
        session = cluster.session(1, busy_ms=20000)
        session.sql(statement)
        self.start_with(node, "image.in_place:1+:error")
        self.installed(node)
        self.assertIn("in_place=yes", node.log())
        self.assertEqual(self.leftovers(node), [])
        self.assertWhole(cluster, 0)

    def test_a_database_that_has_grown(self):
        self.resized("INSERT INTO wide SELECT randomblob(100000) FROM wide")

    def test_a_database_that_has_shrunk(self):
        """What is here is larger than what comes."""
        cluster = self.wide_cluster(5)
        node = cluster[3]
        node.stop()
        self.foreign_write(node, "INSERT INTO wide SELECT b FROM wide")
        self.start_with(node, "image.in_place:1+:error")
        self.installed(node)
        self.assertIn("in_place=yes", node.log())
        self.assertEqual(node.stop(), 0)
        self.start_again(node)
        self.assertWhole(cluster, 0)

    def test_another_page_size_is_a_new_file(self):
        cluster = self.wide_cluster(2)
        node = cluster[3]
        node.stop()
        self.remove(node)
        marmot.make_database(node.path(),
                             "PRAGMA page_size=1024; CREATE TABLE other(a)")
        self.start_with(node, "image.in_place:1+:error")
        self.installed(node)
        self.assertIn("in_place=no", node.log())
        self.assertWhole(cluster, 0)


class Rate(Images):
    def test_an_image_is_not_faster_than_allowed(self):
        """Neither for the sender nor for the receiver; commits are."""
        cluster = self.wide_cluster(8, flags=["-image-rate", "2000000"])
        node = cluster[3]
        node.stop()
        self.remove(node)
        begun = time.monotonic()
        node.start().wait_log("image_fetching db=main")
        session = cluster.session(1)
        session.sql("INSERT INTO rows VALUES('beside', 1)")
        self.assertLess(time.monotonic() - begun, 3)
        pages, received = self.installed(node)
        seconds = time.monotonic() - begun
        self.assertGreater(seconds, received * PAGE / 2e6 * 0.8)
        self.assertLess(seconds, received * PAGE / 2e6 * 2 + 5)
        self.assertEqual(received, pages)
        self.assertGreater(len(re.findall("image_progress", node.log())), 5)
        self.assertWhole(cluster, 1)


class Damage(Images):
    def flip(self, node, page):
        with open(node.path(), "r+b") as file:
            file.seek((page - 1) * PAGE + 1000)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))

    def test_a_flipped_byte_is_found_and_repaired(self):
        """By a node that runs, in its own file, with a message."""
        cluster = self.wide_cluster(10)
        node = cluster[3]
        armed = self.restart_with(node, "scrub.due:1:error")
        session = cluster.session(3, busy_ms=20000)
        session.sql("INSERT INTO rows VALUES('kept', 1)")
        for page in 900, 2000:
            self.flip(node, page)
        before = os.stat(node.path()).st_ino
        armed.on()
        session.sql("INSERT INTO rows VALUES('kept', 2)")
        for page in 900, 2000:
            node.wait_log(rf"W damaged db=main .*page={page}:")
        node.wait_log("scrubbed db=main")
        self.assertEqual(len(re.findall("repaired db=main", node.log())), 2)
        self.assertEqual(self.leftovers(node), [])
        self.assertEqual(os.stat(node.path()).st_ino, before)
        session.sql("INSERT INTO rows VALUES('kept', 3)")
        self.assertWhole(cluster, 3)
        self.assertSameFiles(cluster)

    def test_a_change_finds_the_damage_below_it(self):
        """It is not laid upon what is not the page that it was made of; a few
        pages are written by the loop, many by a job."""
        cluster = self.wide_cluster(3)
        node = cluster[3]
        session = cluster.session(1, busy_ms=20000)
        session.sql("INSERT INTO rows VALUES('kept', 1)")
        page = session.value("SELECT rootpage FROM sqlite_master"
                             " WHERE name='rows'")
        for rows, blob in (2, 10), (3, 300000):
            with self.subTest(bytes=blob):
                self.restart_with(node, "scrub.put_off:1+:error")
                log_before = len(node.log())
                self.flip(node, page)
                before = os.stat(node.path()).st_ino
                session.sql("BEGIN IMMEDIATE")
                session.sql("INSERT INTO wide VALUES(randomblob(?))", blob)
                session.sql("INSERT INTO rows VALUES('kept', ?)", rows)
                session.sql("COMMIT")
                self.assertSees(node, [(rows,)], COUNT)
                self.assertTrue(marmot.eventually(
                    lambda: "repaired db=main" in node.log()[log_before:]))
                log = node.log()[log_before:]
                self.assertEqual(re.findall(r"W damaged db=main .*page=(\d+):",
                                            log), [str(page)])
                self.assertEqual(len(re.findall("repaired db=main", log)), 1)
                self.assertNotIn("apply_failed", log)
                self.assertEqual(os.stat(node.path()).st_ino, before)
        self.assertEqual(self.leftovers(node), [])
        self.assertWhole(cluster, 3)
        self.assertSameFiles(cluster)

    def test_what_a_session_made_of_damage_is_refused(self):
        """A program has read the damaged page before anybody looked: what it
        writes stays away from the others, and succeeds after the repair."""
        cluster = self.wide_cluster(3)
        node = cluster[3]
        cluster.session(1, busy_ms=20000).sql(
            "INSERT INTO rows VALUES('kept', 1)")
        self.restart_with(node, "scrub.put_off:1+:error")
        page = cluster.session(1).value("SELECT rootpage FROM sqlite_master"
                                        " WHERE name='rows'")
        session = cluster.session(3, busy_ms=20000)
        self.flip(node, page)
        self.writes(session, "INSERT INTO rows VALUES('kept', 2)")
        node.wait_log(rf"W damaged db=main .*page={page}:")
        node.wait_log("repaired db=main")
        self.writes(session, "INSERT INTO rows VALUES('kept', 3)")
        self.assertWhole(cluster, 3)
        self.assertSameFiles(cluster)
        with open(node.path(), "rb") as file:
            file.seek((page - 1) * PAGE + 1000)
            self.assertEqual(file.read(1), b"\0")

    def test_a_damaged_page_is_not_sent(self):
        """The node that should send it is repaired itself."""
        cluster = self.wide_cluster(10)
        self.restart_with(cluster[1], "image.begin:99:kill")
        self.flip(cluster[1], 1500)
        cluster[3].stop()
        self.remove(cluster[3])
        self.start_again(cluster[3])
        cluster[1].wait_log(r"W damaged db=main .*page=1500:")
        cluster[1].wait_log("repaired db=main")
        self.installed(cluster[3])
        self.assertWhole(cluster, 0)

    def test_nobody_can_help(self):
        """The others are away: the copy that is there stays in use."""
        cluster = self.wide_cluster(3)
        node = cluster[3]
        armed = self.restart_with(node, "scrub.due:1+:error,"
                                  "scrub.put_off:1+:error")
        self.flip(node, 300)
        for other in cluster.nodes[:2]:
            other.stop()
        armed.on()
        node.wait_log(r"W damaged db=main .*page=300:")
        node.wait_log("E not_repaired db=main")
        self.assertEqual(marmot.read_plain(node.path(), COUNT), [(0,)])
        for other in cluster.nodes[:2]:
            other.start()
        node.wait_log("I repaired db=main")
        self.assertWhole(cluster, 0)
