#ifndef SUBRELAY_DELIVER_DISPATCHER_PRIVATE_H
#define SUBRELAY_DELIVER_DISPATCHER_PRIVATE_H

/*
 * What the files of the dispatcher share: dispatcher.c (life, news, status), refill.c (from the
 * store into memory), feed.c (from memory to the workers and back).
 */

#include "base/clock.h"
#include "deliver/dispatcher.h"
#include "outbox_private.h"
#include "store/store.h"

#include <pthread.h>

struct dispatcher {
	struct dispatcher_options options;
	const struct store_backend *ops;
	struct backend *reader; /* the refilling thread's */
	size_t ready_wanted;    /* lanes to keep ready */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* the refill: news, room, or stopping */
	/* lock: */
	struct conf *conf;
	struct outbox *outboxes; /* list; never shrinks */
	struct outbox *turn;     /* whose turn it is */
	struct rng rng;
	int64_t serial; /* of attempts */
	size_t reports; /* on their way to the store, of all lanes */
	bool is_stopping;
	bool has_news;
	int64_t refill_mono_ms; /* when the refill means to come back by itself */

	pthread_t thread;
	bool has_thread;
};

static inline int64_t dispatcher_mono_ms(const struct dispatcher *d)
{
	return clock_mono_ms(d->options.clock);
}

static inline int64_t dispatcher_wall_ms(const struct dispatcher *d)
{
	return clock_wall_ms(d->options.clock);
}

static inline void dispatcher_lock(struct dispatcher *d)
{
	(void)pthread_mutex_lock(&d->lock);
}

static inline void dispatcher_unlock(struct dispatcher *d)
{
	(void)pthread_mutex_unlock(&d->lock);
}

/* -- under the lock -- */

/* Wakes the refill. */
void dispatcher_nudge(struct dispatcher *d);
/* The same when it is worth its while, not at every answer. */
void dispatcher_nudge_if_short(struct dispatcher *d, const struct outbox *outbox);
/* How many lanes are to be kept ready: in a hold one probe at a time is all that goes out. */
size_t dispatcher_wanted_lanes(const struct dispatcher *d, const struct outbox *outbox);
/* Whether there may be work in the store that isn't in memory yet. */
bool dispatcher_has_unscanned(const struct outbox *outbox);
/* One more report of the lane is on its way; NULL is none. */
void dispatcher_count_report(struct dispatcher *d, struct lane *lane, const struct finish *finish);
/* So many reports wait that no call may begin: the store doesn't get rid of them. */
bool dispatcher_is_choked(const struct dispatcher *d);
/* The lane leaves its worker, or its loading, and waits for its reports to be committed. */
void dispatcher_settle(struct lane *lane, enum lane_after after);

/* -- without it -- */

/* How much of a delivery's patience a time from one failure to the next takes. */
int64_t dispatcher_gap_ms(const struct conf *conf, int64_t span_ms);

/* Something became ready to be sent. */
void dispatcher_tell_ready(struct dispatcher *d);
/* Hands a report, counted before, to the store, which owns it from then on. */
void dispatcher_send_report(struct dispatcher *d, struct lane *lane, struct finish *finish);

#endif
