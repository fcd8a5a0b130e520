/* -cleanup: forget the cluster. The databases stay as plain SQLite files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "node/node.h"
#include "node/socket_path.h"
#include "vfs/image.h"

/* The socket can only be taken when no node answers on it; the database only
 * be opened when no session of it lives. */
static int forget_db(const struct options *o, const struct option_db *db)
{
    char marker[PATH_MAX + 16];
    enum file_kind kind;
    uint32_t page_size;
    struct apply *a;
    int fd, rv;

    snprintf(marker, sizeof marker, "%s-marmot", db->path);
    fd = socket_listen(marker, db->path);
    if (fd == -EADDRINUSE) {
        log_error("cleanup", "db=%s: a node is running on %s: stop it first",
                  db->name, db->path);
        return -1;
    }
    if (fd < 0) {
        log_error("cleanup", "db=%s path=%s: %s", db->name, marker,
                  err_str(fd));
        return -1;
    }
    close(fd);
    rv = file_classify(db->path, &kind, &page_size);
    if (rv == 0 && kind == FILE_WAL) {
        rv = apply_open(db->path, &a);
        if (rv == 0) {
            rv = apply_close(a, true);
        }
        if (rv == ERR_BUSY) {
            log_error("cleanup",
                      "db=%s: a program still uses %s: stop it "
                      "first",
                      db->name, db->path);
            return -1;
        }
    }
    unlink(marker);
    snprintf(marker, sizeof marker, "%s-marmot" SLOT_SUFFIX, db->path);
    unlink(marker);
    image_forget(db->path);
    contact_forget(o, db->name);
    return 0;
}

int cleanup_run(const struct options *o)
{
    static const char *const files[] = {"store.db", "store.db-wal",
                                        "store.db-shm", "store.reserve"};
    char path[PATH_MAX + 32];

    for (unsigned i = 0; i < o->n_dbs; i++) {
        if (forget_db(o, &o->dbs[i]) != 0) {
            return 1;
        }
    }
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", o->raft_path, files[i]);
        unlink(path);
    }
    rmdir(o->raft_path); /* stays when there is anything else in it */
    log_info("cleanup", "%u databases are plain SQLite files again", o->n_dbs);
    return 0;
}
