/*
 * What the date is for somebody who throws away what is old, when the clock is not to be trusted.
 */

#include "store/calendar.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HOUR_MS 3600000LL
#define DAY_MS (24 * HOUR_MS)
#define START_MS 1700000000000LL

static int64_t mono_ms;
static int64_t wall_ms;
static struct calendar calendar;

static void begin(int64_t last_date_ms)
{
	mono_ms = 5000;
	wall_ms = START_MS;
	calendar_init(&calendar, last_date_ms, mono_ms, wall_ms);
}

/* Time passes, and the clock is set besides. */
static void pass(int64_t span_ms, int64_t set_ms)
{
	mono_ms += span_ms;
	wall_ms += span_ms + set_ms;
}

static void expect(int64_t date_ms, bool is_ahead)
{
	bool ahead;

	assert_int_equal(calendar_date_ms(&calendar, mono_ms, wall_ms, &ahead), date_ms);
	assert_int_equal(ahead, is_ahead);
}

static void time_passes_and_small_steps_are_followed(void **state)
{
	(void)state;
	begin(TIME_NONE);
	expect(START_MS, false);
	pass(40 * DAY_MS, 0);
	expect(START_MS + 40 * DAY_MS, false);
	pass(1000, 10 * 60000);
	expect(wall_ms, false);
	pass(1000, -10 * 60000);
	expect(wall_ms, false);
}

static void a_clock_set_back_is_believed_at_once(void **state)
{
	(void)state;
	begin(TIME_NONE);
	pass(1000, -400 * DAY_MS);
	expect(START_MS + 1000 - 400 * DAY_MS, false);
}

static void one_far_ahead_has_to_stand_there_for_a_day(void **state)
{
	(void)state;
	begin(TIME_NONE);
	pass(1000, 365 * DAY_MS);
	expect(START_MS + 1000, true);
	pass(DAY_MS - 1, 0);
	expect(START_MS + DAY_MS + 999, true);
	pass(1, 0);
	expect(wall_ms, false);
	pass(1000, 0);
	expect(wall_ms, false);
}

static void set_right_again_in_time_it_has_changed_nothing(void **state)
{
	(void)state;
	begin(TIME_NONE);
	pass(1000, 365 * DAY_MS);
	expect(START_MS + 1000, true);
	pass(HOUR_MS, -365 * DAY_MS);
	expect(START_MS + 1000 + HOUR_MS, false);
	/* And the next time the day begins anew. */
	pass(1000, 365 * DAY_MS);
	expect(START_MS + 2000 + HOUR_MS, true);
	pass(DAY_MS - 1, 0);
	expect(START_MS + 2000 + HOUR_MS + DAY_MS - 1, true);
}

static void every_further_step_has_its_own_day(void **state)
{
	(void)state;
	begin(TIME_NONE);
	pass(1000, 2 * HOUR_MS);
	expect(START_MS + 1000, true);
	pass(DAY_MS - 1000, 300 * DAY_MS);
	expect(START_MS + DAY_MS, true);
	pass(2000, 0);
	expect(START_MS + DAY_MS + 2000, true);
	pass(DAY_MS, 0);
	expect(wall_ms, false);
}

static void a_start_goes_on_from_the_newest_thing_kept(void **state)
{
	(void)state;
	begin(START_MS - 1000 * DAY_MS);
	expect(START_MS - 1000 * DAY_MS, true);
	pass(DAY_MS, 0);
	expect(wall_ms, false);
	begin(START_MS - HOUR_MS);
	expect(START_MS, false);
	begin(START_MS + 5 * DAY_MS);
	expect(START_MS, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_passes_and_small_steps_are_followed),
		cmocka_unit_test(a_clock_set_back_is_believed_at_once),
		cmocka_unit_test(one_far_ahead_has_to_stand_there_for_a_day),
		cmocka_unit_test(set_right_again_in_time_it_has_changed_nothing),
		cmocka_unit_test(every_further_step_has_its_own_day),
		cmocka_unit_test(a_start_goes_on_from_the_newest_thing_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
