#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "tests/unit/wire/mangle.h"
#include "wire/session.h"

static int setup(void **state)
{
    static struct buf out;

    buf_init(&out, 2 * SESSION_BYTES_MAX);
    *state = &out;
    return 0;
}

static int teardown(void **state)
{
    buf_close(*state);
    return 0;
}

static int decode(const uint8_t *bytes, size_t len)
{
    struct session_message m;
    size_t used;

    return session_decode(bytes, len, &m, &used);
}

/* Encode, decode, and check that exactly these bytes are a message. */
static struct session_message pass(struct buf *out,
                                   const struct session_message *m)
{
    struct session_message back;
    size_t used;

    assert_int_equal(session_encode(m, out), 0);
    assert_int_equal(session_decode(out->data, out->len, &back, &used), 0);
    assert_int_equal(used, out->len);
    assert_int_equal(session_length(out->data), out->len);
    assert_int_equal(back.kind, m->kind);
    return back;
}

/* A PROPOSE with what the caller sends behind it: page k holds bytes k. */
static void propose(struct buf *out, const struct session_propose *r)
{
    struct session_message m = {.kind = SESSION_PROPOSE, .propose = *r};

    assert_int_equal(session_encode(&m, out), 0);
    for (uint32_t i = 0; i < r->count; i++) {
        uint8_t number[4];

        put_le32(number, i + 1);
        buf_append(out, number, sizeof number);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        uint8_t *image = buf_room(out, r->page_size);

        assert_non_null(image);
        memset(image, (int)(i + 1), r->page_size);
        buf_added(out, r->page_size);
    }
}

static void a_hello_comes_back(void **state)
{
    struct session_message m = {
        .kind = SESSION_HELLO,
        .hello = {.dev = 1ull << 40, .inode = 99, .pid = 4711, .empty = true}};
    struct session_message back = pass(*state, &m);

    assert_int_equal(back.hello.dev, 1ull << 40);
    assert_int_equal(back.hello.inode, 99);
    assert_int_equal(back.hello.pid, 4711);
    assert_true(back.hello.empty);
}

static void a_welcome_comes_back(void **state)
{
    struct session_message m = {.kind = SESSION_WELCOME,
                                .welcome = {.node = 3,
                                            .page_size = 65536,
                                            .offer_ms = 5,
                                            .replica = true,
                                            .session = 77,
                                            .start = 0x1122334455667788}};
    struct session_message back = pass(*state, &m);

    assert_int_equal(back.welcome.node, 3);
    assert_int_equal(back.welcome.page_size, 65536);
    assert_int_equal(back.welcome.offer_ms, 5);
    assert_true(back.welcome.replica);
    assert_int_equal(back.welcome.session, 77);
    assert_int_equal(back.welcome.start, 0x1122334455667788);
}

static void a_resume_comes_back(void **state)
{
    struct session_message m = {
        .kind = SESSION_RESUME,
        .resume = {.token = {1, 2, 3, 4}, .base = {5, 6}}};
    struct session_message back = pass(*state, &m);

    assert_true(token_equal(&back.resume.token, &m.resume.token));
    assert_true(position_equal(&back.resume.base, &m.resume.base));
}

static void messages_without_content_come_back(void **state)
{
    static const uint8_t kinds[] = {
        SESSION_LOCK,   SESSION_PARK,  SESSION_STATUS,   SESSION_POSITION,
        SESSION_PARKED, SESSION_OFFER, SESSION_CONFLICT, SESSION_UNKNOWN};

    for (size_t i = 0; i < sizeof kinds; i++) {
        struct session_message m = {.kind = kinds[i]};

        buf_reset(*state);
        pass(*state, &m);
    }
}

static void positions_come_back(void **state)
{
    static const uint8_t kinds[] = {SESSION_GRANT, SESSION_COMMITTED};

    for (size_t i = 0; i < sizeof kinds; i++) {
        struct session_message m = {.kind = kinds[i],
                                    .position = {17, UINT64_MAX - 1}};
        struct session_message back;

        buf_reset(*state);
        back = pass(*state, &m);
        assert_true(position_equal(&back.position, &m.position));
    }
}

static void an_unlock_comes_back(void **state)
{
    struct session_message m = {
        .kind = SESSION_UNLOCK,
        .unlock = {.kind = UNLOCK_PUBLISHED,
                   .state = {.salt = {1, 2, 3, 4, 5, 6, 7, 8},
                             .frame = 42,
                             .cksum = {0xdeadbeef, 7}}}};
    struct session_message back = pass(*state, &m);

    assert_int_equal(back.unlock.kind, UNLOCK_PUBLISHED);
    assert_memory_equal(&back.unlock.state, &m.unlock.state,
                        sizeof m.unlock.state);
}

static void a_wait_comes_back(void **state)
{
    struct session_message m = {.kind = SESSION_WAIT, .wait = {1ull << 50, 20}};
    struct session_message back = pass(*state, &m);

    assert_int_equal(back.wait.txid, 1ull << 50);
    assert_int_equal(back.wait.timeout_ms, 20);
}

static void refusals_bring_reason_and_text(void **state)
{
    static const uint8_t kinds[] = {SESSION_REFUSED, SESSION_FAILED};

    for (size_t i = 0; i < sizeof kinds; i++) {
        struct session_message m = {.kind = kinds[i],
                                    .refused = {REASON_FULL, "no room", 7}};
        struct session_message back;

        buf_reset(*state);
        back = pass(*state, &m);
        assert_int_equal(back.refused.reason, REASON_FULL);
        assert_int_equal(back.refused.len, 7);
        assert_memory_equal(back.refused.text, "no room", 7);
    }
}

static void a_text_is_cut_at_its_maximum(void **state)
{
    static char text[TEXT_MAX + 1];
    struct session_message m = {.kind = SESSION_TEXT,
                                .text = {true, text, TEXT_MAX}};
    struct session_message back;

    memset(text, 'x', sizeof text);
    back = pass(*state, &m);
    assert_true(back.text.ok);
    assert_int_equal(back.text.len, TEXT_MAX);
    buf_reset(*state);
    m.text.len = TEXT_MAX + 1;
    back = pass(*state, &m);
    assert_int_equal(back.text.len, TEXT_MAX);
}

static void a_text_above_its_maximum_is_refused(void **state)
{
    static char text[TEXT_MAX];
    struct session_message m = {.kind = SESSION_TEXT,
                                .text = {true, text, TEXT_MAX}};
    struct buf *out = *state;

    session_encode(&m, out);
    buf_append(out, "y", 1);
    put_le32(out->data, 4 + TEXT_MAX + 1);
    assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
    assert_int_equal(session_length(out->data), 0);
}

static void pages_are_where_the_decoder_says(void **state)
{
    struct session_propose r = {
        .page_size = 512, .db_pages = 9, .count = 3, .last = true};
    struct buf *out = *state;
    struct session_message back;
    size_t used;

    propose(out, &r);
    assert_int_equal(session_decode(out->data, out->len, &back, &used), 0);
    assert_int_equal(used, out->len);
    assert_int_equal(back.propose.page_size, 512);
    assert_int_equal(back.propose.db_pages, 9);
    assert_int_equal(back.propose.count, 3);
    assert_true(back.propose.last);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(get_le32(back.propose.numbers + (size_t)4 * i), i + 1);
        assert_int_equal(back.propose.images[512 * i], i + 1);
        assert_int_equal(back.propose.images[512 * i + 511], i + 1);
    }
}

static void the_largest_part_fits_and_one_page_more_does_not(void **state)
{
    struct session_propose r = {.page_size = 512,
                                .count = PART_BYTES_MAX / 512,
                                .number = TXN_PARTS_MAX - 1};
    struct buf *out = *state;

    propose(out, &r);
    assert_int_equal(decode(out->data, out->len), 0);
    buf_reset(out);
    r.count++;
    propose(out, &r);
    assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
    buf_reset(out);
    r.count = 1;
    r.number = TXN_PARTS_MAX;
    propose(out, &r);
    assert_int_equal(decode(out->data, out->len), ERR_TOO_BIG);
}

static void a_propose_must_agree_with_itself(void **state)
{
    static const struct session_propose bad[] = {
        {.page_size = 511, .db_pages = 1, .count = 1, .last = true},
        {.page_size = 256, .db_pages = 1, .count = 1, .last = true},
        {.page_size = 131072, .db_pages = 1, .count = 1, .last = true},
        {.page_size = 0, .db_pages = 1, .count = 0, .last = true},
        {.page_size = 512, .db_pages = 0, .count = 1, .last = true},
        {.page_size = 512, .db_pages = UINT32_MAX, .count = 1, .last = true},
        {.page_size = 512, .db_pages = 1, .count = 1, .last = false},
        {.page_size = 512, .db_pages = 0, .count = 0, .last = false},
    };
    struct buf *out = *state;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_reset(out);
        propose(out, &bad[i]);
        assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    }
}

static void page_numbers_count_from_one(void **state)
{
    struct session_propose r = {
        .page_size = 512, .db_pages = 2, .count = 2, .last = true};
    struct buf *out = *state;
    uint8_t *second;

    propose(out, &r);
    second = out->data + SESSION_HEADER_BYTES + 28 + 4;
    put_le32(second, 0);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    put_le32(second, 0xffffffff);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    put_le32(second, 0xfffffffe);
    assert_int_equal(decode(out->data, out->len), 0);
}

static void a_message_above_the_maximum_is_not_encoded(void **state)
{
    struct session_message m = {
        .kind = SESSION_PROPOSE,
        .propose = {.page_size = 65536, .count = UINT32_MAX}};

    assert_int_equal(session_encode(&m, *state), ERR_TOO_BIG);
}

static void an_unknown_kind_is_not_encoded(void **state)
{
    struct session_message m = {.kind = SESSION_TEXT + 1};

    assert_int_equal(session_encode(&m, *state), ERR_CORRUPT);
}

/* Each of these differs from an acceptable header in one field. */
static void headers_are_refused_before_the_payload_is_there(void **state)
{
    static const struct {
        uint32_t len;
        uint8_t version, kind, zero;
        int code;
    } cases[] = {
        {0, SESSION_VERSION, SESSION_LOCK, 0, 0},
        {0, SESSION_VERSION + 1, SESSION_LOCK, 0, ERR_VERSION},
        {0, 0, SESSION_LOCK, 0, ERR_VERSION},
        {0, SESSION_VERSION, 0, 0, ERR_CORRUPT},
        {0, SESSION_VERSION, SESSION_WAIT + 1, 0, ERR_CORRUPT},
        {0, SESSION_VERSION, SESSION_TEXT + 1, 0, ERR_CORRUPT},
        {0, SESSION_VERSION, 255, 0, ERR_CORRUPT},
        {0, SESSION_VERSION, SESSION_LOCK, 1, ERR_CORRUPT},
        {1, SESSION_VERSION, SESSION_LOCK, 0, ERR_TOO_BIG},
        {23, SESSION_VERSION, SESSION_HELLO, 0, ERR_CORRUPT},
        {24, SESSION_VERSION, SESSION_HELLO, 0, ERR_SHORT},
        {25, SESSION_VERSION, SESSION_HELLO, 0, ERR_TOO_BIG},
        {SESSION_BYTES_MAX, SESSION_VERSION, SESSION_PROPOSE, 0, ERR_SHORT},
        {SESSION_BYTES_MAX + 1, SESSION_VERSION, SESSION_PROPOSE, 0,
         ERR_TOO_BIG},
        {UINT32_MAX, SESSION_VERSION, SESSION_PROPOSE, 0, ERR_TOO_BIG},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t header[SESSION_HEADER_BYTES] = {0};
        bool good = cases[i].code == 0 || cases[i].code == ERR_SHORT;

        put_le32(header, cases[i].len);
        header[4] = cases[i].version;
        header[5] = cases[i].kind;
        header[7] = cases[i].zero;
        assert_int_equal(decode(header, sizeof header), cases[i].code);
        assert_int_equal(session_length(header),
                         good ? SESSION_HEADER_BYTES + cases[i].len : 0);
    }
}

static void reserved_values_are_refused(void **state)
{
    struct session_message hello = {.kind = SESSION_HELLO};
    struct session_message welcome = {.kind = SESSION_WELCOME};
    struct session_message unlock = {.kind = SESSION_UNLOCK,
                                     .unlock = {.kind = UNLOCK_PUBLISHED + 1}};
    struct session_message refused = {.kind = SESSION_REFUSED};
    struct buf *out = *state;

    session_encode(&hello, out);
    out->data[out->len - 4] = 2; /* neither true nor false */
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    session_encode(&welcome, out);
    out->data[out->len - 16] = 2; /* replica */
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    welcome.welcome.page_size = 1000;
    session_encode(&welcome, out);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    session_encode(&unlock, out);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    session_encode(&refused, out); /* without a reason */
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
    buf_reset(out);
    refused.refused.reason = REASON_IO + 1;
    session_encode(&refused, out);
    assert_int_equal(decode(out->data, out->len), ERR_CORRUPT);
}

static void damaged_messages_are_survived(void **state)
{
    struct session_propose r = {
        .page_size = 512, .db_pages = 2, .count = 1, .last = true};
    struct session_message m[] = {
        {.kind = SESSION_HELLO, .hello = {.dev = 1, .inode = 2, .pid = 3}},
        {.kind = SESSION_WELCOME, .welcome = {.node = 1, .page_size = 4096}},
        {.kind = SESSION_UNLOCK, .unlock = {.kind = UNLOCK_STALE}},
        {.kind = SESSION_WAIT, .wait = {1, 2}},
        {.kind = SESSION_REFUSED, .refused = {REASON_BUSY, "why", 3}},
        {.kind = SESSION_GRANT, .position = {1, 2}},
        {.kind = SESSION_TEXT, .text = {false, "text", 4}},
    };
    struct buf *out = *state;

    for (size_t i = 0; i < sizeof m / sizeof m[0]; i++) {
        buf_reset(out);
        session_encode(&m[i], out);
        mangle(decode, out->data, out->len);
    }
    buf_reset(out);
    propose(out, &r);
    mangle(decode, out->data, out->len);
}

static void outputs_stay_as_they_are_on_failure(void **state)
{
    struct session_message m = {.kind = SESSION_REFUSED};
    struct session_message back = {.kind = 77};
    struct buf *out = *state;
    size_t used = 5;

    session_encode(&m, out);
    assert_int_equal(session_decode(out->data, out->len, &back, &used),
                     ERR_CORRUPT);
    assert_int_equal(back.kind, 77);
    assert_int_equal(used, 5);
}

/* Pins the layout of docs/FORMATS.md: a change needs a new version. */
static void the_bytes_are_the_documented_ones(void **state)
{
    static const uint8_t expected[] = {16, 0, 0, 0, 1, 8, 0, 0, 8, 7, 6, 5,
                                       4,  3, 2, 1, 4, 3, 2, 1, 0, 0, 0, 0};
    struct session_message m = {.kind = SESSION_WAIT,
                                .wait = {0x0102030405060708, 0x01020304}};
    struct buf *out = *state;

    session_encode(&m, out);
    assert_int_equal(out->len, sizeof expected);
    assert_memory_equal(out->data, expected, sizeof expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hello_comes_back),
        TEST(a_welcome_comes_back),
        TEST(a_resume_comes_back),
        TEST(messages_without_content_come_back),
        TEST(positions_come_back),
        TEST(an_unlock_comes_back),
        TEST(a_wait_comes_back),
        TEST(refusals_bring_reason_and_text),
        TEST(a_text_is_cut_at_its_maximum),
        TEST(a_text_above_its_maximum_is_refused),
        TEST(pages_are_where_the_decoder_says),
        TEST(the_largest_part_fits_and_one_page_more_does_not),
        TEST(a_propose_must_agree_with_itself),
        TEST(page_numbers_count_from_one),
        TEST(a_message_above_the_maximum_is_not_encoded),
        TEST(an_unknown_kind_is_not_encoded),
        TEST(headers_are_refused_before_the_payload_is_there),
        TEST(reserved_values_are_refused),
        TEST(damaged_messages_are_survived),
        TEST(outputs_stay_as_they_are_on_failure),
        TEST(the_bytes_are_the_documented_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
