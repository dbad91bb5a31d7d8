/*
 * The invariants that can be told on the way: of each call as it goes out, of each answer as it
 * comes back.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEN_S_MS (10 * SECOND_MS)
#define FIRST_PROBE_MS (5 * SECOND_MS)
#define PROBE_MS (30 * SECOND_MS)

static struct workspace_sim *workspace_of(struct world *world, const struct flight *flight)
{
	return &world->workspaces[flight->workspace];
}

static struct outbox *outbox_of(const struct world *world, size_t workspace)
{
	struct outbox *outbox = world->dispatcher->outboxes;

	while (outbox != NULL && (strcmp(outbox->name, "intercom") != 0) != (workspace != 0))
		outbox = outbox->following;
	return outbox;
}

static struct delivery *delivery_of(struct world *world, int64_t event_id, size_t person)
{
	for (size_t i = 0; i < world->delivery_count; i++)
		if (world->deliveries[i].event_id == event_id &&
			world->deliveries[i].person == person)
			return &world->deliveries[i];
	return NULL;
}

/* ---- order ---- */

struct search {
	int64_t contact_id;
	bool is_waiting;
};

static void find_waiting(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	struct search *search = context;

	(void)contact;
	if (job->contact_id == search->contact_id && parking == NULL)
		search->is_waiting = true;
}

static bool is_listed(const struct lane_run *run, int64_t event_id)
{
	for (size_t i = run->next_job; i < run->work.job_count; i++)
		if (run->work.jobs[i].event_id == event_id)
			return true;
	return false;
}

/* What a run that begins now has loaded. */
static void note_run(struct world *world, const struct lane_run *run, size_t person)
{
	for (size_t i = 0; i < world->delivery_count && !run->is_begun; i++)
		if (world->deliveries[i].person == person)
			world->deliveries[i].is_loaded =
				is_listed(run, world->deliveries[i].event_id);
}

static bool is_before(const struct delivery *a, const struct delivery *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->rank < b->rank;
}

/*
 * "In the order of the billing system's own times where that can still be done": an event that goes
 * out now has no older one of its contact behind it that waits in the store and that a whole refill
 * has had the chance to see.
 */
static void check_order(struct world *world, const struct lane *lane, const struct flight *flight)
{
	const struct delivery *now = delivery_of(world, flight->event_id, flight->person);
	struct dispatcher *d = world->dispatcher;

	if (now == NULL || flight->kind != CALL_SUBMIT_EVENT)
		return;
	for (size_t i = 0; i < world->delivery_count; i++) {
		const struct delivery *older = &world->deliveries[i];
		struct search search = {.contact_id = lane->contact_id};

		if (older->person != flight->person || older->name == NULL || !older->is_seen ||
			older->is_delivered || older->is_reported || !is_before(older, now) ||
			(older->is_loaded && !is_listed(lane->run, older->event_id)))
			continue; /* the run has dealt with it: parked, ignored */
		if (d->ops->job_list(d->reader, older->event_id, find_waiting, &search, NULL) &&
			search.is_waiting)
			world_fail(world,
				"%s is sent and the older %s of the same contact still waits",
				world->hooks[now->hook].id, world->hooks[older->hook].id);
	}
}

/* ---- rate and hold ---- */

static void check_rate(struct world *world, struct workspace_sim *workspace)
{
	const size_t room = sizeof(workspace->sends) / sizeof(*workspace->sends);
	const int64_t limit = world->choices.fixed_rate;

	if (world->now_ms < workspace->stop_until_ms)
		world_fail(world, "a call goes out %lld ms before the end of a 429",
			(long long)(workspace->stop_until_ms - world->now_ms));
	workspace->sends[workspace->send_count++ % room] = world->now_ms;
	if (limit == 0)
		return;
	/* Spaced evenly; one that is late by a little is caught up. */
	const size_t allowed = (size_t)(limit + 1 + limit / 200);
	if (workspace->send_count > allowed &&
		workspace->sends[(workspace->send_count - 1 - allowed) % room] >
			world->now_ms - TEN_S_MS)
		world_fail(world, "more than %zu calls in 10 s with rate_limit = %lld", allowed,
			(long long)limit);
}

static void check_hold(struct world *world, struct workspace_sim *workspace,
	const struct outbox *outbox, struct flight *flight)
{
	if (outbox->hold.state == HOLD_OK)
		return;
	flight->is_probe = true;
	workspace->probes_out++;
	if (workspace->probes_out > 1 + workspace->stragglers)
		world_fail(world, "%u probes are out in a hold", workspace->probes_out);
	if (outbox->hold.state == HOLD_REFUSED && outbox->hold.refused_kinds == 0 &&
		world->now_ms < workspace->probe_not_before_ms)
		world_fail(world, "a probe %lld ms early",
			(long long)(workspace->probe_not_before_ms - world->now_ms));
}

/* ---- calls ---- */

/*
 * The delay before a try is anything up to a ceiling of retry_base at least, so one that is hardly
 * any proves nothing. Six of them in a row, each less than a fiftieth: once in 10^10.
 */
static void check_haste(const struct world *world, struct person *person)
{
	if (person->failed_ms < 0)
		return;
	if ((world->now_ms - person->failed_ms) * 50 >= world->choices.retry_base_ms)
		person->hasty = 0;
	else if (++person->hasty == 6)
		world_fail(world, "%s is tried again and again without a rest", person->identity);
}

void check_sent(struct world *world, struct errand *errand, struct flight *flight)
{
	const struct lane *lane = errand->owner;
	struct person *person = &world->persons[flight->person];
	struct delivery *delivery = delivery_of(world, flight->event_id, flight->person);
	struct workspace_sim *workspace = workspace_of(world, flight);

	if (++person->in_flight > 1)
		world_fail(world, "two calls at once for %s", person->identity);
	if (world->now_ms < person->resting_until_ms)
		world_fail(world, "%s is tried again %lld ms early", person->identity,
			(long long)(person->resting_until_ms - world->now_ms));
	check_haste(world, person);
	if (delivery == NULL && world->choices.keep_delivered_ms >= 2 * DAY_MS)
		world_fail(world, "a call for event %lld, which nobody knows",
			(long long)flight->event_id);
	if (delivery != NULL && flight->kind == CALL_SUBMIT_EVENT) {
		if (delivery->is_delivered)
			world_fail(world, "%s is sent again, though Intercom has taken it",
				world->hooks[delivery->hook].id);
	}
	note_run(world, lane->run, flight->person);
	check_order(world, lane, flight);
	check_rate(world, workspace);
	check_hold(world, workspace, lane->outbox, flight);
}

/* Windows in which somebody else's calls, or another process's, were counted are no fault. */
void check_limited(struct world *world, const struct flight *flight)
{
	const struct workspace_sim *workspace = &world->workspaces[flight->workspace];
	const int64_t now_ms = world_wall_ms(world);
	const int64_t window_ms = now_ms - now_ms % TEN_S_MS;

	if (workspace->is_scarce || START_WALL_MS + workspace->born_ms >= window_ms)
		return;
	/* Until the first answer nothing is known but the configured limit. */
	if (world->choices.fixed_rate > 0 && flight->sent_ms <= workspace->answered_ms)
		return;
	world_fail(world, "the relay alone has run into the limit of %lld calls",
		(long long)world->choices.limit);
}

static bool is_refusal(const struct flight *flight)
{
	return flight->wire == WIRE_ANSWERED && flight->status >= 400 && flight->status <= 499 &&
		flight->status != 401 && flight->status != 402 && flight->status != 403 &&
		flight->status != 406 && flight->status != 407 && flight->status != 408 &&
		flight->status != 425 && flight->status != 429 &&
		(flight->answer == NULL || strstr(flight->answer, "server_error") == NULL);
}

static void note_stop(
	struct world *world, struct workspace_sim *workspace, const struct flight *flight)
{
	const char *reset =
		flight->headers != NULL ? strstr(flight->headers, "X-RateLimit-Reset: ") : NULL;
	const char *after =
		flight->headers != NULL ? strstr(flight->headers, "Retry-After: ") : NULL;
	int64_t until_ms = world->now_ms;

	if (reset != NULL)
		until_ms = strtoll(reset + strlen("X-RateLimit-Reset: "), NULL, 10) * 1000 -
			START_WALL_MS;
	if (after != NULL) {
		const int64_t after_ms =
			world->now_ms + strtoll(after + strlen("Retry-After: "), NULL, 10) * 1000;
		if (after_ms > until_ms)
			until_ms = after_ms;
	}
	if (until_ms > workspace->stop_until_ms)
		workspace->stop_until_ms = until_ms;
}

static void note_answer(struct world *world, struct flight *flight)
{
	struct person *person = &world->persons[flight->person];
	struct delivery *delivery = delivery_of(world, flight->event_id, flight->person);
	const bool is_good = flight->wire == WIRE_ANSWERED && flight->status >= 200 &&
		flight->status <= 299 && flight->fate != FATE_HTML && flight->fate != FATE_PORTAL &&
		flight->fate != FATE_CUT;
	const bool is_accepted = is_good ||
		(flight->kind == CALL_SUBMIT_EVENT && flight->fate == FATE_CUT &&
			flight->status == 202);

	if (workspace_of(world, flight)->answered_ms == INT64_MAX && flight->wire == WIRE_ANSWERED)
		workspace_of(world, flight)->answered_ms = world->now_ms;
	person->in_flight--;
	person->patience_ms = 0;
	if (is_refusal(flight)) {
		char id[24] = "";
		const char *header =
			flight->headers != NULL ? strstr(flight->headers, "X-Request-Id: ") : NULL;

		if (header != NULL)
			(void)sscanf(header, "X-Request-Id: %23[^\r\n]", id);
		person->refusals++;
		ledger_note_refusal(world, id);
	}
	if (flight->wire == WIRE_ANSWERED && flight->status == 429)
		note_stop(world, workspace_of(world, flight), flight);
	if (flight->kind == CALL_SUBMIT_EVENT && is_accepted && delivery != NULL)
		delivery->is_delivered = true;
	person->failed_ms = -1;
	flight->has_failed = !is_accepted && !is_refusal(flight) &&
		(flight->wire != WIRE_ANSWERED || flight->status < 400 || flight->status >= 500 ||
			flight->status == 408 || flight->status == 425 || flight->status == 400);
	if (is_accepted) {
		person->hasty = 0;
		if (flight->kind == CALL_SUBMIT_EVENT)
			person->last_failure_ms = -1;
	} else {
		person->failures++;
	}
}

/* What a try may take besides the rest before it; see feed.c. */
#define GAP_SLACK_MS (60 * 1000)

/* The longest that the relay may think the contact was in trouble since its last failure. What it
 * remembers over a restart has wall dates. */
static int64_t gap_ms(const struct world *world, const struct person *person)
{
	const int64_t max_ms = world->choices.retry_cap_ms + GAP_SLACK_MS;
	const int64_t since_ms = world->now_ms - person->last_failure_ms;

	return since_ms > max_ms || world->choices.has[TROUBLE_CLOCK] ? max_ms : since_ms;
}

/* A failure counts for the contact where its workspace is well otherwise. */
static void note_failure(struct world *world, const struct flight *flight)
{
	struct person *person = &world->persons[flight->person];
	const bool is_held = outbox_of(world, flight->workspace)->hold.state != HOLD_OK;

	if (!flight->has_failed)
		return;
	if (person->last_failure_ms < 0) {
		person->tried_ms = 0;
		person->last_failure_ms = world->now_ms;
	} else if (!is_held && flight->wire != WIRE_UNREACHABLE) {
		person->tried_ms += gap_ms(world, person);
		person->last_failure_ms = world->now_ms;
	}
	if (person->tried_ms > person->own_trouble_ms)
		person->own_trouble_ms = person->tried_ms;
	if (!is_held && person->own_trouble_ms < world->choices.give_up_ms)
		person->failed_ms = world->now_ms;
}

/* What it was waiting for is over. */
static void be_at_once(struct person *person)
{
	person->resting_until_ms = 0;
	person->failed_ms = -1;
}

/* Those still under way are probes of no hold that may come. */
static void forget_probes(struct world *world, size_t i)
{
	struct workspace_sim *workspace = &world->workspaces[i];

	workspace->stragglers = 0;
	workspace->probes_out = 0;
	workspace->probe_not_before_ms = 0;
	for (size_t j = 0; j < FLIGHTS_MAX; j++)
		if (world->flights[j].workspace == i)
			world->flights[j].is_probe = false;
}

void check_released(struct world *world, size_t workspace)
{
	forget_probes(world, workspace);
	for (size_t i = 0; i < world->person_count; i++)
		if (world->persons[i].workspace == workspace)
			be_at_once(&world->persons[i]);
}

static void note_hold(struct world *world, const struct flight *flight, struct hold before)
{
	struct workspace_sim *workspace = workspace_of(world, flight);
	const struct outbox *outbox = outbox_of(world, flight->workspace);
	const struct hold *hold = &outbox->hold;

	if (flight->is_probe && workspace->probes_out > 0)
		workspace->probes_out--;
	else if (before.state != HOLD_OK)
		workspace->stragglers++;
	if (hold->state == HOLD_OK) {
		forget_probes(world, flight->workspace);
		if (before.state != HOLD_OK)
			check_released(world, flight->workspace);
	} else if (hold->state == HOLD_REFUSED && flight->wire == WIRE_ANSWERED &&
		(flight->status == 401 || flight->status == 406)) {
		if (before.state != HOLD_REFUSED)
			workspace->probe_not_before_ms = world->now_ms + FIRST_PROBE_MS;
		else if (before.probing)
			workspace->probe_not_before_ms = world->now_ms + PROBE_MS;
	}
}

static void note_rest(struct world *world, const struct flight *flight)
{
	struct person *person = &world->persons[flight->person];
	const struct outbox *outbox = outbox_of(world, flight->workspace);
	struct lane *lane = NULL;

	HASH_FIND(hh, outbox->lanes, &person->contact_id, sizeof(person->contact_id), lane);
	if (lane != NULL &&
		(lane->state == LANE_RESTING ||
			(lane->state == LANE_SETTLING && lane->after == AFTER_REST)))
		person->resting_until_ms = lane->rest_until_mono_ms;
	else
		person->resting_until_ms = 0;
}

void check_replied(struct world *world, struct flight *flight)
{
	const struct hold before = outbox_of(world, flight->workspace)->hold;

	note_answer(world, flight);
	world->feed.done(world->feed.context, flight->errand);
	note_failure(world, flight);
	note_hold(world, flight, before);
	note_rest(world, flight);
}

/* ---- the threads ---- */

void check_refilled(struct world *world)
{
	for (size_t i = 0; i < world->delivery_count; i++)
		world->deliveries[i].is_seen = true;
}

/* All that was reported is on disk, unless the disk refuses. */
void check_stored(struct world *world)
{
	struct error err = {0};

	if (disk_is_off(world->disk))
		return;
	while (store_is_ready(world->store, &err) && store_run(world->store))
		continue;
	if (disk_is_off(world->disk) || !store_is_ready(world->store, &err))
		return;
	for (size_t i = 0; i < world->delivery_count; i++) {
		struct delivery *delivery = &world->deliveries[i];

		if (delivery->is_delivered && !delivery->is_reported) {
			delivery->is_reported = true;
			world->persons[delivery->person].is_stale = true;
		}
	}
	ledger_record_hooks(world);
	for (size_t i = 0; i < world->person_count; i++)
		if (world->persons[i].is_stale && world->persons[i].in_flight == 0)
			verdict_check_person(world, &world->persons[i]);
}

/* Whether the store has waiting work for this contact; what hasn't is gone for good or parked. */
static bool has_work(struct world *world, size_t person)
{
	struct dispatcher *d = world->dispatcher;
	bool is_any = false;

	for (size_t i = 0; i < world->delivery_count; i++) {
		struct delivery *delivery = &world->deliveries[i];
		struct search search = {.contact_id = world->persons[person].contact_id};

		if (delivery->person != person || !delivery->is_seen || delivery->is_gone)
			continue;
		if (!d->ops->job_list(d->reader, delivery->event_id, find_waiting, &search, NULL))
			return false;
		delivery->is_gone = !search.is_waiting;
		is_any |= search.is_waiting;
	}
	return is_any;
}

static bool is_held_up(const struct world *world, const struct person *person)
{
	const struct workspace_sim *workspace = &world->workspaces[person->workspace];
	const struct outbox *outbox = outbox_of(world, person->workspace);

	struct lane *lane = NULL;

	if (outbox != NULL)
		HASH_FIND(hh, outbox->lanes, &person->contact_id, sizeof(person->contact_id), lane);
	return person->in_flight > 0 || outbox == NULL || outbox->hold.state != HOLD_OK ||
		outbox->is_paced || (lane != NULL && lane->state == LANE_RESTING) ||
		world->now_ms < workspace->stop_until_ms;
}

/*
 * No lane starves: a contact that nothing speaks against waits no longer than all others need for
 * one call each, each as long as a call may take.
 */
void check_passed(struct world *world, int64_t span_ms)
{
	const int64_t rounds = (int64_t)world->person_count / world->choices.connections + 2;
	const int64_t bound_ms = rounds * 35 * SECOND_MS;

	if (!world->is_up || world->now_ms <= world->disk_bad_ms)
		return;
	for (size_t i = 0; i < world->person_count; i++) {
		struct person *person = &world->persons[i];

		if (is_held_up(world, person)) {
			person->patience_ms = 0;
			person->is_waiting = false;
			continue;
		}
		person->patience_ms += span_ms;
		if (person->patience_ms <= bound_ms)
			continue;
		/* The first span may have begun long before the work. */
		const bool is_waiting = has_work(world, i);
		if (is_waiting && person->is_waiting)
			world_fail(world, "%s has waited for %lld s and nothing holds it up",
				person->identity, (long long)person->patience_ms / 1000);
		person->is_waiting = is_waiting;
		person->patience_ms = 0;
	}
}
