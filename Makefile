# Marmot: build, tests, checks. `make help` lists the targets.

BUILD   ?= build
CC      ?= gcc
PREFIX  ?= /usr/local
PKGS    := sqlite3 libuv raft msgpack libxxhash liblz4 libmicrohttpd jansson libcurl

WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes \
           -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2
OPT     ?= -O2
CFLAGS  += -std=gnu11 -g $(OPT) $(WARN) -fvisibility=hidden -fPIC \
           -D_GNU_SOURCE -DXXH_INLINE_ALL -I. -MMD -MP $(SANITIZE) \
           $(FAILPOINTS) $(shell pkg-config --cflags $(PKGS))
LDFLAGS += $(SANITIZE)
LIBS    := -Wl,--as-needed $(shell pkg-config --libs sqlite3 libuv raft liblz4 \
           libmicrohttpd jansson libcurl) -lpthread -ldl

# vfs/ holds two link lists that share the WAL format and the slot: guests (in other
# people's processes; need only libc) and the node's part.
VFS_SHARED := $(wildcard vfs/wal_format.c vfs/slot_word.c)
VFS_GUEST  := $(wildcard vfs/guest_*.c)
VFS_NODE   := $(filter-out $(VFS_SHARED) $(VFS_GUEST),$(wildcard vfs/*.c))

BASE      := $(wildcard base/*.c)
WIRE      := $(wildcard wire/*.c)
CONSENSUS := $(wildcard consensus/*.c)
PANE      := $(wildcard pane/*.c)
CLI       := $(wildcard cli/*.c)
NODE      := $(filter-out node/main.c,$(wildcard node/*.c))
SHIM      := $(wildcard shim/*.c)
GUEST     := base/buf.c base/err.c base/failpoint.c wire/session.c $(VFS_SHARED) $(VFS_GUEST)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
# Guests reach SQLite through the program's own copy (sqlite3ext.h).
ext = $(patsubst %.c,$(BUILD)/ext/%.o,$(1))

PRODUCTS := $(BUILD)/marmot $(BUILD)/libmarmot.so $(BUILD)/libmarmot-preload.so

all: $(PRODUCTS)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/ext/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DMARMOT_EXTENSION -c -o $@ $<

# The dashboard, as an array of bytes.
$(BUILD)/obj/pane/page_html.c: pane/page.html scripts/embed
	@mkdir -p $(@D)
	scripts/embed $< page_html '"pane/page.h"' >$@

$(BUILD)/obj/pane/page_html.o: $(BUILD)/obj/pane/page_html.c
	$(CC) $(CFLAGS) -c -o $@ $<

# One archive a layer; a test links only the layers below its folder.
$(BUILD)/base.a: $(call obj,$(BASE))
$(BUILD)/wire.a: $(call obj,$(WIRE))
$(BUILD)/vfs.a: $(call obj,$(VFS_SHARED) $(VFS_GUEST) $(VFS_NODE))
$(BUILD)/consensus.a: $(call obj,$(CONSENSUS))
$(BUILD)/node.a: $(call obj,$(NODE))
$(BUILD)/pane.a: $(call obj,$(PANE)) $(BUILD)/obj/pane/page_html.o
$(BUILD)/cli.a: $(call obj,$(CLI))
$(BUILD)/%.a:
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

# The node never links the guest's objects.
NODE_OBJECTS = $(call obj,node/main.c $(NODE) $(PANE) $(CLI) $(CONSENSUS) \
               $(VFS_SHARED) $(VFS_NODE) $(WIRE) $(BASE)) \
               $(BUILD)/obj/pane/page_html.o

$(BUILD)/marmot: $(NODE_OBJECTS)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libmarmot.so: $(call ext,$(GUEST)) vfs/libmarmot.map
	$(CC) $(LDFLAGS) -shared -Wl,--version-script=vfs/libmarmot.map \
	    -Wl,--no-undefined -Wl,-z,nodelete -o $@ $(filter %.o,$^) -lpthread

$(BUILD)/libmarmot-preload.so: $(call ext,$(SHIM)) shim/preload.map
	$(CC) $(LDFLAGS) -shared -Wl,--version-script=shim/preload.map \
	    -Wl,--no-undefined -o $@ $(filter %.o,$^) -ldl -lpthread

# ---- tests ---------------------------------------------------------------
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*/test_*.c))
CLUSTER := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/cluster/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
SUPPORT := $(wildcard tests/support/*.c)

UP_base      := base
UP_wire      := wire base
UP_vfs       := vfs wire base
UP_consensus := consensus wire base
UP_pane      := pane base
UP_cli       := cli wire base
UP_node      := node pane cli consensus vfs wire base
UP_cluster   := node pane consensus vfs wire base
UP_bench     := bench base

.SECONDEXPANSION:
layer = $(firstword $(subst /, ,$(1)))
archives = $(foreach a,$(UP_$(call layer,$(1))),$(BUILD)/$(a).a)

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(call obj,$(SUPPORT)) $$(call archives,$$*)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

# The simulation stands in, at the link, for libuv's calls, the store, the
# transport and the files: its objects come before the archives.
CLUSTER_WORLD := $(filter-out tests/cluster/test_% tests/cluster/sim.c,$(wildcard tests/cluster/*.c))
CLUSTER_WRAP := -Wl,--wrap=uuid_random,--wrap=slot_session_lives,--wrap=clock_gettime

$(BUILD)/tests/cluster/%: $(BUILD)/obj/tests/cluster/%.o $(call obj,$(CLUSTER_WORLD) $(SUPPORT)) $$(call archives,cluster)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(CLUSTER_WRAP) -o $@ $^ $(LIBS) -lcmocka

cluster: $(CLUSTER) $(BUILD)/tests/cluster/sim

unit: $(UNIT) $(CLUSTER)

test: all unit failpoint-build
	scripts/run-tests unit $(UNIT) $(CLUSTER)
	scripts/run-tests e2e
	scripts/run-tests faults

# Nodes, clients and networks that fail for MINUTES (30).
soak: all failpoint-build cluster
	$(BUILD)/tests/cluster/sim 1-1000 --quiet
	MARMOT_KILL_SECONDS=60 scripts/run-tests e2e RandomKills
	scripts/soak $(MINUTES)

# Power cuts: under the files of a copy and of the log in one process, CUTS of
# them each, and 20 under whole nodes (root, nbdkit, nbdfuse).
CUTS ?= 500
POWER := $(BUILD)/tests/node/test_power_cuts $(BUILD)/tests/consensus/test_store_power
power: all $(POWER)
	for test in $(POWER); do MARMOT_POWER_CUTS=$(CUTS) timeout 600 $$test || exit 1; done
	scripts/run-tests power

# Nodes with failpoints and sanitizers, applications as they are.
asan-faults: failpoint-build
	$(MAKE) BUILD=build/asan-faults OPT=-O1 FAILPOINTS=-DMARMOT_FAILPOINTS SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" build/asan-faults/marmot
	cp build/failpoints/*.so build/asan-faults/
	MARMOT_FAILPOINTS=build/asan-faults scripts/run-tests e2e test_crash_rows test_random_kills

# A test asks for more memory than there is, on purpose.
asan: export ASAN_OPTIONS := allocator_may_return_null=1
asan:
	$(MAKE) BUILD=build/asan OPT=-O1 SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" unit
	scripts/run-tests asan $(subst $(BUILD)/,build/asan/,$(UNIT) $(CLUSTER))

tsan:
	$(MAKE) BUILD=build/tsan OPT=-O1 SANITIZE=-fsanitize=thread unit
	scripts/run-tests tsan $(subst $(BUILD)/,build/tsan/,$(UNIT) $(CLUSTER))

# Products in which a test can make a process die at a chosen point.
failpoint-build:
	$(MAKE) BUILD=build/failpoints FAILPOINTS=-DMARMOT_FAILPOINTS all

# The points, and what each means.
failpoints:
	@scripts/failpoints

# The protocol, with each of its rules and without each: needs spin.
model:
	scripts/run-tests model

# A libFuzzer program a decoder, over the layers below and with sanitizers.
FUZZ_SECONDS ?= 60
$(BUILD)/fuzz/%: tests/fuzz/%.c $(BASE) $(WIRE) pane/access.c pane/route.c
	@mkdir -p $(@D)
	clang-14 $(filter-out -MMD -MP,$(CFLAGS)) -Wno-everything -O1 \
	    -fsanitize=fuzzer,address,undefined -o $@ $^ \
	    $(shell pkg-config --libs raft liblz4)

fuzz: $(FUZZ)
	scripts/run-fuzz $(FUZZ_SECONDS) $(FUZZ)

# ---- bench -----------------------------------------------------------------
BENCH_PARTS := tests/bench/dqlite_node.c tests/bench/probe.c
BENCH_MAIN  := $(filter-out $(BENCH_PARTS),$(wildcard tests/bench/*.c))
# What its unit test looks at.
BENCH_PURE  := $(addprefix tests/bench/,stats.c results.c goals.c options.c)
# dqlite is a peer to compare with, where libdqlite-dev is installed.
BENCH_DQLITE := $(if $(shell pkg-config --exists dqlite && echo y),$(BUILD)/bench/dqlite_node)
BENCH := $(BUILD)/bench/marmot-bench $(BUILD)/bench/libprobe.so $(BENCH_DQLITE)

$(BUILD)/bench.a: $(call obj,$(BENCH_PURE))

$(BUILD)/bench/marmot-bench: $(call obj,$(BENCH_MAIN)) $(BUILD)/base.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs sqlite3)

$(BUILD)/bench/libprobe.so: $(call obj,tests/bench/probe.c)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -o $@ $^ -ldl

$(BUILD)/bench/dqlite_node: $(call obj,tests/bench/dqlite_node.c tests/bench/bytes_io.c)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs dqlite)

# A short version in a few minutes; all of it in BENCH.
bench: all $(BENCH)
	scripts/bench

bench-full: all $(BENCH)
	scripts/bench -full

# ---- checks ----------------------------------------------------------------
C_FILES := $(wildcard */*.c */*.h tests/*/*.c tests/*/*.h tests/unit/*/*.c)

format:
	clang-format-14 -i $(C_FILES)

lint:
	scripts/check-layers
	scripts/check-lengths $(C_FILES)
	clang-format-14 --dry-run --Werror $(C_FILES)
	shellcheck $(filter-out scripts/bench-report,$(wildcard scripts/*)) .ci/run
	cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
	    --suppress=missingIncludeSystem --error-exitcode=1 -I. \
	    base wire vfs consensus pane cli node shim
	scripts/tidy $(filter-out $(if $(BENCH_DQLITE),,tests/bench/dqlite_node.c),$(C_FILES))

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib
	install $(BUILD)/marmot $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(BUILD)/libmarmot.so $(BUILD)/libmarmot-preload.so \
	    $(DESTDIR)$(PREFIX)/lib/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/marmot \
	    $(DESTDIR)$(PREFIX)/lib/libmarmot.so \
	    $(DESTDIR)$(PREFIX)/lib/libmarmot-preload.so

clean:
	rm -rf build

help:
	@echo "all        build/marmot, build/libmarmot.so, build/libmarmot-preload.so"
	@echo "test       unit, cluster and e2e tests, a short run with faults"
	@echo "soak       MINUTES=30 of faults under load, and what became of the data"
	@echo "cluster    build/tests/cluster/sim: whole clusters in one process"
	@echo "power      CUTS=500 power cuts in one process, 20 on real file systems"
	@echo "asan tsan  unit and cluster tests under sanitizers"
	@echo "asan-faults  nodes that die and fail at chosen points, under sanitizers"
	@echo "failpoints where a test can make a process die; failpoint-build: for that"
	@echo "model      the protocol in spin: with its rules it holds, without one not"
	@echo "fuzz       every decoder under libFuzzer, FUZZ_SECONDS=60 each"
	@echo "bench      commits and reads against plain SQLite, as ratios;"
	@echo "bench-full all of it: half an hour on a quiet machine"
	@echo "format lint install uninstall clean"

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all unit cluster test soak power asan-faults model failpoint-build failpoints asan tsan fuzz bench bench-full format lint install uninstall clean help
.SECONDARY:
