#ifndef SUBRELAY_DELIVER_HOLD_H
#define SUBRELAY_DELIVER_HOLD_H

/*
 * The health of one workspace, apart from the fate of any single delivery (compare a mail queue's
 * throttled destination).
 *
 *   OK ----refused (401, 403, 406, wrong version)------------> REFUSED   probe after 5 s, then 30 s
 *   OK ----several contacts in a row unanswered or 5xx-------> AWAY      probes by backoff
 *   REFUSED, AWAY ----any answer that shows it works again---> OK
 *   REFUSED for a kind of call (403: a missing scope) -------> OK by an answer to that kind alone
 *                                                              (to each, when several are refused);
 *                                                              other kinds go on probing, at once;
 *                                                              or when the contact that was refused
 *                                                              got by without such a call: somebody
 *                                                              did by hand what it was to do
 *   REFUSED <---> AWAY: the newest trouble names the state, by the same rules; this counts as BEGAN
 *
 * While held nothing is sent but one probe at a time: an ordinary call of a lane. Nothing is parked
 * for the hold's sake: time in a hold does not age a delivery.
 *
 * "Several contacts": a single contact that keeps failing while no other is tried is that
 * delivery's own trouble and ages out by give_up_after; AWAY_LANES different lanes failing in a row
 * with no answer between them is an outage. A connection that cannot be made at all is an outage at
 * once.
 *
 * Answers of calls that were under way when the hold began neither move the probes' schedule nor
 * are they told apart from the probe's own: one that works ends the hold.
 *
 * Pure: no clock, no lock.
 */

#include "base/backoff.h"

#include <stdbool.h>
#include <stdint.h>

#define HOLD_FIRST_PROBE_MS 5000
#define HOLD_PROBE_MS 30000
#define HOLD_AWAY_LANES 3
/* Instead of a kind of call: the refusal concerns every kind. */
#define HOLD_ANY_KIND (-1)

enum hold_state { HOLD_OK, HOLD_REFUSED, HOLD_AWAY };

enum hold_change { HOLD_SAME, HOLD_BEGAN, HOLD_ENDED };

struct hold {
	enum hold_state state;
	char why[200]; /* for people: "401 unauthorized: Access Token Invalid (request …)" */
	int64_t since_wall_ms; /* of the hold; TIME_NONE when OK */
	/* belongs to hold.c */
	int64_t next_probe_mono_ms;
	bool probing;
	unsigned probes;
	uint64_t refused_kinds;                /* a bit each; 0: refused whatever the kind */
	int64_t refused_lane;                  /* the last one */
	int64_t failed_lanes[HOLD_AWAY_LANES]; /* contact ids, different ones */
	unsigned failed_lane_count;
	int64_t retry_base_ms;
	int64_t retry_cap_ms;
};

void hold_init(struct hold *hold, int64_t retry_base_ms, int64_t retry_cap_ms);

/* True when a call may start now; in a hold only the due probe may, and hold_started takes its slot
 * (outside of a hold it does nothing). Every call that hold_started was told of must come to one of
 * the answers below, or to hold_abandoned. */
bool hold_allows(const struct hold *hold, int64_t now_mono_ms);
/* When hold_allows could next turn true; <= now when it is. INT64_MAX while a probe is out. */
int64_t hold_next_ms(const struct hold *hold, int64_t now_mono_ms);
void hold_started(struct hold *hold);

/* The call ended and told nothing: the probe's slot is free again, the next one due at once. */
void hold_abandoned(struct hold *hold);

/* The answers. Each returns what changed, for the log, and gives the slot of a probe back. */
/* kind: of the call that worked; numbers from 0 to 63 tell kinds apart. */
enum hold_change hold_worked(struct hold *hold, int kind);
/* The contact's job is done, after hold_worked: whatever was refused, it isn't needed any more. */
enum hold_change hold_got_by(struct hold *hold, int64_t lane);
enum hold_change hold_refused(struct hold *hold, int kind, int64_t lane, const char *why,
	int64_t now_mono_ms, int64_t now_wall_ms);
/* lane: the contact whose call failed; unreachable: no connection at all. */
enum hold_change hold_failed(struct hold *hold, int64_t lane, bool unreachable, const char *why,
	struct rng *rng, int64_t now_mono_ms, int64_t now_wall_ms);
/* The operator's word, or a new token: try at once. */
enum hold_change hold_release(struct hold *hold);

#endif
