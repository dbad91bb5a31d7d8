#!/bin/sh
# Runs fuzz targets: run.sh DIRECTORY SECONDS JOBS NAME …
#
# Inputs begin with the target's seeds (corpus/NAME), what was found before (found/NAME) and, for a
# source, its golden cases. New ones go to DIRECTORY/corpus/NAME, which the next run goes on with;
# what crashes goes to DIRECTORY/artifacts, and each run's words to DIRECTORY/logs. Nothing is
# written into the source tree.
set -u
directory=$1 seconds=$2 jobs=$3
shift 3
here=tests/fuzz
mkdir -p "$directory/artifacts" "$directory/logs"
# Freed memory is kept from use for a while, but not all of the cache's worth of it.
export ASAN_OPTIONS="quarantine_size_mb=8:${ASAN_OPTIONS:-}"
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT

number() { # key, log
	sed -n "s/^stat::$1: *//p" "$2" | tail -n 1
}

run_one() { # name
	name=$1
	log=$directory/logs/$name.log
	work=$directory/corpus/$name
	mkdir -p "$work"
	set -- "$work"
	for seeds in "$here/corpus/$name" "$here/found/$name" "tests/golden/$name"; do
		[ -d "$seeds" ] && set -- "$@" "$seeds"
	done
	[ -f "$here/$name.dict" ] && set -- -dict="$here/$name.dict" "$@"
	# Not more than 4 KiB: what is found in long inputs is there in short ones, and sooner.
	"$directory/$name" -max_total_time="$seconds" -max_len=4096 -timeout=30 \
		-rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
		-artifact_prefix="$directory/artifacts/$name-" "$@" >"$log" 2>&1
	status=$?
	cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	line="$name: $(number number_of_executed_units "$log") runs,"
	line="$line $(number average_exec_per_sec "$log")/s, ${cover:-no} edges"
	if [ "$status" -eq 0 ]; then
		echo "ok     $line"
		: >"$results/$name.passed"
	else
		echo "FAILED $line, status $status; see $log"
		grep -E '^(SUMMARY|fuzz:|.*runtime error|artifact_prefix)' "$log" | head -5
		: >"$results/$name.failed"
	fi
}

running=
for name in "$@"; do
	if [ ! -x "$directory/$name" ]; then
		echo "FAILED $name: there is no such target"
		: >"$results/$name.failed"
		continue
	fi
	run_one "$name" &
	running="$running $!"
	# Waits for the oldest when there are enough.
	# shellcheck disable=SC2086
	set_of=$(echo $running | wc -w)
	if [ "$set_of" -ge "$jobs" ]; then
		oldest=${running# }
		oldest=${oldest%% *}
		wait "$oldest"
		running=${running#" $oldest"}
	fi
done
wait
passed=$(find "$results" -name '*.passed' | wc -l)
failed=$(find "$results" -name '*.failed' | wc -l)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
