/*
 * Calls from the terminal. The wire and the judgement of an answer are delivery's own, so that what
 * works here works there.
 */

#include "online_private.h"

#include "base/error.h"
#include "base/text.h"
#include "conf/conf.h"
#include "deliver/call.h"
#include "deliver/intercom.h"
#include "deliver/verdict.h"
#include "deliver/worker.h"
#include "event/attributes.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Of [attributes] keys; others are strings. */
static const struct {
	const char *key;
	enum value_type kind;
	const char *description;
} known_attributes[] = {
	{"expires_at", VALUE_TIME, "When the subscription's period ends or ended"},
	{"latest_entitlement", VALUE_TEXT, "What the latest subscription gives access to"},
	{"latest_store", VALUE_TEXT, "The store of the latest subscription, such as APP_STORE"},
	{"subscription_status", VALUE_TEXT, "active, trial, cancelled, expired and so on"},
};

const char *online_section(const struct conf_workspace *workspace, char *ret, size_t ret_size)
{
	(void)snprintf(ret, ret_size, "[intercom%s%s]", workspace->name[0] != '\0' ? "." : "",
		workspace->name);
	return ret;
}

size_t online_attributes(const struct conf *conf, struct online_attribute *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < conf->attribute_count && count < ONLINE_ATTRIBUTES_MAX; i++) {
		const struct conf_name *row = &conf->attributes[i];
		if (!row->name)
			continue;
		struct online_attribute *attribute = &ret[count++];
		*attribute = (struct online_attribute){
			.name = row->name, .data_type = "string", .description = ""};
		for (size_t j = 0; j < sizeof(known_attributes) / sizeof(known_attributes[0]);
			j++) {
			if (!text_equal(known_attributes[j].key, row->key))
				continue;
			attribute->data_type = value_data_type(known_attributes[j].kind);
			attribute->description = known_attributes[j].description;
		}
	}
	return count;
}

/* ---- one call ---- */

static bool say_refusal(const struct conf_workspace *workspace, const struct reply *reply,
	const struct verdict *verdict, struct error *err)
{
	const char *what = "Intercom refuses";

	if (reply->wire != WIRE_ANSWERED)
		return error_set(
			err, "%s can't be asked: %s", workspace->base_url, verdict->reason);
	if (reply->status == 401)
		what = "Intercom doesn't take the access token";
	else if (reply->status == 403)
		what = "the access token lacks a permission";
	else if (reply->status == 429)
		what = "Intercom's rate limit is used up, try again in ten seconds";
	else if (verdict->kind == VERDICT_RETRY)
		what = "Intercom is in trouble, or this isn't Intercom";
	return error_set(err, "%s: %s%s%s%s", what, verdict->reason,
		verdict->request_id[0] ? " (request " : "", verdict->request_id,
		verdict->request_id[0] ? ")" : "");
}

/* The answer's JSON object, the caller's; NULL with err. */
static json_t *ask(
	const struct conf_workspace *workspace, const struct call *call, struct error *err)
{
	struct conf_workspace live = *workspace;
	struct reply reply;
	struct verdict verdict;
	json_t *json = NULL;

	live.mode = CONF_MODE_LIVE; /* a dry run would make up the answer */
	reply_init(&reply);
	(void)worker_call_once(&live, call, &reply); /* the verdict says it as well */
	verdict_of(call->kind, &reply, &verdict);
	if (verdict.kind != VERDICT_DONE) {
		(void)say_refusal(workspace, &reply, &verdict, err);
		goto out;
	}
	json = json_loadb(buf_text(&reply.body), reply.body.len, JSON_ALLOW_NUL, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		json = NULL;
		(void)error_set(err, "Intercom's answer can't be read%s",
			reply.body.overflowed ? ": it is too long" : "");
	}
out:
	reply_finish(&reply);
	return json;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

bool online_ask_me(
	const struct conf_workspace *workspace, struct online_me *ret_me, struct error *err)
{
	struct call call;

	call_init(&call);
	intercom_me(&call);
	json_t *me = ask(workspace, &call, err);
	call_finish(&call);
	if (!me)
		return false;
	const json_t *app = json_object_get(me, "app");
	*ret_me = (struct online_me){.app = ""};
	(void)snprintf(ret_me->app, sizeof(ret_me->app), "%s", text_of(app, "name"));
	(void)snprintf(ret_me->region, sizeof(ret_me->region), "%s", text_of(app, "region"));
	json_decref(me);
	return true;
}

/* ---- attributes ---- */

static void find_unusable(struct online_attribute *attribute, const char *why)
{
	attribute->standing = ONLINE_UNUSABLE;
	(void)snprintf(attribute->text, sizeof(attribute->text), "%s", why);
}

/* Dates may be written to a whole number's attribute; nothing else changes its type unharmed. */
static void compare_type(struct online_attribute *attribute, const char *data_type)
{
	bool is_time = text_equal(attribute->data_type, value_data_type(VALUE_TIME));

	if (text_equal(data_type, attribute->data_type) ||
		(is_time && (text_equal(data_type, "date") || text_equal(data_type, "datetime"))))
		return;
	if (is_time && text_equal(data_type, "integer")) {
		(void)snprintf(attribute->text, sizeof(attribute->text),
			"it is an integer there: shown as a number, not as a date");
		return;
	}
	attribute->standing = ONLINE_UNUSABLE;
	(void)snprintf(attribute->text, sizeof(attribute->text),
		"its type there is %.40s, and %s is written; give it another name in [attributes]",
		data_type, attribute->data_type);
}

static void compare_one(struct online_attribute *attribute, const json_t *list)
{
	const json_t *found = NULL;
	for (size_t i = 0; !found && i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);
		if (json_is_true(json_object_get(row, "custom")) &&
			text_equal(text_of(row, "name"), attribute->name))
			found = row;
	}
	attribute->text[0] = '\0';
	attribute->standing = found ? ONLINE_USABLE : ONLINE_MISSING;
	if (!found)
		return;
	if (json_is_true(json_object_get(found, "archived")))
		find_unusable(
			attribute, "it is archived there; unarchive it in Intercom's settings");
	else if (json_is_false(json_object_get(found, "api_writable")))
		find_unusable(attribute, "it can't be written by the API there");
	else
		compare_type(attribute, text_of(found, "data_type"));
}

bool online_compare(const struct conf_workspace *workspace, struct online_attribute *attributes,
	size_t count, struct error *err)
{
	struct call call;

	call_init(&call);
	intercom_list_attributes(&call);
	/* An archived one can't be created, which is puzzling when it isn't listed. */
	(void)buf_add_text(&call.path, "&include_archived=true");
	json_t *answer = ask(workspace, &call, err);
	call_finish(&call);
	if (!answer)
		return false;
	for (size_t i = 0; i < count; i++)
		compare_one(&attributes[i], json_object_get(answer, "data"));
	json_decref(answer);
	return true;
}

bool online_create(const struct conf_workspace *workspace, const struct online_attribute *attribute,
	struct error *err)
{
	struct call call;

	call_init(&call);
	intercom_create_attribute(
		&call, attribute->name, attribute->data_type, attribute->description);
	json_t *answer = ask(workspace, &call, err);
	call_finish(&call);
	json_decref(answer);
	return answer != NULL;
}
