"""Real marmot nodes and real SQLite programs, for the end-to-end tests.

A Cluster owns its nodes, their folders and logs; a Session is a Python process
with one SQLite connection, under LD_PRELOAD or without. Everything started
here is killed by its own process id at the end, and dies with the runner. All
waits have a deadline.
"""

import ctypes
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MARMOT_BUILD", ROOT / "build")).resolve()
# Another node program, say one with sanitizers, beside the usual libraries.
MARMOT = pathlib.Path(os.environ.get("MARMOT_NODE", BUILD / "marmot")).resolve()
PRELOAD = BUILD / "libmarmot-preload.so"
EXTENSION = BUILD / "libmarmot"  # SQLite adds the suffix
CHILD = ROOT / "tests" / "e2e" / "child.py"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

SANITIZER = re.compile(r"(Thread|Address|Leak)Sanitizer|runtime error:")
DEADLINE = 30  # seconds, for whatever should take a moment
live = []  # clusters to report on when a test fails


def environment(preload, **extra):
    """The environment of a child; extra variables may be None to remove."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MARMOT_")}
    env.pop("LD_PRELOAD", None)
    if preload:
        env["LD_PRELOAD"] = str(PRELOAD)
    env.update({k: str(v) for k, v in extra.items() if v is not None})
    return env


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def spawn(args, **kwargs):
    return subprocess.Popen([str(a) for a in args], preexec_fn=_die_with_parent,
                            **kwargs)


def run(args, preload=False, timeout=60, env=None):
    """Run a program to its end; returns a CompletedProcess with text."""
    return subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=timeout,
                          env=environment(preload, **(env or {})))


def cli(path, *sql, preload=True, timeout_ms=None, timeout=60):
    """The sqlite3 program on a database, as a user would call it."""
    args = ["sqlite3", "-batch"]
    if timeout_ms is not None:
        args += ["-cmd", f".timeout {timeout_ms}"]
    return run([*args, path, *sql], preload, timeout)


def eventually(check, timeout=DEADLINE, every=0.05):
    """Poll until check() is true; returns its last value in any case."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(every)


_ports = itertools.count(random.randrange(15000, 30000))


def free_port():
    """A port that nothing listens on, outside the range of outgoing ones."""
    while True:
        port = 15000 + (next(_ports) - 15000) % 17000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class SqlError(Exception):
    """What SQLite answered to a Session: its error name and message."""

    def __init__(self, name, message, seconds):
        super().__init__(f"{name}: {message} (after {seconds:.2f} s)")
        self.name, self.message, self.seconds = name, message, seconds


class Session:
    """A Python process with one connection to a database.

    busy_ms is its busy timeout; None leaves what the library sets."""

    def __init__(self, path, preload=True, busy_ms=5000, setup=None, env=None):
        self.path = path
        args = [PYTHON, CHILD, str(path),
                "default" if busy_ms is None else busy_ms, setup or ""]
        self.process = spawn(args, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True,
                             env=environment(preload, **(env or {})))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, do, **arguments):
        """Start a command; its answer is fetched with receive()."""
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            raise SqlError("DIED", f"child status {self.process.wait()}", 0)
        answer = json.loads(line)
        if "error" in answer:
            raise SqlError(answer["error"], answer["message"],
                           answer["seconds"])
        return answer["value"]

    def call(self, do, **arguments):
        self.send(do, **arguments)
        return self.receive()

    def sql(self, statement, *parameters):
        """Rows of one statement, as lists; blobs as hex."""
        return self.call("sql", sql=statement, parameters=parameters)

    def value(self, statement, *parameters):
        return self.sql(statement, *parameters)[0][0]

    def script(self, statements):
        return self.call("script", sql=statements)

    def kill(self):
        self.process.kill()
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def read_plain(path, statement, *parameters):
    """Rows read by stock SQLite, without the library, in this process."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def pages(path):
    """Every page of a database as a stock reader sees it, WAL included."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.serialize()
    finally:
        connection.close()


def make_database(path, script, journal="wal"):
    """A plain database, made by stock SQLite before any node knows it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript(script)
        connection.execute(f"PRAGMA journal_mode={journal}").fetchall()
    finally:
        connection.close()


class Node:
    """One marmot process and what belongs to it."""

    def __init__(self, cluster, node_id, role="voter"):
        self.cluster, self.id, self.role = cluster, node_id, role
        self.port, self.pane = free_port(), free_port()
        self.folder = cluster.folder / f"n{node_id}"
        self.folder.mkdir()
        self.raft = self.folder / "raft"
        self.log_path = self.folder / "log"
        self.process, self.mark = None, 0
        self.program, self.env = MARMOT, {}
        self.via = None  # members that it asks to be taken in

    def address(self):
        return f"127.0.0.1:{self.port}"

    def path(self, name="main"):
        return str(self.folder / f"{name}.db")

    def command(self, *extra):
        peers = [f"{n.id}@{n.address()}"
                 + ("/replica" if n.role == "replica" else "")
                 for n in self.cluster.founders if n is not self]
        args = [self.program, "-node-id", self.id,
                "-bind", self.address(),
                "-bind-pane", f"localhost:{self.pane}",
                "-raft-path", self.raft]
        if self.role != "voter":
            args += ["-role", self.role]
        if self.via is not None:
            args += ["-join", ",".join(n.address() for n in self.via)]
        elif peers:
            args += ["-bootstrap", ",".join(peers)]
        for name in self.cluster.databases:
            args += ["-db-path", f"{name}={self.path(name)}"]
        return [*args, *self.cluster.flags, *extra]

    def start(self, *extra):
        return self.start_command(self.command(*extra))

    def start_command(self, command):
        """Start with a command line of the test's own."""
        self.mark = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "a") as log:
            self.process = spawn(command, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log,
                                 env=environment(False, **self.env))
        return self

    def log(self, whole=False):
        """What was logged since the last start."""
        if not self.log_path.exists():
            return ""
        with open(self.log_path, errors="replace") as log:
            log.seek(0 if whole else self.mark)
            return log.read()

    def wait_log(self, pattern, timeout=DEADLINE):
        """The match of a regular expression in the log, or an error."""
        compiled = re.compile(pattern, re.M)
        found = eventually(lambda: compiled.search(self.log())
                           or self.process.poll() is not None, timeout)
        found = compiled.search(self.log())
        if found is None:
            raise AssertionError(f"node {self.id} did not log {pattern!r} "
                                 f"(status {self.process.poll()})")
        return found

    def wait_ready(self, timeout=DEADLINE):
        self.wait_log(rf"\bready node={self.id}\b", timeout)
        return self

    def wait_exit(self, timeout=DEADLINE):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"node {self.id} is still running") from None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=DEADLINE):
        """The orderly stop; returns the exit status."""
        self.process.terminate()
        return self.wait_exit(timeout)

    def kill(self):
        if self.running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def wipe(self):
        """Forget everything: store, databases and what lies beside them."""
        shutil.rmtree(self.raft, ignore_errors=True)
        for leftover in self.folder.glob("*.db*"):
            leftover.unlink()


class Cluster:
    """Nodes 1..n (replicas after the voters) in a folder of their own."""

    def __init__(self, n=3, databases=("main",), replicas=0, flags=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="marmot-e2e-"))
        self.databases, self.flags = list(databases), list(flags)
        self.nodes, self.sessions, self.failed = [], [], False
        for node_id in range(1, n + replicas + 1):
            role = "voter" if node_id <= n else "replica"
            self.nodes.append(Node(self, node_id, role))
        self.gone = []
        live.append(self)

    def __getitem__(self, node_id):
        return next(node for node in self.nodes if node.id == node_id)

    @property
    def founders(self):
        """Those that -bootstrap names, whoever is left of them."""
        return sorted((node for node in self.nodes + self.gone
                       if node.via is None), key=lambda node: node.id)

    def add(self, node_id, via, role="voter"):
        """One more node, not started, that is to join by asking `via`."""
        node = Node(self, node_id, role)
        node.via = list(via)
        self.nodes.append(node)
        return node

    def forget(self, node):
        """It is none of the cluster's any more; it is killed at the end."""
        self.nodes.remove(node)
        self.gone.append(node)

    def start(self, timeout=DEADLINE):
        """Start all; a database that any of them brings is then everywhere."""
        brought = [name for name in self.databases
                   if any(os.path.exists(n.path(name)) for n in self.nodes)]
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(timeout)
            for name in brought:
                node.wait_log(rf"\bready db={name}\b", timeout)
        return self

    def stop(self):
        """Orderly stop of all; their exit statuses, in order of id.

        All are asked before any is awaited, as a host going down would."""
        running = [node for node in self.nodes if node.running()]
        for node in running:
            node.process.terminate()
        return [node.wait_exit() for node in running]

    def close_sessions(self):
        while self.sessions:
            self.sessions.pop().close()

    def session(self, node_id, name="main", **options):
        session = Session(self[node_id].path(name), **options)
        self.sessions.append(session)
        return session

    def leaders(self):
        """{shard: node} from the last leader line of each shard, any node."""
        lines = []
        for node in self.nodes:
            lines += re.findall(
                r"^(\S+) . leader .*?\bshard=(\d+)\b.*?\bnode=(\d+)",
                node.log(), re.M)
        return {int(shard): int(leader) for _, shard, leader in sorted(lines)
                if leader != "0"}

    def report(self, lines=40):
        """Print the ends of the logs and keep the folder."""
        self.failed = True
        for node in self.nodes + self.gone:
            tail = node.log(whole=True).splitlines()[-lines:]
            print(f"--- node {node.id} ({node.log_path}) ---")
            print("\n".join(tail))

    def close(self):
        for session in self.sessions:
            if session.process.poll() is None:
                session.process.kill()
            session.close()
        for node in self.nodes + self.gone:
            node.kill()
        if self in live:
            live.remove(self)
        complaints = [node.id for node in self.nodes + self.gone
                      if SANITIZER.search(node.log(whole=True))]
        if not self.failed and not complaints:
            shutil.rmtree(self.folder, ignore_errors=True)
        if complaints:
            raise AssertionError(f"a sanitizer complains in nodes {complaints}:"
                                 f" see {self.folder}/n*/log")
