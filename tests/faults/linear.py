"""Is the history of one register linearizable?

The search of Wing and Gong with Lowe's memory of visited states: an operation
may come next when no other one that is still to come had ended before it
began. Exponential in the number of operations that overlap, so histories are
kept short by changing registers.
"""

import math

WRITE, READ, CAS = "write", "read", "cas"
LIMIT = 300_000  # states; beyond, the answer is None


class Step:
    """One operation. `old` is what a READ returned or a CAS expected, `new`
    what a WRITE or a CAS sets; `end` is infinite for an unknown outcome."""

    __slots__ = ("start", "end", "kind", "old", "new")

    def __init__(self, start, end, kind, old=None, new=None):
        self.start, self.end, self.kind = start, end, kind
        self.old, self.new = old, new


def relevant(steps):
    """Without those of unknown outcome whose value nobody ever met: taking
    them as never done can only make it easier."""
    met = {s.old for s in steps}
    return sorted((s for s in steps if s.end < math.inf or s.new in met),
                  key=lambda s: s.start)


def candidates(steps, done):
    """Indexes of the steps that may be next."""
    barrier = math.inf
    found = []
    for i, step in enumerate(steps):
        if step.start > barrier:
            break
        if not done >> i & 1:
            found.append(i)
            barrier = min(barrier, step.end)
    return [i for i in found if steps[i].start <= barrier]


def linearizable(steps, value=None):
    """True, False, or None when the search was too long."""
    steps = relevant(steps)
    required = sum(1 << i for i, s in enumerate(steps) if s.end < math.inf)
    stack, visited = [(0, value)], set()
    while stack:
        state = stack.pop()
        if state in visited:
            continue
        visited.add(state)
        if len(visited) > LIMIT:
            return None
        done, value = state
        if done & required == required:
            return True
        for i in candidates(steps, done):
            step = steps[i]
            if step.kind != WRITE and step.old != value:
                continue
            after = value if step.kind == READ else step.new
            stack.append((done | 1 << i, after))
    return False
