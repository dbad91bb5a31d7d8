/*
 * The wall clock is set while the relay runs, minutes back, hours and days ahead: what is due stays
 * due by the monotonic clock, Intercom's windows are kept, nothing is forgotten before its time, and
 * the billing system's order holds. (A signature's age is asked of the wall clock alone, by contract:
 * see test_signature.)
 */

#include "support/rig.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR_MS (3600 * 1000LL)
#define DAY_MS (24 * HOUR_MS)

static const int64_t JUMPS[] = {-5 * 60000LL, 3 * HOUR_MS, -2 * DAY_MS, 40 * DAY_MS, -41 * DAY_MS};
#define JUMP_COUNT (sizeof(JUMPS) / sizeof(*JUMPS))

static void post(struct rig *rig, const char *id, const char *type, int64_t at_ms)
{
	assert_int_equal(rig_post_event(rig,
				 "'id':'%s-%s','type':'%s','event_timestamp_ms':%lld,"
				 "'app_user_id':'%s','purchased_at_ms':1699990000000,"
				 "'expiration_at_ms':1702582000000,'period_type':'NORMAL',"
				 "'store':'APP_STORE','environment':'PRODUCTION',"
				 "'entitlement_ids':['pro'],'product_id':'monthly',"
				 "'original_transaction_id':'T1','app_id':'app1'",
				 id, type, type, (long long)at_ms, id),
		200);
}

static void rule(struct rig *rig, const char *json)
{
	struct error err = {0};

	if (!standin_add_rules(rig->standin, json, strlen(json), &err))
		fail_msg("%s", err.text);
}

static bool is_kept(struct rig *rig, int64_t id)
{
	struct error err = {0};
	struct backend *reader = store_reader(rig->store, &err);
	struct event_row row;
	struct arena arena;

	assert_non_null(reader);
	arena_init(&arena);
	assert_true(store_ops(rig->store)->event_get(reader, id, NULL, &arena, &row, &err));
	arena_finish(&arena);
	store_reader_close(rig->store, reader);
	return row.event.id != 0;
}

static void the_pace_is_kept_whatever_the_clock_says(void **state)
{
	struct rig *rig =
		rig_create(NULL, &(struct standin_options){.limit = 166, .reset_offset_ms = 2000});
	struct standin_totals totals;

	(void)state;
	rig->answer_ms = 0;
	for (int i = 0; i < 1000; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "u%d", i);
		post(rig, id, "INITIAL_PURCHASE", 1699990001000);
	}
	for (size_t i = 0; i < JUMP_COUNT; i++) {
		rig_run(rig, 15000);
		rig_set_clock(rig, JUMPS[i]);
	}
	/* As long as without: 2,000 calls are 120 s. */
	rig_drain(rig, 140 * 1000 - 15000 * (int64_t)JUMP_COUNT);
	standin_get_totals(rig->standin, &totals);
	assert_int_equal(totals.refused, 0);
	assert_true(totals.window_calls_max <= 166);
	assert_int_equal(totals.events, 1000);
	rig_destroy(rig);
}

static void probes_and_retries_are_not_moved(void **state)
{
	(void)state;
	for (size_t i = 0; i < JUMP_COUNT; i++) {
		struct rig *rig = rig_create("give_up_after = 30h\n", NULL);

		rule(rig,
			"{\"contact\":\"bad\",\"times\":0,\"status\":500,\"code\":\"e\","
			"\"message\":\"no\"}");
		post(rig, "bad", "INITIAL_PURCHASE", 1699990001000);
		rig_run(rig, 10 * HOUR_MS);
		int64_t before = rig->calls;
		rig_set_clock(rig, JUMPS[i]);
		rig_run(rig, 100);
		assert_in_range(rig->calls - before, 0, 1); /* no burst */
		rig_run(rig, 10 * HOUR_MS);
		assert_in_range(rig->calls - before, 40, 120); /* 15 minutes at most between two */
		/* After a restart the times of the attempts are all there is: ten hours at least
		 * are counted, and nothing that the clock invented. */
		rig_restart(rig);
		rig_run(rig, 8 * HOUR_MS);
		assert_int_equal(rig_totals(rig).parked, 0);
		rig_run(rig, 14 * HOUR_MS);
		assert_int_equal(rig_totals(rig).parked, 1);

		rig->is_unreachable = true;
		post(rig, "good", "INITIAL_PURCHASE", 1699990001000);
		rig_run(rig, HOUR_MS);
		rig_set_clock(rig, -JUMPS[i]);
		before = rig->calls;
		rig_run(rig, HOUR_MS);
		assert_in_range(rig->calls - before, 120, 480); /* 15 s in the mean */
		rig->is_unreachable = false;
		rig_drain(rig, 31 * 1000);
		rig_destroy(rig);
	}
}

static void a_clock_ahead_forgets_nothing_for_a_day(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "INITIAL_PURCHASE", 1699990001000);
	rig_drain(rig, HOUR_MS);
	for (int hour = 0; hour < 20; hour++) {
		if (hour == 5)
			rig_set_clock(rig, 10 * 365 * DAY_MS);
		rig_run(rig, HOUR_MS);
	}
	assert_true(is_kept(rig, 1));
	/* A restart is no reason to believe it. */
	rig_restart(rig);
	for (int hour = 0; hour < 23; hour++)
		rig_run(rig, HOUR_MS);
	assert_true(is_kept(rig, 1));
	/* Set right again, it is as if nothing had been; else it is believed in the end. */
	for (int hour = 0; hour < 3; hour++)
		rig_run(rig, HOUR_MS);
	assert_false(is_kept(rig, 1));
	rig_destroy(rig);
}

static void a_clock_behind_does_not_turn_the_order_round(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	const int64_t now_ms = rig->clock.wall_ms;

	(void)state;
	post(rig, "u1", "INITIAL_PURCHASE", now_ms - 1000);
	rig_drain(rig, HOUR_MS);
	rig_set_clock(rig, -3 * DAY_MS);
	post(rig, "u1", "EXPIRATION", now_ms);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"expired\"");
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pace_is_kept_whatever_the_clock_says),
		cmocka_unit_test(probes_and_retries_are_not_moved),
		cmocka_unit_test(a_clock_ahead_forgets_nothing_for_a_day),
		cmocka_unit_test(a_clock_behind_does_not_turn_the_order_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
