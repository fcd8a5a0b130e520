/* Commits, reads and lag of managed databases against plain SQLite.
 *
 * Runs under LD_PRELOAD: an unmanaged file goes through untouched and is the
 * plain arm, so both arms are one program, interleaved round by round, and a
 * ratio is taken within each round. The plain arm runs twice (A/A): where that
 * ratio leaves 0.9-1.1 the machine was too noisy for a verdict.
 *
 *   bench_marmot PLAIN_DIR NODE_DIR FOLLOWER_DIR ROUNDS SECONDS
 *
 * Each folder holds main.db and d0.db..d15.db (PLAIN_DIR's are made here). */
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define DATABASES 16
#define ROUNDS_MAX 64
#define LAG_SAMPLES 400

static const char *const schema =
    "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, k INT, v TEXT);"
    "CREATE INDEX IF NOT EXISTS i ON t(k)";

static void die(sqlite3 *db, const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static sqlite3 *open_db(const char *folder, const char *name)
{
    char path[4096];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/%s.db", folder, name);
    if (sqlite3_open(path, &db) != SQLITE_OK) {
        die(db, path);
    }
    sqlite3_busy_timeout(db, 20000);
    if (sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
                     NULL, NULL, NULL) != SQLITE_OK) {
        die(db, path);
    }
    return db;
}

static void make(const char *folder, const char *name)
{
    sqlite3 *db = open_db(folder, name);

    if (sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        die(db, "schema");
    }
    sqlite3_close(db);
}

/* Single-row commits for `us`; returns how many. */
static unsigned inserts(sqlite3 *db, uint64_t us)
{
    uint64_t end = clock_us() + us;
    sqlite3_stmt *st;
    unsigned n = 0;

    if (sqlite3_prepare_v2(db,
                           "INSERT INTO t(k, v) VALUES(abs(random()) % 100000,"
                           " hex(randomblob(50)))",
                           -1, &st, NULL) != SQLITE_OK) {
        die(db, "prepare");
    }
    while (clock_us() < end) {
        if (sqlite3_step(st) != SQLITE_DONE) {
            die(db, "insert");
        }
        sqlite3_reset(st);
        n++;
    }
    sqlite3_finalize(st);
    return n;
}

static double serial(const char *folder, double seconds)
{
    sqlite3 *db = open_db(folder, "main");
    double rate = inserts(db, (uint64_t)(seconds * 1e6)) / seconds;

    sqlite3_close(db);
    return rate;
}

static double sixteen(const char *folder, double seconds)
{
    unsigned *counts =
        mmap(NULL, DATABASES * sizeof *counts, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned total = 0;
    int status, bad = 0;

    for (int i = 0; i < DATABASES; i++) {
        if (fork() == 0) {
            char name[16];
            snprintf(name, sizeof name, "d%d", i);
            counts[i] =
                inserts(open_db(folder, name), (uint64_t)(seconds * 1e6));
            _exit(0);
        }
    }
    for (int i = 0; i < DATABASES; i++) {
        wait(&status);
        bad |= status;
    }
    for (int i = 0; i < DATABASES; i++) {
        total += counts[i];
    }
    munmap(counts, DATABASES * sizeof *counts);
    if (bad) {
        fprintf(stderr, "bench: a writer failed\n");
        exit(1);
    }
    return total / seconds;
}

static double reads(const char *folder, double seconds)
{
    sqlite3 *db = open_db(folder, "main");
    uint64_t end = clock_us() + (uint64_t)(seconds * 1e6);
    sqlite3_stmt *st;
    unsigned n = 0;

    if (sqlite3_prepare_v2(db, "SELECT v FROM t WHERE id = 1 + ?1 % 100", -1,
                           &st, NULL) != SQLITE_OK) {
        die(db, "prepare");
    }
    while ((n & 63) != 0 || clock_us() < end) {
        sqlite3_bind_int(st, 1, (int)(n * 7919u % 100000u));
        sqlite3_step(st);
        sqlite3_reset(st);
        n++;
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n / seconds;
}

/* ---- lag ------------------------------------------------------------------
 */

struct shared {
    volatile sqlite3_int64 committed; /* last row committed on the writer */
    volatile uint64_t at_us;
    volatile sqlite3_int64 seen;
    double samples[LAG_SAMPLES];
};

static sqlite3_int64 last_row(sqlite3_stmt *st)
{
    sqlite3_int64 id = 0;

    if (sqlite3_step(st) == SQLITE_ROW) {
        id = sqlite3_column_int64(st, 0);
    }
    sqlite3_reset(st);
    return id;
}

static void follow(struct shared *s, const char *folder)
{
    sqlite3 *db = open_db(folder, "main");
    sqlite3_stmt *st;

    if (sqlite3_prepare_v2(db, "SELECT max(id) FROM t", -1, &st, NULL)) {
        die(db, "prepare");
    }
    for (;;) {
        s->seen = last_row(st);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* From the return of COMMIT on one node to visible in a process on another. */
static void lag(const char *writer, const char *follower)
{
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sqlite3 *db = open_db(writer, "main");
    pid_t child = fork();

    if (child == 0) {
        follow(s, follower);
    }
    for (int i = 0; i < LAG_SAMPLES; i++) {
        uint64_t t, give_up;
        if (sqlite3_exec(db, "INSERT INTO t(k, v) VALUES(1, 'lag')", NULL, NULL,
                         NULL) != SQLITE_OK) {
            die(db, "insert");
        }
        t = clock_us();
        give_up = t + 5000000;
        while (s->seen < sqlite3_last_insert_rowid(db) &&
               clock_us() < give_up) {
        }
        s->samples[i] = (double)(clock_us() - t) / 1000.0;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    qsort(s->samples, LAG_SAMPLES, sizeof s->samples[0], compare);
    printf("L  replica lag                        p50 %.2f ms, p99 %.2f ms\n",
           s->samples[LAG_SAMPLES / 2], s->samples[LAG_SAMPLES * 99 / 100]);
    sqlite3_close(db);
}

/* ---- rounds ----------------------------------------------------------------
 */

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return values[n / 2];
}

static void rounds_of(const char *name, double (*run)(const char *, double),
                      char **folders, int rounds, double seconds)
{
    double ratio[ROUNDS_MAX], control[ROUNDS_MAX], rate[ROUNDS_MAX],
        plain[ROUNDS_MAX];
    double aa;

    for (int i = 0; i < rounds; i++) {
        plain[i] = run(folders[0], seconds);
        rate[i] = run(folders[1], seconds);
        control[i] = run(folders[0], seconds) / plain[i];
        ratio[i] = rate[i] / plain[i];
        printf(
            "{\"workload\":\"%.2s\",\"round\":%d,\"plain\":%.0f,"
            "\"marmot\":%.0f,\"ratio\":%.3f,\"control\":%.3f}\n",
            name, i, plain[i], rate[i], ratio[i], control[i]);
        fflush(stdout);
    }
    aa = median(control, rounds);
    printf("%s  %.2fx (%.2f-%.2f)  %.0f/s against %.0f/s  A/A %.2f%s\n", name,
           median(ratio, rounds), ratio[0], ratio[rounds - 1],
           median(rate, rounds), median(plain, rounds), aa,
           aa < 0.9 || aa > 1.1 ? "  noisy: no verdict" : "");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int rounds;
    double seconds;

    if (argc != 6) {
        fprintf(stderr,
                "usage: bench_marmot PLAIN NODE FOLLOWER ROUNDS "
                "SECONDS\n");
        return 2;
    }
    rounds = atoi(argv[4]);
    seconds = atof(argv[5]);
    if (rounds < 1 || rounds > ROUNDS_MAX || seconds <= 0) {
        return 2;
    }
    for (int side = 1; side <= 2; side++) {
        make(argv[side], "main");
        for (int i = 0; i < DATABASES; i++) {
            char name[16];
            snprintf(name, sizeof name, "d%d", i);
            make(argv[side], name);
        }
    }
    rounds_of("W1 serial single-row commits       ", serial, argv + 1, rounds,
              seconds);
    rounds_of("W3 16 databases, 16 writers        ", sixteen, argv + 1, rounds,
              seconds);
    rounds_of("R1 local point reads               ", reads, argv + 1, rounds,
              seconds);
    lag(argv[2], argv[3]);
    return 0;
}
