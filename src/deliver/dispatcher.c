/*
 * Scanning, loading, feeding, judging. The lanes themselves are in outbox.c; what an answer means
 * for a contact's work is in lane.c, for a workspace in hold.c and pace.c; here they are brought
 * together.
 *
 * Fairness: the due list is filled from two cursors in turn (SCAN_BATCH rows each), so that half of
 * what is in memory is always recent when there is a backlog; destinations are served round robin.
 */

#include "deliver/dispatcher.h"

#include "outbox_private.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "deliver/verdict.h"
#include "map/destination.h"
#include "store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCAN_BATCH 256
#define LOAD_BATCH 64
/* Jobs of one contact that are loaded at a time. */
#define JOBS_MAX 32
/* A scan or load that failed is tried again after this long. */
#define STORE_RETRY_MS 1000

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
	bool is_stopping;
	bool has_news;
	int64_t refill_mono_ms; /* when the refill means to come back by itself */

	pthread_t thread;
	bool has_thread;
};

static int64_t now_mono(const struct dispatcher *d)
{
	return clock_mono_ms(d->options.clock);
}

static int64_t now_wall(const struct dispatcher *d)
{
	return clock_wall_ms(d->options.clock);
}

static void lock(struct dispatcher *d)
{
	(void)pthread_mutex_lock(&d->lock);
}

static void unlock(struct dispatcher *d)
{
	(void)pthread_mutex_unlock(&d->lock);
}

static void nudge(struct dispatcher *d)
{
	d->has_news = true;
	(void)pthread_cond_signal(&d->wake);
}

/* How many lanes are to be kept ready: in a hold one probe at a time is all that goes out. */
static size_t wanted_lanes(const struct dispatcher *d, const struct outbox *outbox)
{
	if (outbox->workspace == NULL)
		return 0;
	return outbox->hold.state == HOLD_OK ? d->ready_wanted : 1;
}

/* Whether there may be work in the store that isn't in memory yet. */
static bool has_unscanned(const struct outbox *outbox)
{
	return outbox->fresh_has_more || cursor_has_more(&outbox->backlog);
}

/* Wakes the refill when it is worth its while, not at every answer. */
static void nudge_if_short(struct dispatcher *d, const struct outbox *outbox)
{
	const bool can_load =
		outbox->due != NULL && outbox->ready_count <= wanted_lanes(d, outbox) / 2;
	const bool can_scan = outbox->lane_count <= LANES_MAX / 2 && has_unscanned(outbox);
	const struct heap_item *first = heap_peek(&outbox->resting);
	const bool is_due_sooner = first != NULL && first->key < d->refill_mono_ms;

	if (can_load || can_scan || is_due_sooner)
		nudge(d);
}

static void tell_ready(struct dispatcher *d)
{
	if (d->options.ready != NULL)
		d->options.ready(d->options.context);
}

/* ---- refill: scan ---- */

/* The next stretch to read; false when there is nothing to scan or no room for it. */
static bool pick_cursor(struct outbox *outbox, struct cursor **ret_cursor)
{
	const bool has_backlog = cursor_has_more(&outbox->backlog);

	if (outbox->lane_count >= LANES_MAX || (!has_backlog && !outbox->fresh_has_more))
		return false;
	if (has_backlog && outbox->fresh_has_more)
		outbox->is_fresh_turn = !outbox->is_fresh_turn;
	else
		outbox->is_fresh_turn = !has_backlog;
	*ret_cursor = outbox->is_fresh_turn ? &outbox->fresh : &outbox->backlog;
	return true;
}

static void note_scanned(
	struct outbox *outbox, struct cursor *cursor, const struct lane_ref *refs, size_t count)
{
	for (size_t i = 0; i < count && refs[i].event_id <= cursor->until; i++) {
		outbox_found(outbox, refs[i].contact_id);
		cursor->after = refs[i];
	}
	const bool is_exhausted = count < SCAN_BATCH || refs[count - 1].event_id > cursor->until;
	if (cursor == &outbox->backlog && is_exhausted)
		cursor->after = cursor_past(cursor->until);
}

/*
 * A fresh cursor far behind the newest work, with the backlog done, has itself become a backlog (an
 * outage's work): split anew, so that today's events keep their share.
 */
static bool split_when_behind(struct dispatcher *d, struct outbox *outbox, struct error *err)
{
	int64_t received_at_ms;
	int64_t first_id;
	int64_t last_id;

	if (!d->ops->oldest_waiting(
		    d->reader, outbox->id, &received_at_ms, &first_id, &last_id, err))
		return false;
	lock(d);
	if (!cursor_has_more(&outbox->backlog) &&
		last_id - outbox->fresh.after.event_id > LANES_MAX)
		outbox_split(outbox, outbox->fresh.after, last_id);
	unlock(d);
	return true;
}

/* One stretch of one outbox. */
static bool scan(struct dispatcher *d, struct outbox *outbox, struct error *err)
{
	struct lane_ref refs[SCAN_BATCH];
	struct cursor *cursor = NULL;
	size_t count;

	lock(d);
	const bool has_work = pick_cursor(outbox, &cursor);
	const struct lane_ref after = has_work ? cursor->after : (struct lane_ref){0};
	const unsigned splits = outbox->splits;
	const bool is_fresh = has_work && cursor == &outbox->fresh;
	/* Cleared before the read: what is announced during it is read again. */
	if (is_fresh)
		outbox->fresh_has_more = false;
	unlock(d);
	if (!has_work)
		return true;

	const bool done =
		d->ops->lanes_after(d->reader, outbox->id, after, refs, SCAN_BATCH, &count, err);
	lock(d);
	if (!done) {
		outbox->fresh_has_more |= is_fresh;
	} else if (outbox->splits == splits) { /* else what was read may be stale */
		note_scanned(outbox, cursor, refs, count);
		if (is_fresh && count == SCAN_BATCH)
			outbox->fresh_has_more = true;
	} else {
		outbox->fresh_has_more = true;
	}
	unlock(d);
	if (done && is_fresh && count == SCAN_BATCH)
		return split_when_behind(d, outbox, err);
	return done;
}

/* ---- refill: load ---- */

/* Reads one lane's work. *ret_run NULL with true: nothing waits for it. Without a call, what waits
 * is done as it is (a change and its way back). */
static bool load(struct dispatcher *d, struct lane *lane, const struct conf_workspace *workspace,
	struct lane_run **ret_run, bool *ret_has_call, struct error *err)
{
	struct lane_work work;
	struct arena arena;
	struct lane_run *run = NULL;
	bool done = false;

	arena_init(&arena);
	if (!d->ops->lane_load(d->reader, lane->contact_id, JOBS_MAX, &arena, &work, err))
		goto out;
	if (work.job_count > 0) {
		run = lane_run_create_take(&arena, &work, lane->outbox->doubt_until, err);
		if (run == NULL)
			goto out;
		*ret_has_call = lane_next_call(run, workspace);
	}
	*ret_run = run;
	done = true;
out:
	arena_finish(&arena);
	return done;
}

/* Under the lock: the lane leaves its worker, or its loading, and waits for its reports to be
 * committed. */
static void settle(struct lane *lane, enum lane_after after)
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

static void report_done(struct finish *finish)
{
	struct lane *lane = finish->context;
	struct outbox *outbox = lane->outbox;
	struct dispatcher *d = finish->owner;

	lock(d);
	if (--lane->reports == 0 && lane->state == LANE_SETTLING)
		outbox_release(outbox, lane);
	nudge_if_short(d, outbox);
	unlock(d);
	finish_destroy(finish);
}

static void send_report(struct dispatcher *d, struct lane *lane, struct finish *finish)
{
	finish->done = report_done;
	finish->context = lane;
	finish->owner = d;
	store_finish(d->options.store, finish);
}

/* Under the lock: where a loaded lane goes. Returns what is to be reported, if anything. */
static struct finish *place_loaded(struct dispatcher *d, struct lane *lane, struct lane_run *run,
	struct conf *conf, bool has_call)
{
	if (run == NULL) {
		lane->after = AFTER_LEAVE;
		outbox_release(lane->outbox, lane);
		return NULL;
	}
	lane->has_more = run->work.has_more;
	if (has_call) {
		lane->conf = conf_ref(conf);
		outbox_loaded(lane->outbox, lane, run);
		return NULL;
	}

	struct outbox *outbox = lane->outbox;
	struct finish *finish = lane_detach_finish(run);
	lane->reports += finish != NULL;
	lane->run = run;
	settle(lane, lane->has_more ? AFTER_DUE : AFTER_LEAVE);
	nudge_if_short(d, outbox);
	return finish;
}

/* Under the lock: the store couldn't be read. */
static void place_unread(struct dispatcher *d, struct lane *lane)
{
	lane->after = AFTER_REST;
	lane->rest_until_mono_ms = now_mono(d) + STORE_RETRY_MS;
	outbox_release(lane->outbox, lane);
}

/* Loads what is due in one outbox. *ret_ready: something became ready. */
static bool load_due(
	struct dispatcher *d, struct outbox *outbox, bool *ret_ready, struct error *err)
{
	struct lane *lanes[LOAD_BATCH];
	bool all_good = true;

	lock(d);
	const size_t wanted = wanted_lanes(d, outbox);
	const size_t room = wanted > outbox->ready_count ? wanted - outbox->ready_count : 0;
	const size_t count =
		outbox_take_due(outbox, lanes, room < LOAD_BATCH ? room : LOAD_BATCH, now_mono(d));
	struct conf *conf = conf_ref(d->conf);
	const struct conf_workspace *workspace = outbox->workspace;
	unlock(d);

	for (size_t i = 0; i < count; i++) {
		struct lane_run *run = NULL;
		struct finish *finish = NULL;
		bool has_call = false;
		const bool is_loaded = load(d, lanes[i], workspace, &run, &has_call, err);

		all_good &= is_loaded;
		lock(d);
		if (is_loaded)
			finish = place_loaded(d, lanes[i], run, conf, has_call);
		else
			place_unread(d, lanes[i]);
		unlock(d);
		if (finish != NULL)
			send_report(d, lanes[i], finish);
		*ret_ready |= has_call;
	}
	conf_unref(conf);
	return all_good;
}

int64_t dispatcher_refill(struct dispatcher *d)
{
	int64_t wake_ms = INT64_MAX;
	bool is_ready = false;
	struct error err = {0};

	lock(d);
	struct outbox *first = d->outboxes;
	d->has_news = false;
	/* Whatever rests from now on is either seen by this refill or nudges the next. */
	d->refill_mono_ms = INT64_MAX;
	unlock(d);

	for (struct outbox *outbox = first; outbox != NULL; outbox = outbox->following) {
		if (!scan(d, outbox, &err) || !load_due(d, outbox, &is_ready, &err)) {
			log_error("reading waiting work failed", LOG_TEXT("error", err.text));
			error_clear(&err);
			wake_ms = now_mono(d) + STORE_RETRY_MS;
			continue;
		}
		lock(d);
		const int64_t rest_ms = outbox_wake(outbox, now_mono(d));
		const bool is_busy =
			(outbox->due != NULL && outbox->ready_count < wanted_lanes(d, outbox)) ||
			(has_unscanned(outbox) && outbox->lane_count < LANES_MAX);
		unlock(d);
		if (is_busy)
			wake_ms = now_mono(d);
		else if (rest_ms < wake_ms)
			wake_ms = rest_ms;
	}
	lock(d);
	d->refill_mono_ms = wake_ms;
	unlock(d);
	if (is_ready)
		tell_ready(d);
	return wake_ms;
}

/* ---- feed: next ---- */

static int64_t sendable_at(struct outbox *outbox, int64_t now_ms)
{
	outbox->is_paced = false;
	if (outbox->ready == NULL || outbox->workspace == NULL)
		return INT64_MAX;

	const int64_t hold_ms = hold_next_ms(&outbox->hold, now_ms);
	if (hold_ms > now_ms)
		return hold_ms;
	const int64_t pace_ms = pace_next_ms(&outbox->pace, now_ms);
	outbox->is_paced = pace_ms > now_ms;
	return pace_ms;
}

/*
 * Lanes at the head of the line for which something arrived while they waited are read again: it
 * may belong before what was loaded, and its change into the same update.
 */
static void unload_outdated(struct dispatcher *d, struct outbox *outbox)
{
	while (outbox->ready != NULL && outbox->ready->has_news && !outbox->ready->run->is_begun) {
		outbox_unload(outbox, outbox->ready);
		nudge(d);
	}
}

/* The run's call, made for the workspace's current settings, travels in the errand. */
static struct errand *send_off(struct dispatcher *d, struct outbox *outbox, int64_t now_ms)
{
	struct lane *lane = outbox_take_ready(outbox);
	struct errand *errand = &lane->errand;

	/* A token that was replaced since the lane was loaded must not be used any more. */
	if (lane->conf != d->conf) {
		conf_unref(lane->conf);
		lane->conf = conf_ref(d->conf);
	}
	hold_started(&outbox->hold);
	pace_sent(&outbox->pace, now_ms);
	outbox->in_flight++;
	lane->sent_mono_ms = now_ms;
	errand->call = lane->run->call;
	errand->workspace = conf_workspace_get(lane->conf, outbox->workspace->name);
	reply_clear(&errand->reply);
	nudge_if_short(d, outbox);
	return errand;
}

static struct errand *feed_next(void *context, int64_t *ret_wake_mono_ms)
{
	struct dispatcher *d = context;
	struct errand *errand = NULL;
	int64_t wake_ms = INT64_MAX;

	lock(d);
	const int64_t now_ms = now_mono(d);
	struct outbox *start = d->turn != NULL ? d->turn : d->outboxes;
	struct outbox *outbox = start;

	while (outbox != NULL && errand == NULL && !d->is_stopping) {
		unload_outdated(d, outbox);
		const int64_t at_ms = sendable_at(outbox, now_ms);

		if (at_ms <= now_ms)
			errand = send_off(d, outbox, now_ms);
		else if (at_ms < wake_ms)
			wake_ms = at_ms;
		outbox = outbox->following != NULL ? outbox->following : d->outboxes;
		if (outbox == start)
			break;
	}
	d->turn = outbox;
	unlock(d);
	*ret_wake_mono_ms = wake_ms;
	return errand;
}

/* ---- feed: done ---- */

/* Everything about one answer, for the attempt's row and its line in the log. */
struct outcome {
	struct verdict verdict;
	enum lane_result result;
	enum call_kind kind;
	int64_t event_id;
	unsigned attempt;
	int64_t delay_ms;
	enum hold_change change;
	bool gave_up;
};

static const char *outcome_name(const struct outcome *outcome)
{
	return outcome->gave_up ? "park" : verdict_kind_name(outcome->verdict.kind);
}

static void log_attempt(const struct lane *lane, const struct outcome *outcome)
{
	const struct reply *reply = &lane->errand.reply;
	const enum log_level level = outcome->gave_up || outcome->verdict.kind == VERDICT_PARK
		? LOG_WARN_LEVEL
		: LOG_INFO_LEVEL;

	log_at(level, "attempt", LOG_INT("job", outcome->event_id),
		LOG_INT("lane", lane->contact_id), LOG_TEXT("workspace", lane->outbox->name),
		LOG_TEXT("kind", call_kind_name(outcome->kind)),
		LOG_INT("attempt", outcome->attempt), LOG_TEXT("verdict", outcome_name(outcome)),
		LOG_INT("status", reply->status), LOG_INT("delay_ms", outcome->delay_ms),
		LOG_INT("elapsed_ms", reply->elapsed_ms),
		LOG_TEXT("request_id", outcome->verdict.request_id),
		LOG_TEXT("reason", outcome->verdict.reason));
}

static void log_change(const struct outbox *outbox, enum hold_change change, const char *why)
{
	if (change == HOLD_BEGAN)
		log_error("delivery is held: Intercom doesn't take calls; nothing is lost, it goes "
			  "on by "
			  "itself once that is mended",
			LOG_TEXT("workspace", outbox->name), LOG_TEXT("why", why));
	else if (change == HOLD_ENDED)
		log_info("delivery goes on", LOG_TEXT("workspace", outbox->name));
}

/* Under the lock: what the answer says of the workspace. */
static enum hold_change judge_workspace(
	struct dispatcher *d, struct lane *lane, const struct outcome *outcome, int64_t now_ms)
{
	const struct verdict *verdict = &outcome->verdict;
	const int kind = (int)outcome->kind;
	struct outbox *outbox = lane->outbox;
	const struct reply *reply = &lane->errand.reply;
	enum hold_change change;

	pace_answered(&outbox->pace, reply->wire == WIRE_ANSWERED ? &reply->rate : NULL, now_ms,
		now_wall(d));
	switch (verdict->kind) {
	case VERDICT_HOLD:
		/* 403 is a missing scope: other kinds of call may well be allowed. */
		return hold_refused(&outbox->hold, reply->status == 403 ? kind : HOLD_ANY_KIND,
			lane->contact_id, verdict->reason, now_ms, now_wall(d));
	case VERDICT_RETRY:
		return hold_failed(&outbox->hold, lane->contact_id, verdict->unreachable,
			verdict->reason, &d->rng, now_ms, now_wall(d));
	case VERDICT_PACED: hold_abandoned(&outbox->hold); return HOLD_SAME;
	default:
		change = hold_worked(&outbox->hold, kind);
		if (change == HOLD_SAME &&
			(outcome->result == LANE_DONE || lane->run->job_finished))
			change = hold_got_by(&outbox->hold, lane->contact_id);
		if (change == HOLD_ENDED)
			outbox_wake_all(outbox);
		return change;
	}
}

/* Under the lock, after judge_workspace: a failed try's delay, or the end of patience. */
static enum lane_after judge_failure(
	struct dispatcher *d, struct lane *lane, struct outcome *outcome, int64_t now_ms)
{
	const struct conf_delivery *delivery = &d->conf->delivery;
	struct outbox *outbox = lane->outbox;

	if (lane->attempts++ == 0)
		lane->failing_since_mono_ms = now_ms;
	/* While the workspace is away nobody's patience runs out: it isn't the delivery's fault. */
	if (outbox->hold.state != HOLD_OK || outcome->verdict.unreachable)
		lane->failing_since_mono_ms = now_ms;
	outcome->gave_up = now_ms - lane->failing_since_mono_ms >= delivery->give_up_after_ms;
	outcome->attempt = lane->attempts;
	if (outcome->gave_up) {
		lane->attempts = 0;
		return AFTER_DUE;
	}
	/* In a hold it is the hold's schedule that counts. */
	if (outbox->hold.state != HOLD_OK)
		return AFTER_DUE;
	outcome->delay_ms = backoff_delay_ms(
		&d->rng, delivery->retry_base_ms, delivery->retry_cap_ms, lane->attempts);
	lane->rest_until_mono_ms = now_ms + outcome->delay_ms;
	return AFTER_REST;
}

/* Under the lock: what follows from the result. True: the lane goes on with its next call. */
static bool move_on(struct dispatcher *d, struct lane *lane, struct outcome *outcome,
	int64_t now_ms, enum lane_after *ret_after)
{
	switch (outcome->result) {
	case LANE_CONTINUES:
		lane->attempts = 0;
		*ret_after = AFTER_DUE;
		/* Between two events is the moment to look whether an older one has come in. */
		return !(lane->has_news && lane->run->job_finished) && !d->is_stopping;
	case LANE_DONE:
		lane->attempts = 0;
		*ret_after = lane->has_more ? AFTER_DUE : AFTER_LEAVE;
		return false;
	case LANE_RETRIES: *ret_after = judge_failure(d, lane, outcome, now_ms); return false;
	case LANE_PACED:
	case LANE_HELD: *ret_after = AFTER_DUE; return false;
	}
	return false;
}

static void note_attempt(
	struct dispatcher *d, struct lane *lane, const struct outcome *outcome, int64_t serial)
{
	const struct reply *reply = &lane->errand.reply;

	/* A 429 is no attempt; whole windows of them would bury what matters. */
	if (outcome->event_id == 0 || outcome->result == LANE_PACED)
		return;
	lane_note_attempt(lane->run,
		&(struct attempt){
			.event_id = outcome->event_id,
			.at_ms = now_wall(d),
			.serial = serial,
			.contact_id = lane->contact_id,
			.call = call_kind_name(outcome->kind),
			.status = reply->status,
			.verdict = outcome_name(outcome),
			.request_id = outcome->verdict.request_id,
			.reason = outcome->verdict.reason,
			.elapsed_ms = reply->elapsed_ms,
		});
}

static void give_up(struct lane *lane, const struct outcome *outcome)
{
	char reason[240];

	(void)snprintf(reason, sizeof(reason), "given up after %u attempts: %.180s",
		outcome->attempt, outcome->verdict.reason);
	lane_give_up(lane->run, reason, outcome->verdict.request_id);
}

static void feed_done(void *context, struct errand *errand)
{
	struct dispatcher *d = context;
	struct lane *lane = errand->owner;
	struct outbox *outbox = lane->outbox;
	struct outcome outcome = {
		.kind = lane->run->call.kind, .event_id = lane_event_id(lane->run)};
	enum lane_after after = AFTER_DUE;
	char why[200];

	/* The lane is this worker's alone, so judging needs no lock. The call went out by value:
	 * buffers that grew on the way belong to the run. */
	lane->run->call = errand->call;
	verdict_of(outcome.kind, &errand->reply, &outcome.verdict);
	outcome.result = lane_take_verdict(lane->run, errand->workspace, &outcome.verdict);

	lock(d);
	const int64_t now_ms = now_mono(d);
	outbox->in_flight--;
	outcome.change = judge_workspace(d, lane, &outcome, now_ms);
	outcome.attempt = lane->attempts + 1;
	(void)snprintf(why, sizeof(why), "%s", outbox->hold.why);
	const bool goes_on = move_on(d, lane, &outcome, now_ms, &after);
	const int64_t serial = d->serial++;
	unlock(d);

	if (outcome.gave_up)
		give_up(lane, &outcome);
	note_attempt(d, lane, &outcome, serial);
	log_attempt(lane, &outcome);
	log_change(outbox, outcome.change, why);

	/* Reports go out when a job is done, so that a kill repeats at most the call under way. */
	struct finish *finish =
		goes_on && !lane->run->job_finished ? NULL : lane_detach_finish(lane->run);
	lock(d);
	lane->reports += finish != NULL;
	if (goes_on)
		outbox_continue(outbox, lane);
	else
		settle(lane, after);
	nudge_if_short(d, outbox);
	unlock(d);
	if (finish != NULL)
		send_report(d, lane, finish);
	if (outcome.change == HOLD_ENDED)
		tell_ready(d);
}

struct worker_feed dispatcher_feed(struct dispatcher *d)
{
	return (struct worker_feed){.next = feed_next, .done = feed_done, .context = d};
}

/* ---- news ---- */

void dispatcher_new_work(void *dispatcher, int64_t destination_id, bool is_rewound)
{
	struct dispatcher *d = dispatcher;

	lock(d);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following) {
		if (destination_id != 0 && outbox->id != destination_id)
			continue;
		outbox->fresh_has_more = true;
		if (is_rewound)
			outbox_split(outbox, cursor_past(0), outbox->fresh.after.event_id);
	}
	nudge(d);
	unlock(d);
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

		lock(d);
		const bool is_known = find_outbox(d, name) != NULL;
		unlock(d);
		if (is_known)
			continue;
		if (!store_destination(d->options.store, name, &id, &err)) {
			log_error("a new workspace is served after the next reload or restart only",
				LOG_TEXT("workspace", name), LOG_TEXT("error", err.text));
			continue;
		}
		lock(d);
		(void)add_outbox(d, conf, id, name);
		unlock(d);
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

	lock(d);
	before = d->conf;
	d->conf = conf_ref(conf);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following)
		give_workspace(outbox, conf, destination_workspace(conf, outbox->name));
	unlock(d);
	add_new_outboxes(d, conf);
	lock(d);
	nudge(d);
	unlock(d);
	conf_unref(before);
	tell_ready(d);
}

/* ---- status ---- */

static void fill_status(const struct outbox *outbox, int64_t now_ms, struct workspace_status *ret)
{
	*ret = (struct workspace_status){
		.name = outbox->name,
		.mode = outbox->workspace == NULL                      ? "none"
			: outbox->workspace->mode == CONF_MODE_DRY_RUN ? "dry-run"
								       : "live",
		.state = "ok",
		.since_ms = outbox->hold.since_wall_ms,
		.in_flight = outbox->in_flight,
		.resting = outbox->resting.count,
	};
	if (outbox->workspace == NULL) {
		ret->state = "holding";
		(void)snprintf(ret->why, sizeof(ret->why), "%s",
			"the configuration has no such workspace (or it is in another mode)");
	} else if (outbox->hold.state != HOLD_OK) {
		ret->state = "holding";
		(void)snprintf(ret->why, sizeof(ret->why), "%s", outbox->hold.why);
	} else if (outbox->is_paced && pace_is_limiting(&outbox->pace, now_ms)) {
		ret->state = "paced";
		(void)snprintf(ret->why, sizeof(ret->why), "%s", "Intercom's rate limit");
	}
}

void dispatcher_status(struct dispatcher *d,
	void (*each)(void *context, const struct workspace_status *status), void *context)
{
	lock(d);
	for (struct outbox *outbox = d->outboxes; outbox != NULL; outbox = outbox->following) {
		struct workspace_status status;

		if (outbox->workspace == NULL && outbox->lane_count == 0 && !has_unscanned(outbox))
			continue; /* history */
		fill_status(outbox, now_mono(d), &status);
		each(context, &status);
	}
	unlock(d);
}

/* ---- life ---- */

static void *refill_until_stopped(void *argument)
{
	struct dispatcher *d = argument;

	lock(d);
	while (!d->is_stopping) {
		unlock(d);
		const int64_t wake_ms = dispatcher_refill(d);
		lock(d);
		while (!d->is_stopping && !d->has_news) {
			const int64_t span_ms =
				wake_ms == INT64_MAX ? INT64_MAX : wake_ms - now_mono(d);

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
	unlock(d);
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
	lock(d);
	d->is_stopping = true;
	(void)pthread_cond_signal(&d->wake);
	unlock(d);
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
