/* SQLite's result codes as ours: the one place where they are translated. */
#ifndef VFS_SQLITE_CODE_H
#define VFS_SQLITE_CODE_H

/* `rc` may be an extended code. SQLITE_OK, _ROW and _DONE are 0. */
int sqlite_code_err(int rc);

#endif
