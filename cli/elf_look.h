/* What an executable or a library is, and what it has to do with SQLite, as far
 * as its bytes tell. Nothing of it is run or loaded. */
#ifndef CLI_ELF_LOOK_H
#define CLI_ELF_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#define ELF_INTERP_MAX 256

struct elf_look {
    bool elf;                    /* the rest is set for ELF files only */
    bool native;                 /* 64 bits, and of this host's processor */
    unsigned bits;               /* 32 or 64 */
    char interp[ELF_INTERP_MAX]; /* the loader; "": static, or a library */
    bool imports;                /* calls sqlite3_* of a shared library */
    bool exports;                /* has sqlite3_* for others */
    bool holds;                  /* SQLite itself is in it */
    bool names;                  /* "libsqlite3.so" is written in it */
};

/* Returns 0, also for what is no ELF file, or -errno. A file that contradicts
 * itself is read as far as it makes sense. */
int elf_look(const char *path, struct elf_look *out);

#endif
