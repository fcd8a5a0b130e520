#include "tests/bench/statement.h"

const char *const statement_table =
    "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT)";
const char *const statement_index = "CREATE INDEX IF NOT EXISTS tk ON t(k)";

const struct statement statements[OPS] = {
    [OP_INSERT] = {"INSERT INTO t(k, v) VALUES(?, ?)", true, true, false},
    [OP_FILL] = {"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL"
                 " SELECT i + 1 FROM c LIMIT ?)"
                 " INSERT INTO t(k, v) SELECT abs(random()) % 1000000000,"
                 " hex(randomblob(50)) FROM c",
                 true, false, false},
    [OP_UPDATE] = {"UPDATE t SET v = ?2 WHERE id = ?1", true, true, false},
    [OP_DELETE] = {"DELETE FROM t WHERE id = ?", true, false, false},
    [OP_READ] = {"SELECT v FROM t WHERE id = ?", true, false, true},
    [OP_FIRST] = {"SELECT coalesce(min(id), 0) FROM t", false, false, true},
    [OP_LAST] = {"SELECT coalesce(max(id), 0) FROM t", false, false, true},
};
