#!/bin/sh
# What the relay can do on this machine, as a table. $1: the build directory.
# BENCH_WAITING=N: how many events wait in the backlog test (default 1,000,000; 0 leaves it out).
set -eu
PYTHONDONTWRITEBYTECODE=1 SUBRELAY_BUILD=$1 PYTHONPATH=tests/support exec python3 tests/bench/bench.py
