"""Decides whether a history can have come from one database that keeps its
promises.

    check(workload, operations, final) -> Verdict
    python3 checker.py FOLDER               what a kept run's folder shows

`operations` come from history.pair; `final` is what the database holds after
everything was healed (final_state reads it). Order is observable: versions in
bank and register, places in lists. So no search is needed; that of linear.py
ignores versions, so that one that lies is caught.
"""

import collections
import math
import pathlib
import sqlite3
import sys

import history
import linear
from history import FAIL, INFO, OK
from verdict import (BACKWARDS, DAMAGE, INVENTED, LINEAR, LOST, ORDER, POSITION,
                     STALE, STATE, UPDATE, VISIBLE, Seen, Verdict,
                     check_origin, check_sights, check_writers)
from workloads import Bank

# ---- bank ------------------------------------------------------------------

TRANSFERS = ("transfer", "deferred", "give_up")


def replay(log):
    """Balances after 0, 1, ... transfers."""
    balances = [Bank.EACH] * Bank.ACCOUNTS
    states = [tuple(balances)]
    for _, _, source, target, amount in log:
        balances[source - 1] -= amount
        balances[target - 1] += amount
        states.append(tuple(balances))
    return states


def bank_writers(verdict, by_id, log):
    """{operation id: version}, and the writers in order."""
    versions, writers = {}, []
    for place, (v, op_id, source, target, amount) in enumerate(log, 1):
        if v != place:
            verdict.add(LOST, f"version {place} is missing: {v} follows")
        if op_id in versions:
            verdict.add(INVENTED, op_id, "counts twice")
        versions[op_id] = v
        op = check_origin(verdict, by_id, op_id, TRANSFERS)
        if op is None:
            continue
        writers.append(op)
        asked = tuple(op.args[k] for k in ("source", "target", "amount"))
        if asked != (source, target, amount):
            verdict.add(INVENTED, op, "became", (source, target, amount))
    return versions, writers


def bank_sight(verdict, op, states, versions, writers):
    """What one successful operation saw, against the replay."""
    v, balances = op.value["v"], tuple(op.value["balances"])
    if sum(balances) != Bank.EACH * Bank.ACCOUNTS:
        verdict.add(STATE, "total", sum(balances), op)
    if v >= len(states) or states[v] != balances:
        verdict.add(STATE, "not the balances of version", v, op)
    elif v and v <= len(writers) and writers[v - 1].start > op.end:
        verdict.add(ORDER, op, "saw the later", writers[v - 1])
    if op.name not in TRANSFERS:
        return
    if op.id not in versions:
        verdict.add(LOST, op)
    elif versions[op.id] != v + 1:
        verdict.add(UPDATE, op, "saw", v, "and made", versions[op.id])


def check_bank(verdict, operations, final):
    by_id = {op.id: op for op in operations}
    versions, writers = bank_writers(verdict, by_id, final["log"])
    states = replay(final["log"])
    if tuple(final["balances"]) != states[-1]:
        verdict.add(STATE, "final balances", final["balances"], "after",
                    states[-1])
    check_writers(verdict, writers)
    sights, positions = [], []
    for op in operations:
        if op.type != OK:
            continue
        bank_sight(verdict, op, states, versions, writers)
        v = op.value["v"]
        sights.append(Seen(op, v, strict=op.name in ("strict", "transfer")))
        if op.name in TRANSFERS:
            sights.append(Seen(op, v + 1, made=True))
        if op.value.get("pos") is not None:
            positions.append((v, op.value["pos"], op))
    check_sights(verdict, sights)
    check_positions(verdict, positions)


def check_positions(verdict, positions):
    """Each transfer is a transaction, so both numbers rise together."""
    positions.sort(key=lambda p: p[:2])
    for (v, pos, _), (next_v, next_pos, op) in zip(positions, positions[1:]):
        if next_pos - pos < next_v - v:
            verdict.add(POSITION, next_pos, "for version", next_v, "after",
                        pos, "for", v, op)


# ---- list ------------------------------------------------------------------

APPENDS = ("append", "append_two", "append_read")


def keys_of(op):
    return op.args["keys"] if op.name == "append_two" else [op.args["key"]]


def list_places(verdict, by_id, lists):
    """{(key, operation id): place, from 1}."""
    places = {}
    for key, items in lists.items():
        writers = []
        for place, op_id in enumerate(items, 1):
            if (key, op_id) in places:
                verdict.add(INVENTED, op_id, "is twice in list", key)
                continue
            places[key, op_id] = place
            op = check_origin(verdict, by_id, op_id, APPENDS)
            if op is None:
                continue
            if key not in keys_of(op):
                verdict.add(INVENTED, op, "is in list", key)
            writers.append(op)
        check_writers(verdict, writers, f"list {key}")
    return places


def list_write(verdict, op, places, sights):
    """A write that happened, or may have: in all of its lists, or in none."""
    found = [key for key in keys_of(op) if (key, op.id) in places]
    if op.type == OK and not found:
        verdict.add(LOST, op)
    elif found and len(found) < len(keys_of(op)):
        verdict.add(LOST if op.type == OK else STATE, "only in", found, op)
    if op.type == OK:
        for key in found:
            sights[key].append(Seen(op, places[key, op.id], made=True))
    if op.type == OK and op.name == "append_read" and found:
        before = len(op.value.get(str(op.args["key"]), []))
        if places[op.args["key"], op.id] != before + 1:
            verdict.add(UPDATE, op, "is at", places[op.args["key"], op.id])


def list_read(verdict, op, by_id, lists, sights):
    """Every list that a read shows is a beginning of the final one, and a
    write to two lists is in both of them or in none."""
    shown = {int(key): items for key, items in op.value.items()}
    for key, items in shown.items():
        if lists.get(key, [])[:len(items)] != items:
            verdict.add(STATE, "list", key, "is no beginning of the final one",
                        op)
        for op_id in items:
            check_origin(verdict, by_id, op_id, APPENDS, op)
            writer = by_id.get(op_id)
            if writer is not None and not all(
                    op_id in shown.get(k, ()) for k in keys_of(writer)):
                verdict.add(STATE, "half of", op_id, op)
    first = op.args.get("first", min(shown, default=0))
    if op.name == "append_read":
        first = op.args["key"] // 4 * 4
    for key in range(first, first + 4):
        sights[key].append(Seen(op, len(shown.get(key, [])),
                                strict=op.name != "local"))


def check_vectors(verdict, sights):
    """All reads of the same four lists lie on one line of states."""
    vectors = collections.defaultdict(dict)
    for key, seen in sights.items():
        for s in seen:
            if not s.made:
                vectors[key // 4].setdefault(s.op.id, (s.op, {}))[1][key] = \
                    s.version
    for reads in vectors.values():
        states = sorted((tuple(v for _, v in sorted(places.items())), op.id)
                        for op, places in reads.values())
        states.sort(key=lambda state: sum(state[0]))
        for (a, op_a), (b, op_b) in zip(states, states[1:]):
            if any(x > y for x, y in zip(a, b)):
                verdict.add(STATE, op_a, "saw", a, "and", op_b, "saw", b)


def check_list(verdict, operations, final):
    by_id = {op.id: op for op in operations}
    lists = final["lists"]
    places = list_places(verdict, by_id, lists)
    sights = collections.defaultdict(list)
    for op in operations:
        if op.name in APPENDS and op.type != FAIL:
            list_write(verdict, op, places, sights)
        if op.type == OK and op.name in ("local", "strict", "append_read"):
            list_read(verdict, op, by_id, lists, sights)
    for key, seen in sights.items():
        check_sights(verdict, seen, f"list {key}")
    check_vectors(verdict, sights)


# ---- register --------------------------------------------------------------

WRITES = ("write", "cas")


def changed(op):
    return op.name == "write" or op.value["swapped"]


def register_sights(ops):
    """What the operations of one key saw and made."""
    for op in ops:
        if op.name != "write":
            yield Seen(op, op.value["version"], strict=op.name != "local")
        if op.name == "write":
            yield Seen(op, op.value["version"], made=True)
        elif op.name == "cas" and op.value["swapped"]:
            yield Seen(op, op.value["version"] + 1, made=True)


def register_versions(verdict, key, sights, final):
    """{version: operation id}, every source agreeing."""
    versions, makers = {}, {}
    value, last = final
    if last:
        versions[last] = value
    for s in sights:
        op_id = s.op.id if s.made else s.op.value["value"]
        if s.made and makers.setdefault(s.version, op_id) != op_id:
            verdict.add(UPDATE, op_id, "and", makers[s.version],
                        "both made version", s.version, "of", key)
        elif s.version and versions.setdefault(s.version, op_id) != op_id:
            verdict.add(LOST if s.made else STATE, "version", s.version, "of",
                        key, "is", versions[s.version], "and for", s.op)
        if s.version > last:
            verdict.add(LOST, "version", s.version, "of", key,
                        "but the last is", last, s.op)
        if s.version == 0 and op_id is not None:
            verdict.add(STATE, "a value before any write", s.op)
    return versions


def register_origins(verdict, key, ops, by_id, versions, sights):
    writers = []
    for version in sorted(versions):
        op = check_origin(verdict, by_id, versions[version], WRITES)
        if op is None:
            continue
        if op.args["key"] != key:
            verdict.add(INVENTED, op, "is the value of", key)
        if op.type == OK and not changed(op):
            verdict.add(VISIBLE, "not swapped, yet seen:", op)
        writers.append(op)
    for s in sights:
        if not s.made and s.op.value["value"] is not None:
            check_origin(verdict, by_id, s.op.value["value"], WRITES, s.op)
    check_writers(verdict, writers, f"register {key}")
    nameless = max(versions, default=0) - len(versions)
    named = set(versions.values())
    spare = sum(op.type == INFO and op.name in WRITES and op.id not in named
                for op in ops)
    if nameless > spare:
        verdict.add(INVENTED, nameless, "versions of", key, "and only", spare,
                    "operations that may have made them")


def register_step(op):
    """The operation for the search, or None."""
    if op.name == "local" or op.type == FAIL:
        return None
    if op.name == "write":
        return linear.Step(op.start, op.end, linear.WRITE, new=op.id)
    if op.type == INFO:
        if op.name == "cas":
            return linear.Step(op.start, op.end, linear.CAS,
                               op.args["expected"], op.id)
        return None
    if op.name == "cas" and op.value["swapped"]:
        return linear.Step(op.start, op.end, linear.CAS, op.value["value"],
                           op.id)
    return linear.Step(op.start, op.end, linear.READ, op.value["value"])


def check_register(verdict, operations, final):
    by_id = {op.id: op for op in operations}
    by_key = collections.defaultdict(list)
    for op in operations:
        by_key[op.args["key"]].append(op)
    for key in final["registers"].keys() - by_key.keys():
        verdict.add(INVENTED, "register", key)
    for key, ops in by_key.items():
        sights = list(register_sights(op for op in ops if op.type == OK))
        last = final["registers"].get(key, (None, 0))
        versions = register_versions(verdict, key, sights, last)
        register_origins(verdict, key, ops, by_id, versions, sights)
        check_sights(verdict, sights, f"register {key}")
        steps = [step for step in map(register_step, ops) if step]
        steps.append(linear.Step(math.nextafter(math.inf, 0),
                                 math.nextafter(math.inf, 0), linear.READ,
                                 last[0]))
        answer = linear.linearizable(steps)
        if answer is None:
            verdict.undecided += 1
        elif not answer:
            verdict.add(LINEAR, key, *(f"\n    {op}" for op in ops
                                       if op.name != "local"))


# ---- set -------------------------------------------------------------------

INSERTS = ("insert", "several", "big", "give_up")


def parts_of(op):
    return op.args.get("parts", 1)


class Known:
    """When each element of a set was first known, anywhere and on a node."""

    def __init__(self):
        self.anywhere, self.on_node = {}, collections.defaultdict(dict)
        self.of_time = collections.defaultdict(set)

    def add(self, op_id, time, seen_by):
        self.of_time[time].add(op_id)
        for table in self.anywhere, self.on_node[seen_by.node]:
            table[op_id] = min(seen_by.end, table.get(op_id, math.inf))

    def missing(self, read):
        """Elements that this read ought to have shown."""
        table = (self.anywhere if read.name == "strict"
                 else self.on_node[read.node])
        time = read.args["time"]
        return [op_id for t in (time - 1, time) for op_id in self.of_time[t]
                if op_id not in read.value
                and table.get(op_id, math.inf) < read.start]


def set_read(verdict, read, by_id, final, known):
    for op_id, rows in read.value.items():
        op = check_origin(verdict, by_id, op_id, INSERTS, read)
        if op is None:
            continue
        if rows != parts_of(op):
            verdict.add(STATE, rows, "rows of", op, "seen by", read)
        elif op_id not in final and op.type != OK:
            verdict.add(STATE, op, "seen and gone:", read)
        known.add(op_id, op.args["time"], read)


def check_set(verdict, operations, final):
    by_id = {op.id: op for op in operations}
    items = final["items"]
    for op_id, rows in items.items():
        op = check_origin(verdict, by_id, op_id, INSERTS)
        if op is not None and rows != parts_of(op):
            verdict.add(INVENTED if rows > parts_of(op) else STATE, rows,
                        "rows of", op)
    known, reads = Known(), []
    for op in operations:
        if op.type != OK:
            continue
        if op.name in INSERTS:
            if op.id not in items:
                verdict.add(LOST, op)
            known.add(op.id, op.args["time"], op)
        elif op.name in ("local", "strict"):
            reads.append(op)
            set_read(verdict, op, by_id, items, known)
    for read in reads:
        for op_id in known.missing(read):
            verdict.add(STALE if read.name == "strict" else BACKWARDS,
                        "without", op_id, read)


# ---- all -------------------------------------------------------------------

CHECKS = {"bank": check_bank, "list": check_list, "register": check_register,
          "set": check_set}


def check(workload, operations, final):
    verdict = Verdict()
    for op in operations:
        if op.name == "damage" and op.type == OK and op.value:
            verdict.add(DAMAGE, op)
    CHECKS[workload](verdict, [op for op in operations if op.name != "damage"],
                     final)
    return verdict


def read_state(workload, db):
    """What a connection finds in the database."""
    rows = db.execute
    if workload == "bank":
        return {"log": rows("SELECT * FROM log ORDER BY v").fetchall(),
                "balances": [b for b, in rows(
                    "SELECT balance FROM accounts ORDER BY id")]}
    if workload == "list":
        return {"lists": {key: items.split(",") for key, items in
                          rows("SELECT * FROM lists")}}
    if workload == "register":
        return {"registers": {key: (value, version) for key, value, version
                              in rows("SELECT * FROM registers")}}
    return {"items": dict(rows("SELECT op, count(*) FROM items GROUP BY op"))}


def final_state(workload, path):
    """What a stock reader finds in the file."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return read_state(workload, db)
    finally:
        db.close()


def main(folder):
    """Judge a run again, by the first node's copy."""
    good = True
    for workload in CHECKS:
        path = pathlib.Path(folder, "n1", f"{workload}.db")
        if not path.exists():
            continue
        operations = history.pair(history.read_events(
            pathlib.Path(folder, "history"), workload + "-"))
        verdict = check(workload, operations, final_state(workload, path))
        print(f"{workload}: {len(operations)} operations,",
              dict(verdict.counts) or "ok")
        print("".join(f"! {text}\n" for text in verdict.texts), end="")
        good = good and bool(verdict)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
