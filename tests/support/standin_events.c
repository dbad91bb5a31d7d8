/*
 * The stand-in's events. One of the same contact, name and second is accepted again and not
 * counted, as Intercom does. Only their hashes decide that, so that the bench can send millions.
 */

#include "support/standin_private.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

#define METADATA_KEYS_MAX 10
#define CREATED_AT_MIN 1000000000
#define CREATED_AT_MAX 9999999999

void events_clear(struct standin *standin)
{
	for (size_t i = 0; i < standin->event_count; i++) {
		free(standin->events[i].name);
		free(standin->events[i].metadata);
	}
	free(standin->events);
	hash_set_finish(&standin->event_hashes);
}

static void check_rich_value(struct exchange_state *x, const char *key, json_t *value)
{
	const bool is_link = json_object_size(value) == 2 &&
		json_is_string(json_object_get(value, "url")) &&
		json_is_string(json_object_get(value, "value"));
	const bool is_money = json_object_size(value) == 2 &&
		json_is_integer(json_object_get(value, "amount")) &&
		json_integer_value(json_object_get(value, "amount")) >= 0 &&
		json_is_string(json_object_get(value, "currency"));
	if (!is_link && !is_money)
		standin_violate(x, "Invalid metadata: '%s' is nested", key);
}

static void check_metadata(struct exchange_state *x, json_t *metadata)
{
	if (!metadata)
		return;
	if (!json_is_object(metadata))
		standin_violate(x, "metadata is not an object");
	if (json_object_size(metadata) > METADATA_KEYS_MAX)
		standin_violate(x, "metadata has %zu keys", json_object_size(metadata));
	for (void *i = json_object_iter(metadata); i; i = json_object_iter_next(metadata, i)) {
		const char *key = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);
		if (!*key || strpbrk(key, ".$~`!@#%^&*'{}|\""))
			standin_violate(x, "metadata key '%s' can't be", key);
		if (json_is_object(value))
			check_rich_value(x, key, value);
		else if (json_is_array(value) || json_is_null(value))
			standin_violate(x, "Invalid metadata: '%s' is an array or null", key);
		else if (json_is_string(value) &&
			standin_characters(json_string_value(value)) > TEXT_MAX)
			standin_violate(x, "metadata '%s' is longer than 255 characters", key);
	}
}

static void check_event_body(struct exchange_state *x)
{
	static const char *const known[] = {
		"event_name", "created_at", "user_id", "id", "email", "metadata", NULL};
	if (x->standin->options.light)
		return;
	standin_check_keys(x, x->body, known);
	standin_check_text(x, "user_id");
	standin_check_text(x, "id");
	standin_check_text(x, "email");
	if (!standin_body_text(x, "event_name"))
		standin_violate(x, "no event_name");
	const json_t *created_at = json_object_get(x->body, "created_at");
	if (!json_is_integer(created_at) || json_integer_value(created_at) < CREATED_AT_MIN ||
		json_integer_value(created_at) > CREATED_AT_MAX)
		standin_violate(x, "created_at is not a number of ten digits");
	check_metadata(x, json_object_get(x->body, "metadata"));
}

struct matches {
	struct contact *contact;
	size_t count;
};

static bool count_match(void *context, struct contact *contact)
{
	struct matches *matches = context;
	if (contact->state == CONTACT_LIVE && !contact->is_lead) {
		matches->contact = contact;
		matches->count++;
	}
	return true;
}

/* The contact the event is about; answers and returns NULL when there is not exactly one. */
static struct contact *event_contact(struct exchange_state *x)
{
	const char *id = standin_body_text(x, "id");
	const char *user_id = standin_body_text(x, "user_id");
	const char *email = standin_body_text(x, "email");
	struct matches matches = {0};
	if (id)
		matches.contact = people_find_id(x->standin, id);
	else if (user_id)
		matches.contact = people_find_external(x->standin, user_id);
	else if (email)
		people_each_by_email(x->standin, email, count_match, &matches);
	else
		standin_violate(x, "none of id, user_id and email");
	if (x->has_error)
		return NULL;
	if (matches.count > 1) {
		standin_fail(x, 409, "conflict",
			"Multiple existing users match this email address %s - must be more "
			"specific using "
			"user_id",
			email);
		return NULL;
	}
	return people_is_visible(x, matches.contact) ? matches.contact : NULL;
}

static void keep_event(
	struct exchange_state *x, struct contact *contact, const char *name, int64_t created_at)
{
	struct standin *standin = x->standin;
	contact->events++;
	standin->totals.events++;
	if (standin->options.light)
		return;
	if (standin->event_count == standin->event_capacity) {
		standin->event_capacity = standin->event_capacity * 2 + 256;
		standin->events = xrealloc(
			standin->events, standin->event_capacity * sizeof(*standin->events));
	}
	const json_t *metadata = json_object_get(x->body, "metadata");
	standin->events[standin->event_count++] = (struct event_seen){
		.contact = contact,
		.name = xstrdup(name),
		.metadata = metadata ? json_dumps(metadata, JSON_COMPACT) : xstrdup("{}"),
		.created_at = created_at,
		.at_ms = x->now_ms,
	};
}

void events_submit(struct exchange_state *x)
{
	check_event_body(x);
	if (x->has_error)
		return;
	struct contact *contact = event_contact(x);
	if (!contact)
		return;
	const char *name = standin_body_text(x, "event_name");
	if (!name)
		name = "";
	const int64_t created_at = json_integer_value(json_object_get(x->body, "created_at"));
	const uint64_t seed = contact->by_id.hash ^ ((uint64_t)created_at * 0x9e3779b97f4a7c15u);
	if (hash_set_add(&x->standin->event_hashes, text_hash(name, strlen(name), seed)))
		keep_event(x, contact, name, created_at);
	else
		x->standin->totals.events_repeated++;
	x->answer->status = 202;
}
