#ifndef SUBRELAY_DELIVER_DISPATCHER_H
#define SUBRELAY_DELIVER_DISPATCHER_H

/*
 * Who is served next: claims waiting work contact by contact (a lane each) and feeds it to the
 * workers.
 *
 *   store --scan--> due --load--> ready --next--> running --done--> settling --committed--> gone
 *                    ^                              |                                  or due
 *                    '--------- resting (backoff) <-'
 *
 * A claim lives in memory only: after a restart all waiting work is due again. At most LANES_MAX
 * lanes (and what one scan finds) are in memory, however much waits in the store. The backlog and
 * what arrives today are served in turn, so that an outage's work doesn't hold up today's events:
 * refill.c says how long one may wait. Within a contact the order is the billing system's in any
 * case, for a lane is always loaded whole (by 32 jobs at a time).
 *
 * Every destination (workspace) has lanes, cursors, pace and hold of its own.
 *
 * Lock: one, over everything in here; never held while the store is read, a call is judged or a
 * line logged. A lane that is loading, running or settling belongs to whoever does that, and only
 * its `state` and `has_news` are touched by others (under the lock).
 *
 * Threads: dispatcher_refill from one thread (the dispatcher's); feed->next and feed->done from
 * workers; the rest from any. Without threads (simulation, scenarios) one thread calls refill, next
 * and done in turn.
 */

#include "deliver/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock;
struct conf;
struct dispatcher;
struct error;
struct store;

#define LANES_MAX 8192
/* Reports that the store hasn't written yet. At so many no call begins: what they say is known to
 * this process alone, and would be sent again after a kill. */
#define REPORTS_MAX 1024

struct dispatcher_options {
	struct conf *conf; /* referenced */
	struct store *store;
	const struct clock *clock;
	uint64_t seed; /* of the jitter; 0: random */
	/* Something became ready to be sent. Any thread; never under the dispatcher's lock. */
	void (*ready)(void *context);
	void *context;
};

/* How a workspace is doing, for `status`. */
struct workspace_status {
	const char *name;  /* "intercom", "intercom.test" */
	const char *mode;  /* "live", "dry-run" */
	const char *state; /* "ok", "holding", "paced" */
	char why[240];
	int64_t since_ms; /* wall; TIME_NONE when ok */
	size_t in_flight;
	size_t lanes;   /* contacts in memory, LANES_MAX at most */
	size_t resting; /* lanes that wait for their next try */
};

struct dispatcher *dispatcher_create(const struct dispatcher_options *options, struct error *err);
/* After the workers are gone and the store is closed. */
void dispatcher_destroy(struct dispatcher *dispatcher);

/* Starts the thread that refills. */
bool dispatcher_start(struct dispatcher *dispatcher, struct error *err);
/* No new calls from now on; ends the thread. Calls in flight still come back through done. */
void dispatcher_stop(struct dispatcher *dispatcher);

/* Scans and loads what is due now. Returns when to be called again (monotonic; INT64_MAX: on news).
 */
int64_t dispatcher_refill(struct dispatcher *dispatcher);
struct worker_feed dispatcher_feed(struct dispatcher *dispatcher);

/* The store's new_work. */
void dispatcher_new_work(void *dispatcher, int64_t destination_id, bool is_rewound);
/* A new configuration: references it; a new token ends a hold for the old one. */
void dispatcher_reconfigure(struct dispatcher *dispatcher, struct conf *conf);

/* Calls back for each workspace, under the dispatcher's lock: be quick. */
void dispatcher_status(struct dispatcher *dispatcher,
	void (*each)(void *context, const struct workspace_status *status), void *context);

#endif
