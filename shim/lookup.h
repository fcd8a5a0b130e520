/* Finds the functions that this library stands in front of. */
#ifndef SHIM_LOOKUP_H
#define SHIM_LOOKUP_H

/* The function `name` of the SQLite that the code at `caller` (an address in
 * it, or NULL) would have reached without us. NULL when there is none. */
void *lookup_sqlite(const char *name, const void *caller);

/* The next definition after ours, for functions of libc. */
void *lookup_next(const char *name);

/* A file in the folder of this library, into `path` (`size` bytes). Returns 0,
 * or -1 when the folder is not known or the name too long. */
int lookup_beside(const char *file, char *path, unsigned size);

#endif
