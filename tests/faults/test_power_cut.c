/*
 * The power is cut at every write of a run in turn: everything that the relay does to its disk,
 * from the first start on an empty one to the purge and the close. After each cut every event that
 * was answered 200 is there, nothing is half there, and the run goes on to the same end in Intercom
 * as without a cut. See tests/support/disk.h for what a cut does, ordeal.h for the run.
 *
 * SUBRELAY_FAULT_SEEDS=100 tests a hundred outcomes of each cut instead of one.
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

/* Where the cuts hit. */
struct tally {
	int64_t cuts;
	int64_t first_start;
	int64_t closing;
	int64_t delivering;
	int64_t again; /* while recovering from a cut */
};

static uint64_t seed_of(int64_t seed, int64_t nth, int64_t kth)
{
	return (uint64_t)(seed * 1000000 + nth * 1000 + kth);
}

static void count_cut(struct tally *tally, const struct ordeal *ordeal)
{
	const char *deed = ordeal_deed(ordeal);

	tally->cuts++;
	tally->first_start += ordeal->step == 0;
	tally->closing += strcmp(deed, "close") == 0;
	tally->delivering += strcmp(deed, "deliver") == 0;
}

/* Runs with a cut at the nth write; false when it ended before. */
static bool cut_at(struct ordeal *ordeal, uint64_t seed, int64_t nth)
{
	ordeal_begin(ordeal, seed);
	disk_fail_at(ordeal->disk, DISK_WRITES, DISK_POWER, nth);
	return !ordeal_go_on(ordeal);
}

static void end_well(struct ordeal *ordeal)
{
	assert_true(ordeal_go_on(ordeal));
	ordeal_check_end(ordeal);
}

static void at_every_write(void **state)
{
	struct ordeal *ordeal = ordeal_create();
	struct tally tally = {0};

	(void)state;
	for (int64_t seed = 1; seed <= SEEDS; seed++) {
		int64_t nth = 1;

		for (; cut_at(ordeal, seed_of(seed, nth, 0), nth); nth++) {
			count_cut(&tally, ordeal);
			assert_true(ordeal_recover(ordeal));
			end_well(ordeal);
		}
		ordeal_check_end(ordeal);
		assert_true(nth > 400);
	}
	print_message("%lld cuts: %lld in the first start, %lld in a close, %lld in delivery\n",
		(long long)tally.cuts, (long long)tally.first_start, (long long)tally.closing,
		(long long)tally.delivering);
	assert_true(tally.first_start > 0 && tally.closing > 0 && tally.delivering > 0);
	ordeal_destroy(ordeal);
}

/* The start after a cut, which recovers the log and moves it into the database, is cut again at
 * each of its writes. */
static void while_recovering(void **state)
{
	const int64_t stride = SEEDS > 1 ? 1 : 61;
	struct ordeal *ordeal = ordeal_create();
	struct tally tally = {0};

	(void)state;
	for (int64_t nth = 5; cut_at(ordeal, seed_of(0, nth, 0), nth); nth += stride) {
		bool is_through = false;

		for (int64_t kth = 1; !is_through; kth++) {
			assert_true(cut_at(ordeal, seed_of(0, nth, kth), nth));
			tally.cuts++;
			disk_power_on(ordeal->disk);
			disk_fail_at(ordeal->disk, DISK_WRITES, DISK_POWER, kth);
			is_through = ordeal_recover(ordeal);
			if (!is_through) {
				tally.again++;
				assert_true(ordeal_recover(ordeal));
			}
			disk_fail_at(ordeal->disk, DISK_WRITES, DISK_POWER, 0);
			end_well(ordeal);
		}
	}
	print_message("%lld cuts, %lld of them followed by one in recovery\n",
		(long long)tally.cuts, (long long)tally.again);
	assert_true(tally.again > tally.cuts / 2);
	ordeal_destroy(ordeal);
}

/* A log that has grown is moved into the database while the relay works, and begins anew over what
 * it held. */
static void while_a_long_log_is_moved(void **state)
{
	const int64_t stride = SEEDS > 1 ? 1 : 23;
	struct ordeal *ordeal = ordeal_create();
	int64_t cuts = 0;
	int64_t nth;

	(void)state;
	const struct ordeal_checkpoint checkpoint = ordeal_fill_log(ordeal);

	/* Its end, where the log begins anew, is looked at more closely. */
	for (nth = checkpoint.first - 2; nth < checkpoint.last + 60;
		nth += nth < checkpoint.last - 5 || stride == 1 ? stride : 3) {
		assert_true(cut_at(ordeal, seed_of(2, nth, 0), nth));
		cuts++;
		assert_true(ordeal_recover(ordeal));
		end_well(ordeal);
	}
	print_message("%lld cuts in and after a checkpoint of %lld writes\n", (long long)cuts,
		(long long)(checkpoint.last - checkpoint.first + 1));
	ordeal_destroy(ordeal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_every_write),
		cmocka_unit_test(while_recovering),
		cmocka_unit_test(while_a_long_log_is_moved),
	};

	return cmocka_run_group_tests_name("power cut", tests, NULL, NULL);
}
