#include "wire/pack.h"

#include <msgpack/pack.h>
#include <string.h>

#include "base/err.h"

/* msgpack-c only asks whether to go on; the buffer remembers the failure. */
static int write_to(void *data, const char *bytes, size_t len)
{
    return buf_append(data, bytes, len) == 0 ? 0 : -1;
}

static msgpack_packer packer(struct buf *out)
{
    msgpack_packer p;

    msgpack_packer_init(&p, out, write_to);
    return p;
}

void pack_array(struct buf *out, uint32_t count)
{
    msgpack_packer p = packer(out);

    msgpack_pack_array(&p, count);
}

void pack_uint(struct buf *out, uint64_t v)
{
    msgpack_packer p = packer(out);

    msgpack_pack_uint64(&p, v);
}

void pack_bool(struct buf *out, bool v)
{
    msgpack_packer p = packer(out);

    if (v) {
        msgpack_pack_true(&p);
    } else {
        msgpack_pack_false(&p);
    }
}

/* Lengths have 32 bits in msgpack. */
static bool too_long(struct buf *out, size_t len)
{
    if (out->err == 0 && len > UINT32_MAX) {
        out->err = ERR_TOO_BIG;
    }
    return out->err != 0;
}

void pack_bin(struct buf *out, const void *data, size_t len)
{
    msgpack_packer p = packer(out);

    if (!too_long(out, len)) {
        msgpack_pack_bin(&p, len);
        buf_append(out, data, len);
    }
}

void pack_str(struct buf *out, const char *text)
{
    msgpack_packer p = packer(out);
    size_t len = strlen(text);

    if (!too_long(out, len)) {
        msgpack_pack_str(&p, len);
        buf_append(out, text, len);
    }
}
