/* What the files of the state machine know of each other. */
#ifndef NODE_MACHINE_INTERNAL_H
#define NODE_MACHINE_INTERNAL_H

#include "node/machine.h"
#include "wire/snapshot.h"

struct machine_db *machine_new_db(struct machine *m);
void machine_drop_parts(struct list *parts);
void machine_add_holder(struct machine_db *db, uint64_t node);
void machine_apply_cluster(struct machine *m, const struct entry_cluster *e);
/* Free it; nobody is told. */
void machine_forget(struct machine *m, struct machine_db *db);
void machine_drop_db(struct machine *m, struct machine_db *db);

/* ---- machine_snapshot.c ---- */
void machine_describe(const struct machine_db *db, struct snapshot_db *out);
void machine_become(struct machine_db *db, const struct snapshot_db *s);

/* ---- machine_move.c ---- */
void machine_move(struct machine *m, const struct entry_move *e);
void machine_held(struct machine *m, const struct entry_move *e);
void machine_adopt(struct machine *m, const struct entry_move *e);
void machine_moved(struct machine *m, const struct entry_move *e);
void machine_shards(struct machine *m, const struct entry_shards *e);
/* May a name begin here, and not only go on? */
bool machine_is_home(const struct machine *m, const char *name);
/* A snapshot does not have it any more. */
void machine_gone(struct machine *m, struct machine_db *db);

#endif
