/* The member file of a database (docs/FORMATS.md): that a local file is part of
 * a database of the cluster, and where it stood, so that after a crash it is
 * repaired, and never compared as a stranger.
 *
 * It is called by the name that the database has here. When that changes, the
 * flags of the next start may still name the old one: then the path tells. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "node/node.h"
#include "node/order.h"

#define SUFFIX ".member"
#define FILE_PATH_BYTES (PATH_MAX + 200)
#define LINE_BYTES (PATH_MAX + 16)

static void member_path(const struct options *o, const char *name, char *out)
{
    snprintf(out, FILE_PATH_BYTES, "%s/%s" SUFFIX, o->raft_path, name);
}

static void read_state(struct db_noted *to, const char *text)
{
    to->valid = sscanf(text, "%" SCNu64 " %" SCNx64 " %" SCNx64 " %" SCNu32,
                       &to->position.txid, &to->position.hash, &to->checksum,
                       &to->pages) == 4;
}

static bool names(const char *line, const char *word, const char *uuid)
{
    size_t len = strlen(word);

    return strncmp(line, word, len) == 0 && strstr(line + len, uuid) != NULL;
}

bool contact_is_member(struct node *n, struct database *db)
{
    char path[FILE_PATH_BYTES], line[LINE_BYTES], want[UUID_TEXT_BYTES];
    bool member = false, expects = false;
    FILE *f;

    member_path(n->options, db->name, path);
    f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    uuid_text(&db->m->uuid, want);
    while (fgets(line, sizeof line, f) != NULL) {
        member = member || names(line, "database ", want);
        expects = expects || names(line, "expects ", want);
        if (strncmp(line, "state ", 6) == 0) {
            read_state(&db->noted, line + 6);
        } else if (strncmp(line, "coming ", 7) == 0) {
            read_state(&db->coming, line + 7);
        }
    }
    fclose(f);
    db->noted.valid = db->noted.valid && member;
    db->coming.valid = db->coming.valid && (member || expects);
    return member;
}

static bool write_state(FILE *f, const char *word, const struct db_noted *s)
{
    return !s->valid ||
           fprintf(f,
                   "%s %" PRIu64 " %016" PRIx64 " %016" PRIx64 " %" PRIu32 "\n",
                   word, s->position.txid, s->position.hash, s->checksum,
                   s->pages) > 0;
}

static bool write_member(FILE *f, const char *cluster, const char *uuid,
                         const struct database *db, bool member)
{
    bool ok = fprintf(f, "cluster %s\n%s %s\npath %s\n", cluster,
                      member ? "database" : "expects", uuid, db->path) > 0;

    ok = (db->page_size == 0 ||
          fprintf(f, "page_size %" PRIu32 "\n", db->page_size) > 0) &&
         ok;
    ok = write_state(f, "state", &db->noted) && ok;
    ok = write_state(f, "coming", &db->coming) && ok;
    return fflush(f) == 0 && fsync(fileno(f)) == 0 && ok;
}

/* A power loss must not bring the file before back. */
static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot */
        close(fd);
    }
}

static bool save_member(struct node *n, const struct database *db, bool member)
{
    char path[FILE_PATH_BYTES], tmp[FILE_PATH_BYTES + 8];
    char cluster[UUID_TEXT_BYTES], uuid[UUID_TEXT_BYTES];
    struct uuid of = groups_cluster(n->groups);
    bool ok = false;
    FILE *f;

    member_path(n->options, db->name, path);
    snprintf(tmp, sizeof tmp, "%s.new", path);
    uuid_text(&of, cluster);
    uuid_text(&db->m->uuid, uuid);
    f = fopen(tmp, "we");
    if (f != NULL) {
        ok = write_member(f, cluster, uuid, db, member);
        ok = fclose(f) == 0 && ok;
        FAILPOINT("file.member");
        ok = ok && rename(tmp, path) == 0;
        sync_folder(n->options->raft_path);
    }
    if (!ok) {
        log_warn("member_file", "db=%s path=%s why=\"%s\": tried again",
                 db->name, path, strerror(errno));
    }
    return ok;
}

void contact_remember(struct node *n, struct database *db)
{
    db->member = save_member(n, db, true) || db->member;
}

void contact_note(struct node *n, struct database *db)
{
    db->noted = (struct db_noted){.valid = true,
                                  .position = db->applied,
                                  .checksum = db->applied_sum,
                                  .pages = db->applied_pages};
    db->coming.valid = false;
    db->note_failed = !save_member(n, db, true);
    db->member = db->member || !db->note_failed;
}

bool contact_expect(struct node *n, struct database *db,
                    const struct position *position, uint64_t checksum,
                    uint32_t pages)
{
    db->coming = (struct db_noted){.valid = true,
                                   .position = *position,
                                   .checksum = checksum,
                                   .pages = pages};
    return save_member(n, db, db->member);
}

void contact_forget(const struct options *o, const char *name)
{
    char path[FILE_PATH_BYTES];

    member_path(o, name, path);
    unlink(path);
    order_remove(o->raft_path, name);
}

/* ---- at the start -------------------------------------------------------- */

/* What a member file says, as text; "" where it does not. */
struct said {
    char uuid[UUID_TEXT_BYTES];
    char path[PATH_MAX];
};

static void read_said(FILE *f, struct said *out)
{
    char line[LINE_BYTES];

    memset(out, 0, sizeof *out);
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "database ", 9) == 0 ||
            strncmp(line, "expects ", 8) == 0) {
            snprintf(out->uuid, sizeof out->uuid, "%s", strchr(line, ' ') + 1);
        } else if (strncmp(line, "path ", 5) == 0) {
            snprintf(out->path, sizeof out->path, "%.*s", PATH_MAX - 1,
                     line + 5);
        }
    }
}

static bool read_file(const struct options *o, const char *name,
                      struct said *out)
{
    char path[FILE_PATH_BYTES];
    FILE *f;

    member_path(o, name, path);
    f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    read_said(f, out);
    fclose(f);
    return true;
}

/* Is there one of another name for this path? */
static bool find_path(const struct options *o, const char *path, char *name,
                      struct said *out)
{
    DIR *dir = opendir(o->raft_path);
    bool found = false;
    struct dirent *e;
    size_t len;

    while (dir != NULL && !found && (e = readdir(dir)) != NULL) {
        len = strlen(e->d_name);
        if (len <= strlen(SUFFIX) || len - strlen(SUFFIX) > DB_NAME_MAX ||
            strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) != 0) {
            continue;
        }
        snprintf(name, DB_NAME_MAX + 1, "%.*s", (int)(len - strlen(SUFFIX)),
                 e->d_name);
        found = read_file(o, name, out) && strcmp(out->path, path) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

void contact_look_up(struct node *n, struct database *db)
{
    char name[DB_NAME_MAX + 1];
    struct said said, other;
    bool known = read_file(n->options, db->name, &said);

    /* Who attaches it by hand says what it is to be. */
    if (n->groups == NULL &&
        (!known ||
         (said.path[0] != '\0' && strcmp(said.path, db->path) != 0)) &&
        find_path(n->options, db->path, name, &other)) {
        log_warn("renamed",
                 "db=%s to=%s path=%s why=\"the cluster calls it so since it "
                 "was renamed; change the flag that names it\"",
                 db->name, name, db->path);
        memcpy(db->name, name, sizeof name);
        said = other;
        known = true;
    }
    if (!known || !uuid_parse(said.uuid, &db->follows)) {
        memset(&db->follows, 0, sizeof db->follows);
    }
}

bool contact_rename(struct node *n, struct database *db, const char *name)
{
    char old[DB_NAME_MAX + 1], path[FILE_PATH_BYTES];
    struct said said;
    bool known = read_file(n->options, db->name, &said);

    memcpy(old, db->name, sizeof old);
    snprintf(db->name, sizeof db->name, "%s", name);
    if (known && !save_member(n, db, db->member)) {
        memcpy(db->name, old, sizeof old);
        return false;
    }
    FAILPOINT("move.renamed");
    if (known) {
        member_path(n->options, old, path);
        unlink(path);
    }
    return true;
}
