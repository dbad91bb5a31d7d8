/*
 * The stand-in's contacts: kept, found, and what calls do to them. See standin.h.
 *
 * Behaviour by record (grouparoo's captures of the real API), Intercom's OpenAPI description 2.15
 * and documentation: an archived contact can't be found, yet blocks its external id, and the 409
 * tells its id; a permanently deleted one does so too and can't be restored; a merged one leads to
 * another (410 with a Link from version 2.16 on, 404 before); an e-mail address is unique only
 * among contacts without an external id; a lead's external id is Intercom's own.
 */

#include "support/standin_private.h"

#include "base/error.h"
#include "base/json_out.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_SEED 0x1d
#define EXTERNAL_SEED 0xe7
#define EMAIL_SEED 0xe3
#define QUOTED_MAX ((size_t)64 * 1024)

static const char *const state_names[] = {
	[CONTACT_LIVE] = "live",
	[CONTACT_ARCHIVED] = "archived",
	[CONTACT_DELETED] = "deleted",
	[CONTACT_MERGED] = "merged",
};

static const char *const contact_keys[] = {"role", "external_id", "email", "phone", "name",
	"avatar", "signed_up_at", "last_seen_at", "owner_id", "unsubscribed_from_emails",
	"custom_attributes", NULL};

const char *people_state_name(enum contact_state state)
{
	return state_names[state];
}

static char *quoted(const char *text)
{
	struct buf buf;
	buf_init(&buf, QUOTED_MAX);
	struct json_out out;
	json_out_init(&out, &buf);
	json_out_text(&out, text);
	return buf_detach(&buf);
}

/* ---- the tables ---- */

static uint64_t email_hash(const char *email)
{
	char lower[320];
	size_t len = 0;
	while (len < sizeof(lower) && email[len]) {
		lower[len] = (char)tolower((unsigned char)email[len]);
		len++;
	}
	return text_hash(lower, len, EMAIL_SEED);
}

struct contact *people_find_id(const struct standin *standin, const char *id)
{
	struct lookup_node *node =
		lookup_first(&standin->by_id, text_hash(id, strlen(id), ID_SEED));
	for (; node; node = lookup_next(node)) {
		struct contact *contact = node->item;
		if (strcmp(contact->id, id) == 0)
			return contact;
	}
	return NULL;
}

struct contact *people_find_external(const struct standin *standin, const char *external_id)
{
	const uint64_t hash = text_hash(external_id, strlen(external_id), EXTERNAL_SEED);
	struct lookup_node *node = lookup_first(&standin->by_external_id, hash);
	for (; node; node = lookup_next(node)) {
		struct contact *contact = node->item;
		if (strcmp(contact->external_id, external_id) == 0)
			return contact;
	}
	return NULL;
}

void people_each_by_email(const struct standin *standin, const char *email,
	bool (*visit)(void *context, struct contact *contact), void *context)
{
	struct lookup_node *node = lookup_first(&standin->by_email, email_hash(email));
	for (; node; node = lookup_next(node)) {
		struct contact *contact = node->item;
		if (strcasecmp(contact->email, email) == 0 && !visit(context, contact))
			return;
	}
}

static void set_external_id(struct standin *standin, struct contact *contact, const char *text)
{
	lookup_remove(&standin->by_external_id, &contact->by_external_id);
	free(contact->external_id);
	free(contact->external_id_json);
	contact->external_id = xstrdup(text);
	contact->external_id_json = quoted(text);
	lookup_add(&standin->by_external_id, &contact->by_external_id,
		text_hash(text, strlen(text), EXTERNAL_SEED), contact);
}

static void set_email(struct standin *standin, struct contact *contact, const char *text)
{
	lookup_remove(&standin->by_email, &contact->by_email);
	free(contact->email);
	free(contact->email_json);
	contact->email = xstrdup(text);
	contact->email_json = quoted(text);
	if (*text)
		lookup_add(&standin->by_email, &contact->by_email, email_hash(text), contact);
}

/* id: NULL: a new one. */
static struct contact *add_contact(struct standin *standin, const char *id, int64_t now_ms)
{
	struct contact *contact = xcalloc(1, sizeof(*contact));
	standin->ids++;
	if (id)
		(void)snprintf(contact->id, sizeof(contact->id), "%s", id);
	else
		(void)snprintf(contact->id, sizeof(contact->id), "66f0cafe%016llx",
			(unsigned long long)standin->ids * 0x10001);
	contact->created_ms = contact->updated_ms = now_ms;
	*standin->contacts_end = contact;
	standin->contacts_end = &contact->next;
	lookup_add(
		&standin->by_id, &contact->by_id, text_hash(contact->id, ID_LEN, ID_SEED), contact);
	standin->totals.contacts++;
	return contact;
}

static void contact_destroy(struct contact *contact)
{
	for (size_t i = 0; i < contact->value_count; i++)
		free(contact->values[i].json);
	free(contact->values);
	free(contact->external_id);
	free(contact->external_id_json);
	free(contact->email);
	free(contact->email_json);
	free(contact);
}

void people_clear(struct standin *standin)
{
	while (standin->contacts) {
		struct contact *contact = standin->contacts;
		standin->contacts = contact->next;
		contact_destroy(contact);
	}
	lookup_finish(&standin->by_id);
	lookup_finish(&standin->by_external_id);
	lookup_finish(&standin->by_email);
}

/* ---- contacts: reading the body ---- */

static void check_contact_body(struct exchange_state *x)
{
	if (x->standin->options.light)
		return;
	standin_check_keys(x, x->body, contact_keys);
	standin_check_text(x, "external_id");
	standin_check_text(x, "email");
	standin_check_text(x, "phone");
	standin_check_text(x, "name");
	const json_t *role = json_object_get(x->body, "role");
	if (role && !text_equal(json_string_value(role), "user") &&
		!text_equal(json_string_value(role), "lead"))
		standin_violate(x, "role is neither user nor lead");
	json_t *attributes = json_object_get(x->body, "custom_attributes");
	if (attributes && !json_is_object(attributes))
		standin_violate(x, "custom_attributes is not an object");
	for (void *i = json_object_iter(attributes); i; i = json_object_iter_next(attributes, i)) {
		const char *name = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);
		attributes_check(x, name, value);
	}
}

/* ---- contacts: answers ---- */

static void write_contact(struct buf *body, const struct contact *contact)
{
	buf_add_text(body, "{\"type\":\"contact\",\"id\":\"");
	buf_add_text(body, contact->id);
	buf_add_text(body, "\",\"workspace_id\":\"standin1\",\"external_id\":");
	buf_add_text(body, contact->external_id_json ? contact->external_id_json : "null");
	buf_add_text(body, contact->is_lead ? ",\"role\":\"lead\"" : ",\"role\":\"user\"");
	buf_add_text(body, ",\"email\":");
	buf_add_text(body, contact->email_json ? contact->email_json : "null");
	buf_add_text(body,
		",\"phone\":null,\"name\":null,\"avatar\":null,\"owner_id\":null,"
		"\"social_profiles\":{\"type\":\"list\",\"data\":[]},\"has_hard_bounced\":false,"
		"\"marked_email_as_spam\":false,\"unsubscribed_from_emails\":false,\"created_"
		"at\":");
	buf_add_integer(body, contact->created_ms / 1000);
	buf_add_text(body, ",\"updated_at\":");
	buf_add_integer(body, contact->updated_ms / 1000);
	buf_add_text(body,
		",\"signed_up_at\":null,\"last_seen_at\":null,\"last_replied_at\":null,"
		"\"last_contacted_at\":null,\"language_override\":null,\"browser\":null,\"os\":"
		"null,"
		"\"location\":{\"type\":\"location\",\"country\":null,\"region\":null,\"city\":"
		"null},"
		"\"custom_attributes\":{");
	for (size_t i = 0; i < contact->value_count; i++) {
		buf_add_text(body, i ? ",\"" : "\"");
		buf_add_text(body, contact->values[i].name->name);
		buf_add_text(body, "\":");
		buf_add_text(body, contact->values[i].json);
	}
	buf_add_text(body,
		"},\"tags\":{\"type\":\"list\",\"data\":[],\"total_count\":0,\"has_more\":false},"
		"\"notes\":{\"type\":\"list\",\"data\":[],\"total_count\":0,\"has_more\":false},"
		"\"companies\":{\"type\":\"list\",\"data\":[],\"total_count\":0,\"has_more\":false}"
		","
		"\"opted_out_subscription_types\":{\"type\":\"list\",\"data\":[],\"total_count\":0}"
		"}");
}

static void answer_contact(struct exchange_state *x, const struct contact *contact)
{
	x->about = contact;
	write_contact(&x->answer->body, contact);
}

static void answer_conflict(struct exchange_state *x, const struct contact *contact)
{
	x->about = contact;
	const bool live = contact->state == CONTACT_LIVE || contact->state == CONTACT_MERGED;
	standin_fail(x, 409, "conflict", "%s matching those details already exists with id=%s",
		live ? "A contact" : "An archived contact",
		contact->state == CONTACT_MERGED ? contact->merged_into : contact->id);
}

bool people_is_visible(struct exchange_state *x, const struct contact *contact)
{
	x->about = contact;
	if (contact && contact->state == CONTACT_LIVE)
		return true;
	if (!contact || contact->state != CONTACT_MERGED || standin_is_before(x, 16)) {
		standin_fail(x, 404, "not_found", "User Not Found");
		return false;
	}
	standin_fail(x, 410, "contact_merged",
		"This contact has been merged. See the 'Link' header for the canonical contact.");
	buf_addf(&x->answer->headers, "Link: </contacts/%s>; rel=\"canonical\"\r\n",
		contact->merged_into);
	return false;
}

/* ---- contacts: the calls ---- */

static bool take_any(void *context, struct contact *contact)
{
	struct contact **found = context;
	if (contact->is_lead)
		return true;
	*found = contact;
	return contact->state != CONTACT_LIVE; /* a live one goes before an archived one */
}

static struct contact *conflicting(
	const struct exchange_state *x, const char *external_id, const char *email)
{
	struct contact *found = NULL;
	if (external_id)
		found = people_find_external(x->standin, external_id);
	else if (email)
		people_each_by_email(x->standin, email, take_any, &found);
	return found;
}

void people_create(struct exchange_state *x)
{
	check_contact_body(x);
	const char *external_id = standin_body_text(x, "external_id");
	const char *email = standin_body_text(x, "email");
	const char *role = standin_body_text(x, "role");
	const bool is_lead = text_equal(role, "lead");
	if (!external_id && !email && !role)
		standin_violate(x, "neither external_id nor email nor role");
	if (x->has_error)
		return;
	const struct contact *other = is_lead ? NULL : conflicting(x, external_id, email);
	if (other) {
		answer_conflict(x, other);
		return;
	}
	struct contact *contact = add_contact(x->standin, NULL, x->now_ms);
	contact->is_lead = is_lead;
	if (is_lead) {
		char uuid[40];
		(void)snprintf(
			uuid, sizeof(uuid), "1ead0000-0000-4000-8000-%.12s", contact->id + 12);
		set_external_id(x->standin, contact, uuid);
	} else if (external_id) {
		set_external_id(x->standin, contact, external_id);
	}
	if (email)
		set_email(x->standin, contact, email);
	attributes_set(x->standin, contact, json_object_get(x->body, "custom_attributes"));
	answer_contact(x, contact);
}

void people_update(struct exchange_state *x)
{
	struct contact *contact = people_find_id(x->standin, x->captured);
	if (!people_is_visible(x, contact))
		return;
	check_contact_body(x);
	const char *external_id = standin_body_text(x, "external_id");
	const struct contact *owner =
		external_id ? people_find_external(x->standin, external_id) : NULL;
	if (x->has_error)
		return;
	if (!contact->is_lead && text_equal(standin_body_text(x, "role"), "lead")) {
		standin_fail(x, 400, "client_error",
			"Contact with user role can't be converted to a lead");
		return;
	}
	if (owner && owner != contact) {
		answer_conflict(x, owner);
		return;
	}
	if (text_equal(standin_body_text(x, "role"), "user"))
		contact->is_lead = false;
	if (external_id && !contact->is_lead)
		set_external_id(x->standin, contact, external_id);
	const json_t *email = json_object_get(x->body, "email");
	if (email) /* null is kept as "" */
		set_email(
			x->standin, contact, json_is_string(email) ? json_string_value(email) : "");
	attributes_set(x->standin, contact, json_object_get(x->body, "custom_attributes"));
	contact->updated_ms = x->now_ms;
	contact->updates++;
	answer_contact(x, contact);
}

void people_get(struct exchange_state *x)
{
	const struct contact *contact = people_find_id(x->standin, x->captured);
	if (people_is_visible(x, contact))
		answer_contact(x, contact);
}

void people_find(struct exchange_state *x)
{
	const struct contact *contact = people_find_external(x->standin, x->captured);
	if (contact && contact->is_lead)
		contact = NULL;
	if (people_is_visible(x, contact))
		answer_contact(x, contact);
}

struct hits {
	struct buf *body;
	size_t count;
};

static bool add_hit(void *context, struct contact *contact)
{
	struct hits *hits = context;
	if (contact->state != CONTACT_LIVE)
		return true;
	if (hits->count++)
		buf_add_char(hits->body, ',');
	write_contact(hits->body, contact);
	return true;
}

void people_search(struct exchange_state *x)
{
	static const char *const known[] = {"query", "pagination", "sort", NULL};
	standin_check_keys(x, x->body, known);
	const json_t *query = json_object_get(x->body, "query");
	const char *field = json_string_value(json_object_get(query, "field"));
	const char *operator= json_string_value(json_object_get(query, "operator"));
	const char *value = json_string_value(json_object_get(query, "value"));
	if (!field || !value || !text_equal(operator, "=")) {
		standin_violate(x, "the stand-in searches by one field with '=' and a string only");
		return;
	}
	if (x->has_error)
		return;
	struct buf *body = &x->answer->body;
	buf_add_text(body, "{\"type\":\"list\",\"data\":[");
	struct hits hits = {.body = body};
	if (strcmp(field, "email") == 0) {
		people_each_by_email(x->standin, value, add_hit, &hits);
	} else if (strcmp(field, "external_id") == 0) {
		struct contact *contact = people_find_external(x->standin, value);
		if (contact)
			(void)add_hit(&hits, contact);
	} else {
		standin_violate(x, "search field '%s' is not known here", field);
		return;
	}
	buf_addf(body,
		"],\"total_count\":%zu,\"pages\":{\"type\":\"pages\",\"page\":1,\"per_page\":50,"
		"\"total_pages\":1}}",
		hits.count);
}

static void answer_flag(
	struct exchange_state *x, const struct contact *contact, const char *flag, bool value)
{
	x->about = contact;
	buf_addf(&x->answer->body,
		"{\"id\":\"%s\",\"external_id\":%s,\"type\":\"contact\",\"%s\":%s}", contact->id,
		contact->external_id_json ? contact->external_id_json : "null", flag,
		value ? "true" : "false");
}

void people_archive(struct exchange_state *x)
{
	struct contact *contact = people_find_id(x->standin, x->captured);
	if (!people_is_visible(x, contact))
		return;
	contact->state = CONTACT_ARCHIVED;
	answer_flag(x, contact, "archived", true);
}

void people_unarchive(struct exchange_state *x)
{
	struct contact *contact = people_find_id(x->standin, x->captured);
	x->about = contact;
	if (contact && contact->state == CONTACT_DELETED) {
		standin_fail(x, 400, "bad_request",
			"User has been marked for permanent deletion and is not restorable.");
		return;
	}
	if (contact && contact->state == CONTACT_ARCHIVED)
		contact->state = CONTACT_LIVE;
	if (people_is_visible(x, contact))
		answer_flag(x, contact, "archived", false);
}

void people_delete(struct exchange_state *x)
{
	struct contact *contact = people_find_id(x->standin, x->captured);
	if (!people_is_visible(x, contact))
		return;
	contact->state = CONTACT_DELETED;
	answer_flag(x, contact, "deleted", true);
}

bool people_preset(struct standin *standin, json_t *preset, char *ret_id, struct error *err)
{
	const char *external_id = json_string_value(json_object_get(preset, "external_id"));
	const char *id = json_string_value(json_object_get(preset, "id"));
	const char *email = json_string_value(json_object_get(preset, "email"));
	const char *state = json_string_value(json_object_get(preset, "state"));
	const char *into = json_string_value(json_object_get(preset, "merged_into"));
	if (id && strlen(id) != ID_LEN)
		return error_set(err, "an id has 24 digits: %s", id);
	enum contact_state new_state = CONTACT_LIVE;
	while (state && strcmp(state_names[new_state], state) != 0)
		if (++new_state > CONTACT_MERGED)
			return error_set(err, "no such state: %s", state);
	struct contact *contact = external_id ? people_find_external(standin, external_id) : NULL;
	if (!contact && id)
		contact = people_find_id(standin, id);
	if (!contact)
		contact = add_contact(standin, id, 0);
	contact->state = new_state;
	contact->is_lead = text_equal(json_string_value(json_object_get(preset, "role")), "lead");
	if (external_id)
		set_external_id(standin, contact, external_id);
	if (email)
		set_email(standin, contact, email);
	if (into)
		(void)snprintf(contact->merged_into, sizeof(contact->merged_into), "%s", into);
	attributes_set(standin, contact, json_object_get(preset, "custom_attributes"));
	if (ret_id)
		memcpy(ret_id, contact->id, ID_LEN + 1);
	return true;
}
