#include "vfs/guest_db.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/err.h"
#include "vfs/guest_fork.h"
#include "vfs/guest_log.h"
#include "vfs/guest_wait.h"

#define MARKER_SUFFIX "-marmot"
#define REFUSAL_LOG_MS 10000 /* between two lines of one handle */

static int hook_propose(void *arg, const struct proposal *p, uint32_t frame);
static int hook_read(void *arg, uint32_t frame, uint8_t *image);

/* ---- names --------------------------------------------------------------- */

static char *join(const char *a, const char *between, const char *b)
{
    size_t len = strlen(a) + strlen(between) + strlen(b) + 1;
    char *s = malloc(len);

    if (s != NULL) {
        snprintf(s, len, "%s%s%s", a, between, b);
    }
    return s;
}

/* The folder resolved, the last part as it is. */
static char *resolve_folder(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *last = slash == NULL ? name : slash + 1;
    char *folder =
        slash == NULL ? strdup(".") : strndup(name, (size_t)(last - name));
    char *real = folder == NULL ? NULL : realpath(folder, NULL);
    char *path;

    free(folder);
    if (real == NULL) {
        return errno == ENOMEM ? NULL : strdup(name);
    }
    path = join(strcmp(real, "/") == 0 ? "" : real, "/", last);
    free(real);
    return path;
}

char *guest_path_resolve(const char *name)
{
    char *real = realpath(name, NULL);

    return real != NULL ? real : resolve_folder(name);
}

char *guest_path_marker(const char *path)
{
    return join(path, "", MARKER_SUFFIX);
}

bool guest_path_managed(const char *marker)
{
    struct stat st;

    return stat(marker, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* ---- life ---------------------------------------------------------------- */

struct guest_db *guest_db_new(char *path, char *marker, sqlite3_file *main)
{
    struct guest_db *db = calloc(1, sizeof *db);
    struct capture_hooks hooks = {hook_propose, hook_read, db};

    if (db == NULL) {
        return NULL;
    }
    db->main = main;
    db->path = path;
    db->marker = marker;
    db->pid = guest_fork_pid();
    capture_init(&db->capture, &hooks);
    guest_new_init(&db->fresh);
    guest_client_init(&db->client, marker);
    return db;
}

void guest_db_free(struct guest_db *db)
{
    guest_client_close(&db->client);
    guest_new_close(&db->fresh);
    capture_close(&db->capture);
    free(db->marker);
    free(db->path);
    free(db);
}

void guest_db_identify(struct guest_db *db)
{
    struct stat st;

    if (stat(db->path, &st) == 0) {
        db->dev = st.st_dev;
        db->inode = st.st_ino;
        db->maybe_empty = st.st_size == 0;
    }
}

bool guest_db_look(struct guest_db *db)
{
    db->managed = db->managed || guest_path_managed(db->marker);
    return db->managed;
}

bool guest_db_forked(const struct guest_db *db)
{
    return db->pid != guest_fork_pid();
}

bool guest_db_empty(const struct guest_db *db)
{
    sqlite3_int64 size;

    return db->main->pMethods->xFileSize(db->main, &size) == SQLITE_OK &&
           size == 0;
}

/* ---- the node ------------------------------------------------------------ */

static struct session_hello hello_of(struct guest_db *db)
{
    db->maybe_empty = db->maybe_empty && guest_db_empty(db);
    return (struct session_hello){.dev = db->dev,
                                  .inode = db->inode,
                                  .pid = (uint32_t)db->pid,
                                  .empty = db->maybe_empty};
}

void guest_db_refused(struct guest_db *db, const char *what, int err)
{
    uint64_t now = clock_ms();

    snprintf(db->refusal, sizeof db->refusal, "%s", db->client.text);
    if (db->logged_ms == 0 || now - db->logged_ms >= REFUSAL_LOG_MS) {
        db->logged_ms = now;
        guest_log(SQLITE_WARNING, "%s: %s: %s (%s)", db->path, what,
                  db->refusal, err_str(err));
    }
}

int guest_db_grant(struct guest_db *db, struct position *position)
{
    struct session_hello hello = hello_of(db);
    int err = guest_client_lock(&db->client, &hello, position);

    guest_wait_for(err == ERR_BUSY && db->client.parked ? db->client.fd : -1);
    if (err != 0) {
        guest_db_refused(db, "the write lock was refused", err);
    }
    return err;
}

void guest_db_stale(struct guest_db *db)
{
    guest_client_unlock(&db->client, UNLOCK_STALE, NULL, false);
    guest_wait_skip();
}

int guest_db_ask(struct guest_db *db, enum session_kind kind,
                 const struct session_wait *wait, char *text, bool *ok)
{
    struct session_hello hello = hello_of(db);

    return guest_client_ask(&db->client, &hello, kind, wait, text, ok);
}

/* ---- the wal-index ------------------------------------------------------- */

bool guest_db_index_header(const struct guest_db *db,
                           uint8_t header[INDEX_HEADER_BYTES])
{
    const volatile uint32_t *from = db->index;
    uint32_t word;

    if (from == NULL) {
        return false;
    }
    for (size_t i = 0; i < INDEX_HEADER_BYTES / 4; i++) {
        word = from[i];
        memcpy(header + 4 * i, &word, sizeof word);
    }
    return true;
}

/* Map the wal-index up to `frame`, so that showing the transaction after it was
 * accepted cannot fail for want of space. */
static int map_index(struct guest_db *db, uint32_t frame)
{
    /* A block covers 4096 frames, the first one 34 fewer. The VFS maps all
     * blocks up to the one that it is asked for. */
    int last = (int)(((uint64_t)frame + 33) / 4096);
    volatile void *region;
    int rc = db->main->pMethods->xShmMap(db->main, last, INDEX_REGION_BYTES, 1,
                                         &region);

    if (rc == SQLITE_OK) {
        return 0;
    }
    return rc == SQLITE_FULL ? ERR_FULL : ERR_IO;
}

/* ---- capture's hooks ----------------------------------------------------- */

/* The commit frame's page goes into the WAL before the proposal leaves, so that
 * a full disk is met while the transaction can still fail. Without its header
 * it is nothing. */
static int reserve_frame(struct guest_db *db, const struct proposal *p,
                         uint32_t frame)
{
    uint64_t offset =
        wal_frame_offset(p->page_size, frame) + WAL_FRAME_HEADER_BYTES;
    int rc = SQLITE_OK;

    for (uint32_t i = 0; i < p->count; i++) {
        if (p->pages[i].frame == frame && p->pages[i].image != NULL) {
            rc = db->wal->pMethods->xWrite(db->wal, p->pages[i].image,
                                           (int)p->page_size,
                                           (sqlite3_int64)offset);
        }
    }
    return rc == SQLITE_OK ? 0 : rc == SQLITE_FULL ? ERR_FULL : ERR_IO;
}

static int hook_propose(void *arg, const struct proposal *p, uint32_t frame)
{
    struct guest_db *db = arg;
    int rc = map_index(db, frame);

    if (rc == 0) {
        rc = reserve_frame(db, p, frame);
    }
    if (rc == 0) {
        rc = guest_client_propose(&db->client, p);
    }
    if (rc != 0) {
        guest_db_refused(db, "a commit failed", rc);
    }
    db->commit_frame = frame;
    return rc;
}

static int hook_read(void *arg, uint32_t frame, uint8_t *image)
{
    struct guest_db *db = arg;
    uint32_t page_size = db->capture.page_size;
    uint64_t offset = wal_frame_offset(page_size, frame);
    int rc;

    rc = db->wal->pMethods->xRead(
        db->wal, image, (int)page_size,
        (sqlite3_int64)(offset + WAL_FRAME_HEADER_BYTES));
    return rc == SQLITE_OK ? 0 : ERR_IO;
}
