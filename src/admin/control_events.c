/*
 * What the daemon says of its events: `events`, `show`, and `retry`, which moves one.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "control_private.h"
#include "event/attributes.h"

#include <string.h>

#define ATTRIBUTES_MAX ((size_t)1024 * 1024)
#define SOME_LIMIT 50

/* ---- one event's row ---- */

static void write_event(struct json_out *out, const struct event_row *row)
{
	json_out_key_integer(out, "id", row->event.id);
	json_out_key_text(out, "event_id", row->event.event_id);
	json_out_key_text(out, "source", row->event.source);
	json_out_key_text(out, "type", row->event.type);
	json_out_key_text(out, "customer", row->event.customer);
	json_out_key_text(out, "state", row->state);
	json_out_key_text(out, "reason", row->reason);
	json_out_key_text(out, "request_id", row->request_id);
	control_key_time(out, "received_at", row->event.received_at_ms);
	control_key_time(out, "event_at", row->event.at_ms);
}

/* ---- events ---- */

static bool add_event(void *context, const struct event_row *row)
{
	struct control_call *call = context;

	write_event(control_row(call), row);
	control_row_end(call);
	return !call->answer->overflowed;
}

static int64_t number_of(const struct control_call *call, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(call->request, key);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

static const char *text_of(const struct control_call *call, const char *key)
{
	return json_string_value(json_object_get(call->request, key));
}

bool control_events(struct control_call *call, struct error *err)
{
	static const char *const states[] = {"delivered", "ignored", "parked", "waiting"};
	const char *state = text_of(call, "state");
	int64_t limit = number_of(call, "limit", SOME_LIMIT);
	bool is_state = state == NULL;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		is_state |= text_equal(state, states[i]);
	if (!is_state)
		return error_set(err, "there is no state %.40s", state);
	if (limit < 1 || limit > CONTROL_EVENTS_MAX)
		return error_set(err, "the limit must be from 1 to %d", CONTROL_EVENTS_MAX);
	return call->ops->event_list(call->reader,
		&(struct event_filter){
			.state = state,
			.source = text_of(call, "source"),
			.type = text_of(call, "type"),
			.customer = text_of(call, "customer"),
			.before_id = number_of(call, "before", 0),
			.since_ms = number_of(call, "since_ms", TIME_NONE),
			.limit = (size_t)limit,
		},
		add_event, call, err);
}

/* ---- show ---- */

bool control_find_event(struct control_call *call, const char *id, struct arena *arena,
	struct event_row *ret_row, struct error *err)
{
	struct event_row row = {.state = ""};
	int64_t number;

	if (text_to_int64(id, &number) && number > 0 &&
		!call->ops->event_get(call->reader, number, NULL, arena, &row, err))
		return false;
	/* A provider's id may be a number as well. */
	if (row.event.id == 0 && !call->ops->event_get(call->reader, 0, id, arena, &row, err))
		return false;
	if (row.event.id == 0)
		return error_set(err, "there is no event %.200s", id);
	*ret_row = row;
	return true;
}

/* As it came when it is JSON, but on one line; a string otherwise. */
static void write_body(struct json_out *out, const char *body, size_t len)
{
	json_t *json = json_loadb(body, len, JSON_ALLOW_NUL, NULL);

	json_out_key(out, "body");
	if (json) {
		/* Between JSON's tokens a line's end is a blank; within them there is none. */
		struct buf line;
		buf_init(&line, len);
		(void)buf_add(&line, body, len);
		for (size_t i = 0; i < line.len; i++) {
			if (line.data[i] == '\n' || line.data[i] == '\r')
				line.data[i] = ' ';
		}
		json_out_raw(out, buf_text(&line), line.len);
		buf_finish(&line);
	} else {
		json_out_text_len(out, body ? body : "", len);
	}
	json_decref(json);
}

/* The attributes as Intercom is to have them, out of the store's form. */
static void write_wanted(struct json_out *out, const char *wanted)
{
	struct attributes set;
	struct buf text;

	buf_init(&text, ATTRIBUTES_MAX);
	attributes_init(&set);
	if (wanted && wanted[0] != '\0' && attributes_decode(wanted, strlen(wanted), &set, NULL))
		attributes_render(&set, &text);
	json_out_key_raw(out, "wanted", text.len > 0 ? buf_text(&text) : "{}");
	attributes_finish(&set);
	buf_finish(&text);
}

static const char *json_or(const char *json, const char *fallback)
{
	return json && json[0] != '\0' ? json : fallback;
}

/* An event concerns one contact, a transfer a few; beyond this many only waiting ones are listed. */
#define CONTACTS_MAX 64

struct naming {
	struct control_call *call;
	const char **names;
	int64_t *ids;
	size_t count;
	/* Contacts that were called for this event and are not listed yet. */
	int64_t contacts[CONTACTS_MAX];
	size_t contact_count;
};

static const char *destination_name(const struct naming *naming, int64_t id)
{
	for (size_t i = 0; i < naming->count; i++) {
		if (naming->ids[i] == id)
			return naming->names[i];
	}
	return NULL;
}

static void write_contact(struct json_out *out, const struct naming *naming,
	const struct stored_contact *contact, const char *state)
{
	json_out_key_text(out, "workspace", destination_name(naming, contact->destination_id));
	json_out_key_text(out, contact->is_email ? "email" : "user_id", contact->identity);
	json_out_key_text(out, "intercom_id", contact->intercom_id);
	json_out_key_text(out, "state", state);
	write_wanted(out, contact->wanted);
	json_out_key_raw(out, "sent", json_or(contact->sent, "{}"));
}

static void forget_contact(struct naming *naming, int64_t id)
{
	for (size_t i = 0; i < naming->contact_count; i++)
		if (naming->contacts[i] == id)
			naming->contacts[i] = naming->contacts[--naming->contact_count];
}

static void add_delivery(void *context, const struct job *job, const struct stored_contact *contact,
	const struct parking *parking)
{
	struct naming *naming = context;
	struct json_out *out = &naming->call->row;

	forget_contact(naming, contact->id);
	json_out_object(out);
	write_contact(out, naming, contact, parking ? "parked" : "waiting");
	json_out_key_text(out, "event_name", job->name);
	if (job->name)
		json_out_key_integer(out, "created_at", job->created_at);
	else
		json_out_key_text(out, "created_at", NULL);
	json_out_key_raw(out, "metadata", json_or(job->metadata, "null"));
	json_out_key_boolean(out, "touches", job->touches);
	json_out_key_text(out, "reason", parking ? parking->reason : "");
	json_out_key_text(out, "request_id", parking ? parking->request_id : "");
	control_key_time(out, "parked_at", parking ? parking->parked_at_ms : TIME_NONE);
	json_out_object_end(out);
}

static void note_contact(void *context, const struct attempt *attempt)
{
	struct naming *naming = context;

	for (size_t i = 0; i < naming->contact_count; i++)
		if (naming->contacts[i] == attempt->contact_id)
			return;
	if (naming->contact_count < CONTACTS_MAX)
		naming->contacts[naming->contact_count++] = attempt->contact_id;
}

/* The job is gone with its delivery; whom it went to, and what that contact has now, is known. */
static bool add_delivered(
	struct naming *naming, const char *state, struct arena *arena, struct error *err)
{
	struct control_call *call = naming->call;

	for (size_t i = 0; i < naming->contact_count; i++) {
		struct stored_contact contact;

		if (!call->ops->contact_get(
			    call->reader, naming->contacts[i], arena, &contact, err))
			return false;
		json_out_object(&call->row);
		write_contact(&call->row, naming, &contact, state);
		json_out_object_end(&call->row);
	}
	return true;
}

static void add_attempt(void *context, const struct attempt *attempt)
{
	struct control_call *call = context;
	struct json_out *out = &call->row;

	json_out_object(out);
	control_key_time(out, "at", attempt->at_ms);
	json_out_key_text(out, "call", attempt->call);
	json_out_key_integer(out, "status", attempt->status);
	json_out_key_text(out, "verdict", attempt->verdict);
	json_out_key_text(out, "request_id", attempt->request_id);
	json_out_key_text(out, "reason", attempt->reason);
	json_out_key_integer(out, "elapsed_ms", attempt->elapsed_ms);
	json_out_object_end(out);
}

bool control_show(struct control_call *call, struct error *err)
{
	const char *id = text_of(call, "id");
	struct naming naming = {.call = call};
	struct event_row row = {.state = ""};
	struct arena arena;
	bool done = false;

	arena_init(&arena);
	if (!id) {
		(void)error_set(err, "which event?");
		goto out;
	}
	if (!control_find_event(call, id, &arena, &row, err) ||
		!call->ops->destinations(
			call->reader, &arena, &naming.names, &naming.ids, &naming.count, err))
		goto out;
	struct json_out *out = control_row(call);
	write_event(out, &row);
	write_body(out, row.event.body, row.event.body_len);
	json_out_key(out, "deliveries");
	json_out_array(out);
	if (!call->ops->attempt_list(call->reader, row.event.id, note_contact, &naming, err) ||
		!call->ops->job_list(call->reader, row.event.id, add_delivery, &naming, err) ||
		!add_delivered(&naming, strcmp(row.state, "ignored") == 0 ? "ignored" : "delivered",
			&arena, err))
		goto out;
	json_out_array_end(out);
	json_out_key(out, "attempts");
	json_out_array(out);
	if (!call->ops->attempt_list(call->reader, row.event.id, add_attempt, call, err))
		goto out;
	json_out_array_end(out);
	control_row_end(call);
	done = true;
out:
	arena_finish(&arena);
	return done;
}

/* ---- retry ---- */

/* The number of the parked event that is meant. */
static bool find_parked(
	struct control_call *call, const char *id, int64_t *ret_id, struct error *err)
{
	struct event_row row = {.state = ""};
	struct arena arena;
	bool done = false;

	arena_init(&arena);
	if (!control_find_event(call, id, &arena, &row, err))
		goto out;
	if (!text_equal(row.state, "parked")) {
		(void)error_set(err, "event %.200s is %s, not parked", id, row.state);
		goto out;
	}
	*ret_id = row.event.id;
	done = true;
out:
	arena_finish(&arena);
	return done;
}

bool control_retry(struct control_call *call, struct error *err)
{
	const char *id = text_of(call, "id");
	int64_t event_id = 0; /* all */
	int64_t count = 0;

	if (!id && !json_is_true(json_object_get(call->request, "all")))
		return error_set(err, "which event?");
	if (id && !find_parked(call, id, &event_id, err))
		return false;
	if (!store_retry(call->options->store, event_id, &count, err))
		return false;
	json_out_key_integer(control_row(call), "count", count);
	control_row_end(call);
	return true;
}
