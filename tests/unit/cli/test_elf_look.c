/* What the bytes of executables tell, also of broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/elf_look.h"

#define ROUNDS 2000u

struct copy {
    char path[64];
    uint8_t *bytes;
    size_t len;
};

/* Dynamic, and without SQLite. */
static int setup(void **state)
{
    struct copy *c = calloc(1, sizeof *c);
    FILE *f = fopen("/bin/sh", "rb");
    int fd;

    assert_non_null(c);
    assert_non_null(f);
    snprintf(c->path, sizeof c->path, "/tmp/marmot-elf-XXXXXX");
    fd = mkstemp(c->path);
    assert_true(fd >= 0);
    close(fd);
    fseek(f, 0, SEEK_END);
    c->len = (size_t)ftell(f);
    rewind(f);
    c->bytes = malloc(c->len);
    assert_non_null(c->bytes);
    assert_int_equal(fread(c->bytes, 1, c->len, f), c->len);
    fclose(f);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct copy *c = *state;

    unlink(c->path);
    free(c->bytes);
    free(c);
    return 0;
}

static void look_at(struct copy *c, size_t len, struct elf_look *out)
{
    FILE *f = fopen(c->path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(c->bytes, 1, len, f), len);
    fclose(f);
    assert_int_equal(elf_look(c->path, out), 0);
}

static void a_program_has_its_loader(void **state)
{
    struct elf_look e;

    look_at(*state, ((struct copy *)*state)->len, &e);
    assert_true(e.elf);
    assert_true(e.native);
    assert_int_equal(e.bits, 64);
    assert_memory_equal(e.interp, "/lib", 4);
    assert_false(e.holds);
    assert_false(e.exports);
}

static void another_class_is_not_native(void **state)
{
    struct copy *c = *state;
    struct elf_look e;

    c->bytes[EI_CLASS] = ELFCLASS32;
    look_at(c, c->len, &e);
    assert_true(e.elf);
    assert_false(e.native);
    assert_int_equal(e.bits, 32);
    assert_string_equal(e.interp, "");
}

static void the_text_of_sqlite_is_seen(void **state)
{
    struct copy *c = *state;
    struct elf_look e;

    memcpy(c->bytes + c->len / 2, "SQLite format 3", 16);
    look_at(c, c->len, &e);
    assert_false(e.holds); /* others read its files, too */
    memcpy(c->bytes + c->len / 2 + 100, "sqlite_sequence(name,seq)", 25);
    look_at(c, c->len, &e);
    assert_true(e.holds);
}

static void no_elf_file_is_no_error(void **state)
{
    struct copy *c = *state;
    struct elf_look e;

    for (size_t len = 0; len < sizeof(Elf64_Ehdr); len++) {
        look_at(c, len, &e);
        assert_false(e.elf);
    }
    c->bytes[1] = 'X';
    look_at(c, c->len, &e);
    assert_false(e.elf);
}

static void what_cannot_be_read_is_an_error(void **state)
{
    struct elf_look e;

    (void)state;
    assert_int_equal(elf_look("/nonexistent/file", &e), -ENOENT);
    assert_int_equal(elf_look("/tmp", &e), -EINVAL);
}

/* Numbers that look random, the same in every run. */
static size_t any(size_t below)
{
    static uint64_t seed = 7;

    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % below;
}

/* Nothing is read outside the file: a sanitizer or the kernel would tell. */
static void contradictions_are_survived(void **state)
{
    struct copy *c = *state;
    struct elf_look e;
    const Elf64_Ehdr *h = (const void *)c->bytes;
    size_t sections = h->e_shoff;

    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t at = i % 2 == 0 ? any(1024) : sections + any(c->len - sections);
        uint8_t before = c->bytes[at];
        size_t len = i % 3 == 0 ? any(c->len) : c->len;
        c->bytes[at] = (uint8_t)any(256);
        look_at(c, len, &e);
        assert_true(strlen(e.interp) < ELF_INTERP_MAX);
        c->bytes[at] = i % 5 == 0 ? c->bytes[at] : before;
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_program_has_its_loader),        T(another_class_is_not_native),
        T(the_text_of_sqlite_is_seen),      T(no_elf_file_is_no_error),
        T(what_cannot_be_read_is_an_error), T(contradictions_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
