"""Death at every step of a commit, and what is left to the others.

One class a process that dies: the application, its node, the leader, a node
that follows; then files that a node finds changed when it starts. Each test
kills exactly at one point (base/failpoint.h) and checks exactly what must
follow: acknowledged rows on every node, refused ones nowhere, equal files after
the stop, writers beside it that go on, and a next write without a restart of
what still lives.
"""

import signal
import sqlite3
import struct
import time

import marmot
from failpoints import ALL, BUILD, INSERT, FailCase, points
from marmot import eventually

WIDE = "INSERT INTO wide VALUES(randomblob(?))"
RESET_FRAMES = 1000  # so many are written back when nobody writes


def frames(node):
    """How many frames the wal-index shows; in the machine's byte order."""
    with open(node.path() + "-shm", "rb") as shm:
        shm.seek(16)
        return struct.unpack("=I", shm.read(4))[0]


class Points(FailCase):
    def test_the_table_and_the_places_agree(self):
        script = marmot.ROOT / "scripts" / "failpoints"
        done = marmot.run([script, "--check"])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertGreater(len(points()), 50)

    def test_products_hold_nothing_of_them(self):
        script = marmot.ROOT / "scripts" / "failpoints"
        done = marmot.run([script, "--absent", marmot.MARMOT, marmot.PRELOAD,
                           marmot.BUILD / "libmarmot.so"])
        self.assertEqual(done.returncode, 0, done.stdout)
        for product in "marmot", "libmarmot.so":
            found = marmot.run([script, "--absent", BUILD / product])
            self.assertEqual(found.returncode, 1, "cannot see what is there")


class Rows(FailCase):
    """Keeps account of the rows that must be there."""

    def setUp(self):
        self.cluster = self.fail_cluster()
        self.expected, self.serial = set(), 0

    def insert(self, session, tag, n=1):
        """A row that is acknowledged."""
        session.sql(INSERT, tag, n)
        self.expected.add((tag, n))

    def goes_on(self, session, tag):
        """The same connection writes, sooner or later."""
        self.serial += 1
        tag = f"{tag} {self.serial}"
        self.writes(session, f"INSERT INTO rows VALUES('{tag}', 0)")
        self.expected.add((tag, 0))

    def rolled_back(self, session):
        """After a commit that failed; SQLite has mostly done it itself."""
        try:
            session.sql("ROLLBACK")
        except marmot.SqlError as error:
            self.assertIn("no transaction is active", error.message)

    def wait_reset(self, node):
        self.assertTrue(eventually(lambda: frames(node) == 0),
                        f"node {node.id} never started its WAL over")

    def finish(self):
        self.assertWhole(self.cluster, self.expected)
        self.assertSameFiles(self.cluster)


class Application(Rows):
    """The application dies; its node and the others live."""

    def dies_at(self, point, survives, wide=0):
        """In a transaction of its own, beside writers on all nodes."""
        home, tag = self.cluster[1], f"{point} {wide}"
        victim, armed = self.fail_session(self.cluster, home,
                                          f"{point}:1:kill", busy_ms=20000)
        self.insert(victim, f"before {tag}")
        writers = self.begin_neighbours(self.cluster, self.cluster.nodes,
                                        f"beside {tag}")
        time.sleep(0.3)
        armed.on()
        with self.assertRaises(marmot.SqlError) as died:
            if wide:
                victim.sql("PRAGMA cache_size=10")
                victim.sql("BEGIN IMMEDIATE")
                victim.sql(WIDE, wide)
            victim.sql(INSERT, tag, 1)
            if wide:
                victim.sql("COMMIT")
        self.assertEqual(died.exception.name, "DIED")
        self.assertDies(victim.process, point)
        self.expected |= self.end_neighbours(writers)
        if survives:
            self.expected.add((tag, 1))
        for node in self.cluster.nodes:
            self.goes_on(self.cluster.session(node.id), f"after {tag}")
        self.assertWhole(self.cluster, self.expected)

    def test_waiting_for_the_lock(self):
        holder = self.cluster.session(1)
        holder.sql("BEGIN IMMEDIATE")
        victim = self.cluster.session(1, busy_ms=20000)
        victim.send("sql", sql="INSERT INTO rows VALUES('victim', 1)")
        time.sleep(0.3)
        victim.kill()
        self.insert(holder, "holder")
        holder.sql("COMMIT")
        for node in self.cluster.nodes:
            self.goes_on(self.cluster.session(node.id), "after")
        self.finish()

    def test_with_the_lock_and_with_frames(self):
        """Nothing of it is left."""
        self.dies_at("guest.locked", False)
        self.dies_at("guest.frame", False, wide=100_000)
        self.dies_at("guest.propose", False)
        self.dies_at("guest.part", False, wide=3_000_000)
        self.finish()

    def test_with_a_kept_lock_taken_again(self):
        victim, armed = self.fail_session(self.cluster, self.cluster[1],
                                          "guest.retaken:1:kill")
        self.insert(victim, "kept")
        armed.on()
        with self.assertRaises(marmot.SqlError):
            for n in range(100):  # a slow one finds its slot taken back
                self.insert(victim, "kept", n)
        self.assertDies(victim.process, "guest.retaken")
        self.goes_on(self.cluster.session(1), "after")
        self.goes_on(self.cluster.session(2), "after")
        self.finish()

    def test_waiting_for_the_answer(self):
        """The node goes on with the commit and writes it itself."""
        self.dies_at("guest.wait", True)
        self.dies_at("guest.wait", True, wide=3_000_000)
        self.finish()

    def test_with_the_answer_and_nothing_written(self):
        self.dies_at("guest.committed", True)
        self.dies_at("guest.committed", True, wide=100_000)
        self.finish()

    def test_with_the_commit_frame_written(self):
        self.dies_at("guest.shown", True)
        self.dies_at("guest.shown", True, wide=100_000)
        self.finish()

    def test_in_the_middle_of_the_index(self):
        self.dies_at("guest.between_headers", True)
        self.dies_at("guest.between_headers", True, wide=100_000)
        self.finish()

    def test_shown_and_not_told(self):
        for point in "published", "recorded", "left", "told":
            with self.subTest(point):
                self.dies_at(f"guest.{point}", True)
        self.finish()

    def test_with_a_new_wal_begun(self):
        """Its first transaction after the WAL started over."""
        home = self.cluster[1]
        victim, armed = self.fail_session(
            self.cluster, home, "guest.wal_header:1:kill", busy_ms=20000)
        victim.sql(WIDE, 4096 * (RESET_FRAMES + 100))
        self.wait_reset(home)
        armed.on()
        with self.assertRaises(marmot.SqlError):
            victim.sql(INSERT, "victim", 1)
        self.assertDies(victim.process, "guest.wal_header")
        self.goes_on(self.cluster.session(1), "after")
        self.goes_on(self.cluster.session(2), "after")
        self.finish()


class Creation(FailCase):
    """An application dies while it brings a database into being."""

    def dies_at(self, point):
        cluster = self.cluster(3, start=False)
        for node in cluster.nodes:
            node.program = BUILD / "marmot"
        cluster.start()
        victim, armed = self.fail_session(cluster, cluster[1],
                                          f"{point}:1:kill", busy_ms=20000)
        armed.on()
        with self.assertRaises(marmot.SqlError) as died:
            victim.sql("CREATE TABLE rows(tag, n)")
        self.assertEqual(died.exception.name, "DIED")
        self.assertDies(victim.process, point)
        for i, node in enumerate(cluster.nodes):
            self.writes(cluster.session(node.id, busy_ms=20000),
                        f"INSERT INTO rows VALUES('after', {i})")
        self.assertWhole(cluster, {("after", i) for i in range(3)})
        self.assertSameFiles(cluster)

    def test_before_the_file_is_written(self):
        self.dies_at("guest.creating")

    def test_with_the_file_written(self):
        self.dies_at("guest.created")


class Node(Rows):
    """The node of a session dies; the session lives."""

    def restarts(self, session, home, tag):
        """Others write while it is away; then the session goes on."""
        others = [node for node in self.cluster.nodes if node is not home]
        writers = self.begin_neighbours(self.cluster, others, f"w {tag}")
        self.start_again(home)
        self.goes_on(session, f"after {tag}")
        self.expected |= self.end_neighbours(writers)
        self.assertWhole(self.cluster, self.expected)

    def test_asked_for_the_lock(self):
        home = self.cluster[1]
        for point in "node.lock", "node.granted":
            with self.subTest(point):
                armed = self.restart_with(home, f"{point}:1:kill")
                session = self.cluster.session(1, busy_ms=500)
                session.sql("SELECT 1")
                armed.on()
                self.assertRefused(session, "BEGIN IMMEDIATE")
                self.assertDies(home.process, point)
                self.restarts(session, home, point)
        self.finish()

    def test_the_lock_is_granted(self):
        """The transaction ends with an error, before or after the restart."""
        home = self.cluster[1]
        for late in False, True:
            with self.subTest(late=late):
                armed = self.restart_with(home, "node.granted_sent:1:kill")
                session = self.cluster.session(1, busy_ms=20000)
                session.sql("SELECT 1")
                armed.on()
                session.sql("BEGIN IMMEDIATE")
                self.assertDies(home.process, "node.granted_sent")
                session.sql(INSERT, "victim", 1)
                if late:
                    home.env = {}
                    home.start()
                    home.wait_log(r"\bwaiting db=main\b")
                self.assertRefused(session, "COMMIT", "SQLITE_BUSY_SNAPSHOT")
                self.rolled_back(session)
                if late:
                    home.kill()
                self.restarts(session, home, f"owned {late}")
        self.finish()

    def test_frames_are_written(self):
        """A transaction that has spilled, the commit not begun."""
        home = self.cluster[1]
        session = self.cluster.session(1, busy_ms=20000)
        session.sql("PRAGMA cache_size=10")
        session.sql("BEGIN IMMEDIATE")
        session.sql(WIDE, 300_000)
        session.sql(INSERT, "victim", 1)
        home.kill()
        # SQLITE_IOERR_WRITE when it was still spilling.
        with self.assertRaises(marmot.SqlError) as refused:
            session.sql("COMMIT")
        self.assertIn(refused.exception.name,
                      ("SQLITE_BUSY_SNAPSHOT", "SQLITE_IOERR_WRITE"))
        self.rolled_back(session)
        self.restarts(session, home, "frames")
        self.finish()

    def commits_through(self, home, point, committed, tag, second=None):
        """The node dies at a step of a commit; the next start tells what became
        of it. `second`: where that one dies too. `committed`: whether it must
        have been; None when both are right."""
        armed = self.restart_with(home, f"{point}:1:kill")
        session = self.cluster.session(home.id, busy_ms=20000)
        session.sql("BEGIN IMMEDIATE")
        session.sql(INSERT, tag, 1)
        armed.on()
        session.send("sql", sql="COMMIT")
        self.assertDies(home.process, point)
        if second is not None:
            self.dies_starting(home, f"{second}:1:kill")
        home.env = {}
        home.start()
        try:
            session.receive()
            happened = True
        except marmot.SqlError as error:
            self.assertEqual(error.name, "SQLITE_BUSY_SNAPSHOT", str(error))
            self.rolled_back(session)
            happened = False
        if committed is not None:
            self.assertEqual(happened, committed, tag)
        if happened:
            self.expected.add((tag, 1))
        home.wait_ready().wait_log(r"\bready db=main\b")
        home.kill()
        self.restarts(session, home, tag)

    def everywhere(self, point, committed, second=None):
        """At a node that leads the group, and at one that does not."""
        leader = self.leader(self.cluster)
        follower = next(n for n in self.cluster.nodes if n is not leader)
        for home in leader, follower:
            tag = f"{point} at {home.id}"
            with self.subTest(tag):
                self.commits_through(home, point, committed, tag, second)

    def test_a_proposal_has_not_left(self):
        self.everywhere("node.proposal", False)
        self.everywhere("node.proposed", False)
        self.finish()

    def test_a_proposal_is_being_stored(self):
        for point in ("store.row", "store.commit", "store.committed",
                      "store.complete"):
            self.everywhere(point, None)
        self.finish()

    def test_a_commit_was_accepted_and_not_answered(self):
        self.everywhere("node.committed", True)
        self.finish()

    def test_it_dies_again_when_it_is_asked(self):
        self.everywhere("node.committed", True, second="node.resume")
        self.everywhere("node.proposal", False, second="node.fence")
        self.finish()

    def test_a_commit_was_answered(self):
        self.everywhere("node.answered", True)
        self.finish()


class Publishing(Rows):
    """The node dies while its session makes a commit visible."""

    steps = ("committed", "shown", "between_headers", "published", "recorded",
             "left", "told")

    def paused_at(self, step):
        """A session that stands still there, and its node dead."""
        home = self.cluster[1]
        session, armed = self.fail_session(
            self.cluster, home, f"guest.{step}:1:pause", busy_ms=20000)
        self.insert(session, f"before {self.id()[-12:]} {step}")
        armed.on()
        session.send("sql", sql=INSERT, parameters=(self.id()[-12:] + step, 1))
        self.assertStops(session.process, step)
        self.expected.add((self.id()[-12:] + step, 1))
        home.kill()
        return session

    def neighbours(self, step):
        return self.begin_neighbours(self.cluster, self.cluster.nodes[1:],
                                     f"w {step}", seconds=0.7)

    def test_the_session_goes_on_before_the_restart(self):
        for step in self.steps:
            with self.subTest(step):
                session = self.paused_at(step)
                writers = self.neighbours(step)
                session.process.send_signal(signal.SIGCONT)
                session.receive()
                self.start_again(self.cluster[1])
                self.goes_on(session, f"after {step}")
                self.expected |= self.end_neighbours(writers)
                self.assertWhole(self.cluster, self.expected)
                session.close()
        self.finish()

    def test_a_lock_from_before_the_restart_is_not_held(self):
        """The next node has the file already: nothing would keep it away."""
        home = self.cluster[1]
        other = self.fail_session(self.cluster, home)
        self.insert(other, "before granted")
        other.close()
        session, armed = self.fail_session(self.cluster, home,
                                           "guest.granted:1:pause")
        session.sql("PRAGMA busy_timeout=0")
        armed.on()
        session.send("sql", sql="BEGIN IMMEDIATE")
        self.assertStops(session.process, "granted")
        home.kill()
        home.env = {}
        home.start()
        home.wait_ready().wait_log(r"\bready db=main\b")
        session.process.send_signal(signal.SIGCONT)
        with self.assertRaises(marmot.SqlError) as raised:
            session.receive()
        self.assertEqual(raised.exception.name, "SQLITE_BUSY")
        session.sql("PRAGMA busy_timeout=20000")
        self.goes_on(session, "after granted")
        self.finish()

    def test_the_session_goes_on_after_the_restart(self):
        """The node waits for it, and says so."""
        home = self.cluster[1]
        home.env = {}
        for step in self.steps:
            with self.subTest(step):
                session = self.paused_at(step)
                writers = self.neighbours(step)
                home.start()
                home.wait_log(r"\bwaiting db=main\b")
                session.process.send_signal(signal.SIGCONT)
                session.receive()
                home.wait_ready().wait_log(r"\bready db=main\b")
                self.goes_on(session, f"after {step}")
                self.expected |= self.end_neighbours(writers)
                self.assertWhole(self.cluster, self.expected)
                session.close()
        self.finish()

    def test_the_session_dies_too(self):
        """The next start finds the commit, or what is missing of it."""
        for step in self.steps:
            with self.subTest(step):
                session = self.paused_at(step)
                writers = self.neighbours(step)
                session.kill()
                self.start_again(self.cluster[1])
                self.goes_on(self.cluster.session(1), f"after {step}")
                self.expected |= self.end_neighbours(writers)
                self.assertWhole(self.cluster, self.expected)
                self.assertEqual(list(self.cluster[1].folder.glob(
                    "main.db.before-marmot-*")), [], "its own state unknown")
        self.finish()


    def test_the_session_dies_within_the_commit_frame(self):
        """Its header is in the file with half of the page."""
        session = self.paused_at("committed")
        session.kill()
        size, at = 4096 + 24, 32 + 4120 * frames(self.cluster[1])
        with open(self.cluster[1].path() + "-wal", "r+b") as wal:
            wal.seek(at - size)
            torn = wal.read(2000)
            wal.seek(at)
            wal.write(torn)
        self.start_again(self.cluster[1])
        self.goes_on(self.cluster.session(1), "after")
        self.finish()


class Errors(Rows):
    """A step fails instead."""

    def test_the_commit_frame_cannot_be_written(self):
        """The cluster has the commit: the application hears that its outcome
        is unknown, and the node writes it."""
        session, armed = self.fail_session(
            self.cluster, self.cluster[1], "guest.frame_write:1:error",
            busy_ms=20000)
        self.insert(session, "before")
        armed.on()
        with self.assertRaises(marmot.SqlError) as failed:
            session.sql(INSERT, "unknown", 1)
        self.assertIn("disk I/O error", failed.exception.message)
        # Python does not know the extended code of an unknown outcome.
        self.assertEqual(failed.exception.name, "unknown")
        self.expected.add(("unknown", 1))
        self.goes_on(session, "after")
        self.finish()

    def test_a_frame_cannot_be_written(self):
        """Before the proposal: nothing of it happened."""
        session, armed = self.fail_session(
            self.cluster, self.cluster[1], "guest.frame_write:1:error",
            busy_ms=20000)
        self.insert(session, "before")
        armed.on()
        session.sql("BEGIN IMMEDIATE")
        session.sql(WIDE, 50_000)
        with self.assertRaises(marmot.SqlError) as failed:
            session.sql("COMMIT")
        self.assertEqual(failed.exception.name, "SQLITE_IOERR_WRITE")
        self.rolled_back(session)
        self.goes_on(session, "after")
        for node in self.cluster.nodes:
            self.assertSees(node, [(0,)], "SELECT count(*) FROM wide")
        self.finish()

    def test_the_disk_of_the_log_is_full_for_a_while(self):
        """Writes are refused or wait; then they go on, without a restart."""
        for node in self.cluster.nodes:
            with self.subTest(node.id):
                armed = self.restart_with(node, "store.commit:1+:error")
                session = self.cluster.session(node.id, busy_ms=20000)
                armed.on()
                session.send("rows_until", tag=f"full {node.id}", seconds=1.5)
                node.wait_log(r"E disk_full ")
                armed.off()
                outcome = session.receive()
                tag = f"full {node.id}"
                self.expected |= {(tag, n) for n in outcome["acknowledged"]}
                self.goes_on(session, tag)
                node.wait_log(r"I disk_has_room ")
                unknown = {(tag, n) for n, _ in outcome["unknown"]}
                seen = set(map(tuple, session.sql(ALL)))
                self.expected |= seen & unknown
        self.finish()

    def test_the_log_cannot_be_written(self):
        """The node stops, and says why; the others go on."""
        node = self.cluster[2]
        armed = self.restart_with(node, "store.begin:1:error")
        session = self.cluster.session(1, busy_ms=20000)
        armed.on()
        self.insert(session, "a")
        self.assertExits(node, "cannot write")
        self.insert(session, "b")
        self.start_again(node)
        self.finish()


class Leader(Rows):
    """The leader dies; the commit of another node's session goes on."""

    def test_the_same_token_is_proposed_again(self):
        for point in ("raft.received", "store.row", "store.committed",
                      "store.complete", "raft.append", "raft.sent"):
            with self.subTest(point):
                self.leader_dies_at(point)
        self.finish()

    def leader_dies_at(self, point):
        armed = {node: self.restart_with(node, f"{point}:1:kill")
                 for node in self.cluster.nodes}
        leader = self.leader(self.cluster)
        home, other = (n for n in self.cluster.nodes if n is not leader)
        session = self.cluster.session(home.id, busy_ms=20000)
        self.writes(session, "BEGIN IMMEDIATE")
        self.insert(session, point)
        armed[leader].on()
        session.sql("COMMIT")
        self.assertDies(leader.process, point)
        writers = self.begin_neighbours(self.cluster, [home, other],
                                        f"w {point}")
        self.goes_on(session, f"after {point}")
        self.start_again(leader)
        self.expected |= self.end_neighbours(writers)
        self.assertWhole(self.cluster, self.expected)
        session.close()


class Follower(Rows):
    """A node dies while it takes over what others commit."""

    def dies_at(self, point, wide=100_000, passage=1, prepare=None):
        """Returns when it is back and has everything."""
        session = self.cluster.session(1, busy_ms=20000)
        armed = self.restart_with(self.cluster[3], f"{point}:{passage}:kill")
        if prepare is not None:
            prepare(session)
        armed.on()
        session.sql("BEGIN IMMEDIATE")
        session.sql(WIDE, wide)
        self.insert(session, point)
        session.sql("COMMIT")
        self.assertDies(self.cluster[3].process, point)
        writers = self.begin_neighbours(self.cluster, self.cluster.nodes[:2],
                                        f"w {point}", seconds=0.5)
        self.start_again(self.cluster[3])
        self.goes_on(self.cluster.session(3), f"after {point}")
        self.expected |= self.end_neighbours(writers)
        self.assertWhole(self.cluster, self.expected)

    def test_appending(self):
        for point in ("apply.frames", "apply.written", "apply.indexed",
                      "index.between_headers", "apply.published"):
            with self.subTest(point):
                self.dies_at(point)
        self.finish()

    def test_storing(self):
        for point in ("store.begin", "store.row", "store.commit",
                      "store.committed", "store.complete", "raft.received"):
            with self.subTest(point):
                self.dies_at(point)
        self.finish()

    def test_checkpointing(self):
        for point, passage in (("synced", 1), ("page", 500), ("moved", 1),
                               ("done", 1), ("reset", 1), ("was_reset", 1)):
            with self.subTest(point):
                self.dies_at(f"checkpoint.{point}", passage=passage,
                             wide=4096 * (RESET_FRAMES + 100))
        self.dies_at("index.between_headers", passage=2,
                     wide=4096 * (RESET_FRAMES + 100))
        self.finish()

    def test_beginning_a_wal(self):
        def fill(session):
            session.sql(WIDE, 4096 * (RESET_FRAMES + 100))
            self.wait_reset(self.cluster[3])
        self.dies_at("apply.header", prepare=fill)
        self.finish()

    def test_checkpointing_the_store(self):
        for point in "store.checkpoint", "store.checkpointed":
            with self.subTest(point):
                self.dies_at(point, wide=3_000_000)
        self.finish()


class Starting(Rows):
    """A node dies on the way up, and the next start gets there."""

    def start_dies_at(self, spoil, names):
        node = self.cluster[3]
        session = self.cluster.session(1, busy_ms=20000)
        for point in names:
            with self.subTest(point):
                if node.running():
                    self.assertEqual(node.stop(), 0)
                spoil(node)
                self.insert(session, point)
                self.dies_starting(node, f"{point}:1:kill")
                self.insert(session, point, 2)
                self.start_again(node)
                self.goes_on(self.cluster.session(3), point)
                self.assertWhole(self.cluster, self.expected)
        self.finish()

    def test_reading_its_files(self):
        self.start_dies_at(lambda node: None, (
            "store.opened", "store.loaded", "file.open", "file.opened",
            "file.scanned"))

    def test_fetching_a_file_that_is_gone(self):
        def remove(node):
            for name in "", "-wal", "-shm":
                (node.folder / f"main.db{name}").unlink(missing_ok=True)
        self.start_dies_at(remove, ("image.install", "image.link",
                                    "image.linked", "file.scanned"))

    def test_for_the_first_time(self):
        def forget(node):
            for member in node.raft.glob("*.member"):
                member.unlink()
        self.start_dies_at(forget, ("file.member",))

    def test_replacing_a_damaged_file(self):
        def damage(node):
            connection = sqlite3.connect(node.path(), isolation_level=None)
            connection.execute(INSERT, ("foreign", 1))
            connection.close()
        self.start_dies_at(damage, ("image.install", "image.aside",
                                    "image.applied"))

    def test_replacing_a_file_of_another_page_size(self):
        def replace(node):
            for name in "", "-wal", "-shm":
                (node.folder / f"main.db{name}").unlink(missing_ok=True)
            marmot.make_database(node.path(),
                                 "PRAGMA page_size=1024; CREATE TABLE other(a)")
        self.start_dies_at(replace, ("image.rename", "image.renamed"))


class Found(Rows):
    """What a node finds at its start that it did not leave there."""

    def setUp(self):
        super().setUp()
        self.node = self.cluster[3]
        self.session = self.cluster.session(1, busy_ms=20000)
        self.session.sql(WIDE, 200_000)
        for i in range(20):
            self.insert(self.session, "kept", i)
        self.assertRows(self.cluster, self.expected)

    def aside(self):
        return list(self.node.folder.glob("main.db.before-marmot-*"))

    def starts_over(self, change, kill=True):
        """The node is away, its files change, others write, it comes back."""
        if kill:
            self.node.kill()
        else:
            self.assertEqual(self.node.stop(), 0)
        change()
        writers = self.begin_neighbours(self.cluster, self.cluster.nodes[:2],
                                        "w")
        self.start_again(self.node)
        self.expected |= self.end_neighbours(writers)
        self.goes_on(self.cluster.session(3), "after")
        self.assertWhole(self.cluster, self.expected)

    def assertKeptAside(self, readable=True):
        """With the message that is promised, and what was in it."""
        aside = self.aside()
        self.assertEqual(len(aside), 1)
        self.assertRegex(self.node.log(), r"W unknown_state db=main .*aside")
        self.assertIn(f"aside={aside[0]}", self.node.log())
        if readable:
            self.assertEqual(marmot.read_plain(
                aside[0], "SELECT count(*) FROM rows WHERE tag='foreign'"),
                [(1,)])

    def foreign_write(self):
        connection = sqlite3.connect(self.node.path(), isolation_level=None)
        connection.execute(INSERT, ("foreign", 1))
        connection.close()

    def test_a_foreign_write_after_an_orderly_stop(self):
        self.starts_over(self.foreign_write, kill=False)
        self.assertKeptAside()
        self.finish()

    def test_a_foreign_write_behind_a_crash(self):
        self.starts_over(self.foreign_write)
        self.assertKeptAside()
        self.finish()

    def test_a_foreign_write_that_stays_in_the_wal(self):
        def write():
            connection = sqlite3.connect(self.node.path(),
                                         isolation_level=None)
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute(INSERT, ("foreign", 1))
            wal = open(self.node.path() + "-wal", "rb").read()
            connection.close()
            with open(self.node.path() + "-wal", "wb") as file:
                file.write(wal)
        self.starts_over(write)
        self.assertKeptAside()
        self.finish()

    def test_a_damaged_page(self):
        def damage():
            with open(self.node.path(), "r+b") as file:
                file.seek(-2000, 2)
                byte = file.read(1)
                file.seek(-2000, 2)
                file.write(bytes([byte[0] ^ 1]))
        self.starts_over(damage, kill=False)
        self.assertKeptAside(readable=False)
        self.finish()

    def lose_tail(self, share):
        """A power cut that took the end of a WAL that was not synced."""
        wal = self.node.path() + "-wal"
        with open(wal, "r+b") as file:
            file.truncate(int(file.seek(0, 2) * share))
        (self.node.folder / "main.db-shm").unlink(missing_ok=True)

    def test_a_wal_without_its_end(self):
        """Its position is an earlier one: the rest is written again, and
        nothing is kept aside, for nothing is unknown."""
        self.starts_over(lambda: self.lose_tail(0.7))
        self.assertEqual(self.aside(), [])
        self.assertNotIn("image_fetching", self.node.log())
        self.finish()

    def test_no_wal_at_all(self):
        self.starts_over(lambda: self.lose_tail(0))
        self.assertEqual(self.aside(), [])
        self.assertNotIn("image_fetching", self.node.log())
        self.finish()

    def test_a_flipped_bit_in_the_wal(self):
        def flip():
            with open(self.node.path() + "-wal", "r+b") as file:
                middle = file.seek(0, 2) // 2
                file.seek(middle)
                byte = file.read(1)
                file.seek(middle)
                file.write(bytes([byte[0] ^ 4]))
            (self.node.folder / "main.db-shm").unlink(missing_ok=True)
        self.starts_over(flip)
        self.assertEqual(self.aside(), [])
        self.assertNotIn("image_fetching", self.node.log())
        self.finish()
