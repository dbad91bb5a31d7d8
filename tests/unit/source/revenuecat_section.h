#ifndef SUBRELAY_TESTS_REVENUECAT_SECTION_H
#define SUBRELAY_TESTS_REVENUECAT_SECTION_H

/*
 * A [revenuecat] section as conf would fill it, from the source's own table and without a file, and
 * events made of pieces: what a test says of an event overrides the members of a common one.
 */

#include "base/error.h"
#include "base/text.h"
#include "conf/conf.h"
#include "event/event.h"
#include "event/sub_event.h"
#include "source/revenuecat.h"
#include "source/source.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cmocka.h wants the four above first. */
#include <cmocka.h>

struct section {
	struct revenuecat_options options;
	struct conf_source source;
	char *name;
};

static inline const struct option *section_option(const char *key)
{
	const struct option *option = source_revenuecat.options;
	while (option->key && strcmp(option->key, key) != 0)
		option++;
	assert_non_null(option->key);
	return option;
}

static inline int choice_of(const struct option *option, const char *text)
{
	for (int i = 0; option->choices[i]; i++) {
		if (strcmp(option->choices[i], text) == 0)
			return i;
	}
	fail_msg("%s is no choice of %s", text, option->key);
	return -1;
}

static inline void section_set(struct section *section, const char *key, const char *text)
{
	const struct option *option = section_option(key);
	void *member = (char *)&section->options + option->offset;
	struct error err = {0};
	switch (option->type) {
	case OPTION_TEXT:
		free(*(char **)member);
		*(char **)member = strdup(text);
		break;
	case OPTION_SECRET:
		secret_finish(member);
		secret_init(member, text, strlen(text));
		break;
	case OPTION_BOOL: assert_true(text_to_bool(text, member)); break;
	case OPTION_CHOICE: *(int *)member = choice_of(option, text); break;
	case OPTION_CUSTOM: assert_true(option->parse(text, member, &err)); break;
	default: fail_msg("%s has a type this test does not know", key);
	}
}

static inline void section_init(struct section *section)
{
	*section = (struct section){.name = strdup("revenuecat")};
	section->source = (struct conf_source){
		.source = &source_revenuecat,
		.name = section->name,
		.options = &section->options,
	};
	for (const struct option *option = source_revenuecat.options; option->key; option++) {
		if (option->fallback)
			section_set(section, option->key, option->fallback);
	}
}

static inline void section_finish(struct section *section)
{
	for (const struct option *option = source_revenuecat.options; option->key; option++) {
		void *member = (char *)&section->options + option->offset;
		if (option->type == OPTION_TEXT)
			free(*(char **)member);
		else if (option->type == OPTION_SECRET)
			secret_finish(member);
		else if (option->type == OPTION_CUSTOM)
			option->finish(member);
	}
	free(section->name);
}

/* NULL and the reason in ret_err when the body is refused. The body is put at the end of its block,
 * so that a sanitizer sees every byte read behind it. */
static inline struct event *section_read_bytes(
	const struct section *section, const char *body, size_t len, struct error *ret_err)
{
	*ret_err = (struct error){0};
	char *exact = malloc(len ? len : 1);
	assert_non_null(exact);
	memcpy(exact, body, len);
	struct event *event =
		source_revenuecat.normalise(NULL, &section->source, exact, len, ret_err);
	free(exact);
	assert_true((event == NULL) == error_is_set(ret_err));
	return event;
}

static inline struct event *section_read_body(const struct section *section, const char *body)
{
	struct error err;
	struct event *event = section_read_bytes(section, body, strlen(body), &err);
	if (!event)
		fail_msg("refused: %s: %s", err.text, body);
	return event;
}

/*
 * A purchase by "ada" with every member in place, changed by `changes`: the members of a JSON
 * object without its braces, a later word on a key replacing the earlier. "-" as a value takes the
 * member out.
 */
static inline struct event *section_read(const struct section *section, const char *changes)
{
	static const char common[] =
		"{'id':'EV-1','type':'INITIAL_PURCHASE','event_timestamp_ms':1700000000123,"
		"'app_id':'app77','app_user_id':'ada','original_app_user_id':'ada-first',"
		"'aliases':['ada','$RCAnonymousID:a1','ada-old'],"
		"'subscriber_attributes':{'$email':{'value':'ada@example.org','updated_at_ms':1},"
		"'crm_id':{'value':'crm-9','updated_at_ms':1}},"
		"'product_id':'gold.month','period_type':'NORMAL','purchased_at_ms':1700000000000,"
		"'expiration_at_ms':1702592000000,'environment':'PRODUCTION',"
		"'entitlement_ids':['gold','silver'],'entitlement_id':'legacy',"
		"'transaction_id':'2002','original_transaction_id':'2001','store':'APP_STORE',"
		"'price':4.99,'price_in_purchased_currency':4.59}";
	char text[sizeof(common)];
	memcpy(text, common, sizeof(common));
	for (char *quote = text; (quote = strchr(quote, '\''));)
		*quote = '"';
	json_t *event = json_loads(text, 0, NULL);
	assert_non_null(event);

	size_t size = strlen(changes) + 3;
	char *braced = malloc(size);
	assert_non_null(braced);
	(void)snprintf(braced, size, "{%s}", changes);
	for (char *quote = braced; (quote = strchr(quote, '\''));)
		*quote = '"';
	json_t *update = json_loads(braced, 0, NULL);
	assert_non_null(update);
	free(braced);
	const char *key;
	json_t *value;
	json_object_foreach(update, key, value)
	{
		if (json_is_string(value) && strcmp(json_string_value(value), "-") == 0)
			json_object_del(event, key);
		else
			json_object_set(event, key, value);
	}
	json_decref(update);

	json_t *root = json_object();
	json_object_set_new(root, "api_version", json_string("1.0"));
	json_object_set_new(root, "event", event);
	char *body = json_dumps(root, 0);
	json_decref(root);
	struct event *read = section_read_body(section, body);
	free(body);
	return read;
}

static inline const struct sub_event *sub_of(const struct event *event)
{
	return event->detail;
}

/* Both NULL, or the same text. */
#define assert_text(actual, expected)                                        \
	do {                                                                 \
		const char *assert_actual = (actual);                        \
		const char *assert_expected = (expected);                    \
		if (!assert_actual || !assert_expected)                      \
			assert_ptr_equal(assert_actual, assert_expected);    \
		else                                                         \
			assert_string_equal(assert_actual, assert_expected); \
	} while (0)

#endif
