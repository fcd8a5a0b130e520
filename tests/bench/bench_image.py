#!/usr/bin/python3
"""How fast a database gets to a new node, and with how much memory.

    tests/bench/bench_image.py [MEGABYTES] [FOLDER]

One voter has the database; a replica is new, then it comes back with 1 % of its
pages changed and takes the cluster's in place (needs `make failpoint-build`).
A writer commits all the while. The measure is `cp` of the file and sync, on the
same disk.
"""

import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
import marmot  # noqa: E402

ROW = 3900  # bytes: a page each
FAILPOINTS = marmot.ROOT / "build" / "failpoints" / "marmot"


def make(path, megabytes):
    rows = megabytes * 256
    marmot.make_database(path, f"""
        PRAGMA journal_mode=off; PRAGMA synchronous=off;
        CREATE TABLE rows(tag, n);
        CREATE TABLE wide(id INTEGER PRIMARY KEY, b);
        WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n
          WHERE x<{rows}) INSERT INTO wide SELECT x, randomblob({ROW}) FROM n;
    """)


def copy_seconds(path):
    begun = time.monotonic()
    subprocess.run(["cp", path, path + ".copy"], check=True)
    subprocess.run(["sync", path + ".copy"], check=True)
    seconds = time.monotonic() - begun
    os.unlink(path + ".copy")
    return seconds


def memory(node, field):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def cpu_seconds(node):
    fields = pathlib.Path(f"/proc/{node.process.pid}/stat").read_text()
    fields = fields.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def restart_peak(node):
    """From now on the peak counts."""
    pathlib.Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")


class Writer(threading.Thread):
    """A commit every 10 ms; how many there were, and the slowest."""

    def __init__(self, node):
        super().__init__()
        self.session = marmot.Session(node.path(), busy_ms=20000)
        self.over, self.count, self.slowest = False, 0, 0

    def run(self):
        while not self.over:
            begun = time.monotonic()
            self.session.sql("INSERT INTO rows VALUES('w', 1)")
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.count += 1
            time.sleep(0.01)
        self.session.close()


def image(name, cluster, start):
    """The time from the first packet to the end."""
    sender, receiver = cluster[1], cluster[2]
    restart_peak(sender)
    writer = Writer(sender)
    writer.start()
    try:
        start(receiver)
        receiver.wait_log("image_fetching", 600)
        restart_peak(receiver)
        cpu = [cpu_seconds(node) for node in (sender, receiver)]
        begun = time.monotonic()
        receiver.wait_log("image_installed", 600)
        seconds = time.monotonic() - begun
        cpu = [cpu_seconds(node) - before
               for node, before in zip((sender, receiver), cpu)]
        line = re.search(r"image_installed.*", receiver.log())[0]
        peaks = [memory(node, "VmHWM") for node in (sender, receiver)]
        receiver.wait_log(r"\bready db=main\b", 600)
    finally:
        writer.over = True
        writer.join()
    size = os.path.getsize(sender.path()) / 1e6
    print(f"{name}: {seconds:.2f} s, {size / seconds:.0f} MB/s of {size:.0f} MB;"
          f" peak memory sender {peaks[0]:.0f} MB, receiver {peaks[1]:.0f} MB;"
          f" CPU sender {cpu[0]:.1f} s, receiver {cpu[1]:.1f} s;"
          f" {writer.count} commits meanwhile, the slowest "
          f"{writer.slowest * 1000:.0f} ms\n  {line}", flush=True)
    return seconds


def damage(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=off")
    connection.execute("UPDATE wide SET b = randomblob(?) WHERE id % 100 = 0",
                       (ROW,))
    connection.close()


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    tempfile.tempdir = sys.argv[2] if len(sys.argv) > 2 else None
    cluster = marmot.Cluster(1, replicas=1, flags=["-shards", "1"])
    try:
        make(cluster[1].path(), megabytes)
        subprocess.run(["sync"], check=True)
        seconds = copy_seconds(cluster[1].path())
        size = os.path.getsize(cluster[1].path()) / 1e6
        print(f"cp and sync: {seconds:.2f} s, {size / seconds:.0f} MB/s",
              flush=True)
        cluster[1].start().wait_log(r"\bready db=main\b", 600)
        image("new node", cluster, lambda node: node.start())
        cluster[2].stop(600)
        damage(cluster[2].path())
        cluster[2].program = FAILPOINTS
        cluster[2].env = {"MARMOT_FAIL": "image.in_place:1+:error"}
        image("in place, 1 % differ", cluster, lambda node: node.start())
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
