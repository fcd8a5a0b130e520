#include "vfs/guest_pragma.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"

#define WAIT_DEFAULT_MS 5000u

static int result(char **argument, const char *text)
{
    argument[0] = sqlite3_mprintf("%s", text);
    return argument[0] == NULL ? SQLITE_NOMEM : SQLITE_OK;
}

static int failed(char **argument, const char *text)
{
    argument[0] = sqlite3_mprintf("%s", text);
    return SQLITE_ERROR;
}

static int status(struct guest_db *db, char **argument)
{
    char text[TEXT_MAX + 1];
    bool ok;
    int err = guest_db_ask(db, SESSION_STATUS, NULL, text, &ok);
    const char *answer = err == 0 ? text : db->client.text;

    if (db->refusal[0] == '\0') {
        return result(argument, answer);
    }
    argument[0] =
        sqlite3_mprintf("%s\nlast refused here: %s", answer, db->refusal);
    return argument[0] == NULL ? SQLITE_NOMEM : SQLITE_OK;
}

static int position(struct guest_db *db, char **argument)
{
    char text[TEXT_MAX + 1];
    bool ok;

    if (guest_db_ask(db, SESSION_POSITION, NULL, text, &ok) != 0) {
        return failed(argument, db->client.text);
    }
    return result(argument, text);
}

/* A decimal number and the character after it. */
static bool parse_number(const char **text, uint64_t *value)
{
    char *end;

    while (isspace((unsigned char)**text)) {
        (*text)++;
    }
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    errno = 0;
    *value = strtoull(*text, &end, 10);
    while (isspace((unsigned char)*end)) {
        end++;
    }
    *text = end;
    return errno == 0;
}

/* "txid" or "txid,timeout_ms". What follows a colon after the txid (the hash of
 * marmot_position) is passed over. */
static bool parse_wait(const char *text, struct session_wait *wait)
{
    uint64_t timeout_ms = WAIT_DEFAULT_MS;

    if (text == NULL || !parse_number(&text, &wait->txid)) {
        return false;
    }
    if (*text == ':') {
        text += strcspn(text, ",");
    }
    if (*text == ',') {
        text++;
        if (!parse_number(&text, &timeout_ms)) {
            return false;
        }
    }
    wait->timeout_ms =
        timeout_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout_ms;
    return *text == '\0';
}

static int wait(struct guest_db *db, char **argument)
{
    char text[TEXT_MAX + 1];
    struct session_wait w;
    bool ok;

    if (!parse_wait(argument[2], &w)) {
        return failed(argument, "marmot_wait takes 'txid' or 'txid,ms'");
    }
    if (guest_db_ask(db, SESSION_WAIT, &w, text, &ok) != 0) {
        return failed(argument, db->client.text);
    }
    return result(argument, ok ? "ok" : "timeout");
}

int guest_pragma(struct guest_db *db, char **argument)
{
    const char *name = argument[1];

    if (sqlite3_stricmp(name, "journal_mode") == 0) {
        return result(argument, "wal");
    }
    if (sqlite3_stricmp(name, "locking_mode") == 0) {
        return result(argument, "normal");
    }
    if (sqlite3_stricmp(name, "marmot_status") == 0) {
        return status(db, argument);
    }
    if (sqlite3_stricmp(name, "marmot_position") == 0) {
        return position(db, argument);
    }
    if (sqlite3_stricmp(name, "marmot_wait") == 0) {
        return wait(db, argument);
    }
    return SQLITE_NOTFOUND;
}
