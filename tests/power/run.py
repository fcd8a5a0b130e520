"""Power cuts on real file systems: run.py [CUTS] [--seed N] [--keep]

Three nodes, each with its log and databases on a disk of its own that loses
what was not flushed when its power is cut; clients with every workload on all
of them. One node's power is cut, or that of all three at once; it comes back,
the node starts again, and so on. At the end the histories are checked as after
any fault run (tests/faults/soak.py).

Prints a table. What it takes and is missing here is said, and counts as
skipped. Exit status 0 when nothing failed.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "faults"), str(HERE.parent / "e2e")]

import soak  # noqa: E402
import world as faults  # noqa: E402
from device import Device, missing  # noqa: E402
from nemesis import Nemesis  # noqa: E402
from workloads import WORKLOADS  # noqa: E402
from world import marmot  # noqa: E402

ONE, ALL = "power cut, one node", "power cut, all nodes"
EVERY = 4  # so many cuts to one of all nodes
LINGERS = (0, 0, 0.02, 1.5)  # seconds that a node runs on without its disk


class Cluster(faults.Cluster):
    """Nodes with a disk each; their own output is not on it."""

    def __init__(self, databases):
        super().__init__(databases, hurt=False)
        self.devices = {}
        for node in self.nodes:
            self.devices[node.id] = Device(self.folder / f"device{node.id}",
                                           node.folder)
            node.log_path = self.folder / f"log{node.id}"

    def close(self):
        for node in self.nodes:
            node.kill()
        if self.failed:
            for node in self.nodes:
                with contextlib.suppress(shutil.Error):
                    shutil.copytree(node.folder, f"{node.folder}-copy",
                                    ignore=shutil.ignore_patterns("*-marmot"))
        for device in self.devices.values():
            device.detach()
        super().close()


def lose_power(world, nodes, linger):
    """The disks go first, programs follow; the nodes have a moment to notice.
    Returns how many of them stopped by themselves."""
    for node in nodes:
        world.expected_down.add(node.id)
        world.quiet.add(node.id)
        node.epoch += 1  # its copy may be older afterwards
    for node in nodes:
        world.cluster.devices[node.id].cut()
    for client in world.clients:
        if client.node in nodes:
            client.end_now()
    time.sleep(linger)
    stopped = sum(not node.running() for node in nodes)
    for node in nodes:
        node.kill()
    return stopped


def regain_power(world, nodes):
    for node in nodes:
        world.cluster.devices[node.id].restore()
        node.start()
        world.expected_down.discard(node.id)


def tend_for(world, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        world.tend()
        time.sleep(0.02)


def one_cut(world, nemesis, number):
    """Returns what is wrong, or None."""
    of_all = number % EVERY == EVERY - 1
    nodes = world.nodes if of_all else [world.random.choice(world.nodes)]
    linger = world.random.choice(LINGERS)
    tend_for(world, world.random.uniform(2, 5))
    world.note(f"power cut {[n.id for n in nodes]} linger {linger}")
    stopped = lose_power(world, nodes, linger)
    nemesis.counts[ALL if of_all else ONE] += 1
    world.note(f"stopped by themselves: {stopped} of {len(nodes)}")
    tend_for(world, world.random.uniform(0, 3))
    regain_power(world, nodes)
    end = time.monotonic() + 60
    while not all(node.all_ready() for node in nodes):
        world.tend()
        time.sleep(0.05)
        if time.monotonic() > end:
            return f"not ready 60 s after power cut {number + 1}"
    return None


def loses_what_was_not_synced(device):
    """Does the rig do what it says? It must keep one file and lose another."""
    with open(device.mount / "kept", "wb") as file:
        file.write(b"x" * 5000)
        os.fsync(file.fileno())
    with open(device.mount / "kept", "ab") as file:
        file.write(b"y" * 5000)
    device.cut()
    device.restore()
    kept = (device.mount / "kept").read_bytes()
    (device.mount / "kept").unlink()
    return kept[:5000] == b"x" * 5000 and b"y" not in kept


def run(args, world, report):
    world.cluster.failed = True  # until shown otherwise: keep the folder
    if not loses_what_was_not_synced(world.cluster.devices[1]):
        report.problems.append("the rig keeps what was never synced")
        return
    world.start()
    nemesis = Nemesis(world, ["none of them"])
    for number in range(args.cuts):
        problem = one_cut(world, nemesis, number)
        if problem is not None:
            report.problems.append(problem)
            break
    soak.judge(world, nemesis, report)
    world.cluster.failed = args.keep or not report.good()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cuts", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", action="store_true",
                        help="keep the folder in any case")
    return parser.parse_args()


def count(passed, failed, skipped):
    print(f"power: {passed} passed, {failed} failed, {skipped} skipped")
    if os.environ.get("MARMOT_COUNTS"):
        with open(os.environ["MARMOT_COUNTS"], "a") as out:
            out.write(f"power {passed} {failed} {skipped}\n")
    return int(failed > 0)


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reason = missing()
    if reason is not None:
        print(f"SKIP power cuts on real file systems: {reason}")
        return count(0, 0, 1)
    print(f"power: {args.cuts} cuts, seed {args.seed}", flush=True)
    started = time.monotonic()
    world = faults.World(args.seed, WORKLOADS, make=Cluster)
    report = soak.Report(args.seed, 0)
    try:
        run(args, world, report)
    finally:
        world.close()
        if world.cluster.failed:
            print(f"power: kept {world.folder}", flush=True)
    report.seconds = time.monotonic() - started
    report.print()
    return count(int(report.good()), int(not report.good()), 0)


if __name__ == "__main__":
    sys.exit(main())
