/* Large transactions: they travel in parts, the last entry says how many.
 *
 * Two nodes propose one transaction each upon position 0: PARTS parts and then
 * the transaction's own entry. Every entry is in flight by itself, and may be
 * lost, arrive twice, arrive late and in any order: what the leaders of several
 * terms make of it. The state machine reads what arrived in one order; it is
 * the same on all nodes, so there is one of it here. Each node hears its
 * verdicts. A node may die with its proposal.
 *
 * | here            | in the code                                           |
 * |-----------------|-------------------------------------------------------|
 * | send            | proposals.c send_all, proposal_step (a new leader,    |
 * |                 | or a while: send_again)                               |
 * | arrive_part     | machine.c apply_part                                  |
 * | arrive_txn      | machine.c apply_txn, take_parts, accept_txn, drop_parts|
 * | heard           | proposals.c proposal_accepted, proposal_decided,      |
 * |                 | proposal_overtaken                                    |
 *
 * Checked:
 *   P1 what is accepted has all its parts, each once, and none of another
 *   P2 a transaction is accepted at most once, and upon its base
 *   P3 told "committed" or "failed" is what the log says
 *   P4 after an acceptance nothing is staged any more
 *   P5 at rest each living node has its answer: a transaction that arrived
 *      without its parts is proposed again
 *
 * Each NO_ takes one rule away:
 *   NO_COUNT       the transaction does not say how many parts it has
 *   NO_TOKEN       parts of another transaction count
 *   NO_IDEMPOTENT  a part that is there is staged again
 *   NO_AGAIN       nothing is proposed again
 *   NO_PARTS_AGAIN only the transaction's own entry is proposed again
 *   NO_DROP        parts of others stay staged after an acceptance
 *   NO_CAS         bases are not compared
 */
#ifndef PARTS
#define PARTS 2
#endif
#define N 2
#define LAST PARTS /* entry number of the transaction itself */

mtype = { NOTHING, COMMITTED, FAILED };

typedef entries {
    bool net[PARTS + 1];  /* a copy is in flight */
    bool sent[PARTS + 1]; /* in this round */
    byte staged[PARTS];   /* copies in the state machine */
};
entries e[N];
byte pos;
byte accepted[N];
byte last_accepted;
bool alive[N];
mtype told[N];
byte deaths = 1;
byte losses = 2, changes = 1;   /* after them a round gets through */
byte rounds[N];

#define ROUND_OVER(n) (e[n].sent[0] && e[n].sent[1] && e[n].sent[LAST])
#define FOUND(n) (e[n].staged[0] + e[n].staged[1])
#ifdef NO_COUNT
#define COMPLETE(n) true
#elif defined(NO_TOKEN)
#define COMPLETE(n) (FOUND(0) + FOUND(1) >= PARTS)
#else
#define COMPLETE(n) (FOUND(n) == PARTS)
#endif

#ifdef NO_CAS
#define BASE_FITS true
#else
#define BASE_FITS (pos == 0)
#endif

inline heard(w, what)
{
    if
    :: alive[w] && told[w] == NOTHING ->
        told[w] = what;
        assert((what == COMMITTED) == (accepted[w] == 1));      /* P3 */
        assert(what != FAILED || pos > 0)                       /* P3 */
    :: else
    fi
}

inline drop_parts(w)
{
    e[w].staged[0] = 0;
    e[w].staged[1] = 0
}

inline accept(n)
{
    assert(pos == 0);                                           /* P2 */
    assert(e[n].staged[0] == 1 && e[n].staged[1] == 1);         /* P1 */
    pos++;
    accepted[n]++;
    assert(accepted[n] == 1 && accepted[1 - n] == 0);           /* P2 */
    drop_parts(n);
#ifndef NO_DROP
    drop_parts(1 - n);
#endif
    heard(n, COMMITTED);
    heard(1 - n, FAILED)
}

inline send_again(n)
{
#ifndef NO_PARTS_AGAIN
    e[n].sent[0] = false;
    e[n].sent[1] = false;
#endif
    e[n].sent[LAST] = false
}

inline arrive_txn(n)
{
    if
    :: BASE_FITS && COMPLETE(n) -> accept(n)
    :: else                     /* a conflict; or proposed again in a while */
    fi
}

inline arrive_part(n, i)
{
    if
    :: BASE_FITS && e[n].staged[i] == 0 -> e[n].staged[i] = 1
#ifdef NO_IDEMPOTENT
    :: BASE_FITS && e[n].staged[i] == 1 -> e[n].staged[i] = 2
#endif
    :: else
    fi
}

inline arrive(n, i)
{
    if
    :: i == LAST -> arrive_txn(n)
    :: else -> arrive_part(n, i)
    fi
}

/* Whatever a leader makes of a proposal. */
proctype flight(byte n; byte i)
{
end:
    do
    :: atomic { e[n].net[i] -> e[n].net[i] = false; arrive(n, i) }
    :: atomic { e[n].net[i] -> arrive(n, i) }   /* and again, later */
    :: atomic { losses > 0 && e[n].net[i] -> losses--; e[n].net[i] = false }
    od
}

#define SENDS(n, i) (alive[n] && told[n] == NOTHING && !e[n].sent[i])
#ifdef NO_AGAIN
#define AGAIN(n) false
#else
/* When nothing of it is on its way: proposing again too early changes nothing,
 * as each copy may arrive many times. */
#define AGAIN(n) (rounds[n] < 5 && alive[n] && told[n] == NOTHING && ROUND_OVER(n) && \
                  !e[n].net[0] && !e[n].net[1] && !e[n].net[LAST])
#endif

proctype node(byte n)
{
end:
    do
    :: atomic { SENDS(n, 0) -> e[n].sent[0] = true; e[n].net[0] = true }
    :: atomic { SENDS(n, 1) && e[n].sent[0] ->
        e[n].sent[1] = true; e[n].net[1] = true }
    :: atomic { SENDS(n, LAST) && e[n].sent[1] ->
        e[n].sent[LAST] = true; e[n].net[LAST] = true }
    /* a new leader, a while */
    :: atomic { AGAIN(n) -> rounds[n]++; send_again(n) }
    /* a new leader in the middle of it */
    :: atomic { changes > 0 && alive[n] && told[n] == NOTHING &&
                e[n].sent[0] && !ROUND_OVER(n) -> changes--; send_again(n) }
    :: atomic { deaths > 0 && alive[n] -> deaths--; alive[n] = false }
    od
}

/* Nothing else can move. */
proctype rest()
{
    timeout;
    assert(!alive[0] || told[0] != NOTHING);                    /* P5 */
    assert(!alive[1] || told[1] != NOTHING);                    /* P5 */
    assert(pos == 0 || FOUND(0) + FOUND(1) == 0)                /* P4 */
}

init
{
    atomic {
        alive[0] = true;
        alive[1] = true;
        told[0] = NOTHING;
        told[1] = NOTHING;
        run node(0);
        run node(1);
        run flight(0, 0);
        run flight(0, 1);
        run flight(0, LAST);
        run flight(1, 0);
        run flight(1, 1);
        run flight(1, LAST);
        run rest()
    }
}
