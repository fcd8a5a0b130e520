/* -db-dir: every database in a folder is kept, by its file name.
 *
 * A new file is found when it has become a database; a database that another
 * node has brought gets a file here. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "node/node.h"
#include "vfs/slot_word.h"

#define SCAN_MS 200u

/* Is it the name of a database, not of what belongs to one? */
static bool is_candidate(const char *name)
{
    static const char *const others[] = {
        "-wal", "-shm", "-journal", "-marmot", SLOT_SUFFIX, ".marmot-image"};
    size_t len = strlen(name);

    if (name[0] == '.' || !db_name_valid(name) || len > DB_NAME_MAX ||
        strstr(name, ".before-marmot-") != NULL ||
        strstr(name, ".dropped-") != NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        size_t n = strlen(others[i]);
        if (len > n && strcmp(name + len - n, others[i]) == 0) {
            return false;
        }
    }
    return true;
}

static void say_full(const char *name)
{
    static bool said;

    if (!said) {
        said = true;
        log_error("not_attached",
                  "db=%s why=\"a node has at most %d databases: this file and "
                  "all others that come are not replicated; move databases to "
                  "another node or detach some\"",
                  name, DATABASES_MAX);
    }
}

static void add_from_folder(struct node *n, const char *name, bool must_exist)
{
    char path[PATH_MAX + DB_NAME_MAX + 2], why[TEXT_MAX];
    enum file_kind kind = FILE_MISSING;
    struct database *db;
    uint32_t page_size;

    snprintf(path, sizeof path, "%s/%s", n->options->db_dir, name);
    if (catalog_find(n, name) != NULL) {
        return;
    }
    if (must_exist && (file_classify(path, &kind, &page_size) != 0 ||
                       (kind != FILE_WAL && kind != FILE_ROLLBACK))) {
        return; /* nothing that is a database, or not yet */
    }
    if (catalog_count(n) >= DATABASES_MAX) {
        say_full(name);
    } else if (catalog_add(n, name, path, &db, why, sizeof why) == 0) {
        db->optional = true;
        log_info("attached", "db=%s path=%s", db->name, path);
    } else {
        log_warn("not_attached", "db=%s why=\"%s\"", name, why);
    }
}

/* The group has a database that is not here. */
void folder_enrolled(struct node *n, const char *name)
{
    if (n->options->db_dir[0] != '\0' && is_candidate(name)) {
        add_from_folder(n, name, false);
    }
}

static void scan(struct node *n)
{
    DIR *dir = opendir(n->options->db_dir);
    struct dirent *e;

    if (dir == NULL) {
        log_warn("db_dir", "path=%s why=\"%s\"", n->options->db_dir,
                 strerror(errno));
        return;
    }
    while ((e = readdir(dir)) != NULL) {
        if (is_candidate(e->d_name)) {
            add_from_folder(n, e->d_name, true);
        }
    }
    closedir(dir);
}

static void on_scan(uv_timer_t *timer)
{
    scan(timer->data);
}

static void on_folder(uv_fs_event_t *h, const char *name, int events,
                      int status)
{
    struct node *n = h->data;

    (void)events;
    (void)status;
    /* Several things happen to a file while it is made. */
    if ((name == NULL || is_candidate(name)) &&
        !uv_is_active((uv_handle_t *)&n->folder_timer)) {
        uv_timer_start(&n->folder_timer, on_scan, SCAN_MS, 0);
    }
}

int folder_watch(struct node *n, char *why, size_t size)
{
    int rv;

    if (n->options->db_dir[0] == '\0') {
        return 0;
    }
    scan(n);
    rv = uv_fs_event_start(&n->folder, on_folder, n->options->db_dir, 0);
    if (rv != 0) {
        snprintf(why, size, "-db-dir %s: %s", n->options->db_dir,
                 uv_strerror(rv));
    }
    return rv;
}

void folder_init(struct node *n)
{
    uv_fs_event_init(n->loop, &n->folder);
    uv_timer_init(n->loop, &n->folder_timer);
    n->folder.data = n->folder_timer.data = n;
}

void folder_close(struct node *n)
{
    uv_close((uv_handle_t *)&n->folder, NULL);
    uv_close((uv_handle_t *)&n->folder_timer, NULL);
}
