"""What the clients do to a database, one class a workload.

Each class knows its schema (`SCHEMA`), chooses an operation (`choose`) and runs
it on a connection in autocommit mode: run() calls the method of the operation's
name, which returns the operation's value. An exception is the operation's
error. `local` reads take what the node's copy shows, `strict` ones are made in
a write transaction and so must see everything acknowledged before.

`pause` is called at the points of a transaction where a process may well be
stopped or killed.
"""

import sqlite3
import time


class Rollback(Exception):
    """The client gave the transaction up: it must never be seen."""


class Workload:
    name = ""
    SCHEMA = ""
    READS = {"local": 3, "damage": 1}

    def __init__(self, random, pause=lambda point: None, clock=time.monotonic,
                 reader=False):
        self.random, self.pause, self.clock = random, pause, clock
        self.mix = self.READS if reader else self.MIX

    def choose(self):
        """(operation, arguments), by their weights."""
        names, weights = zip(*self.mix.items())
        name = self.random.choices(names, weights)[0]
        return name, getattr(self, "args_" + name, dict)()

    def run(self, db, op_id, name, args):
        return getattr(self, name)(db, op_id, **args)

    def transaction(self, db, body, begin="BEGIN IMMEDIATE"):
        db.execute(begin)
        value = body()
        self.pause("open")
        self.pause("commit")
        db.execute("COMMIT")
        return value

    def strict(self, db, op_id, **args):
        return self.transaction(db, lambda: self.read(db, **args))

    def local(self, db, op_id, **args):
        return self.read(db, **args)

    def damage(self, db, op_id):
        """What SQLite finds wrong with the database, a list."""
        rows = db.execute("PRAGMA integrity_check(5)").fetchall()
        return [text for text, in rows if text != "ok"]


def position(db):
    """The transaction number the node says its copy is at; None when there is
    no answer, which is no reason for a transaction to fail."""
    try:
        row = db.execute("PRAGMA marmot_position").fetchone()
    except sqlite3.OperationalError:
        return None
    return int(row[0].split(":")[0]) if row else None


class Bank(Workload):
    """Transfers; each appends to `log` the version that it makes."""

    name = "bank"
    ACCOUNTS, EACH = 8, 100
    SCHEMA = f"""
        CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT, pad BLOB);
        CREATE TABLE log(v INTEGER PRIMARY KEY, op TEXT UNIQUE, source, target,
                         amount);
        WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c
                                WHERE i < {ACCOUNTS})
            INSERT INTO accounts SELECT i, {EACH}, NULL FROM c;"""
    MIX = {"transfer": 50, "deferred": 10, "give_up": 5, "strict": 15,
           "local": 20, "damage": 2}

    def args_transfer(self):
        source, target = self.random.sample(range(1, self.ACCOUNTS + 1), 2)
        return {"source": source, "target": target,
                "amount": self.random.randint(1, 20),
                "pad": self.random.choice([0, 0, 0, 2000, 60000])}

    args_deferred = args_give_up = args_transfer

    def read(self, db):
        rows = db.execute("SELECT (SELECT max(v) FROM log), balance "
                          "FROM accounts ORDER BY id").fetchall()
        return {"v": rows[0][0] or 0, "balances": [row[1] for row in rows]}

    def move(self, db, op_id, source, target, amount, pad):
        seen = self.read(db)
        self.pause("open")
        db.execute("INSERT INTO log VALUES(?, ?, ?, ?, ?)",
                   (seen["v"] + 1, op_id, source, target, amount))
        for account, change in (source, -amount), (target, amount):
            db.execute("UPDATE accounts SET balance = ?, pad = zeroblob(?) "
                       "WHERE id = ?", (seen["balances"][account - 1] + change,
                                        pad, account))
        return seen

    def transfer(self, db, op_id, **args):
        def body():
            at = position(db)
            return self.move(db, op_id, **args) | {"pos": at}
        return self.transaction(db, body)

    def deferred(self, db, op_id, **args):
        """Reads first, takes the lock at its first write."""
        return self.transaction(db, lambda: self.move(db, op_id, **args),
                                "BEGIN")

    def give_up(self, db, op_id, **args):
        db.execute("BEGIN IMMEDIATE")
        self.move(db, op_id, **args)
        db.execute("ROLLBACK")
        raise Rollback()


class List(Workload):
    """Appends to lists; four lists for some seconds, then four new ones."""

    name = "list"
    LISTS, SECONDS = 4, 8
    SCHEMA = "CREATE TABLE lists(key INTEGER PRIMARY KEY, items TEXT);"
    MIX = {"append": 35, "append_two": 20, "append_read": 10, "strict": 15,
           "local": 20, "damage": 2}
    UPSERT = ("INSERT INTO lists VALUES(?, ?) ON CONFLICT(key) "
              "DO UPDATE SET items = items || ',' || excluded.items")

    def first(self):
        return int(self.clock() / self.SECONDS) * self.LISTS

    def args_append(self):
        return {"key": self.first() + self.random.randrange(self.LISTS)}

    args_append_read = args_append

    def args_append_two(self):
        two = self.random.sample(range(self.LISTS), 2)
        return {"keys": [self.first() + i for i in two]}

    def args_local(self):
        return {"first": self.first()}

    args_strict = args_local

    def read(self, db, first):
        """The lists of one time, of one state."""
        rows = db.execute("SELECT key, items FROM lists WHERE key BETWEEN ? "
                          "AND ?", (first, first + self.LISTS - 1)).fetchall()
        return {str(key): items.split(",") for key, items in rows}

    def append(self, db, op_id, key):
        self.pause("commit")
        db.execute(self.UPSERT, (key, op_id))

    def append_two(self, db, op_id, keys):
        def body():
            for key in keys:
                db.execute(self.UPSERT, (key, op_id))
                self.pause("open")
        self.transaction(db, body)

    def append_read(self, db, op_id, key):
        """The list before and with the append."""
        def body():
            before = self.read(db, key // self.LISTS * self.LISTS)
            db.execute(self.UPSERT, (key, op_id))
            return before
        return self.transaction(db, body)


class Register(Workload):
    """Reads, writes and compare-and-sets of registers, two at a time."""

    name = "register"
    KEYS, SECONDS = 2, 3
    SCHEMA = ("CREATE TABLE registers(key INTEGER PRIMARY KEY, value TEXT, "
              "version INT);")
    MIX = {"write": 25, "cas": 30, "strict": 30, "local": 15,
           "damage": 2}
    UPSERT = ("INSERT INTO registers VALUES(?, ?, 1) ON CONFLICT(key) DO "
              "UPDATE SET value = excluded.value, version = version + 1 "
              "RETURNING version")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = {}  # key: value last seen here

    def args_write(self):
        return {"key": int(self.clock() / self.SECONDS) * self.KEYS
                + self.random.randrange(self.KEYS)}

    args_strict = args_local = args_write

    def args_cas(self):
        args = self.args_write()
        return args | {"expected": self.seen.get(args["key"])}

    def read(self, db, key):
        row = db.execute("SELECT value, version FROM registers WHERE key = ?",
                         (key,)).fetchone() or (None, 0)
        self.seen[key] = row[0]
        return {"value": row[0], "version": row[1]}

    def write(self, db, op_id, key):
        self.pause("commit")
        version = db.execute(self.UPSERT, (key, op_id)).fetchall()[0][0]
        self.seen[key] = op_id
        return {"value": op_id, "version": version}

    def cas(self, db, op_id, key, expected):
        """Sets the value if it is the expected one; says what it was."""
        def body():
            found = self.read(db, key)
            if found["value"] != expected:
                return found | {"swapped": False}
            self.pause("open")
            db.execute(self.UPSERT, (key, op_id)).fetchall()
            return found | {"swapped": True}
        value = self.transaction(db, body)
        if value["swapped"]:
            self.seen[key] = op_id
        return value


class Set(Workload):
    """Unique inserts, alone or several in a transaction, some of them big."""

    name = "set"
    SECONDS, BIG, SOME_PAGES = 5, 300_000, 300
    SCHEMA = """
        CREATE TABLE items(op TEXT, n INT, parts INT, time INT, pad BLOB,
                           PRIMARY KEY(op, n));
        CREATE INDEX items_time ON items(time);"""
    # Half an hour of it must fit into the log of a small disk.
    MIX = {"insert": 90, "several": 30, "big": 1, "give_up": 8, "strict": 30,
           "local": 40, "damage": 4, "vacuum": 1, "index": 2}
    INSERT = "INSERT INTO items VALUES(?, ?, ?, ?, randomblob(?))"

    def time(self):
        return int(self.clock() / self.SECONDS)

    def args_insert(self):
        return {"time": self.time()}

    args_strict = args_local = args_insert

    def args_several(self):
        return {"time": self.time(), "parts": self.random.randint(2, 30),
                "bytes": self.random.choice([300, 300, 5000])}

    args_give_up = args_several

    def args_big(self):
        """More than one part of a proposal, and more than a page cache."""
        return {"time": self.time(), "parts": 4, "bytes": self.BIG}

    def read(self, db, time):
        """{operation: rows of it} of two periods, of one state."""
        return dict(db.execute(
            "SELECT op, count(*) FROM items WHERE time BETWEEN ? AND ? "
            "GROUP BY op", (time - 1, time)).fetchall())

    def insert(self, db, op_id, time):
        self.pause("commit")
        db.execute(self.INSERT, (op_id, 1, 1, time, 20))

    def rows(self, db, op_id, time, parts, bytes):
        """The cache is small, so that pages reach the WAL before the end."""
        db.execute("PRAGMA cache_size=10")
        for n in range(1, parts + 1):
            db.execute(self.INSERT, (op_id, n, parts, time, bytes))
        self.pause("open")

    def several(self, db, op_id, **args):
        self.transaction(db, lambda: self.rows(db, op_id, **args))

    def big(self, db, op_id, **args):
        """Big rows of before are emptied, or the copies would grow."""
        def body():
            db.execute("UPDATE items SET pad = NULL WHERE length(pad) >= 300")
            self.rows(db, op_id, **args)
        self.transaction(db, body)

    def vacuum(self, db, op_id):
        """Writes every page, and changes nothing that can be read; the rarer
        the more pages there are."""
        pages, = db.execute("PRAGMA page_count").fetchone()
        if self.random.random() * pages < self.SOME_PAGES:
            db.execute("VACUUM")

    def index(self, db, op_id):
        """The schema changes, and with it every prepared statement."""
        def body():
            db.execute("DROP INDEX items_time")
            db.execute("CREATE INDEX items_time ON items(time)")
        self.transaction(db, body)

    def give_up(self, db, op_id, **args):
        db.execute("BEGIN IMMEDIATE")
        self.rows(db, op_id, **args)
        db.execute("ROLLBACK")
        raise Rollback()


WORKLOADS = {w.name: w for w in (Bank, List, Register, Set)}
