"""The world of a fault run: three nodes behind proxies, a database a workload,
and clients that come back when they are killed.

Everything is started from one thread, since it dies with the thread that
started it (marmot.spawn).
"""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import marmot  # noqa: E402

import history  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

NODES = 3
SMALL_DISK = "640m"  # of the last node, when it can be had
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def stopped(pid):
    """Is the process stopped by a signal?"""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


class Network:
    """The proxies, all in one process; rules by name of the fault."""

    def __init__(self, nodes):
        self.process = marmot.spawn([marmot.PYTHON, HERE / "proxy.py"],
                                    stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
        self.ports, self.rules = {}, {}
        for a in nodes:
            for b in nodes:
                if a is not b:
                    port = marmot.free_port()
                    self.ports[a.id, b.id] = port
                    self.send(link=[a.id, b.id], listen=port, to=b.port)

    def send(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise RuntimeError("the proxy has died")

    def set(self, name, pairs, **rule):
        """A fault on what flows between the (from, to) pairs."""
        self.rules[name] = [{"from": a, "to": b, **rule} for a, b in pairs]
        self.apply()

    def clear(self, name):
        self.rules.pop(name, None)
        self.apply()

    def apply(self):
        """Rules of several faults on one pair add up."""
        pairs = {}
        for rules in self.rules.values():
            for rule in rules:
                pairs.setdefault((rule["from"], rule["to"]), {}).update(rule)
        self.send(rules=list(pairs.values()))

    def reset(self):
        self.send(reset=True)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Node(marmot.Node):
    """A node that finds the others through the proxies; its wall clock may be
    moved, its disk may be small."""

    faketime, disk, back_at = None, None, 0.0
    epoch = 0  # how often its copies were spoilt

    def command(self, *extra):
        args = super().command(*extra)
        ports = self.cluster.network.ports
        args[args.index("-bootstrap") + 1] = ",".join(
            f"{n.id}@127.0.0.1:{ports[self.id, n.id]}"
            for n in self.cluster.nodes if n is not self)
        if self.faketime is not None:
            args = ["env", f"LD_PRELOAD={FAKETIME}", "FAKETIME_NO_CACHE=1",
                    f"FAKETIME_TIMESTAMP_FILE={self.faketime}",
                    "FAKETIME_DONT_FAKE_MONOTONIC=1", *args]
        return args

    def move_clock(self, seconds):
        """The wall clock jumps; the monotonic one never does."""
        self.faketime.write_text(f"{seconds:+d}s\n")

    def fill(self, left):
        """Take all room of the small disk but `left` bytes."""
        room = os.statvfs(self.disk)
        size = room.f_bavail * room.f_frsize - left
        subprocess.run(["fallocate", "-l", str(max(size, 4096)),
                        self.disk / "balloon"], check=False,
                       stderr=subprocess.DEVNULL)

    def all_ready(self):
        """Has it opened every database since its last start?"""
        log = self.log() if self.running() else ""
        return all(f"ready db={name} " in log
                   for name in self.cluster.databases)

    def status(self):
        """What the node's process is: running, stopped or dead."""
        if not self.running():
            return "dead"
        return "stopped" if stopped(self.process.pid) else "running"


class Cluster(marmot.Cluster):
    """Nodes behind proxies. `hurt`: with a small disk for the last one, and a
    clock that can be moved for another; else what it takes is left out."""

    def __init__(self, databases, nodes=NODES, hurt=True):
        super().__init__(0, databases)
        self.folder.rmdir()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="marmot-faults-"))
        for node_id in range(1, nodes + 1):
            self.nodes.append(Node(self, node_id))
        self.network = Network(self.nodes)
        self.skipped = {}  # fault: reason
        if hurt:
            self.prepare_disk(self.nodes[-1])
            self.prepare_clock(self.nodes[1])
            if shutil.which("strace") is None:
                self.skipped["sync fails"] = "strace is not installed"

    def prepare_disk(self, node):
        """A small file system for one node, which can be filled."""
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none",
             node.folder], capture_output=True, text=True)
        if result.returncode == 0:
            node.disk = node.folder
        else:
            self.skipped["disk full"] = ("no tmpfs can be mounted: "
                                         + result.stderr.strip())

    def prepare_clock(self, node):
        if not os.path.exists(FAKETIME):
            self.skipped["clock jump"] = f"{FAKETIME} is not installed"
            return
        node.faketime = node.folder / "faketime"
        node.move_clock(0)

    def leadership_moves(self):
        """How often a group got a leader after its first one."""
        terms = set()
        for node in self.nodes:
            terms.update(re.findall(
                r" I leader shard=(\d+) node=[1-9]\d* term=(\d+)",
                node.log(whole=True)))
        return len(terms) - len({shard for shard, _ in terms})

    def leader(self, database):
        """The node that leads the group of a database, by the log lines of
        all; None when it cannot be told."""
        lines = (re.search(rf"\bdb={database}\b.*\bshard=(\d+)",
                           node.log(whole=True)) for node in self.nodes)
        shard = next((int(m.group(1)) for m in lines if m), None)
        leader = self.leaders().get(shard)
        return None if leader is None else self[leader]

    def close(self):
        super().close()
        self.network.close()
        for node in self.nodes:
            if node.disk is not None:
                self.unmount(node)

    def unmount(self, node):
        """What was on the small disk is kept with the rest, if it is kept."""
        if self.failed:
            shutil.copytree(node.disk, f"{node.disk}-copy", dirs_exist_ok=True,
                            ignore=lambda folder, names: [
                                n for n in names if n.endswith("-marmot")])
        subprocess.run(["umount", node.disk], check=False)
        if not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    """A client process; when it has died another takes its place, with a
    process name of its own in the history. A reader is a program that knows
    nothing of Marmot."""

    def __init__(self, world, workload, node, number, role="writer"):
        self.world, self.workload, self.node = world, workload, node
        self.name, self.role = f"{workload}-{node.id}-{number}", role
        self.lives, self.process, self.back_at = 0, None, 0.0

    def start(self):
        self.lives += 1
        name = f"{self.name}.{self.lives}"
        self.process = marmot.spawn(
            [marmot.PYTHON, HERE / "client.py", self.workload,
             self.node.path(self.workload),
             self.world.histories / f"{name}.jsonl", name,
             history.node_label(self.node.id, self.node.epoch), self.world.seed,
             self.world.rate, self.role],
            stdin=subprocess.PIPE, stderr=self.world.stderr,
            env=marmot.environment(self.role == "writer"))

    def running(self):
        return self.process is not None and self.process.poll() is None

    def revive(self, now):
        """Start again some time after a death; returns the status of a death
        that nobody ordered."""
        if self.running():
            return None
        status = self.process.returncode
        if self.back_at == 0:
            self.process.stdin.close()
            self.back_at = now + self.world.random.uniform(0.1, 2)
            killed = (-signal.SIGKILL, -signal.SIGALRM, -signal.SIGUSR1,
                      -signal.SIGUSR2, 0)  # the last two: orders too early
            return None if status in killed else status
        if now >= self.back_at and self.node.id not in self.world.quiet:
            self.back_at = 0
            self.start()
        return None

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def end(self):
        """Ask it to finish its operation; continue it if it is stopped."""
        if self.running():
            self.signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def end_now(self):
        if self.running():
            self.process.kill()
            self.process.wait()

    def wait(self, timeout):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


class World:
    def __init__(self, seed, workloads, clients=1, rate=5.0, make=Cluster):
        self.seed, self.rate = seed, rate
        self.random = random.Random(seed)
        self.workloads = list(workloads)
        self.cluster = make(self.workloads)
        self.folder = self.cluster.folder
        self.histories = self.folder / "history"
        self.histories.mkdir()
        self.stderr = open(self.folder / "clients.log", "w")
        self.faults_log = open(self.folder / "faults.log", "w")
        self.expected_down = set()  # ids of nodes that a fault keeps down
        self.quiet = set()  # nodes without clients until all is ready there
        self.surprises = []  # what ended though nobody ordered it
        self.clients = [Client(self, workload, node, number)
                        for workload in self.workloads
                        for node in self.cluster.nodes
                        for number in range(1, clients + 1)]
        self.clients += [
            Client(self, self.random.choice(self.workloads), node, "stock",
                   "reader") for node in self.cluster.nodes]

    def note(self, text):
        """What was done, in the clock of the histories and that of the logs."""
        print(f"{time.monotonic():.3f} {time.strftime('%T')} {text}",
              file=self.faults_log, flush=True)

    @property
    def nodes(self):
        return self.cluster.nodes

    @property
    def network(self):
        return self.cluster.network

    def start(self):
        for name in self.workloads:
            marmot.make_database(self.nodes[0].path(name),
                                 WORKLOADS[name].SCHEMA)
        self.cluster.start(timeout=60)
        for client in self.clients:
            client.start()

    def tend(self):
        """To be called often: the dead come back."""
        now = time.monotonic()
        self.quiet = {node.id for node in self.nodes if node.id in self.quiet
                      and not node.all_ready()}
        for client in self.clients:
            status = client.revive(now)
            if status is not None:
                self.surprises.append(f"client {client.name}.{client.lives} "
                                      f"ended with status {status}")
        for node in self.nodes:
            if not node.running() and node.id not in self.expected_down:
                self.ended(node)

    def ended(self, node):
        """A node that nobody took down. Whatever kills it, it is started
        again, as a supervisor would, but not in a hurry."""
        now = time.monotonic()
        if node.back_at == 0:
            node.back_at = now + 1
            status = node.process.returncode
            self.surprises.append(
                f"node {node.id} ended with status {status}: "
                + " | ".join(node.log().splitlines()[-3:]))
        elif now > node.back_at:
            node.back_at = 0
            node.start()

    def end_clients(self):
        for client in self.clients:
            client.end()
        return all([client.wait(40) for client in self.clients])

    def operations(self, workload):
        return history.pair(history.read_events(self.histories,
                                                workload + "-"))

    def close(self):
        for client in self.clients:
            if client.running():
                client.process.kill()
            if client.process is not None:
                client.process.wait()
        self.stderr.close()
        self.faults_log.close()
        self.cluster.close()
