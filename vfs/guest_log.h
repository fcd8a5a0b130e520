/* Messages of the guest part: to sqlite3_log() and, if the environment has
 * MARMOT_LOG=PATH or MARMOT_LOG=stderr, there too. Thread-safe. */
#ifndef VFS_GUEST_LOG_H
#define VFS_GUEST_LOG_H

/* `code` is the SQLite code that goes with the message. */
void guest_log(int code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
