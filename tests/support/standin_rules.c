/* The stand-in's scripted faults: read from JSON, and found for a call. See standin_add_rules. */

#include "support/standin_private.h"

#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX ((size_t)16 * 1024)

static void rule_destroy(struct rule *rule)
{
	free(rule->method);
	free(rule->path);
	free(rule->body);
	free(rule->contact);
	free(rule->answer);
	free(rule->code);
	free(rule->message);
	free(rule->headers);
	free(rule);
}

void standin_clear_rules(struct standin *standin)
{
	while (standin->rules) {
		struct rule *rule = standin->rules;
		standin->rules = rule->next;
		rule_destroy(rule);
	}
}

static bool body_contains(const struct standin_request *request, const char *text)
{
	return request->body_len && memmem(request->body, request->body_len, text, strlen(text));
}

static bool is_about(const struct standin *standin, const struct standin_request *request,
	const char *external_id)
{
	if (body_contains(request, external_id) || strstr(request->path, external_id))
		return true;
	const struct contact *contact = people_find_external(standin, external_id);
	return contact &&
		(body_contains(request, contact->id) || strstr(request->path, contact->id));
}

static bool rule_matches(const struct standin *standin, const struct rule *rule,
	const struct standin_request *request)
{
	return (!rule->method || strcmp(rule->method, request->method) == 0) &&
		(!rule->path || text_starts_with(request->path, rule->path)) &&
		(!rule->body || body_contains(request, rule->body)) &&
		(!rule->contact || is_about(standin, request, rule->contact));
}

const struct rule *rules_due(struct standin *standin, const struct standin_request *request)
{
	for (struct rule *rule = standin->rules; rule; rule = rule->next) {
		if (rule->times && rule->fired >= rule->times)
			continue;
		if (!rule_matches(standin, rule, request))
			continue;
		rule->seen++;
		if (rule->seen < rule->nth)
			continue;
		rule->fired++;
		return rule;
	}
	return NULL;
}

static bool read_drop(const json_t *value, enum standin_drop *ret_drop)
{
	const char *text = json_string_value(value);
	if (!value)
		*ret_drop = STANDIN_ANSWER;
	else if (text_equal(text, "before"))
		*ret_drop = STANDIN_DROP_BEFORE;
	else if (text_equal(text, "after"))
		*ret_drop = STANDIN_DROP_AFTER;
	else if (text_equal(text, "midway"))
		*ret_drop = STANDIN_DROP_MIDWAY;
	else
		return false;
	return true;
}

static char *text_of(const json_t *object, const char *key)
{
	return xstrdup_or_null(json_string_value(json_object_get(object, key)));
}

static int64_t number_of(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

static char *headers_of(json_t *headers)
{
	struct buf text;
	buf_init(&text, HEADERS_MAX);
	for (void *i = json_object_iter(headers); i; i = json_object_iter_next(headers, i)) {
		const char *name = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);
		if (json_is_string(value))
			buf_addf(&text, "%s: %s\r\n", name, json_string_value(value));
	}
	return buf_detach(&text);
}

static bool keys_are_known(json_t *object, const char *const *known, struct error *err)
{
	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const char *key = json_object_iter_key(i);
		const char *const *name = known;
		while (*name && strcmp(*name, key) != 0)
			name++;
		if (!*name)
			return error_set(err, "unknown key '%s'", key);
	}
	return true;
}

static bool add_rule(struct standin *standin, json_t *json, struct error *err)
{
	static const char *const known[] = {"method", "path", "body", "contact", "nth", "times",
		"status", "answer", "code", "message", "headers", "took_effect", "drop", "delay_ms",
		NULL};
	if (!json_is_object(json))
		return error_set(err, "a rule is a JSON object");
	if (!keys_are_known(json, known, err))
		return false;
	enum standin_drop drop = STANDIN_ANSWER;
	if (!read_drop(json_object_get(json, "drop"), &drop))
		return error_set(err, "drop is before, after or midway");
	struct rule *rule = xcalloc(1, sizeof(*rule));
	*rule = (struct rule){
		.method = text_of(json, "method"),
		.path = text_of(json, "path"),
		.body = text_of(json, "body"),
		.contact = text_of(json, "contact"),
		.nth = number_of(json, "nth", 1),
		.times = number_of(json, "times", 1),
		.status = (int)number_of(json, "status", 0),
		.code = text_of(json, "code"),
		.message = text_of(json, "message"),
		.headers = headers_of(json_object_get(json, "headers")),
		.took_effect = json_is_true(json_object_get(json, "took_effect")),
		.drop = drop,
		.delay_ms = number_of(json, "delay_ms", 0),
	};
	const json_t *answer = json_object_get(json, "answer");
	if (json_is_string(answer))
		rule->answer = xstrdup(json_string_value(answer));
	else if (answer)
		rule->answer = json_dumps(answer, JSON_COMPACT | JSON_ENCODE_ANY);
	struct rule **end = &standin->rules;
	while (*end)
		end = &(*end)->next;
	*end = rule;
	return true;
}

bool standin_add_rules(struct standin *standin, const char *json, size_t len, struct error *err)
{
	json_error_t where;
	json_t *root = json_loadb(json, len, 0, &where);
	if (!root)
		return error_set(err, "not JSON: %s", where.text);
	bool ok = true;
	if (json_is_array(root)) {
		for (size_t i = 0; ok && i < json_array_size(root); i++)
			ok = add_rule(standin, json_array_get(root, i), err);
	} else {
		ok = add_rule(standin, root, err);
	}
	json_decref(root);
	return ok;
}
