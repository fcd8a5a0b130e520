#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static enum log_level minimum = LOG_INFO;

void log_set_level(enum log_level level)
{
    minimum = level;
}

bool log_enabled(enum log_level level)
{
    return level >= minimum;
}

/* "12:34:56.789 " or, under journald (which adds its own time), "<6>". */
static int prefix(char *out, size_t size, enum log_level level)
{
    static const int priority[] = {7, 6, 4, 3};
    static const char letter[] = "DIWE";
    struct timeval now;
    struct tm parts;

    if (getenv("JOURNAL_STREAM") != NULL) {
        return snprintf(out, size, "<%d>", priority[level]);
    }
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &parts);
    return snprintf(out, size, "%02d:%02d:%02d.%03d %c ", parts.tm_hour,
                    parts.tm_min, parts.tm_sec, (int)(now.tv_usec / 1000),
                    letter[level]);
}

void log_line(enum log_level level, const char *what, const char *format, ...)
{
    char line[1024];
    int at, n;
    va_list args;

    if (!log_enabled(level)) {
        return;
    }
    at = prefix(line, sizeof line, level);
    at += snprintf(line + at, sizeof line - (size_t)at, "%s ", what);
    va_start(args, format);
    n = vsnprintf(line + at, sizeof line - (size_t)at, format, args);
    va_end(args);
    at = n < (int)sizeof line - at ? at + n : (int)sizeof line - 1;
    line[at < (int)sizeof line - 1 ? at : (int)sizeof line - 2] = '\n';
    at = at < (int)sizeof line - 1 ? at + 1 : (int)sizeof line - 1;
    /* One write, so that lines of several threads do not mix. */
    if (write(STDERR_FILENO, line, (size_t)at) < 0) {
        return; /* nobody reads us: nothing better to do */
    }
}
