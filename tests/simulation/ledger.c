/*
 * What the relay has promised, kept outside of it: which webhooks it has, by their rows, and what
 * it owes to which contact for each.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- people ---- */

static size_t contact_named(const struct world *world, const char *identity)
{
	for (size_t i = 0; i < world->contact_count; i++)
		if (strcmp(world->contacts[i].identity, identity) == 0)
			return i;
	world_fail(world, "nobody is called %s", identity);
}

static bool is_later(const struct hook *a, const struct hook *b)
{
	if (a->effective_ms != b->effective_ms)
		return a->effective_ms > b->effective_ms;
	return a->rank != b->rank ? a->rank > b->rank : strcmp(a->id, b->id) > 0;
}

static bool names(const struct hook *hook, size_t customer)
{
	for (size_t i = 0; i < hook->from_count; i++)
		if (hook->from[i] == customer)
			return true;
	for (size_t i = 0; i < hook->to_count; i++)
		if (hook->to[i] == customer)
			return true;
	return false;
}

/* The latest of the customer's own webhooks that says so; else its id, where a transfer named that. */
const char *ledger_contact_of(const struct world *world, size_t customer, int64_t store_id)
{
	const struct hook *latest = NULL;
	const char *by_id = "";

	for (size_t i = 0; i < world->hook_count; i++) {
		const struct hook *hook = &world->hooks[i];

		if (!hook->is_recorded || hook->sort != HOOK_RELAYED || hook->store_id > store_id)
			continue;
		if (hook->is_transfer && names(hook, customer))
			by_id = webhooks_contact_by_id(
				&world->choices, &world->customers[customer]);
		if (!hook->is_transfer && hook->customer == customer && hook->says[0] != '\0' &&
			(latest == NULL || is_later(hook, latest)))
			latest = hook;
	}
	return latest != NULL ? latest->says : by_id;
}

static size_t workspace_of(const struct world *world, int64_t destination_id)
{
	for (size_t i = 0; i < WORKSPACES; i++)
		if (world->workspaces[i].destination_id == destination_id)
			return i;
	world_fail(world, "there is no destination %lld", (long long)destination_id);
}

static struct person *know_person(
	struct world *world, int64_t contact_id, const struct stored_contact *contact)
{
	for (size_t i = 0; i < world->person_count; i++)
		if (world->persons[i].contact_id == contact_id)
			return &world->persons[i];
	if (world->person_count == world->person_capacity) {
		world->person_capacity = world->person_capacity * 2 + 16;
		world->persons =
			xrealloc(world->persons, world->person_capacity * sizeof(*world->persons));
	}
	struct person *person = &world->persons[world->person_count++];
	*person = (struct person){
		.contact_id = contact_id,
		.workspace = workspace_of(world, contact->destination_id),
		.is_email = contact->is_email,
		.contact = contact_named(world, contact->identity),
		.last_failure_ms = -1,
		.failed_ms = -1,
	};
	(void)snprintf(person->identity, sizeof(person->identity), "%s", contact->identity);
	return person;
}

struct person *ledger_person(struct world *world, int64_t contact_id)
{
	for (size_t i = 0; i < world->person_count; i++)
		if (world->persons[i].contact_id == contact_id)
			return &world->persons[i];
	world_fail(world, "a call for contact %lld, whom no event is about", (long long)contact_id);
}

void ledger_note_refusal(struct world *world, const char *request_id)
{
	if (world->refusal_id_count == world->refusal_id_capacity) {
		world->refusal_id_capacity = world->refusal_id_capacity * 2 + 16;
		world->refusal_ids = xrealloc(world->refusal_ids,
			world->refusal_id_capacity * sizeof(*world->refusal_ids));
	}
	(void)snprintf(world->refusal_ids[world->refusal_id_count++], sizeof(*world->refusal_ids),
		"%s", request_id);
}

/* ---- webhooks ---- */

struct recording {
	struct world *world;
	size_t hook;
	unsigned named;
	/* who is to be told */
	const char *told[PARTIES_MAX];
	size_t told_count;
};

static void add_told(struct recording *recording, const char *identity)
{
	for (size_t i = 0; i < recording->told_count; i++)
		if (strcmp(recording->told[i], identity) == 0)
			return;
	if (identity[0] != '\0')
		recording->told[recording->told_count++] = identity;
}

static void find_told(const struct world *world, struct recording *recording)
{
	const struct hook *hook = &world->hooks[recording->hook];

	if (hook->sort != HOOK_RELAYED || webhooks_event_name(&world->choices, hook->key) == NULL)
		return;
	for (size_t i = 0; i < hook->to_count; i++)
		add_told(recording, ledger_contact_of(world, hook->to[i], hook->store_id));
	if (!hook->is_transfer)
		add_told(recording, ledger_contact_of(world, hook->customer, hook->store_id));
}

static bool is_told(const struct recording *recording, const char *identity)
{
	for (size_t i = 0; i < recording->told_count; i++)
		if (strcmp(recording->told[i], identity) == 0)
			return true;
	return false;
}

static void record_job(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	struct recording *recording = context;
	struct world *world = recording->world;
	struct hook *hook = &world->hooks[recording->hook];

	if (parking != NULL)
		world_fail(world, "webhook %s is parked before it was tried", hook->id);
	if (world->delivery_count == world->delivery_capacity) {
		world->delivery_capacity = world->delivery_capacity * 2 + 64;
		world->deliveries = xrealloc(
			world->deliveries, world->delivery_capacity * sizeof(*world->deliveries));
	}
	const struct person *person = know_person(world, job->contact_id, contact);
	struct delivery *delivery = &world->deliveries[world->delivery_count++];
	*delivery = (struct delivery){
		.hook = recording->hook,
		.person = (size_t)(person - world->persons),
		.event_id = job->event_id,
		.at_ms = job->at_ms,
		.rank = job->rank,
		.touches = job->touches,
		.is_main = job->is_main,
		.name = xstrdup_or_null(job->name),
		.created_at = job->created_at,
	};
	if (job->rank != hook->rank)
		world_fail(world, "webhook %s (%s) has rank %d, not %d", hook->id, hook->type,
			job->rank, hook->rank);
	if (job->name == NULL)
		return;
	recording->named++;
	const char *name = webhooks_event_name(&world->choices, hook->key);
	/* With a clock that is days off the event may have been given the time of its receipt. */
	const int64_t base_s =
		hook->base_s < hook->effective_ms / 1000 ? hook->base_s : hook->effective_ms / 1000;
	if (name == NULL || strcmp(name, job->name) != 0 || !is_told(recording, person->identity) ||
		job->created_at < base_s || job->created_at > base_s + HOOKS_MAX)
		world_fail(world, "webhook %s (%s) becomes %s of %s at %lld, not %s of %s at %lld",
			hook->id, hook->type, job->name, person->identity,
			(long long)job->created_at, name != NULL ? name : "nothing",
			recording->told_count > 0 ? recording->told[0] : "nobody",
			(long long)hook->base_s);
}

static void check_recorded(struct world *world, const struct recording *recording)
{
	const struct hook *hook = &world->hooks[recording->hook];

	if (recording->named != recording->told_count)
		world_fail(world, "webhook %s (%s) becomes %u events, not %zu", hook->id,
			hook->type, recording->named, recording->told_count);
	if (hook->sort != HOOK_RELAYED && hook->sort != HOOK_IGNORED)
		world_fail(world, "webhook %s is stored and should not be", hook->id);
	/* Two of one name and second would be one to Intercom. */
	for (size_t i = 0; i < world->delivery_count; i++) {
		const struct delivery *a = &world->deliveries[i];
		const struct delivery *b = &world->deliveries[world->delivery_count - 1];

		if (a->hook != b->hook && a->person == b->person &&
			a->created_at == b->created_at && a->name != NULL && b->name != NULL &&
			strcmp(a->name, b->name) == 0)
			world_fail(world, "%s and %s are both %s at %lld", world->hooks[a->hook].id,
				world->hooks[b->hook].id, a->name, (long long)a->created_at);
	}
}

/* Reads one webhook's row; false when it isn't there or can't be read. */
static bool record(struct world *world, struct hook *hook)
{
	struct dispatcher *d = world->dispatcher;
	struct event_row row;
	struct arena arena;
	struct error err = {0};

	arena_init(&arena);
	/* A disk that fails once has failed the second time. */
	if ((d->ops->event_get(d->reader, 0, hook->id, &arena, &row, &err) ||
		    d->ops->event_get(d->reader, 0, hook->id, &arena, &row, &err)) &&
		row.event.id != 0) {
		hook->is_recorded = true;
		hook->store_id = row.event.id;
		hook->received_at_ms = row.event.received_at_ms;
		hook->effective_ms = row.event.at_ms;
		hook->is_relayed = row.event.ignored == NULL;
	}
	arena_finish(&arena);
	return hook->is_recorded;
}

static void record_jobs(struct world *world, size_t i)
{
	struct dispatcher *d = world->dispatcher;
	struct hook *hook = &world->hooks[i];
	struct recording recording = {.world = world, .hook = i};
	struct error err = {0};
	const bool may_be_skipped = world->choices.skips_archived || world->choices.skips_unmatched;

	find_told(world, &recording);
	if (!hook->is_relayed) {
		if (recording.told_count > 0 && !may_be_skipped)
			world_fail(world, "webhook %s (%s) is ignored, and %s should hear of it",
				hook->id, hook->type, recording.told[0]);
		return;
	}
	if (!d->ops->job_list(d->reader, hook->store_id, record_job, &recording, &err) &&
		!d->ops->job_list(d->reader, hook->store_id, record_job, &recording, &err))
		world_fail(world, "the jobs of %s can't be read: %s", hook->id, err.text);
	check_recorded(world, &recording);
}

/* All rows first: who is told of one webhook depends on those that were stored before it. */
void ledger_record_hooks(struct world *world)
{
	size_t fresh[HOOKS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < world->hook_count; i++) {
		struct hook *hook = &world->hooks[i];

		if (hook->is_recorded || (hook->acknowledged == 0 && !hook->may_be_stored))
			continue;
		if (record(world, hook))
			fresh[count++] = i;
		else if (hook->acknowledged > 0)
			world_fail(world, "webhook %s was answered 200 and is not in the store",
				hook->id);
	}
	for (size_t i = 0; i < count; i++)
		record_jobs(world, fresh[i]);
}

/* ---- after a start ---- */

struct waiting {
	struct world *world;
	const struct hook *hook;
};

static void see_waiting(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	const struct waiting *waiting = context;
	struct world *world = waiting->world;

	(void)contact;
	for (size_t i = 0; i < world->delivery_count; i++) {
		struct delivery *delivery = &world->deliveries[i];

		if (delivery->event_id == job->event_id && parking == NULL &&
			world->persons[delivery->person].contact_id == job->contact_id &&
			delivery->is_reported)
			world_fail(world, "webhook %s waits again after it was reported delivered",
				waiting->hook->id);
	}
}

void ledger_sync(struct world *world)
{
	struct dispatcher *d = world->dispatcher;
	const bool may_forget = world->choices.keep_delivered_ms < 2 * DAY_MS;

	for (size_t i = 0; i < world->hook_count; i++) {
		struct hook *hook = &world->hooks[i];
		struct waiting waiting = {.world = world, .hook = hook};
		struct event_row row;
		struct arena arena;
		struct error err = {0};

		if (!hook->is_recorded)
			continue;
		arena_init(&arena);
		if (d->ops->event_get(d->reader, hook->store_id, NULL, &arena, &row, &err)) {
			if (row.event.id == 0 && !may_forget)
				world_fail(world, "webhook %s was stored and is gone", hook->id);
			(void)d->ops->job_list(
				d->reader, hook->store_id, see_waiting, &waiting, &err);
		}
		arena_finish(&arena);
	}
	for (size_t i = 0; i < world->delivery_count; i++) {
		world->deliveries[i].is_seen = false;
		world->deliveries[i].is_delivered = world->deliveries[i].is_reported;
	}
}

void ledger_finish(struct world *world)
{
	for (size_t i = 0; i < world->delivery_count; i++)
		free(world->deliveries[i].name);
	free(world->deliveries);
	free(world->persons);
	free(world->refusal_ids);
}
