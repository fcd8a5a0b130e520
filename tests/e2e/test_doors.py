"""The ways into the library: LD_PRELOAD, the extension, the URI."""

import marmot
from case import Case

LOAD = (f"import sqlite3; c = sqlite3.connect(':memory:'); "
        f"c.enable_load_extension(True); "
        f"c.load_extension('{marmot.EXTENSION}'); ")


class Doors(Case):
    def test_the_command_line_under_ld_preload(self):
        """sqlite3 with nothing but LD_PRELOAD; a default busy timeout."""
        cluster = self.rows_cluster(2)
        done = marmot.cli(cluster[1].path(), "INSERT INTO rows VALUES('a', 1)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertSees(cluster[2], [("a", 1)], "SELECT * FROM rows")
        self.assertGreater(
            cluster.session(1, busy_ms=None).value("PRAGMA busy_timeout"), 0)

    def test_the_extension_from_python(self):
        """load_extension once, then a URI with vfs=marmot."""
        cluster = self.rows_cluster(2)
        uri = f"file:{cluster[1].path()}?vfs=marmot"
        done = marmot.run([marmot.PYTHON, "-c", LOAD +
                           f"d = sqlite3.connect('{uri}', uri=True); "
                           "d.execute('INSERT INTO rows VALUES(1, 2)'); "
                           "d.commit(); d.close(); c.close()"])
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertSees(cluster[2], [(1, 2)], "SELECT * FROM rows")

    def test_the_extension_from_the_command_line(self):
        """.load, .open and a write."""
        cluster = self.rows_cluster(2)
        done = marmot.cli(":memory:", f".load {marmot.EXTENSION}",
                          f".open file:{cluster[1].path()}?vfs=marmot",
                          "INSERT INTO rows VALUES('cli', 1)", preload=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertSees(cluster[2], [("cli", 1)], "SELECT * FROM rows")

    def test_the_uri_refuses_an_unmanaged_database(self):
        """vfs=marmot asked for by name never writes unreplicated."""
        cluster = self.cluster(1, start=False)
        uri = f"file:{cluster.folder}/x.db?vfs=marmot"
        done = marmot.run([marmot.PYTHON, "-c", LOAD +
                           f"d = sqlite3.connect('{uri}', uri=True); "
                           "d.execute('CREATE TABLE t(a)')"])
        self.assertIn("unable to open database file", done.stdout)
