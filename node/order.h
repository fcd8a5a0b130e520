/* An order of `marmot recover -from`: a file is to become the content of a
 * database of the cluster, once the node runs and there is a majority.
 *
 * Two files beside the store: the order, and the content as a database of its
 * own (docs/FORMATS.md). The order counts until one of its attempts is seen in
 * the log: all of them have its number in their tokens, so that it is known
 * after any crash whether one was accepted, and none is accepted twice. */
#ifndef NODE_ORDER_H
#define NODE_ORDER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "wire/ids.h"

#define ORDER_PATH_BYTES (PATH_MAX + DB_NAME_MAX + 32)

struct node;
struct database;

struct order {
    uint64_t number; /* random; `start` of its tokens */
    uint32_t page_size, pages;
    uint64_t checksum;
    uint64_t tried;       /* attempts so far, */
    struct position base; /* of the last one */
    /* Not in the file: */
    unsigned installed; /* times, since the start */
    uint64_t not_before_us;
    bool said;
};

/* ---- order_file.c ---- */

/* Returns 0, ERR_NOT_FOUND or ERR_CORRUPT. */
int order_read(const char *folder, const char *name, struct order *o);
/* Durable when it returns 0; otherwise < 0, and what was there before is. */
int order_write(const char *folder, const char *name, const struct order *o);
/* The order first, then its content. */
void order_remove(const char *folder, const char *name);
void order_content(const char *folder, const char *name,
                   char out[ORDER_PATH_BYTES]);

/* ---- order.c ---- */

/* Is there an order for a database that is kept from now on? */
void order_load(struct node *n, struct database *db);
/* What is due; true: nothing else may be decided about the local file now. */
bool order_step(struct node *n, struct database *db);

/* ---- order_propose.c ---- */

/* Build the transaction on the pool and leave it in db->proposal. The attempt
 * has been written down. */
void order_propose(struct node *n, struct database *db);

#endif
