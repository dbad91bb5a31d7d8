#!/bin/sh
# What the relay can do on this machine, as a table. $1: the build directory.
# BENCH_WAITING=N: how many events wait in the backlog test (default 1,000,000; 0 leaves it out).
# BENCH_OUTAGE=1: a long outage besides, some ten minutes and 10 GB in TMPDIR (N: so many events wait
# instead of 1,300,000; above two million it ends with a minute of the drain). BENCH_ONLY_OUTAGE=1:
# nothing else.
set -eu
PYTHONDONTWRITEBYTECODE=1 SUBRELAY_BUILD=$1 PYTHONPATH=tests/support exec python3 tests/bench/bench.py
