#!/bin/sh
# Zero findings from cppcheck and clang-tidy. $1: compiler flags, the rest: files.
set -eu
# The version is a quoted text, which doesn't survive being passed on.
flags=$(printf '%s\n' $1 | grep -v SUBRELAY_VERSION | tr '\n' ' ')
shift
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --error-exitcode=1 -j "$(nproc)" -Iinclude -Isrc -DSUBRELAY_VERSION='"lint"' "$@"
# shellcheck disable=SC2086
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' -DSUBRELAY_VERSION=\"lint\" 2>/dev/null' tidy
echo "lint: no findings in $# files"
