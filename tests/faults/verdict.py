"""What all checks of a history share: the verdict, and rules that hold in every
workload where effects have an order.
"""

import bisect
import collections

from history import FAIL

LOST = "acknowledged lost"
VISIBLE = "definite failures visible"
INVENTED = "values invented or doubled"
UPDATE = "lost updates"
STALE = "stale strict reads"
LINEAR = "registers not linearizable"
BACKWARDS = "local reads going backwards"
STATE = "states never committed"
ORDER = "effects out of order"
POSITION = "wrong positions"
DAMAGE = "damage seen by a reader"
KINDS = (LOST, VISIBLE, INVENTED, UPDATE, STALE, LINEAR, BACKWARDS, STATE,
         ORDER, POSITION, DAMAGE)


class Verdict:
    TEXTS, LENGTH = 20, 400  # kept of each kind, and characters of each

    def __init__(self):
        self.counts = collections.Counter()
        self.texts = []
        self.undecided = 0  # searches of linear.py that were too long

    def add(self, kind, *details):
        self.counts[kind] += 1
        if self.counts[kind] <= self.TEXTS:
            text = f"{kind}: " + " ".join(map(str, details))
            self.texts.append(text[:self.LENGTH])

    def merge(self, other):
        self.counts += other.counts
        self.texts += other.texts
        self.undecided += other.undecided

    def __bool__(self):
        return not self.counts


class Floor:
    """The highest version known by a time: what later reads must show."""

    def __init__(self, known):
        """`known`: (time, version) pairs."""
        self.times, self.best = [], []
        for time, version in sorted(known):
            self.times.append(time)
            self.best.append(max(version, self.best[-1] if self.best else 0))

    def at(self, time):
        """Of what was known strictly before."""
        i = bisect.bisect_left(self.times, time)
        return self.best[i - 1] if i else 0


class Seen:
    """One sight of a version: by a read (`strict` or not), or by a write that
    made it (`made`)."""

    __slots__ = ("op", "version", "strict", "made")

    def __init__(self, op, version, strict=False, made=False):
        self.op, self.version = op, version
        self.strict, self.made = strict, made


def check_sights(verdict, sights, what=""):
    """Strict reads show all that anyone knew when they began, local ones what
    was known on their node."""
    known, on_node = [], collections.defaultdict(list)
    for s in sights:
        known.append((s.op.end, s.version))
        on_node[s.op.node].append((s.op.end, s.version))
    floor = Floor(known)
    floors = {node: Floor(pairs) for node, pairs in on_node.items()}
    for s in sights:
        if s.made:
            continue
        least = (floor if s.strict else floors[s.op.node]).at(s.op.start)
        if s.version < least:
            verdict.add(STALE if s.strict else BACKWARDS, what, "version",
                        s.version, "after", least, s.op)


def check_writers(verdict, writers, what=""):
    """`writers`: operations in the order of their effects. None has ended
    before one of an earlier effect began."""
    latest = None
    for op in writers:
        if latest is not None and op.end < latest.start:
            verdict.add(ORDER, what, op, "takes effect after", latest)
        if latest is None or op.start > latest.start:
            latest = op


def check_origin(verdict, by_id, op_id, writes, reader=None):
    """The operation that an effect names, if it may have had one."""
    op = by_id.get(op_id)
    if op is None or op.name not in writes:
        verdict.add(INVENTED, op_id, "seen by", reader or "the final state")
        return None
    if op.type == FAIL:
        verdict.add(VISIBLE, op, op.error, "seen by",
                    reader or "the final state")
    if reader is not None and op.start > reader.end:
        verdict.add(ORDER, reader, "saw the later", op)
    return op
