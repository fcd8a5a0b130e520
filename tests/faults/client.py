"""One client: a process with a connection that runs a workload until it is
told to end (its stdin is closed).

    client.py WORKLOAD PATH HISTORY PROCESS NODE SEED RATE writer|reader

SIGUSR1: be killed during the next commit. SIGUSR2: be stopped (SIGSTOP) in the
next transaction; SIGCONT continues the process, or takes the order back.
"""

import os
import random
import select
import signal
import sqlite3
import sys
import threading
import time

from history import FAIL, INFO, OK, Recorder
from workloads import WORKLOADS, Rollback

UNKNOWN = 10 | 200 << 8  # MARMOT_IOERR_UNKNOWN of vfs/marmot.h
TIMEOUTS = (0, 0.5, 5)  # busy timeouts, seconds
# Now one client is busy and now another: for some seconds each, the rate is
# multiplied by one of these.
TEMPO, TEMPO_SECONDS = (0.1, 0.1, 1, 4), 6


class Client:
    def __init__(self, workload, path, history, process, node, seed, rate,
                 role="writer"):
        self.random = random.Random(f"{seed}/{process}")
        self.workload = WORKLOADS[workload](self.random, self.pause,
                                            reader=role == "reader")
        self.recorder = Recorder(history, process, int(node))
        self.path, self.rate, self.db = path, float(rate), None
        self.name = process.split(".")[0]
        self.next_death = self.next_stop = self.stop_wanted = None
        signal.signal(signal.SIGUSR1, self.order_death)
        signal.signal(signal.SIGUSR2, self.order_stop)
        signal.signal(signal.SIGCONT, self.forget_stop)

    def order_death(self, *_):
        self.next_death = self.random.choice(["open", "commit", "commit"])

    def order_stop(self, *_):
        self.next_stop = self.random.choice(["open", "commit"])

    def forget_stop(self, *_):
        """Somebody continued us: a stop that is still to come is too late.

        Only plain assignments: a second signal may come in the middle."""
        self.next_stop = self.stop_wanted = None

    def pause(self, point):
        """A point of a transaction: "open" within it, "commit" just before
        its end, so that what comes soon after hits the commit."""
        soon = self.random.expovariate(1 / 0.004) if point == "commit" else 0
        if self.next_death == point:
            self.next_death = None
            # The default action of SIGALRM ends the process at once, without
            # any code of its own.
            signal.setitimer(signal.ITIMER_REAL, max(soon, 1e-6))
        if self.next_stop == point:
            self.next_stop = None
            self.stop_after(soon)
        if point == "open" and self.random.random() < 0.02:
            time.sleep(self.random.uniform(0, 0.2))

    def stop_after(self, seconds):
        """Stop in the middle of what the main thread does then."""
        def stop():
            time.sleep(seconds)
            if self.stop_wanted:
                os.kill(os.getpid(), signal.SIGSTOP)
        self.stop_wanted = True
        threading.Thread(target=stop, daemon=True).start()

    def connection(self):
        if self.db is None:
            self.db = sqlite3.connect(self.path, isolation_level=None,
                                      timeout=self.random.choice(TIMEOUTS))
        return self.db

    def settle(self):
        """No transaction is left open, and now and then no connection."""
        if self.db is None:
            return
        try:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
        except sqlite3.Error:
            self.db.close()
            self.db = None
        if self.db is not None and self.random.random() < 0.01:
            self.db.close()
            self.db = None

    def operation(self):
        name, args = self.workload.choose()
        op_id = self.recorder.invoke(name, args)
        try:
            value = self.workload.run(self.connection(), op_id, name, args)
            self.recorder.event(OK, value=value)
        except Rollback:
            self.recorder.event(FAIL, error="ROLLBACK")
        except sqlite3.Error as error:
            self.failed(error)
        self.settle()

    def failed(self, error):
        """Only the outcome that says so is unknown."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise error  # Python's own complaint: a bug of this program
        name = "UNKNOWN" if code == UNKNOWN else error.sqlite_errorname
        self.recorder.event(INFO if code == UNKNOWN else FAIL, error=name,
                            message=str(error), code=code)

    def tempo(self):
        period = int(time.monotonic() / TEMPO_SECONDS)
        return random.Random(f"{self.name}/{period}").choice(TEMPO)

    def run(self):
        while True:
            wait = self.random.expovariate(self.rate * self.tempo())
            if select.select([sys.stdin], [], [], wait)[0]:
                break
            self.operation()
        if self.db is not None:
            self.db.close()


Client(*sys.argv[1:]).run()
