/*
 * `map` as a function: what is refused, what has no time, who is named, what is an array. What
 * comes of which webhook is in tests/golden.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/map_text_private.h"
#include "base/buf.h"
#include "base/error.h"
#include "conf/conf.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define NOW_MS INT64_C(1767225600000)

/* The defaults and one environment variable, or NULL. */
static struct conf *load(const char *setting)
{
	char text[100] = "";
	char *const environment[] = {setting ? text : NULL, NULL};
	struct conf_report report;

	(void)snprintf(text, sizeof(text), "%s", setting ? setting : "");
	struct conf *conf = conf_load_for_map(NULL, environment, &report);
	assert_int_equal(report.count, 0);
	conf_report_finish(&report);
	assert_non_null(conf);
	return conf;
}

/* ' stands for ". */
static void quote(char *text)
{
	while ((text = strchr(text, '\'')))
		*text = '"';
}

/* Text of the result; the caller's buf. */
static bool map(const struct conf *conf, const char *body, struct buf *ret, struct error *err)
{
	char text[4096];

	(void)snprintf(text, sizeof(text), "%s", body);
	quote(text);
	buf_init(ret, (size_t)1024 * 1024);
	*err = (struct error){0};
	return map_body(conf, &conf->sources[0], text, strlen(text), NOW_MS, ret, err);
}

static json_t *map_json(const struct conf *conf, const char *body)
{
	struct buf result;
	struct error err;

	if (!map(conf, body, &result, &err))
		fail_msg("refused: %s", err.text);
	assert_int_equal(result.data[result.len - 1], '\n');
	json_t *json = json_loadb(buf_text(&result), result.len, 0, NULL);
	assert_non_null(json);
	buf_finish(&result);
	return json;
}

/* The value at a path "user_payload.user_id", or "0.ignored" of an array. */
static const json_t *at(const json_t *json, const char *path)
{
	char text[200];
	char *rest = text;
	const char *part;

	(void)snprintf(text, sizeof(text), "%s", path);
	while ((part = strsep(&rest, ".")))
		json = json_is_array(json) ? json_array_get(json, (size_t)(part[0] - '0'))
					   : json_object_get(json, part);
	return json;
}

static void assert_text(const json_t *json, const char *path, const char *wanted)
{
	const char *text = json_string_value(at(json, path));

	if (!text)
		fail_msg("%s is no string", path);
	assert_string_equal(text, wanted);
}

static void assert_null_at(const json_t *json, const char *path)
{
	if (!json_is_null(at(json, path)))
		fail_msg("%s is not null", path);
}

static void test_refuses(void **state)
{
	static const struct {
		const char *body;
		const char *why;
	} cases[] = {
		{"", "the body is not JSON: it is empty"},
		{"{", "the body is not JSON"},
		{"[]", "there is no event object"},
		{"{}", "there is no event object"},
		{"{'event':{'type':'TEST','event_timestamp_ms':1}}", "the event has no id"},
		{"{'event':{'id':'e','event_timestamp_ms':1}}", "the event has no type"},
		{"{'event':{'id':'e','type':'TEST'}}", "event_timestamp_ms is missing"},
	};
	struct conf *conf = load(NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf result;
		struct error err;
		assert_false(map(conf, cases[i].body, &result, &err));
		assert_int_equal(strncmp(err.text, cases[i].why, strlen(cases[i].why)), 0);
		assert_int_equal(result.len, 0);
		buf_finish(&result);
	}
	conf_unref(conf);
}

static void test_event_without_a_usable_time(void **state)
{
	/* A published sample of RevenueCat's lies in the year 4466. */
	static const char *const times[] = {"78789789798798", "0", "-5", "1e300"};
	struct conf *conf = load(NULL);
	char body[400];

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		(void)snprintf(body, sizeof(body),
			"{'event':{'id':'e','type':'PRODUCT_CHANGE','event_timestamp_ms':%s,"
			"'app_user_id':'ida','store':'APP_STORE'}}",
			times[i]);
		json_t *json = map_json(conf, body);
		assert_int_equal(
			json_integer_value(at(json, "event_payload.created_at")), NOW_MS / 1000);
		json_decref(json);
	}
	conf_unref(conf);
}

static void test_smallest_event(void **state)
{
	struct conf *conf = load(NULL);
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'INITIAL_PURCHASE','event_timestamp_ms':1717400000000,"
		"'app_user_id':'ida'}}");

	(void)state;
	assert_null_at(json, "product_identifier");
	assert_null_at(json, "app_id");
	assert_text(json, "user_payload.user_id", "ida");
	assert_text(json, "user_payload.custom_attributes.subscription_status", "active");
	assert_null_at(json, "user_payload.custom_attributes.expires_at");
	assert_text(json, "event_payload.user_id", "ida");
	assert_null_at(json, "event_payload.metadata.store");
	assert_null(json_object_get(json, "ignored"));
	json_decref(json);
	conf_unref(conf);
}

static void test_order_of_keys(void **state)
{
	static const char wanted[] = "{\n"
				     "  \"product_identifier\": \"p\",\n"
				     "  \"app_id\": \"a\",\n"
				     "  \"user_payload\": {\n"
				     "    \"user_id\": \"ida\",\n"
				     "    \"custom_attributes\": {\n"
				     "      \"latest_store\": \"APP_STORE\",\n"
				     "      \"latest_entitlement\": null,\n"
				     "      \"expires_at\": 1717500000,\n"
				     "      \"subscription_status\": \"cancelled\"\n"
				     "    }\n"
				     "  },\n"
				     "  \"event_payload\": {\n"
				     "    \"event_name\": \"rc_cancellation_event\",\n"
				     "    \"user_id\": \"ida\",\n"
				     "    \"created_at\": 1717400000,\n"
				     "    \"metadata\": {\n"
				     "      \"product_identifier\": \"p\",\n"
				     "      \"entitlement\": null,\n"
				     "      \"store\": \"APP_STORE\",\n"
				     "      \"expires_at\": 1717500000,\n"
				     "      \"environment\": \"production\",\n"
				     "      \"app_id\": \"a\",\n"
				     "      \"cancellation_reason\": \"UNSUBSCRIBE\"\n"
				     "    }\n"
				     "  }\n"
				     "}\n";
	struct conf *conf = load(NULL);
	struct buf result;
	struct error err;

	(void)state;
	assert_true(map(conf,
		"{'event':{'cancel_reason':'UNSUBSCRIBE','app_id':'a','environment':'PRODUCTION',"
		"'expiration_at_ms':1717500000999,'store':'APP_STORE','product_id':'p','id':'e',"
		"'type':'CANCELLATION','event_timestamp_ms':1717400000999,'app_user_id':'ida'}}",
		&result, &err));
	assert_string_equal(buf_text(&result), wanted);
	buf_finish(&result);
	conf_unref(conf);
}

static void test_ignored(void **state)
{
	struct conf *conf = load(NULL);
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'INITIAL_PURCHASE','event_timestamp_ms':1717400000000,"
		"'app_user_id':'ida','environment':'SANDBOX'}}");

	(void)state;
	assert_null_at(json, "user_payload");
	assert_null_at(json, "event_payload");
	assert_text(json, "ignored", "sandbox");
	json_decref(json);
	conf_unref(conf);
}

/* One payload is null: why that is so is said, whatever becomes of the other. */
static void test_half_of_it(void **state)
{
	struct conf *conf = load(NULL);
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'UNCANCELLATION','event_timestamp_ms':1717400000000,"
		"'app_user_id':'ida'}}");

	(void)state;
	assert_text(json, "user_payload.custom_attributes.subscription_status", "active");
	assert_null_at(json, "event_payload");
	assert_text(json, "ignored", "event uncancellation is off");
	json_decref(json);

	json = map_json(conf,
		"{'event':{'id':'e','type':'NON_RENEWING_PURCHASE','event_timestamp_ms':"
		"1717400000000,'app_user_id':'ida'}}");
	assert_null_at(json, "user_payload");
	assert_text(json, "event_payload.user_id", "ida");
	assert_text(json, "ignored", "no attribute changes");
	json_decref(json);
	conf_unref(conf);
}

static void test_email(void **state)
{
	struct conf *conf = load("SUBRELAY_REVENUECAT_IDENTIFY=email");
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'RENEWAL','event_timestamp_ms':1717400000000,"
		"'app_user_id':'ida','subscriber_attributes':{'$email':{'value':'ida@example.org'}}"
		"}}");

	(void)state;
	assert_text(json, "user_payload.email", "ida@example.org");
	assert_text(json, "event_payload.email", "ida@example.org");
	assert_null(at(json, "user_payload.user_id"));
	assert_null(at(json, "event_payload.user_id"));
	json_decref(json);
	conf_unref(conf);
}

static void test_transfer(void **state)
{
	static const char body[] =
		"{'event':{'id':'e','type':'TRANSFER','event_timestamp_ms':1717400000000,"
		"'transferred_from':['ida'],'transferred_to':['ola']}}";
	struct conf *conf = load(NULL);
	json_t *json = map_json(conf, body);

	(void)state;
	assert_int_equal(json_array_size(json), 2);
	assert_null_at(json, "0.user_payload");
	assert_null_at(json, "0.event_payload");
	assert_non_null(at(json, "0.ignored"));
	json_decref(json);
	conf_unref(conf);

	conf = load("SUBRELAY_EVENT_NAMES_TRANSFER=on");
	json = map_json(conf, body);
	assert_int_equal(json_array_size(json), 2);
	assert_text(json, "0.event_payload.user_id", "ola");
	assert_text(json, "0.event_payload.event_name", "rc_transfer_event");
	assert_null_at(json, "0.user_payload");
	assert_text(json, "0.ignored", "no attribute changes");
	assert_text(json, "1.ignored",
		"nothing for ida: no attribute changes (map knows of no earlier events)");
	json_decref(json);
	conf_unref(conf);
}

/* Nobody can be named: one object, for there is nobody to list. */
static void test_transfer_among_strangers(void **state)
{
	struct conf *conf = load("SUBRELAY_REVENUECAT_IDENTIFY=email");
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'TRANSFER','event_timestamp_ms':1717400000000,"
		"'transferred_from':['ida'],'transferred_to':['ola']}}");

	(void)state;
	assert_true(json_is_object(json));
	assert_non_null(at(json, "ignored"));
	json_decref(json);
	conf_unref(conf);
}

/* To oneself, there and back: whoever is named twice is one result. */
static void test_transfer_to_oneself(void **state)
{
	struct conf *conf = load("SUBRELAY_EVENT_NAMES_TRANSFER=on");
	json_t *json = map_json(conf,
		"{'event':{'id':'e','type':'TRANSFER','event_timestamp_ms':1717400000000,"
		"'transferred_from':['ida','ida'],'transferred_to':['ida']}}");

	(void)state;
	assert_text(json, "event_payload.user_id", "ida");
	json_decref(json);
	conf_unref(conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_event_without_a_usable_time),
		cmocka_unit_test(test_smallest_event),
		cmocka_unit_test(test_order_of_keys),
		cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_half_of_it),
		cmocka_unit_test(test_email),
		cmocka_unit_test(test_transfer),
		cmocka_unit_test(test_transfer_among_strangers),
		cmocka_unit_test(test_transfer_to_oneself),
	};
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
