/* Who may touch a local file: one node, its sessions, the slot word.
 *
 * One node that dies and starts again, two sessions that take the write slot,
 * keep it, publish, and die at any step. The log is hist[]: a proposal that was
 * sent stays in flight for ever and is accepted whenever the position is its
 * base (commit.pml looks closer); other nodes commit in between.
 *
 * | here                   | in the code                                     |
 * |------------------------|-------------------------------------------------|
 * | word, rec              | vfs/slot_word.c: the word, slot_record          |
 * | real[]                 | the WRITE slot of the -shm, held SHARED by a    |
 * |                        | session: guest_lock.c hold_slot                 |
 * | nx, open               | apply.c take_locks: WRITE exclusively, a moment |
 * | look, has_left, retaken,   | keeping.c slot_look, slot_left, has_retaken,    |
 * | claim, gone            | slot_claim; slot.c slot_gone, slot_owner_gone   |
 * | node: lock, unlock     | slot.c slot_lock, grant, slot_unlock            |
 * | node: take, read       | proposals.c, events.c on_accepted               |
 * | node: append, rescan   | applier.c applier_step, batch_apply (apply.c    |
 * |                        | load_expected), run_open, placing.c             |
 * | node: resume           | resume.c                                        |
 * | session: retake, ask   | guest_lock.c retake, ask, lock_write            |
 * | session: publish, leave| guest_wal.c write_frame, guest_lock.c           |
 * |                        | tell_published, guest_client.c                  |
 * |                        | guest_client_unlock                             |
 *
 * The file: wpos transactions show through the header of the wal-index, wal[]
 * says which; torn: the two copies of the header differ, and torn_token is the
 * transaction that is being shown. A session's rollback cleans the index above
 * the header that it then finds, if that is not the one of its snapshot: index
 * entries of an append that is under way at that moment are lost.
 *
 * Checked:
 *   S1 told "committed": it is in the log; told "failed": it never will be
 *   S2 a transaction is built on the position that its base says
 *   S3 the file shows a prefix of the log, always
 *   S4 a session publishes upon its snapshot, and only what is in the log
 *   S5 nothing is appended beside a session that has frames, publishes, or
 *      rolls back to another state than its own
 *   S6 at rest: everybody has an answer, the node is up, the file has the whole
 *      log, and nobody has the slot
 *
 * Each NO_ takes one rule away:
 *   NO_REAL       a session does not hold the real WRITE slot
 *   NO_REAL_FIRST the kept slot is taken first, the real one after it
 *   NO_LOOK       a session that was granted the slot does not look, once it
 *                 has the real one, whether the slot word is still its own
 *   NO_CLAIM      the node appends without claiming a kept slot
 *   NO_ORPHAN     the slot is free when the connection of its owner is gone
 *   NO_BYTE       a dead session without connection is waited for for ever
 *   NO_COMPARE    the snapshot of a session is not compared with the file
 *   NO_EXPECTED   the node appends to a file in any state
 *   EARLY_RECORD  a transaction is recorded as published before it is
 *   NO_LOOK_AGAIN after a session told "committed" has gone, nobody looks (with
 *                 NO_EXPECTED: each of the two makes up for the other here)
 *   NO_HOLD_BACK  the commit frame is shown before the answer
 * One rule costs a retry at most, and all holds without it:
 *   NO_CURRENT    the slot is granted while the file is behind the log
 */
#ifndef TXNS_0
#define TXNS_0 1 /* transactions of session 0 */
#endif
#ifndef TXNS_1
#define TXNS_1 1
#endif
#ifndef FOREIGN_COMMITS
#define FOREIGN_COMMITS 2
#endif
#ifndef NODE_DEATHS
#define NODE_DEATHS 1
#endif
#ifndef BREAKS
#define BREAKS 0 /* connections that break while the node lives */
#endif
#ifndef SESSION_DEATHS
#define SESSION_DEATHS 1
#endif

#define S 2
#define TOKENS 5
#define POSITIONS 9
#define FOREIGN 14
#define FENCE 15
#define NOBODY 255

mtype = { FREE, OWNED, KEPT };                                  /* the word */
mtype = { IDLE, OWNS, PROPOSING, COMMITTING };                  /* turns */
mtype = { NOTHING, GRANT, BUSY, COMMITTED, FAILED, UNKNOWN };
mtype = { UNLOCK_NOTHING, UNLOCK_PUBLISHED };

/* The log. */
byte pos, hist[POSITIONS];
byte base[TOKENS], snapshot[TOKENS];
bool sent[TOKENS], refused[TOKENS];
byte tokens, foreign = FOREIGN_COMMITS;
byte fence;                     /* base + 1 of a fence in flight */

/* The file and its -shm. */
byte wpos, wal[POSITIONS];
bool torn;
byte torn_token;
bool real[S];
bool nx;                        /* the node has WRITE exclusively */

/* The slot word. */
mtype word = FREE;
byte word_number;
bool wanted;
byte rec;

/* The node. */
bool up, opened, ready, caught_up, look_again;
bool job;                       /* index entries above the header */
byte at, applied, expected;
byte owner, keeper, orphan;     /* session numbers; 0: none */
mtype turn = IDLE;
byte granted_base;
byte prop, prop_waiter;
bool prop_accepted;
bool is_free;                   /* what claim() says */

/* Sessions: the connection's number, 0 when broken; that of the slot word. */
byte numbers, cn[S], sn[S];
bool alive[S], done[S];
bool asks[S], resumes[S];
byte tok[S];
mtype reply[S];
byte mail_number[S], mail_token[S];
byte unlock_number[S];
mtype unlock_kind[S];
byte eof[S];                    /* a closed connection that is still to be read */
bool frames[S];
byte node_deaths = NODE_DEATHS, session_deaths = SESSION_DEATHS;
byte breaks = BREAKS;
bool kill[S];

#define WORD_IS(st, n) (word == st && word_number == n)
#define LIVES(n) ((alive[0] && sn[0] == n) || (alive[1] && sn[1] == n))
#ifdef NO_BYTE
#define ORPHAN_HOLDS WORD_IS(OWNED, orphan)
#else
#define ORPHAN_HOLDS (WORD_IS(OWNED, orphan) && LIVES(orphan))
#endif
#define ANY_REAL (real[0] || real[1])
#define IN_LOG(t) (hist[base[t] + 1] == t)

/* ---- the log ------------------------------------------------------------- */

inline accept(t)
{
    assert(!refused[t]);                                        /* S1 */
    assert(snapshot[t] == base[t]);                             /* S2 */
    pos++;
    hist[pos] = t
}

#define ACCEPTABLE(t) (sent[t] && base[t] == pos && !IN_LOG(t))

proctype log()
{
end:
    do
    :: atomic { ACCEPTABLE(1) -> accept(1) }
    :: atomic { ACCEPTABLE(2) -> accept(2) }
    :: atomic { ACCEPTABLE(3) -> accept(3) }
    :: atomic { ACCEPTABLE(4) -> accept(4) }
    :: atomic { foreign > 0 -> foreign--; pos++; hist[pos] = FOREIGN }
    :: atomic { fence > 0 ->
        if
        :: fence == pos + 1 -> pos++; hist[pos] = FENCE
        :: else
        fi;
        fence = 0 }
    od
}

/* ---- the file ------------------------------------------------------------ */

inline shown(t)
{
    wpos++;
    wal[wpos] = t;
    assert(wpos <= pos && hist[wpos] == t);                     /* S3 */
    torn = false;
    torn_token = 0
}

inline recover()
{
    if
    :: torn -> shown(torn_token)
    :: else
    fi
}

/* ---- the node: the slot word --------------------------------------------- */

inline drop_proposal()
{
    prop = 0;
    prop_waiter = 0;
    prop_accepted = false
}

inline published()
{
    applied = base[prop] + 1;
    expected = applied;
    drop_proposal()
}

inline must_look()
{
#ifndef NO_LOOK_AGAIN
    look_again = true;
#endif
    drop_proposal()
}

inline has_left()
{
    if
    :: turn == COMMITTING && rec == base[prop] + 1 -> published()
    :: turn == COMMITTING && rec != base[prop] + 1 -> must_look()
    :: else
    fi;
    turn = IDLE;
    keeper = owner;
    owner = 0
}

inline retaken()
{
    turn = OWNS;
    granted_base = applied;
    owner = keeper;
    keeper = 0
}

inline clear_word()
{
    word = FREE;
    word_number = 0;
    wanted = false
}

inline look()
{
    if
    :: orphan != 0 ->
        if
        :: ORPHAN_HOLDS -> skip
        :: else -> clear_word(); orphan = 0
        fi
    :: orphan == 0 && owner != 0 && (turn == OWNS || turn == COMMITTING) ->
        if
        :: WORD_IS(KEPT, owner) -> has_left()
        :: WORD_IS(OWNED, owner) && turn == COMMITTING &&
           rec == base[prop] + 1 -> has_left(); retaken()
        :: else
        fi
    :: orphan == 0 && owner == 0 && keeper != 0 ->
        if
        :: WORD_IS(OWNED, keeper) -> retaken()
        :: WORD_IS(KEPT, keeper)
        :: else -> keeper = 0
        fi
    :: else
    fi
}

/* is_free: nobody has the slot. */
inline claim()
{
    look();
    if
    :: owner == 0 && keeper == 0 -> is_free = (orphan == 0)
    :: else ->
        if
        :: WORD_IS(KEPT, owner + keeper) ->
            clear_word();
            if
            :: owner != 0 -> has_left()
            :: else
            fi;
            keeper = 0;
            is_free = true
        :: WORD_IS(OWNED, owner + keeper) ->
            wanted = true;
            if
            :: keeper != 0 -> retaken()
            :: else
            fi;
            is_free = false
        :: else -> is_free = false
        fi
    fi
}

inline gone(n)
{
    look();
    if
    :: owner == n && turn == PROPOSING -> prop_waiter = 0
    :: owner == n && turn == COMMITTING -> must_look()
    :: else
    fi;
    if
    :: owner == n || keeper == n ->
        owner = 0;
        keeper = 0;
        turn = IDLE;
        if
#ifndef NO_ORPHAN
        :: WORD_IS(OWNED, n) && LIVES(n) -> orphan = n
        :: !(WORD_IS(OWNED, n) && LIVES(n)) && word != FREE &&
           word_number == n -> clear_word()
#else
        :: word != FREE && word_number == n -> clear_word()
#endif
        :: else
        fi
    :: else
    fi
}

/* ---- the node: the log --------------------------------------------------- */

inline answer(what)
{
    if
    :: prop_waiter != 0 ->
        turn = (what == COMMITTED -> COMMITTING : OWNS);
        if
        :: cn[0] == prop_waiter -> reply[0] = what
        :: cn[1] == prop_waiter -> reply[1] = what
        :: else
        fi
    :: else
    fi
}

inline overtaken()
{
    if
    :: prop != 0 && !prop_accepted && base[prop] < at ->
        answer(FAILED);
        drop_proposal()
    :: else
    fi
}

inline read_entry()
{
    at++;
    if
    :: prop != 0 && hist[at] == prop && prop_waiter == 0 -> drop_proposal()
    :: prop != 0 && hist[at] == prop && prop_waiter != 0 ->
        prop_accepted = true;
        answer(COMMITTED)
    :: else -> overtaken()
    fi
}

inline take(s)
{
    look();
    if
    :: owner == mail_number[s] && turn == OWNS && prop == 0 ->
        prop = mail_token[s];
        prop_waiter = owner;
        base[prop] = granted_base;
        turn = PROPOSING;
        sent[prop] = (base[prop] == at);
        overtaken()
    :: owner == mail_number[s] && turn == OWNS && prop != 0 ->
        reply[s] = FAILED
    :: else
    fi;
    mail_number[s] = 0;
    mail_token[s] = 0
}

inline resume(s)
{
    if
    :: at > snapshot[tok[s]] ->
        resumes[s] = false;
        reply[s] = (hist[snapshot[tok[s]] + 1] == tok[s] -> COMMITTED : FAILED)
    :: at == snapshot[tok[s]] -> fence = at + 1
    :: else -> resumes[s] = false; reply[s] = UNKNOWN
    fi
}

/* ---- the node: sessions -------------------------------------------------- */

#ifdef NO_CURRENT
#define CURRENT (ready && !job && !look_again && prop == 0)
#else
#define CURRENT (ready && !job && !look_again && prop == 0 && applied == at)
#endif

inline lock(s)
{
    look();
    if
    :: keeper == cn[s] -> claim()
    :: else
    fi;
    claim();
    if
    :: is_free && CURRENT ->
        owner = cn[s];
        turn = OWNS;
        granted_base = applied;
        word = OWNED;
        word_number = owner;
        wanted = false;
        reply[s] = GRANT;
        asks[s] = false
    :: reply[s] = BUSY; asks[s] = false
    fi
}

inline unlock(s)
{
    if
    :: owner == unlock_number[s] ->
        if
        :: turn == COMMITTING && unlock_kind[s] == UNLOCK_PUBLISHED ->
            published()
        :: turn == COMMITTING && unlock_kind[s] != UNLOCK_PUBLISHED ->
            must_look()
        :: turn == PROPOSING -> prop_waiter = 0
        :: else
        fi;
        if
        :: WORD_IS(OWNED, owner) -> clear_word()
        :: else
        fi;
        owner = 0;
        turn = IDLE
    :: else
    fi;
    unlock_number[s] = 0
}

/* Not the one that its session is publishing itself. */
#define MUST_APPEND (applied < at && \
                     !(prop != 0 && prop_accepted && base[prop] + 1 == at))

#ifdef NO_CLAIM
#define MAY_APPEND (owner == 0 && orphan == 0)
#else
#define MAY_APPEND is_free
#endif

inline append_begin()
{
#ifdef NO_CLAIM
    look();
#else
    claim();
#endif
    if
    :: MAY_APPEND && (torn
#ifndef NO_EXPECTED
                      || wpos != expected
#endif
                     ) -> look_again = true
    :: MAY_APPEND && !(torn
#ifndef NO_EXPECTED
                      || wpos != expected
#endif
                      ) -> assert(!frames[0] && !frames[1]);    /* S5 */
        job = true
    :: else
    fi
}

inline rescan()
{
    claim();
    if
    :: is_free ->
        recover();
        applied = wpos;
        expected = wpos;
        assert(applied <= at);                                  /* S3 */
        look_again = false
    :: else
    fi
}

inline forget_session(s)
{
    cn[s] = 0;
    mail_number[s] = 0;
    mail_token[s] = 0;
    unlock_number[s] = 0;
    eof[s] = 0;
    asks[s] = false;
    resumes[s] = false;
    reply[s] = NOTHING
}

inline node_dies()
{
    up = false;
    opened = false;
    ready = false;
    caught_up = false;
    look_again = false;
    job = false;
    nx = false;
    at = 0;
    applied = 0;
    expected = 0;
    owner = 0;
    keeper = 0;
    orphan = 0;
    turn = IDLE;
    granted_base = 0;
    drop_proposal();
    forget_session(0);
    forget_session(1)
}

/* Nothing that the node could do now would give it the slot. */
#define SLOT_BUSY (orphan != 0 || (owner != 0 && !WORD_IS(KEPT, owner) && \
                                   !(WORD_IS(OWNED, owner) && !wanted)) || \
                   (keeper != 0 && WORD_IS(OWNED, keeper) && wanted))
#define READS(s) (up && (mail_number[s] != 0 || unlock_number[s] != 0))

proctype node()
{
end:
    do
    /* start: the word, then the file */
    :: d_step { !up -> up = true; clear_word(); rec = 0 }
    :: d_step { up && !caught_up -> caught_up = true; at = pos }
#ifdef NO_REAL
    :: d_step { up && !opened && !nx -> nx = true }
#else
    :: d_step { up && !opened && !nx && !ANY_REAL -> nx = true }
#endif
    :: d_step { nx -> recover(); nx = false; opened = true }
    :: d_step { opened && caught_up && !ready ->
        assert(wpos <= at);                                     /* S3 */
        applied = wpos;
        expected = wpos;
        ready = true }
    /* the log */
    :: d_step { caught_up && at < pos -> read_entry() }
    :: d_step { prop != 0 && prop_waiter != 0 && !prop_accepted &&
                sent[prop] -> answer(UNKNOWN); prop_waiter = 0 }
    :: d_step { caught_up && resumes[0] && prop != tok[0] && fence == 0 ->
        resume(0) }
    :: d_step { caught_up && resumes[1] && prop != tok[1] && fence == 0 ->
        resume(1) }
    /* sessions */
    :: d_step { READS(0) && mail_number[0] != 0 -> take(0) }
    :: d_step { READS(1) && mail_number[1] != 0 -> take(1) }
    :: d_step { READS(0) && unlock_number[0] != 0 -> unlock(0) }
    :: d_step { READS(1) && unlock_number[1] != 0 -> unlock(1) }
    :: atomic { up && asks[0] && !READS(0) && eof[0] == 0 -> lock(0) }
    :: atomic { up && asks[1] && !READS(1) && eof[1] == 0 -> lock(1) }
    :: d_step { eof[0] != 0 && !READS(0) -> gone(eof[0]); eof[0] = 0 }
    :: d_step { eof[1] != 0 && !READS(1) -> gone(eof[1]); eof[1] = 0 }
    :: d_step { up && orphan != 0 && !ORPHAN_HOLDS -> look() }
    :: d_step { keeper != 0 || (owner != 0 && WORD_IS(KEPT, owner)) ->
        claim() }                                       /* kept for too long */
    /* the file */
    :: d_step { ready && !job && look_again && !SLOT_BUSY -> rescan() }
    :: d_step { ready && !job && !look_again && MUST_APPEND && !SLOT_BUSY ->
        append_begin() }
    :: d_step { job && !torn ->
        assert(!frames[0] && !frames[1]);                       /* S5 */
        torn = true;
        torn_token = hist[applied + 1] }
    :: d_step { job && torn ->
        shown(torn_token);
        applied++;
        expected = wpos;
        job = false }
    :: d_step { up && node_deaths > 0 -> node_deaths--; node_dies() }
    od
}

/* ---- a session ----------------------------------------------------------- */

inline connect(s)
{
    numbers++;
    cn[s] = numbers;
    reply[s] = NOTHING
}

/* It is still read to its end by the node. */
inline drop(s)
{
    if
    :: cn[s] != 0 -> eof[s] = cn[s]
    :: else
    fi;
    cn[s] = 0;
    asks[s] = false;
    resumes[s] = false;
    reply[s] = NOTHING
}

/* guest_client_unlock: granted is false after a break. */
inline leave(s, kind, keep, granted)
{
    if
    :: WORD_IS(OWNED, sn[s]) ->
        if
        :: keep && granted && !wanted -> word = KEPT
        :: !(keep && granted && !wanted) ->
            clear_word();
            if
            :: granted -> unlock_number[s] = cn[s]; unlock_kind[s] = kind
            :: else
            fi
        fi
    :: else
    fi
}

#ifdef NO_REAL
#define TAKE_REAL(s) skip
#else
#define TAKE_REAL(s) real[s] = true
#endif
#define GRANTED(s) (cn[s] != 0 && !resumed)

/* SQLite's rollback, then its unlock. */
inline undo(s)
{
    assert(!(job && wpos != snap));                             /* S5 */
    frames[s] = false
}

inline told_failed(t)
{
    assert(snapshot[t] >= pos || hist[snapshot[t] + 1] != t);   /* S1 */
    refused[t] = true
}

proctype session(byte s; byte left)
{
    byte snap, t;
    bool resumed;

    {
    do
    :: left == 0 -> break
    :: left > 0 ->
        left--;
        /* a read transaction; a torn header is recovered by whoever can */
        if
        :: atomic { !torn -> snap = wpos }
        :: atomic { torn && !up && !ANY_REAL -> recover(); snap = wpos }
        fi;
        /* retake, the real slot first */
        if
#ifdef NO_REAL_FIRST
        :: atomic { cn[s] != 0 && WORD_IS(KEPT, sn[s]) -> word = OWNED };
           if
           :: atomic { !nx -> real[s] = true }; goto locked
           :: atomic { nx -> leave(s, UNLOCK_NOTHING, true, true) }; goto next
           fi
#else
        :: atomic { cn[s] != 0 && WORD_IS(KEPT, sn[s]) && !nx ->
            TAKE_REAL(s)
           };
           if
           :: atomic { cn[s] != 0 && WORD_IS(KEPT, sn[s]) -> word = OWNED };
              goto locked
           :: atomic { !(cn[s] != 0 && WORD_IS(KEPT, sn[s])) ->
                real[s] = false }
           :: real[s] = false                   /* kept for too long */
           fi
#endif
        :: cn[s] == 0 || !WORD_IS(KEPT, sn[s])
        fi;
        /* ask */
        if
        :: atomic { cn[s] == 0 && up && eof[s] == 0 ->
            connect(s); sn[s] = cn[s] }
        :: cn[s] != 0
        :: cn[s] == 0 && !up -> goto next                       /* BUSY */
        fi;
        atomic { if
        :: cn[s] != 0 -> reply[s] = NOTHING; asks[s] = true
        :: else -> goto next
        fi };
        if
        :: atomic { reply[s] == GRANT -> reply[s] = NOTHING }
        :: atomic { reply[s] == BUSY -> reply[s] = NOTHING; goto next }
        :: cn[s] == 0 -> goto next
        fi;
        if
        :: atomic { !nx ->
            TAKE_REAL(s)
           }
        :: atomic { nx -> goto leaves }
        fi;
#ifndef NO_LOOK
        if
        :: WORD_IS(OWNED, sn[s])
        :: !WORD_IS(OWNED, sn[s]) -> goto leaves
        fi;
#endif
locked:
#ifndef NO_COMPARE
        if
        :: torn || wpos != snap -> goto leaves              /* stale */
        :: !torn && wpos == snap
        fi;
#endif
        /* a transaction that only reads, or frames that may be rolled back */
        if
        :: goto rolls_back
        :: atomic { cn[s] != 0 ->
            assert(!job);                                       /* S5 */
            frames[s] = true }
        :: cn[s] == 0 -> goto rolls_back                        /* IOERR */
        fi;
        if
        :: goto rolls_back
        :: cn[s] == 0 -> goto rolls_back
        :: atomic { cn[s] != 0 ->
            tokens++;
            t = tokens;
            tok[s] = t;
            snapshot[t] = snap;
            reply[s] = NOTHING;
            mail_number[s] = cn[s];
            mail_token[s] = t }
        fi;
#ifdef NO_HOLD_BACK
        atomic { torn = true; torn_token = t };
#endif
wait:
        if
        :: atomic { reply[s] == COMMITTED -> reply[s] = NOTHING }
        :: atomic { reply[s] == FAILED -> told_failed(t); goto rolls_back }
        /* the outcome is unknown, or the deadline is over */
        :: atomic { drop(s); goto rolls_back }
        :: atomic { breaks > 0 && cn[s] != 0 -> breaks--; drop(s); goto wait }
        :: atomic { cn[s] == 0 && up && eof[s] == 0 ->
            connect(s);
            resumed = true;
            resumes[s] = true;
            goto wait }
        fi;
        /* the commit frame and the index */
#ifdef EARLY_RECORD
        rec = snap + 1;
#endif
#ifndef NO_HOLD_BACK
        atomic {
            assert(!job && !torn && wpos == snap);              /* S4, S5 */
            torn = true;
            torn_token = t
        };
#endif
        atomic {
            assert(!job && torn && wpos == snap);               /* S4, S5 */
            shown(t);
            frames[s] = false
        };
        rec = snap + 1;
        atomic { leave(s, UNLOCK_PUBLISHED, true, GRANTED(s)) };
        atomic {
            real[s] = false;
            assert(IN_LOG(t));                                  /* S1 */
            tok[s] = 0
        };
        goto ends;
rolls_back:
        atomic {
            undo(s)
        };
leaves:
        atomic { leave(s, UNLOCK_NOTHING, true, GRANTED(s)); tok[s] = 0 };
        real[s] = false;
ends:
        atomic {
            if
            :: resumed -> drop(s)
            :: else
            fi
        };
next:
        atomic { resumed = false; t = 0; snap = 0 }
    od
    } unless {
        kill[s]
    };
    /* ends, or dies: the kernel closes what it had */
    atomic {
        alive[s] = false;
        real[s] = false;
        frames[s] = false;
        drop(s);
        tok[s] = 0;
        kill[s] = false;
        done[s] = true
    }
}

proctype death()
{
end:
    do
    :: d_step { session_deaths > 0 && !done[0] && eof[0] == 0 ->
        session_deaths--; kill[0] = true }
    :: d_step { session_deaths > 0 && !done[1] && eof[1] == 0 ->
        session_deaths--; kill[1] = true }
    od
}

/* Nothing else can move. */
proctype rest()
{
    timeout;
    assert(done[0] && done[1]);                                 /* S6 */
    assert(ready && !job && !torn && !look_again);              /* S6 */
    assert(word == FREE && owner == 0 && keeper == 0 && orphan == 0); /* S6 */
    assert(prop == 0 && at == pos && applied == pos && wpos == pos) /* S6 */
}

init
{
    atomic {
        reply[0] = NOTHING; reply[1] = NOTHING;
        unlock_kind[0] = UNLOCK_NOTHING; unlock_kind[1] = UNLOCK_NOTHING;
        alive[0] = true; alive[1] = true;
        run log(); run node();
        run session(0, TXNS_0); run session(1, TXNS_1);
        run death(); run rest()
    }
}
