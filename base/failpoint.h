/* Points in the code where a test makes a process die, fail, wait or stop.
 *
 * A point compiles to nothing unless MARMOT_FAILPOINTS is defined: `make
 * failpoint-build`. It then acts as the environment says:
 *
 *   MARMOT_FAIL=POINT:N:ACTION[,POINT:N:ACTION...]
 *
 * N is the passage that acts, counted from 1 in each process; N+ means that one
 * and all later ones. ACTION is
 *
 *   kill      SIGKILL to the own process
 *   pause     SIGSTOP to the own process
 *   delay=MS  sleep
 *   error     the operation at this point fails (FAILPOINT_ERROR only)
 *
 *   MARMOT_FAIL_WHEN=PATH   passages count only while PATH exists
 *   MARMOT_FAIL_LOG=PATH    what acted: a line "PID POINT ACTION" each
 *
 * All points and their meanings are in one table in failpoint.c (`make
 * failpoints` prints it). Needs only libc: guests have points too. Any thread
 * may pass. */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#ifdef MARMOT_FAILPOINTS

#include <stdbool.h>

/* Pass the point: true when its action is `error`. A name that is not in the
 * table aborts the process. */
bool failpoint_pass(const char *name);

#define FAILPOINT(name) ((void)failpoint_pass(name))
/* Passes only when `condition` holds. */
#define FAILPOINT_IF(condition, name) \
    ((void)((condition) && failpoint_pass(name)))
/* `call`, or without calling it `error`. */
#define FAILPOINT_ERROR(name, error, call) \
    (failpoint_pass(name) ? (error) : (call))

#else

#define FAILPOINT(name) ((void)0)
#define FAILPOINT_IF(condition, name) ((void)0)
#define FAILPOINT_ERROR(name, error, call) (call)

#endif

#endif
