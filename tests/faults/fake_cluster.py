"""Histories of a cluster that keeps its promises, made without one.

The workloads run on a real SQLite in memory, one operation at a time; each gets
an interval around the moment when it ran, so that the operations of different
processes overlap. Nodes are copies of the database that lag behind. Some
answers are lost, some operations are refused.
"""

import heapq
import random
import sqlite3

import history
from history import FAIL, INFO, OK
from workloads import WORKLOADS, Rollback

NODES, PROCESSES = (1, 2, 3), 5


def connect():
    return sqlite3.connect(":memory:", isolation_level=None)


class Process:
    def __init__(self, cluster, name, node):
        self.cluster, self.name, self.node = cluster, name, node
        self.seq, self.free = 0, 0.0
        self.start = self.moment = self.end = 0.0
        self.work = WORKLOADS[cluster.workload](
            cluster.random, clock=lambda: self.start)
        self.work.BIG = 2000  # the copies are made often

    def __lt__(self, other):
        return self.moment < other.moment

    def plan(self):
        """When the next operation begins, happens and ends."""
        draw = self.cluster.random.expovariate
        self.start = self.free + draw(10)
        self.moment = self.start + draw(20)
        self.end = self.free = self.moment + draw(20)

    def event(self, type_, t, **fields):
        self.cluster.events.append(
            {"p": self.name, "node": self.node, "seq": self.seq, "t": t,
             "wall": t, "type": type_, **fields})

    def operation(self):
        self.seq += 1
        name, args = self.work.choose()
        self.event("invoke", self.start, op=name, args=args)
        luck = self.cluster.random.random()
        if luck < 0.03:
            self.event(FAIL, self.end, error="SQLITE_BUSY")
            return
        if luck < 0.06:
            self.event(INFO, self.end, error="UNKNOWN")  # and not done
            return
        try:
            value = self.cluster.do(self, name, args)
        except Rollback:
            self.event(FAIL, self.end, error="ROLLBACK")
            return
        if luck < 0.12:
            return  # died before it could say so
        self.event(OK, self.end, value=value)


class FakeCluster:
    def __init__(self, workload, seed, count=400):
        self.workload, self.random = workload, random.Random(seed)
        self.events = []
        self.main = connect()
        self.main.executescript(WORKLOADS[workload].SCHEMA)
        self.copies = {node: connect() for node in NODES}
        for node in NODES:
            self.catch_up(node)
        queue = [Process(self, f"{workload}-{i}", 1 + i % len(NODES))
                 for i in range(PROCESSES)]
        for process in queue:
            process.plan()
        heapq.heapify(queue)
        for _ in range(count):
            process = queue[0]
            process.operation()
            process.plan()
            heapq.heapreplace(queue, process)

    def catch_up(self, node):
        self.main.backup(self.copies[node])

    def do(self, process, name, args):
        op_id = f"{process.name}:{process.seq}"
        if name == "local":
            return process.work.run(self.copies[process.node], op_id, name,
                                    args)
        before = self.main.total_changes
        value = process.work.run(self.main, op_id, name, args)
        if name == "transfer":
            value["pos"] = before
        self.catch_up(process.node)
        for node in NODES:
            if self.random.random() < 0.3:
                self.catch_up(node)
        return value

    def operations(self):
        return history.pair(self.events)
