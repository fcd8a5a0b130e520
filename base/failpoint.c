#include "base/failpoint.h"

#ifdef MARMOT_FAILPOINTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 128

/* One line each: scripts/failpoints reads them. */
static const struct point {
    const char *name, *meaning;
} points[] = {
    /* the VFS in an application */
    {"guest.granted", "the lock is granted, its slot in the -shm not held"},
    {"guest.locked", "the lock is granted, nothing is written"},
    {"guest.frame", "a frame is in the WAL, not the commit frame"},
    {"guest.propose", "a commit is about to be proposed"},
    {"guest.part", "a part of a large commit was sent, not the last"},
    {"guest.wait", "a commit was sent, its answer is awaited"},
    {"guest.resume", "the node went away during a commit"},
    {"guest.committed", "COMMITTED has come"},
    {"guest.frame_write", "a frame is about to be written (error)"},
    {"guest.shown", "the commit frame is written, the index is not"},
    {"guest.between_headers", "one copy of the index header is written"},
    {"guest.published", "readers see the commit, the slot is held"},
    {"guest.recorded", "the WAL state is recorded, the slot is held"},
    {"guest.left", "the slot is left, the node not told"},
    {"guest.told", "the slot is left, its lock in the -shm is held"},
    {"guest.retaken", "a kept slot is taken again"},
    {"guest.wal_header", "a new WAL header is written, not synced"},
    {"guest.creating", "a new database is committed, its file empty"},
    {"guest.created", "a new database's file is written"},
    /* sessions */
    {"node.lock", "LOCK has come"},
    {"node.granted", "the slot is granted, GRANT not sent"},
    {"node.granted_sent", "GRANT was sent"},
    {"node.proposal", "a proposal has come, no copy has left"},
    {"node.proposed", "a proposal was given to the group"},
    {"node.committed", "the log has accepted, COMMITTED not sent"},
    {"node.answered", "COMMITTED was sent"},
    {"node.unlock", "UNLOCK has come"},
    {"node.resume", "a session asks what became of its commit"},
    {"node.fence", "an empty transaction was proposed as a fence"},
    /* the local file */
    {"apply.header", "a new WAL header is written, not synced"},
    {"apply.frames", "frames are about to be written"},
    {"apply.written", "frames are written, the index is not"},
    {"apply.indexed", "the index has the frames, its header not"},
    {"index.between_headers", "one copy of the index header is written"},
    {"apply.published", "readers see what was appended"},
    {"checkpoint.sync", "a checkpoint is about to sync (error)"},
    {"checkpoint.synced", "the WAL is synced, no page is moved"},
    {"checkpoint.page", "a page was moved"},
    {"checkpoint.moved", "all pages are moved, the file not synced"},
    {"checkpoint.done", "the file is synced, the index not told"},
    {"checkpoint.reset", "the WAL is about to start over"},
    {"checkpoint.was_reset", "the WAL has started over"},
    {"move.begin", "a database was asked to have another name"},
    {"move.held", "it was said that the file has what is to go"},
    {"move.adopt", "the new group was asked to take a database"},
    {"move.moved", "the old group was told to let it go"},
    {"move.renamed", "a member file has the new name, and the old one, too"},
    {"shards.begin", "more shards were asked for"},
    {"shards.grow", "the new groups are about to begin here"},
    {"shards.stored", "the store has the new groups"},
    {"shards.rule", "a group was told which names are at home in it"},
    {"shards.move", "a database was told to go to its new home"},
    {"shards.done", "group 0 was told that a group has nothing to give away"},
    {"image.send", "pages of an image are about to be sent"},
    {"image.begin", "an image is about to come"},
    {"image.pages", "pages of an image are written"},
    {"image.in_place", "where an image goes is chosen (error: in place)"},
    {"image.patch", "an image is in the WAL, not committed"},
    {"image.patched", "an image is committed in the WAL, not noted"},
    {"scrub.due", "is it time to look for damage? (error: it is)"},
    {"scrub.put_off", "nobody can help with damage (error: again at once)"},
    {"scrub.found", "a damaged page was found"},
    {"image.install", "an image is complete beside the database"},
    {"image.aside", "the old database is kept aside"},
    {"image.link", "an image is about to get the database's name"},
    {"image.linked", "an image has got the database's name"},
    {"image.rename", "an image is about to replace the database"},
    {"image.renamed", "an image has replaced the database"},
    {"image.applied", "an image is in the WAL, not synced"},
    {"file.open", "a database is about to be opened"},
    {"file.opened", "a database is open, not read"},
    {"file.scanned", "the checksum of a database is known"},
    {"file.member", "the member file is about to be renamed"},
    {"file.aside", "what another content replaces is kept aside"},
    {"file.order", "an order's file is about to be renamed"},
    {"order.install", "an order's content is about to get the file's place"},
    {"order.installed", "the file holds an order's content"},
    {"order.tried", "an order's attempt is written down, not proposed"},
    {"order.accepted", "an order is done, and not removed"},
    {"file.databases", "the list of databases is about to be renamed"},
    {"join.answered", "the cluster has taken this node in"},
    {"member.add", "a node is about to be added to a group"},
    {"member.assign", "a node of a group is about to have another role"},
    {"member.remove", "a node is about to be taken out of a group"},
    {"member.left", "a group is about to say that a node is out of it"},
    {"file.members", "the list of members is about to be renamed"},
    /* the log */
    {"store.begin", "a batch is about to be written"},
    {"store.row", "a row of a batch is written"},
    {"store.commit", "a batch is about to be committed"},
    {"store.committed", "a batch is on the disk"},
    {"store.swept", "rows that no group needs are deleted"},
    {"store.complete", "nobody was told that a batch is on the disk"},
    {"store.checkpoint", "the store is about to be checkpointed"},
    {"store.checkpointed", "the store was checkpointed"},
    {"store.opened", "the store is open, nothing is read"},
    {"store.loaded", "the log is read"},
    {"raft.append", "entries are about to be sent to a peer"},
    {"raft.sent", "what a turn of the loop queued for a peer was sent"},
    {"raft.received", "a message of a peer has come"},
    {"raft.settled", "a snapshot is about to be stored: no file needs the log"},
    {"raft.restored", "the state is that of a snapshot"},
};

enum action { KILL, PAUSE, DELAY, ERROR };

static const char *const actions[] = {"kill", "pause", "delay=", "error"};

static struct rule {
    const struct point *point;
    unsigned first, last; /* passages that act */
    enum action action;
    unsigned delay_ms;
} rules[RULES_MAX];

#define N_POINTS (sizeof points / sizeof points[0])

static unsigned passed[N_POINTS];
static unsigned n_rules;
static const char *when, *log_path;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct point *find(const char *name, size_t len)
{
    for (size_t i = 0; i < N_POINTS; i++) {
        if (strlen(points[i].name) == len &&
            memcmp(points[i].name, name, len) == 0) {
            return &points[i];
        }
    }
    fprintf(stderr, "failpoint: no point %.*s\n", (int)len, name);
    abort();
}

static void give_up(const char *text)
{
    fprintf(stderr, "failpoint: cannot read \"%s\" of MARMOT_FAIL\n", text);
    abort();
}

static void parse_action(struct rule *r, const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        size_t n = strlen(actions[i]);
        if (strncmp(text, actions[i], n) == 0 && (i == DELAY || n == len)) {
            r->action = (enum action)i;
            r->delay_ms = (unsigned)atoi(text + n);
            return;
        }
    }
    give_up(text);
}

/* POINT:N:ACTION */
static void parse_rule(const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    struct rule *r = &rules[n_rules++];
    char *end;

    if (colon == NULL || n_rules == RULES_MAX) {
        give_up(text);
        return;
    }
    r->point = find(text, (size_t)(colon - text));
    r->first = r->last = (unsigned)strtoul(colon + 1, &end, 10);
    if (*end == '+') {
        r->last = ~0u;
        end++;
    }
    if (*end != ':' || r->first == 0) {
        give_up(text);
        return;
    }
    parse_action(r, end + 1, len - (size_t)(end + 1 - text));
}

static void read_environment(void)
{
    const char *text = secure_getenv("MARMOT_FAIL");

    when = secure_getenv("MARMOT_FAIL_WHEN");
    log_path = secure_getenv("MARMOT_FAIL_LOG");
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");
        parse_rule(text, len);
        text += len + (text[len] == ',');
    }
}

static void note(const struct rule *r)
{
    char line[128];
    int fd, len;

    if (log_path == NULL) {
        return;
    }
    len = snprintf(line, sizeof line, "%d %s %s\n", (int)getpid(),
                   r->point->name, actions[r->action]);
    fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, line, (size_t)len) < 0) {
        len = 0; /* nothing better to do */
    }
    close(fd);
}

static bool act(const struct rule *r)
{
    const struct timespec t = {.tv_sec = r->delay_ms / 1000,
                               .tv_nsec = r->delay_ms % 1000 * 1000000L};

    note(r);
    switch (r->action) {
    case KILL:
        kill(getpid(), SIGKILL);
        for (;;) {
            pause();
        }
    case PAUSE:
        kill(getpid(), SIGSTOP);
        return false;
    case DELAY:
        nanosleep(&t, NULL);
        return false;
    case ERROR:
        break;
    }
    return true;
}

bool failpoint_pass(const char *name)
{
    const struct point *p = find(name, strlen(name));
    bool error = false;
    unsigned passage;

    pthread_once(&once, read_environment);
    if (n_rules == 0 || (when != NULL && access(when, F_OK) != 0)) {
        return false;
    }
    passage = __atomic_add_fetch(&passed[p - points], 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < n_rules; i++) {
        if (rules[i].point == p && passage >= rules[i].first &&
            passage <= rules[i].last) {
            error = act(&rules[i]) || error;
        }
    }
    return error;
}

#endif
