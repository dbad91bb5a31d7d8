/*
 * What the stand-in saw, for tests: the accessors of standin.h, and all of it as JSON:
 *
 *   {"totals":{"calls":…,"by_kind":{"create_contact":…},"contacts":…,"events":…,
 *              "events_repeated":…,"refused":…,"window_calls_max":…,"violations":…},
 *    "contacts":[{"id","external_id","email","role","state","updates","events",
 *                 "custom_attributes":{…}}],                       in order of creation
 *    "events":[{"external_id","contact_id","event_name","created_at","metadata":{…},"at_ms"}],
 *    "calls":[{"at_ms","kind","method","path","status","drop","scripted","external_id","body"}],
 *    "windows":[{"start_ms","calls","refused"}],
 *    "attributes":{"expires_at":"datetime"},                       those that exist
 *    "violations":["POST /events: …"]}
 */

#include "support/standin_private.h"

#include "base/json_out.h"
#include "base/text.h"

#include <string.h>

static const char *const drop_names[] = {
	[STANDIN_ANSWER] = "no",
	[STANDIN_DROP_BEFORE] = "before",
	[STANDIN_DROP_AFTER] = "after",
	[STANDIN_DROP_MIDWAY] = "midway",
};

void standin_get_totals(const struct standin *standin, struct standin_totals *ret_totals)
{
	*ret_totals = standin->totals;
}

const char *standin_attribute(
	const struct standin *standin, const char *external_id, const char *name)
{
	const struct contact *contact = people_find_external(standin, external_id);
	for (size_t i = 0; contact && i < contact->value_count; i++)
		if (strcmp(contact->values[i].name->name, name) == 0)
			return contact->values[i].json;
	return NULL;
}

const char *standin_contact_state(const struct standin *standin, const char *external_id)
{
	const struct contact *contact = people_find_external(standin, external_id);
	return contact ? people_state_name(contact->state) : NULL;
}

const char *standin_contact_id(const struct standin *standin, const char *external_id)
{
	const struct contact *contact = people_find_external(standin, external_id);
	return contact ? contact->id : NULL;
}

size_t standin_event_count(const struct standin *standin)
{
	return standin->event_count;
}

void standin_event_at(const struct standin *standin, size_t i, struct standin_event *ret_event)
{
	const struct event_seen *event = &standin->events[i];
	*ret_event = (struct standin_event){
		.contact_id = event->contact->id,
		.external_id = event->contact->external_id ? event->contact->external_id : "",
		.name = event->name,
		.metadata = event->metadata,
		.created_at = event->created_at,
		.at_ms = event->at_ms,
	};
}

size_t standin_violation_count(const struct standin *standin)
{
	return standin->violation_count;
}

const char *standin_violation_at(const struct standin *standin, size_t i)
{
	return standin->violations[i];
}

size_t standin_window_count(const struct standin *standin)
{
	return standin->window_count;
}

const struct standin_window *standin_window_at(const struct standin *standin, size_t i)
{
	return &standin->windows[i];
}

static void write_totals(struct json_out *out, const struct standin_totals *totals)
{
	json_out_object(out);
	json_out_key_integer(out, "calls", totals->calls);
	json_out_key(out, "by_kind");
	json_out_object(out);
	for (int i = 0; i < STANDIN_CALL_KINDS; i++)
		json_out_key_integer(
			out, standin_call_kind_name((enum standin_call_kind)i), totals->by_kind[i]);
	json_out_object_end(out);
	json_out_key_integer(out, "contacts", totals->contacts);
	json_out_key_integer(out, "events", totals->events);
	json_out_key_integer(out, "events_repeated", totals->events_repeated);
	json_out_key_integer(out, "refused", totals->refused);
	json_out_key_integer(out, "window_calls_max", totals->window_calls_max);
	json_out_key_integer(out, "violations", totals->violations);
	json_out_object_end(out);
}

static void write_contact(struct json_out *out, const struct contact *contact)
{
	json_out_object(out);
	json_out_key_text(out, "id", contact->id);
	json_out_key_text(out, "external_id", contact->external_id);
	json_out_key_text(out, "email", contact->email);
	json_out_key_text(out, "role", contact->is_lead ? "lead" : "user");
	json_out_key_text(out, "state", people_state_name(contact->state));
	json_out_key_integer(out, "updates", contact->updates);
	json_out_key_integer(out, "events", contact->events);
	json_out_key(out, "custom_attributes");
	json_out_object(out);
	for (size_t i = 0; i < contact->value_count; i++)
		json_out_key_raw(out, contact->values[i].name->name, contact->values[i].json);
	json_out_object_end(out);
	json_out_object_end(out);
}

static void write_event(struct json_out *out, const struct event_seen *event)
{
	json_out_object(out);
	json_out_key_text(out, "external_id", event->contact->external_id);
	json_out_key_text(out, "contact_id", event->contact->id);
	json_out_key_text(out, "event_name", event->name);
	json_out_key_integer(out, "created_at", event->created_at);
	json_out_key_raw(out, "metadata", event->metadata);
	json_out_key_integer(out, "at_ms", event->at_ms);
	json_out_object_end(out);
}

static void write_call(struct json_out *out, const struct logged_call *call)
{
	json_out_object(out);
	json_out_key_integer(out, "at_ms", call->at_ms);
	json_out_key_text(out, "kind", standin_call_kind_name(call->kind));
	json_out_key_text(out, "method", call->method);
	json_out_key_text(out, "path", call->path);
	json_out_key_integer(out, "status", call->status);
	json_out_key_text(out, "drop", drop_names[call->drop]);
	json_out_key_boolean(out, "scripted", call->scripted);
	json_out_key_text(out, "external_id", call->external_id);
	json_out_key_text(out, "body", call->body);
	json_out_object_end(out);
}

static void write_window(struct json_out *out, const struct standin_window *window)
{
	json_out_object(out);
	json_out_key_integer(out, "start_ms", window->start_ms);
	json_out_key_integer(out, "calls", window->calls);
	json_out_key_integer(out, "refused", window->refused);
	json_out_object_end(out);
}

static void write_lists(struct json_out *out, const struct standin *standin)
{
	json_out_key(out, "contacts");
	json_out_array(out);
	for (const struct contact *contact = standin->contacts; contact; contact = contact->next)
		write_contact(out, contact);
	json_out_array_end(out);
	json_out_key(out, "events");
	json_out_array(out);
	for (size_t i = 0; i < standin->event_count; i++)
		write_event(out, &standin->events[i]);
	json_out_array_end(out);
	json_out_key(out, "calls");
	json_out_array(out);
	for (size_t i = 0; i < standin->log_count; i++)
		write_call(out, &standin->log[i]);
	json_out_array_end(out);
	json_out_key(out, "windows");
	json_out_array(out);
	for (size_t i = 0; i < standin->window_count; i++)
		write_window(out, &standin->windows[i]);
	json_out_array_end(out);
}

void standin_write_totals(const struct standin *standin, struct buf *ret)
{
	struct json_out out;
	json_out_init(&out, ret);
	write_totals(&out, &standin->totals);
}

void standin_write_state(const struct standin *standin, struct buf *ret)
{
	struct json_out out;
	json_out_init(&out, ret);
	json_out_object(&out);
	json_out_key(&out, "totals");
	write_totals(&out, &standin->totals);
	write_lists(&out, standin);
	json_out_key(&out, "attributes");
	json_out_object(&out);
	for (const struct attribute_name *name = standin->names; name; name = name->next)
		if (name->exists)
			json_out_key_text(&out, name->name, name->data_type);
	json_out_object_end(&out);
	json_out_key(&out, "violations");
	json_out_array(&out);
	for (size_t i = 0; i < standin->violation_count; i++)
		json_out_text(&out, standin->violations[i]);
	json_out_array_end(&out);
	json_out_object_end(&out);
}
