/* The node: its groups, machines, leases, databases and sockets on one loop. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdbool.h>
#include <uv.h>

#include "consensus/groups.h"
#include "node/database.h"
#include "node/image_pace.h"
#include "node/lease_table.h"
#include "node/machine.h"
#include "node/options.h"
#include "node/reign.h"
#include "node/roster.h"
#include "pane/pane.h"
#include "wire/host.h"

struct group_state {
    struct node *node;
    unsigned group;
    struct machine machine;
    struct machine_events events;
    struct lease_table leases; /* used while this node leads */
    struct reign reign;
    uint64_t former;    /* the last leader but this node; 0: none known */
    uint64_t taking_us; /* when it was last asked for its leases */
    bool caught_up;
    bool settling; /* settle.c */
    struct {
        uint64_t number, since_us; /* of the move that was seen last */
        uint64_t sent_us, held_us; /* what was said last */
        bool ending;
        uint64_t pause_us, shards_us; /* not before; said last (shards.c) */
    } move;                           /* move.c */
    struct list found;                /* found.c */
    uint64_t leader_changes;          /* new leaders, as seen here */
};

struct node {
    uv_loop_t *loop;
    const struct options *options;
    struct options own_options; /* with what the cluster has decided */
    struct roster roster;       /* as it was at the start */
    struct roster written;      /* as this start has written it; or empty */
    struct groups *groups;
    struct group_state *group; /* [SHARDS_MAX], of which options->shards */
    struct list growths;       /* shards.c: decided, not begun yet */
    struct db_env env;
    uint64_t voter_ids[NODES_MAX];
    struct groups_member members[NODES_MAX]; /* as far as is known now */
    unsigned n_members;
    struct member_info told[NODES_MAX]; /* members, as a peer says */
    unsigned n_told;
    bool removed; /* said that this node is out */
    struct list databases;
    uv_fs_event_t folder; /* -db-dir */
    uv_timer_t folder_timer;
    uv_timer_t move_timer;  /* while a database changes its group */
    struct list awake;      /* databases to look at */
    struct list after_sync; /* the same, when nobody waits for the log */
    struct list letters;    /* host packets to ourselves */
    uv_idle_t idle;         /* runs while either is not empty */
    uv_timer_t timer;       /* for databases that asked to be woken */
    uint64_t timer_at_us;
    uv_signal_t sigterm, sigint;
    struct image_pace image_pace; /* of all images, both ways */
    bool stopping, ready_said;
    bool sessions_closed, groups_stopped;
    uint64_t stop_at_us; /* sessions may finish until then */
    int exit_status;
    unsigned n_sessions; /* open connections of applications */
    uint64_t started_us;
    struct pane *pane; /* NULL: it has none */
    struct list backups, stills, scans, verifies;
    struct pane_source pane_source;
};

/* ---- events.c: what the groups tell ---- */
void events_fill(struct node *n, struct groups_options *o);
void events_init_group(struct node *n, unsigned group);

/* ---- stop.c ---- */
void stop_begin(struct node *n);
/* Goes on with the stop as far as is possible now. */
void stop_step(struct node *n);

/* ---- node.c ---- */
/* Runs the node until it is told to stop. Returns the exit status. */
int node_run(const struct options *options);
/* Stop with an error line and exit status 1. */
void node_fatal(struct node *n, const char *why);
/* What is due now, at the end of a turn of the loop. */
void node_turn(struct node *n);
/* Look at a database (NULL: at the letters) from the loop, not from inside
 * this call. */
void node_wake(struct node *n, struct database *db);
/* Is this turn going to wait for the disk, and others for that? What they do
 * not need comes after it. */
bool node_will_sync(const struct node *n);
void node_wake_after_sync(struct node *n, struct database *db);

/* ---- steps.c: what is due for one database ---- */
void database_step(struct node *n, struct database *db);

/* ---- server.c: sessions on the Unix sockets ---- */
/* Listen at `path`-marmot. Returns 0, or < 0 with a line in `why`. */
int server_start(struct node *n, struct database *db, char *why, size_t size);
void server_send(void *data, struct session *s,
                 const struct session_message *m);
/* Answer the sessions whose wait is over (PRAGMA marmot_wait). */
void server_step(struct database *db);
/* Stop listening and close all sessions. The socket file stays: it marks the
 * database as managed. */
void server_stop(struct database *db);

/* ---- leases.c: the leader's side of the leases ---- */
void leases_init(struct group_state *g);
void leases_leader_changed(struct group_state *g, uint64_t leader,
                           uint64_t term);
void leases_peer_down(struct group_state *g, uint64_t peer);
/* One of the lease packets. */
void leases_packet(struct group_state *g, uint64_t peer, uint8_t kind,
                   const void *payload, size_t len);

/* ---- host.c: leases and images between nodes ---- */
void host_packet(struct node *n, uint64_t peer, uint8_t kind, unsigned group,
                 const void *payload, size_t len);
/* Also to ourselves: delivered from the loop. */
void host_lease_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
                     const struct host_lease *l);
void host_image_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
                     const struct host_image *m);
/* What *out holds. */
void host_send(struct node *n, uint64_t to, uint8_t kind, unsigned group,
               const struct buf *out);
void host_deliver_letters(struct node *n);

/* ---- applier.c: jobs on the file ---- */
/* Open (and scan) what is at the path. */
void applier_open(struct node *n, struct database *db, bool convert);
/* Append what is pending, if anything and if nobody is in the way. */
void applier_step(struct node *n, struct database *db);
/* For db_env.page_before. */
bool applier_page(void *data, struct database *db, uint32_t number,
                  uint8_t *image);
/* At the end: write everything back and let the files go. */
void applier_close_all(struct node *n);

/* ---- writeback.c: checkpoints ---- */
enum writeback {
    WRITEBACK_NOTHING,
    WRITEBACK_BACKFILL, /* beside sessions */
    WRITEBACK_RESET     /* needs the slot */
};
enum writeback writeback_due(struct database *db);
void writeback_start(struct node *n, struct database *db, enum writeback what);
/* A sync of the file or its WAL has failed, and is not tried again: the node
 * stops, the next start reads the file and compares it with the log. */
void writeback_lost(struct node *n, const struct database *db);

/* ---- found.c: what the own log names at the start ---- */
void found_add(struct group_state *g, const void *bytes, size_t len);
/* Put a scanned file that has no place yet where one of them says. They are
 * followed from this position on; NULL: from the enrolment, if it is among
 * them. */
void found_place(struct group_state *g, struct database *db,
                 const struct position *from);
void found_forget(struct group_state *g);

/* ---- membership.c: the registry and this node ---- */
/* Fill n->members before anything else. Returns < 0 with a line in `why`. */
int membership_find(struct node *n, char *why, size_t size);
/* The registry has changed, or can be believed from now on. */
void membership_changed(struct node *n);
/* Who belongs to the cluster, to a peer, and from one. */
void membership_tell(struct node *n, uint64_t peer);
void membership_told(struct node *n, const void *bytes, size_t len);
/* Say what there is to say to it. */
void membership_step(struct node *n);
void membership_left(struct node *n, unsigned group, uint64_t id);
/* See transport_options.join. */
bool membership_join(struct node *n, const struct member_info *who,
                     struct buf *out, char *why, size_t size);
/* Ask that a node be taken out of all groups. Returns 0 when that has begun, or
 * < 0 with a line in `why`. */
int membership_remove(struct node *n, uint64_t id, char *why, size_t size);

/* ---- parting.c: before a member is let go ---- */
bool parting_may_go(const struct node *n, unsigned group, uint64_t id);

/* ---- join.c: entering a running cluster ---- */
/* Blocks until this node is a member. Returns < 0 with a line in `why` when it
 * never will be. */
int join_cluster(const struct options *o, struct roster *r, char *why,
                 size_t size);

/* ---- catalog.c: which databases are kept here ---- */
struct database *catalog_find(const struct node *n, const char *name);
unsigned catalog_count(const struct node *n);
/* From now on this database is kept. Returns < 0 with a line in `why`. */
int catalog_add(struct node *n, const char *name, const char *path,
                struct database **out, char *why, size_t size);
/* Add what was attached before the last stop. */
int catalog_load(struct node *n, char *why, size_t size);
int catalog_attach(struct node *n, const char *name, const char *path,
                   char *why, size_t size);
/* Let it go here; it stays in the cluster, and the file stays as it is. */
int catalog_detach(struct node *n, const char *name, char *why, size_t size);
/* Let it go everywhere; each node puts its file aside. */
int catalog_drop(struct node *n, const char *name, char *why, size_t size);
void catalog_dropped(struct node *n, struct database *db);
/* It may be that a group knows its name already. */
void catalog_meet(struct node *n, struct database *db);
/* Here it is called otherwise than in the cluster, which decides. */
void catalog_rename_step(struct node *n, struct database *db);
/* DB_REFUSED, for db->why: does the node stop? */
void catalog_cannot_keep(struct node *n, struct database *db);
/* Returns true when the database is gone, and freed. */
bool catalog_step(struct node *n, struct database *db);

/* ---- move.c: databases that change their name and group ---- */
void move_init(struct node *n);
/* Something may be due. */
void move_wake(struct node *n);
/* Begin a move of a database of this group, to this name and group. */
void move_begin(struct group_state *g, const struct machine_db *m,
                const char *name, unsigned to);
/* What the machine of a group says. The first: is the database here? Then it
 * follows that group, if the group has the newest state of it. */
bool move_follow(struct group_state *g, struct machine_db *m);
/* This one is it. */
void move_attach(struct group_state *g, struct database *db,
                 struct machine_db *m);
void move_left(struct group_state *g, struct machine_db *m, uint32_t to);
void move_changed(struct group_state *g);
/* Not known to a group, yet not new either: is it still to be found out which
 * database it follows? */
bool move_waits(struct node *n, struct database *db);
bool move_all_caught_up(const struct node *n);
/* Put a scanned file where the own log of any group says that it stands. */
void move_place(struct node *n, struct database *db);
/* What is due for a database between two groups. */
void move_step(struct node *n, struct database *db);
/* Give a database another name, everywhere. Returns 0 when that has begun, or
 * < 0 with a line in `why`. */
int move_rename(struct node *n, const char *name, const char *to, char *why,
                size_t size);

/* ---- shards.c: more groups ---- */
/* Group 0 has decided that there are so many. */
void shards_decided(struct node *n, unsigned shards, bool exact);
/* Begin them, from the turn of the loop. */
void shards_grow(struct node *n);
/* What this node has to say to a group that it leads. */
void shards_drive(struct group_state *g);
/* Are there groups that have not heard the last of it? */
bool shards_active(const struct node *n);
/* How many databases have to go elsewhere. */
unsigned shards_to_move(const struct node *n);
/* May this name begin in its group, as far as is known here? */
bool shards_may_enroll(const struct node *n, const char *name);
/* Returns 0 when that has begun, or < 0 with a line in `why`. */
int shards_ask(struct node *n, uint64_t shards, char *why, size_t size);

/* ---- folder.c: -db-dir ---- */
void folder_init(struct node *n);
int folder_watch(struct node *n, char *why, size_t size);
void folder_close(struct node *n);
/* The group has a database that is not here. */
void folder_enrolled(struct node *n, const char *name);

/* ---- settle.c: files are durable before the log forgets ---- */
void settle_begin(struct node *n, unsigned group, bool received);
/* Write down where a file stands, as soon as that is durable. */
void settle_note(struct node *n, struct database *db);
/* Do the local files of the group have all that its log says, or will when
 * what is pending is appended? Not before the log was read to its end: until
 * then it may take a snapshot of a peer to go on, and the core takes none while
 * its own waits for the files. */
bool settle_may_take(struct node *n, unsigned group);
/* Is it known where every local file of the group stands? */
bool settle_may_restore(struct node *n, unsigned group);
void settle_step(struct node *n, struct database *db);
/* It is no longer kept here. */
void settle_gone(struct node *n, struct database *db);

/* ---- contact.c: first contact, enrolment, images ---- */
void contact_step(struct node *n, struct database *db);
/* Remember (or look up) that the local file is part of this cluster. */
void contact_remember(struct node *n, struct database *db);
bool contact_is_member(struct node *n, struct database *db);
/* Write down where the local file stands, for a start after which the log no
 * longer tells. It must be durable up to there. db->note_failed says how it
 * went. */
void contact_note(struct node *n, struct database *db);
/* Write down what the local file is about to become, before it is replaced by
 * an image. False: it could not be written. */
bool contact_expect(struct node *n, struct database *db,
                    const struct position *position, uint64_t checksum,
                    uint32_t pages);
void contact_forget(const struct options *o, const char *name);
/* Before anything else: which database did the file at db->path follow, and
 * under which name? Fills db->follows, and db->name if it is another one. */
void contact_look_up(struct node *n, struct database *db);
/* db->name is to be `name`, also after a start with flags that name the old
 * one. False: it could not be written. */
bool contact_rename(struct node *n, struct database *db, const char *name);

/* ---- image_send.c, image_fetch.c ---- */
void image_send_ask(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m);
void image_send_more(struct node *n, struct database *db, uint64_t peer,
                     const struct host_image *m);
void image_send_end(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m);
void image_send_step(struct node *n, struct database *db);
void image_send_drop(struct node *n, struct database *db, uint64_t peer);
/* The caller has set db->state to DB_FETCHING, and db->in_place where the file
 * is to stay. Ends with DB_PLACING, DB_OPENING or DB_REFUSED; asks other nodes
 * until then. */
void image_fetch_start(struct node *n, struct database *db);
void image_fetch_begin(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m);
void image_fetch_no(struct node *n, struct database *db, uint64_t peer,
                    const struct host_image *m);
void image_fetch_pages(struct node *n, struct database *db, uint64_t peer,
                       const struct host_image *m);
/* The link to that node is down. */
void image_fetch_lost(struct database *db, uint64_t peer);
void image_fetch_step(struct node *n, struct database *db);
void image_fetch_cancel(struct database *db);
/* How much of one is here; -1: none is on its way. */
int image_fetch_percent(const struct database *db);

/* ---- still.c: when a consistent read may begin ---- */
struct still {
    struct list link; /* in node->stills; list_remove gives up */
    struct database *db;
    uint64_t since_us;
    /* Once, from the loop, not while it is removed: the reader is the
     * receiver's, and db->applied is its position; or an error and NULL. */
    void (*opened)(struct still *s, int rv, struct page_reader *reader);
};
void still_wait(struct node *n, struct database *db, struct still *s);
void still_step(struct node *n, struct database *db);
/* Does anybody wait for this database? */
bool still_any(const struct node *n, const struct database *db);
/* With ERR_CLOSED. */
void still_end_all(struct node *n);

/* ---- verify.c, verify_ask.c: are all copies whole? ---- */
void verify_packet(struct node *n, uint64_t peer, uint8_t kind, unsigned group,
                   const void *payload, size_t len);
void verify_drop_all(struct node *n);
bool verify_any_working(const struct node *n);
/* Does one read this database? */
bool verify_reads(const struct node *n, const struct database *db);
void verify_heard(struct node *n, uint64_t peer, const void *payload,
                  size_t len);
int verify_open(void *data, const char *name, void (*wake)(void *arg),
                void *arg, struct pane_verify **out, char *why, size_t size);
/* How far those of this database are that were asked here. */
void verify_progress(const struct node *n, const struct database *db,
                     uint64_t *read, uint64_t *pages);
bool verify_look(struct pane_verify *v,
                 void (*each)(void *arg, const struct pane_verified *one),
                 void *arg);
void verify_close(struct pane_verify *v);

/* ---- backup.c: for the pane (pane.h has the contract) ---- */
int backup_open(void *data, const char *name, void (*wake)(void *arg),
                void *arg, struct pane_backup **out, char *why, size_t size);
int backup_head(struct pane_backup *b, struct pane_backup_head *out);
long backup_read(struct pane_backup *b, void *out, size_t max);
void backup_close(struct pane_backup *b);
bool backup_is_of(const struct list *link, const struct database *db);
/* Those of a database (NULL: all) fail from now on; those at work end soon. */
void backup_drop(struct node *n, const struct database *db);
bool backup_any_working(const struct node *n);

/* ---- view.c, steer.c: the control pane ---- */
/* Start it, if it is wanted. A default port that is in use is only said; on
 * failure returns < 0 with a line in `why`. */
int view_start(struct node *n, char *why, size_t size);
int steer_move(void *data, uint64_t group, uint64_t to, uint64_t *from,
               char *why, size_t size);
unsigned steer_shuffle(void *data);
int steer_remove(void *data, uint64_t id, char *why, size_t size);
int steer_attach(void *data, const char *name, const char *path, char *why,
                 size_t size);
int steer_detach(void *data, const char *name, char *why, size_t size);
int steer_drop(void *data, const char *name, char *why, size_t size);
int steer_shards(void *data, uint64_t shards, char *why, size_t size);
int steer_rename(void *data, const char *name, const char *to, char *why,
                 size_t size);

/* ---- scrub.c: pages against the hashes of what was written ---- */
void scrub_step(struct node *n, struct database *db);
/* These pages are not what was written: fetch them from another node. */
/* For db_env.page_damaged. */
bool scrub_suspect(void *data, struct database *db, uint32_t number);
void scrub_repair(struct node *n, struct database *db, const uint32_t *pages,
                  unsigned count);
/* The repair did not work out: look again in a while. */
void scrub_put_off(struct database *db);

/* ---- cleanup.c: -cleanup ---- */
int cleanup_run(const struct options *options);

/* ---- recover.c ---- */

/* `marmot recover`; returns the exit status. */
int recover_run(int argc, char **argv);

#endif
