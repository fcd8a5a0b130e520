/* Messages in words, for a trace that is printed. */
#include <stdio.h>
#include <string.h>

#include "tests/cluster/sim.h"
#include "wire/raft_message.h"

static void tell_raft(const struct raft_message *m)
{
    const struct raft_append_entries *ae = &m->append_entries;
    const struct raft_append_entries_result *ar = &m->append_entries_result;
    const struct raft_request_vote *rv = &m->request_vote;
    const struct raft_request_vote_result *rr = &m->request_vote_result;

    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        printf("append term=%llu prev=%llu/%llu n=%u commit=%llu\n", ae->term,
               ae->prev_log_index, ae->prev_log_term, ae->n_entries,
               ae->leader_commit);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        printf("append_result term=%llu rejected=%llu last=%llu\n", ar->term,
               ar->rejected, ar->last_log_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        printf("vote term=%llu from=%llu last=%llu/%llu disrupt=%d pre=%d\n",
               rv->term, rv->candidate_id, rv->last_log_index,
               rv->last_log_term, rv->disrupt_leader, rv->pre_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        printf("vote_result term=%llu granted=%d pre=%d\n", rr->term,
               rr->vote_granted, rr->pre_vote);
        break;
    default:
        printf("message of type %u\n", (unsigned)m->type);
    }
}

void tell_packet(struct sim *s, unsigned from, unsigned to, bool lost,
                 const struct packet *p)
{
    struct raft_message m;

    if (!s->plan.print) {
        return;
    }
    printf("            %u -> %u %sgroup %u ", from + 1, to + 1,
           lost ? "LOST " : "", p->group);
    memset(&m, 0, sizeof m);
    if (p->kind == PACKET_RAFT &&
        raft_message_decode(p->payload, p->len, &m) == 0) {
        tell_raft(&m);
        raft_message_close(&m);
    } else {
        printf("kind %u, %zu bytes\n", p->kind, p->len);
    }
}
