/* The stand-in must behave as Intercom was recorded and documented, or the tests on it prove
 * little. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "support/standin.h"

#include <stdio.h>
#include <string.h>

#define NOW_MS INT64_C(1795240003123)
#define ARCHIVED_ID "aaaaaaaaaaaaaaaaaaaaaaaa"
#define MERGED_ID "bbbbbbbbbbbbbbbbbbbbbbbb"

struct fixture {
	struct standin *standin;
	struct standin_answer answer;
	int64_t now_ms;
	const char *version;
};

static void begin(struct fixture *fixture, struct standin_options options)
{
	*fixture = (struct fixture){.now_ms = NOW_MS, .version = "2.15"};
	fixture->standin = standin_create(&options);
	standin_answer_init(&fixture->answer);
}

static void end(struct fixture *fixture)
{
	standin_answer_finish(&fixture->answer);
	standin_destroy(fixture->standin);
}

/* One call with the headers that a good client sends; returns the status. */
static int call(struct fixture *fixture, const char *method, const char *path, const char *body)
{
	const struct standin_request request = {
		.method = method,
		.path = path,
		.authorization = "Bearer good",
		.intercom_version = fixture->version,
		.accept = "application/json",
		.content_type = "application/json",
		.body = body,
		.body_len = body ? strlen(body) : 0,
	};
	standin_handle(fixture->standin, fixture->now_ms, &request, &fixture->answer);
	return fixture->answer.status;
}

static bool says(const struct fixture *fixture, const char *text)
{
	return strstr(buf_text(&fixture->answer.body), text) != NULL;
}

static bool has_header(const struct fixture *fixture, const char *line)
{
	return strstr(buf_text(&fixture->answer.headers), line) != NULL;
}

static const char *id_of(const struct fixture *fixture, const char *external_id)
{
	return standin_contact_id(fixture->standin, external_id);
}

static void preset(struct fixture *fixture, const char *json)
{
	struct error err = {0};
	const bool ok = standin_add_contact(fixture->standin, json, strlen(json), NULL, &err);
	assert_string_equal(err.text, "");
	assert_true(ok);
}

static void add_rules(struct fixture *fixture, const char *json)
{
	struct error err = {0};
	const bool ok = standin_add_rules(fixture->standin, json, strlen(json), &err);
	assert_string_equal(err.text, "");
	assert_true(ok);
}

static struct standin_totals totals(const struct fixture *fixture)
{
	struct standin_totals result;
	standin_get_totals(fixture->standin, &result);
	return result;
}

static void test_create_update_and_find(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){0});
	assert_int_equal(call(&f, "GET", "/contacts/find_by_external_id/%24RC%3A1", NULL), 404);
	assert_true(says(&f, "\"code\":\"not_found\",\"message\":\"User Not Found\""));
	assert_int_equal(call(&f, "POST", "/contacts",
				 "{\"external_id\":\"$RC:1\",\"custom_attributes\":"
				 "{\"store\":\"APP\",\"until\":1700000000}}"),
		200);
	assert_string_equal(standin_attribute(f.standin, "$RC:1", "until"), "1700000000");
	assert_int_equal(call(&f, "GET", "/contacts/find_by_external_id/%24RC%3A1", NULL), 200);
	assert_true(says(&f, "\"custom_attributes\":{\"store\":\"APP\",\"until\":1700000000}"));

	char path[64];
	(void)snprintf(path, sizeof(path), "/contacts/%s", id_of(&f, "$RC:1"));
	assert_int_equal(
		call(&f, "PUT", path,
			"{\"custom_attributes\":{\"store\":null,\"until\":5,\"new\":true}}"),
		200);
	assert_null(standin_attribute(f.standin, "$RC:1", "store"));
	assert_string_equal(standin_attribute(f.standin, "$RC:1", "until"), "5");
	assert_string_equal(standin_attribute(f.standin, "$RC:1", "new"), "true");
	assert_int_equal(call(&f, "PUT", path, "{\"role\":\"lead\"}"), 400);
	assert_true(says(&f, "client_error"));
	assert_int_equal(standin_violation_count(f.standin), 0);
	end(&f);
}

static void test_conflict_tells_the_id(void **state)
{
	(void)state;
	struct fixture f;
	char expected[128];
	begin(&f, (struct standin_options){0});
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u1\"}"), 200);
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u1\"}"), 409);
	(void)snprintf(expected, sizeof(expected),
		"\"code\":\"conflict\",\"message\":\"A contact matching those details already "
		"exists with "
		"id=%s\"",
		id_of(&f, "u1"));
	assert_true(says(&f, expected));
	preset(&f, "{\"external_id\":\"u2\",\"id\":\"" ARCHIVED_ID "\",\"state\":\"archived\"}");
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u2\"}"), 409);
	assert_true(says(&f,
		"An archived contact matching those details already exists with id=" ARCHIVED_ID));
	/* An e-mail address may be shared, unless it is all that is known. */
	assert_int_equal(
		call(&f, "POST", "/contacts", "{\"external_id\":\"u3\",\"email\":\"A@b.c\"}"), 200);
	assert_int_equal(
		call(&f, "POST", "/contacts", "{\"external_id\":\"u4\",\"email\":\"a@b.c\"}"), 200);
	assert_int_equal(call(&f, "POST", "/contacts", "{\"email\":\"a@B.c\"}"), 409);
	assert_int_equal(
		call(&f, "POST", "/contacts/search",
			"{\"query\":{\"field\":\"email\",\"operator\":\"=\",\"value\":\"a@b.c\"}}"),
		200);
	assert_true(says(&f, "\"total_count\":2"));
	assert_int_equal(
		call(&f, "POST", "/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"email\":\"a@b.c\"}"),
		409);
	assert_true(says(&f, "Multiple existing users match this email address"));
	end(&f);
}

static void test_archived_deleted_and_merged(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){0});
	preset(&f, "{\"external_id\":\"u1\",\"id\":\"" ARCHIVED_ID "\",\"state\":\"archived\"}");
	assert_int_equal(call(&f, "PUT", "/contacts/" ARCHIVED_ID, "{}"), 404);
	assert_int_equal(
		call(&f, "POST", "/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":\"u1\"}"),
		404);
	assert_int_equal(call(&f, "POST", "/contacts/" ARCHIVED_ID "/unarchive", NULL), 200);
	assert_string_equal(standin_contact_state(f.standin, "u1"), "live");
	assert_int_equal(call(&f, "PUT", "/contacts/" ARCHIVED_ID, "{}"), 200);
	assert_int_equal(call(&f, "DELETE", "/contacts/" ARCHIVED_ID, NULL), 200);
	assert_int_equal(call(&f, "POST", "/contacts/" ARCHIVED_ID "/unarchive", NULL), 400);
	assert_true(says(&f, "marked for permanent deletion and is not restorable"));

	preset(&f,
		"{\"external_id\":\"u2\",\"id\":\"" MERGED_ID
		"\",\"state\":\"merged\",\"merged_into\":\"" ARCHIVED_ID "\"}");
	assert_int_equal(call(&f, "PUT", "/contacts/" MERGED_ID, "{}"), 404);
	f.version = "2.16";
	assert_int_equal(call(&f, "PUT", "/contacts/" MERGED_ID, "{}"), 410);
	assert_true(says(&f, "contact_merged"));
	assert_true(has_header(&f, "Link: </contacts/" ARCHIVED_ID ">; rel=\"canonical\"\r\n"));
	end(&f);
}

static void test_events(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){0});
	static const char event[] = "{\"event_name\":\"started\",\"created_at\":1700000000,"
				    "\"user_id\":\"u1\",\"metadata\":{\"z\":1,\"a\":\"x\"}}";
	assert_int_equal(call(&f, "POST", "/events", event), 404);
	preset(&f, "{\"external_id\":\"u1\"}");
	assert_int_equal(call(&f, "POST", "/events", event), 202);
	assert_int_equal(f.answer.body.len, 0);
	assert_int_equal(call(&f, "POST", "/events", event), 202);
	assert_int_equal(standin_event_count(f.standin), 1);
	assert_int_equal(totals(&f).events, 1);
	assert_int_equal(totals(&f).events_repeated, 1);
	struct standin_event seen;
	standin_event_at(f.standin, 0, &seen);
	assert_string_equal(seen.external_id, "u1");
	assert_string_equal(seen.name, "started");
	assert_int_equal(seen.created_at, 1700000000);
	assert_string_equal(seen.metadata, "{\"z\":1,\"a\":\"x\"}"); /* in the order they came */
	end(&f);
}

static void test_violations(void **state)
{
	(void)state;
	static const char *const bodies[][2] = {
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000000,\"user_id\":\"u1\"}"},
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":\"1700000000\",\"user_id\":\"u1\"}"},
		{"/events", "{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":5}"},
		{"/events", "{\"event_name\":\"e\",\"created_at\":1700000000}"},
		{"/events", "{\"created_at\":1700000000,\"user_id\":\"u1\"}"},
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"external_id\":\"u1\"}"},
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":\"u1\","
			"\"metadata\":{\"a\":{\"b\":1}}}"},
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":\"u1\","
			"\"metadata\":{\"a\":null}}"},
		{"/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":\"u1\","
			"\"metadata\":{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,"
			"\"h\":1,"
			"\"i\":1,\"j\":1,\"k\":1}}"},
		{"/events", "{\"event_name\":\"e\",\"event_name\":\"e\"}"},
		{"/events", "not json"},
		{"/events", "[]"},
		{"/contacts", "{}"},
		{"/contacts", "{\"external_id\":7}"},
		{"/contacts", "{\"external_id\":\"u2\",\"user_id\":\"u2\"}"},
		{"/contacts", "{\"external_id\":\"u2\",\"custom_attributes\":{\"a\":[1]}}"},
		{"/contacts", "{\"external_id\":\"u2\",\"custom_attributes\":[]}"},
		{"/contacts", "{\"external_id\":\"u2\",\"role\":\"admin\"}"},
	};
	struct fixture f;
	begin(&f, (struct standin_options){0});
	preset(&f, "{\"external_id\":\"u1\"}");
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		const size_t before = standin_violation_count(f.standin);
		assert_int_equal(call(&f, "POST", bodies[i][0], bodies[i][1]), 400);
		assert_true(standin_violation_count(f.standin) > before);
	}
	assert_int_equal(standin_event_count(f.standin), 0);
	assert_int_equal(totals(&f).contacts, 1);
	end(&f);
}

static void test_headers(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){.token = "good", .limit = 10});
	assert_int_equal(call(&f, "GET", "/me", NULL), 200);
	assert_true(has_header(&f, "X-RateLimit-Limit: 10\r\n"));
	assert_true(has_header(&f, "Intercom-Version: 2.15\r\n"));
	assert_true(has_header(&f, "Date: Sat, 21 Nov 2026 05:46:43 GMT\r\n"));
	struct standin_request request = {
		.method = "GET",
		.path = "/me",
		.authorization = "Bearer bad",
		.intercom_version = "2.15",
		.accept = "application/json",
	};
	standin_handle(f.standin, f.now_ms, &request, &f.answer);
	assert_int_equal(f.answer.status, 401);
	assert_true(says(&f, "{\"type\":\"error.list\",\"request_id\":\"005standin"));
	assert_false(has_header(&f, "X-RateLimit"));
	assert_true(has_header(&f, "X-Request-Id: 005standin"));
	request.authorization = "Bearer good";
	request.accept = NULL;
	standin_handle(f.standin, f.now_ms, &request, &f.answer);
	assert_int_equal(f.answer.status, 406);
	assert_true(says(&f, "media_type_not_acceptable"));
	f.version = "1.4";
	assert_int_equal(call(&f, "GET", "/me", NULL), 400);
	assert_true(says(&f, "intercom_version_invalid"));
	f.version = "Preview";
	assert_int_equal(call(&f, "GET", "/me", NULL), 200);
	assert_int_equal(call(&f, "GET", "/nothing", NULL), 404);
	end(&f);
}

static void test_rate_windows(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f,
		(struct standin_options){.limit = 3, .window_ms = 10000, .reset_offset_ms = 2000});
	for (int i = 2; i >= 0; i--) {
		char line[64];
		assert_int_equal(call(&f, "GET", i ? "/me" : "/nothing", NULL), i ? 200 : 404);
		(void)snprintf(line, sizeof(line), "X-RateLimit-Remaining: %d\r\n", i);
		assert_true(has_header(&f, line));
		assert_true(has_header(&f, "X-RateLimit-Reset: 1795240012\r\n"));
	}
	assert_int_equal(call(&f, "GET", "/me", NULL), 429);
	assert_true(says(&f,
		"\"code\":\"rate_limit_exceeded\",\"message\":\"Exceeded rate limit of 3 "
		"in 10_seconds\""));
	assert_true(has_header(&f, "X-RateLimit-Remaining: 0\r\n"));
	f.now_ms = INT64_C(1795240010000);
	assert_int_equal(call(&f, "GET", "/me", NULL), 200);
	assert_true(has_header(&f, "X-RateLimit-Remaining: 2\r\n"));
	assert_int_equal(totals(&f).refused, 1);
	assert_int_equal(totals(&f).window_calls_max, 4);
	assert_int_equal(standin_window_count(f.standin), 2);
	assert_int_equal(standin_window_at(f.standin, 0)->calls, 4);
	assert_int_equal(standin_window_at(f.standin, 0)->start_ms, INT64_C(1795240000000));
	end(&f);
}

static void test_strict_attributes(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){.strict_attributes = true});
	static const char create[] =
		"{\"external_id\":\"u1\",\"custom_attributes\":{\"until\":1700000000}}";
	assert_int_equal(call(&f, "POST", "/contacts", create), 400);
	assert_true(says(&f,
		"\"code\":\"parameter_invalid\",\"message\":\"Custom attribute 'until' does not "
		"exist\""));
	static const char attribute[] =
		"{\"name\":\"until\",\"model\":\"contact\",\"data_type\":\"datetime\"}";
	assert_int_equal(call(&f, "POST", "/data_attributes", attribute), 200);
	assert_int_equal(call(&f, "POST", "/data_attributes", attribute), 400);
	assert_true(says(&f, "You already have 'until'"));
	assert_int_equal(call(&f, "POST", "/contacts", create), 200);
	assert_int_equal(
		call(&f, "POST", "/contacts",
			"{\"external_id\":\"u2\",\"custom_attributes\":{\"until\":\"soon\"}}"),
		400);
	assert_int_equal(call(&f, "GET", "/data_attributes?model=contact", NULL), 200);
	assert_true(says(&f, "\"full_name\":\"custom_attributes.until\""));
	assert_int_equal(standin_violation_count(f.standin), 0);
	end(&f);
}

static void test_scripted_faults(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f, (struct standin_options){0});
	add_rules(&f,
		"[{\"method\":\"POST\",\"path\":\"/contacts\",\"nth\":2,\"times\":2,"
		"\"status\":503,\"code\":\"server_error\",\"message\":\"later\","
		"\"headers\":{\"Retry-After\":\"3\"}},"
		"{\"path\":\"/me\",\"drop\":\"before\"},"
		"{\"path\":\"/me\",\"status\":504,\"answer\":\"<html>\",\"delay_ms\":70}]");
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u1\"}"), 200);
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u2\"}"), 503);
	assert_true(says(&f, "\"code\":\"server_error\",\"message\":\"later\""));
	assert_true(has_header(&f, "Retry-After: 3\r\n"));
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u2\"}"), 503);
	assert_null(id_of(&f, "u2"));
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u2\"}"), 200);
	(void)call(&f, "GET", "/me", NULL);
	assert_int_equal(f.answer.drop, STANDIN_DROP_BEFORE);
	assert_int_equal(call(&f, "GET", "/me", NULL), 504);
	assert_string_equal(buf_text(&f.answer.body), "<html>");
	assert_int_equal(f.answer.delay_ms, 70);
	assert_int_equal(call(&f, "GET", "/me", NULL), 200);

	add_rules(&f, "{\"contact\":\"u3\",\"drop\":\"after\"}");
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u4\"}"), 200);
	assert_int_equal(f.answer.drop, STANDIN_ANSWER);
	(void)call(&f, "POST", "/contacts", "{\"external_id\":\"u3\"}");
	assert_int_equal(f.answer.drop, STANDIN_DROP_AFTER);
	assert_non_null(id_of(&f, "u3"));
	add_rules(&f, "{\"body\":\"u5\",\"status\":500,\"took_effect\":true}");
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u5\"}"), 500);
	assert_non_null(id_of(&f, "u5"));

	struct error err = {0};
	assert_false(standin_add_rules(f.standin, "{\"statsu\":1}", 12, &err));
	assert_string_equal(err.text, "unknown key 'statsu'");
	end(&f);
}

static void test_reset_and_state(void **state)
{
	(void)state;
	struct fixture f;
	struct buf text;
	begin(&f, (struct standin_options){.limit = 100});
	buf_init(&text, (size_t)1024 * 1024);
	preset(&f, "{\"external_id\":\"u1\",\"custom_attributes\":{\"a\":\"b\"}}");
	assert_int_equal(
		call(&f, "POST", "/events",
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"user_id\":\"u1\"}"),
		202);
	assert_int_equal(call(&f, "POST", "/contacts", "{\"oops\":1}"), 400);
	standin_write_state(f.standin, &text);
	assert_non_null(strstr(buf_text(&text), "\"custom_attributes\":{\"a\":\"b\"}"));
	assert_non_null(strstr(buf_text(&text), "\"event_name\":\"e\",\"created_at\":1700000000"));
	assert_non_null(strstr(buf_text(&text), "POST /contacts: unknown body key 'oops'"));
	standin_reset(f.standin);
	assert_int_equal(totals(&f).calls, 0);
	assert_null(id_of(&f, "u1"));
	assert_int_equal(standin_violation_count(f.standin), 0);
	assert_int_equal(call(&f, "POST", "/contacts", "{\"external_id\":\"u1\"}"), 200);
	assert_int_equal(standin_get_options(f.standin)->limit, 100);
	buf_finish(&text);
	end(&f);
}

static void test_many_contacts(void **state)
{
	(void)state;
	struct fixture f;
	char body[128];
	char external_id[32];
	begin(&f, (struct standin_options){.light = true});
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(body, sizeof(body), "{\"external_id\":\"u%d\"}", i);
		assert_int_equal(call(&f, "POST", "/contacts", body), 200);
	}
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(external_id, sizeof(external_id), "u%d", i);
		(void)snprintf(body, sizeof(body),
			"{\"event_name\":\"e\",\"created_at\":1700000000,\"id\":\"%s\"}",
			id_of(&f, external_id));
		assert_int_equal(call(&f, "POST", "/events", body), 202);
	}
	assert_int_equal(totals(&f).contacts, 20000);
	assert_int_equal(totals(&f).events, 20000);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_update_and_find),
		cmocka_unit_test(test_conflict_tells_the_id),
		cmocka_unit_test(test_archived_deleted_and_merged),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_violations),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_rate_windows),
		cmocka_unit_test(test_strict_attributes),
		cmocka_unit_test(test_scripted_faults),
		cmocka_unit_test(test_reset_and_state),
		cmocka_unit_test(test_many_contacts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
