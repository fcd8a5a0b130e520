"""Histories: what clients tried, and what they were told.

One JSON line an event. An operation is an "invoke" line and, unless its process
died, one more line: "ok" (it happened, `value` is what it returned), "fail" (it
certainly did not happen) or "info" (it may have, now or later). Every line has
the process `p`, its `node`, the number `seq` of the operation in the process,
and the times `wall` and `t` (CLOCK_MONOTONIC, seconds; one clock for all
processes of a host).
"""

import glob
import json
import math
import os
import time

OK, FAIL, INFO = "ok", "fail", "info"


def node_label(node, epoch):
    """What stands for a node in a history: another number when its copies were
    spoilt, since local reads may then go back. node_of gives the node."""
    return node + 100 * epoch


def node_of(label):
    return label % 100


class Recorder:
    """The history of one process, as a file.

    Each line is one write(): what was recorded survives the process's death."""

    def __init__(self, path, process, node):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.process, self.node, self.seq = process, node, 0

    def invoke(self, op, args):
        """Returns the operation's id, unique among all operations."""
        self.seq += 1
        self.event("invoke", op=op, args=args)
        return f"{self.process}:{self.seq}"

    def event(self, type_, **fields):
        line = {"p": self.process, "node": self.node, "seq": self.seq,
                "type": type_, "t": time.monotonic(), "wall": time.time()}
        os.write(self.file, (json.dumps(line | fields) + "\n").encode())


class Operation:
    """An invocation and how it ended; `end` is infinite for INFO."""

    __slots__ = ("id", "process", "node", "name", "args", "start", "end",
                 "type", "value", "error")

    def __init__(self, process, node, seq, name, args, start, end=math.inf,
                 type_=INFO, value=None, error=None):
        self.id, self.process, self.node = f"{process}:{seq}", process, node
        self.name, self.args, self.start = name, args, start
        self.end, self.type, self.value = end, type_, value
        self.error = error

    def __repr__(self):
        return (f"{self.id} node {self.node} {self.name}{self.args or ''} "
                f"{self.type}={self.value} [{self.start:.6f}, {self.end:.6f}]")


def pair(events):
    """Operations of an iterable of events, in order of invocation."""
    operations = {}
    for e in events:
        key = (e["p"], e["seq"])
        if e["type"] == "invoke":
            operations[key] = Operation(e["p"], e["node"], e["seq"], e["op"],
                                        e["args"], e["t"])
            continue
        op = operations[key]
        op.type, op.value, op.error = e["type"], e.get("value"), e.get("error")
        if op.type != INFO:
            op.end = e["t"]
    return sorted(operations.values(), key=lambda op: op.start)


def read_events(folder, prefix=""):
    """Every event of the files in a folder; a torn last line is not one."""
    for path in sorted(glob.glob(os.path.join(folder, prefix + "*.jsonl"))):
        with open(path) as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
