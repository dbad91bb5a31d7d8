#ifndef SUBRELAY_DELIVER_PACE_H
#define SUBRELAY_DELIVER_PACE_H

/*
 * How fast one workspace may be called: fixed windows, read from Intercom's own headers.
 *
 * Facts (Intercom docs "Rate limiting", and recorded traffic): the allowance is counted in fixed
 * windows of 10 s; every answer to an authenticated call carries X-RateLimit-Limit (per window),
 * -Remaining and -Reset (unix s; "safe again at", up to 2 s after the window's true end). Inside a
 * window every call lowers Remaining by one, whatever its answer. Headers may be missing now and
 * then. Other apps may share the allowance. After a 429 nothing may be sent until Reset.
 *
 * The rule:
 *   - before the first answer one call at a time (the limit is not known yet); an answer without
 * the headers, when none was ever seen, lifts every limit;
 *   - a call is sent only when Remaining, less the calls in flight, covers it. What remains is
 * spread evenly over the time that is left of the window, at no more than twice the even rate,
 * leaving other apps what they are seen to take (up to half of it); from limits of 50 on, one call
 * in 50 is kept until shortly before the window's end, so that other apps don't run into a 429 for
 * us, or we for them, and so that a call is left to see the next window begin;
 *   - the window's length is learnt from the distance between successive Reset values, its start
 * from the first answers that carry a new one (always late, so never too early); until it is learnt
 *     the end is taken to be Reset;
 *   - with nothing left it waits for Reset, or, once the length has held for a few windows, for the
 *     estimated end, where a single call asks whether the next window has begun; if not, the
 * estimate is mended and Reset awaited;
 *   - once Reset has passed in silence a fresh window is assumed and entered at the even rate;
 *   - a 429 waits for Reset (or Retry-After if that is later; with neither, 10 s), then a single
 *     call goes ahead;
 *   - a configured limit (calls per 10 s) is a ceiling: it spaces calls evenly from the first one
 * on, and the headers are obeyed as well.
 *
 * Pure: no clock, no lock. Times are monotonic ms of the caller's clock; Reset is converted by the
 * answer's Date header (or the wall clock when it has none), so that a wrong local clock does no
 * harm.
 */

#include <stdbool.h>
#include <stdint.h>

struct pace {
	int64_t fixed_per_10s; /* 0: by headers */
	/* everything below belongs to pace.c */
	bool known;     /* headers were seen */
	bool unlimited; /* an answer came without them, and none was ever seen */
	int64_t limit;
	int64_t remaining; /* by the newest answer, in-flight calls not subtracted */
	int64_t in_flight;
	int64_t next_mono_us;       /* the next call not before */
	int64_t stop_until_mono_ms; /* after a 429 */
	/* the window */
	int64_t reset_wall_s; /* identifies it */
	int64_t reset_mono_ms;
	int64_t window_start_mono_ms; /* estimate, never early */
	int64_t window_ms;            /* learnt; 0: not yet */
	int64_t seen_mono_ms;         /* its first answer */
	int64_t alive_mono_ms;        /* its newest answer */
	int64_t mine;                 /* answers out of it */
	bool assumed;                 /* Reset passed in silence: begun by us, not seen yet */
	int64_t untold;               /* calls that ended without headers, of which ... */
	int64_t unaware;              /* ... so many answers that are still out may not know */
	/* the estimate */
	int64_t phase_ms; /* from a window's start to its Reset on the server's wall clock, and from
			     the monotonic clock to that: start = reset_wall_s * 1000 - phase */
	unsigned steady;  /* windows in a row whose length held */
	bool probing;     /* a call that Remaining does not cover asks for the next window */
	int64_t probe_mono_ms;
	bool outlived;             /* the window lasts longer than was thought */
	bool cautious;             /* after a 429, until a new window is seen */
	int64_t others_per_window; /* calls of other apps */
};

/* What an answer said about the rate; absent fields are -1. */
struct pace_headers {
	int64_t limit;
	int64_t remaining;
	int64_t reset_s; /* unix */
	int64_t date_s;  /* the Date header, unix; -1: use now_wall_ms */
	int64_t retry_after_s;
	bool too_many; /* the answer was a 429 */
};

/* rate_limit: calls per 10 s, 0 for Intercom's headers. */
void pace_init(struct pace *pace, int64_t rate_limit);
/* Keeps what was learnt; for a reload. */
void pace_set_limit(struct pace *pace, int64_t rate_limit);

/* The earliest monotonic time at which one more call may be sent; <= now: now. INT64_MAX: not
 * before an answer to a call in flight arrives. An answer may also make it earlier. */
int64_t pace_next_ms(const struct pace *pace, int64_t now_mono_ms);
/* A call goes out now. Only after pace_next_ms allowed it. */
void pace_sent(struct pace *pace, int64_t now_mono_ms);
/* It was answered (or failed: headers NULL). */
void pace_answered(struct pace *pace, const struct pace_headers *headers, int64_t now_mono_ms,
	int64_t now_wall_ms);
/* True while calls wait because of the rate. For `status`. */
bool pace_is_limiting(const struct pace *pace, int64_t now_mono_ms);

#endif
