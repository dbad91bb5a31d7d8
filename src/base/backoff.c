/*
 * Exponential backoff with full jitter.
 *
 * Full jitter (anything from nothing to the ceiling) spreads a crowd that failed together better
 * than a delay with a little noise on it. What must stay true: same seed, same delays, on every
 * machine; and no overflow whatever the number of attempts.
 */

#include "base/backoff.h"

#include "base/clock.h"

#include <assert.h>
#include <unistd.h>

void rng_seed(struct rng *rng, uint64_t seed)
{
	rng->state = seed;
}

void rng_seed_random(struct rng *rng)
{
	uint64_t seed;
	if (getentropy(&seed, sizeof(seed)) != 0) {
		/* Jitter only needs two processes to differ, so the time and the process id will
		 * do. */
		seed = (uint64_t)clock_wall_ms(&clock_system) << 20 ^ (uint64_t)getpid();
	}
	rng_seed(rng, seed);
}

static uint64_t next(struct rng *rng)
{
	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = rng->state;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	if (limit == 0)
		return 0;
	/* The 2^64 mod limit lowest numbers would make the small remainders likelier: draw again.
	 */
	uint64_t uneven = (0 - limit) % limit;
	uint64_t drawn;
	do {
		drawn = next(rng);
	} while (drawn < uneven);
	return drawn % limit;
}

int64_t backoff_delay_ms(struct rng *rng, int64_t base_ms, int64_t cap_ms, unsigned attempt)
{
	assert(attempt >= 1 && base_ms >= 0 && cap_ms >= 0);
	unsigned doublings = attempt - 1;
	int64_t ceiling_ms = cap_ms;
	if (base_ms == 0)
		ceiling_ms = 0;
	else if (doublings < 63 && base_ms <= cap_ms >> doublings)
		ceiling_ms = base_ms << doublings;
	return (int64_t)rng_below(rng, (uint64_t)ceiling_ms + 1);
}
