/* What a file shows after a death or a power loss, and what the log still has.
 *
 * One node, a database of two pages. Transaction i of the log writes the pages
 * of writes(i), each with the value i: equal pages mean an equal state. It is
 * appended to the WAL as one frame a page; the WAL is written back and started
 * over. Nothing that was written is durable before it is synced: at a power
 * loss each piece that was not is kept or lost by itself. The log is durable
 * (store.db on a majority), and is cut up to a position that is known to be
 * durable in the file.
 *
 * | here             | in the code                                          |
 * |------------------|------------------------------------------------------|
 * | append           | apply_write.c apply_page, apply_commit; the same for |
 * |                  | a session's frames (guest_wal.c)                     |
 * | new header       | apply_write.c start_log; guest_wal.c sync_header     |
 * | checkpoint       | checkpoint.c backfill, finish_file                   |
 * | reset            | checkpoint.c publish_reset                           |
 * | half a reset     | a stock program that died in the middle of it while  |
 * |                  | no node ran; apply.c load_alone                      |
 * | durable          | settle.c start_sync, is_durable: the log is cut      |
 * |                  | (groups_settled) when the WAL has been synced        |
 * | start            | wal_index_recover, checksum_scan, placing.c          |
 *
 * A frame belongs to a WAL if its salt is the header's, and it was written
 * behind the frame that is before it (the chain of checksums). file is what a
 * program reads, disk what would survive for certain. mx, backfilled and salt
 * are the wal-index, which survives a death while a reader lives.
 *
 * Checked:
 *   D1 what a reader sees is the state after some transaction of the log, the
 *      last one that was shown, always; after a power loss any
 *   D2 at a start that state is found among what the log has kept, and the
 *      rest of the log follows it
 *   D3 the log is never cut beyond what the file would show after a power loss
 *
 * Each NO_ takes one rule away:
 *   NO_WAL_SYNC    pages go to the database before the WAL is synced
 *   NO_DB_SYNC     the WAL starts over before the database is synced
 *   NO_HEADER_SYNC frames follow a new WAL header that is not synced
 *   NO_LOAD_ALONE  half a reset is not recovered when the file is opened
 *   NO_ZERO_FIRST  "written back" is set to 0 after the header of the new WAL
 *                  (with NO_LOAD_ALONE, which makes up for it, and NO_STOCK:
 *                  without the stock program)
 *   NO_X_SYNC      the log is cut without a sync of the WAL before
 *   NO_X_START     up to the position at the end of that sync, not at its start
 *   NO_CHECKSUM    a node trusts the position that it noted, not the checksum
 */
#ifndef TXNS
#define TXNS 4
#endif
#ifndef POWER_LOSSES
#define POWER_LOSSES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define SLOTS 5 /* frames in a WAL, 1 to 4 */
#define P 2     /* pages */

/* The pages after transaction i: 1 writes page 0, 2 page 1, 3 and 4 both. */
hidden byte after[10];
#define AFTER(i, p) after[2 * (i) + (p)]

typedef frame {
    byte salt, page, value, id, before;
    bool commit;
};
typedef image {
    frame f[SLOTS];
    byte salt; /* of the WAL's header */
    byte db[P];
};
image file, disk;
byte mx, backfilled, salt = 1;
byte ids;

byte pos;             /* the log, committed; it is kept after x */
byte x;               /* durable in the file */
byte applied;         /* the state that is shown */
#ifdef NO_CHECKSUM
byte noted;
#define NOTE_IT noted = applied
#else
#define NOTE_IT skip
#endif
bool up, started;
byte power_losses = POWER_LOSSES, deaths = DEATHS;

/* Of the jobs that are under way. */
byte target, written; /* append: up to this transaction; frames */
byte safe, moved;     /* checkpoint: frames; pages done */
bool writing_back, half_reset;
byte x_next;
bool noting;

#define JOBS_IDLE (target == 0 && !writing_back && !half_reset)

/* ---- what a reader sees -------------------------------------------------- */

#define IN(k, last, p) ((k) > backfilled && (k) <= (last) && file.f[k].page == (p))
#define SEES(last, p) ( \
    (IN(4, last, p) -> file.f[4].value : (IN(3, last, p) -> file.f[3].value : \
    (IN(2, last, p) -> file.f[2].value : (IN(1, last, p) -> file.f[1].value : \
    file.db[p])))))
#define SHOWS(i) (SEES(mx, 0) == AFTER(i, 0) && SEES(mx, 1) == AFTER(i, 1))

/* ---- synced, lost, recovered --------------------------------------------- */

inline copy_frame(a, b, i)
{
    a.f[i].salt = b.f[i].salt;
    a.f[i].page = b.f[i].page;
    a.f[i].value = b.f[i].value;
    a.f[i].id = b.f[i].id;
    a.f[i].before = b.f[i].before;
    a.f[i].commit = b.f[i].commit
}

inline copy_wal(to, from)
{
    copy_frame(to, from, 1);
    copy_frame(to, from, 2);
    copy_frame(to, from, 3);
    copy_frame(to, from, 4);
    to.salt = from.salt
}

inline copy_db(to, from)
{
    to.db[0] = from.db[0];
    to.db[1] = from.db[1]
}

#define SAME(k) (file.f[k].id == disk.f[k].id)
inline lose_frame(k)
{
    if
    :: skip
    :: !SAME(k) -> copy_frame(file, disk, k)
    fi
}

#define VALID(k, chain) (file.f[k].salt == file.salt && file.f[k].before == (chain))
inline step(k)
{
    if
    :: good && VALID(k, chain) ->
        chain = file.f[k].id;
        if
        :: file.f[k].commit -> mx = k
        :: else
        fi
    :: else -> good = false
    fi
}

/* As SQLite does it: up to the last commit frame of the chain. */
inline recover()
{
    mx = 0;
    backfilled = 0;
    salt = file.salt;
    good = true;
    chain = 0;
    step(1);
    step(2);
    step(3);
    step(4);
    good = false;
    chain = 0
}

/* ---- append, by the node or a session ------------------------------------ */

#define COUNT(a, b) (TOUCHES(a, b, 0) + TOUCHES(a, b, 1))
/* Does one of the transactions a + 1 to b write page p? */
#define TOUCHES(a, b, p) (AFTER(b, p) != AFTER(a, p))

inline write_frame(p, last)
{
    ids++;
    k = mx + written + 1;
    file.f[k].salt = salt;
    file.f[k].page = p;
    file.f[k].value = AFTER(target, p);
    file.f[k].id = ids;
    file.f[k].before = (k == 1 -> 0 : file.f[k - 1].id);
    file.f[k].commit = last;
    written++;
    k = 0
}

proctype append()
{
    byte k;

end:
    do
    /* one transaction, or two as one */
    :: atomic { started && target == 0 && !half_reset && applied < pos &&
                mx + COUNT(applied, applied + 1) < SLOTS ->
        target = applied + 1; written = 0 }
    :: atomic { started && target == 0 && !half_reset && applied + 1 < pos &&
                mx + COUNT(applied, applied + 2) < SLOTS ->
        target = applied + 2; written = 0 }
    :: d_step { target != 0 && mx == 0 && file.salt != salt ->
        file.salt = salt }
#ifndef NO_HEADER_SYNC
    :: d_step { target != 0 && mx == 0 && file.salt == salt &&
                disk.salt != salt ->
        copy_wal(disk, file) }
#define HEADER_READY (file.salt == salt && disk.salt == salt)
#else
#define HEADER_READY (file.salt == salt)
#endif
    :: d_step { target != 0 && HEADER_READY && written == 0 &&
                TOUCHES(applied, target, 0) ->
        write_frame(0, COUNT(applied, target) == 1) }
    :: d_step { target != 0 && HEADER_READY &&
                TOUCHES(applied, target, 1) &&
                written == COUNT(applied, target) - 1 ->
        write_frame(1, true) }
    :: d_step { target != 0 && written > 0 &&
                written == COUNT(applied, target) ->
        mx = mx + written;
        applied = target;
        NOTE_IT;
        target = 0;
        written = 0 }
    od
}

/* ---- write back, start over ---------------------------------------------- */

proctype checkpoint()
{
end:
    do
    :: d_step { started && !writing_back && !half_reset && backfilled < mx ->
        writing_back = true;
        safe = mx;
        moved = 0;
#ifndef NO_WAL_SYNC
        copy_wal(disk, file)
#endif
       }
    :: d_step { writing_back && moved < P ->
        file.db[moved] = SEES(safe, moved);
        moved++ }
    :: d_step { writing_back && moved == P ->
#ifndef NO_DB_SYNC
        if
        :: safe == mx -> copy_db(disk, file)
        :: safe != mx
        fi;
#endif
        backfilled = safe;
        writing_back = false;
        safe = 0;
        moved = 0 }
    :: d_step { started && JOBS_IDLE && mx > 0 && backfilled == mx ->
#ifdef NO_ZERO_FIRST
        mx = 0; salt++;
#else
        backfilled = 0;
#endif
        half_reset = true }
    :: d_step { half_reset ->
#ifdef NO_ZERO_FIRST
        backfilled = 0;
#else
        mx = 0; salt++;
#endif
        half_reset = false }
    od
}

/* ---- the durable position ------------------------------------------------ */

proctype durable()
{
end:
    do
    :: d_step { started && !noting && applied > x ->
        x_next = applied;
        noting = true }
    :: d_step { noting && x_next > 0 ->
#ifndef NO_X_SYNC
        copy_wal(disk, file);   /* what is in the database was synced there */
#endif
#ifdef NO_X_START
        x_next = 0
       }
    :: d_step { noting && x_next == 0 ->
        x = applied;
#else
        x = x_next;
        x_next = 0;
#endif
        noting = false }
    od
}

/* ---- deaths -------------------------------------------------------------- */

inline node_dies()
{
    up = false;
    started = false;
    target = 0;
    written = 0;
    writing_back = false;
    half_reset = false;
    safe = 0;
    moved = 0;
    noting = false;
    x_next = 0
}

#define FITS(i) (x <= (i) && (i) <= pos && SHOWS(i))

proctype world()
{
    bool good;
    byte chain;

end:
    do
    :: atomic { deaths > 0 && up ->
        deaths--;
        node_dies();
        if
        :: skip                         /* a reader keeps the wal-index */
        :: recover()
        /* a stock program dies while it starts the WAL over */
        #ifndef NO_STOCK
        :: mx > 0 && backfilled == mx -> mx = 0; salt++
#endif
        fi }
    :: atomic { power_losses > 0 && up ->
        power_losses--;
        node_dies();
        lose_frame(1);
        lose_frame(2);
        lose_frame(3);
        lose_frame(4);
        if
        :: skip
        :: file.salt = disk.salt
        fi;
        if
        :: skip
        :: file.db[0] = disk.db[0]
        fi;
        if
        :: skip
        :: file.db[1] = disk.db[1]
        fi;
        copy_wal(disk, file);
        copy_db(disk, file);
        recover() }
    :: atomic { !up ->
        up = true;
#ifndef NO_LOAD_ALONE
        if
        :: backfilled > mx -> recover()
        :: else
        fi;
#endif
        if
        :: FITS(4) -> applied = 4
        :: !FITS(4) && FITS(3) -> applied = 3
        :: !FITS(4) && !FITS(3) && FITS(2) -> applied = 2
        :: !FITS(4) && !FITS(3) && !FITS(2) && FITS(1) -> applied = 1
        :: else ->
            assert(FITS(0));                                    /* D2, D3 */
            applied = 0
        fi;
#ifdef NO_CHECKSUM
        applied = noted;
#endif
        NOTE_IT;
        started = true }
    /* a reader, at any time */
    :: d_step { started && !SHOWS(applied) -> assert(false) }       /* D1 */
    od
}

init
{
    atomic {
        after[2] = 1;
        after[4] = 1; after[5] = 2;
        after[6] = 3; after[7] = 3;
        after[8] = 4; after[9] = 4;
        pos = TXNS;
        file.salt = 1;
        disk.salt = 1;
        run append();
        run checkpoint();
        run durable();
        run world()
    }
}
