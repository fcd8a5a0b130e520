/* What image_fetch.c (the talk with the node that sends) and image_load.c (what
 * becomes of the pages, on the pool) share. */
#ifndef NODE_IMAGE_FETCH_H
#define NODE_IMAGE_FETCH_H

#include "node/image_pace.h"
#include "node/node.h"
#include "vfs/image.h"
#include "vfs/image_patch.h"

enum fetch_state {
    FETCH_ASKING,
    FETCH_PREPARING,
    FETCH_LOADING,
    FETCH_INSTALLING
};

/* Pages that have come and are not written yet. */
struct image_answer {
    struct list link;
    uint32_t first, count; /* the pages among which they are */
    size_t len;
    uint8_t part[]; /* an encoded ENTRY_PART */
};

/* On the loop's thread; while a job runs, the job alone uses `writer` and
 * `patch`, except that the loop may read hashes of pages that are not being
 * written. */
struct image_fetch {
    enum fetch_state state;
    uint64_t peer, id;
    uint64_t heard_us, spoke_us;
    uint64_t helped_us;          /* a node had something for us */
    unsigned turn;               /* which member is asked next */
    unsigned refusals;           /* after which it was asked again soon, */
    bool soon;                   /* as just now */
    struct image_writer *writer; /* a new file, or */
    struct image_patch *patch;   /* in place; both outlive the sender */
    bool in_place;
    struct position position;
    uint64_t checksum;
    uint32_t page_size, pages;
    uint32_t next;    /* the page that comes next */
    uint32_t asked;   /* asked for, not answered; 0: nothing is due */
    uint32_t covered; /* answered of the same request */
    unsigned parts;   /* so many answers may follow */
    uint32_t range;   /* as many are asked for next */
    struct list held; /* answers that wait for the job that writes */
    struct image_progress progress;
};

/* The hashes of what is here. */
const struct checksum *image_load_sum(const struct image_fetch *f);

/* Jobs. Each ends with the function of image_fetch.c of its name. */
void image_load_prepare(struct node *n, struct database *db);
/* Takes all that is held. */
void image_load_write(struct node *n, struct database *db);
void image_answers_free(struct list *answers);
void image_load_install(struct node *n, struct database *db);
/* Let go of what was received; a new file's pages stay on the disk. */
void image_load_drop(struct image_fetch *f);

void image_fetch_prepared(struct node *n, struct database *db, int rv);
void image_fetch_written(struct node *n, struct database *db, int rv,
                         uint32_t pages);
/* Not installed. */
void image_fetch_failed(struct node *n, struct database *db, int rv,
                        const char *text);

#endif
