/*
 * The machine's clocks are sane; the fake one moves only by hand.
 */

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
static void system_clocks(void **state)
{
	(void)state;
	assert_true(clock_wall_ms(&clock_system) > INT64_C(1700000000000));
	assert_true(clock_wall_ms(&clock_system) < INT64_C(4102444800000));
	int64_t last = clock_mono_ms(&clock_system);
	for (int i = 0; i < 1000; i++) {
		int64_t now = clock_mono_ms(&clock_system);
		assert_true(now >= last);
		last = now;
	}
}

static void fake_stands_still_until_moved(void **state)
{
	(void)state;
	struct clock_fake fake;
	clock_fake_init(&fake, 1658726378679);
	const struct clock *clock = &fake.clock;
	int64_t mono_ms = clock_mono_ms(clock);
	assert_int_equal(clock_wall_ms(clock), 1658726378679);
	assert_int_equal(clock_wall_ms(clock), 1658726378679);
	clock_fake_advance(&fake, 1500);
	assert_int_equal(clock_wall_ms(clock), 1658726380179);
	assert_int_equal(clock_mono_ms(clock) - mono_ms, 1500);
}

/* NTP steps the wall back; the monotonic clock doesn't know. */
static void fake_wall_may_jump_alone(void **state)
{
	(void)state;
	struct clock_fake fake;
	clock_fake_init(&fake, 5000);
	int64_t mono_ms = clock_mono_ms(&fake.clock);
	fake.wall_ms -= 3000;
	assert_int_equal(clock_wall_ms(&fake.clock), 2000);
	assert_int_equal(clock_mono_ms(&fake.clock), mono_ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_clocks),
		cmocka_unit_test(fake_stands_still_until_moved),
		cmocka_unit_test(fake_wall_may_jump_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
