/*
 * The invariants at the end: what was promised and what has come of it, in the store and at
 * Intercom.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"
#include "support/standin_private.h"

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool verdict_is_settled(struct world *world)
{
	struct totals totals;

	if (!world->is_up || world->in_flight > 0)
		return false;
	for (size_t i = 0; i < world->hook_count; i++)
		if (!world->hooks[i].is_final || world->hooks[i].knocks > 0)
			return false;
	store_totals(world->store, &totals);
	return totals.waiting == 0;
}

static bool may_forget(const struct world *world)
{
	return world->choices.keep_delivered_ms < 2 * DAY_MS;
}

/* ---- rows ---- */

struct count {
	struct world *world;
	int64_t rows;
	int64_t waiting;
	int64_t delivered;
	int64_t ignored;
	int64_t parked;
};

static bool count_row(void *context, const struct event_row *row)
{
	struct count *count = context;

	count->rows++;
	if (strcmp(row->state, "waiting") == 0)
		count->waiting++;
	else if (strcmp(row->state, "delivered") == 0)
		count->delivered++;
	else if (strcmp(row->state, "ignored") == 0)
		count->ignored++;
	else
		count->parked++;
	if ((strcmp(row->state, "ignored") == 0 || strcmp(row->state, "parked") == 0) &&
		row->reason[0] == '\0')
		world_fail(count->world, "%s is %s and nothing says why", row->event.event_id,
			row->state);
	return true;
}

static void check_rows(struct world *world)
{
	struct dispatcher *d = world->dispatcher;
	struct count count = {.world = world};
	struct totals totals;
	struct error err = {0};

	if (!d->ops->event_list(d->reader,
		    &(struct event_filter){.since_ms = TIME_NONE, .limit = 1000}, count_row, &count,
		    &err))
		world_fail(world, "the events can't be listed: %s", err.text);
	store_totals(world->store, &totals);
	if (count.waiting != 0 || totals.waiting != 0)
		world_fail(world, "%lld events wait by their rows, %lld by the totals",
			(long long)count.waiting, (long long)totals.waiting);
	if (totals.received < totals.accepted + totals.duplicate)
		world_fail(world,
			"the totals don't add up: received %lld, accepted %lld, duplicate %lld",
			(long long)totals.received, (long long)totals.accepted,
			(long long)totals.duplicate);
	if (may_forget(world))
		return;
	if (count.ignored != totals.ignored)
		world_fail(world, "%lld events are ignored by their rows, %lld by the totals",
			(long long)count.ignored, (long long)totals.ignored);
	if (count.rows != totals.received - totals.duplicate)
		world_fail(world, "%lld rows, %lld received and no duplicates",
			(long long)count.rows, (long long)(totals.received - totals.duplicate));
	if (count.parked == 0 && count.delivered != totals.delivered)
		world_fail(world, "%lld events are delivered by their rows, %lld by the totals",
			(long long)count.delivered, (long long)totals.delivered);
}

/* ---- each webhook ---- */

struct fate_of {
	struct world *world;
	struct hook *hook;
};

static bool is_known_refusal(const struct world *world, const char *request_id)
{
	for (size_t i = 0; i < world->refusal_id_count; i++)
		if (strcmp(world->refusal_ids[i], request_id) == 0)
			return true;
	return false;
}

/* Parked, and rightly so. */
static void check_parked(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	const struct fate_of *fate = context;
	struct world *world = fate->world;
	const struct person *person = ledger_person(world, job->contact_id);

	(void)contact;
	if (parking == NULL)
		world_fail(world, "%s waits at the end", fate->hook->id);
	for (size_t i = 0; i < world->delivery_count; i++)
		if (world->deliveries[i].event_id == job->event_id &&
			&world->persons[world->deliveries[i].person] == person)
			world->deliveries[i].is_parked = true;
	if (strncmp(parking->reason, "given up after", 14) == 0) {
		if (person->own_trouble_ms < world->choices.give_up_ms)
			world_fail(world,
				"%s is given up, and %s was in trouble of its own for %lld s only",
				fate->hook->id, person->identity,
				(long long)person->own_trouble_ms / 1000);
		return;
	}
	if (person->refusals == 0)
		world_fail(
			world, "%s is parked without cause: %s", fate->hook->id, parking->reason);
	if (parking->request_id[0] != '\0' && !is_known_refusal(world, parking->request_id))
		world_fail(world, "%s is parked for the request %s, which was no refusal: %s",
			fate->hook->id, parking->request_id, parking->reason);
}

static void check_hook(struct world *world, struct hook *hook)
{
	struct dispatcher *d = world->dispatcher;
	struct fate_of fate = {.world = world, .hook = hook};
	struct event_row row;
	struct arena arena;
	struct error err = {0};

	if (hook->acknowledged == 0)
		return;
	arena_init(&arena);
	if (!d->ops->event_get(d->reader, 0, hook->id, &arena, &row, &err))
		world_fail(world, "%s can't be read: %s", hook->id, err.text);
	if (row.event.id == 0 && !may_forget(world))
		world_fail(world, "%s was answered 200 and is not in the store", hook->id);
	if (row.event.id != 0) {
		if (strcmp(row.event.body, hook->body) != 0)
			world_fail(world, "the body of %s is not what was sent", hook->id);
		if (strcmp(row.state, "ignored") == 0 && hook->is_relayed && !may_forget(world)) {
			/* By delivery: only skip does that. */
			if (!world->choices.skips_archived && !world->choices.skips_unmatched)
				world_fail(world, "%s is ignored: %s", hook->id, row.reason);
			for (size_t i = 0; i < world->delivery_count; i++)
				if (world->deliveries[i].event_id == row.event.id)
					world->persons[world->deliveries[i].person].was_ignored =
						true;
		}
		if (!d->ops->job_list(d->reader, row.event.id, check_parked, &fate, &err))
			world_fail(world, "the jobs of %s can't be read: %s", hook->id, err.text);
	}
	arena_finish(&arena);
}

/* ---- at Intercom ---- */

static bool has_event(const struct world *world, const struct delivery *delivery)
{
	const struct person *person = &world->persons[delivery->person];
	const struct standin *standin = world->workspaces[person->workspace].standin;

	for (size_t i = 0; i < standin_event_count(standin); i++) {
		const struct event_seen *seen = &standin->events[i];
		const char *who =
			person->is_email ? seen->contact->email : seen->contact->external_id;

		if (seen->created_at == delivery->created_at &&
			strcmp(seen->name, delivery->name) == 0 &&
			(text_equal(who, person->identity) ||
				world->contacts[person->contact].is_merged))
			return true;
	}
	return false;
}

static void check_events(struct world *world)
{
	for (size_t i = 0; i < world->delivery_count; i++) {
		const struct delivery *delivery = &world->deliveries[i];
		const struct person *person = &world->persons[delivery->person];

		if (delivery->name == NULL || delivery->is_parked || person->was_ignored)
			continue;
		if (!has_event(world, delivery))
			world_fail(world, "%s is delivered, and Intercom has no %s of %s at %lld",
				world->hooks[delivery->hook].id, delivery->name, person->identity,
				(long long)delivery->created_at);
	}
}

static struct contact *contact_of(const struct world *world, const struct person *person)
{
	const struct standin *standin = world->workspaces[person->workspace].standin;
	struct contact *found = NULL;

	if (!person->is_email)
		return people_find_external(standin, person->identity);
	for (struct contact *contact = standin->contacts; contact != NULL; contact = contact->next)
		if (text_equal(contact->email, person->identity))
			found = contact;
	return found;
}

static const char *value_of(const struct contact *contact, const char *name)
{
	for (size_t i = 0; contact != NULL && i < contact->value_count; i++)
		if (strcmp(contact->values[i].name->name, name) == 0)
			return contact->values[i].json;
	return "null";
}

/* A contact that was never asked for needn't be there. */
static void check_values(struct world *world, const struct person *person, const char *wanted)
{
	const struct contact *contact = contact_of(world, person);
	json_t *json = json_loads(wanted[0] != '\0' ? wanted : "{}", 0, NULL);
	const char *name;
	json_t *value;

	json_object_foreach(json, name, value)
	{
		char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		const char *there = value_of(contact, name);

		if (strcmp(text, there) != 0)
			world_fail(world, "%s has %s = %s at Intercom and should have %s",
				person->identity, name, there, text);
		free(text);
	}
	json_decref(json);
}

static bool is_accountable(const struct world *world, const struct person *person)
{
	const size_t here = (size_t)(person - world->persons);

	const struct contact_sim *contact = &world->contacts[person->contact];

	if (person->was_ignored || contact->is_merged || contact->is_broken)
		return false;
	for (size_t i = 0; i < world->delivery_count; i++)
		if (world->deliveries[i].person == here && world->deliveries[i].is_parked &&
			world->deliveries[i].touches)
			return false;
	return true;
}

struct outlook {
	const struct person *person;
	bool is_open; /* waits, or is parked and would have changed something */
};

static void look_at_job(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	struct outlook *outlook = context;

	(void)contact;
	if (job->contact_id == outlook->person->contact_id && (parking == NULL || job->touches))
		outlook->is_open = true;
}

/* What was skipped or changed hands is no concern of ours. */
static bool is_out_of_hand(const struct world *world, const struct person *person)
{
	const struct contact_sim *contact = &world->contacts[person->contact];

	return world->choices.skips_archived || world->choices.skips_unmatched ||
		contact->is_merged || contact->is_broken;
}

void verdict_check_person(struct world *world, struct person *person)
{
	struct dispatcher *d = world->dispatcher;
	struct outlook outlook = {.person = person};
	struct stored_contact contact;
	struct arena arena;
	const size_t here = (size_t)(person - world->persons);

	if (is_out_of_hand(world, person))
		return;
	/* Newer work, too, that nobody here has heard of yet. */
	for (size_t i = 0; i < world->delivery_count && !outlook.is_open; i++)
		if (world->deliveries[i].person == here && !world->deliveries[i].is_reported &&
			!d->ops->job_list(d->reader, world->deliveries[i].event_id, look_at_job,
				&outlook, NULL))
			return;
	if (outlook.is_open)
		return;
	arena_init(&arena);
	if (d->ops->contact_get(d->reader, person->contact_id, &arena, &contact, NULL)) {
		char *wanted = in_order_render(contact.wanted);

		check_values(world, person, wanted);
		free(wanted);
		person->is_stale = false;
	}
	arena_finish(&arena);
}

/* ---- attributes ---- */

static bool is_same(const char *a, const char *b)
{
	json_t *left = json_loads(a[0] != '\0' ? a : "{}", 0, NULL);
	json_t *right = json_loads(b[0] != '\0' ? b : "{}", 0, NULL);
	bool same = true;
	const char *name;
	json_t *value;

	/* Never written and written as null are the same to Intercom. */
	for (int side = 0; side < 2; side++) {
		json_object_foreach(side == 0 ? left : right, name, value)
		{
			const json_t *other = json_object_get(side == 0 ? right : left, name);

			same &= other != NULL ? json_equal(value, (json_t *)(uintptr_t)other)
					      : json_is_null(value);
		}
	}
	json_decref(left);
	json_decref(right);
	return same;
}

static const char *find_wanted(
	const struct wanted *wanted, size_t count, int64_t destination_id, const char *identity)
{
	for (size_t i = 0; i < count; i++)
		if (wanted[i].destination_id == destination_id &&
			strcmp(wanted[i].identity, identity) == 0)
			return wanted[i].json;
	return "";
}

/* One that its last customer has left keeps what it has, and what that is depends on when. */
static bool is_current(const struct world *world, const char *identity)
{
	for (size_t i = 0; i < world->choices.customers; i++)
		if (strcmp(ledger_contact_of(world, i, INT64_MAX), identity) == 0)
			return true;
	return false;
}

static void check_attributes(struct world *world)
{
	struct wanted *mine;
	struct wanted *theirs;
	size_t mine_count;
	size_t theirs_count;

	in_order_read(world, &mine, &mine_count);
	for (size_t i = 0; i < world->person_count; i++) {
		const struct person *person = &world->persons[i];

		if (is_accountable(world, person))
			check_values(world, person,
				find_wanted(mine, mine_count,
					world->workspaces[person->workspace].destination_id,
					person->identity));
	}
	relay_drop(world);
	disk_unmount(world->disk);
	in_order_run(world, &theirs, &theirs_count);
	for (size_t i = 0; i < theirs_count || i < mine_count; i++) {
		const struct wanted *one = i < mine_count ? &mine[i] : &theirs[i];
		const char *here =
			find_wanted(mine, mine_count, one->destination_id, one->identity);
		const char *there =
			find_wanted(theirs, theirs_count, one->destination_id, one->identity);

		if (is_current(world, one->identity) && !is_same(here, there))
			world_fail(world, "%s should have %s as in order, and is wanted as %s",
				one->identity, there, here);
	}
	in_order_free(mine, mine_count);
	in_order_free(theirs, theirs_count);
}

/* ---- calls ---- */

/* Where nothing goes wrong: one creation a contact, one call an event, an update only for a change. */
static void check_thrift(struct world *world)
{
	int64_t named = 0;
	int64_t touching = 0;

	if (!choices_are_peaceful(&world->choices) || may_forget(world))
		return;
	for (size_t i = 0; i < world->delivery_count; i++) {
		named += world->deliveries[i].name != NULL;
		touching += world->deliveries[i].touches;
	}
	struct standin_totals sum = {0};
	for (size_t i = 0; i < WORKSPACES; i++) {
		struct standin_totals totals;

		standin_get_totals(world->workspaces[i].standin, &totals);
		sum.calls += totals.calls;
		sum.events_repeated += totals.events_repeated;
		for (size_t j = 0; j < STANDIN_CALL_KINDS; j++)
			sum.by_kind[j] += totals.by_kind[j];
	}
	const int64_t creations = sum.by_kind[STANDIN_CREATE_CONTACT];
	const int64_t updates = sum.by_kind[STANDIN_UPDATE_CONTACT];
	const int64_t searches = sum.by_kind[STANDIN_SEARCH_CONTACT];
	const bool has_email = world->choices.identify == BY_EMAIL;
	if (sum.by_kind[STANDIN_SUBMIT_EVENT] != named ||
		creations > (int64_t)world->person_count ||
		creations + updates > touching + (int64_t)world->person_count ||
		searches != (has_email ? creations : 0) ||
		sum.calls != named + creations + updates + searches)
		world_fail(world,
			"too many calls: %lld events by %lld calls, %lld changes of %zu contacts "
			"by %lld "
			"creations and %lld updates, %lld searches, %lld calls in all",
			(long long)named, (long long)sum.by_kind[STANDIN_SUBMIT_EVENT],
			(long long)touching, world->person_count, (long long)creations,
			(long long)updates, (long long)searches, (long long)sum.calls);
}

void verdict_check(struct world *world)
{
	for (size_t i = 0; i < WORKSPACES; i++)
		if (standin_violation_count(world->workspaces[i].standin) > 0)
			world_fail(world, "Intercom was sent what it never takes: %s",
				standin_violation_at(world->workspaces[i].standin, 0));
	check_rows(world);
	for (size_t i = 0; i < world->hook_count; i++)
		check_hook(world, &world->hooks[i]);
	check_events(world);
	check_thrift(world);
	check_attributes(world);
}
