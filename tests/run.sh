#!/bin/sh
# Runs every test program and the integration tests, prints what failed, and ends with the count.
# $1: the build directory. TEST=PATTERN runs only tests whose path matches.
set -u
build=$1
pattern=${TEST:-}
logs=$build/test-logs
rm -rf "$logs" && mkdir -p "$logs"
passed=0
failed=0
# Under a sanitizer or valgrind everything takes longer, by this whole number.
seconds_max=$((600 * ${SUBRELAY_PATIENCE:-1}))

count() { # file: a TAP log
	ok=$(grep -c '^ok ' "$1")
	not_ok=$(grep '^not ok ' "$1" | grep -vc '# SKIP')
	passed=$((passed + ok))
	failed=$((failed + not_ok))
}

for program in $(find "$build/tests/unit" "$build/tests/contract" "$build/tests/scenario" \
	"$build/tests/faults" \
	-type f -name 'test_*' 2>/dev/null | LC_ALL=C sort); do
	name=${program#"$build/tests/"}
	case $name in *"$pattern"*) ;; *) continue ;; esac
	log=$logs/$(echo "$name" | tr / _).tap
	CMOCKA_MESSAGE_OUTPUT=tap timeout 300 "$program" >"$log" 2>"$log.err"
	status=$?
	before=$failed
	count "$log"
	if [ $status -ne 0 ] && [ "$failed" -eq "$before" ]; then
		failed=$((failed + 1))
		echo "not ok - $name ended with status $status" >>"$log"
	fi
	if [ "$failed" -ne "$before" ]; then
		echo "FAILED $name"
		grep -A 12 '^not ok' "$log" | head -60
		tail -20 "$log.err"
	else
		echo "ok     $name ($ok)"
	fi
done

for script in $(find tests/integration -name 'test_*.py' 2>/dev/null | LC_ALL=C sort); do
	name=${script#tests/}
	case $name in *"$pattern"*) ;; *) continue ;; esac
	log=$logs/$(echo "$name" | tr / _).tap
	PYTHONDONTWRITEBYTECODE=1 SUBRELAY_BUILD=$build PYTHONPATH=tests/support \
		timeout "$seconds_max" python3 "$script" >"$log" 2>"$log.err"
	status=$?
	before=$failed
	count "$log"
	if [ $status -ne 0 ] && [ "$failed" -eq "$before" ]; then
		failed=$((failed + 1))
		echo "not ok - $name ended with status $status" >>"$log"
	fi
	if [ "$failed" -ne "$before" ]; then
		echo "FAILED $name"
		grep '^not ok' "$log"
		tail -40 "$log.err"
	else
		echo "ok     $name ($ok)"
	fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
