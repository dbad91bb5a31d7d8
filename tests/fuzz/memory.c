/*
 * The store's accept path over lists in memory. One arena holds it all; nothing is ever taken out
 * but a dropped record.
 */

#include "memory.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"
#include "conf/conf.h"
#include "deliver/lane.h"
#include "event/attributes.h"
#include "event/event.h"
#include "store/store_private.h"

#include <jansson.h>

#define CUSTOMERS_MAX 64
#define JOBS_MAX 128
#define RECORDS_MAX 64
#define LINKS_MAX 256
#define TEXT_MAX ((size_t)256 * 1024)

struct known_customer {
	char *scope;
	char *key;
	struct contact_ref contact;
	struct record records[RECORDS_MAX];
	size_t record_count;
};

struct known_link {
	int64_t from, to;
	struct link link;
};

struct backend {
	struct arena arena;
	char *destinations[8];
	size_t destination_count;
	char *event_ids[64];
	size_t event_count;
	struct known_customer *customers[CUSTOMERS_MAX];
	size_t customer_count;
	struct known_link links[LINKS_MAX];
	size_t link_count;
	struct stored_contact contacts[CUSTOMERS_MAX];
	size_t contact_count;
	struct job jobs[JOBS_MAX];
	size_t job_count;
	bool is_full; /* an input too large for these arrays proves nothing */
};

struct world {
	struct backend backend;
	struct writing writing;
};

static bool full(struct backend *world, struct error *err)
{
	world->is_full = true;
	return error_set(err, "full");
}

static void check_json(const char *text, bool (*is_kind)(const json_t *))
{
	json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
	FUZZ_CHECK(json && is_kind(json));
	json_decref(json);
}

static bool is_object(const json_t *json)
{
	return json_is_object(json);
}

/* ---- rows in ---- */

static bool destination_id(
	struct backend *world, const char *name, int64_t *ret_id, struct error *err)
{
	(void)err;
	FUZZ_CHECK(world->destination_count < 8);
	world->destinations[world->destination_count++] = arena_dup(&world->arena, name);
	*ret_id = (int64_t)world->destination_count;
	return true;
}

static bool event_find(struct backend *world, const char *source, const char *event_id,
	int64_t *ret_id, struct error *err)
{
	(void)source; /* one world, one source */
	(void)err;
	*ret_id = 0;
	for (size_t i = 0; i < world->event_count; i++)
		if (strcmp(world->event_ids[i], event_id) == 0)
			*ret_id = (int64_t)i + 1;
	return true;
}

static bool event_add(struct backend *world, const struct stored_event *event, struct error *err)
{
	if (world->event_count == sizeof(world->event_ids) / sizeof(world->event_ids[0]))
		return full(world, err);
	world->event_ids[world->event_count++] = arena_dup(&world->arena, event->event_id);
	return true;
}

static bool customer_keys(struct backend *world, const char *scope,
	const struct contact_ref *contact, struct arena *arena, const char ***ret_keys,
	size_t *ret_count, struct error *err)
{
	const char **keys = arena_alloc(arena, CONTACT_KEYS_MAX * sizeof(char *));
	size_t count = 0;

	(void)err;
	for (size_t i = world->customer_count; i > 0 && count < CONTACT_KEYS_MAX; i--) {
		const struct known_customer *known = world->customers[i - 1];

		if (strcmp(known->scope, scope) == 0 && contact_ref_equal(&known->contact, contact))
			keys[count++] = known->key;
	}
	*ret_keys = keys;
	*ret_count = count;
	return true;
}

static bool customer_save(struct backend *world, struct customer *customer, struct error *err)
{
	if (customer->id == 0) {
		if (world->customer_count == CUSTOMERS_MAX)
			return full(world, err);
		struct known_customer *known = arena_alloc(&world->arena, sizeof(*known));
		known->scope = arena_dup(&world->arena, customer->scope);
		known->key = arena_dup(&world->arena, customer->key);
		world->customers[world->customer_count++] = known;
		customer->id = (int64_t)world->customer_count;
	}
	world->customers[customer->id - 1]->contact = (struct contact_ref){
		.destination = customer->contact.destination
			? arena_dup(&world->arena, customer->contact.destination)
			: NULL,
		.identity = arena_dup(&world->arena, customer->contact.identity),
		.is_email = customer->contact.is_email,
	};
	return true;
}

static int record_order(const struct record *a, const struct record *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->id, b->id);
}

static bool record_add(
	struct backend *world, int64_t customer_id, const struct record *record, struct error *err)
{
	struct known_customer *known = world->customers[customer_id - 1];
	size_t at = known->record_count;

	check_json(record->data, is_object);
	if (at == RECORDS_MAX)
		return full(world, err);
	for (; at > 0 && record_order(&known->records[at - 1], record) > 0; at--)
		known->records[at] = known->records[at - 1];
	known->records[at] = *record;
	known->records[at].id = arena_dup(&world->arena, record->id);
	known->records[at].subject = arena_dup(&world->arena, record->subject);
	known->records[at].data = arena_dup(&world->arena, record->data);
	known->record_count++;
	return true;
}

static bool record_drop(
	struct backend *world, int64_t customer_id, const struct record *record, struct error *err)
{
	struct known_customer *known = world->customers[customer_id - 1];

	(void)err;
	for (size_t i = 0; i < known->record_count; i++) {
		if (strcmp(known->records[i].id, record->id) != 0)
			continue;
		memmove(&known->records[i], &known->records[i + 1],
			(known->record_count - i - 1) * sizeof(known->records[0]));
		known->record_count--;
		break;
	}
	return true;
}

static bool link_add(struct backend *world, int64_t from_id, int64_t to_id, const struct link *link,
	struct error *err)
{
	if (world->link_count == LINKS_MAX)
		return full(world, err);
	world->links[world->link_count++] = (struct known_link){
		.from = from_id,
		.to = to_id,
		.link = {.at_ms = link->at_ms,
			.id = arena_dup(&world->arena, link->id),
			.from = arena_dup(&world->arena, link->from),
			.to = arena_dup(&world->arena, link->to)},
	};
	return true;
}

static bool contact_save(struct backend *world, struct stored_contact *contact, struct error *err)
{
	struct attributes set;

	if (contact->wanted[0] != '\0') {
		FUZZ_CHECK(attributes_decode(contact->wanted, strlen(contact->wanted), &set, err));
		attributes_finish(&set);
	}
	if (contact->id == 0) {
		if (world->contact_count == CUSTOMERS_MAX)
			return full(world, err);
		contact->id = (int64_t)++world->contact_count;
		world->contacts[contact->id - 1] = *contact;
		world->contacts[contact->id - 1].identity =
			arena_dup(&world->arena, contact->identity);
		world->contacts[contact->id - 1].sent = "";
	}
	world->contacts[contact->id - 1].wanted = arena_dup(&world->arena, contact->wanted);
	return true;
}

static bool job_add(struct backend *world, const struct job *job, struct error *err)
{
	if (job->name) {
		check_json(job->metadata, is_object);
		FUZZ_CHECK(job->created_at > 0);
	}
	for (size_t i = 0; i < world->job_count && job->name; i++) {
		const struct job *other = &world->jobs[i];
		FUZZ_CHECK(!other->name || other->contact_id != job->contact_id ||
			other->created_at != job->created_at ||
			strcmp(other->name, job->name) != 0);
	}
	if (world->job_count == JOBS_MAX)
		return full(world, err);
	struct job *kept = &world->jobs[world->job_count++];
	*kept = *job;
	kept->name = arena_dup(&world->arena, job->name);
	kept->metadata = arena_dup(&world->arena, job->metadata);
	return true;
}

/* ---- rows out ---- */

static bool customer_load(
	struct backend *world, struct customer *customer, struct arena *arena, struct error *err)
{
	size_t index = 0;

	(void)err;
	while (index < world->customer_count &&
		(strcmp(world->customers[index]->key, customer->key) != 0 ||
			strcmp(world->customers[index]->scope, customer->scope) != 0))
		index++;
	if (index == world->customer_count)
		return true;
	const struct known_customer *known = world->customers[index];
	customer->id = (int64_t)index + 1;
	customer->contact = known->contact;
	customer->records = arena_alloc(arena, known->record_count * sizeof(known->records[0]) + 1);
	customer->record_count = known->record_count;
	memcpy(customer->records, known->records, known->record_count * sizeof(known->records[0]));
	/* Exactly full, as the store's are. */
	for (size_t i = 0; i < world->link_count; i++) {
		customer->links_in_count += world->links[i].to == customer->id;
		customer->links_out_count += world->links[i].from == customer->id;
	}
	customer->links_in = arena_alloc(arena, customer->links_in_count * sizeof(struct link) + 1);
	customer->links_out =
		arena_alloc(arena, customer->links_out_count * sizeof(struct link) + 1);
	for (size_t i = 0, in = 0, out = 0; i < world->link_count; i++) {
		if (world->links[i].to == customer->id)
			customer->links_in[in++] = world->links[i].link;
		if (world->links[i].from == customer->id)
			customer->links_out[out++] = world->links[i].link;
	}
	return true;
}

static bool contact_load(struct backend *world, struct stored_contact *contact, struct arena *arena,
	struct error *err)
{
	(void)arena;
	(void)err;
	contact->wanted = contact->sent = "";
	for (size_t i = 0; i < world->contact_count; i++) {
		const struct stored_contact *known = &world->contacts[i];
		if (known->destination_id == contact->destination_id &&
			known->is_email == contact->is_email &&
			strcmp(known->identity, contact->identity) == 0)
			*contact = *known;
	}
	return true;
}

static const struct store_backend ops = {
	.name = "memory",
	.destination_id = destination_id,
	.event_find = event_find,
	.event_add = event_add,
	.customer_load = customer_load,
	.customer_keys = customer_keys,
	.customer_save = customer_save,
	.record_add = record_add,
	.record_drop = record_drop,
	.link_add = link_add,
	.contact_load = contact_load,
	.contact_save = contact_save,
	.job_add = job_add,
};

/* ---- worlds ---- */

struct world *world_create(void)
{
	struct world *world = calloc(1, sizeof(*world));
	FUZZ_CHECK(world);
	arena_init(&world->backend.arena);
	world->writing = (struct writing){.ops = &ops, .backend = &world->backend};
	return world;
}

void world_destroy(struct world *world)
{
	arena_finish(&world->backend.arena);
	free(world);
}

void world_accept(struct world *world, const struct conf *conf, const struct conf_source *section,
	const struct event *event)
{
	struct error err = {0};
	struct accept accept = {
		.conf = conf,
		.section = section,
		.event = event,
		.body = "",
		.received_at_ms = WORLD_NOW_MS,
	};
	bool done = accept_execute(&world->writing, &accept, &err);
	FUZZ_CHECK(done || world->backend.is_full);
}

static bool is_null_or_absent(const struct attribute *item)
{
	return !item || item->value.type == VALUE_NULL;
}

static void compare_values(const struct attribute *a, const struct attribute *b)
{
	if (is_null_or_absent(a) && is_null_or_absent(b))
		return;
	FUZZ_CHECK(!is_null_or_absent(a) && !is_null_or_absent(b));
	FUZZ_CHECK(a->value.type == b->value.type && a->value.integer == b->value.integer);
	FUZZ_CHECK(text_equal(a->value.text, b->value.text));
}

static void decode(const struct stored_contact *contact, struct attributes *ret)
{
	struct error err = {0};
	attributes_init(ret);
	if (contact->wanted[0] != '\0')
		FUZZ_CHECK(attributes_decode(contact->wanted, strlen(contact->wanted), ret, &err));
}

static void compare_contact(
	const struct world *a, const struct stored_contact *contact, const struct world *b)
{
	const char *name = a->backend.destinations[contact->destination_id - 1];
	struct stored_contact other = {
		.is_email = contact->is_email, .identity = contact->identity, .wanted = ""};
	struct attributes one, two;

	for (size_t i = 0; i < b->backend.destination_count; i++)
		if (strcmp(b->backend.destinations[i], name) == 0)
			other.destination_id = (int64_t)i + 1;
	FUZZ_CHECK(contact_load((struct backend *)(uintptr_t)&b->backend, &other, NULL, NULL));
	decode(contact, &one);
	decode(&other, &two);
	for (size_t i = 0; i < one.count; i++)
		compare_values(&one.items[i], attributes_get(&two, one.items[i].name));
	attributes_finish(&one);
	attributes_finish(&two);
}

void world_compare(const struct world *a, const struct world *b)
{
	if (a->backend.is_full || b->backend.is_full)
		return;
	for (size_t i = 0; i < a->backend.contact_count; i++)
		compare_contact(a, &a->backend.contacts[i], b);
	for (size_t i = 0; i < b->backend.contact_count; i++)
		compare_contact(b, &b->backend.contacts[i], a);
}

static void deliver_to(
	const struct world *world, const struct stored_contact *contact, const struct conf *conf)
{
	struct arena arena;
	struct error err = {0};
	struct lane_work work = {.contact = *contact};
	struct verdict done = {.kind = VERDICT_DONE, .contact_id = "6762f0dd1bb69f9f2193bb83"};
	enum lane_result result = LANE_DONE;
	size_t calls = 0;

	arena_init(&arena);
	work.jobs = arena_alloc(&arena, world->backend.job_count * sizeof(*work.jobs) + 1);
	for (size_t i = 0; i < world->backend.job_count; i++) {
		if (world->backend.jobs[i].contact_id != contact->id)
			continue;
		work.jobs[work.job_count++] = world->backend.jobs[i];
		work.touches |= world->backend.jobs[i].touches;
	}
	struct lane_run *run = lane_run_create_take(&arena, &work, 0, &err);
	FUZZ_CHECK(run);
	if (lane_next_call(run, &conf->workspaces[0]))
		result = LANE_CONTINUES;
	while (result == LANE_CONTINUES) {
		FUZZ_CHECK(++calls <= work.job_count + 2);
		if (!call_is_too_large(&run->call) && run->call.body.len > 0)
			check_json(buf_text(&run->call.body), is_object);
		result = lane_take_verdict(run, &conf->workspaces[0], &done);
	}
	FUZZ_CHECK(result == LANE_DONE);
	struct finish *finish = lane_detach_finish(run);
	FUZZ_CHECK((finish ? finish->job_count : 0) == work.job_count);
	finish_destroy(finish);
	lane_run_destroy(run);
}

void world_deliver(const struct world *world, const struct conf *conf)
{
	for (size_t i = 0; i < world->backend.contact_count && !world->backend.is_full; i++)
		deliver_to(world, &world->backend.contacts[i], conf);
}
