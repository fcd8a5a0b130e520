/* Every maximum of the product, and why it is what it is.
 *
 * Sizes that a peer, a session or a file gives are checked against these
 * before anything is allocated. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* One packet between nodes. A proposal part is at most PART_BYTES_MAX of raw
 * pages plus one page, page numbers and msgpack overhead. */
#define PACKET_BYTES_MAX (4u << 20)

/* Raw page bytes in one proposal part (one log entry). Keeps one entry from
 * holding up heartbeats on the shared connection. */
#define PART_BYTES_MAX (1u << 20)

/* Pages that one request for an image may ask about, with a hash of 8 bytes
 * each: 256 KiB, and 64 requests for a database of 8 GiB that is the same. */
#define IMAGE_RANGE_PAGES_MAX 32768u

/* Answers to one request for an image, of PART_BYTES_MAX each. The asker has as
 * many in memory twice: on their way, and being written. */
#define IMAGE_PARTS_MAX 4u

/* One message on a session's socket: a part, its page numbers, a header. */
#define SESSION_BYTES_MAX (2u << 20)

/* Raw page bytes of one transaction. SQLITE_FULL above. The log and the parts
 * being staged are held in memory, hence the bound. */
#define TXN_BYTES_MAX (1ull << 30)

/* Pages by which a transaction may let a database grow beyond those that it
 * brings: SQLite writes every page that it adds but the lock page. The node
 * keeps 8 bytes a page, so a size must be paid for with pages. */
#define TXN_UNWRITTEN_PAGES_MAX 1u

/* Of the logs of all groups in memory, where proposals are refused: a largest
 * transaction always fits into an empty one. Logs are shortened long before. */
#define LOG_BYTES_MAX (TXN_BYTES_MAX + (256ull << 20))

/* Parts of one transaction, from the two above, with room for small pages. */
#define TXN_PARTS_MAX 4096u

/* Entries in one AppendEntries message; the sender splits at AE_BYTES_MAX. */
#define AE_ENTRIES_MAX 4096u
#define AE_BYTES_MAX (1u << 20)

/* One snapshot of a group, which travels in one packet; and databases in a
 * group, so that they fit: 3 KB each at most. */
#define SNAPSHOT_BYTES_MAX (PACKET_BYTES_MAX - 65536u)
#define GROUP_DATABASES_MAX 1024u

/* Bytes queued to one peer before heartbeats-only; then the connection is
 * dropped, Raft sends again. */
#define PEER_QUEUE_BYTES_MAX (256u << 20)

/* How long a commit may take beyond the ordinary deadline, per millisecond and
 * bytes of page images: 4 MiB/s is a slow disk or network. Both ends count it
 * so, or one would give up on what the other still waits for. */
#define COMMIT_BYTES_PER_MS 4096u

#define DB_NAME_MAX 128 /* bytes, [A-Za-z0-9._-]+ */
#define ADDRESS_MAX 256 /* host:port */
#define NODES_MAX 64    /* members of a cluster */
#define SHARDS_MAX 1024
#define DATABASES_MAX 4096  /* per node */
#define SESSIONS_MAX 4096   /* per node: one socket each */
#define TOKEN_RING 64       /* recent (txid, token) pairs kept per database */
#define MSGPACK_DEPTH_MAX 8 /* nesting in anything we decode */
#define TEXT_MAX 4096       /* status and error texts to a session */

#endif
