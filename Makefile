# subrelay: build, test, run, install. GNU make.
#
#   make                 build/subrelay                 make run        the daemon, for a look
#   make test            every test                     make bench      what it can do on this machine
#   make test SANITIZER=address|undefined|thread|address,undefined
#   make simulate SEEDS=1-10000   (SEEDS==7: one)    make fuzz TIME=60
#   make run-valgrind                                make run-threads SANITIZER=thread
#   make lint format format-check                       make install DESTDIR= PREFIX=
#   V=1 shows the commands; WERROR=1 makes warnings errors; CC=clang works too

VERSION := 0.1.0
CC ?= cc
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SANITIZER ?=
BUILD ?= build$(if $(SANITIZER),/$(subst $(comma),-,$(SANITIZER)))
comma := ,

PKGS := libmicrohttpd libcurl jansson sqlite3 openssl inih
# libsystemd is optional: without it there is no readiness message, watchdog or passed socket.
HAVE_SYSTEMD := $(shell pkg-config --exists libsystemd 2>/dev/null && echo 1)
PKGS += $(if $(HAVE_SYSTEMD),libsystemd)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wconversion -Wformat=2 -Wundef -Wwrite-strings -Wpointer-arith -Wcast-qual -Wvla \
	-Wno-sign-conversion $(if $(WERROR),-Werror)
OPTIMISE ?= $(if $(SANITIZER),-O1,-O2) -g
CFLAGS ?=
override CFLAGS += -std=c11 $(OPTIMISE) $(WARNINGS) -fno-omit-frame-pointer -fstack-protector-strong \
	-pthread $(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2)
override CPPFLAGS += -D_GNU_SOURCE -Iinclude -Isrc -DSUBRELAY_VERSION='"$(VERSION)"' \
	$(if $(HAVE_SYSTEMD),-DHAVE_SYSTEMD=1) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
override LDFLAGS += -pthread -Wl,-z,relro,-z,now $(if $(SANITIZER),-fsanitize=$(SANITIZER))
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

SOURCES := $(shell find src -name '*.c' | LC_ALL=C sort)
HEADERS := $(shell find include src tests -name '*.h' | LC_ALL=C sort)
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o)
LIBRARY := $(BUILD)/libsubrelay.a
PROGRAM := $(BUILD)/subrelay

# Tests that are C programs of their own: one cmocka binary a file.
TEST_SOURCES := $(shell find tests/unit tests/contract tests/scenario tests/faults -name 'test_*.c' 2>/dev/null | LC_ALL=C sort)
TEST_PROGRAMS := $(TEST_SOURCES:%.c=$(BUILD)/%)
SUPPORT_SOURCES := $(filter-out %_main.c,$(shell find tests/support -name '*.c' 2>/dev/null | LC_ALL=C sort))
SUPPORT_OBJECTS := $(SUPPORT_SOURCES:%.c=$(BUILD)/obj/%.o)
# The simulation is one program out of many files.
SIMULATION_SOURCES := $(shell find tests/simulation -name '*.c' 2>/dev/null | LC_ALL=C sort)
SIMULATE := $(if $(SIMULATION_SOURCES),$(BUILD)/tests/simulation/simulate)
# Programs that the tests and the bench start: the Intercom stand-in and the load generator.
TOOL_SOURCES := $(shell find tests/support tests/bench -name '*_main.c' 2>/dev/null | LC_ALL=C sort)
TOOLS := $(patsubst %_main.c,$(BUILD)/%,$(TOOL_SOURCES))

all: $(PROGRAM)

$(PROGRAM): $(BUILD)/obj/src/main.o $(LIBRARY)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(LIBRARY): $(filter-out $(BUILD)/obj/src/main.o,$(OBJECTS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.c Makefile
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(if $(filter tests/%,$<),-Itests) -MMD -MP -c -o $@ $<

$(TEST_PROGRAMS): $(BUILD)/%: $(BUILD)/obj/%.o $(SUPPORT_OBJECTS) $(LIBRARY)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

$(TOOLS): $(BUILD)/%: $(BUILD)/obj/%_main.o $(SUPPORT_OBJECTS) $(LIBRARY)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

$(SIMULATE): $(SIMULATION_SOURCES:%.c=$(BUILD)/obj/%.o) $(SUPPORT_OBJECTS) $(LIBRARY)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# What a fresh Debian or Ubuntu machine needs; elsewhere the names are printed.
DEB_BUILD := gcc make pkg-config libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libsqlite3-dev \
	libssl-dev libinih-dev libsystemd-dev uthash-dev
DEB_TEST := libcmocka-dev python3 openssl
DEB_CHECK := clang clang-format clang-tidy cppcheck mandoc systemd valgrind
DEB_FUZZ := clang llvm libclang-rt-dev

deps:
	$(Q)tests/support/deps.sh $(DEB_BUILD)
# The line that `make run` prints to try is a curl.
deps-run:
	$(Q)tests/support/deps.sh $(DEB_BUILD) curl
deps-test:
	$(Q)tests/support/deps.sh $(DEB_BUILD) $(DEB_TEST)
deps-check:
	$(Q)tests/support/deps.sh $(DEB_BUILD) $(DEB_TEST) $(DEB_CHECK)
deps-fuzz:
	$(Q)tests/support/deps.sh $(DEB_BUILD) $(DEB_FUZZ)

# The rest is a second make, so that pkg-config is asked after the packages are there.
run: deps-run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/support/run.sh $(PROGRAM)

test: deps-test
	$(Q)$(MAKE) --no-print-directory run-tests

tests: $(PROGRAM) $(TEST_PROGRAMS) $(TOOLS) $(SIMULATE)
run-tests: tests
	$(Q)tests/run.sh $(BUILD)

# Integration tests with daemon and commands under valgrind (VALGRIND_TESTS=integration/ takes all of
# them, crowds and long pauses included, and half an hour), and with SANITIZER=thread. No suppressions.
VALGRIND_TESTS := test_relay test_http test_crash test_lifecycle
VALGRIND := valgrind -q --leak-check=full --show-leak-kinds=definite,indirect,possible \
	--errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99
run-valgrind: $(PROGRAM) $(TOOLS)
	$(Q)SUBRELAY_UNDER='$(VALGRIND)' SUBRELAY_PATIENCE=8 TEST="$(VALGRIND_TESTS)" tests/run.sh $(BUILD)
run-threads: $(PROGRAM) $(TOOLS)
	$(Q)SUBRELAY_PATIENCE=4 TEST=integration/ tests/run.sh $(BUILD)

bench: deps-test
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/bench/run.sh $(BUILD)

# SEEDS: how many from 1 on, a range 5-9, or one: =7. JOBS: processes side by side.
SEEDS ?= 1000
JOBS ?= $(shell nproc)
simulate: deps-test
	$(Q)$(MAKE) --no-print-directory $(SIMULATE)
	$(Q)$(SIMULATE) --seeds '$(SEEDS)' --jobs $(JOBS)

-include tests/fuzz/fuzz.mk

CHECKED := $(shell find src include tests -name '*.[ch]' | LC_ALL=C sort)
format:
	$(Q)clang-format -i $(CHECKED)
format-check:
	$(Q)clang-format --dry-run --Werror $(CHECKED)

lint:
	$(Q)tests/support/lint.sh '$(CPPFLAGS) -std=c11 -Itests' $(SOURCES)

print-flags:
	@echo '$(CPPFLAGS) $(CFLAGS)'
print-libs:
	@echo '$(LDFLAGS) $(LIBS)'

# The INI file is readable by the service's short-lived user; secrets go into files of their own, see
# the unit.
install: $(PROGRAM)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(MANDIR)/man5 \
		$(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/subrelay
	install -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/subrelay
	install -m 644 src/man/subrelay.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 644 src/man/subrelay.ini.5 $(DESTDIR)$(MANDIR)/man5/
	sed 's|@BINDIR@|$(BINDIR)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' systemd/subrelay.service \
		> $(DESTDIR)$(UNITDIR)/subrelay.service
	chmod 644 $(DESTDIR)$(UNITDIR)/subrelay.service
	install -m 644 systemd/subrelay.socket $(DESTDIR)$(UNITDIR)/subrelay.socket
	test -e $(DESTDIR)$(SYSCONFDIR)/subrelay/subrelay.ini || \
		install -m 644 config/subrelay.ini $(DESTDIR)$(SYSCONFDIR)/subrelay/subrelay.ini

clean:
	rm -rf build

.PHONY: all deps deps-run deps-test deps-check deps-fuzz run test tests run-tests run-valgrind run-threads \
	bench simulate format format-check lint print-flags print-libs install clean
.DELETE_ON_ERROR:
