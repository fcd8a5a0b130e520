/* A whole cluster in one process, under a virtual clock, network and disk.
 *
 * The nodes are the product's own: all of consensus/ above its store and its
 * transport (groups, filters, libraft), and the deciding parts of node/. What
 * they stand on is replaced at the link: libuv's few calls (loop.c), the store
 * (disk.c), the transport (net.c), the local files (file.c), the sessions
 * (guest.c). Everything that happens is an event at a virtual time, drawn from
 * one seed, so that a seed is a run: the same events in the same order.
 *
 * check.c looks at every step and stops a run at the first violation. */
#ifndef TESTS_CLUSTER_SIM_H
#define TESTS_CLUSTER_SIM_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "consensus/groups.h"
#include "consensus/store.h"
#include "node/node.h"
#include "node/roster.h"

#define SIM_NODES_MAX 8
#define SIM_SHARDS 2
#define SIM_DBS 3    /* the last one shares a group with the first */
#define SIM_GUESTS 2 /* per database and node */
#define SIM_PAGE 512u
#define SIM_PAGES_MAX 24u
#define SIM_HISTORY 8 /* states of a file that a power cut may bring back */
#define SIM_TIMERS 6

#define MS 1000ull
#define SECOND 1000000ull

struct sim;
struct sim_node;
struct guest;

/* ---- the plan of a run --------------------------------------------------- */

/* Mistakes that a run may make on purpose: the checks must notice. */
enum sim_mutant {
    MUTANT_NONE,
    MUTANT_BLIND_SWAP,   /* the state machine accepts whatever the base is */
    MUTANT_EARLY_ACK,    /* the disk calls writes durable before they are */
    MUTANT_LOST_VOTE,    /* votes are forgotten by a crash */
    MUTANT_NO_FENCE,     /* who asks what became of a commit hears: nothing */
    MUTANT_SAY_FAILED,   /* an unknown outcome is told as a failure */
    MUTANT_UNREAD_LOG,   /* turns are granted before the log has been read */
    MUTANT_NO_SYNC,      /* files are called durable without a sync */
    MUTANT_NO_SETTLE,    /* snapshots do not wait for the files */
    MUTANT_NO_NOTE,      /* nobody writes down where a file stands */
    MUTANT_NO_HANDOVER,  /* who stops leaves its groups without a leader */
    MUTANT_ANY_STORE,    /* a store that is not the member's is welcome */
    MUTANT_EARLY_VOTER,  /* who joins votes before it has the log */
    MUTANT_HASTY_CHANGE, /* members change before the leader's term begins */
    MUTANT_STRAY_VOTE,   /* once somebody was removed, a vote counts for all */
    MUTANT_NOT_TOLD,     /* nobody tells who belongs to the cluster */
    MUTANT_OLD_LIST,     /* members change by a registry of long ago */
    MUTANT_LET_GO        /* who leaves takes with it what only it has */
};

/* Guard filters that are switched off, a bit each (switch_filters.c). */
enum sim_filter {
    OFF_W3 = 1,    /* results acknowledge the end of the log */
    OFF_W4 = 2,    /* no own entry first: those of older terms are counted */
    OFF_W5 = 4,    /* own appends count at once */
    OFF_W6 = 8,    /* elections during appends and installs */
    OFF_W7 = 16,   /* commits beyond what a message checked */
    OFF_W9 = 32,   /* a newer term does not wait for appends */
    OFF_W10 = 64,  /* messages leave before what they promise is durable */
    OFF_W12 = 256, /* a configuration that is cut off is not taken back */
    OFF_FAIL = 128 /* the core hears of failed appends */
};

struct sim_plan {
    uint64_t seed;
    unsigned voters, replicas; /* at the beginning */
    unsigned spares;           /* that may join later */
    bool members;              /* they come and go */
    bool print;                /* the trace, to stdout */
    bool readers;              /* some sessions seldom write, and hardly rest */
    bool quiet; /* no guests and no faults by themselves: a directed run */
    enum sim_mutant mutant;
    unsigned off;       /* enum sim_filter, a mask */
    uint64_t faults_us; /* how long faults happen */
    /* What a log is shortened to; 0: never. As in struct groups_options. */
    unsigned log_entries_keep;
    uint64_t log_bytes_keep;
};

struct sim_report {
    uint64_t hash; /* of the trace */
    uint64_t events, end_us;
    uint64_t commits, conflicts, failures, unknown, unknown_accepted;
    uint64_t kills, power_cuts, disk_failures, stops, refusals, partitions,
        one_ways, breaks;
    uint64_t moments, transfers, elections, stalls, lost, duplicated,
        guests_killed;
    uint64_t changes, joins, removals, wipes, moves;
    uint64_t images, entries, rereads, retaken, resumed;
    /* snapshots taken and received, as stored; images for files that were too
     * old for their log; files kept aside; syncs of files */
    uint64_t snapshots, installs, catchups, asides, syncs;
    bool violated;
    char why[512];
};

/* ---- clock.c: events, chance, trace -------------------------------------- */

struct sim_event {
    uint64_t at_us, sequence;
    void (*run)(struct sim *s, void *data);
    void *data;
};

/* After `delay_us`, call `run`. Returns `size` zeroed bytes for the caller to
 * fill, which `run` gets, borrowed. */
void *sim_after(struct sim *s, uint64_t delay_us,
                void (*run)(struct sim *s, void *data), size_t size);
/* The next event; false when there is none, or none until `until_us`. */
bool sim_step(struct sim *s, uint64_t until_us);
void sim_events_free(struct sim *s);

/* 0 .. below-1 */
uint64_t draw(struct sim *s, uint64_t below);
uint64_t draw_between(struct sim *s, uint64_t low, uint64_t high);
/* True `of` times in `in`. */
bool chance(struct sim *s, uint64_t of, uint64_t in);
void draw_bytes(struct sim *s, void *out, size_t len);

void trace(struct sim *s, uint64_t node, const char *what, uint64_t a,
           uint64_t b, uint64_t c);
/* Stops the run. Only the first one is kept. */
void violation(struct sim *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- disk.c -------------------------------------------------------------- */

struct disk_entry {
    uint64_t term;
    unsigned short type;
    size_t len;
    uint8_t *bytes;
};

struct disk_group {
    uint64_t term, vote;
    struct store_snapshot snapshot;
    uint64_t first; /* index of the first entry */
    struct disk_entry *entries;
    size_t n, cap;
};

/* What survives a crash. */
struct disk {
    bool exists;
    struct uuid store, cluster;
    uint64_t starts;
    struct store_peer peers[SIM_NODES_MAX];
    unsigned n_peers;
    bool has_roster;
    struct roster roster; /* the file members */
    struct disk_group groups[SIM_SHARDS];
    /* of the node's disk as it behaves now */
    uint64_t low_us, high_us;
    uint64_t stalled_until_us, full_until_us;
    unsigned at_once; /* of 100 transactions, made inside store_submit */
    bool stopped;     /* nothing is written until it is set free */
    unsigned refuses; /* so many appends fail (OFF_FAIL) */
};

/* The node dies now. What is being written survives or not, what waits does
 * not. The store of the dead node goes on swallowing writes. */
void disk_crash(struct sim_node *n);
/* The next write fails. */
void disk_fail(struct sim_node *n);
/* A stopped disk goes on. */
void disk_resume(struct sim_node *n);
/* Index of the group's last snapshot, stored or on its way. */
uint64_t disk_snapshot_index(const struct sim_node *n, unsigned group);
/* Another one takes its place. */
void disk_wipe(struct sim_node *n);
void disk_free(struct disk *d);

/* ---- net.c --------------------------------------------------------------- */

/* One direction between two nodes. */
struct wire {
    bool blocked;
    uint64_t last_us; /* when the last packet arrives: FIFO */
    struct list held; /* packets in a direction that is blocked */
};

struct net {
    struct wire wires[SIM_NODES_MAX][SIM_NODES_MAX];    /* from, to */
    uint64_t connections[SIM_NODES_MAX][SIM_NODES_MAX]; /* number; low, high */
    uint64_t next_connection;
    /* how it behaves */
    bool orderly; /* as TCP: nothing is lost, doubled or overtaken */
    uint64_t low_us, high_us;
    unsigned lose, duplicate, delay; /* of 1000 packets */
    /* What a directed run lets through; NULL: all. */
    bool (*gate)(struct sim *s, unsigned from, unsigned to,
                 const struct packet *p);
};

void net_init(struct sim *s);
void net_block(struct sim *s, unsigned from, unsigned to, bool blocked);
/* The connection between two nodes breaks. */
void net_break(struct sim *s, unsigned a, unsigned b);
/* All connections of a node that died. */
void net_crash(struct sim_node *n);
void net_free(struct sim *s);

/* ---- tell.c: in words, when the trace is printed ------------------------- */

void tell_packet(struct sim *s, unsigned from, unsigned to, bool lost,
                 const struct packet *p);

/* ---- file.c -------------------------------------------------------------- */

struct file_state {
    uint32_t pages; /* 0: no file */
    uint64_t sum;
    uint8_t images[SIM_PAGES_MAX][SIM_PAGE];
};

/* The local copy of one database on one node. It survives the node. */
struct file {
    struct file_state now;
    struct file_state before[SIM_HISTORY]; /* the newest first */
    unsigned n_before;
    uint64_t version; /* of `now`: a reader compares */
    /* the member file: durable at once */
    bool member;
    struct {
        bool valid;
        struct position position;
        uint64_t checksum;
        uint32_t pages;
    } noted;
    unsigned writers; /* living sessions that hold the write slot */
    bool damaged;
    bool excused; /* its state may be one that its node's log does not know */
};

uint64_t file_sum(const struct file_state *f);
/* The old state goes into the history. */
void file_become(struct file *f, const struct file_state *next);
/* The newest states may be lost: those that no sync has made durable. */
void file_power_cut(struct sim *s, struct file *f);
/* Put the pages of encoded entries into a state. */
void file_put_entry(struct file_state *f, const void *bytes, size_t len);
/* For db_env.page_before. */
bool files_page(void *data, struct database *db, uint32_t number,
                uint8_t *image);

/* ---- node.c -------------------------------------------------------------- */

struct sim_timer {
    uv_timer_t *handle;
    uv_timer_cb cb;
    uint64_t repeat_us, generation;
    bool active;
};

struct sim_node {
    struct node node; /* the product's */
    struct sim *sim;
    unsigned number; /* 0, 1, ...; its id is one more */
    bool replica, alive, dying, stopped;
    bool ended;             /* its loop, in an orderly stop */
    bool founds_as_replica; /* and that is what the founders' flags say */
    bool out;               /* nobody starts it */
    bool joins, asking;     /* it is started with -join; it asks */
    unsigned moves;         /* how often it has changed its address */
    struct join_answer answer;
    bool mute;     /* dead already: nothing leaves it any more */
    uint64_t life; /* counts starts: events of an earlier life are void */
    struct disk disk;
    struct file files[SIM_DBS];
    struct slot_page slots[SIM_DBS]; /* mapped by node and sessions */
    struct database dbs[SIM_DBS];
    struct guest *guests[SIM_DBS * SIM_GUESTS];
    uint64_t leads[SIM_SHARDS];   /* term, or 0 */
    uint64_t applied[SIM_SHARDS]; /* index; in this life */
    struct sim_work *work;        /* outstanding uv_queue_work */
    /* this life's */
    const struct transport_options *transport_options;
    struct groups_options hooks; /* as events.c filled them */
    struct store *store;
    struct transport *transport;
    uv_loop_t loop;
    struct sim_timer timers[SIM_TIMERS];
    uv_prepare_t *prepare;
    uv_check_t *check;
    uv_handle_t *closing[8];
    uv_close_cb closing_cb[8];
    unsigned n_closing;
    bool turn_queued, turning;
    const char *fatal;
};

extern const char *const sim_db_names[SIM_DBS];

/* Unless it is out. */
void node_start(struct sim_node *n);
/* It knows whom to connect to. */
void node_boot(struct sim_node *n);
void node_start_after(struct sim_node *n, uint64_t us);
/* Dies without a word; `power`: what was not synced is lost, too. */
void node_kill(struct sim_node *n, bool power);
/* The end of an orderly stop. */
void node_end(struct sim_node *n);
/* Does it take sessions? */
bool node_listens(const struct sim_node *n);
/* Something happened: its loop goes round soon. */
void node_turn_soon(struct sim_node *n);
struct sim_node *sim_node_of(struct node *n);
struct sim_node *sim_node_id(struct sim *s, uint64_t id);
struct raft *sim_raft(struct sim_node *n, unsigned group);
struct filters *sim_filters(struct sim_node *n, unsigned group);

/* ---- members.c ----------------------------------------------------------- */

/* Must it be taken into the cluster before it starts? */
bool members_must_ask(const struct sim_node *n);
void members_ask(struct sim_node *n);
/* It dies while it asks. */
void members_give_up(struct sim_node *n);
/* Where it is now: ADDRESS_MAX bytes. */
void members_address(const struct sim_node *n, char *out);
/* The options that say who the others are. */
void members_fill(const struct sim_node *n, struct options *o);

/* ---- orderly.c ----------------------------------------------------------- */

/* SIGTERM; it starts again `again_us` after its end. */
void node_stop(struct sim_node *n, uint64_t again_us);

/* ---- loop.c -------------------------------------------------------------- */

struct sim_node *loop_node(const uv_loop_t *loop);
/* One turn of a node's loop. */
void loop_turn(struct sim_node *n);
/* A dead node's work: called back, so that its owners free it. */
void loop_end_work(struct sim_node *n);

/* ---- guest.c ------------------------------------------------------------- */

void guests_init(struct sim_node *n);
/* The node is gone: every session sees its socket close. */
void guests_eof(struct sim_node *n);
/* One writing application is killed, wherever it is. */
void guest_kill(struct guest *g);
/* One more transaction, as soon as the guest is free. */
void guest_ask(struct guest *g);
bool guest_is_idle(const struct guest *g);
uint64_t guest_commits(const struct guest *g);
void guests_free(struct sim_node *n);
void guests_forget_events(struct sim *s);

/* ---- check.c ------------------------------------------------------------- */

struct check;
struct check *check_new(void);
void check_free(struct check *c);

/* An entry is about to be applied on a node, and has been. */
void check_apply(struct sim_node *n, unsigned group, uint64_t index,
                 const void *bytes, size_t len);
void check_applied(struct sim_node *n, unsigned group, uint64_t index);
/* A node's machine has become what a snapshot says. */
void check_restored(struct sim_node *n, unsigned group, uint64_t index);
/* A snapshot is on a node's disk, in place of the entries before it. */
void check_snapshot(struct sim_node *n, unsigned group,
                    const struct store_snapshot *s, bool received);
/* A file is kept aside, since nobody knows what it holds. */
void check_aside(struct sim_node *n, unsigned db);
void check_leader(struct sim_node *n, unsigned group, uint64_t term);
/* An entry is written to a node's log, behind one of term `before`. */
void check_written(struct sim_node *n, unsigned group, uint64_t index,
                   uint64_t before, const struct raft_entry *e);
/* A session was granted the slot, or took it again: its file shows the database
 * at `p`, and with it every transaction up to `least`. */
void check_granted(struct sim_node *n, unsigned db, const struct position *p,
                   uint64_t least);
/* The newest transaction that any session was told to have committed. */
uint64_t check_acknowledged(struct sim *s, unsigned db);
void check_committed(struct sim_node *n, unsigned db, const struct token *t,
                     const struct position *p);
/* What a session has just made visible is the database at `p`. */
void check_published(struct sim_node *n, unsigned db, const struct position *p);
/* A session was told that its commit surely failed. */
void check_failed(struct sim_node *n, unsigned db, const struct token *t);
/* What a node's machine and file must be, wherever they stand. */
void check_node(struct sim_node *n);
/* Everything is where the log ends. */
bool check_drained(struct sim *s);
/* One line for each thing that check_drained misses. */
void check_explain(struct sim *s);
uint64_t check_txid(struct sim *s, unsigned db);
uint64_t check_entries(struct sim *s);

/* ---- check_members.c ----------------------------------------------------- */

/* A node writes a configuration into its log. */
void check_change(struct sim_node *n, unsigned group, uint64_t index,
                  const struct raft_entry *e);
/* After a turn. */
void check_members(struct sim_node *n);
/* A vote is on its disk; 0: for nobody. */
void check_voted(struct sim_node *n, unsigned group, uint64_t term,
                 uint64_t vote);
void check_elected(struct sim_node *n, unsigned group, uint64_t term);
/* Its store is lost. */
void check_wiped(struct sim_node *n);
/* A connection is made: the node will hear what the other says. */
void check_listens(struct sim_node *n, const struct sim_node *peer);
/* As the node that has read most of group 0 has it; NULL: nobody is up. */
const struct registry *check_registry(struct sim *s);
/* Are all groups as the registry says, and nobody leaving? */
bool check_followed(struct sim *s);
/* So many voters should be there. */
unsigned check_voters(struct sim *s);

/* ---- operator.c ---------------------------------------------------------- */

void operator_begin(struct sim *s);

/* ---- faults.c, run.c ----------------------------------------------------- */

void faults_begin(struct sim *s);
void faults_end(struct sim *s);
/* Something that must survive has just happened on a node: now and then, and
 * while faults happen, it is followed by one. */
void faults_moment(struct sim_node *n);
/* The same, of something that does not happen often. */
void faults_rare_moment(struct sim_node *n);

struct sim {
    struct sim_plan plan;
    uint64_t now_us, end_us;
    uint64_t random;
    struct sim_event *events; /* a heap */
    size_t n_events, cap_events;
    uint64_t next_sequence;
    struct sim_node nodes[SIM_NODES_MAX];
    unsigned n_nodes;
    struct net net;
    struct check *check;
    bool forges;       /* leases are forgotten and forged */
    bool faulty, calm; /* faults happen; guests begin nothing by themselves */
    struct db_times times;
    uint64_t rest_us;    /* between two transactions of a guest, at most */
    uint64_t answer_us;  /* that a guest waits for what became of a commit */
    unsigned wiped;      /* nodes whose store is lost, a mask */
    uint64_t removal_us; /* when one was last asked for */
    unsigned moments;    /* of 1000 are followed by a fault */
    /* of directed runs: nodes whose snapshots wait, a mask; nobody gives images
     */
    unsigned unsettled;
    bool no_images;
    struct raft_io_snapshot_put *put; /* held by a directed run */
    raft_io_snapshot_put_cb put_cb;
    void *put_bufs;
    struct sim_report report;
};

/* A run is one at a time in a process: the switched filters look here. */
extern struct sim *sim_now;

struct sim *sim_new(const struct sim_plan *plan);
void sim_free(struct sim *s);
/* Let virtual time pass; false after a violation. */
bool sim_pass(struct sim *s, uint64_t us);
/* A whole random run. */
struct sim_report sim_run(const struct sim_plan *plan);
/* The plan of a seed: its size, its world. */
struct sim_plan sim_plan_of(uint64_t seed);

#endif
