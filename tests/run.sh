#!/bin/sh
# Runs every test program, some seeds of the simulation (SEEDS, 300) and the integration tests, prints
# what failed, and ends with the count.
# $1: the build directory. TEST="WORD …" runs only tests whose path has one of them; TEST_JOBS so many programs
# side by side (they wait more than they work).
set -u

# One program or script; prints its line, and what is wrong with it. Its counts are in its log.
if [ "${1:-}" = --one ]; then
	build=$2
	path=$3
	# Under a sanitizer or valgrind everything takes longer, by this whole number.
	seconds_max=$((600 * ${SUBRELAY_PATIENCE:-1}))
	name=${path#"$build/tests/"}
	name=${name#tests/}
	log=$build/test-logs/$(echo "$name" | tr / _).tap
	case $name in
	*.py)
		PYTHONDONTWRITEBYTECODE=1 SUBRELAY_BUILD=$build PYTHONPATH=tests/support \
			timeout "$seconds_max" python3 "$path" >"$log" 2>"$log.err"
		;;
	simulation/simulate)
		"$path" --seeds "${SEEDS:-300}" --jobs 1 >"$log" 2>"$log.err" &&
			echo "ok 1 - ${SEEDS:-300} seeds" >>"$log"
		;;
	*) CMOCKA_MESSAGE_OUTPUT=tap timeout "$seconds_max" "$path" >"$log" 2>"$log.err" ;;
	esac
	status=$?
	ok=$(grep -c '^ok ' "$log")
	not_ok=$(grep '^not ok ' "$log" | grep -vc '# SKIP')
	if [ $status -ne 0 ] && [ "$not_ok" -eq 0 ]; then
		not_ok=1
		echo "not ok - $name ended with status $status" >>"$log"
	fi
	if [ "$not_ok" -eq 0 ]; then
		echo "ok     $name ($ok)"
	else
		echo "FAILED $name
$(grep -A 12 '^not ok' "$log" | head -60)
$(tail -40 "$log.err")"
	fi
	exit 0
fi

build=$1
words=${TEST:-/}
logs=$build/test-logs
rm -rf "$logs" && mkdir -p "$logs"

# The scripts first: they take longest.
{
	find tests/integration -name 'test_*.py' 2>/dev/null | LC_ALL=C sort
	find "$build/tests/simulation" -type f -name simulate 2>/dev/null
	find "$build/tests/unit" "$build/tests/contract" "$build/tests/scenario" "$build/tests/faults" \
		"$build/tests/fuzz" \
		-type f -name 'test_*' 2>/dev/null | LC_ALL=C sort
} | while read -r path; do
	for word in $words; do
		case $path in *"$word"*) echo "$path" && break ;; esac
	done
done | xargs -P "${TEST_JOBS:-$(nproc 2>/dev/null || echo 2)}" -n 1 sh "$0" --one "$build"

passed=$(cat "$logs"/*.tap | grep -c '^ok ')
failed=$(cat "$logs"/*.tap | grep '^not ok ' | grep -vc '# SKIP')
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
