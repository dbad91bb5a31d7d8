# Fuzzing: part of the Makefile.
#
#   make fuzz [TIME=60] [TARGET=pace] [JOBS=2]
#
# A target is a file fuzz_NAME.c. It is built twice: by clang with libFuzzer and the sanitizers from
# the same sources ($(BUILD)/fuzz/NAME, see run.sh), and by $(CC) with replay_main.c into a test that
# only runs what is kept in corpus/NAME, found/NAME and tests/golden/NAME.

FUZZ_CC ?= clang
TIME ?= 60
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SHARED := $(filter-out tests/fuzz/fuzz_% %_main.c,$(wildcard tests/fuzz/*.c))

FUZZ_SANITIZERS := address,undefined
FUZZ_CFLAGS := -std=c11 -O1 -g $(WARNINGS) -fno-omit-frame-pointer -pthread \
	-fsanitize=fuzzer-no-link,$(FUZZ_SANITIZERS) -fno-sanitize-recover=all
FUZZ_OBJ := $(BUILD)/fuzz/obj
FUZZ_LIBRARY := $(BUILD)/fuzz/libsubrelay.a
FUZZ_PROGRAMS := $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)

$(FUZZ_OBJ)/%.o: %.c Makefile tests/fuzz/fuzz.mk
	$(call say,FUZZCC,$<)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_CFLAGS) $(if $(filter tests/%,$<),-Itests) -MMD -MP -c -o $@ $<

$(FUZZ_LIBRARY): $(patsubst %.c,$(FUZZ_OBJ)/%.o,$(filter-out src/main.c,$(SOURCES)) $(FUZZ_SHARED))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(FUZZ_PROGRAMS): $(BUILD)/fuzz/%: $(FUZZ_OBJ)/tests/fuzz/fuzz_%.o $(FUZZ_LIBRARY)
	$(call say,LD,$@)
	$(Q)$(FUZZ_CC) -pthread -fsanitize=fuzzer,$(FUZZ_SANITIZERS) -o $@ $^ $(LIBS)

-include $(shell find $(FUZZ_OBJ) -name '*.d' 2>/dev/null)

fuzz-programs: $(FUZZ_PROGRAMS)
fuzz: deps-fuzz
	$(Q)$(MAKE) --no-print-directory fuzz-programs
	$(Q)tests/fuzz/run.sh $(BUILD)/fuzz $(TIME) $(JOBS) $(if $(TARGET),$(TARGET),$(FUZZ_NAMES))

# What was found stays a test.
FUZZ_REPLAYS := $(FUZZ_NAMES:%=$(BUILD)/tests/fuzz/test_%)
$(FUZZ_REPLAYS): $(BUILD)/tests/fuzz/test_%: $(BUILD)/obj/tests/fuzz/replay_main.o \
		$(BUILD)/obj/tests/fuzz/fuzz_%.o $(FUZZ_SHARED:%.c=$(BUILD)/obj/%.o) $(LIBRARY)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
tests: $(FUZZ_REPLAYS)

.PHONY: fuzz fuzz-programs
