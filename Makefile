# weft - `make help` lists every target and every variable

# == settings ==========================================================================================================
FLAVOR   ?= release## what to build: release debug asan ubsan tsan tiny shake aarch64; goes to build/FLAVOR
CC       ?= cc## the C compiler: gcc or clang
CFLAGS   ?=## flags of yours, after the flavour's own
LDFLAGS  ?=## the same for the linker
PREFIX   ?= /usr/local## where install puts things: include, lib, lib/pkgconfig
LIBDIR   ?= $(PREFIX)/lib## where the libraries go
DESTDIR  ?=## put before each installed path, for packagers
SHARED   ?= yes## no: install libweft.a alone, and let weft.pc name what it needs
TEST     ?=## run only the tests whose path contains this (a shell pattern)
WORKERS  ?= 1 2 4 8## the numbers of workers that tests of the runtime run with, one after the other
DIR      ?= /usr/include## the folder that `make run` indexes
BENCH    ?=## the benchmarks to run; all if empty
V        ?=## 1: show whole command lines

# gcc guesses more than it knows with a sanitizer or -Og in the way; clang does not know the name.
unsure        := -Wno-unknown-warning-option -Wno-maybe-uninitialized
flags_release := -O2 -g
flags_debug   := -Og -g3 -DWEFT_DEBUG $(unsure)
flags_asan    := -O1 -g -fsanitize=address $(unsure)
flags_ubsan   := -O1 -g -fsanitize=undefined -fno-sanitize-recover=all $(unsure)
flags_tsan    := -O1 -g -fsanitize=thread -DWEFT_TSAN $(unsure)
flags_tiny    := -O2 -g -DWEFT_TINY -DWEFT_DEBUG
flags_shake   := -O2 -g -DWEFT_SHAKE
flags_aarch64 := -O2 -g
plain         := release debug tiny shake
flavors       := $(plain) asan ubsan tsan

ifdef FLAVOUR
FLAVOR := $(FLAVOUR)
endif

# == nothing to change below ===========================================================================================
ifeq ($(flags_$(FLAVOR)),)
$(error FLAVOR=$(FLAVOR) is none of: $(flavors) aarch64)
endif
jobs := $(filter -j%,$(MAKEFLAGS))$(filter-out 0,$(MAKELEVEL))
MAKEFLAGS += --no-builtin-rules $(if $(jobs),,-j$(shell nproc))
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:

ARCH := $(shell uname -m)
ifeq ($(FLAVOR),aarch64)
override CC := aarch64-linux-gnu-gcc
ARCH     := aarch64
EMULATOR := qemu-aarch64
static   := -static
endif

floors   := sched timers io runtime
headers  := $(wildcard $(floors:%=%/weft/*.h))
version  := $(shell sed -n 's/^.define WEFT_VERSION "\(.*\)"/\1/p' runtime/weft.h)
soname   := libweft.so.$(firstword $(subst ., ,$(version)))
B        := build/$(FLAVOR)
warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
sanitize := $(filter -fsanitize%,$(flags_$(FLAVOR)))
jemalloc := $(if $(filter $(FLAVOR),$(plain)),-ljemalloc)
cflags   := -std=gnu11 -D_GNU_SOURCE= $(flags_$(FLAVOR)) $(if $(jemalloc),-DWEFT_JEMALLOC) $(warnings) -fno-omit-frame-pointer \
            -fvisibility=hidden -fPIC -ftls-model=initial-exec -pthread -I. $(floors:%=-iquote %) $(CFLAGS)
libs     := $(jemalloc) -pthread
so       := -shared -Wl,-soname,$(soname) -Wl,--version-script=runtime/weft.map $(if $(sanitize),,-Wl,-z,defs)

src      := $(wildcard $(floors:%=%/*.c) $(floors:%=%/*_$(ARCH).S))
obj      := $(patsubst %,$(B)/obj/%.o,$(basename $(src)))
static_l := $(B)/lib/libweft.a
shared_l := $(B)/lib/libweft.so.$(version)
examples := $(patsubst tools/examples/%.c,$(B)/bin/%,$(wildcard tools/examples/*.c))
benches  := $(patsubst tools/bench/%.c,$(B)/bin/%,$(wildcard tools/bench/*.c))
in_build  = $(patsubst %.c,$(B)/%,$(wildcard $(1)))
unit     := $(call in_build,tests/[0-9r]*_*.c)
stress   := $(call in_build,tests/stress/*.c)
cross    := $(call in_build,tests/cross/*.c)
model    := $(call in_build,tests/model/*_model.c)
explorer := $(filter-out %_model.c,$(wildcard tests/model/*.c))
mutants  := $(addprefix $(B)/,$(if $(model),$(shell tools/checks/mutants tests/model/*_model.c)))
fault    := $(if $(filter asan,$(FLAVOR)),SEEDED_OVERRUN)$(if $(filter tsan,$(FLAVOR)),SEEDED_RACE)
seeded   := $(if $(fault),$(addsuffix .$(fault),$(call in_build,$(shell grep -lE '^#.*$(fault)' tests/stress/*.c))))
scripts  := $(wildcard tests/*.sh tests/*/*.sh)

# What `make test` runs: Criterion cannot run under TSAN, and the explorer's programs are the same in every flavour.
tests_release := $(unit) $(model) $(mutants) $(stress) $(scripts)
tests_tsan    := $(stress) $(seeded)
tests_asan    := $(unit) $(stress) $(seeded) $(scripts)
tests_aarch64 := $(cross)
tests    := $(or $(tests_$(FLAVOR)),$(if $(filter tsan aarch64,$(FLAVOR)),,$(unit) $(stress) $(scripts)))
programs := $(examples) $(benches) $(unit) $(stress) $(cross) $(seeded)

# `make run` and its like install what is missing before anything is compiled.
need     := $(firstword $(filter bench,$(MAKECMDGOALS)) $(filter test,$(MAKECMDGOALS)) $(filter run,$(MAKECMDGOALS)))
need     := $(if $(filter aarch64,$(FLAVOR)),$(need:test=cross),$(need))
ready    := $(if $(need),deps)

ifeq ($(V),1)
say = $(2)
else
say = @printf '  %-5s %s\n' '$(1)' '$(@:$(B)/%=%)'; $(2)
endif

.PHONY: all everything libs examples run test check cross bench install uninstall clean fmt help arrows style symbols deps FORCE
all: libs examples $(benches)## the libraries and the programs (default)
everything: all $(filter $(B)/%,$(tests))## and the tests, without running them
libs: $(static_l) $(B)/lib/libweft.so## libweft.a and libweft.so
examples: $(examples)## one program for each tools/examples/*.c, in build/FLAVOR/bin

$(B)/flags: FORCE
	@mkdir -p $(@D); f='$(CC) $(cflags) $(LDFLAGS) $(libs)'; echo "$$f" | cmp -s - $@ || echo "$$f" >$@

$(obj) $(programs) $(model) $(mutants): $(B)/flags Makefile | $(ready)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$(CC) $(cflags) -MMD -MP -c -o $@ $<)
$(B)/obj/%.o: %.S
	@mkdir -p $(@D)
	$(call say,AS,$(CC) $(cflags) -MMD -MP -c -o $@ $<)

$(static_l): $(obj)
	@mkdir -p $(@D); rm -f $@
	$(call say,AR,ar rcs $@ $(obj))
$(shared_l): $(obj) runtime/weft.map
	@mkdir -p $(@D)
	$(call say,LD,$(CC) $(cflags) $(so) $(LDFLAGS) -o $@ $(obj) $(libs))
$(B)/lib/libweft.so: $(shared_l)
	@ln -sf $(<F) $(@D)/$(soname); ln -sf $(soname) $@

.SECONDEXPANSION:
# build and link: FLAGS, SOURCES AND LIBRARIES; link also notes the headers, which it can for one source only.
build = $(call say,LD,$(CC) $(cflags) $(1) $(LDFLAGS) $(static) -o $@ $< $(2) $(libs))
define link
@mkdir -p $(@D) $(dir $(@:$(B)/%=$(B)/obj/%))
$(call build,$(1) -MMD -MP -MF $(@:$(B)/%=$(B)/obj/%.d) -MT $@,$(2) $(static_l))
endef
# A program's further files are in the folder of its name; it sees the library as others do, as <weft.h>.
$(examples): $(B)/bin/%: tools/examples/%.c $$(wildcard tools/examples/$$*/*.[ch]) runtime/weft.h $(headers) $(static_l)
	@mkdir -p $(@D)
	$(call build,-idirafter runtime,$(wildcard tools/examples/$*/*.c) $(static_l))
$(benches): $(B)/bin/%: tools/bench/%.c $(static_l)
	$(call link,-idirafter runtime)
$(unit): $(B)/%: %.c $(static_l)
	$(call link,,-lcriterion)
$(stress) $(cross): $(B)/%: %.c $(static_l)
	$(call link)
$(seeded): $(B)/%.$(fault): %.c $(static_l)
	$(call link,-D$(fault))

# A model program is linked with the explorer and with the rooms that its own text names, at the sizes that it names; a file of
# the explorer stands in for the room of its name.
standin := $(subst $(eval) ,|,$(patsubst tests/model/%.c,/%.c,$(explorer)))
rooms    = $$(grep -oE '(sched|timers|io|runtime)/[a-z_]+\.c' $(1) | grep -vE '($(standin))' | sort -u)
sizes    = $$(grep -oE -- '-D[A-Z_]+=[0-9]+' $(1) | sort -u)
define explore
@mkdir -p $(@D)
$(call say,LD,$(CC) $(filter-out -DWEFT_JEMALLOC,$(cflags)) -DWEFT_MODEL -DWEFT_TINY $(2) -Itests -o $@ $(1) $(explorer) \
    $(call rooms,$(1)) $(call sizes,$(1)) -pthread)
endef
$(model) $(mutants): $(wildcard tests/model/*.[ch] $(floors:%=%/*.[ch]))
$(model): $(B)/%: %.c
	$(call explore,$<)
$(mutants): $(B)/%:
	$(call explore,$(basename $*).c,-D$(patsubst .%,%,$(suffix $*)))

deps:
	@tools/deps $(need)

run: $(B)/bin/index## index the words of the files under DIR
	$(B)/bin/index $(DIR)

test: $(filter $(B)/%,$(tests)) $(if $(filter $(scripts),$(tests)),examples)## build and run the tests of this flavour
	@FLAVOR='$(FLAVOR)' WEFT_BIN='$(CURDIR)/$(B)/bin' EMULATOR='$(EMULATOR)' TEST='$(TEST)' WORKERS='$(WORKERS)' \
	    tools/checks/run-tests $(tests)

check:## run the tests of every flavour
	@for f in $(flavors); do echo "== $$f"; $(MAKE) --no-print-directory FLAVOR=$$f test || exit 1; done

cross:## cross-compile for aarch64 and run tests/cross under qemu
	@$(MAKE) --no-print-directory FLAVOR=aarch64 test

bench: all## the benchmarks, beside those of other runtimes
	@tools/bench/run $(B)/bin $(BENCH)

arrows: $(static_l)## includes and symbols point only downstairs, and no room is in a circle
	@tools/checks/arrows $(static_l)
style:## licence lines, header comments, line lengths, atomics through one door, headers that stand alone
	@CC='$(CC)' tools/checks/style
symbols: $(shared_l)## libweft.so exports what weft.h declares, and nothing else
	@tools/checks/symbols $(shared_l) runtime/weft.h $(headers)

inc     := $(DESTDIR)$(PREFIX)/include
lib     := $(DESTDIR)$(LIBDIR)
man     := $(DESTDIR)$(PREFIX)/share/man
pages3  := $(wildcard runtime/man/*.3)
pages7  := $(wildcard runtime/man/*.7)
shared  := $(if $(filter no,$(SHARED)),,$(shared_l))
install: $(static_l) $(shared)## headers, libweft, weft.pc and manual of this flavour, under PREFIX
	install -d $(inc)/weft $(lib)/pkgconfig $(man)/man3 $(man)/man7
	install -m 644 runtime/weft.h $(inc)/
	install -m 644 $(headers) $(inc)/weft/
	install -m 644 $(pages3) $(man)/man3/
	install -m 644 $(pages7) $(man)/man7/
	install -m 644 $(static_l) $(lib)/libweft.a
	$(if $(shared),install -m 755 $(shared_l) $(lib)/ && ln -sf $(notdir $(shared_l)) $(lib)/$(soname) && \
	    ln -sf $(soname) $(lib)/libweft.so)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(version)|; s|@SANITIZE@|$(sanitize)|' \
	    -e 's|@LIBS@|$(if $(shared),,$(libs))|; s|@PRIVATE@|$(libs)|' runtime/weft.pc.in >$(lib)/pkgconfig/weft.pc
	-$(if $(DESTDIR)$(filter-out 0,$(shell id -u)),:,ldconfig)
uninstall:## remove exactly what install put there
	rm -f $(inc)/weft.h $(addprefix $(inc)/weft/,$(notdir $(headers))) $(lib)/pkgconfig/weft.pc \
	    $(lib)/libweft.a $(lib)/libweft.so $(lib)/$(soname) $(lib)/libweft.so.$(version)
	rm -f $(addprefix $(man)/man3/,$(notdir $(pages3))) $(addprefix $(man)/man7/,$(notdir $(pages7)))
	@rmdir $(inc)/weft 2>/dev/null || true

clean:## remove build/
	rm -rf build
fmt:## clang-format on the lines changed since the last commit
	git clang-format --force --extensions c,h
help:
	@awk -F'##' '/^[a-z]+:.*##/ { split($$1, t, ":"); printf "  make %-10s %s\n", t[1], $$2 } \
	    /^[A-Z]+ +[?]=.*##/ { split($$1, v, " *[?]= *"); printf "  %-15s %s%s\n", v[1] "=", $$2, v[2] != "" ? \
	    " [" v[2] "]" : ""; }' Makefile
	@printf '%s\n' '' 'Sanitizers: a program compiled with -fsanitize=address or =thread wants a weft of that flavour, built by' \
	    'the same compiler: make install FLAVOR=asan PREFIX=$$HOME/weft-asan. Its weft.pc passes the -fsanitize flag on,' \
	    'and it uses no jemalloc.'

-include $(obj:.o=.d) $(programs:$(B)/%=$(B)/obj/%.d)
