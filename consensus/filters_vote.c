/* W14: the vote of a node that does not know yet that it has one.
 *
 * A standby that is made a voter counts as one from the moment the change is in
 * a leader's log, and that leader may be gone before the standby has it. When
 * its vote is what the rest lacks, nobody is ever elected, as the core refuses
 * the vote of whoever is no voter in its own configuration; and a standby takes
 * its leader for alive however long that is silent. A node votes whatever its
 * configuration says (Raft dissertation, section 4.1): nobody counts it who
 * does not have it as a voter. */
#include "consensus/filters_in.h"
#include "consensus/raft_peek.h"

void filters_deliver_vote(struct filters *f, struct raft_message *m)
{
    int role = peek_role(f->raft, f->raft->id);

    if (role < 0 || role == RAFT_VOTER) {
        f->recv(&f->io, m);
        return;
    }
    peek_forget_silent_leader(f->raft, f->raw->time(f->raw));
    peek_set_own_role(f->raft, RAFT_VOTER);
    f->recv(&f->io, m);
    peek_set_own_role(f->raft, role);
}
