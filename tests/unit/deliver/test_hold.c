/*
 * Each transition of a workspace's health, and when probes may go.
 */

#include "deliver/hold.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define NOW 1000000
#define WALL 1763704800000
#define BASE 5000
#define CAP 900000

static struct rng rng;

static struct hold fresh(void)
{
	struct hold hold;
	rng_seed(&rng, 7);
	hold_init(&hold, BASE, CAP);
	return hold;
}

static enum hold_change refuse(struct hold *hold, int64_t now_ms)
{
	return hold_refused(
		hold, HOLD_ANY_KIND, 1, "401 unauthorized", now_ms, WALL + now_ms - NOW);
}

static enum hold_change fail_lane(struct hold *hold, int64_t lane, bool unreachable, int64_t now_ms)
{
	return hold_failed(hold, lane, unreachable, "503", &rng, now_ms, WALL + now_ms - NOW);
}

static void a_fresh_one_lets_everything_through(void **state)
{
	(void)state;
	struct hold hold = fresh();
	assert_int_equal(hold.state, HOLD_OK);
	assert_true(hold.since_wall_ms == TIME_NONE);
	for (int i = 0; i < 3; i++) {
		assert_true(hold_allows(&hold, NOW));
		assert_true(hold_next_ms(&hold, NOW) <= NOW);
		hold_started(&hold);
	}
	assert_int_equal(hold_worked(&hold, 1), HOLD_SAME);
	assert_int_equal(hold_release(&hold), HOLD_SAME);
	assert_true(hold_allows(&hold, NOW));
}

static void a_refusal_holds_at_once_and_probes(void **state)
{
	(void)state;
	struct hold hold = fresh();
	assert_int_equal(refuse(&hold, NOW), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_REFUSED);
	assert_string_equal(hold.why, "401 unauthorized");
	assert_int_equal(hold.since_wall_ms, WALL);
	assert_false(hold_allows(&hold, NOW));
	assert_int_equal(hold_next_ms(&hold, NOW), NOW + 5000);
	assert_false(hold_allows(&hold, NOW + 4999));
	assert_true(hold_allows(&hold, NOW + 5000));
	/* One probe at a time, then every 30 s. */
	int64_t now_ms = NOW + 5000;
	for (int i = 0; i < 5; i++) {
		assert_true(hold_allows(&hold, now_ms));
		hold_started(&hold);
		assert_false(hold_allows(&hold, now_ms + 999999));
		assert_true(hold_next_ms(&hold, now_ms) == INT64_MAX);
		now_ms += 200;
		assert_int_equal(refuse(&hold, now_ms), HOLD_SAME);
		assert_int_equal(hold_next_ms(&hold, now_ms), now_ms + 30000);
		now_ms += 30000;
	}
	assert_int_equal(hold.since_wall_ms, WALL);
	hold_started(&hold);
	assert_int_equal(hold_worked(&hold, 1), HOLD_ENDED);
	assert_int_equal(hold.state, HOLD_OK);
	assert_string_equal(hold.why, "");
	assert_true(hold.since_wall_ms == TIME_NONE);
	assert_true(hold_allows(&hold, now_ms));
	/* The next one begins from the beginning. */
	assert_int_equal(refuse(&hold, now_ms), HOLD_BEGAN);
	assert_int_equal(hold_next_ms(&hold, now_ms), now_ms + 5000);
}

/* Calls under way when the hold began come back one after another. */
static void stragglers_do_not_move_the_schedule(void **state)
{
	(void)state;
	struct hold hold = fresh();
	refuse(&hold, NOW);
	for (int i = 1; i < 31; i++)
		assert_int_equal(refuse(&hold, NOW + i), HOLD_SAME);
	assert_int_equal(hold_next_ms(&hold, NOW), NOW + 5000);
	hold = fresh();
	fail_lane(&hold, 1, true, NOW);
	int64_t next_ms = hold_next_ms(&hold, NOW);
	for (int i = 1; i < 31; i++)
		assert_int_equal(fail_lane(&hold, i, i % 2, NOW + i), HOLD_SAME);
	assert_int_equal(hold_next_ms(&hold, NOW), next_ms);
	/* One that works ends it. */
	assert_int_equal(hold_worked(&hold, 1), HOLD_ENDED);
}

static void one_lane_alone_is_no_outage(void **state)
{
	(void)state;
	struct hold hold = fresh();
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(fail_lane(&hold, 42, false, NOW + i), HOLD_SAME);
		assert_true(hold_allows(&hold, NOW + i));
	}
	/* Nor are two. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(fail_lane(&hold, 42 + i % 2, false, NOW + i), HOLD_SAME);
	assert_int_equal(hold.state, HOLD_OK);
	assert_int_equal(fail_lane(&hold, 44, false, NOW), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_AWAY);
	assert_string_equal(hold.why, "503");
	assert_int_equal(hold.since_wall_ms, WALL);
}

static void an_answer_in_between_starts_the_count_again(void **state)
{
	(void)state;
	struct hold hold = fresh();
	for (int i = 0; i < 10; i++) {
		assert_int_equal(fail_lane(&hold, 3 * i, false, NOW), HOLD_SAME);
		assert_int_equal(fail_lane(&hold, 3 * i + 1, false, NOW), HOLD_SAME);
		assert_int_equal(hold_worked(&hold, 1), HOLD_SAME);
	}
	assert_int_equal(fail_lane(&hold, 1, false, NOW), HOLD_SAME);
	assert_int_equal(fail_lane(&hold, 2, false, NOW), HOLD_SAME);
	assert_int_equal(fail_lane(&hold, 3, false, NOW), HOLD_BEGAN);
}

static void no_connection_is_an_outage_at_once(void **state)
{
	(void)state;
	struct hold hold = fresh();
	assert_int_equal(fail_lane(&hold, 1, true, NOW), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_AWAY);
	assert_in_range(hold_next_ms(&hold, NOW), NOW, NOW + BASE);
}

static int64_t probe_delay_ms(struct hold *hold, int probes)
{
	int64_t now_ms = NOW;
	fail_lane(hold, 1, true, now_ms);
	for (int i = 0; i < probes; i++) {
		now_ms = hold_next_ms(hold, now_ms);
		assert_true(hold_allows(hold, now_ms));
		hold_started(hold);
		now_ms += 10;
		assert_int_equal(fail_lane(hold, 1, i % 2, now_ms), HOLD_SAME);
	}
	return hold_next_ms(hold, now_ms) - now_ms;
}

static void probes_of_an_outage_back_off(void **state)
{
	(void)state;
	static const int64_t ceilings[] = {5000, 10000, 20000, 30000, 30000, 30000};
	for (int probes = 0; probes < 6; probes++) {
		int64_t largest = 0;
		int64_t smallest = INT64_MAX;
		for (uint64_t seed = 0; seed < 300; seed++) {
			struct hold hold = fresh();
			rng_seed(&rng, seed);
			int64_t delay_ms = probe_delay_ms(&hold, probes);
			largest = delay_ms > largest ? delay_ms : largest;
			smallest = delay_ms < smallest ? delay_ms : smallest;
		}
		assert_true(largest <= ceilings[probes]);
		assert_true(largest > ceilings[probes] * 9 / 10);
		assert_true(smallest < ceilings[probes] / 10);
	}
	/* A small cap is obeyed. */
	struct hold hold;
	hold_init(&hold, 1000, 2000);
	for (int i = 0; i < 50; i++)
		assert_in_range(probe_delay_ms(&hold, 6), 0, 2000);
}

static void the_newest_trouble_names_the_state(void **state)
{
	(void)state;
	struct hold hold = fresh();
	refuse(&hold, NOW);
	hold_started(&hold);
	assert_int_equal(fail_lane(&hold, 1, true, NOW + 6000), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_AWAY);
	assert_string_equal(hold.why, "503");
	assert_int_equal(hold.since_wall_ms, WALL);
	int64_t now_ms = hold_next_ms(&hold, NOW + 6000);
	assert_in_range(now_ms, NOW + 6000, NOW + 11000);
	hold_started(&hold);
	assert_int_equal(refuse(&hold, now_ms), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_REFUSED);
	assert_int_equal(hold_next_ms(&hold, now_ms), now_ms + 5000);
	assert_int_equal(hold.since_wall_ms, WALL);
}

/* A refused workspace whose probe meets a 503: still refused, until several contacts say otherwise.
 */
static void a_failed_probe_keeps_it_refused(void **state)
{
	(void)state;
	struct hold hold = fresh();
	refuse(&hold, NOW);
	int64_t now_ms = NOW + 5000;
	for (int i = 0; i < 5; i++) {
		hold_started(&hold);
		assert_int_equal(fail_lane(&hold, 9, false, now_ms), HOLD_SAME);
		assert_int_equal(hold.state, HOLD_REFUSED);
		assert_string_equal(hold.why, "401 unauthorized");
		assert_int_equal(hold_next_ms(&hold, now_ms), now_ms + 30000);
		now_ms += 30000;
	}
	hold_started(&hold);
	fail_lane(&hold, 10, false, now_ms);
	hold_started(&hold);
	assert_int_equal(fail_lane(&hold, 11, false, now_ms), HOLD_BEGAN);
	assert_int_equal(hold.state, HOLD_AWAY);
}

static void a_refusal_is_an_answer(void **state)
{
	(void)state;
	struct hold hold = fresh();
	fail_lane(&hold, 1, false, NOW);
	fail_lane(&hold, 2, false, NOW);
	refuse(&hold, NOW);
	hold_release(&hold);
	assert_int_equal(fail_lane(&hold, 3, false, NOW), HOLD_SAME);
}

static void an_abandoned_probe_gives_its_slot_back(void **state)
{
	(void)state;
	struct hold hold = fresh();
	refuse(&hold, NOW);
	hold_started(&hold);
	assert_false(hold_allows(&hold, NOW + 99999));
	hold_abandoned(&hold);
	assert_true(hold_allows(&hold, NOW + 5000));
	assert_int_equal(hold.state, HOLD_REFUSED);
	struct hold ok = fresh();
	hold_started(&ok);
	hold_abandoned(&ok);
	assert_true(hold_allows(&ok, NOW));
}

static void the_operator_releases(void **state)
{
	(void)state;
	struct hold hold = fresh();
	refuse(&hold, NOW);
	hold_started(&hold);
	assert_int_equal(hold_release(&hold), HOLD_ENDED);
	assert_true(hold_allows(&hold, NOW));
	assert_int_equal(hold.state, HOLD_OK);
}

static void long_reasons_are_cut(void **state)
{
	(void)state;
	struct hold hold = fresh();
	char why[1000];
	memset(why, 'x', sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	hold_refused(&hold, HOLD_ANY_KIND, 1, why, NOW, WALL);
	assert_int_equal(strlen(hold.why), sizeof(hold.why) - 1);
}

/* A token may lack the scope for one kind of call alone. */
static void a_refusal_of_one_kind_ends_by_that_kind(void **state)
{
	struct hold hold;

	(void)state;
	hold_init(&hold, 1000, 60000);
	assert_int_equal(hold_refused(&hold, 7, 1, "403", NOW, WALL), HOLD_BEGAN);
	hold_started(&hold);
	assert_int_equal(hold_worked(&hold, 3), HOLD_SAME);
	assert_int_equal(hold.state, HOLD_REFUSED);
	/* The probe's slot is back: the call that was refused may follow at once. */
	assert_true(hold_allows(&hold, NOW + HOLD_FIRST_PROBE_MS));
	hold_started(&hold);
	assert_int_equal(hold_worked(&hold, 7), HOLD_ENDED);
	assert_int_equal(hold.state, HOLD_OK);
	/* Refused for two kinds: each has to work, or it would end and begin for ever. */
	hold_refused(&hold, 7, 1, "403", NOW, WALL);
	hold_refused(&hold, 8, 1, "403", NOW, WALL);
	assert_int_equal(hold_worked(&hold, 3), HOLD_SAME);
	assert_int_equal(hold_worked(&hold, 7), HOLD_SAME);
	assert_int_equal(hold_worked(&hold, 8), HOLD_ENDED);
	/* The whole token is refused after all: then anything that works shows that it is not. */
	hold_refused(&hold, 7, 1, "403", NOW, WALL);
	hold_refused(&hold, HOLD_ANY_KIND, 1, "401", NOW, WALL);
	assert_int_equal(hold_worked(&hold, 3), HOLD_ENDED);
}

/* What the refused call was for was done by hand: such a call may never come again. */
static void a_refusal_of_one_kind_ends_when_its_contact_got_by(void **state)
{
	struct hold hold;

	(void)state;
	hold_init(&hold, 1000, 60000);
	assert_int_equal(hold_got_by(&hold, 1), HOLD_SAME);
	hold_refused(&hold, 7, 1, "403", NOW, WALL);
	assert_int_equal(hold_got_by(&hold, 2), HOLD_SAME);
	assert_int_equal(hold_got_by(&hold, 1), HOLD_ENDED);
	assert_int_equal(hold.state, HOLD_OK);
	hold_refused(&hold, HOLD_ANY_KIND, 1, "401", NOW, WALL);
	assert_int_equal(hold_got_by(&hold, 1), HOLD_SAME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_of_one_kind_ends_by_that_kind),
		cmocka_unit_test(a_refusal_of_one_kind_ends_when_its_contact_got_by),
		cmocka_unit_test(a_fresh_one_lets_everything_through),
		cmocka_unit_test(a_refusal_holds_at_once_and_probes),
		cmocka_unit_test(stragglers_do_not_move_the_schedule),
		cmocka_unit_test(one_lane_alone_is_no_outage),
		cmocka_unit_test(an_answer_in_between_starts_the_count_again),
		cmocka_unit_test(no_connection_is_an_outage_at_once),
		cmocka_unit_test(probes_of_an_outage_back_off),
		cmocka_unit_test(the_newest_trouble_names_the_state),
		cmocka_unit_test(a_failed_probe_keeps_it_refused),
		cmocka_unit_test(a_refusal_is_an_answer),
		cmocka_unit_test(an_abandoned_probe_gives_its_slot_back),
		cmocka_unit_test(the_operator_releases),
		cmocka_unit_test(long_reasons_are_cut),
	};
	return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
