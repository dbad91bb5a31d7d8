/*
 * See calendar.h.
 */

#include "calendar.h"

#include "base/clock.h"

#define HOUR_MS INT64_C(3600000)
#define BELIEVE_AFTER_MS (24 * HOUR_MS)

void calendar_init(
	struct calendar *calendar, int64_t last_date_ms, int64_t now_mono_ms, int64_t now_wall_ms)
{
	const bool is_ahead = last_date_ms != TIME_NONE && now_wall_ms - last_date_ms > HOUR_MS;

	*calendar = (struct calendar){
		.offset_ms = (is_ahead ? last_date_ms : now_wall_ms) - now_mono_ms,
		.ahead_since_ms = INT64_MIN,
	};
}

int64_t calendar_date_ms(
	struct calendar *calendar, int64_t now_mono_ms, int64_t now_wall_ms, bool *ret_is_ahead)
{
	const int64_t offset_ms = now_wall_ms - now_mono_ms;
	const int64_t moved_ms = offset_ms - calendar->ahead_offset_ms;
	bool is_ahead = offset_ms - calendar->offset_ms > HOUR_MS;

	/* A clock that is set once more has to stand still anew. */
	if (is_ahead && (calendar->ahead_since_ms == INT64_MIN || moved_ms > HOUR_MS)) {
		calendar->ahead_since_ms = now_mono_ms;
		calendar->ahead_offset_ms = offset_ms;
	}
	if (is_ahead && now_mono_ms - calendar->ahead_since_ms >= BELIEVE_AFTER_MS)
		is_ahead = false;
	if (!is_ahead) {
		calendar->offset_ms = offset_ms;
		calendar->ahead_since_ms = INT64_MIN;
	}
	*ret_is_ahead = is_ahead;
	return now_mono_ms + calendar->offset_ms;
}
