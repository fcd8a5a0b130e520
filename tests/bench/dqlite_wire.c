#include "tests/bench/dqlite_wire.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bytes_io.h"

#define HEADER 8u

void dqlite_begin(struct dqlite_message *m)
{
    m->len = HEADER;
}

static void put(struct dqlite_message *m, const void *bytes, size_t len)
{
    if (len <= DQLITE_BYTES_MAX - m->len) {
        memcpy(m->bytes + m->len, bytes, len);
        m->len += len;
    }
}

static void pad(struct dqlite_message *m)
{
    while (m->len % 8 != 0) {
        m->bytes[m->len++] = 0;
    }
}

void dqlite_put_64(struct dqlite_message *m, uint64_t value)
{
    put(m, &value, sizeof value);
}

void dqlite_put_32(struct dqlite_message *m, uint32_t value)
{
    put(m, &value, sizeof value);
}

void dqlite_put_text(struct dqlite_message *m, const char *text, size_t len)
{
    put(m, text, len);
    put(m, "", 1);
    pad(m);
}

int dqlite_call(struct dqlite_message *m, enum dqlite_request request,
                enum dqlite_response wanted)
{
    uint32_t words;

    pad(m);
    words = (uint32_t)((m->len - HEADER) / 8);
    memset(m->bytes, 0, HEADER);
    memcpy(m->bytes, &words, sizeof words);
    m->bytes[4] = (uint8_t)request;
    if (write_all(m->fd, m->bytes, m->len) != 0 ||
        read_all(m->fd, m->bytes, HEADER) != 0) {
        return -EIO;
    }
    memcpy(&words, m->bytes, sizeof words);
    m->type = m->bytes[4];
    if (words > DQLITE_BYTES_MAX / 8) {
        return -EIO;
    }
    m->len = (size_t)words * 8;
    if (read_all(m->fd, m->bytes, m->len) != 0) {
        return -EIO;
    }
    return m->type == (int)wanted ? 0 : -EPROTO;
}

uint64_t dqlite_word(const struct dqlite_message *m, size_t i)
{
    uint64_t word = 0;

    if ((i + 1) * 8 <= m->len) {
        memcpy(&word, m->bytes + i * 8, sizeof word);
    }
    return word;
}

int dqlite_connect(const char *host_port)
{
    uint64_t version = 1;
    int fd = connect_tcp(host_port);

    if (fd >= 0 && write_all(fd, &version, sizeof version) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}
