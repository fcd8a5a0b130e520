/* Layout: docs/FORMATS.md, "Hello". Magic and version range come first and
 * never move, so that any two versions can tell each other why they do not
 * match. */
#include "wire/hello.h"

#include <string.h>

#include "base/err.h"
#include "wire/pack.h"
#include "wire/unpack.h"

#define FIELDS 12

/* Texts end up in log lines. */
static bool printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

static int valid(const struct hello *h)
{
    if (h->version_min == 0 || h->version_max < h->version_min ||
        h->node_id == 0 || h->shards == 0 || !printable(h->advertise) ||
        !printable(h->members) ||
        (h->role != ROLE_VOTER && h->role != ROLE_REPLICA)) {
        return ERR_CORRUPT;
    }
    return h->shards <= SHARDS_MAX ? 0 : ERR_TOO_BIG;
}

int hello_encode(const struct hello *h, struct buf *out)
{
    if (out->err == 0) {
        out->err = valid(h);
    }
    if (out->err != 0) {
        return out->err;
    }
    pack_array(out, FIELDS);
    pack_str(out, HELLO_MAGIC);
    pack_uint(out, h->version_min);
    pack_uint(out, h->version_max);
    pack_bin(out, h->cluster.b, sizeof h->cluster.b);
    pack_bin(out, h->store.b, sizeof h->store.b);
    pack_uint(out, h->starts);
    pack_uint(out, h->node_id);
    pack_uint(out, h->shards);
    pack_uint(out, h->role);
    pack_uint(out, h->features);
    pack_str(out, h->advertise);
    pack_str(out, h->members);
    return out->err;
}

/* What every version begins with. */
static int decode_head(struct unpack *u, struct hello *h)
{
    char magic[sizeof HELLO_MAGIC];

    unpack_str(u, magic, sizeof magic);
    if (u->err != 0 || strcmp(magic, HELLO_MAGIC) != 0) {
        return ERR_CORRUPT;
    }
    h->version_min = (uint32_t)unpack_uint(u, UINT32_MAX);
    h->version_max = (uint32_t)unpack_uint(u, UINT32_MAX);
    if (u->err != 0) {
        return u->err;
    }
    if (h->version_min == 0 || h->version_max < h->version_min) {
        return ERR_CORRUPT;
    }
    if (h->version_min > WIRE_VERSION_MAX ||
        h->version_max < WIRE_VERSION_MIN) {
        return ERR_VERSION;
    }
    return 0;
}

static void decode_rest(struct unpack *u, struct hello *h)
{
    unpack_bin_exact(u, h->cluster.b, sizeof h->cluster.b);
    unpack_bin_exact(u, h->store.b, sizeof h->store.b);
    h->starts = unpack_uint(u, UINT64_MAX);
    h->node_id = unpack_uint(u, UINT64_MAX);
    h->shards = (uint32_t)unpack_uint(u, SHARDS_MAX);
    h->role = (uint8_t)unpack_uint(u, UINT8_MAX);
    h->features = unpack_uint(u, UINT64_MAX);
    unpack_str(u, h->advertise, sizeof h->advertise);
    unpack_str(u, h->members, sizeof h->members);
}

int hello_decode(const void *bytes, size_t len, struct hello *h)
{
    struct hello read;
    struct unpack u;
    uint32_t fields;
    int rc;

    memset(&read, 0, sizeof read);
    unpack_init(&u, bytes, len);
    fields = unpack_array(&u);
    rc = decode_head(&u, &read);
    if (rc != 0) {
        return rc;
    }
    if (fields != FIELDS) {
        return ERR_CORRUPT;
    }
    decode_rest(&u, &read);
    rc = unpack_end(&u);
    if (rc == 0) {
        rc = valid(&read);
    }
    if (rc == 0) {
        *h = read;
    }
    return rc;
}
