#!/usr/bin/env python3
"""marmot doctor: will a program be replicated? What it says is held against
what the library does."""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest

import marmot
from case import Case

NOBODY = 65534
OPENS = r"""
#include <stdio.h>
struct sqlite3;
int sqlite3_open(const char *, struct sqlite3 **);
int sqlite3_exec(struct sqlite3 *, const char *, void *, void *, char **);
int main(int argc, char **argv)
{
    struct sqlite3 *db;
    int rv = sqlite3_open(argv[1], &db);
    if (rv == 0)
        rv = sqlite3_exec(db, argc > 2 ? argv[2] : "SELECT 1", 0, 0, 0);
    printf("%d\n", rv);
    return rv != 0;
}
"""


class Doctor(Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="marmot-doctor-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def ask(self, *command, pane="localhost:1", env=None):
        """(exit status, document)"""
        done = subprocess.run(
            [marmot.MARMOT, "doctor", "-json", "-pane", pane, *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=60, env={**os.environ, **(env or {})})
        return done.returncode, json.loads(done.stdout)

    def assertSays(self, command, verdict, what, **options):
        status, said = self.ask(*command, **options)
        self.assertEqual(said["verdict"], verdict, said)
        self.assertEqual(status, 0 if verdict == "works" else 1)
        self.assertRegex(" / ".join(f["what"] for f in said["findings"]), what)
        return said

    def assertReached(self, command, reached):
        """Does the library refuse to open what no node manages?"""
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=30,
            env=marmot.environment(True, MARMOT_REQUIRE="1"))
        self.assertEqual(done.returncode != 0, reached, done.stdout)

    def built(self, name, *arguments, text=OPENS):
        source = self.folder / f"{name}.c"
        source.write_text(text)
        program = self.folder / name
        subprocess.run(["gcc", "-o", program, source, *arguments], check=True)
        return str(program)

    def script(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def test_the_shell_of_sqlite(self):
        said = self.assertSays(["/usr/bin/sqlite3"], "works", "a shared SQLite")
        self.assertEqual(said["program"], "/usr/bin/sqlite3")
        self.assertReached(["/usr/bin/sqlite3", str(self.folder / "a.db"),
                            "CREATE TABLE t(a)"], True)

    def test_python(self):
        self.assertSays(["/usr/bin/python3", "-c", "pass"], "works",
                        "module sqlite3.*a shared SQLite")

    def test_a_program_that_links_the_library(self):
        program = self.built("dynamic", "-lsqlite3")
        self.assertSays([program], "works", "a shared SQLite")
        self.assertReached([program, str(self.folder / "b.db")], True)

    def test_sqlite_compiled_in(self):
        program = self.built("inside", "-Wl,-Bstatic", "-lsqlite3",
                             "-Wl,-Bdynamic", "-lm", "-lpthread", "-ldl", "-lz")
        self.assertSays([program], "not replicated", "compiled in")
        self.assertReached([program, str(self.folder / "c.db")], False)

    def test_a_static_program(self):
        program = self.built("static", "-static",
                             text="int main(void) { return 0; }")
        self.assertSays([program], "not replicated", "is static: nothing")

    def test_a_set_user_id_program(self):
        if os.getuid() != 0:
            self.skipTest("needs root to give a file away")
        program = self.folder / "setuid"
        shutil.copy("/usr/bin/sqlite3", program)
        os.chown(program, NOBODY, NOBODY)
        program.chmod(0o755 | stat.S_ISUID)
        self.assertSays([str(program)], "not replicated",
                        "set-user-id: the loader ignores")
        program.chmod(0o755)
        self.assertSays([str(program)], "works", "a shared SQLite")

    def test_another_processor(self):
        program = self.folder / "32"
        shutil.copy("/usr/bin/sqlite3", program)
        with open(program, "r+b") as file:
            file.seek(4)
            file.write(b"\x01")
        self.assertSays([str(program)], "not replicated", "has 32 bits")

    def test_scripts(self):
        for head in "#!/usr/bin/python3 -u", "#!/usr/bin/env -S python3":
            python = self.script("app.py", head + "\nimport sqlite3\n")
            self.assertSays([python, "x"], "works", "a script.*module sqlite3",
                            env={"PATH": "/usr/bin"})
        shell = self.script("app.sh", "#!/bin/sh\nsqlite3 a.db\n")
        self.assertSays([shell], "cannot tell", "what it starts gets")
        lost = self.script("lost", "#!/nonexistent/interpreter\n")
        self.assertSays([lost], "not replicated", "no such program")
        ring = self.script("ring", f"#!{self.folder}/ring\n")
        self.assertSays([ring], "not replicated", "no such program")

    def test_a_package_of_node(self):
        node = self.folder / "node"
        shutil.copy("/bin/true", node)
        app = self.folder / "app.js"
        app.touch()
        self.assertSays([str(node), str(app)], "cannot tell", "none here")
        package = self.folder / "node_modules/better-sqlite3/build/Release"
        package.mkdir(parents=True)
        module = self.built("module", "-shared", "-fPIC", "-Wl,-Bstatic",
                            "-lsqlite3", "-Wl,-Bdynamic", "-lm",
                            "-Wl,--exclude-libs,ALL")
        shutil.copy(module, package / "better_sqlite3.node")
        self.assertSays([str(node), str(app)], "not replicated", "compiled in")

    def test_what_is_not_there_or_no_program(self):
        self.assertSays(["no-such-program"], "not replicated", "not in PATH")
        self.assertSays(["/etc/passwd"], "not replicated", "no such program")
        odd = self.script("odd", "just text\n")
        self.assertSays([odd], "cannot tell", "neither a program")
        self.assertSays(["/bin/true"], "cannot tell", "no SQLite is seen")

    def test_usage_and_words(self):
        none = subprocess.run([marmot.MARMOT, "doctor"], capture_output=True,
                              text=True)
        self.assertEqual(none.returncode, 2)
        self.assertIn("usage", none.stderr)
        done = subprocess.run(
            [marmot.MARMOT, "doctor", "-pane", "localhost:1",
             "/usr/bin/sqlite3", "-json", "-what"], capture_output=True,
            text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, "(?m)^works .*libsqlite3")
        self.assertRegex(done.stdout, "(?m)^note .*no node answers")
        self.assertIn("LD_PRELOAD=", done.stdout)

    def test_the_node_and_its_databases(self):
        cluster = self.rows_cluster(n=1)
        pane = f"localhost:{cluster[1].pane}"
        self.assertSays(["/usr/bin/sqlite3"], "works",
                        "database main is managed", pane=pane)
        os.rename(cluster[1].path() + "-marmot", cluster[1].path() + "-away")
        self.assertSays(["/usr/bin/sqlite3"], "works",
                        "database main is not managed", pane=pane)
        os.rename(cluster[1].path() + "-away", cluster[1].path() + "-marmot")


if __name__ == "__main__":
    unittest.main()
