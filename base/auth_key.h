/* The two forms of AUTH_KEY (docs/PANE.md): `user:password`, or the value of
 * the Authorization header as it is. Node and command line read it alike. */
#ifndef BASE_AUTH_KEY_H
#define BASE_AUTH_KEY_H

#include <stdbool.h>
#include <string.h>

/* Does `key` begin with a word and a space, as `Basic ...` does, or hold no
 * colon at all? Then it is a header, else user and password. */
static inline bool auth_key_is_header(const char *key)
{
    const char *colon = strchr(key, ':');
    const char *space = strchr(key, ' ');

    return colon == NULL || (space != NULL && space < colon);
}

#endif
