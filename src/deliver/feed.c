/*
 * From memory to the workers and back: the next call that may be sent, and what an answer means.
 *
 * What it means for a contact's work is lane.c's to say, for a workspace hold.c's and pace.c's; here
 * they are brought together. Destinations are served round robin.
 */

#include "dispatcher_private.h"

#include "base/log.h"
#include "deliver/verdict.h"

#include <stdio.h>

/* What a try may take besides the rest before it: the call itself, and its turn. */
#define GAP_SLACK_MS 60000

/* ---- next ---- */

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

/* Ready, and something came in since it was loaded that could still go first, or it was loaded for
 * another configuration, which may ask for other calls. */
static bool is_outdated(const struct dispatcher *d, const struct lane *lane)
{
	return (lane->has_news || lane->conf != d->conf) &&
		(!lane->run->is_begun || lane->run->may_be_reread);
}

/*
 * Lanes at the head of the line for which something arrived while they waited are read again: it
 * may belong before what was loaded, and its change into the same update. So are all after a reload.
 * What a lane that had begun has to report before that is added to *reports.
 */
static void unload_outdated(struct dispatcher *d, struct outbox *outbox, struct finish **reports)
{
	while (outbox->ready != NULL && is_outdated(d, outbox->ready)) {
		struct lane *lane = outbox->ready;

		dispatcher_nudge(d);
		if (!lane->run->is_begun) {
			outbox_unload(outbox, lane);
			continue;
		}
		struct finish *finish = lane_detach_finish(lane->run);
		(void)outbox_take_ready(outbox);
		dispatcher_count_report(d, lane, finish);
		if (finish != NULL) {
			finish->context = lane;
			finish->next = *reports;
			*reports = finish;
		}
		dispatcher_settle(lane, AFTER_DUE);
	}
}

static void send_reports(struct dispatcher *d, struct finish *reports)
{
	while (reports != NULL) {
		struct finish *next = reports->next;

		dispatcher_send_report(d, reports->context, reports);
		reports = next;
	}
}

/* The run's call, made for the workspace's current settings, travels in the errand. */
static struct errand *send_off(struct dispatcher *d, struct outbox *outbox, int64_t now_ms)
{
	struct lane *lane = outbox_take_ready(outbox);
	struct errand *errand = &lane->errand;

	/* A run goes on as it began, but a token that was replaced must not be used any more. */
	if (lane->conf != d->conf) {
		conf_unref(lane->conf);
		lane->conf = conf_ref(d->conf);
	}
	hold_started(&outbox->hold);
	pace_sent(&outbox->pace, now_ms);
	outbox->in_flight++;
	errand->call = lane->run->call;
	errand->workspace = conf_workspace_get(lane->conf, outbox->workspace->name);
	reply_clear(&errand->reply);
	dispatcher_nudge_if_short(d, outbox);
	return errand;
}

static struct errand *feed_next(void *context, int64_t *ret_wake_mono_ms)
{
	struct dispatcher *d = context;
	struct errand *errand = NULL;
	struct finish *reports = NULL;
	int64_t wake_ms = INT64_MAX;

	dispatcher_lock(d);
	const int64_t now_ms = dispatcher_mono_ms(d);
	struct outbox *start = d->turn != NULL ? d->turn : d->outboxes;
	struct outbox *outbox = start;

	while (outbox != NULL && errand == NULL && !d->is_stopping && !dispatcher_is_choked(d)) {
		unload_outdated(d, outbox, &reports);
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
	dispatcher_unlock(d);
	send_reports(d, reports);
	*ret_wake_mono_ms = wake_ms;
	return errand;
}

/* ---- done ---- */

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
	bool is_held; /* a failure that is the workspace's, not the delivery's */
};

static const char *outcome_name(const struct outcome *outcome)
{
	if (outcome->gave_up)
		return "park";
	return verdict_kind_name(outcome->is_held ? VERDICT_HOLD : outcome->verdict.kind);
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
			  "on by itself once that is mended",
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
		dispatcher_wall_ms(d));
	switch (verdict->kind) {
	case VERDICT_HOLD:
		/* 403 is a missing scope: other kinds of call may well be allowed. */
		return hold_refused(&outbox->hold, reply->status == 403 ? kind : HOLD_ANY_KIND,
			lane->contact_id, verdict->reason, now_ms, dispatcher_wall_ms(d));
	case VERDICT_RETRY:
		return hold_failed(&outbox->hold, lane->contact_id, verdict->unreachable,
			verdict->reason, &d->rng, now_ms, dispatcher_wall_ms(d));
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

/*
 * A delivery is given up when it was tried for give_up_after. What counts is the time from one
 * failure to the next, each at most as long as a retry may rest: while the workspace is held, or the
 * daemon is down, the delivery isn't tried, and a clock may be set.
 */
int64_t dispatcher_gap_ms(const struct conf *conf, int64_t span_ms)
{
	const int64_t max_ms = conf->delivery.retry_cap_ms + GAP_SLACK_MS;

	if (span_ms < 0)
		return 0;
	return span_ms < max_ms ? span_ms : max_ms;
}

/* Under the lock, after judge_workspace: a failed try's delay, or the end of patience. */
static enum lane_after judge_failure(
	struct dispatcher *d, struct lane *lane, struct outcome *outcome, int64_t now_ms)
{
	const struct conf_delivery *delivery = &d->conf->delivery;
	struct outbox *outbox = lane->outbox;

	/* While the workspace is away nobody's patience runs out: it isn't the delivery's fault. */
	outcome->is_held = outbox->hold.state != HOLD_OK || outcome->verdict.unreachable;
	if (lane->attempts++ == 0)
		lane->tried_ms = 0;
	else if (!outcome->is_held)
		lane->tried_ms += dispatcher_gap_ms(d->conf, now_ms - lane->failed_mono_ms);
	lane->failed_mono_ms = now_ms;
	outcome->gave_up = !outcome->is_held && lane->tried_ms >= delivery->give_up_after_ms;
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
		/* A call that works on the way to one that doesn't is no end of the failing. */
		if (lane->run->job_finished)
			lane->attempts = 0;
		*ret_after = AFTER_DUE;
		/* Before each event is the moment to look whether an older one has come in. */
		return !(lane->has_news && lane->run->may_be_reread) && !d->is_stopping;
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
			.at_ms = dispatcher_wall_ms(d),
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
	lane->learnt =
		outcome.result == LANE_PACED ? lane_learnt(lane->run) : (struct lane_learnt){0};

	dispatcher_lock(d);
	const int64_t now_ms = dispatcher_mono_ms(d);
	outbox->in_flight--;
	lane->is_sure |= outcome.verdict.kind == VERDICT_DONE &&
		(outcome.kind == CALL_UPDATE_CONTACT || outcome.kind == CALL_CREATE_CONTACT);
	outcome.change = judge_workspace(d, lane, &outcome, now_ms);
	outcome.attempt = lane->attempts + 1;
	(void)snprintf(why, sizeof(why), "%s", outbox->hold.why);
	const bool goes_on = move_on(d, lane, &outcome, now_ms, &after);
	const int64_t serial = d->serial++;
	dispatcher_unlock(d);

	if (outcome.gave_up)
		give_up(lane, &outcome);
	note_attempt(d, lane, &outcome, serial);
	log_attempt(lane, &outcome);
	log_change(outbox, outcome.change, why);

	/* Reports go out when a job is done, so that a kill repeats at most the call under way. */
	struct finish *finish =
		goes_on && !lane->run->job_finished ? NULL : lane_detach_finish(lane->run);
	dispatcher_lock(d);
	dispatcher_count_report(d, lane, finish);
	if (goes_on)
		outbox_continue(outbox, lane);
	else
		dispatcher_settle(lane, after);
	dispatcher_nudge_if_short(d, outbox);
	dispatcher_unlock(d);
	if (finish != NULL)
		dispatcher_send_report(d, lane, finish);
	if (outcome.change == HOLD_ENDED)
		dispatcher_tell_ready(d);
}

struct worker_feed dispatcher_feed(struct dispatcher *d)
{
	return (struct worker_feed){.next = feed_next, .done = feed_done, .context = d};
}
