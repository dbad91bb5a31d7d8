/*
 * The disk refuses: at each write and each read of a run in turn, once. The sender gets a 503 with Retry-After and keeps its copy, what was answered 200 is there, delivery
 * neither loses nor forgets, and all of it works again by itself when the disk does, without a
 * restart. (A start that fails is tried again, as systemd does.)
 *
 * SUBRELAY_FAULT_SEEDS=100 tests a hundred outcomes of each fault instead of one.
 */

#include "support/ordeal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS ordeal_number("SUBRELAY_FAULT_SEEDS", 1)

/* ---- one operation fails ---- */

struct tally {
	int64_t faults;
	int64_t refusals; /* answers 503 */
	int64_t failed_starts;
};

/* The whole run with one fault; false when it has fewer operations. */
static bool run_with_fault(struct ordeal *ordeal, uint64_t seed, enum disk_operation operation,
	enum disk_fault fault, int64_t nth, struct tally *tally)
{
	ordeal_begin(ordeal, seed);
	disk_fail_at(ordeal->disk, operation, fault, nth);
	assert_true(ordeal_go_on(ordeal));
	const bool is_hit = disk_operations(ordeal->disk, operation) >= nth;
	disk_fail_at(ordeal->disk, operation, fault, 0);
	ordeal_check_end(ordeal);
	if (!is_hit)
		return false;
	/* One fault, one refusal: the next try must do. */
	assert_true(ordeal->refusals <= 1);
	assert_true(ordeal->failed_starts <= 1);
	tally->faults++;
	tally->refusals += ordeal->refusals;
	tally->failed_starts += ordeal->failed_starts;
	return true;
}

/* From `first` on each `stride`th operation. */
static void fail_each(
	enum disk_operation operation, enum disk_fault fault, int64_t first, int64_t stride)
{
	struct ordeal *ordeal = ordeal_create();
	struct tally tally = {0};

	for (int64_t seed = 1; seed <= SEEDS; seed++)
		for (int64_t nth = first; run_with_fault(
			     ordeal, (uint64_t)(seed * 1000 + nth), operation, fault, nth, &tally);
			nth += stride)
			continue;
	print_message("%lld faults: %lld times 503, %lld failed starts\n", (long long)tally.faults,
		(long long)tally.refusals, (long long)tally.failed_starts);
	assert_true(tally.faults > 100 && tally.refusals > 5 && tally.failed_starts > 5);
	ordeal_destroy(ordeal);
}

/* The three of them share the writes out in a short run, each has all of them in a long one. */
static void fail_writes(enum disk_fault fault, int64_t first)
{
	if (SEEDS > 1)
		fail_each(DISK_WRITES, fault, 1, 1);
	else
		fail_each(DISK_WRITES, fault, first, 3);
}

static void an_error_at_each_write(void **state)
{
	(void)state;
	fail_writes(DISK_IO_ERROR, 1);
}

static void a_torn_write_at_each_write(void **state)
{
	(void)state;
	fail_writes(DISK_TORN, 2);
}

static void no_room_at_each_write(void **state)
{
	(void)state;
	fail_writes(DISK_FULL, 3);
}

static void an_error_at_each_read(void **state)
{
	(void)state;
	fail_each(DISK_READS, DISK_IO_ERROR, 1, 1);
}

/*
 * After an fsync that failed Linux counts the pages as clean: the next fsync says yes and writes
 * nothing. So a 200 after the error is only worth something if everything was written again. The
 * power is cut right after it.
 */
static void a_cut_after_the_next_200(void **state)
{
	struct ordeal *ordeal = ordeal_create();
	int64_t cuts = 0;

	(void)state;
	for (int64_t seed = 1; seed <= SEEDS; seed++) {
		for (int64_t nth = 1;; nth += SEEDS > 1 ? 1 : 2) {
			ordeal_begin(ordeal, (uint64_t)(seed * 1000 + nth));
			disk_fail_at(ordeal->disk, DISK_WRITES,
				nth % 4 < 2 ? DISK_TORN : DISK_IO_ERROR, nth);
			ordeal->cut_past = nth;
			if (ordeal_go_on(ordeal))
				break; /* no webhook after it */
			cuts++;
			assert_true(ordeal_recover(ordeal));
			assert_true(ordeal_go_on(ordeal));
			ordeal_check_end(ordeal);
		}
	}
	print_message("%lld cuts\n", (long long)cuts);
	assert_true(cuts > 200);
	ordeal_destroy(ordeal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_at_each_write),
		cmocka_unit_test(a_torn_write_at_each_write),
		cmocka_unit_test(no_room_at_each_write),
		cmocka_unit_test(an_error_at_each_read),
		cmocka_unit_test(a_cut_after_the_next_200),
	};

	return cmocka_run_group_tests_name("disk errors", tests, NULL, NULL);
}
