/*
 * The disk refuses: at each write and each read of a run in turn, once; and for a while. The
 * sender gets a 503 with Retry-After and keeps its copy, what was answered 200 is there, delivery
 * neither loses nor forgets, and all of it works again by itself when the disk does, without a
 * restart. (A start that fails is tried again, as systemd does.)
 *
 * SUBRELAY_FAULT_SEEDS=100 tests a hundred outcomes of each fault instead of one.
 */

#include "support/ordeal.h"

#include "base/error.h"
#include "base/log.h"
#include "deliver/dispatcher.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS ordeal_number("SUBRELAY_FAULT_SEEDS", 1)
#define MINUTE_MS (60 * 1000LL)
#define MANY 1300

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

/*
 * A checkpoint that fails must be done again in full before the log begins anew over what it held:
 * the cut comes when it has.
 */
static void an_error_in_a_checkpoint(void **state)
{
	struct ordeal *ordeal = ordeal_create();
	const struct ordeal_checkpoint checkpoint = ordeal_fill_log(ordeal);
	const int64_t stride = SEEDS > 1 ? 1 : 25;
	int64_t cuts = 0;

	(void)state;
	/* From behind, so that the sync is among them. */
	for (int64_t nth = checkpoint.last; nth >= checkpoint.first; nth -= stride) {
		ordeal_begin(ordeal, (uint64_t)nth);
		disk_fail_at(
			ordeal->disk, DISK_WRITES, nth % 2 == 0 ? DISK_TORN : DISK_IO_ERROR, nth);
		ordeal->cut_past = checkpoint.last;
		assert_false(ordeal_go_on(ordeal));
		cuts++;
		assert_true(ordeal_recover(ordeal));
		assert_true(ordeal_go_on(ordeal));
		ordeal_check_end(ordeal);
	}
	print_message("%lld cuts\n", (long long)cuts);
	ordeal_destroy(ordeal);
}

/* ---- it lasts ---- */

struct outage {
	struct rig *rig;
	struct disk *disk;
	sqlite3 *other; /* somebody else, who has the store locked */
};

static void drop_line(void *context, enum log_level level, const char *line)
{
	(void)context;
	(void)level;
	(void)line;
}

static void begin_outage(struct outage *outage)
{
	struct error err = {0};

	log_redirect(drop_line, NULL);
	outage->disk = disk_create(1);
	disk_mount(outage->disk);
	outage->rig = rig_prepare("retry_base = 1s\nretry_cap = 1m\n", NULL);
	assert_true(rig_start(outage->rig, &err));
}

static void end_outage(struct outage *outage)
{
	assert_int_equal(standin_violation_count(outage->rig->standin), 0);
	rig_destroy(outage->rig);
	disk_destroy(outage->disk);
	log_redirect(NULL, NULL);
}

static unsigned buy(struct outage *outage, int customer)
{
	return rig_post_event(outage->rig,
		"'id':'e%d','type':'INITIAL_PURCHASE','event_timestamp_ms':1699990001000,"
		"'app_user_id':'u%d','purchased_at_ms':1699990000000,"
		"'expiration_at_ms':1702582000000,'period_type':'NORMAL','store':'APP_STORE',"
		"'environment':'PRODUCTION','entitlement_ids':['pro'],'product_id':'monthly',"
		"'original_transaction_id':'T1','app_id':'app1'",
		customer, customer);
}

/* So many customers' purchases wait, because Intercom is away. */
static void let_wait(struct outage *outage, int count)
{
	outage->rig->is_unreachable = true;
	for (int i = 0; i < count; i++)
		assert_int_equal(buy(outage, i), 200);
}

static struct standin_totals intercom(struct outage *outage)
{
	struct standin_totals totals;

	standin_get_totals(outage->rig->standin, &totals);
	return totals;
}

static bool is_ready(struct outage *outage)
{
	struct error err = {0};

	return store_is_ready(outage->rig->store, &err);
}

static void set_full(struct outage *outage, bool is_so)
{
	disk_set_full(outage->disk, is_so);
}

static void set_broken(struct outage *outage, bool is_so)
{
	disk_set_broken(outage->disk, is_so);
}

static void set_locked(struct outage *outage, bool is_so)
{
	if (!is_so) {
		assert_int_equal(sqlite3_close(outage->other), SQLITE_OK);
		return;
	}
	assert_int_equal(sqlite3_open(outage->rig->conf->store.path, &outage->other), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(outage->other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
}

/* In small steps: the store tries again at each. */
static void pass(struct outage *outage, int64_t span_ms)
{
	const int64_t end_ms = outage->rig->clock.mono_ms + span_ms;

	while (outage->rig->clock.mono_ms < end_ms)
		rig_run(outage->rig, 500);
}

/* Twenty wait when the disk begins to refuse, and Intercom takes calls again. */
static void refuse_for_a_while(void (*set)(struct outage *outage, bool is_so))
{
	struct outage outage;

	begin_outage(&outage);
	let_wait(&outage, 20);
	assert_true(is_ready(&outage));
	set(&outage, true);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(buy(&outage, 100 + i), 503);
		assert_true(outage.rig->retry_after_s > 0);
	}
	assert_false(is_ready(&outage));
	outage.rig->is_unreachable = false;
	pass(&outage, 20 * MINUTE_MS);
	assert_false(is_ready(&outage));
	assert_int_equal(buy(&outage, 100), 503);
	/* Nobody is sent anything twice, however long it lasts; and none of it counts as done. */
	assert_int_equal(intercom(&outage).events, 20);
	assert_int_equal(intercom(&outage).calls, 2 * 20);
	assert_int_equal(rig_totals(outage.rig).delivered, 0);

	set(&outage, false);
	pass(&outage, MINUTE_MS);
	assert_true(is_ready(&outage));
	assert_int_equal(rig_totals(outage.rig).delivered, 20);
	assert_int_equal(rig_totals(outage.rig).waiting, 0);
	assert_int_equal(buy(&outage, 100), 200);
	rig_drain(outage.rig, MINUTE_MS);
	assert_int_equal(intercom(&outage).events, 21);
	assert_int_equal(intercom(&outage).events_repeated, 0);
	end_outage(&outage);
}

static void full_for_a_while(void **state)
{
	(void)state;
	refuse_for_a_while(set_full);
}

static void broken_for_a_while(void **state)
{
	(void)state;
	refuse_for_a_while(set_broken);
}

static void locked_for_a_while(void **state)
{
	(void)state;
	refuse_for_a_while(set_locked);
}

/*
 * Reports that can't be written gather in memory, and after a kill their deliveries are made again:
 * so there is a bound to them, however much waits.
 */
static void unwritten_reports_have_a_bound(void **state)
{
	struct outage outage;

	(void)state;
	begin_outage(&outage);
	let_wait(&outage, MANY);
	set_locked(&outage, true);
	outage.rig->is_unreachable = false;
	pass(&outage, MINUTE_MS);
	assert_int_equal(rig_totals(outage.rig).delivered, 0);
	/* One of them may be of a probe that still failed. */
	assert_in_range(intercom(&outage).events, REPORTS_MAX - 1, REPORTS_MAX);
	assert_string_equal(rig_workspace_state(outage.rig), "holding");

	set_locked(&outage, false);
	pass(&outage, 10 * MINUTE_MS);
	assert_string_equal(rig_workspace_state(outage.rig), "ok");
	assert_int_equal(rig_totals(outage.rig).delivered, MANY);
	assert_int_equal(intercom(&outage).events, MANY);
	assert_int_equal(intercom(&outage).events_repeated, 0);
	end_outage(&outage);
}

/* A start needs a commit: whoever restarts it again and again while there is no room sends nothing
 * twice. What wasn't written is sent once more in the end. */
static void restarts_while_full_are_no_storm(void **state)
{
	struct outage outage;
	struct error err = {0};

	(void)state;
	begin_outage(&outage);
	let_wait(&outage, 50);
	disk_set_full(outage.disk, true);
	outage.rig->is_unreachable = false;
	pass(&outage, MINUTE_MS);
	assert_int_equal(intercom(&outage).events, 50);
	const int64_t calls = intercom(&outage).calls;
	rig_stop(outage.rig);
	for (int i = 0; i < 20; i++)
		assert_false(rig_start(outage.rig, &err));
	assert_int_equal(intercom(&outage).calls, calls);

	disk_set_full(outage.disk, false);
	assert_true(rig_start(outage.rig, &err));
	pass(&outage, MINUTE_MS);
	assert_int_equal(rig_totals(outage.rig).delivered, 50);
	assert_int_equal(intercom(&outage).events, 50);
	assert_true(intercom(&outage).events_repeated <= 50);
	end_outage(&outage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_at_each_write),
		cmocka_unit_test(a_torn_write_at_each_write),
		cmocka_unit_test(no_room_at_each_write),
		cmocka_unit_test(an_error_at_each_read),
		cmocka_unit_test(a_cut_after_the_next_200),
		cmocka_unit_test(an_error_in_a_checkpoint),
		cmocka_unit_test(full_for_a_while),
		cmocka_unit_test(broken_for_a_while),
		cmocka_unit_test(locked_for_a_while),
		cmocka_unit_test(unwritten_reports_have_a_bound),
		cmocka_unit_test(restarts_while_full_are_no_storm),
	};

	return cmocka_run_group_tests_name("disk errors", tests, NULL, NULL);
}
