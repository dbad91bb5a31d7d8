/*
 * One webhook inside the transaction: duplicate, ignored, or planned and carried out.
 *
 * The source's plan says which records and links to remember, what each contact's attributes should
 * now be, and which Intercom events to send. Here that becomes rows: one job for each contact that
 * has something to do. An update is not queued as such: the contact's `wanted` changes, and the
 * job's `touches` says that delivery has to bring the contact up to date, so any number of waiting
 * changes become one call.
 */

#include "store_private.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "conf/conf.h"
#include "event/event.h"
#include "source/source.h"

#include <stdio.h>
#include <string.h>

/* A wanted set of a contact is a handful of attributes of at most 255 bytes each. */
#define ATTRIBUTES_MAX ((size_t)256 * 1024)

/* A contact that this event has something to do with. */
struct touched {
	struct stored_contact contact;
	bool is_changed;
	const struct plan_event *event;
	struct touched *next;
};

struct acceptance {
	struct writing *writing;
	struct accept *accept;
	struct arena *arena;
	struct plan plan;
	struct touched *touched; /* in the order of the plan */
	struct touched **touched_end;
};

static bool load_customer(
	void *context, struct customer *customer, struct arena *arena, struct error *err)
{
	struct writing *writing = context;

	return writing->ops->customer_load(writing->backend, customer, arena, err);
}

static bool keys_of_contact(void *context, const char *scope, const struct contact_ref *contact,
	struct arena *arena, const char ***ret_keys, size_t *ret_count, struct error *err)
{
	struct writing *writing = context;

	return writing->ops->customer_keys(
		writing->backend, scope, contact, arena, ret_keys, ret_count, err);
}

static bool save_customer(struct acceptance *a, struct customer *customer, struct error *err)
{
	if (customer->id != 0 && contact_ref_equal(&customer->contact, &customer->stored_contact))
		return true;
	customer->stored_contact = customer->contact;
	return a->writing->ops->customer_save(a->writing->backend, customer, err);
}

static bool remember(struct acceptance *a, struct ledger *ledger, struct error *err)
{
	const struct store_backend *ops = a->writing->ops;
	struct backend *backend = a->writing->backend;

	for (size_t i = 0; i < a->plan.record_count; i++) {
		const struct plan_record *put = &a->plan.records[i];

		if (!save_customer(a, put->customer, err) ||
			!(put->is_drop ? ops->record_drop : ops->record_add)(
				backend, put->customer->id, &put->record, err))
			return false;
	}
	for (size_t i = 0; i < a->plan.link_count; i++) {
		const struct link *link = &a->plan.links[i];
		struct customer *from =
			ledger_customer(ledger, a->plan.link_scope, link->from, err);
		struct customer *to = ledger_customer(ledger, a->plan.link_scope, link->to, err);

		if (from == NULL || to == NULL || !save_customer(a, from, err) ||
			!save_customer(a, to, err) ||
			!ops->link_add(backend, from->id, to->id, link, err))
			return false;
	}
	return true;
}

static struct touched *touch(struct acceptance *a, const struct contact_ref *ref, struct error *err)
{
	const int64_t destination_id = writing_destination(a->writing, ref->destination, err);

	if (destination_id == 0)
		return NULL;
	for (struct touched *known = a->touched; known != NULL; known = known->next)
		if (known->contact.destination_id == destination_id &&
			known->contact.is_email == ref->is_email &&
			strcmp(known->contact.identity, ref->identity) == 0)
			return known;

	struct touched *touched = arena_alloc(a->arena, sizeof(*touched));
	touched->contact = (struct stored_contact){.destination_id = destination_id,
		.is_email = ref->is_email,
		.identity = ref->identity};
	if (!a->writing->ops->contact_load(a->writing->backend, &touched->contact, a->arena, err))
		return NULL;
	*a->touched_end = touched;
	a->touched_end = &touched->next;
	return touched;
}

/* What this author said before and no longer says is null now. */
static void withdraw(
	struct attributes *wanted, const struct attributes *said, const char *author, int64_t at_ms)
{
	for (size_t i = 0; i < wanted->count; i++) {
		const struct attribute *item = &wanted->items[i];

		if (strcmp(item->by, author) != 0 || item->value.type == VALUE_NULL ||
			attributes_get(said, item->name) != NULL)
			continue;
		if (item->value.kind == VALUE_TIME)
			attributes_set_time(wanted, item->name, TIME_NONE, at_ms, author);
		else
			attributes_set_text(wanted, item->name, NULL, at_ms, author);
	}
}

static char *text_of(struct arena *arena, const struct attributes *set,
	void (*write)(const struct attributes *set, struct buf *ret))
{
	struct buf buf;

	buf_init(&buf, ATTRIBUTES_MAX);
	write(set, &buf);
	char *text = arena_dup_len(arena, buf_text(&buf), buf.len);
	buf_finish(&buf);
	return text;
}

static bool update_contact(
	struct acceptance *a, const struct plan_update *update, struct error *err)
{
	struct touched *touched = touch(a, &update->contact, err);
	struct attributes wanted;
	bool done = false;

	attributes_init(&wanted);
	if (touched == NULL)
		goto out;
	if (touched->contact.wanted[0] != '\0' &&
		!attributes_decode(
			touched->contact.wanted, strlen(touched->contact.wanted), &wanted, err))
		goto out;
	const char *before = text_of(a->arena, &wanted, attributes_render);
	attributes_merge(&wanted, &update->attributes);
	withdraw(&wanted, &update->attributes,
		plan_author(a->arena, update->customer->scope, &update->contact),
		a->accept->event->at_ms);
	if (wanted.count > 0)
		touched->contact.wanted = text_of(a->arena, &wanted, attributes_encode);
	if (strcmp(before, text_of(a->arena, &wanted, attributes_render)) != 0)
		touched->is_changed = true;
	done = save_customer(a, update->customer, err);
out:
	attributes_finish(&wanted);
	return done;
}

static bool touch_contacts(struct acceptance *a, struct error *err)
{
	for (size_t i = 0; i < a->plan.event_count; i++) {
		struct touched *touched = touch(a, &a->plan.events[i].contact, err);

		if (touched == NULL)
			return false;
		if (touched->event == NULL)
			touched->event = &a->plan.events[i];
	}
	for (size_t i = 0; i < a->plan.update_count; i++)
		if (!update_contact(a, &a->plan.updates[i], err))
			return false;
	return true;
}

static bool add_jobs(struct acceptance *a, int64_t event_id, size_t *ret_count, struct error *err)
{
	const struct event *event = a->accept->event;
	struct writing *writing = a->writing;
	size_t count = 0;

	for (struct touched *touched = a->touched; touched != NULL; touched = touched->next) {
		if (!touched->is_changed && touched->event == NULL)
			continue;
		if ((touched->is_changed || touched->contact.id == 0) &&
			!writing->ops->contact_save(writing->backend, &touched->contact, err))
			return false;
		const struct job job = {
			.destination_id = touched->contact.destination_id,
			.event_id = event_id,
			.contact_id = touched->contact.id,
			.at_ms = event->at_ms,
			.rank = event->rank,
			.received_at_ms = a->accept->received_at_ms,
			.touches = touched->is_changed,
			.is_main = count == 0,
			.name = touched->event != NULL ? touched->event->name : NULL,
			.created_at = touched->event != NULL ? touched->event->created_at : 0,
			.metadata = touched->event != NULL ? touched->event->metadata : NULL,
		};
		if (!writing->ops->job_add(writing->backend, &job, err))
			return false;
		writing_note_work(writing, job.destination_id);
		count++;
	}
	*ret_count = count;
	return true;
}

/* Carries the plan out; *ret_ignored says why nothing came of it, NULL when something did. */
static bool relay(
	struct acceptance *a, int64_t event_id, const char **ret_ignored, struct error *err)
{
	struct ledger ledger = {.arena = a->arena,
		.load = load_customer,
		.keys_of = keys_of_contact,
		.context = a->writing};
	const struct accept *accept = a->accept;
	size_t jobs = 0;

	if (!accept->section->source->plan(
		    accept->conf, accept->section, accept->event, &ledger, &a->plan, err) ||
		!remember(a, &ledger, err) || !touch_contacts(a, err) ||
		!add_jobs(a, event_id, &jobs, err))
		return false;
	a->writing->totals.waiting += (int64_t)jobs;
	*ret_ignored = jobs == 0 ? a->plan.nothing : NULL;
	return true;
}

static bool store_new(struct acceptance *a, struct error *err)
{
	struct writing *writing = a->writing;
	struct accept *accept = a->accept;
	const struct event *event = accept->event;
	const int64_t id = ++writing->totals.last_event_id;
	const char *ignored = event->ignored;

	if (ignored == NULL && !relay(a, id, &ignored, err))
		return false;

	const struct stored_event row = {
		.id = id,
		.source = event->source,
		.event_id = event->id,
		.type = event->type,
		.customer = event->customer,
		.at_ms = event->at_ms,
		.received_at_ms = accept->received_at_ms,
		.ignored = ignored,
		.body = accept->body,
		.body_len = accept->body_len,
	};
	if (!writing->ops->event_add(writing->backend, &row, err))
		return false;
	accept->status = ignored != NULL ? ACCEPT_IGNORED : ACCEPT_STORED;
	if (ignored != NULL) {
		(void)snprintf(accept->reason, sizeof(accept->reason), "%s", ignored);
		writing->totals.ignored++;
	} else {
		writing->totals.accepted++;
	}
	return true;
}

bool accept_execute(struct writing *writing, struct accept *accept, struct error *err)
{
	struct arena arena;
	struct acceptance a = {.writing = writing, .accept = accept, .arena = &arena};
	int64_t known_id;
	bool done = false;

	arena_init(&arena);
	plan_init(&a.plan, &arena);
	a.touched_end = &a.touched;
	if (!writing->ops->event_find(
		    writing->backend, accept->event->source, accept->event->id, &known_id, err))
		goto out;
	writing->totals.received++;
	if (known_id != 0) {
		accept->status = ACCEPT_DUPLICATE;
		writing->totals.duplicate++;
		done = true;
	} else {
		done = store_new(&a, err);
	}
out:
	plan_finish(&a.plan);
	arena_finish(&arena);
	return done;
}
