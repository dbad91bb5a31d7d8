/*
 * The dispatcher's life: which destinations there are and what workspace each means, news from the
 * store, reports to it, status, the refilling thread. What the thread does is in refill.c, what the
 * workers are given and give back in feed.c, the lanes themselves in outbox.c.
 */

#include "deliver/dispatcher.h"

#include "dispatcher_private.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "map/destination.h"
#include "store/store.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void dispatcher_nudge(struct dispatcher *d)
{
	d->has_news = true;
	(void)pthread_cond_signal(&d->wake);
}

/* How many lanes are to be kept ready: in a hold one probe at a time is all that goes out. */
size_t dispatcher_wanted_lanes(const struct dispatcher *d, const struct outbox *outbox)
{
	if (outbox->workspace == NULL)
		return 0;
	return outbox->hold.state == HOLD_OK ? d->ready_wanted : 1;
}

/* Whether there may be work in the store that isn't in memory yet. */
bool dispatcher_has_unscanned(const struct outbox *outbox)
{
	return outbox->fresh_has_more || cursor_has_more(&outbox->backlog);
}

/* Wakes the refill when it is worth its while, not at every answer. */
void dispatcher_nudge_if_short(struct dispatcher *d, const struct outbox *outbox)
{
	const bool can_load = outbox_has_due(outbox) &&
		outbox->ready_count <= dispatcher_wanted_lanes(d, outbox) / 2;
	const bool can_scan =
		outbox->lane_count <= LANES_MAX / 2 && dispatcher_has_unscanned(outbox);
	const struct heap_item *first = heap_peek(&outbox->resting);
	const bool is_due_sooner = first != NULL && first->key < d->refill_mono_ms;

	if (can_load || can_scan || is_due_sooner)
		dispatcher_nudge(d);
}

void dispatcher_tell_ready(struct dispatcher *d)
{
	if (d->options.ready != NULL)
		d->options.ready(d->options.context);
}

/* ---- reports ---- */

/* Under the lock: the lane leaves its worker, or its loading, and waits for its reports to be
 * committed. */
void dispatcher_settle(struct lane *lane, enum lane_after after)
{
	lane->after = after;
	lane->state = LANE_SETTLING;
	lane_run_destroy(lane->run);
	lane->run = NULL;
	conf_unref(lane->conf);
	lane->conf = NULL;
	if (lane->reports == 0)
		outbox_release(lane->outbox, lane);
}

bool dispatcher_is_choked(const struct dispatcher *d)
{
	return d->reports >= REPORTS_MAX;
}

void dispatcher_count_report(struct dispatcher *d, struct lane *lane, const struct finish *finish)
{
	lane->reports += finish != NULL;
	d->reports += finish != NULL;
}

static void report_done(struct finish *finish)
{
	struct lane *lane = finish->context;
	struct outbox *outbox = lane->outbox;
	struct dispatcher *d = finish->owner;

	dispatcher_lock(d);
	const bool was_choked = dispatcher_is_choked(d);
	assert(d->reports > 0);
	d->reports--;
	const bool is_free_again = was_choked && !dispatcher_is_choked(d);
	if (--lane->reports == 0 && lane->state == LANE_SETTLING)
		outbox_release(outbox, lane);
	dispatcher_nudge_if_short(d, outbox);
	dispatcher_unlock(d);
	finish_destroy(finish);
	if (is_free_again)
		dispatcher_tell_ready(d);
}

void dispatcher_send_report(struct dispatcher *d, struct lane *lane, struct finish *finish)
{
	finish->done = report_done;
	finish->context = lane;
	finish->owner = d;
	store_finish(d->options.store, finish);
}

/* ---- news ---- */

void dispatcher_new_work(void *dispatcher, int64_t destination_id, bool is_rewound)
{
	struct dispatcher *d = dispatcher;

	dispatcher_lock(d);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following) {
		if (destination_id != 0 && outbox->id != destination_id)
			continue;
		outbox->fresh_has_more = true;
		if (is_rewound)
			outbox_split(outbox, cursor_past(0), outbox->fresh.after.event_id);
	}
	dispatcher_nudge(d);
	dispatcher_unlock(d);
}

/* ---- configuration ---- */

static struct outbox *find_outbox(struct dispatcher *d, const char *name)
{
	struct outbox *outbox = d->outboxes;

	while (outbox != NULL && strcmp(outbox->name, name) != 0)
		outbox = outbox->following;
	return outbox;
}

static struct outbox *add_outbox(
	struct dispatcher *d, const struct conf *conf, int64_t id, const char *name)
{
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));

	outbox_init(outbox, id, name);
	outbox->workspace = destination_workspace(conf, name);
	hold_init(&outbox->hold, conf->delivery.retry_base_ms, conf->delivery.retry_cap_ms);
	pace_init(&outbox->pace, conf->delivery.rate_limit);
	outbox->following = d->outboxes;
	d->outboxes = outbox;
	return outbox;
}

/* The destinations that this configuration names, and those that still have work from before. */
static bool make_outboxes(struct dispatcher *d, struct error *err)
{
	struct arena arena;
	const char **names;
	int64_t *ids;
	size_t count;
	bool done = false;

	arena_init(&arena);
	for (size_t i = 0; i < d->conf->workspace_count; i++) {
		int64_t id;

		if (!store_destination(d->options.store,
			    destination_of(d->conf, d->conf->workspaces[i].name, &arena), &id, err))
			goto out;
	}
	if (!d->ops->destinations(d->reader, &arena, &names, &ids, &count, err))
		goto out;
	for (size_t i = 0; i < count; i++) {
		int64_t received_at_ms;
		int64_t first_id;
		int64_t last_id;

		if (!d->ops->oldest_waiting(
			    d->reader, ids[i], &received_at_ms, &first_id, &last_id, err))
			goto out;
		struct outbox *outbox = add_outbox(d, d->conf, ids[i], names[i]);
		outbox_split(outbox, cursor_past(0), last_id);
		outbox->doubt_until = last_id;
		if (outbox->workspace == NULL && first_id != 0)
			log_warn("work waits for a workspace that isn't configured",
				LOG_TEXT("workspace", names[i]));
	}
	done = true;
out:
	arena_finish(&arena);
	return done;
}

/* A workspace that comes, or goes live: its events are accepted from now on. */
static void add_new_outboxes(struct dispatcher *d, const struct conf *conf)
{
	struct arena arena;

	arena_init(&arena);
	for (size_t i = 0; i < conf->workspace_count; i++) {
		const char *name = destination_of(conf, conf->workspaces[i].name, &arena);
		struct error err = {0};
		int64_t id;

		dispatcher_lock(d);
		const bool is_known = find_outbox(d, name) != NULL;
		dispatcher_unlock(d);
		if (is_known)
			continue;
		if (!store_destination(d->options.store, name, &id, &err)) {
			log_error("a new workspace is served after the next reload or restart only",
				LOG_TEXT("workspace", name), LOG_TEXT("error", err.text));
			continue;
		}
		dispatcher_lock(d);
		(void)add_outbox(d, conf, id, name);
		dispatcher_unlock(d);
	}
	arena_finish(&arena);
}

/* Under the lock. What the outbox pointed to goes with the old configuration. */
static void give_workspace(
	struct outbox *outbox, const struct conf *conf, const struct conf_workspace *workspace)
{
	const struct conf_workspace *old = outbox->workspace;

	outbox->workspace = workspace;
	if (workspace == NULL)
		return;
	pace_set_limit(&outbox->pace, conf->delivery.rate_limit);
	const bool has_new_token =
		old == NULL || !text_equal(old->access_token.bytes, workspace->access_token.bytes);
	if (has_new_token || outbox->hold.state != HOLD_OK) {
		(void)hold_release(&outbox->hold);
		outbox_wake_all(outbox);
	}
}

void dispatcher_reconfigure(struct dispatcher *d, struct conf *conf)
{
	struct conf *before;

	dispatcher_lock(d);
	before = d->conf;
	d->conf = conf_ref(conf);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following)
		give_workspace(outbox, conf, destination_workspace(conf, outbox->name));
	dispatcher_unlock(d);
	add_new_outboxes(d, conf);
	dispatcher_lock(d);
	dispatcher_nudge(d);
	dispatcher_unlock(d);
	conf_unref(before);
	dispatcher_tell_ready(d);
}

/* ---- status ---- */

static void fill_status(
	const struct dispatcher *d, const struct outbox *outbox, struct workspace_status *ret)
{
	*ret = (struct workspace_status){
		.name = outbox->name,
		.mode = outbox->workspace == NULL                      ? "none"
			: outbox->workspace->mode == CONF_MODE_DRY_RUN ? "dry-run"
								       : "live",
		.state = "ok",
		.since_ms = outbox->hold.since_wall_ms,
		.in_flight = outbox->in_flight,
		.lanes = outbox->lane_count,
		.resting = outbox->resting.count,
	};
	if (outbox->workspace == NULL) {
		ret->state = "holding";
		(void)snprintf(ret->why, sizeof(ret->why), "%s",
			"the configuration has no such workspace (or it is in another mode)");
	} else if (outbox->hold.state != HOLD_OK) {
		ret->state = "holding";
		(void)snprintf(ret->why, sizeof(ret->why), "%s", outbox->hold.why);
	} else if (dispatcher_is_choked(d)) {
		ret->state = "holding";
		(void)snprintf(ret->why, sizeof(ret->why), "%s",
			"what came of the last calls can't be stored");
	} else if (outbox->is_paced && pace_is_limiting(&outbox->pace, dispatcher_mono_ms(d))) {
		ret->state = "paced";
		(void)snprintf(ret->why, sizeof(ret->why), "%s", "Intercom's rate limit");
	}
}

void dispatcher_status(struct dispatcher *d,
	void (*each)(void *context, const struct workspace_status *status), void *context)
{
	dispatcher_lock(d);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following) {
		struct workspace_status status;

		if (outbox->workspace == NULL && outbox->lane_count == 0 &&
			!dispatcher_has_unscanned(outbox))
			continue; /* history */
		fill_status(d, outbox, &status);
		each(context, &status);
	}
	dispatcher_unlock(d);
}

/* ---- life ---- */

static void *refill_until_stopped(void *argument)
{
	struct dispatcher *d = argument;

	dispatcher_lock(d);
	while (!d->is_stopping) {
		dispatcher_unlock(d);
		const int64_t wake_ms = dispatcher_refill(d);
		dispatcher_lock(d);
		while (!d->is_stopping && !d->has_news) {
			const int64_t span_ms =
				wake_ms == INT64_MAX ? INT64_MAX : wake_ms - dispatcher_mono_ms(d);

			if (span_ms <= 0)
				break;
			struct timespec at;
			(void)clock_gettime(CLOCK_MONOTONIC, &at);
			/* An hour is as good as for ever, and does not overflow. */
			const int64_t wait_ms = span_ms < 3600000 ? span_ms : 3600000;
			at.tv_sec += (time_t)(wait_ms / 1000);
			at.tv_nsec += (long)(wait_ms % 1000) * 1000000L;
			if (at.tv_nsec >= 1000000000L) {
				at.tv_sec++;
				at.tv_nsec -= 1000000000L;
			}
			(void)pthread_cond_timedwait(&d->wake, &d->lock, &at);
		}
	}
	dispatcher_unlock(d);
	return NULL;
}

bool dispatcher_start(struct dispatcher *d, struct error *err)
{
	if (pthread_create(&d->thread, NULL, refill_until_stopped, d) != 0)
		return error_set(err, "cannot start the dispatcher's thread");
	(void)pthread_setname_np(d->thread, "subrelay-refill"); /* only for people */
	d->has_thread = true;
	return true;
}

void dispatcher_stop(struct dispatcher *d)
{
	dispatcher_lock(d);
	d->is_stopping = true;
	(void)pthread_cond_signal(&d->wake);
	dispatcher_unlock(d);
	if (d->has_thread)
		(void)pthread_join(d->thread, NULL);
	d->has_thread = false;
}

struct dispatcher *dispatcher_create(const struct dispatcher_options *options, struct error *err)
{
	struct dispatcher *d = xcalloc(1, sizeof(*d));
	pthread_condattr_t attributes;

	d->options = *options;
	d->ops = store_ops(options->store);
	d->conf = conf_ref(options->conf);
	d->ready_wanted = (size_t)options->conf->delivery.connections * 2;
	d->serial = 1;
	if (options->seed != 0)
		rng_seed(&d->rng, options->seed);
	else
		rng_seed_random(&d->rng);
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&d->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	d->reader = store_reader(options->store, err);
	if (d->reader == NULL || !make_outboxes(d, err)) {
		dispatcher_destroy(d);
		return NULL;
	}
	return d;
}

void dispatcher_destroy(struct dispatcher *d)
{
	if (d == NULL)
		return;
	dispatcher_stop(d);
	while (d->outboxes != NULL) {
		struct outbox *outbox = d->outboxes;

		d->outboxes = outbox->following;
		outbox_finish(outbox);
		free(outbox);
	}
	if (d->reader != NULL)
		d->ops->close(d->reader);
	conf_unref(d->conf);
	(void)pthread_cond_destroy(&d->wake);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}
