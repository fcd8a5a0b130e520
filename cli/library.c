#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/internal.h"

/* Beside this program, as it is built, or in ../lib, as it is installed. */
int library_find(const char *name, char *out, size_t size)
{
    static const char *const places[] = {"", "../lib/", "../lib64/"};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[n < 0 ? 0 : n] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash != NULL && i < 3; i++) {
        snprintf(out, size, "%.*s%s%s", (int)(slash - self + 1), self,
                 places[i], name);
        if (access(out, R_OK) == 0) {
            return 0;
        }
    }
    return 1;
}
