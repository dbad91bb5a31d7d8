#ifndef SUBRELAY_STORE_CALENDAR_H
#define SUBRELAY_STORE_CALENDAR_H

/*
 * Today's date, for somebody who is about to throw away what is old.
 *
 * The wall clock alone won't do: once it stands a month ahead (a dead battery, a host's mistake),
 * everything is old, and what was thrown away does not come back when the clock does. So:
 *
 *   - back, it is believed at once: less is old then;
 *   - ahead by up to an hour, too (clocks are set, and drift);
 *   - further ahead only after it has stood there for a whole day of this process's time. Until
 *     then the date goes on from where it was, by the monotonic clock.
 *
 * At the start "where it was" is the newest thing that is kept. A machine that slept, or a daemon
 * that was stopped for a week, thus forgets a day later what it might have forgotten at once.
 *
 * Pure: no clock, no lock.
 */

#include <stdbool.h>
#include <stdint.h>

struct calendar {
	int64_t offset_ms;       /* date = monotonic + this */
	int64_t ahead_since_ms;  /* monotonic; INT64_MIN: the clock is not ahead */
	int64_t ahead_offset_ms; /* where the clock stands instead */
};

/* last_date_ms: of the newest thing kept; TIME_NONE: nothing is kept. */
void calendar_init(
	struct calendar *calendar, int64_t last_date_ms, int64_t now_mono_ms, int64_t now_wall_ms);
/* The date. *ret_is_ahead: the wall clock is ahead of it and not believed yet. */
int64_t calendar_date_ms(
	struct calendar *calendar, int64_t now_mono_ms, int64_t now_wall_ms, bool *ret_is_ahead);

#endif
