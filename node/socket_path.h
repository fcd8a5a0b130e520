/* Unix sockets at paths of any length. */
#ifndef NODE_SOCKET_PATH_H
#define NODE_SOCKET_PATH_H

#include <stddef.h>

/* Listen at `path`. A socket file that nobody listens on is replaced; one with
 * a listener is -EADDRINUSE. Owner and mode are taken from the file `like`, or
 * from the folder when that is missing. Returns a non-blocking descriptor, or
 * -errno. */
int socket_listen(const char *path, const char *like);

/* Give `path` the owner and mode of the database `like`, or of the folder while
 * that is missing. */
void socket_like(const char *path, const char *like);

#endif
