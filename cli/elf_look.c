/* Offsets and sizes come from the file: each is checked before it is used. */
#include "cli/elf_look.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NATIVE_MACHINE EM_AARCH64
#else
#define NATIVE_MACHINE EM_NONE
#endif

struct bytes {
    const uint8_t *data;
    size_t len;
};

/* `count` things of `size` at `offset`, aligned for them; NULL: not there. */
static const void *part(const struct bytes *b, uint64_t offset, uint64_t count,
                        uint64_t size)
{
    if (offset > b->len || offset % 8 != 0 ||
        (size != 0 && count > (b->len - offset) / size)) {
        return NULL;
    }
    return b->data + offset;
}

/* Is the text in it, whatever follows? It comes in two halves: whoever looks
 * for a text has it, and this program holds no SQLite. */
static bool has(const struct bytes *b, const char *begin, const char *end)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s%s", begin, end);

    return memmem(b->data, b->len, text, (size_t)len) != NULL;
}

static void read_loader(const struct bytes *b, const Elf64_Ehdr *h,
                        struct elf_look *out)
{
    const Elf64_Phdr *p = part(b, h->e_phoff, h->e_phnum, sizeof *p);

    for (unsigned i = 0; p != NULL && i < h->e_phnum; i++) {
        if (p[i].p_type == PT_INTERP && p[i].p_offset < b->len &&
            p[i].p_filesz <= b->len - p[i].p_offset &&
            p[i].p_filesz < sizeof out->interp) {
            memcpy(out->interp, b->data + p[i].p_offset, p[i].p_filesz);
        }
    }
}

static void note_symbol(const Elf64_Sym *s, const char *names, uint64_t size,
                        struct elf_look *out)
{
    static const char prefix[] = "sqlite3_open";

    if (s->st_name >= size || size - s->st_name < sizeof prefix ||
        strncmp(names + s->st_name, prefix, sizeof prefix - 1) != 0) {
        return;
    }
    if (s->st_shndx == SHN_UNDEF) {
        out->imports = true;
    } else {
        out->exports = true;
    }
}

static void read_symbols(const struct bytes *b, const Elf64_Ehdr *h,
                         struct elf_look *out)
{
    const Elf64_Shdr *s = part(b, h->e_shoff, h->e_shnum, sizeof *s);

    for (unsigned i = 0; s != NULL && i < h->e_shnum; i++) {
        uint64_t n = s[i].sh_size / sizeof(Elf64_Sym);
        const Elf64_Sym *symbols;
        const Elf64_Shdr *names;
        if (s[i].sh_type != SHT_DYNSYM || s[i].sh_link >= h->e_shnum) {
            continue;
        }
        names = &s[s[i].sh_link];
        symbols = part(b, s[i].sh_offset, n, sizeof *symbols);
        if (symbols == NULL || names->sh_offset > b->len ||
            names->sh_size > b->len - names->sh_offset) {
            continue;
        }
        for (uint64_t k = 0; k < n; k++) {
            note_symbol(&symbols[k], (const char *)b->data + names->sh_offset,
                        names->sh_size, out);
        }
    }
}

static void look(const struct bytes *b, struct elf_look *out)
{
    const Elf64_Ehdr *h = (const void *)b->data;

    if (b->len < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0) {
        return;
    }
    out->elf = true;
    out->bits = h->e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
    out->native = out->bits == 64 && h->e_ident[EI_DATA] == ELFDATA2LSB &&
                  h->e_machine == NATIVE_MACHINE;
    /* The head of every database, and a table that only SQLite makes. */
    out->holds = has(b, "SQLite ", "format 3") &&
                 has(b, "sqlite_seq", "uence(name,seq)");
    out->names = has(b, "libsqlite3", ".so");
    if (out->native) {
        read_loader(b, h, out);
        read_symbols(b, h, out);
    }
}

int elf_look(const char *path, struct elf_look *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
    struct bytes b = {NULL, 0};
    struct stat st;

    memset(out, 0, sizeof *out);
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) != 0) {
        err = -errno;
    } else if (!S_ISREG(st.st_mode)) {
        err = -EINVAL;
    } else if (st.st_size > 0) {
        void *map =
            mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        err = map == MAP_FAILED ? -errno : 0;
        if (err == 0) {
            b = (struct bytes){map, (size_t)st.st_size};
            look(&b, out);
            munmap(map, (size_t)st.st_size);
        }
    }
    close(fd);
    return err;
}
