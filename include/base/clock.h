#ifndef SUBRELAY_BASE_CLOCK_H
#define SUBRELAY_BASE_CLOCK_H

/*
 * The only place that asks what time it is, so that a test can be the one who answers.
 *
 * Two clocks: the wall (unix time; may jump; for dates that are stored, shown or compared with a
 * provider's) and the monotonic one (never jumps; for spans, deadlines and due times of this
 * process). All times are int64_t milliseconds; a name ends in _at_ms for a wall date, _mono_ms for
 * a monotonic instant, _ms for a span.
 */

#include <stdint.h>

/* No date: absent or null where a date may be. */
#define TIME_NONE INT64_MIN

struct clock {
	int64_t (*wall_ms)(void *context);
	int64_t (*mono_ms)(void *context);
	void *context;
};

/* The machine's clocks. Safe from any thread. */
extern const struct clock clock_system;

/* A clock for tests: stands still until it is moved. Its struct clock points at itself. */
struct clock_fake {
	struct clock clock;
	int64_t wall_ms;
	int64_t mono_ms;
};

void clock_fake_init(struct clock_fake *fake, int64_t wall_ms);
/* Moves both clocks ahead. */
void clock_fake_advance(struct clock_fake *fake, int64_t span_ms);

int64_t clock_wall_ms(const struct clock *clock);
int64_t clock_mono_ms(const struct clock *clock);

#endif
