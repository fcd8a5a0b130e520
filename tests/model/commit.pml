/* What a session is told about a commit, and what the log says.
 *
 * Two nodes with one session each, one database. The local file is left out
 * (slot.pml has it): a transaction is built on a position and proposed.
 *
 * The log. Raft gives one total order, so the log is hist[]: hist[i] is the
 * attempt that took the database from position i - 1 to i, or FENCE. Leaders,
 * their changes and their followers are what they do to a proposal: each copy
 * is in flight (net[]), and may be lost, arrive at any later time, also when
 * its node or session is long dead, and arrive twice.
 *
 * Leases are not in the model at all: every node may grant at any time, at the
 * position that its own state machine has read, however old. So two holders
 * are the ordinary case here, and nothing may depend on there being one.
 *
 * | here               | in the code                                         |
 * |--------------------|-----------------------------------------------------|
 * | arrive(), log      | machine.c apply_txn, accept_txn                     |
 * | RING, KNOWS        | machine.c machine_token, TOKEN_RING                 |
 * | node: grant        | slot.c grant, slot_is_free                          |
 * | node: take, send   | proposals.c proposal_part, send_all, proposal_step  |
 * | node: read         | events.c on_accepted; proposals.c proposal_accepted,|
 * |                    | proposal_overtaken                                  |
 * | node: jump         | proposals.c proposal_jumped (a snapshot)             |
 * | node: give up      | proposals.c past_deadline, send_all (log full)      |
 * | node: resume       | resume.c decide, answer_from_log, fence             |
 * | session            | guest_commit.c guest_client_propose, commit_answer, |
 * |                    | resume, ask_again                                   |
 *
 * Checked:
 *   C1 a transaction enters the log only upon the position it was built on
 *   C2 a transaction enters the log at most once
 *   C3 told "committed": it is in the log
 *   C4 told "it failed": it is not in the log, and never will be
 *   C5 after "outcome unknown" a node grants nothing before it is decided
 *   C6 at rest every session has its answer and every node has read the log
 *
 * Each NO_ takes one rule away:
 *   NO_CAS         an entry is accepted whatever its base is
 *   NO_FENCE       a resumed attempt whose base is still the position has failed
 *   FENCE_NOOP     the fence tells, and does not move the position
 *   NO_FORGOTTEN   a token that the ring no longer holds has failed
 *   NO_SENT        at the deadline a proposal that left the node has failed
 *   FRESH_TOKEN    proposed again, it is another attempt
 *   NO_RESEND      a lost copy is not proposed again (with NO_DEADLINE)
 *   NO_START       tokens lack the start of the node: they come again
 *   NO_DOUBT       a lock is granted while a proposal is undecided
 */
#ifndef ATTEMPTS_0
#define ATTEMPTS_0 2 /* of the session at node 0 */
#endif
#ifndef ATTEMPTS_1
#define ATTEMPTS_1 1
#endif
#ifndef NODE_DEATHS
#define NODE_DEATHS 2
#endif
#ifndef SESSION_DEATHS
#define SESSION_DEATHS 1
#endif
#ifdef NO_DEADLINE
#define DEADLINE false
#else
#define DEADLINE true
#endif

#define N 2               /* nodes, and sessions */
#define TOKENS 5          /* attempts are 1 to 4 */
#define POSITIONS 8
#define FENCE 15
#define RING 2            /* positions whose token is remembered */
#define COPIES 1          /* in flight at once; each may arrive many times */

mtype = { NOTHING, COMMITTED, FAILED, UNKNOWN };

/* The log. */
byte pos;
byte hist[POSITIONS];
byte net[TOKENS];
byte fence_net[N];        /* base + 1 of a fence in flight; 0: none */
bool fenced[N];           /* FENCE_NOOP only */

/* Attempts. */
byte attempts;
byte base[TOKENS];
mtype told[TOKENS];

/* Nodes. */
bool up[N], caught_up[N];
byte at[N];               /* how far the state machine has read */
byte prop[N];             /* the attempt that it tries to have accepted */
bool prop_waited[N];      /* its session still waits */
bool prop_sent[N];        /* a copy has left */

/* Sessions. */
byte attempt[N];
bool conn[N], done[N];
byte mail[N];             /* a PROPOSE on its way to the node: the attempt */
bool resumes[N];          /* a RESUME */
mtype reply[N];
byte node_deaths = NODE_DEATHS;
byte session_deaths = SESSION_DEATHS;

#ifdef NO_START
#define SAME_TOKEN(a, b) ((a) == (b) || \
    ((a) < FENCE && (b) < FENCE && (a) > 0 && (b) > 0 && owner[a] == owner[b]))
byte owner[TOKENS];
#else
#define SAME_TOKEN(a, b) ((a) == (b))
#endif

#define KNOWS(n, txid) ((txid) + RING > at[n])

/* ---- the log ------------------------------------------------------------- */

inline arrive(a)
{
    if
#ifdef NO_CAS
    :: true ->
#else
    :: base[a] == pos ->
#endif
        assert(base[a] == pos);         /* C1, C2: once past its base, never */
        assert(told[a] != FAILED);      /* C4 */
        pos++;
        hist[pos] = a
    :: else
    fi
}

inline arrive_fence(n)
{
    if
    :: fence_net[n] == pos + 1 ->
#ifdef FENCE_NOOP
        fenced[n] = true
#else
        pos++;
        hist[pos] = FENCE
#endif
    :: else
    fi;
    fence_net[n] = 0
}

proctype log()
{
    byte i;

end:
    do
    :: atomic {
        if
        :: net[1] > 0 -> i = 1
        :: net[2] > 0 -> i = 2
        :: net[3] > 0 -> i = 3
        :: net[4] > 0 -> i = 4
        fi;
        if
        :: net[i]--; arrive(i)
        :: net[i]--             /* lost */
        :: arrive(i)            /* and once more, later */
        fi;
        i = 0
       }
    :: atomic { fence_net[0] > 0 -> arrive_fence(0) }
    :: atomic { fence_net[1] > 0 -> arrive_fence(1) }
    :: atomic { fence_net[0] > 0 -> fence_net[0] = 0 }
    :: atomic { fence_net[1] > 0 -> fence_net[1] = 0 }
    od
}

/* ---- a node -------------------------------------------------------------- */

inline drop_proposal(n)
{
    prop[n] = 0;
    prop_waited[n] = false;
    prop_sent[n] = false
}

inline answer(n, what)
{
    if
    :: prop_waited[n] && conn[n] -> reply[n] = what
    :: else
    fi;
    prop_waited[n] = false
}

/* One entry of the log. */
inline read_entry(n)
{
    at[n]++;
    if
    :: prop[n] == 0
    :: prop[n] != 0 && SAME_TOKEN(hist[at[n]], prop[n]) ->
        answer(n, COMMITTED);
        drop_proposal(n)
    :: else ->
        if
        :: base[prop[n]] < at[n] ->
            answer(n, FAILED);
            drop_proposal(n)
        :: else
        fi
    fi
}

inline reply_from_log(n, a)
{
    if
    :: !KNOWS(n, base[a] + 1) ->
#ifdef NO_FORGOTTEN
        reply[n] = FAILED
#else
        reply[n] = UNKNOWN
#endif
    :: KNOWS(n, base[a] + 1) && SAME_TOKEN(hist[base[a] + 1], a) ->
        reply[n] = COMMITTED
    :: else ->
        reply[n] = FAILED
    fi
}

inline decide(n, a)
{
    if
    :: at[n] > base[a] -> reply_from_log(n, a)
    :: at[n] < base[a] -> reply[n] = UNKNOWN
    :: at[n] == base[a] ->
#ifdef NO_FENCE
        reply[n] = FAILED
#else
        if
        :: fenced[n] -> fenced[n] = false; reply[n] = FAILED
        :: else -> fence_net[n] = base[a] + 1
        fi
#endif
    fi;
    resumes[n] = (reply[n] == NOTHING)
}

/* A snapshot in the place of the log. */
inline jump(n)
{
    at[n] = pos;
    if
    :: prop[n] != 0 && base[prop[n]] < at[n] ->
        if
        :: !KNOWS(n, base[prop[n]] + 1) ->
#ifdef NO_FORGOTTEN
            answer(n, FAILED)
#else
            answer(n, UNKNOWN)
#endif
        :: KNOWS(n, base[prop[n]] + 1) &&
           SAME_TOKEN(hist[base[prop[n]] + 1], prop[n]) ->
            answer(n, COMMITTED)
        :: else -> answer(n, FAILED)
        fi;
        drop_proposal(n)
    :: else
    fi
}

#define CAN_SEND(n) (prop[n] != 0 && (!prop_sent[n] || RESENDS) && \
                     net[prop[n]] < COPIES)
#ifdef NO_RESEND
#define RESENDS false
#else
#define RESENDS true
#endif

#ifdef NO_SENT
#define SURELY_FAILED(n) (prop_waited[n])
#else
#define SURELY_FAILED(n) (prop_waited[n] && !prop_sent[n])
#endif

inline send(n)
{
#ifdef FRESH_TOKEN
    if
    :: prop_sent[n] && attempts < TOKENS - 1 ->
        attempts++;             /* the same pages, told to the same session */
        base[attempts] = base[prop[n]];
        told[attempts] = NOTHING;
        renamed = prop[n];
        prop[n] = attempts
    :: else
    fi;
#endif
    net[prop[n]]++;
    prop_sent[n] = true
}

#ifdef FRESH_TOKEN
byte renamed;
#endif

inline forget(n)
{
    up[n] = false;
    caught_up[n] = false;
    at[n] = 0;
    drop_proposal(n);
    conn[n] = false;
    mail[n] = 0;
    resumes[n] = false;
    reply[n] = NOTHING;
    fenced[n] = false
}

proctype node(byte n)
{
end:
    do
    /* start; its state machine reads what the group has */
    :: atomic { !up[n] -> up[n] = true }
    :: atomic { up[n] && !caught_up[n] -> caught_up[n] = true; at[n] = pos }
    :: atomic { caught_up[n] && at[n] < pos -> read_entry(n) }
    :: atomic { caught_up[n] && at[n] + 1 < pos -> jump(n) }
    /* take what its session proposes */
    :: atomic { up[n] && mail[n] != 0 ->
        prop[n] = mail[n];
        mail[n] = 0;
        prop_waited[n] = conn[n];
        if
        :: base[prop[n]] < at[n] -> answer(n, FAILED); drop_proposal(n)
        :: else
        fi }
    /* to the leader, again after a change or a while */
    :: atomic { CAN_SEND(n) -> send(n) }
    /* the deadline, or no room in the log */
    :: atomic { DEADLINE && prop[n] != 0 && SURELY_FAILED(n) ->
        answer(n, FAILED); drop_proposal(n) }
    :: atomic { DEADLINE && prop[n] != 0 && prop_waited[n] && prop_sent[n] ->
        answer(n, UNKNOWN) }
    :: atomic { caught_up[n] && resumes[n] && prop[n] != attempt[n] &&
                fence_net[n] == 0 ->
        decide(n, attempt[n]) }
    :: atomic { up[n] && node_deaths > 0 -> node_deaths--; forget(n) }
    od
}

/* ---- a session ----------------------------------------------------------- */

#ifdef NO_DOUBT
#define GRANTS(n) (caught_up[n])
#else
/* The old session has the slot until its connection is read to its end. */
#define GRANTS(n) (caught_up[n] && prop[n] == 0 && mail[n] == 0)
#endif

/* C5: is an attempt of this start of the node undecided? */
#define IN_DOUBT(n) (prop[n] != 0)

inline begin(s)
{
    attempts++;
    attempt[s] = attempts;
    base[attempts] = at[s];
    told[attempts] = NOTHING;
#ifdef NO_START
    owner[attempts] = s;
#endif
    conn[s] = true;
    reply[s] = NOTHING
}

inline tell(s, what)
{
    told[attempt[s]] = what;
    assert(what != COMMITTED || hist[base[attempt[s]] + 1] == attempt[s]
#ifdef FRESH_TOKEN
           || hist[base[attempt[s]] + 1] > 0
#endif
          );                                                    /* C3 */
    assert(what != FAILED || base[attempt[s]] == pos ||
           hist[base[attempt[s]] + 1] != attempt[s]);           /* C4 */
    attempt[s] = 0;
    reply[s] = NOTHING;
    resumes[s] = false
}

proctype session(byte s)
{
    byte left = (s == 0 -> ATTEMPTS_0 : ATTEMPTS_1);

    do
    :: left == 0 -> break
    :: left > 0 ->
        left--;
        if
        :: atomic { GRANTS(s) && attempts < TOKENS - 1 ->
            assert(!IN_DOUBT(s));                               /* C5 */
            begin(s) }
        :: atomic { attempts == TOKENS - 1 -> break }
        fi;
        /* the frames; then the commit frame */
        if
        :: atomic { conn[s] -> mail[s] = attempt[s] }
        :: atomic { !conn[s] -> tell(s, FAILED); goto next }
        :: atomic { session_deaths > 0 -> session_deaths--; goto dies }
        fi;
wait:   if
        :: atomic { reply[s] != NOTHING -> tell(s, reply[s]) }
        :: atomic { !conn[s] && up[s] -> /* the next node that starts */
            conn[s] = true;
            resumes[s] = true;
            goto wait }
        :: atomic { DEADLINE && reply[s] == NOTHING ->
            conn[s] = false;
            prop_waited[s] = false;
            tell(s, UNKNOWN) }
        :: atomic { session_deaths > 0 -> session_deaths--; goto dies }
        fi;
next:   skip
    od;
    goto over;
dies:
    atomic {
        conn[s] = false;
        prop_waited[s] = false;
        reply[s] = NOTHING;
        resumes[s] = false      /* what was proposed is still read */
    };
over:
    done[s] = true
}

/* Nothing else can move. */
proctype rest()
{
    timeout;
    assert(done[0] && done[1]);                                 /* C6 */
    assert(at[0] == pos && at[1] == pos);                       /* C6 */
    assert(prop[0] == 0 && prop[1] == 0)                        /* C6 */
}

init
{
    atomic {
        reply[0] = NOTHING; reply[1] = NOTHING;
        run log(); run node(0); run node(1);
        run session(0); run session(1);
        run rest()
    }
}
