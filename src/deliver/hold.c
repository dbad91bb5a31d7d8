/*
 * The health of one workspace.
 *
 * A probe is an ordinary call that is let through while held; `probing` is its slot. What must stay
 * true: no more than one probe is out at a time (stragglers from before the hold may give the slot
 * back early, then two are, which does no harm), the schedule of probes moves only when a hold
 * begins or a probe comes back, and since_wall_ms keeps the beginning of the trouble when one kind
 * turns into the other.
 *
 * Forbidden: from OK to AWAY by a single contact that got an answer or was cut off.
 */

#include "deliver/hold.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void hold_init(struct hold *hold, int64_t retry_base_ms, int64_t retry_cap_ms)
{
	*hold = (struct hold){
		.state = HOLD_OK,
		.since_wall_ms = TIME_NONE,
		.retry_base_ms = retry_base_ms,
		.retry_cap_ms = retry_cap_ms,
	};
}

bool hold_allows(const struct hold *hold, int64_t now_mono_ms)
{
	return hold_next_ms(hold, now_mono_ms) <= now_mono_ms;
}

int64_t hold_next_ms(const struct hold *hold, int64_t now_mono_ms)
{
	if (hold->state == HOLD_OK)
		return now_mono_ms;
	return hold->probing ? INT64_MAX : hold->next_probe_mono_ms;
}

void hold_started(struct hold *hold)
{
	if (hold->state != HOLD_OK)
		hold->probing = true;
}

void hold_abandoned(struct hold *hold)
{
	hold->probing = false;
}

static void forget_failures(struct hold *hold)
{
	hold->failed_lane_count = 0;
}

static uint64_t bit_of(int kind)
{
	assert(kind >= 0 && kind < 64);
	return UINT64_C(1) << kind;
}

/* Refused for some kinds of call, and not for all. */
static bool is_refused_in_part(const struct hold *hold)
{
	return hold->state == HOLD_REFUSED && hold->refused_kinds != 0;
}

enum hold_change hold_worked(struct hold *hold, int kind)
{
	/* A token that may write contacts but no events works for the one and not for the other. */
	if (is_refused_in_part(hold)) {
		hold->refused_kinds &= ~bit_of(kind);
		if (hold->refused_kinds != 0) {
			hold_abandoned(hold);
			return HOLD_SAME;
		}
	}
	return hold_release(hold);
}

enum hold_change hold_got_by(struct hold *hold, int64_t lane)
{
	if (!is_refused_in_part(hold) || hold->refused_lane != lane)
		return HOLD_SAME;
	return hold_release(hold);
}

enum hold_change hold_release(struct hold *hold)
{
	forget_failures(hold);
	if (hold->state == HOLD_OK)
		return HOLD_SAME;
	hold->state = HOLD_OK;
	hold->why[0] = '\0';
	hold->since_wall_ms = TIME_NONE;
	hold->probing = false;
	hold->probes = 0;
	return HOLD_ENDED;
}

static void set_why(struct hold *hold, const char *why)
{
	(void)snprintf(hold->why, sizeof(hold->why), "%s", why); /* a cut text will do */
}

/* The answer is a probe's, or begins a hold: returns true when the next probe is to be set. */
static bool take_trouble(
	struct hold *hold, enum hold_state state, const char *why, int64_t now_wall_ms)
{
	bool was_probe = hold->probing;
	hold->probing = false;
	set_why(hold, why);
	if (hold->state == state) {
		if (was_probe)
			hold->probes++;
		return was_probe;
	}
	if (hold->state == HOLD_OK)
		hold->since_wall_ms = now_wall_ms;
	hold->state = state;
	hold->probes = 0;
	return true;
}

static void set_refused_probe(struct hold *hold, int64_t now_mono_ms)
{
	hold->next_probe_mono_ms =
		now_mono_ms + (hold->probes == 0 ? HOLD_FIRST_PROBE_MS : HOLD_PROBE_MS);
}

static void set_away_probe(struct hold *hold, struct rng *rng, int64_t now_mono_ms)
{
	int64_t cap_ms = hold->retry_cap_ms < HOLD_PROBE_MS ? hold->retry_cap_ms : HOLD_PROBE_MS;
	hold->next_probe_mono_ms =
		now_mono_ms + backoff_delay_ms(rng, hold->retry_base_ms, cap_ms, hold->probes + 1);
}

enum hold_change hold_refused(struct hold *hold, int kind, int64_t lane, const char *why,
	int64_t now_mono_ms, int64_t now_wall_ms)
{
	enum hold_state before = hold->state;
	forget_failures(hold); /* it was an answer */
	if (before != HOLD_REFUSED || kind == HOLD_ANY_KIND)
		hold->refused_kinds = 0;
	if (kind != HOLD_ANY_KIND)
		hold->refused_kinds |= bit_of(kind);
	hold->refused_lane = lane;
	if (take_trouble(hold, HOLD_REFUSED, why, now_wall_ms))
		set_refused_probe(hold, now_mono_ms);
	return before == HOLD_REFUSED ? HOLD_SAME : HOLD_BEGAN;
}

/* True when enough different contacts have failed in a row. */
static bool count_failure(struct hold *hold, int64_t lane)
{
	for (unsigned i = 0; i < hold->failed_lane_count; i++) {
		if (hold->failed_lanes[i] == lane)
			return hold->failed_lane_count == HOLD_AWAY_LANES;
	}
	if (hold->failed_lane_count < HOLD_AWAY_LANES)
		hold->failed_lanes[hold->failed_lane_count++] = lane;
	return hold->failed_lane_count == HOLD_AWAY_LANES;
}

/* A refused workspace whose probe failed without being refused: still refused, as far as is known.
 */
static void keep_refused(struct hold *hold, int64_t now_mono_ms)
{
	if (!hold->probing)
		return;
	hold->probing = false;
	hold->probes++;
	set_refused_probe(hold, now_mono_ms);
}

enum hold_change hold_failed(struct hold *hold, int64_t lane, bool unreachable, const char *why,
	struct rng *rng, int64_t now_mono_ms, int64_t now_wall_ms)
{
	enum hold_state before = hold->state;
	bool is_outage = count_failure(hold, lane) || unreachable || before == HOLD_AWAY;
	if (!is_outage) {
		if (before == HOLD_REFUSED)
			keep_refused(hold, now_mono_ms);
		return HOLD_SAME;
	}
	if (take_trouble(hold, HOLD_AWAY, why, now_wall_ms))
		set_away_probe(hold, rng, now_mono_ms);
	return before == HOLD_AWAY ? HOLD_SAME : HOLD_BEGAN;
}
