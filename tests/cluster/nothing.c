/* What the linked parts of the product name, and a simulated node never uses:
 * images travel in one piece (file.c), nothing asks for a status line. */
#include <stdlib.h>
#include <string.h>

#include "consensus/store_db.h"
#include "tests/cluster/sim.h"

void image_send_ask(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void image_send_more(struct node *n, struct database *db, uint64_t peer,
                     const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void image_send_end(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void verify_packet(struct node *n, uint64_t peer, uint8_t kind, unsigned group,
                   const void *payload, size_t len)
{
    (void)n;
    (void)peer;
    (void)kind;
    (void)group;
    (void)payload;
    (void)len;
}

void still_step(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

void image_fetch_begin(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void image_fetch_no(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void image_fetch_pages(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m)
{
    (void)n;
    (void)db;
    (void)peer;
    (void)m;
}

void image_send_step(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

void image_send_drop(struct node *n, struct database *db, uint64_t peer)
{
    (void)n;
    (void)db;
    (void)peer;
}

void image_fetch_lost(struct database *db, uint64_t peer)
{
    (void)db;
    (void)peer;
}

void scrub_step(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

void catalog_dropped(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

/* Databases keep their names and groups there. */
void catalog_meet(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

void catalog_rename_step(struct node *n, struct database *db)
{
    (void)n;
    (void)db;
}

/* None: the list of members says how many. */
int store_db_shards(const char *path, uint32_t *shards, uint32_t *first)
{
    (void)path;
    *shards = *first = 0;
    return 0;
}

struct database *catalog_find(const struct node *n, const char *name)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (strcmp(db->name, name) == 0) {
            return db;
        }
    }
    return NULL;
}

void folder_enrolled(struct node *n, const char *name)
{
    (void)n;
    (void)name;
}

void server_step(struct database *db)
{
    (void)db;
}

int page_reader_open(struct apply *a, struct page_reader **out)
{
    (void)a;
    (void)out;
    abort();
}

uint32_t page_reader_count(const struct page_reader *r)
{
    (void)r;
    abort();
}

int page_reader_get(struct page_reader *r, uint32_t number, uint8_t *image)
{
    (void)r;
    (void)number;
    (void)image;
    abort();
}

int page_reader_run(struct page_reader *r, uint32_t first, uint32_t count,
                    uint8_t *images)
{
    (void)r;
    (void)first;
    (void)count;
    (void)images;
    abort();
}

void page_reader_close(struct page_reader *r)
{
    (void)r;
    abort();
}

uint32_t apply_page_size(const struct apply *a)
{
    (void)a;
    return SIM_PAGE;
}

/* The node would stop. Here a sync that failed has lost nothing: what counts is
 * that the log is kept, and the next one may succeed. */
void writeback_lost(struct node *n, const struct database *db)
{
    (void)n;
    (void)db;
}
