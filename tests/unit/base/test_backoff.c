/*
 * Delays stay in their bounds, use all of them, replay by seed and never overflow.
 */

#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>

static void delays_stay_within_the_ceiling(void **state)
{
	(void)state;
	static const int64_t ceilings_ms[] = {5000, 10000, 20000, 40000, 60000, 60000, 60000};
	for (uint64_t seed = 0; seed < 2000; seed++) {
		struct rng rng;
		rng_seed(&rng, seed);
		for (unsigned attempt = 1; attempt <= 7; attempt++) {
			int64_t delay_ms = backoff_delay_ms(&rng, 5000, 60000, attempt);
			assert_in_range(delay_ms, 0, ceilings_ms[attempt - 1]);
		}
	}
}

static void jitter_is_full(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 1);
	int seen[11] = {0};
	for (int i = 0; i < 11000; i++)
		seen[backoff_delay_ms(&rng, 10, 1000, 1)]++;
	/* 1000 each on average; 800 to 1200 is more than six standard deviations wide. */
	for (int i = 0; i <= 10; i++)
		assert_in_range(seen[i], 800, 1200);
}

static void extremes_do_not_overflow(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 3);
	static const unsigned attempts[] = {1, 2, 31, 32, 33, 62, 63, 64, 65, 1000, UINT_MAX};
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		assert_true(backoff_delay_ms(&rng, INT64_MAX, INT64_MAX, attempts[i]) >= 0);
		assert_true(backoff_delay_ms(&rng, 1, INT64_MAX, attempts[i]) >= 0);
		assert_in_range(backoff_delay_ms(&rng, 1, 900000, attempts[i]), 0, 900000);
		assert_in_range(backoff_delay_ms(&rng, INT64_MAX, 7, attempts[i]), 0, 7);
		assert_int_equal(backoff_delay_ms(&rng, 0, 900000, attempts[i]), 0);
		assert_int_equal(backoff_delay_ms(&rng, 5000, 0, attempts[i]), 0);
	}
}

/* The cap also holds when the base alone is over it. */
static void cap_below_base(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 4);
	for (int i = 0; i < 1000; i++)
		assert_in_range(backoff_delay_ms(&rng, 5000, 100, 1), 0, 100);
}

static void seed_replays(void **state)
{
	(void)state;
	struct rng a, b, c;
	rng_seed(&a, 42);
	rng_seed(&b, 42);
	rng_seed(&c, 43);
	int differ = 0;
	for (unsigned i = 1; i < 20; i++) {
		int64_t delay_ms = backoff_delay_ms(&a, 1000, 900000, i);
		assert_int_equal(delay_ms, backoff_delay_ms(&b, 1000, 900000, i));
		differ += delay_ms != backoff_delay_ms(&c, 1000, 900000, i);
	}
	assert_true(differ > 10);
}

/* The published first numbers of splitmix64 for seed 1234567. */
static void generator_is_splitmix64(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 1234567);
	assert_true(rng_below(&rng, UINT64_MAX) == UINT64_C(6457827717110365317));
	assert_true(rng_below(&rng, UINT64_MAX) == UINT64_C(3203168211198807973));
}

static void below_a_limit(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed_random(&rng);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(rng_below(&rng, 0), 0);
		assert_int_equal(rng_below(&rng, 1), 0);
		assert_true(rng_below(&rng, 3) < 3);
		assert_true(rng_below(&rng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
	}
}

static void random_seeds_differ(void **state)
{
	(void)state;
	struct rng a, b;
	rng_seed_random(&a);
	rng_seed_random(&b);
	assert_true(a.state != b.state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delays_stay_within_the_ceiling),
		cmocka_unit_test(jitter_is_full),
		cmocka_unit_test(extremes_do_not_overflow),
		cmocka_unit_test(cap_below_base),
		cmocka_unit_test(seed_replays),
		cmocka_unit_test(generator_is_splitmix64),
		cmocka_unit_test(below_a_limit),
		cmocka_unit_test(random_seeds_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
