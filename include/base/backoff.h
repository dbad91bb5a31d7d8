#ifndef SUBRELAY_BASE_BACKOFF_H
#define SUBRELAY_BASE_BACKOFF_H

/*
 * Exponential backoff with full jitter, and the random numbers it needs. Pure: the generator is the
 * caller's, so a seed replays exactly.
 */

#include <stdint.h>

/* splitmix64; not for secrets. */
struct rng {
	uint64_t state;
};

void rng_seed(struct rng *rng, uint64_t seed);
/* Seeds from the system's entropy. */
void rng_seed_random(struct rng *rng);
/* Uniform in [0, limit); limit 0 gives 0. */
uint64_t rng_below(struct rng *rng, uint64_t limit);

/*
 * The delay before try number `attempt` + 1, given that `attempt` (1, 2, 3 …) tries have failed:
 * uniform in [0, min(cap_ms, base_ms * 2^(attempt - 1))], never overflowing.
 */
int64_t backoff_delay_ms(struct rng *rng, int64_t base_ms, int64_t cap_ms, unsigned attempt);

#endif
