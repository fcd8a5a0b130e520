/* The node's log: one line an event, `event key=value ...`, to stderr.
 *
 * Not for guests (vfs/'s guest part and shim/): those use sqlite3_log(). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below `level` are dropped. Start: LOG_INFO. */
void log_set_level(enum log_level level);

/* `what` names the event, `format` its key=value pairs. */
void log_line(enum log_level level, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool log_enabled(enum log_level level);

#define log_debug(...) \
    (log_enabled(LOG_DEBUG) ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
