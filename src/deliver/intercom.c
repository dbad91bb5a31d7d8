/*
 * Intercom's REST API as calls.
 *
 * Every function clears the call, sets kind, method and path, and writes the body key by key; the
 * order of keys is the order of the lines, so the same call is the same bytes. Whatever goes into a
 * path is percent-encoded but for the unreserved characters of RFC 3986: external ids may hold '$',
 * ':' and even '/'.
 */

#include "deliver/intercom.h"

#include "base/json_out.h"

#include <assert.h>
#include <string.h>

static void begin(struct call *call, enum call_kind kind, const char *method, const char *path)
{
	call_clear(call);
	call->kind = kind;
	call->method = method;
	buf_add_text(&call->path, path);
}

static bool is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

static void add_path_segment(struct buf *path, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	while (*text) {
		size_t run = 0;
		while (is_unreserved((unsigned char)text[run]))
			run++;
		if (run > 0)
			buf_add(path, text, run);
		text += run;
		if (*text) {
			unsigned char c = (unsigned char)*text++;
			const char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
			buf_add(path, escape, sizeof(escape));
		}
	}
}

static bool is_empty_object(const char *json)
{
	return json[0] == '\0' || strcmp(json, "{}") == 0;
}

static void add_object(struct json_out *out, const char *key, const char *json)
{
	if (!is_empty_object(json))
		json_out_key_raw(out, key, json);
}

static void check_key(struct contact_key key)
{
	assert(!key.external_id != !key.email);
	(void)key; /* without assertions */
}

void intercom_create_contact(struct call *ret, struct contact_key key, const char *attributes_json)
{
	check_key(key);
	begin(ret, CALL_CREATE_CONTACT, "POST", "/contacts");
	struct json_out out;
	json_out_init(&out, &ret->body);
	json_out_object(&out);
	json_out_key_text(&out, "role", "user");
	if (key.external_id)
		json_out_key_text(&out, "external_id", key.external_id);
	else
		json_out_key_text(&out, "email", key.email);
	add_object(&out, "custom_attributes", attributes_json);
	json_out_object_end(&out);
}

void intercom_update_contact(struct call *ret, const char *contact_id, const char *attributes_json)
{
	begin(ret, CALL_UPDATE_CONTACT, "PUT", "/contacts/");
	add_path_segment(&ret->path, contact_id);
	struct json_out out;
	json_out_init(&out, &ret->body);
	json_out_object(&out);
	add_object(&out, "custom_attributes", attributes_json);
	json_out_object_end(&out);
}

void intercom_find_contact(struct call *ret, const char *external_id)
{
	begin(ret, CALL_FIND_CONTACT, "GET", "/contacts/find_by_external_id/");
	add_path_segment(&ret->path, external_id);
}

void intercom_search_contact(struct call *ret, const char *email)
{
	begin(ret, CALL_SEARCH_CONTACT, "POST", "/contacts/search");
	struct json_out out;
	json_out_init(&out, &ret->body);
	json_out_object(&out);
	json_out_key(&out, "query");
	json_out_object(&out);
	json_out_key_text(&out, "field", "email");
	json_out_key_text(&out, "operator", "=");
	json_out_key_text(&out, "value", email);
	json_out_object_end(&out);
	json_out_object_end(&out);
}

void intercom_unarchive_contact(struct call *ret, const char *contact_id)
{
	begin(ret, CALL_UNARCHIVE_CONTACT, "POST", "/contacts/");
	add_path_segment(&ret->path, contact_id);
	buf_add_text(&ret->path, "/unarchive");
}

void intercom_submit_event(struct call *ret, const char *contact_id, struct contact_key key,
	const char *event_name, int64_t created_at, const char *metadata_json)
{
	begin(ret, CALL_SUBMIT_EVENT, "POST", "/events");
	struct json_out out;
	json_out_init(&out, &ret->body);
	json_out_object(&out);
	json_out_key_text(&out, "event_name", event_name);
	json_out_key_integer(&out, "created_at", created_at);
	if (contact_id && contact_id[0]) {
		json_out_key_text(&out, "id", contact_id);
	} else {
		check_key(key);
		if (key.external_id)
			json_out_key_text(&out, "user_id", key.external_id);
		else
			json_out_key_text(&out, "email", key.email);
	}
	add_object(&out, "metadata", metadata_json);
	json_out_object_end(&out);
}

void intercom_create_attribute(
	struct call *ret, const char *name, const char *data_type, const char *description)
{
	begin(ret, CALL_CREATE_ATTRIBUTE, "POST", "/data_attributes");
	struct json_out out;
	json_out_init(&out, &ret->body);
	json_out_object(&out);
	json_out_key_text(&out, "name", name);
	json_out_key_text(&out, "model", "contact");
	json_out_key_text(&out, "data_type", data_type);
	if (description && description[0])
		json_out_key_text(&out, "description", description);
	json_out_object_end(&out);
}

void intercom_list_attributes(struct call *ret)
{
	begin(ret, CALL_LIST_ATTRIBUTES, "GET", "/data_attributes?model=contact");
}

void intercom_me(struct call *ret)
{
	begin(ret, CALL_ME, "GET", "/me");
}
