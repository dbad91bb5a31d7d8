#ifndef SUBRELAY_DELIVER_INTERCOM_H
#define SUBRELAY_DELIVER_INTERCOM_H

/*
 * Intercom's REST API as calls: what goes into path and body, and nothing about when or how.
 * Pure. The only file that knows Intercom's JSON on the way out (verdict.c knows it on the way in).
 * Source: Intercom's OpenAPI description 2.15; ids and external ids are percent-encoded in paths.
 */

#include "deliver/call.h"

struct contact_key {
	const char *external_id; /* exactly one of the two is set */
	const char *email;
};

/* attributes_json: an object of custom attributes, "" or "{}" for none (the key is left out). */
void intercom_create_contact(struct call *ret, struct contact_key key, const char *attributes_json);
void intercom_update_contact(struct call *ret, const char *contact_id, const char *attributes_json);
void intercom_find_contact(struct call *ret, const char *external_id);
void intercom_search_contact(struct call *ret, const char *email);
void intercom_unarchive_contact(struct call *ret, const char *contact_id);
/* contact_id set (neither NULL nor ""): identified by "id"; else by the key ("user_id" or "email").
 * metadata_json: a JSON object, or "" for none. created_at: unix seconds. */
void intercom_submit_event(struct call *ret, const char *contact_id, struct contact_key key,
	const char *event_name, int64_t created_at, const char *metadata_json);
/* data_type: see value_data_type(). description: "" or NULL leaves it out. */
void intercom_create_attribute(
	struct call *ret, const char *name, const char *data_type, const char *description);
void intercom_list_attributes(struct call *ret);
void intercom_me(struct call *ret);

#endif
