/* msgpack into a struct buf, by msgpack-c's packer (header only).
 *
 * Failures stick in the buffer (out->err). */
#ifndef WIRE_PACK_H
#define WIRE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

void pack_array(struct buf *out, uint32_t count);
void pack_uint(struct buf *out, uint64_t v);
void pack_bool(struct buf *out, bool v);
void pack_bin(struct buf *out, const void *data, size_t len);
void pack_str(struct buf *out, const char *text);

#endif
