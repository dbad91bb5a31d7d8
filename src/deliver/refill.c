/*
 * From the store into memory: scan what waits, load what is due.
 *
 * Fairness: work is found by two cursors, one through the backlog, one through what came since, and
 * stands in two lines, served in turn. Where an event stands that comes in while others wait:
 *
 *   - behind what is loaded already: twice delivery.connections lanes;
 *   - behind at most FRESH_MAX lanes of its own line, each of which lets one of the backlog pass.
 *
 * A lane takes two calls as a rule, and 1 + JOBS_MAX at most before it goes to the end of the
 * backlog's line. With 32 connections, two calls a lane and Intercom's 166 calls/s that is under a
 * second while today's work is less than half of what Intercom takes, and (64 + 2 * 512) * 2 / 166 =
 * 13 s at the worst. When the fresh line is full and more has come in, more comes than half of what
 * Intercom takes, or delivery is held: then the older half of the line becomes backlog, at its end. So
 * when Intercom is back the newest events are the first to arrive. The backlog has at least every other
 * turn, in the order of arrival, so nothing starves.
 */

#include "dispatcher_private.h"

#include "base/error.h"
#include "base/log.h"
#include "deliver/verdict.h"

#include <string.h>

#define SCAN_BATCH 256
#define LOAD_BATCH 64
/* Jobs of one contact that are loaded at a time. */
#define JOBS_MAX 32
/* Lanes in the fresh line; so much room in memory the backlog leaves. */
#define FRESH_MAX 512
/* A scan or load that failed is tried again after this long. */
#define STORE_RETRY_MS 1000

/* ---- scan ---- */

static bool can_scan_backlog(const struct outbox *outbox)
{
	return outbox->lane_count < LANES_MAX - FRESH_MAX && cursor_has_more(&outbox->backlog);
}

static bool is_fresh_line_full(const struct outbox *outbox)
{
	return outbox->fresh_due_count >= FRESH_MAX;
}

static bool can_scan_fresh(const struct outbox *outbox)
{
	return outbox->fresh_has_more && outbox->lane_count < LANES_MAX &&
		!is_fresh_line_full(outbox);
}

/* The next stretch to read; false when there is nothing to scan or no room for it. */
static bool pick_cursor(struct outbox *outbox, struct cursor **ret_cursor)
{
	const bool has_backlog = can_scan_backlog(outbox);
	const bool has_fresh = can_scan_fresh(outbox);

	if (!has_backlog && !has_fresh)
		return false;
	outbox->is_fresh_turn = has_backlog && has_fresh ? !outbox->is_fresh_turn : has_fresh;
	*ret_cursor = outbox->is_fresh_turn ? &outbox->fresh : &outbox->backlog;
	return true;
}

static void note_scanned(
	struct outbox *outbox, struct cursor *cursor, const struct lane_ref *refs, size_t count)
{
	for (size_t i = 0; i < count && refs[i].event_id <= cursor->until; i++) {
		outbox_found(outbox, refs[i], cursor == &outbox->fresh);
		cursor->after = refs[i];
	}
	const bool is_exhausted = count < SCAN_BATCH || refs[count - 1].event_id > cursor->until;
	if (cursor == &outbox->backlog && is_exhausted)
		cursor->after = cursor_past(cursor->until);
}

static bool is_crowded(const struct outbox *outbox)
{
	return outbox->fresh_has_more && is_fresh_line_full(outbox);
}

/* One stretch of one outbox. */
static bool scan(struct dispatcher *d, struct outbox *outbox, struct error *err)
{
	struct lane_ref refs[SCAN_BATCH];
	struct cursor *cursor = NULL;
	size_t count;

	dispatcher_lock(d);
	if (is_crowded(outbox))
		outbox_age(outbox, FRESH_MAX / 2);
	const bool has_work = pick_cursor(outbox, &cursor);
	const struct lane_ref after = has_work ? cursor->after : (struct lane_ref){0};
	const unsigned splits = outbox->splits;
	const bool is_fresh = has_work && cursor == &outbox->fresh;
	/* Cleared before the read: what is announced during it is read again. */
	if (is_fresh)
		outbox->fresh_has_more = false;
	dispatcher_unlock(d);
	if (!has_work)
		return true;

	const bool done =
		d->ops->lanes_after(d->reader, outbox->id, after, refs, SCAN_BATCH, &count, err);
	dispatcher_lock(d);
	if (!done) {
		outbox->fresh_has_more |= is_fresh;
	} else if (outbox->splits == splits) { /* else what was read may be stale */
		note_scanned(outbox, cursor, refs, count);
		if (is_fresh && count == SCAN_BATCH)
			outbox->fresh_has_more = true;
	} else {
		outbox->fresh_has_more = true;
	}
	dispatcher_unlock(d);
	return done;
}

/* ---- load ---- */

/* What was tried before this process began, out of the attempts that are kept. */
struct memory {
	const struct conf *conf;
	int64_t contact_id;
	unsigned attempts;
	int64_t tried_ms;
	int64_t last_at_ms;
};

static void recall(void *context, const struct attempt *attempt)
{
	struct memory *memory = context;
	const bool is_retry = strcmp(attempt->verdict, verdict_kind_name(VERDICT_RETRY)) == 0;

	if (attempt->contact_id != memory->contact_id ||
		strcmp(attempt->verdict, verdict_kind_name(VERDICT_HOLD)) == 0)
		return;
	memory->tried_ms = is_retry && memory->attempts > 0 ? memory->tried_ms +
			dispatcher_gap_ms(memory->conf, attempt->at_ms - memory->last_at_ms)
							    : 0;
	memory->attempts = is_retry ? memory->attempts + 1 : 0;
	memory->last_at_ms = attempt->at_ms;
}

/*
 * A daemon that is restarted every day must give up as well, and not begin its retries anew. Only
 * work that is older than this process has a past, and it is looked up once.
 */
static bool remember(struct dispatcher *d, struct lane *lane, const struct conf *conf,
	const struct lane_work *work, struct error *err)
{
	struct memory memory = {.conf = conf, .contact_id = lane->contact_id};
	const int64_t event_id = work->jobs[0].event_id;

	if (lane->is_remembered || lane->attempts > 0 || event_id > lane->outbox->doubt_until)
		return true;
	if (!d->ops->attempt_list(d->reader, event_id, recall, &memory, err))
		return false;
	lane->is_remembered = true;
	if (memory.attempts == 0)
		return true;
	lane->attempts = memory.attempts;
	lane->tried_ms = memory.tried_ms;
	lane->failed_mono_ms = dispatcher_mono_ms(d) -
		dispatcher_gap_ms(conf, dispatcher_wall_ms(d) - memory.last_at_ms);
	return true;
}

/* Reads one lane's work. *ret_run NULL with true: nothing waits for it. Without a call, what waits
 * is done as it is (a change and its way back). */
static bool load(struct dispatcher *d, struct lane *lane, const struct conf *conf,
	const struct conf_workspace *workspace, struct lane_run **ret_run, bool *ret_has_call,
	struct error *err)
{
	struct lane_work work;
	struct arena arena;
	struct lane_run *run = NULL;
	bool done = false;

	arena_init(&arena);
	if (!d->ops->lane_load(d->reader, lane->contact_id, JOBS_MAX, &arena, &work, err))
		goto out;
	if (work.job_count > 0) {
		if (!remember(d, lane, conf, &work, err))
			goto out;
		run = lane_run_create_take(
			&arena, &work, lane->is_sure ? 0 : lane->outbox->doubt_until, err);
		if (run == NULL)
			goto out;
		lane_recall(run, &lane->learnt, workspace);
		*ret_has_call = lane_next_call(run, workspace);
	}
	*ret_run = run;
	done = true;
out:
	arena_finish(&arena);
	return done;
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
	dispatcher_count_report(d, lane, finish);
	lane->run = run;
	dispatcher_settle(lane, lane->has_more ? AFTER_DUE : AFTER_LEAVE);
	dispatcher_nudge_if_short(d, outbox);
	return finish;
}

/* Under the lock: the store couldn't be read. */
static void place_unread(struct dispatcher *d, struct lane *lane)
{
	lane->after = AFTER_REST;
	lane->rest_until_mono_ms = dispatcher_mono_ms(d) + STORE_RETRY_MS;
	outbox_release(lane->outbox, lane);
}

/* Loads what is due in one outbox. *ret_ready: something became ready. */
static bool load_due(
	struct dispatcher *d, struct outbox *outbox, bool *ret_ready, struct error *err)
{
	struct lane *lanes[LOAD_BATCH];
	bool all_good = true;

	dispatcher_lock(d);
	const size_t wanted = dispatcher_wanted_lanes(d, outbox);
	const size_t room = wanted > outbox->ready_count ? wanted - outbox->ready_count : 0;
	const size_t count = outbox_take_due(
		outbox, lanes, room < LOAD_BATCH ? room : LOAD_BATCH, dispatcher_mono_ms(d));
	struct conf *conf = conf_ref(d->conf);
	const struct conf_workspace *workspace = outbox->workspace;
	dispatcher_unlock(d);

	for (size_t i = 0; i < count; i++) {
		struct lane_run *run = NULL;
		struct finish *finish = NULL;
		bool has_call = false;
		const bool is_loaded = load(d, lanes[i], conf, workspace, &run, &has_call, err);

		all_good &= is_loaded;
		dispatcher_lock(d);
		if (is_loaded)
			finish = place_loaded(d, lanes[i], run, conf, has_call);
		else
			place_unread(d, lanes[i]);
		dispatcher_unlock(d);
		if (finish != NULL)
			dispatcher_send_report(d, lanes[i], finish);
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

	dispatcher_lock(d);
	struct outbox *first = d->outboxes;
	d->has_news = false;
	/* Whatever rests from now on is either seen by this refill or nudges the next. */
	d->refill_mono_ms = INT64_MAX;
	dispatcher_unlock(d);

	for (struct outbox *outbox = first; outbox != NULL; outbox = outbox->following) {
		if (!scan(d, outbox, &err) || !load_due(d, outbox, &is_ready, &err)) {
			log_error("reading waiting work failed", LOG_TEXT("error", err.text));
			error_clear(&err);
			wake_ms = dispatcher_mono_ms(d) + STORE_RETRY_MS;
			continue;
		}
		dispatcher_lock(d);
		const int64_t rest_ms = outbox_wake(outbox, dispatcher_mono_ms(d));
		const bool is_busy =
			(outbox_has_due(outbox) &&
				outbox->ready_count < dispatcher_wanted_lanes(d, outbox)) ||
			can_scan_backlog(outbox) || can_scan_fresh(outbox) || is_crowded(outbox);
		dispatcher_unlock(d);
		if (is_busy)
			wake_ms = dispatcher_mono_ms(d);
		else if (rest_ms < wake_ms)
			wake_ms = rest_ms;
	}
	dispatcher_lock(d);
	d->refill_mono_ms = wake_ms;
	dispatcher_unlock(d);
	if (is_ready)
		dispatcher_tell_ready(d);
	return wake_ms;
}
