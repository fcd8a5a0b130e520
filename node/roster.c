#include "node/roster.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/failpoint.h"

#define PATH_BYTES (PATH_MAX + 32)
#define LINE_BYTES (ADDRESS_MAX + 128)

static void path_of(const char *raft_path, const char *suffix, char *out)
{
    snprintf(out, PATH_BYTES, "%s/members%s", raft_path, suffix);
}

/* ---- reading ------------------------------------------------------------- */

static bool read_node(const char *line, struct roster *r)
{
    struct member_info *m = &r->members[r->n];
    char role[16], store[UUID_TEXT_BYTES];

    if (r->n == NODES_MAX ||
        sscanf(line, "node %" SCNu64 " %15s %36s %255s", &m->id, role, store,
               m->address) != 4 ||
        !uuid_parse(store, &m->store) || !member_valid(m)) {
        return false;
    }
    m->replica = strcmp(role, "replica") == 0;
    r->n++;
    return m->replica || strcmp(role, "voter") == 0;
}

static bool read_line(const char *line, struct roster *r)
{
    char text[UUID_TEXT_BYTES];

    if (strncmp(line, "node ", 5) == 0) {
        return read_node(line, r);
    }
    if (sscanf(line, "cluster %36s", text) == 1) {
        return uuid_parse(text, &r->cluster);
    }
    if (sscanf(line, "store %36s", text) == 1) {
        return uuid_parse(text, &r->store);
    }
    if (strcmp(line, "joining\n") == 0) {
        return r->joining = true;
    }
    return sscanf(line, "shards %" SCNu32, &r->shards) == 1 &&
           r->shards <= SHARDS_MAX;
}

int roster_read(const char *raft_path, struct roster *r, char *why, size_t size)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    bool ok = true;
    FILE *f;

    memset(r, 0, sizeof *r);
    path_of(raft_path, "", path);
    f = fopen(path, "re");
    if (f == NULL && errno == ENOENT) {
        return ERR_NOT_FOUND;
    }
    if (f == NULL) {
        snprintf(why, size, "cannot read %s: %s", path, strerror(errno));
        return -errno;
    }
    while (ok && fgets(line, sizeof line, f) != NULL) {
        ok = read_line(line, r);
    }
    ok = ok && !ferror(f);
    fclose(f);
    if (!ok || uuid_is_none(&r->store) || (r->n > 0 && r->shards == 0)) {
        snprintf(
            why, size,
            "%s is damaged; correct or remove it, and name the other nodes "
            "with -bootstrap",
            path);
        return ERR_CORRUPT;
    }
    return 0;
}

/* ---- writing ------------------------------------------------------------- */

static bool write_all(FILE *f, const struct roster *r)
{
    char text[UUID_TEXT_BYTES];

    uuid_text(&r->cluster, text);
    fprintf(f, "cluster %s\nshards %" PRIu32 "\n", text, r->shards);
    uuid_text(&r->store, text);
    fprintf(f, "store %s\n%s", text, r->joining ? "joining\n" : "");
    for (unsigned i = 0; i < r->n; i++) {
        const struct member_info *m = &r->members[i];
        uuid_text(&m->store, text);
        fprintf(f, "node %" PRIu64 " %s %s %s\n", m->id,
                m->replica ? "replica" : "voter", text, m->address);
    }
    return fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
}

int roster_write(const char *raft_path, const struct roster *r)
{
    char path[PATH_BYTES], new[PATH_BYTES];
    bool ok;
    FILE *f;

    path_of(raft_path, "", path);
    path_of(raft_path, ".new", new);
    f = fopen(new, "we");
    if (f == NULL) {
        return -errno;
    }
    ok = write_all(f, r);
    ok = fclose(f) == 0 && ok;
    FAILPOINT("file.members");
    if (!ok || rename(new, path) != 0) {
        unlink(new);
        return ERR_IO;
    }
    return 0;
}

void roster_remove(const char *raft_path)
{
    char path[PATH_BYTES];

    path_of(raft_path, "", path);
    unlink(path);
}
