#include "vfs/guest_propose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/failpoint.h"
#include "base/limits.h"
#include "vfs/guest_socket.h"

/* Pages below this many need no allocation: most transactions. */
#define SMALL_PAGES 32

struct part {
    struct iovec *iov;  /* [2 + pages]: header, numbers, images */
    uint8_t *numbers;   /* 4 bytes a page */
    uint8_t *read_back; /* [pages * page size], when needed */
    uint32_t pages_max;
    uint64_t sequence;
};

static uint32_t pages_a_part(const struct proposal *p)
{
    uint32_t most = PART_BYTES_MAX / p->page_size;

    return p->count < most ? p->count : most;
}

/* Fill in the images of `count` pages from `pages` on. */
static int part_images(struct part *part, const struct proposal *p,
                       const struct proposal_page *pages, uint32_t count)
{
    const uint8_t *image;
    uint8_t *room;
    int rc;

    for (uint32_t i = 0; i < count; i++) {
        image = pages[i].image;
        if (image == NULL) {
            room = part->read_back + (size_t)i * p->page_size;
            rc = p->read(p->arg, pages[i].frame, room);
            if (rc != 0) {
                return rc;
            }
            image = room;
        }
        put_le32(part->numbers + 4u * (size_t)i, pages[i].number);
        /* writev takes what it only reads as non-const */
        part->iov[2 + i].iov_base = (void *)(uintptr_t)image;
        part->iov[2 + i].iov_len = p->page_size;
    }
    return 0;
}

static int send_part(int fd, const struct proposal *p, struct part *part,
                     uint32_t first, uint32_t number, uint32_t timeout_ms,
                     bool *sent)
{
    struct session_message m = {.kind = SESSION_PROPOSE};
    uint32_t count = p->count - first;
    struct buf head;
    size_t left;
    int rc;

    if (count > part->pages_max) {
        count = part->pages_max;
    }
    rc = part_images(part, p, p->pages + first, count);
    if (rc != 0) {
        return rc;
    }
    m.propose.page_size = p->page_size;
    m.propose.count = count;
    m.propose.number = number;
    m.propose.sequence = part->sequence;
    m.propose.last = first + count == p->count;
    m.propose.db_pages = m.propose.last ? p->db_pages : 0;
    buf_init(&head, SESSION_BYTES_MAX);
    rc = session_encode(&m, &head);
    if (rc == 0) {
        part->iov[0] = (struct iovec){head.data, head.len};
        part->iov[1] = (struct iovec){part->numbers, 4u * (size_t)count};
        rc = guest_socket_send(fd, part->iov, 2 + (int)count,
                               clock_us() + timeout_ms * 1000ull, &left);
        *sent = m.propose.last && left == 0;
    }
    buf_close(&head);
    return rc;
}

static int send_parts(int fd, const struct proposal *p, struct part *part,
                      uint32_t timeout_ms, bool *sent)
{
    uint32_t first = 0;
    uint32_t number = 0;
    int rc;

    do {
        rc = send_part(fd, p, part, first, number++, timeout_ms, sent);
        FAILPOINT_IF(!*sent, "guest.part");
        first += part->pages_max;
    } while (rc == 0 && first < p->count);
    return rc;
}

static bool needs_reading(const struct proposal *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->pages[i].image == NULL) {
            return true;
        }
    }
    return false;
}

int guest_propose_send(int fd, const struct proposal *p, uint64_t sequence,
                       uint32_t timeout_ms, bool *sent)
{
    struct iovec iov[2 + SMALL_PAGES];
    uint8_t numbers[4 * SMALL_PAGES];
    struct part part = {.iov = iov, .numbers = numbers, .sequence = sequence};
    size_t most = pages_a_part(p);
    bool large = most > SMALL_PAGES;
    int rc = -ENOMEM;

    *sent = false;
    if ((uint64_t)p->count * p->page_size > TXN_BYTES_MAX) {
        return ERR_FULL;
    }
    part.pages_max = (uint32_t)most;
    if (large) {
        part.iov = malloc((2 + most) * sizeof *iov);
        part.numbers = malloc(4 * most);
    }
    if (needs_reading(p)) {
        part.read_back = malloc(most * p->page_size);
    }
    if (part.iov != NULL && part.numbers != NULL &&
        (part.read_back != NULL || !needs_reading(p))) {
        rc = send_parts(fd, p, &part, timeout_ms, sent);
    }
    free(part.read_back);
    if (large) {
        free(part.iov);
        free(part.numbers);
    }
    return rc;
}
