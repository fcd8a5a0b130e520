#include "vfs/guest_log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfs/guest_sqlite.h"

/* The file is opened for each line: lines are rare, and a descriptor kept in
 * somebody else's process could be closed or reused by it. */
static void log_to_file(const char *path, const char *line, size_t len)
{
    int fd = STDERR_FILENO;
    ssize_t n;

    if (strcmp(path, "stderr") != 0) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY,
                  0644);
        if (fd < 0) {
            return;
        }
    }
    n = write(fd, line, len); /* one write, so that lines do not mix */
    (void)n;
    if (fd != STDERR_FILENO) {
        close(fd);
    }
}

void guest_log(int code, const char *format, ...)
{
    const char *path = secure_getenv("MARMOT_LOG");
    char text[1024];
    char line[1100];
    va_list ap;
    int n;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    sqlite3_log(code, "marmot: %s", text);
    if (path != NULL && *path != '\0') {
        n = snprintf(line, sizeof line, "marmot[%ld]: %s\n", (long)getpid(),
                     text);
        log_to_file(path, line, (size_t)n);
    }
}
