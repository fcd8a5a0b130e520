/* Leases and images between nodes. What a node sends to itself goes through a
 * queue, so that nobody is called back from inside a call. */
#include <stdlib.h>
#include <string.h>

#include "node/node.h"

struct letter {
    struct list link;
    uint8_t kind;
    unsigned group;
    size_t len;
    uint8_t bytes[];
};

/* In whichever group this node believes it to be. */
static struct database *find_db(struct node *n, const struct uuid *uuid)
{
    for (struct list *l = n->databases.next; l != &n->databases; l = l->next) {
        struct database *db = LIST_ENTRY(l, struct database, link);
        if (db->m != NULL && uuid_equal(&db->m->uuid, uuid)) {
            return db;
        }
    }
    return NULL;
}

static void on_image(struct node *n, uint64_t peer, uint8_t kind,
                     unsigned group, const struct host_image *m)
{
    struct database *db = find_db(n, &m->db);

    if (db == NULL) {
        if (kind == HOST_IMAGE_ASK) {
            struct host_image no = {.db = m->db, .id = m->id};
            host_image_send(n, peer, HOST_IMAGE_NO, group, &no);
        }
        return;
    }
    switch (kind) {
    case HOST_IMAGE_ASK:
        image_send_ask(n, db, peer, m);
        break;
    case HOST_IMAGE_MORE:
        image_send_more(n, db, peer, m);
        break;
    case HOST_IMAGE_END:
        image_send_end(n, db, peer, m);
        break;
    case HOST_IMAGE_BEGIN:
        image_fetch_begin(n, db, peer, m);
        break;
    case HOST_IMAGE_NO:
        image_fetch_no(n, db, peer, m);
        break;
    case HOST_IMAGE_PAGES:
        image_fetch_pages(n, db, peer, m);
        break;
    }
}

void host_packet(struct node *n, uint64_t peer, uint8_t kind, unsigned group,
                 const void *payload, size_t len)
{
    struct host_image image;
    struct host_prefer prefer;

    if (group >= n->options->shards) {
        return;
    }
    /* A leader that stops hands its leases over, too. */
    if ((kind >= HOST_LEASE_ASK && kind <= HOST_LEASE_RELEASE) ||
        (kind >= HOST_LEASE_PROBE && kind <= HOST_LEASE_TABLE)) {
        leases_packet(&n->group[group], peer, kind, payload, len);
    } else if (n->stopping) {
        return;
    } else if (kind >= HOST_IMAGE_ASK && kind <= HOST_IMAGE_END) {
        if (host_image_decode(payload, len, &image) == 0) {
            on_image(n, peer, kind, group, &image);
        }
    } else if (kind == HOST_VERIFY_ASK || kind == HOST_VERIFY_ANSWER) {
        verify_packet(n, peer, kind, group, payload, len);
    } else if (kind == HOST_MEMBERS) {
        membership_told(n, payload, len);
    } else if (kind == HOST_PREFER &&
               host_prefer_decode(payload, len, &prefer) == 0) {
        (void)groups_prefer(n->groups, group, prefer.node,
                            prefer.stand_in != 0);
    }
}

static void post(struct node *n, uint8_t kind, unsigned group,
                 const struct buf *out)
{
    struct letter *l = malloc(sizeof *l + out->len);

    if (l == NULL) {
        return; /* as a lost packet: asked again */
    }
    l->kind = kind;
    l->group = group;
    l->len = out->len;
    memcpy(l->bytes, out->data, out->len);
    list_push(&n->letters, &l->link);
    node_wake(n, NULL);
}

void host_deliver_letters(struct node *n)
{
    struct list *l;

    while ((l = list_pop(&n->letters)) != NULL) {
        struct letter *letter = LIST_ENTRY(l, struct letter, link);
        host_packet(n, n->env.node_id, letter->kind, letter->group,
                    letter->bytes, letter->len);
        free(letter);
    }
}

void host_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
               const struct buf *out)
{
    if (to == n->env.node_id) {
        post(n, kind, group, out);
    } else if (to != 0 && n->groups != NULL) {
        /* Lost when the link is down: everything here is asked again. */
        (void)groups_send(n->groups, to, kind, group, out->data, out->len);
    }
}

void host_lease_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
                     const struct host_lease *l)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (host_lease_encode(l, &out) == 0) {
        host_send(n, to, kind, group, &out);
    }
    buf_close(&out);
}

void host_image_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
                     const struct host_image *m)
{
    struct buf out;

    buf_init(&out, PACKET_BYTES_MAX);
    if (host_image_encode(m, &out) == 0) {
        host_send(n, to, kind, group, &out);
    }
    buf_close(&out);
}
