/*
 * How fast one workspace may be called.
 *
 * A window is known by its Reset. From its answers come two numbers: `remaining`, the lowest
 * Remaining seen (answers arrive in any order), and `reset_mono_ms`, after which it is over for
 * sure. What may be sent is remaining less the calls in flight: the server has counted some of
 * those already, so this errs on the safe side, and exactly not at all when answers arrive in
 * order.
 *
 * Spreading divides the time left by `remaining`, not by what is left after the calls in flight:
 * both then speak of the moment when the newest answer was written, the latency cancels out, and
 * the last covered call reaches the server just before its window ends.
 *
 * Where the window ends: let phase = Reset - start of a window, Reset taken from the server's clock
 * in ms, the start from our monotonic clock. It is the same for every window, whatever the clocks
 * show. The first answer of a window comes later than its start, so every window gives a phase that
 * is a little too small, and the largest of them is the best: the start it gives is late by half a
 * round trip at best, never early. It is forgotten slowly (1 in 2,000), for clocks drift.
 *
 * What must stay true: alone on a workspace, no server window gets more than its limit. Two kinds
 * of calls are not covered by a Remaining: the first ones after Reset has passed in silence, which
 * go at the even rate into a window that is fresh, and the single probe at a well-tried estimated
 * end.
 */

#include "deliver/pace.h"

#include <assert.h>

#define WINDOW_DEFAULT_MS 10000
#define WINDOW_MAX_MS 120000     /* steps longer than this are pauses */
#define RESET_LATE_MS 2000       /* Intercom's Reset lies this far after the end */
#define RESET_SPAN_MAX_MS 300000 /* a Reset further ahead is a mistake */
#define RETRY_AFTER_MAX_S 900
#define STEP_BACK_MAX_S \
	60 /* a Reset this much older is not late but the server's clock set back \
	    */
#define RESERVE_PART 50
#define BURST_PART 200
#define FORGET_PART 2000
#define STEADY_ENOUGH 2
#define CAUTION_US 1000000

void pace_init(struct pace *pace, int64_t rate_limit)
{
	*pace = (struct pace){.fixed_per_10s = rate_limit, .stop_until_mono_ms = INT64_MIN};
}

void pace_set_limit(struct pace *pace, int64_t rate_limit)
{
	pace->fixed_per_10s = rate_limit;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t window_length_ms(const struct pace *pace)
{
	return pace->window_ms > 0 ? pace->window_ms : WINDOW_DEFAULT_MS;
}

static int64_t reserve(const struct pace *pace)
{
	return pace->limit / RESERVE_PART;
}

/* The estimate; Reset is the last word. */
static int64_t end_ms(const struct pace *pace)
{
	if (pace->window_ms == 0)
		return pace->reset_mono_ms;
	return min64(pace->window_start_mono_ms + pace->window_ms, pace->reset_mono_ms);
}

/* From here to the end the reserve is spent as well. */
static int64_t reserve_end_ms(const struct pace *pace)
{
	return end_ms(pace) - window_length_ms(pace) / RESERVE_PART;
}

static bool is_over(const struct pace *pace, int64_t now_mono_ms)
{
	return now_mono_ms >= pace->reset_mono_ms;
}

static bool may_probe(const struct pace *pace)
{
	return pace->steady >= STEADY_ENOUGH && !pace->assumed && pace->in_flight == 0;
}

static int64_t probe_ms(const struct pace *pace)
{
	return end_ms(pace) + pace->window_ms / BURST_PART;
}

/*
 * What other apps take in a whole window, by this window's figures once a good part of it is seen,
 * by the last one's before. Calls of ours in flight may be counted already: they are not others'.
 */
static int64_t others_seen(const struct pace *pace)
{
	int64_t used = pace->limit - pace->remaining - pace->mine - pace->in_flight;
	int64_t lived_ms = pace->alive_mono_ms - pace->window_start_mono_ms;
	if (pace->window_ms == 0 || pace->assumed || lived_ms < pace->window_ms / 4)
		return pace->others_per_window;
	return max64(used, 0) * pace->window_ms / lived_ms;
}

static int64_t others_within(const struct pace *pace, int64_t span_ms)
{
	return others_seen(pace) * max64(span_ms, 0) / window_length_ms(pace);
}

/* When the headers allow a call, spacing apart. */
static int64_t covered_ms(const struct pace *pace, int64_t now_mono_ms)
{
	if (is_over(pace, now_mono_ms))
		return pace->in_flight < pace->limit ? now_mono_ms : INT64_MAX;
	int64_t covered = pace->remaining - pace->in_flight -
		others_within(pace, now_mono_ms - pace->alive_mono_ms);
	if (covered > reserve(pace))
		return now_mono_ms;
	if (covered > 0)
		return max64(reserve_end_ms(pace), now_mono_ms);
	int64_t next_ms = pace->reset_mono_ms;
	if (may_probe(pace))
		next_ms = min64(next_ms, probe_ms(pace));
	return max64(next_ms, now_mono_ms);
}

int64_t pace_next_ms(const struct pace *pace, int64_t now_mono_ms)
{
	int64_t next_ms = max64(now_mono_ms, pace->stop_until_mono_ms);
	if (pace->known)
		next_ms = max64(next_ms, covered_ms(pace, now_mono_ms));
	else if (!pace->unlimited && !pace->fixed_per_10s && pace->in_flight > 0)
		return INT64_MAX;
	if (pace->known || pace->fixed_per_10s)
		next_ms = max64(next_ms, (pace->next_mono_us + 999) / 1000);
	return next_ms;
}

static int64_t even_us(const struct pace *pace)
{
	return window_length_ms(pace) * 1000 / pace->limit;
}

/* Between two calls by the configured limit. */
static int64_t ceiling_us(const struct pace *pace)
{
	return pace->fixed_per_10s > 0 ? INT64_C(10000000) / pace->fixed_per_10s : 0;
}

static int64_t spread_us(const struct pace *pace, int64_t now_mono_ms)
{
	int64_t left_ms = end_ms(pace) - now_mono_ms;
	int64_t left_us = left_ms * 1000;
	if (pace->assumed || left_us <= 0)
		return even_us(pace);
	int64_t calls = pace->remaining;
	if (now_mono_ms < reserve_end_ms(pace))
		calls -= reserve(pace);
	/* Leave the others what they take, but never starve for it. */
	calls = max64(calls - others_within(pace, left_ms), calls / 2);
	return max64(left_us / max64(calls, 1), even_us(pace) / 2);
}

static void begin_assumed(struct pace *pace, int64_t now_mono_ms)
{
	pace->assumed = true;
	pace->probing = false;
	pace->remaining = pace->limit;
	pace->window_start_mono_ms = now_mono_ms;
	pace->reset_mono_ms = now_mono_ms + window_length_ms(pace);
}

void pace_sent(struct pace *pace, int64_t now_mono_ms)
{
	int64_t interval_us = 0;
	if (pace->known) {
		if (is_over(pace, now_mono_ms))
			begin_assumed(pace, now_mono_ms);
		if (pace->remaining <= pace->in_flight) { /* see may_probe */
			pace->probing = true;
			pace->probe_mono_ms = now_mono_ms;
		}
		interval_us = spread_us(pace, now_mono_ms);
	}
	interval_us = max64(interval_us, ceiling_us(pace));
	/* A slot missed by a little is caught up, one missed by much is not. */
	int64_t burst_us = window_length_ms(pace) * 1000 / BURST_PART;
	pace->next_mono_us = max64(pace->next_mono_us, now_mono_ms * 1000 - burst_us) + interval_us;
	/* After a 429 one call goes ahead; its answer brings the next slot closer again. */
	if (pace->cautious)
		pace->next_mono_us = now_mono_ms * 1000 + max64(CAUTION_US, ceiling_us(pace));
	pace->in_flight++;
}

/* Reset on our monotonic clock; -1 when the dates make no sense. */
static int64_t reset_to_mono(
	const struct pace_headers *headers, int64_t now_mono_ms, int64_t now_wall_ms)
{
	bool has_date = headers->date_s >= 0;
	int64_t wall_ms = has_date ? headers->date_s * 1000 : now_wall_ms;
	int64_t span_ms = headers->reset_s * 1000 - wall_ms;
	if (has_date && span_ms < 0)
		span_ms = 0; /* a slow answer, out of a window that is over */
	if (span_ms < 0 || span_ms > RESET_SPAN_MAX_MS)
		return -1;
	return now_mono_ms + span_ms;
}

/* Returns false when the phase must be learnt anew. */
static bool learn_length(struct pace *pace, int64_t step_ms)
{
	bool fits = pace->window_ms > 0 && step_ms > 0 && step_ms % pace->window_ms == 0;
	if (fits && (step_ms == pace->window_ms || !pace->outlived)) {
		pace->steady++; /* a multiple: windows went by without a call */
		return true;
	}
	pace->steady = 0;
	if (step_ms > 0 && step_ms <= WINDOW_MAX_MS) {
		bool first = pace->window_ms == 0;
		pace->window_ms = step_ms;
		return first;
	}
	return false;
}

static void learn_phase(struct pace *pace, int64_t now_mono_ms, bool keep)
{
	int64_t phase_ms = pace->reset_wall_s * 1000 - now_mono_ms;
	int64_t forgotten_ms = (now_mono_ms - pace->seen_mono_ms) / FORGET_PART;
	if (keep)
		phase_ms = max64(phase_ms, pace->phase_ms - forgotten_ms);
	int64_t start_ms = pace->reset_wall_s * 1000 - phase_ms;
	if (keep && pace->window_ms > 0 && now_mono_ms - start_ms > 2 * pace->window_ms)
		start_ms = now_mono_ms; /* can't be: a clock was set */
	pace->window_start_mono_ms = start_ms;
	pace->phase_ms = pace->reset_wall_s * 1000 - start_ms;
}

static void learn_others(struct pace *pace)
{
	if (pace->known)
		pace->others_per_window = others_seen(pace);
}

/* What an answer says remains. One that was made before a call whose own answer was lost does not count
 * that call. */
static int64_t told_remaining(struct pace *pace, const struct pace_headers *headers)
{
	if (pace->unaware == 0)
		return headers->remaining;
	const int64_t remaining = max64(headers->remaining - pace->untold, 0);

	if (--pace->unaware == 0)
		pace->untold = 0;
	return remaining;
}

static void begin_window(struct pace *pace, const struct pace_headers *headers, int64_t now_mono_ms,
	int64_t now_wall_ms)
{
	learn_others(pace);
	bool keep =
		pace->known && learn_length(pace, (headers->reset_s - pace->reset_wall_s) * 1000);
	pace->known = true;
	pace->unlimited = false;
	pace->assumed = false;
	pace->probing = false;
	pace->outlived = false;
	pace->cautious = false;
	pace->mine = 1;
	pace->reset_wall_s = headers->reset_s;
	pace->remaining = told_remaining(pace, headers);
	learn_phase(pace, now_mono_ms, keep);
	pace->seen_mono_ms = now_mono_ms;
	pace->alive_mono_ms = now_mono_ms;
	int64_t reset_ms = reset_to_mono(headers, now_mono_ms, now_wall_ms);
	if (reset_ms < 0)
		reset_ms = now_mono_ms + window_length_ms(pace) + RESET_LATE_MS;
	if (headers->date_s < 0) /* the local wall clock is not to be trusted that far */
		reset_ms = max64(reset_ms, pace->window_start_mono_ms + pace->window_ms);
	pace->reset_mono_ms = reset_ms;
	/* The last slot of a starved window may lie far ahead. */
	int64_t slot_us = max64(even_us(pace), ceiling_us(pace));
	pace->next_mono_us = min64(pace->next_mono_us, now_mono_ms * 1000 + slot_us);
}

/* The probe was answered out of the old window: it lived when the probe was sent. */
static void mend_estimate(struct pace *pace)
{
	pace->probing = false;
	pace->outlived = true;
	pace->steady = 0;
	int64_t start_ms = pace->probe_mono_ms - pace->window_ms;
	if (start_ms <= pace->window_start_mono_ms)
		return;
	pace->window_start_mono_ms = start_ms;
	pace->phase_ms = pace->reset_wall_s * 1000 - start_ms;
}

static void continue_window(struct pace *pace, const struct pace_headers *headers,
	int64_t now_mono_ms, int64_t now_wall_ms)
{
	if (pace->assumed)
		return; /* late: it tells of the window before */
	pace->mine++;
	pace->remaining = min64(pace->remaining, told_remaining(pace, headers));
	pace->alive_mono_ms = now_mono_ms;
	if (now_mono_ms - pace->window_start_mono_ms > pace->window_ms + pace->window_ms / 4)
		pace->outlived = true;
	/* Date has whole seconds: the smallest distance is the truest. */
	int64_t reset_ms = reset_to_mono(headers, now_mono_ms, now_wall_ms);
	if (headers->date_s >= 0 && reset_ms >= 0)
		pace->reset_mono_ms = min64(pace->reset_mono_ms, reset_ms);
	if (pace->probing)
		mend_estimate(pace);
}

static bool is_late(const struct pace *pace, const struct pace_headers *headers)
{
	return pace->known && headers->reset_s < pace->reset_wall_s &&
		headers->reset_s >= pace->reset_wall_s - STEP_BACK_MAX_S;
}

static void take_window(struct pace *pace, const struct pace_headers *headers, int64_t now_mono_ms,
	int64_t now_wall_ms)
{
	if (is_late(pace, headers))
		return;
	pace->limit =
		headers->limit > 0 ? headers->limit : max64(pace->limit, headers->remaining + 1);
	if (pace->known && headers->reset_s == pace->reset_wall_s)
		continue_window(pace, headers, now_mono_ms, now_wall_ms);
	else
		begin_window(pace, headers, now_mono_ms, now_wall_ms);
}

/* Counted by the server, perhaps, but not told. */
static void count_untold(struct pace *pace)
{
	if (pace->remaining > 0)
		pace->remaining--;
	pace->untold++;
	pace->unaware = pace->in_flight;
	if (pace->unaware == 0)
		pace->untold = 0;
	pace->mine++;
	if (pace->probing) {
		pace->probing = false;
		pace->steady = 0;
	}
}

static void stop(struct pace *pace, const struct pace_headers *headers, int64_t now_mono_ms,
	int64_t now_wall_ms)
{
	int64_t until_ms = -1;
	if (headers->reset_s >= 0)
		until_ms = reset_to_mono(headers, now_mono_ms, now_wall_ms);
	if (headers->retry_after_s >= 0) {
		int64_t span_ms = min64(headers->retry_after_s, RETRY_AFTER_MAX_S) * 1000;
		until_ms = max64(until_ms, now_mono_ms + span_ms);
	}
	if (until_ms < 0 && pace->known && !is_over(pace, now_mono_ms))
		until_ms = pace->reset_mono_ms;
	if (until_ms < 0)
		until_ms = now_mono_ms + WINDOW_DEFAULT_MS;
	pace->stop_until_mono_ms = max64(pace->stop_until_mono_ms, until_ms);
	pace->next_mono_us = max64(pace->next_mono_us, pace->stop_until_mono_ms * 1000);
	if (headers->reset_s < 0 || !is_late(pace, headers)) {
		pace->remaining = 0;
		pace->steady = 0;
		pace->cautious = pace->known;
	}
}

void pace_answered(struct pace *pace, const struct pace_headers *headers, int64_t now_mono_ms,
	int64_t now_wall_ms)
{
	assert(pace->in_flight > 0);
	pace->in_flight--;
	if (headers && headers->reset_s >= 0 && headers->remaining >= 0)
		take_window(pace, headers, now_mono_ms, now_wall_ms);
	else if (pace->known)
		count_untold(pace);
	else if (headers && !headers->too_many)
		pace->unlimited = true;
	/* Headers may stay away for good: the call that went ahead was taken, that will do. */
	if (headers && headers->reset_s < 0 && !headers->too_many)
		pace->cautious = false;
	if (headers && headers->too_many)
		stop(pace, headers, now_mono_ms, now_wall_ms);
}

bool pace_is_limiting(const struct pace *pace, int64_t now_mono_ms)
{
	bool has_rate =
		pace->known || pace->fixed_per_10s > 0 || pace->stop_until_mono_ms > now_mono_ms;
	return has_rate && pace_next_ms(pace, now_mono_ms) > now_mono_ms;
}
