/*
 * A plan as text. The plan lists updates and events; here they are put together by contact.
 */

#include "map_text_private.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/json_out.h"
#include "base/text.h"
#include "conf/conf.h"
#include "event/event.h"
#include "map/plan.h"
#include "source/source.h"

#include <jansson.h>
#include <stdlib.h>

#define TEXT_MAX ((size_t)16 * 1024 * 1024)

/* What goes to one contact; either may be NULL. */
struct payload {
	const struct contact_ref *contact;
	const struct plan_update *update; /* with attributes */
	const struct plan_event *event;
};

struct payloads {
	struct payload *items;
	size_t count;
};

static bool is_same(const struct contact_ref *a, const struct contact_ref *b)
{
	return a->is_email == b->is_email && text_equal(a->identity, b->identity) &&
		text_equal(a->destination, b->destination);
}

static struct payload *payload_for(struct payloads *payloads, const struct contact_ref *contact)
{
	for (size_t i = 0; i < payloads->count; i++) {
		if (is_same(payloads->items[i].contact, contact))
			return &payloads->items[i];
	}
	struct payload *payload = &payloads->items[payloads->count++];
	*payload = (struct payload){.contact = contact};
	return payload;
}

static void collect(const struct plan *plan, struct arena *arena, struct payloads *payloads)
{
	/* One more, so that there is always something to allocate. */
	size_t most = plan->event_count + plan->update_count + 1;
	payloads->items = arena_alloc(arena, most * sizeof(*payloads->items));
	for (size_t i = 0; i < plan->event_count; i++) {
		struct payload *payload = payload_for(payloads, &plan->events[i].contact);
		if (!payload->event)
			payload->event = &plan->events[i];
	}
	for (size_t i = 0; i < plan->update_count; i++) {
		struct payload *payload = payload_for(payloads, &plan->updates[i].contact);
		if (plan->updates[i].attributes.count > 0)
			payload->update = &plan->updates[i];
	}
}

static void write_contact(struct json_out *out, const struct contact_ref *contact)
{
	json_out_key_text(out, contact->is_email ? "email" : "user_id", contact->identity);
}

static void write_update(struct json_out *out, const struct plan_update *update)
{
	json_out_key(out, "user_payload");
	if (!update) {
		json_out_null(out);
		return;
	}
	struct buf attributes;
	buf_init(&attributes, TEXT_MAX);
	attributes_render(&update->attributes, &attributes);
	json_out_object(out);
	write_contact(out, &update->contact);
	json_out_key_raw(out, "custom_attributes", buf_text(&attributes));
	json_out_object_end(out);
	buf_finish(&attributes);
}

static void write_event(struct json_out *out, const struct plan_event *event)
{
	json_out_key(out, "event_payload");
	if (!event) {
		json_out_null(out);
		return;
	}
	json_out_object(out);
	json_out_key_text(out, "event_name", event->name);
	write_contact(out, &event->contact);
	json_out_key_integer(out, "created_at", event->created_at);
	json_out_key_raw(out, "metadata", event->metadata_shown);
	json_out_object_end(out);
}

/* Why what is null is null; NULL: nothing is. */
static const char *why_ignored(const struct plan *plan, const struct plan_update *update,
	const struct plan_event *event, const char *nothing)
{
	if (!update && !event)
		return nothing;
	if (!update)
		return "no attribute changes";
	if (!event)
		return plan->no_event ? plan->no_event : "no event for this contact";
	return NULL;
}

/* payload NULL: nothing goes to anybody, and `nothing` says why. */
static void write_payload(struct json_out *out, const struct plan *plan,
	const struct payload *payload, const char *nothing)
{
	const struct plan_update *update = payload ? payload->update : NULL;
	const struct plan_event *event = payload ? payload->event : NULL;
	const char *ignored = why_ignored(plan, update, event, nothing);

	json_out_object(out);
	json_out_key_text(out, "product_identifier", plan->product);
	json_out_key_text(out, "app_id", plan->app_id);
	write_update(out, update);
	write_event(out, event);
	if (ignored)
		json_out_key_text(out, "ignored", ignored);
	json_out_object_end(out);
}

static void write_plan(struct json_out *out, const struct plan *plan, struct arena *arena)
{
	struct payloads payloads = {0};
	const char *nothing = plan->nothing ? plan->nothing : "nothing is to be sent";

	collect(plan, arena, &payloads);
	if (payloads.count <= 1) {
		write_payload(out, plan, payloads.count ? payloads.items : NULL, nothing);
		return;
	}
	json_out_array(out);
	for (size_t i = 0; i < payloads.count; i++)
		/* What one contact has from another is in the store, which isn't asked. */
		write_payload(out, plan, &payloads.items[i],
			arena_printf(arena, "nothing for %s: %s (map knows of no earlier events)",
				payloads.items[i].contact->identity,
				plan->event_count == 0 ? nothing : "no attribute changes"));
	json_out_array_end(out);
}

/* Compact JSON to indented JSON. */
static bool indent(const struct buf *compact, struct buf *ret, struct error *err)
{
	json_error_t problem;
	json_t *json = json_loadb(buf_text(compact), compact->len, JSON_ALLOW_NUL, &problem);
	char *text = json_dumps(json, JSON_INDENT(2));
	bool done = false;
	if (!text) {
		(void)error_set(err, "the result can't be written: %s", problem.text);
		goto out;
	}
	(void)buf_add_text(ret, text);
	done = buf_add_char(ret, '\n') || error_set(err, "the result is too long");
out:
	free(text);
	json_decref(json);
	return done;
}

bool map_body(const struct conf *conf, const struct conf_source *section, const char *body,
	size_t body_len, int64_t now_ms, struct buf *ret, struct error *err)
{
	struct arena arena;
	struct ledger ledger = {.arena = &arena};
	struct plan plan;
	struct buf compact;
	struct json_out out;
	bool done = false;

	arena_init(&arena);
	plan_init(&plan, &arena);
	buf_init(&compact, TEXT_MAX);
	json_out_init(&out, &compact);
	struct event *event = section->source->normalise(conf, section, body, body_len, err);
	if (!event)
		goto out;
	event_settle_time(event, now_ms);
	if (event->ignored)
		write_payload(&out, &plan, NULL, event->ignored);
	else if (section->source->plan(conf, section, event, &ledger, &plan, err))
		write_plan(&out, &plan, &arena);
	else
		goto out;
	done = indent(&compact, ret, err);
out:
	event_destroy(event);
	buf_finish(&compact);
	plan_finish(&plan);
	arena_finish(&arena);
	return done;
}
