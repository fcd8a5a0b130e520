"""One SQLite connection, driven over stdin by marmot.Session.

    child.py PATH BUSY_MS|default SETUP-SQL

Reads one JSON command a line and answers with one JSON line: {"value": ...} or
{"error": name, "message": ..., "seconds": ...}. The connection is in
autocommit mode, so that every BEGIN and COMMIT is the test's own.
"""

import json
import sqlite3
import sys
import time

import workload


def plain(value):
    return value.hex() if isinstance(value, bytes) else value


class Child:
    def __init__(self, path, busy, setup):
        self.connection = None
        self.path, self.busy, self.setup = path, busy, setup

    def db(self):
        """The connection; opened by the first command, so that an error at
        opening is answered like any other."""
        if self.connection is None:
            wait = 0 if self.busy == "default" else int(self.busy) / 1000
            options = {} if self.busy == "default" else {"timeout": wait}
            connection = sqlite3.connect(
                self.path, isolation_level=None,
                uri=self.path.startswith("file:"), **options)
            if self.setup:
                connection.executescript(self.setup)
            self.connection = connection
        return self.connection

    def sql(self, sql, parameters=()):
        rows = self.db().execute(sql, parameters).fetchall()
        return [[plain(value) for value in row] for row in rows]

    def script(self, sql):
        self.db().executescript(sql)

    def repeat(self, sql, count, tag):
        """Run statements with (tag, i) for i in 0..count; no retry."""
        for i in range(count):
            for statement in sql:
                self.db().execute(statement, (tag, i)[:statement.count("?")])
        return count

    def rows_until(self, tag, seconds, sql="INSERT INTO rows VALUES(?, ?)"):
        """Insert rows for a while; what was acknowledged, what was not.

        An error other than a refused lock may still have committed: its row
        is listed as unknown."""
        acknowledged, unknown, refused, longest = [], [], 0, 0.0
        end = time.monotonic() + seconds
        i = 0
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                self.db().execute(sql, (tag, i))
                acknowledged.append(i)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    refused += 1
                else:
                    unknown.append([i, error.sqlite_errorname])
            longest = max(longest, time.monotonic() - started)
            i += 1
        return {"acknowledged": acknowledged, "unknown": unknown,
                "refused": refused, "longest": longest}

    def random(self, seed, count):
        return workload.run(self.db(), seed, count)

    def answer(self, request):
        started = time.monotonic()
        try:
            do = request.pop("do")
            return {"value": getattr(self, do)(**request)}
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            return {"error": name, "message": str(error),
                    "seconds": time.monotonic() - started}


def main():
    child = Child(*sys.argv[1:4])
    for line in sys.stdin:
        print(json.dumps(child.answer(json.loads(line))), flush=True)


main()
