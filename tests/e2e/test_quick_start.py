"""The two commands of the original Marmot's README, to the letter."""

import glob
import os
import shutil

import marmot
from case import Case

ONE, TWO = "/tmp/cache-1.db", "/tmp/cache-2.db"
SCHEMA = "CREATE TABLE cache(key TEXT PRIMARY KEY, value)"


def clean():
    for path in glob.glob("/tmp/cache-[12].db*"):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


class QuickStart(Case):
    def setUp(self):
        clean()
        self.addCleanup(clean)
        cluster = self.cluster(2, start=False)
        self.one, self.two = cluster.nodes
        self.one.path = lambda name="main": ONE
        self.two.path = lambda name="main": TWO

    def start(self):
        self.one.start_command(
            f"{marmot.MARMOT} -bootstrap 2@127.0.0.1:8162 "
            "-bind 127.0.0.1:8161 -bind-pane localhost:6001 -node-id 1 "
            f"-db-path {ONE}".split())
        self.two.start_command(
            f"{marmot.MARMOT} -bootstrap 1@127.0.0.1:8161 "
            "-bind 127.0.0.1:8162 -bind-pane localhost:6002 -node-id 2 "
            f"-db-path {TWO}".split())
        self.one.wait_ready()
        self.two.wait_ready()

    def write(self, path, key):
        done = marmot.cli(path, f"INSERT INTO cache VALUES('{key}', 1)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_a_write_on_each_node_shows_up_in_the_other(self):
        """Two databases of the same schema, two nodes, the original flags."""
        marmot.make_database(ONE, SCHEMA)
        marmot.make_database(TWO, SCHEMA)
        self.start()
        self.write(ONE, "one")
        self.write(TWO, "two")
        for node in self.one, self.two:
            self.assertSees(node, [("one",), ("two",)],
                            "SELECT key FROM cache ORDER BY key")
        self.one.wait_log(r"pane http://localhost:6001/")
        self.assertEqual((self.one.stop(), self.two.stop()), (0, 0))
        with open(ONE, "rb") as one, open(TWO, "rb") as two:
            self.assertEqual(one.read(), two.read())
