"""What goes wrong, and when.

A fault is a function of the world: it does the harm and returns how it ends,
(seconds, function), or None when there is nothing to end, or the name of a
reason why it could not be done now. The Nemesis draws faults at random, lets a
few overlap, and heals everything from time to time.
"""

import collections
import contextlib
import itertools
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

from world import marmot, stopped


# ---- clients ---------------------------------------------------------------


def some_clients(world):
    running = [c for c in world.clients if c.running()]
    return world.random.sample(running, min(len(running),
                                            world.random.randint(1, 4)))


def kill_clients(world):
    for client in some_clients(world):
        client.signal(signal.SIGKILL)


def kill_clients_in_a_commit(world):
    for client in some_clients(world):
        client.signal(signal.SIGUSR1)


def go_on(clients):
    for client in clients:
        client.signal(signal.SIGCONT)


def stop_clients(world):
    clients = some_clients(world)
    for client in clients:
        world.note(f"  {client.name}")
        client.signal(signal.SIGSTOP)
    return world.random.uniform(0.2, 8), lambda: go_on(clients)


def stop_clients_in_a_transaction(world):
    """They hold the lock, and with it their node's lease."""
    clients = some_clients(world)
    for client in clients:
        client.signal(signal.SIGUSR2)
    return world.random.uniform(1, 12), lambda: go_on(clients)


# ---- nodes -----------------------------------------------------------------


def up(world):
    return [n for n in world.nodes if n.status() == "running"
            and n.id not in world.expected_down]


def start_again(world, nodes):
    for node in nodes:
        node.wait_exit(60)
        node.start()
        world.expected_down.discard(node.id)


def take_down(world, nodes, how):
    if not nodes:
        return "no node to take down"
    for node in nodes:
        world.note(f"  node {node.id}")
        world.expected_down.add(node.id)
        how(node)
    return world.random.uniform(0.1, 6), lambda: start_again(world, nodes)


def one(world):
    nodes = up(world)
    return world.random.sample(nodes, min(1, len(nodes)))


def the_leader(world):
    leader = world.cluster.leader(world.random.choice(world.workloads))
    return [leader] if leader in up(world) else []


def kill_node(world):
    return take_down(world, one(world), lambda n: n.process.kill())


def kill_leader(world):
    return take_down(world, the_leader(world), lambda n: n.process.kill())


def kill_two_nodes(world):
    nodes = up(world)
    return take_down(world, world.random.sample(nodes, min(2, len(nodes))),
                     lambda n: n.process.kill())


def kill_all_nodes(world):
    return take_down(world, up(world), lambda n: n.process.kill())


def restart_node(world):
    return take_down(world, one(world), lambda n: n.process.terminate())


def restart_leader(world):
    """Its groups are handed over before it goes, and given back later."""
    return take_down(world, the_leader(world), lambda n: n.process.terminate())


def freeze(world, nodes):
    if not nodes:
        return "no node to stop"
    for node in nodes:
        world.note(f"  node {node.id}")
        node.process.send_signal(signal.SIGSTOP)

    def thaw():
        for node in nodes:
            if node.running():
                node.process.send_signal(signal.SIGCONT)
    return world.random.choice([0.3, 1, 3, 8, 13]), thaw


def stop_node(world):
    return freeze(world, one(world))


def stop_leader(world):
    return freeze(world, the_leader(world))


# ---- a node's copy, while the node is down ---------------------------------


def spoil_a_copy(world, how):
    """Always of the first node, so that the others' copies are good. Programs
    that would read what was spoilt come back with the node; local reads may
    begin anew, at an older state."""
    node = world.nodes[0]
    if node not in up(world):
        return "the node is down already"
    workload = world.random.choice(world.workloads)
    ends = take_down(world, [node], lambda n: n.process.kill())
    world.quiet.add(node.id)
    node.epoch += 1
    for client in world.clients:
        if client.node is node:
            client.end_now()
    node.process.wait()
    how(world, node.path(workload))
    world.note(f"  {workload}")
    return ends


def remove_copy(world):
    def remove(_, path):
        for suffix in "", "-wal", "-shm":
            pathlib.Path(path + suffix).unlink(missing_ok=True)
    return spoil_a_copy(world, remove)


def flip_bit(world):
    def flip(world, path):
        path += world.random.choice(["", "-wal"])
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size:
            with open(path, "r+b") as file:
                file.seek(world.random.randrange(size))
                byte = file.read(1)[0] ^ 1 << world.random.randrange(8)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte]))
    return spoil_a_copy(world, flip)


def cut_wal(world):
    """What had not reached the disk when the power failed, at worst."""
    def cut(world, path):
        path += "-wal"
        if os.path.exists(path):
            os.truncate(path, world.random.randrange(os.path.getsize(path) + 1))
    return spoil_a_copy(world, cut)


def foreign_write(world):
    """A program without Marmot, and no node that keeps it from writing."""
    def write(_, path):
        with contextlib.suppress(sqlite3.OperationalError):
            db = sqlite3.connect(path, isolation_level=None, timeout=1)
            db.execute("CREATE TABLE foreigner(a)")
            db.close()
    return spoil_a_copy(world, write)


# ---- the network -----------------------------------------------------------

serial = itertools.count(1)


def both_ways(a, others):
    return [pair for b in others if b is not a
            for pair in ((a.id, b.id), (b.id, a.id))]


def cut_off(world, pairs):
    """Either the bytes come later, or the connections are lost too."""
    name = f"partition {next(serial)}"
    how = world.random.choice(["drop", "lose"])
    world.note(f"  {how} {pairs}")
    world.network.set(name, pairs, **{how: True})
    return (world.random.choice([0.5, 2, 5, 13]),
            lambda: world.network.clear(name))


def partition_full(world):
    node = world.random.choice(world.nodes)
    return cut_off(world, both_ways(node, world.nodes))


def partition_leader(world):
    leader = world.cluster.leader(world.random.choice(world.workloads))
    if leader is None:
        return "no leader is known"
    return cut_off(world, both_ways(leader, world.nodes))


def partition_one_way(world):
    node = world.random.choice(world.nodes)
    pairs = [(node.id, other.id) for other in world.nodes if other is not node]
    if world.random.random() < 0.5:
        pairs = [(b, a) for a, b in pairs]
    return cut_off(world, pairs)


def partition_partial(world):
    """Two nodes do not reach each other; the third reaches both."""
    a, b = world.random.sample(world.nodes, 2)
    return cut_off(world, both_ways(a, [b]))


def spoil(world, **rule):
    """A rule for all traffic of one node, or for all of it."""
    name = f"quality {next(serial)}"
    nodes = world.nodes if world.random.random() < 0.5 else \
        [world.random.choice(world.nodes)]
    pairs = {pair for node in nodes for pair in both_ways(node, world.nodes)}
    world.note(f"  {rule} {sorted(pairs)}")
    world.network.set(name, pairs, **rule)
    return world.random.uniform(2, 10), lambda: world.network.clear(name)


def delay(world):
    return spoil(world, delay=world.random.choice([0.005, 0.03, 0.15]))


def loss(world):
    return spoil(world, stall=0.03)


def garbled_bytes(world):
    return spoil(world, garble=0.003)


def cut_connections(world):
    return spoil(world, cut=0.005)


def reset_connections(world):
    world.network.reset()


# ---- the machine -----------------------------------------------------------


def disk_full(world):
    """A file takes all the room of the small disk, but for a few pages."""
    node = next(n for n in world.nodes if n.disk is not None)
    balloon = node.disk / "balloon"
    if balloon.exists():
        return "the disk is full already"
    node.fill(world.random.choice([0, 0, 16384, 262144]))
    return (world.random.uniform(1, 8),
            lambda: balloon.unlink(missing_ok=True))


def sync_fails(world):
    """One sync of a node's log, or of its copies, fails; the node then stops
    by itself, if it comes to that while we look."""
    nodes = one(world)
    if not nodes:
        return "no node to hurt"
    node, number = nodes[0], world.random.randint(1, 40)
    world.note(f"  node {node.id} sync {number}")
    world.expected_down.add(node.id)
    tracer = marmot.spawn(
        ["strace", "-f", "-q", "-o", "/dev/null", "-p", node.process.pid,
         "-e", "trace=fsync,fdatasync",
         "-e", f"inject=fsync,fdatasync:error=EIO:when={number}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)

    def end():
        tracer.terminate()
        tracer.wait()
        time.sleep(0.2)  # for what has just failed
        if node.running() and " stopping " not in node.log():
            world.expected_down.discard(node.id)
        else:
            world.note(f"  node {node.id} stopped")
            start_again(world, [node])
    return world.random.uniform(1, 4), end


def clock_jump(world):
    node = next(n for n in world.nodes if n.faketime is not None)
    node.move_clock(world.random.choice([-86400, -3600, -5, 5, 3600, 86400]))


FAULTS = {
    "client kill -9": (kill_clients, 10),
    "client killed in a commit": (kill_clients_in_a_commit, 14),
    "client stopped": (stop_clients, 6),
    "client stopped in a transaction": (stop_clients_in_a_transaction, 8),
    "node kill -9": (kill_node, 8),
    "leader kill -9": (kill_leader, 6),
    "two nodes kill -9": (kill_two_nodes, 2),
    "all nodes kill -9": (kill_all_nodes, 2),
    "node restarted": (restart_node, 3),
    "leader restarted": (restart_leader, 3),
    "node stopped": (stop_node, 5),
    "leader stopped": (stop_leader, 5),
    "copy removed": (remove_copy, 2),
    "bit of a copy flipped": (flip_bit, 2),
    "WAL of a copy cut": (cut_wal, 2),
    "foreign write": (foreign_write, 2),
    "partition, full": (partition_full, 5),
    "partition, leader": (partition_leader, 4),
    "partition, one way": (partition_one_way, 6),
    "partition, partial": (partition_partial, 5),
    "delay": (delay, 4),
    "loss": (loss, 4),
    "garbled bytes": (garbled_bytes, 2),
    "connections cut": (cut_connections, 4),
    "connections reset": (reset_connections, 3),
    "disk full": (disk_full, 4),
    "sync fails": (sync_fails, 4),
    "clock jump": (clock_jump, 4),
}


class Nemesis:
    OVERLAP = 3  # faults at a time that wait for their end
    STORM, CALM = 40, 9  # seconds

    def __init__(self, world, only=()):
        self.world, self.random = world, world.random
        self.faults = {name: fault for name, fault in FAULTS.items()
                       if (not only or any(o in name for o in only))
                       and name not in world.cluster.skipped}
        self.counts = collections.Counter({name: 0 for name in self.faults})
        self.active = []  # (end time, name, function)
        self.calms = []  # (start, end)
        self.next_at = time.monotonic() + 1
        self.storm_ends = time.monotonic() + self.STORM

    def inject(self, name):
        self.world.note(name)
        ends = self.faults[name][0](self.world)
        if isinstance(ends, str):
            self.world.note(f"{name}: not now: {ends}")
            return
        self.counts[name] += 1
        if ends is not None:
            seconds, function = ends
            self.active.append((time.monotonic() + seconds, name, function))

    def end_due(self, now):
        for entry in [e for e in self.active if e[0] <= now]:
            self.active.remove(entry)
            self.world.note(f"end of {entry[1]}")
            entry[2]()

    def heal(self):
        """Everything is as it should be again, when the nodes are ready."""
        self.end_due(float("inf"))
        go_on(self.world.clients)
        for node in self.world.nodes:
            if node.running() and stopped(node.process.pid):
                node.process.send_signal(signal.SIGCONT)
        self.world.note("healed")

    def step(self):
        now = time.monotonic()
        self.end_due(now)
        if now > self.storm_ends:
            self.heal()
            self.calms.append((time.monotonic(), now + self.CALM))
            self.next_at = now + self.CALM
            self.storm_ends = self.next_at + self.STORM
        if now >= self.next_at:
            self.next_at = now + self.random.expovariate(1 / 1.2)
            if len(self.active) < self.OVERLAP:
                names = list(self.faults)
                weights = [self.faults[name][1] for name in names]
                self.inject(self.random.choices(names, weights)[0])

    def settle(self, timeout=60):
        """Heal; true when all nodes say they are ready."""
        self.heal()
        return marmot.eventually(
            lambda: self.world.tend() or all(n.all_ready()
                                             for n in self.world.nodes),
            timeout)
