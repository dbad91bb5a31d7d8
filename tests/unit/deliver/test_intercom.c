/*
 * The exact bytes that go to Intercom.
 */

#include "deliver/intercom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static const struct contact_key by_id = {.external_id = "u1"};
static const struct contact_key by_email = {.email = "a@example.com"};

static void check(const struct call *call, enum call_kind kind, const char *method,
	const char *path, const char *body)
{
	assert_int_equal(call->kind, kind);
	assert_string_equal(call->method, method);
	assert_string_equal(buf_text(&call->path), path);
	assert_string_equal(buf_text(&call->body), body);
	assert_int_equal(call->body.len, strlen(body));
	assert_false(call_is_too_large(call));
}

static int setup(void **state)
{
	static struct call call;
	call_init(&call);
	*state = &call;
	return 0;
}

static int teardown(void **state)
{
	call_finish(*state);
	return 0;
}

static void contacts(void **state)
{
	struct call *call = *state;
	intercom_create_contact(
		call, by_id, "{\"subscription_status\":\"active\",\"expires_at\":1}");
	check(call, CALL_CREATE_CONTACT, "POST", "/contacts",
		"{\"role\":\"user\",\"external_id\":\"u1\",\"custom_attributes\":"
		"{\"subscription_status\":\"active\",\"expires_at\":1}}");
	intercom_create_contact(call, by_email, "{\"a\":null}");
	check(call, CALL_CREATE_CONTACT, "POST", "/contacts",
		"{\"role\":\"user\",\"email\":\"a@example.com\",\"custom_attributes\":{\"a\":null}"
		"}");
	intercom_create_contact(call, by_id, "");
	check(call, CALL_CREATE_CONTACT, "POST", "/contacts",
		"{\"role\":\"user\",\"external_id\":\"u1\"}");
	intercom_create_contact(call, by_id, "{}");
	check(call, CALL_CREATE_CONTACT, "POST", "/contacts",
		"{\"role\":\"user\",\"external_id\":\"u1\"}");
	intercom_update_contact(call, "6762f0dd1bb69f9f2193bb83", "{\"a\":\"b\"}");
	check(call, CALL_UPDATE_CONTACT, "PUT", "/contacts/6762f0dd1bb69f9f2193bb83",
		"{\"custom_attributes\":{\"a\":\"b\"}}");
	intercom_search_contact(call, "a\"b@example.com");
	check(call, CALL_SEARCH_CONTACT, "POST", "/contacts/search",
		"{\"query\":{\"field\":\"email\",\"operator\":\"=\",\"value\":\"a\\\"b@example."
		"com\"}}");
	intercom_unarchive_contact(call, "6762f0dd");
	check(call, CALL_UNARCHIVE_CONTACT, "POST", "/contacts/6762f0dd/unarchive", "");
}

static void paths_are_encoded(void **state)
{
	struct call *call = *state;
	static const struct {
		const char *id, *encoded;
	} rows[] = {
		{"u1", "u1"},
		{"$RCAnonymousID:87c6049c58069238dce29853916d624c",
			"%24RCAnonymousID%3A87c6049c58069238dce29853916d624c"},
		{"a/b", "a%2Fb"},
		{"..", ".."},
		{"a b?c#d%e&f=g+h", "a%20b%3Fc%23d%25e%26f%3Dg%2Bh"},
		{"Az09-._~", "Az09-._~"},
		{"\xc3\xa9\xff\x01", "%C3%A9%FF%01"},
		{"a@example.com", "a%40example.com"},
		{"", ""},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char path[200] = "/contacts/find_by_external_id/";
		strcat(path, rows[i].encoded); /* NOLINT: it fits */
		intercom_find_contact(call, rows[i].id);
		check(call, CALL_FIND_CONTACT, "GET", path, "");
		char update[200] = "/contacts/";
		strcat(update, rows[i].encoded); /* NOLINT: it fits */
		intercom_update_contact(call, rows[i].id, "{\"a\":1}");
		check(call, CALL_UPDATE_CONTACT, "PUT", update,
			"{\"custom_attributes\":{\"a\":1}}");
	}
}

static void events(void **state)
{
	struct call *call = *state;
	intercom_submit_event(call, "6762f0dd", by_id, "rc_renewal_event", 1763704800,
		"{\"product_identifier\":\"p\",\"environment\":\"production\"}");
	check(call, CALL_SUBMIT_EVENT, "POST", "/events",
		"{\"event_name\":\"rc_renewal_event\",\"created_at\":1763704800,\"id\":"
		"\"6762f0dd\","
		"\"metadata\":{\"product_identifier\":\"p\",\"environment\":\"production\"}}");
	static const char *const nobody[] = {NULL, ""};
	for (size_t i = 0; i < 2; i++) {
		intercom_submit_event(call, nobody[i], by_id, "e", 1, "");
		check(call, CALL_SUBMIT_EVENT, "POST", "/events",
			"{\"event_name\":\"e\",\"created_at\":1,\"user_id\":\"u1\"}");
		intercom_submit_event(call, nobody[i], by_email, "e", 1, "{}");
		check(call, CALL_SUBMIT_EVENT, "POST", "/events",
			"{\"event_name\":\"e\",\"created_at\":1,\"email\":\"a@example.com\"}");
	}
}

static void attributes_and_me(void **state)
{
	struct call *call = *state;
	intercom_create_attribute(call, "expires_at", "datetime", "When it \"ends\"");
	check(call, CALL_CREATE_ATTRIBUTE, "POST", "/data_attributes",
		"{\"name\":\"expires_at\",\"model\":\"contact\",\"data_type\":\"datetime\","
		"\"description\":\"When it \\\"ends\\\"\"}");
	intercom_create_attribute(call, "x", "string", "");
	check(call, CALL_CREATE_ATTRIBUTE, "POST", "/data_attributes",
		"{\"name\":\"x\",\"model\":\"contact\",\"data_type\":\"string\"}");
	intercom_list_attributes(call);
	check(call, CALL_LIST_ATTRIBUTES, "GET", "/data_attributes?model=contact", "");
	intercom_me(call);
	check(call, CALL_ME, "GET", "/me", "");
}

static void what_is_too_large_is_marked(void **state)
{
	struct call *call = *state;
	static char id[20001];
	memset(id, 'x', sizeof(id) - 1);
	intercom_find_contact(call, id);
	assert_true(call_is_too_large(call));
	intercom_me(call);
	assert_false(call_is_too_large(call));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(contacts, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_are_encoded, setup, teardown),
		cmocka_unit_test_setup_teardown(events, setup, teardown),
		cmocka_unit_test_setup_teardown(attributes_and_me, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_large_is_marked, setup, teardown),
	};
	return cmocka_run_group_tests_name("intercom", tests, NULL, NULL);
}
