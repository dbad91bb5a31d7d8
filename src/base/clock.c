/*
 * The only place that asks what time it is.
 *
 * The machine's clocks through clock_gettime, and a clock that tests move by hand. The fake is read
 * and moved atomically: a scenario moves it while workers and dispatcher look at it.
 */

#include "base/clock.h"

#include <time.h>

static int64_t read_ms(clockid_t which)
{
	struct timespec now = {0};
	(void)clock_gettime(which, &now); /* cannot fail for the two clocks we name */
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t system_wall_ms(void *context)
{
	(void)context;
	return read_ms(CLOCK_REALTIME);
}

static int64_t system_mono_ms(void *context)
{
	(void)context;
	return read_ms(CLOCK_MONOTONIC);
}

const struct clock clock_system = {.wall_ms = system_wall_ms, .mono_ms = system_mono_ms};

static int64_t fake_wall_ms(void *context)
{
	struct clock_fake *fake = context;
	return __atomic_load_n(&fake->wall_ms, __ATOMIC_SEQ_CST);
}

static int64_t fake_mono_ms(void *context)
{
	struct clock_fake *fake = context;
	return __atomic_load_n(&fake->mono_ms, __ATOMIC_SEQ_CST);
}

void clock_fake_init(struct clock_fake *fake, int64_t wall_ms)
{
	*fake = (struct clock_fake){
		.clock = {.wall_ms = fake_wall_ms, .mono_ms = fake_mono_ms, .context = fake},
		.wall_ms = wall_ms,
	};
}

void clock_fake_advance(struct clock_fake *fake, int64_t span_ms)
{
	(void)__atomic_add_fetch(&fake->wall_ms, span_ms, __ATOMIC_SEQ_CST);
	(void)__atomic_add_fetch(&fake->mono_ms, span_ms, __ATOMIC_SEQ_CST);
}

int64_t clock_wall_ms(const struct clock *clock)
{
	return clock->wall_ms(clock->context);
}

int64_t clock_mono_ms(const struct clock *clock)
{
	return clock->mono_ms(clock->context);
}
