#include "vfs/slot_word.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096
/* Bytes of the file that are locked, far behind its end. */
#define LOCK_BASE 4096

/* The word: session, state, and whether the node wants it. */
#define STATE_SHIFT 32
#define WANTED (1ull << 40)

static uint64_t make(enum slot_state state, uint32_t s)
{
    return (uint64_t)state << STATE_SHIFT | s;
}

static uint64_t load(const struct slot_page *page)
{
    return __atomic_load_n(&page->word, __ATOMIC_SEQ_CST);
}

static bool swap(struct slot_page *page, uint64_t *old, uint64_t new)
{
    return __atomic_compare_exchange_n(&page->word, old, new, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* ---- the file ------------------------------------------------------------ */

static int map(int fd, struct slot_page **out)
{
    struct stat st;
    void *at;

    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    /* Mapped memory beyond the end of a file kills who touches it. */
    if (st.st_size < PAGE_BYTES) {
        return -EINVAL;
    }
    at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return -errno;
    }
    /* A child must not take part. */
    madvise(at, PAGE_BYTES, MADV_DONTFORK);
    *out = at;
    return 0;
}

/* Never in the place of stdin, stdout or stderr. */
static int open_high(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    int high, err;

    if (fd < 0 || fd > STDERR_FILENO) {
        return fd < 0 ? -errno : fd;
    }
    high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    err = errno;
    close(fd);
    return high < 0 ? -err : high;
}

int slot_page_open(const char *path, bool create, struct slot_page **out)
{
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0);
    int fd = open_high(path, flags);
    int rv = 0;

    if (fd < 0) {
        return fd;
    }
    if (create && ftruncate(fd, PAGE_BYTES) != 0) {
        rv = -errno;
    }
    if (rv == 0) {
        rv = map(fd, out);
    }
    if (rv != 0) {
        close(fd);
        return rv;
    }
    return fd;
}

void slot_page_close(int fd, struct slot_page *page)
{
    if (fd >= 0) {
        munmap(page, PAGE_BYTES);
        close(fd);
    }
}

/* ---- session ------------------------------------------------------------- */

static struct flock byte_of(uint32_t s)
{
    return (struct flock){.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = LOCK_BASE + (off_t)s,
                          .l_len = 1};
}

int slot_session_begin(int fd, uint32_t s)
{
    struct flock lock = byte_of(s);

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

bool slot_retake(struct slot_page *page, uint32_t s, uint64_t now_us)
{
    uint64_t old = make(SLOT_KEPT, s);

    if (now_us >= __atomic_load_n(&page->keep_until_us, __ATOMIC_SEQ_CST)) {
        return false;
    }
    return swap(page, &old, make(SLOT_OWNED, s));
}

bool slot_is_kept(const struct slot_page *page, uint32_t s)
{
    return load(page) == make(SLOT_KEPT, s);
}

void slot_record(struct slot_page *page, uint64_t txid,
                 const struct wal_state *state)
{
    page->record.state = *state;
    __atomic_store_n(&page->record.txid, txid, __ATOMIC_SEQ_CST);
}

bool slot_leave(struct slot_page *page, uint32_t s, bool keep)
{
    uint64_t old = load(page);
    bool tell;

    do {
        if ((old & ~WANTED) != make(SLOT_OWNED, s)) {
            return false;
        }
        tell = !keep || (old & WANTED) != 0;
    } while (!swap(page, &old, tell ? 0 : make(SLOT_KEPT, s)));
    return tell;
}

/* ---- node ---------------------------------------------------------------- */

bool slot_session_lives(int fd, uint32_t s)
{
    struct flock lock = byte_of(s);

    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 &&
           lock.l_type != F_UNLCK;
}

void slot_grant(struct slot_page *page, uint32_t s)
{
    __atomic_store_n(&page->word, make(SLOT_OWNED, s), __ATOMIC_SEQ_CST);
}

void slot_allow(struct slot_page *page, uint64_t until_us)
{
    __atomic_store_n(&page->keep_until_us, until_us, __ATOMIC_SEQ_CST);
}

void slot_clear(struct slot_page *page)
{
    __atomic_store_n(&page->word, 0, __ATOMIC_SEQ_CST);
}

void slot_reset(struct slot_page *page)
{
    __atomic_store_n(&page->record.txid, 0, __ATOMIC_SEQ_CST);
    slot_clear(page);
}

enum slot_state slot_state_of(const struct slot_page *page, uint32_t s)
{
    uint64_t word = load(page);

    if ((word & ~WANTED) == make(SLOT_OWNED, s)) {
        return SLOT_OWNED;
    }
    return word == make(SLOT_KEPT, s) ? SLOT_KEPT : SLOT_FREE;
}

enum slot_claim slot_take_back(struct slot_page *page, uint32_t s)
{
    uint64_t old = load(page);

    for (;;) {
        if (old == make(SLOT_KEPT, s)) {
            if (swap(page, &old, 0)) {
                return SLOT_TAKEN;
            }
        } else if (old == make(SLOT_OWNED, s)) {
            if (swap(page, &old, old | WANTED)) {
                return SLOT_HELD;
            }
        } else {
            return old == (make(SLOT_OWNED, s) | WANTED) ? SLOT_HELD
                                                         : SLOT_LEFT;
        }
    }
}

bool slot_recorded(const struct slot_page *page, uint64_t txid,
                   struct wal_state *state)
{
    if (__atomic_load_n(&page->record.txid, __ATOMIC_SEQ_CST) != txid) {
        return false;
    }
    *state = page->record.state;
    return true;
}
