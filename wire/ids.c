#include "wire/ids.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/bytes.h"

void uuid_text(const struct uuid *u, char out[UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    for (unsigned i = 0; i < sizeof u->b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *at++ = '-';
        }
        *at++ = digits[u->b[i] >> 4];
        *at++ = digits[u->b[i] & 15];
    }
    *at = '\0';
}

bool uuid_parse(const char *text, struct uuid *out)
{
    char digits[33];
    struct uuid read;
    unsigned n = 0;

    for (; *text != '\0' && n < 32; text++) {
        if (*text != '-') {
            digits[n++] = *text;
        }
    }
    digits[n] = '\0';
    if (n != 32 || *text != '\0') {
        return false;
    }
    for (unsigned i = 0; i < 16; i++) {
        unsigned byte;
        if (sscanf(digits + (size_t)2 * i, "%2x", &byte) != 1) {
            return false;
        }
        read.b[i] = (uint8_t)byte;
    }
    *out = read;
    return true;
}

int uuid_random(struct uuid *u)
{
    struct uuid fresh;
    ssize_t n;

    do {
        n = getrandom(fresh.b, sizeof fresh.b, 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof fresh.b) {
        return n < 0 ? -errno : -EIO;
    }
    *u = fresh;
    return 0;
}

/* Every input that tells two transactions apart is hashed, so that equal
 * positions mean equal histories (docs/FORMATS.md, "Position"). */
struct position position_next(const struct position *base,
                              const struct token *token, uint32_t db_pages,
                              uint64_t checksum)
{
    uint8_t bytes[60];

    put_le64(bytes, base->txid);
    put_le64(bytes + 8, base->hash);
    put_le64(bytes + 16, token->node);
    put_le64(bytes + 24, token->start);
    put_le64(bytes + 32, token->session);
    put_le64(bytes + 40, token->sequence);
    put_le32(bytes + 48, db_pages);
    put_le64(bytes + 52, checksum);
    return (struct position){
        .txid = base->txid + 1,
        .hash = XXH3_64bits(bytes, sizeof bytes),
    };
}

bool db_name_valid(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    /* These two would lead out of a folder of databases. */
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return false;
    }
    return name[0] != '\0' && name[strspn(name, allowed)] == '\0';
}
