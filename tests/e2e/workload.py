"""Random SQL on one connection, reproducible from a seed."""

import random

SETUP = """
PRAGMA auto_vacuum=2;
CREATE TABLE IF NOT EXISTS items(id INTEGER PRIMARY KEY, a, b);
CREATE INDEX IF NOT EXISTS items_a ON items(a);
CREATE TABLE IF NOT EXISTS words(word TEXT PRIMARY KEY, n) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(body);
"""

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]


class Workload:
    def __init__(self, db, seed):
        self.db, self.random = db, random.Random(seed)
        self.tables = 0

    def bytes(self, most):
        return self.random.randbytes(self.random.randrange(most))

    def insert(self):
        for _ in range(self.random.randrange(1, 40)):
            self.db.execute("INSERT INTO items(a, b) VALUES(?, ?)",
                            (self.random.randrange(1000), self.bytes(3000)))

    def big_blob(self):
        self.db.execute("INSERT INTO items(a, b) VALUES(-1, ?)",
                        (self.bytes(300000),))

    def update(self):
        self.db.execute("UPDATE items SET a = a + 1, b = ? WHERE a % 17 = ?",
                        (self.bytes(500), self.random.randrange(17)))

    def delete(self):
        self.db.execute("DELETE FROM items WHERE id % 13 = ?",
                        (self.random.randrange(13),))

    def words(self):
        for _ in range(self.random.randrange(1, 20)):
            word = "".join(self.random.choices(WORDS, k=3))
            self.db.execute("INSERT INTO words VALUES(?, 1) "
                            "ON CONFLICT DO UPDATE SET n = n + 1", (word,))

    def texts(self):
        body = " ".join(self.random.choices(WORDS, k=50))
        self.db.execute("INSERT INTO texts VALUES(?)", (body,))
        self.db.execute("DELETE FROM texts WHERE rowid % 29 = ?",
                        (self.random.randrange(29),))

    def savepoint(self):
        self.db.execute("SAVEPOINT s")
        self.insert()
        self.update()
        if self.random.random() < 0.5:
            self.db.execute("ROLLBACK TO s")
            self.words()
        self.db.execute("RELEASE s")

    def schema(self):
        name = f"t{self.random.randrange(6)}"
        choice = self.random.randrange(3)
        if choice == 0:
            self.db.execute(f"CREATE TABLE IF NOT EXISTS {name}(x, y)")
            self.db.execute(f"INSERT INTO {name} SELECT a, b FROM items "
                            "LIMIT 30")
        elif choice == 1:
            self.db.execute(f"DROP TABLE IF EXISTS {name}")
        else:
            self.db.execute(f"CREATE TABLE IF NOT EXISTS {name}(x, y)")
            self.db.execute(f"CREATE INDEX IF NOT EXISTS i{name} ON {name}(x)")

    def spill(self):
        """More dirty pages than the cache holds."""
        self.db.execute("PRAGMA cache_size=10")
        self.db.execute("UPDATE items SET b = ?", (self.bytes(2000),))

    def transaction(self):
        steps = [self.insert, self.insert, self.update, self.delete,
                 self.words, self.texts, self.savepoint, self.schema,
                 self.big_blob, self.spill]
        self.db.execute("BEGIN IMMEDIATE")
        for step in self.random.choices(steps, k=self.random.randrange(1, 5)):
            step()
        rolled_back = self.random.random() < 0.1
        self.db.execute("ROLLBACK" if rolled_back else "COMMIT")

    def alone(self):
        """What runs outside a transaction of its own."""
        self.db.execute(self.random.choice(
            ["VACUUM", "PRAGMA incremental_vacuum(5)", "REINDEX", "ANALYZE",
             "PRAGMA wal_checkpoint", "PRAGMA user_version=7"])).fetchall()


def run(db, seed, count):
    """`count` random transactions; the number of rows in the end."""
    db.executescript(SETUP)
    work = Workload(db, seed)
    for _ in range(count):
        if work.random.random() < 0.03:
            work.alone()
        else:
            work.transaction()
        if db.execute("SELECT count(*) FROM items").fetchone()[0] > 1500:
            db.execute("DELETE FROM items WHERE id % 3 > 0")
    return db.execute("SELECT count(*) FROM items").fetchone()[0]
