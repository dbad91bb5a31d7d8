/*
 * Every row of the table in verdict.h, and the odd bodies that come with real answers.
 */

#include "deliver/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define ID "6762f0dd1bb69f9f2193bb83"
#define ERROR_LIST(code, message)                                                                 \
	"{\"type\":\"error.list\",\"request_id\":\"b2i3mhcboc6pcbe33q80\",\"errors\":[{\"code\":" \
	"\"" code "\",\"message\":\"" message "\"}]}"

static const enum call_kind kinds[] = {CALL_CREATE_CONTACT, CALL_UPDATE_CONTACT, CALL_FIND_CONTACT,
	CALL_SEARCH_CONTACT, CALL_UNARCHIVE_CONTACT, CALL_SUBMIT_EVENT, CALL_CREATE_ATTRIBUTE,
	CALL_LIST_ATTRIBUTES, CALL_ME};
#define KIND_COUNT (sizeof(kinds) / sizeof(*kinds))

static struct verdict judge(enum call_kind kind, long status, const char *body)
{
	struct reply reply;
	struct verdict verdict;
	reply_init(&reply);
	reply.wire = WIRE_ANSWERED;
	reply.status = status;
	if (body)
		buf_add_text(&reply.body, body);
	verdict_of(kind, &reply, &verdict);
	reply_finish(&reply);
	return verdict;
}

static void expect(enum call_kind kind, long status, const char *body, enum verdict_kind expected,
	const char *id)
{
	struct verdict verdict = judge(kind, status, body);
	if (verdict.kind != expected || strcmp(verdict.contact_id, id) != 0)
		fail_msg("%s %ld %s: %s '%s' (%s), not %s '%s'", call_kind_name(kind), status,
			body ? body : "(none)", verdict_kind_name(verdict.kind), verdict.contact_id,
			verdict.reason, verdict_kind_name(expected), id);
	assert_false(verdict.unreachable);
}

static void expect_reason(enum call_kind kind, long status, const char *body,
	enum verdict_kind expected, const char *reason)
{
	struct verdict verdict = judge(kind, status, body);
	assert_string_equal(verdict_kind_name(verdict.kind), verdict_kind_name(expected));
	assert_string_equal(verdict.reason, reason);
}

static void success(void **state)
{
	(void)state;
	static const char contact[] = "{\"type\":\"contact\",\"id\":\"" ID "\",\"role\":\"user\"}";
	expect(CALL_CREATE_CONTACT, 200, contact, VERDICT_DONE, ID);
	expect(CALL_CREATE_CONTACT, 201, contact, VERDICT_DONE, ID);
	expect(CALL_UPDATE_CONTACT, 200, contact, VERDICT_DONE, ID);
	expect(CALL_UPDATE_CONTACT, 200, "{}", VERDICT_DONE, "");
	expect(CALL_UPDATE_CONTACT, 200, NULL, VERDICT_DONE, "");
	expect(CALL_FIND_CONTACT, 200, contact, VERDICT_DONE, ID);
	expect(CALL_UNARCHIVE_CONTACT, 200,
		"{\"id\":\"" ID "\",\"object\":\"contact\",\"archived\":false}", VERDICT_DONE, ID);
	expect(CALL_SUBMIT_EVENT, 202, NULL, VERDICT_DONE, "");
	expect(CALL_SUBMIT_EVENT, 202, " ", VERDICT_DONE, "");
	expect(CALL_SUBMIT_EVENT, 200, "{}", VERDICT_DONE, "");
	expect(CALL_CREATE_ATTRIBUTE, 200, "{\"type\":\"data_attribute\",\"id\":37}", VERDICT_DONE,
		"");
	expect(CALL_CREATE_ATTRIBUTE, 200, "{\"id\":\"37\"}", VERDICT_DONE, "");
	expect(CALL_LIST_ATTRIBUTES, 200, "{\"type\":\"list\",\"data\":[]}", VERDICT_DONE, "");
	expect(CALL_ME, 200, "{\"type\":\"admin\",\"id\":\"1\"}", VERDICT_DONE, "");
	assert_string_equal(judge(CALL_ME, 200, "{}").reason, "");
}

/* A 2xx that is not what was asked for. */
static void strange_success(void **state)
{
	(void)state;
	static const char html[] = "\n<!DOCTYPE html><html>Welcome to our WiFi</html>";
	static const char cut[] = "{\"type\":\"contact\",\"id\":\"" ID "\",\"ro";
	for (size_t i = 0; i < KIND_COUNT; i++)
		expect(kinds[i], 200, html, VERDICT_RETRY, "");
	static const enum call_kind wants_id[] = {
		CALL_CREATE_CONTACT, CALL_FIND_CONTACT, CALL_UNARCHIVE_CONTACT};
	static const char *const bodies[] = {NULL, "", "null", "{}", "[]", "\"x\"", cut,
		"{\"id\":null}", "{\"id\":7}", "{\"id\":\"\"}", "{\"id\":\"a b\"}",
		"{\"id\":\"../x\"}",
		"{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123\"}"};
	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < sizeof(bodies) / sizeof(*bodies); j++)
			expect(wants_id[i], 200, bodies[j], VERDICT_RETRY, "");
	}
	expect(CALL_UPDATE_CONTACT, 200, cut, VERDICT_RETRY, "");
	expect(CALL_ME, 200, NULL, VERDICT_RETRY, "");
	expect(CALL_ME, 200, "null", VERDICT_RETRY, "");
	expect(CALL_LIST_ATTRIBUTES, 200, "{\"type\":\"list\"}", VERDICT_RETRY, "");
	expect_reason(
		CALL_CREATE_CONTACT, 200, "{}", VERDICT_RETRY, "200: an answer without a contact");
}

/* An answer too long to be kept is not an answer cut on the way. */
static void a_body_cut_for_its_size(void **state)
{
	(void)state;
	struct reply reply;
	struct verdict verdict;
	reply_init(&reply);
	reply.wire = WIRE_ANSWERED;
	reply.status = 200;
	buf_add_text(&reply.body, "{\"type\":\"contact\",\"id\":\"");
	reply.body.overflowed = true;
	verdict_of(CALL_UPDATE_CONTACT, &reply, &verdict);
	assert_int_equal(verdict.kind, VERDICT_DONE);
	verdict_of(CALL_CREATE_CONTACT, &reply, &verdict);
	assert_int_equal(verdict.kind, VERDICT_RETRY);
	reply_finish(&reply);
}

static void search(void **state)
{
	(void)state;
	const enum call_kind kind = CALL_SEARCH_CONTACT;
	expect(kind, 200, "{\"type\":\"list\",\"data\":[{\"id\":\"" ID "\"}],\"total_count\":1}",
		VERDICT_DONE, ID);
	expect(kind, 200, "{\"data\":[{\"id\":\"" ID "\"}]}", VERDICT_DONE, ID);
	expect(kind, 200, "{\"type\":\"list\",\"data\":[],\"total_count\":0}", VERDICT_GONE, "");
	expect(kind, 200, "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"total_count\":2}",
		VERDICT_PARK, "");
	expect(kind, 200, "{\"data\":[{\"id\":\"a\"}],\"total_count\":7}", VERDICT_PARK, "");
	expect(kind, 200, "{\"type\":\"list\",\"total_count\":0}", VERDICT_RETRY, "");
	expect(kind, 200, "{\"data\":null}", VERDICT_RETRY, "");
	expect(kind, 200, "{\"data\":[],\"total_count\":3}", VERDICT_RETRY, "");
	expect(kind, 200, "{\"data\":[{}],\"total_count\":1}", VERDICT_RETRY, "");
	expect(kind, 200, "{\"data\":[7]}", VERDICT_RETRY, "");
	expect(kind, 200, NULL, VERDICT_RETRY, "");
	expect(kind, 404, ERROR_LIST("not_found", "Resource Not Found"), VERDICT_PARK, "");
}

/* What the status alone says, whatever the kind and the body. */
static void by_status(void **state)
{
	(void)state;
	static const struct {
		long status;
		enum verdict_kind verdict;
	} rows[] = {
		{0, VERDICT_RETRY},
		{100, VERDICT_RETRY},
		{199, VERDICT_RETRY},
		{300, VERDICT_RETRY},
		{301, VERDICT_RETRY},
		{304, VERDICT_RETRY},
		{399, VERDICT_RETRY},
		{400, VERDICT_PARK},
		{401, VERDICT_HOLD},
		{402, VERDICT_HOLD},
		{403, VERDICT_HOLD},
		{405, VERDICT_PARK},
		{406, VERDICT_HOLD},
		{407, VERDICT_HOLD},
		{408, VERDICT_RETRY},
		{412, VERDICT_PARK},
		{413, VERDICT_PARK},
		{415, VERDICT_PARK},
		{418, VERDICT_PARK},
		{422, VERDICT_PARK},
		{425, VERDICT_RETRY},
		{429, VERDICT_PACED},
		{499, VERDICT_PARK},
		{500, VERDICT_RETRY},
		{502, VERDICT_RETRY},
		{503, VERDICT_RETRY},
		{504, VERDICT_RETRY},
		{520, VERDICT_RETRY},
		{599, VERDICT_RETRY},
		{600, VERDICT_RETRY},
		{999, VERDICT_RETRY},
		{1000, VERDICT_RETRY},
	};
	static const char *const bodies[] = {NULL, "", "null", "[]", "{}", "{\"errors\":null}",
		"{\"errors\":[]}", "{\"errors\":[null]}", "{\"errors\":{}}",
		"<html><body><h1>504 Gateway Time-out</h1></body></html>",
		"{\"type\":\"error.list\",\"err", ERROR_LIST("something_new", "Never seen before"),
		"\xff\xfe", "{\"errors\":[{\"code\":7}]}"};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t j = 0; j < sizeof(bodies) / sizeof(*bodies); j++) {
			for (size_t k = 0; k < KIND_COUNT; k++)
				expect(kinds[k], rows[i].status, bodies[j], rows[i].verdict, "");
		}
	}
}

/* Trouble of the whole workspace, or of Intercom, under a status that does not say so. */
static void by_code(void **state)
{
	(void)state;
	static const struct {
		const char *code;
		enum verdict_kind verdict;
	} rows[] = {
		{"intercom_version_invalid", VERDICT_HOLD},
		{"media_type_not_acceptable", VERDICT_HOLD},
		{"api_plan_restricted", VERDICT_HOLD},
		{"unauthorized", VERDICT_HOLD},
		{"token_revoked", VERDICT_HOLD},
		{"token_suspended", VERDICT_HOLD},
		{"token_not_found", VERDICT_HOLD},
		{"missing_authorization", VERDICT_HOLD},
		{"server_error", VERDICT_RETRY},
		{"internal_error", VERDICT_RETRY},
		{"service_unavailable", VERDICT_RETRY},
		{"request_timeout", VERDICT_RETRY},
		{"too_many_requests", VERDICT_RETRY},
		{"rate_limit_exceeded", VERDICT_RETRY},
		{"retry_after", VERDICT_RETRY},
		{"client_error", VERDICT_PARK},
		{"bad_request", VERDICT_PARK},
		{"type_mismatch", VERDICT_PARK},
		{"parameter_not_found", VERDICT_PARK},
		{"parameter_missing", VERDICT_PARK},
		{"missing_parameter", VERDICT_PARK},
		{"parameter_invalid", VERDICT_PARK},
		{"data_invalid", VERDICT_PARK},
		{"unprocessable_entity", VERDICT_PARK},
		{"conflict", VERDICT_PARK},
		{"resource_conflict", VERDICT_PARK},
		{"unsupported", VERDICT_PARK},
		{"not_restorable", VERDICT_PARK},
		{"custom_data_limit_reached", VERDICT_PARK},
		{"invalid_document", VERDICT_PARK},
		{"unique_user_constraint", VERDICT_PARK},
		{"token", VERDICT_PARK},
		{"", VERDICT_PARK},
	};
	static const char *const keys[] = {"code", "type"}; /* older bodies say type */
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t j = 0; j < 2; j++) {
			char body[200];
			(void)snprintf(body, sizeof(body),
				"{\"errors\":[{\"%s\":\"%s\",\"message\":\"m\"}]}", keys[j],
				rows[i].code);
			expect(CALL_UPDATE_CONTACT, 400, body, rows[i].verdict, "");
			expect(CALL_SUBMIT_EVENT, 422, body, rows[i].verdict, "");
		}
	}
}

static void not_found(void **state)
{
	(void)state;
	static const char body[] = ERROR_LIST("not_found", "User Not Found");
	static const struct {
		enum call_kind kind;
		enum verdict_kind verdict;
	} rows[] = {
		{CALL_CREATE_CONTACT, VERDICT_PARK},
		{CALL_UPDATE_CONTACT, VERDICT_GONE},
		{CALL_FIND_CONTACT, VERDICT_GONE},
		{CALL_SEARCH_CONTACT, VERDICT_PARK},
		{CALL_UNARCHIVE_CONTACT, VERDICT_GONE},
		{CALL_SUBMIT_EVENT, VERDICT_GONE},
		{CALL_CREATE_ATTRIBUTE, VERDICT_PARK},
		{CALL_LIST_ATTRIBUTES, VERDICT_PARK},
		{CALL_ME, VERDICT_PARK},
	};
	for (size_t i = 0; i < KIND_COUNT; i++) {
		expect(rows[i].kind, 404, body, rows[i].verdict, "");
		expect(rows[i].kind, 404, NULL, rows[i].verdict, "");
		expect(rows[i].kind, 404, "<html>404</html>", rows[i].verdict, "");
	}
	expect_reason(CALL_SUBMIT_EVENT, 404, body, VERDICT_GONE, "404 not_found: User Not Found");
	expect_reason(CALL_SUBMIT_EVENT, 404, NULL, VERDICT_GONE, "404");
}

static void exists_and_archived(void **state)
{
	(void)state;
	static const char exists[] = ERROR_LIST(
		"conflict", "A contact matching those details already exists with id=" ID);
	static const char archived[] = ERROR_LIST("conflict",
		"An archived contact matching those details already exists with id=" ID);
	expect(CALL_CREATE_CONTACT, 409, exists, VERDICT_EXISTS, ID);
	expect(CALL_CREATE_CONTACT, 409, archived, VERDICT_ARCHIVED, ID);
	expect(CALL_UPDATE_CONTACT, 409, exists, VERDICT_PARK, "");
	expect(CALL_SUBMIT_EVENT, 409, exists, VERDICT_PARK, "");
	/* Ids of another shape, more text after them, none at all. */
	expect(CALL_CREATE_CONTACT, 409,
		ERROR_LIST("conflict", "A contact already exists with id=ab_C-9. Sorry."),
		VERDICT_EXISTS, "ab_C-9");
	expect(CALL_CREATE_CONTACT, 409, ERROR_LIST("conflict", "It already exists"),
		VERDICT_EXISTS, "");
	expect(CALL_CREATE_CONTACT, 409, ERROR_LIST("conflict", "It already exists, id="),
		VERDICT_EXISTS, "");
	expect(CALL_CREATE_CONTACT, 409,
		ERROR_LIST("conflict",
			"exists, already exists with "
			"id=0123456789012345678901234567890123456789012345678901234567890123"),
		VERDICT_EXISTS, "");
	expect(CALL_CREATE_CONTACT, 409, NULL, VERDICT_PARK, "");
	/* The older shape. */
	expect(CALL_CREATE_CONTACT, 409,
		"{\"errors\":[{\"type\":\"conflict\",\"message\":\"already exists with id=" ID
		"\"}]}",
		VERDICT_EXISTS, ID);
}

static struct verdict judge_with_link(enum call_kind kind, long status, const char *link)
{
	struct reply reply;
	struct verdict verdict;
	reply_init(&reply);
	reply.wire = WIRE_ANSWERED;
	reply.status = status;
	(void)snprintf(reply.location_id, sizeof(reply.location_id), "%s", link);
	verdict_of(kind, &reply, &verdict);
	reply_finish(&reply);
	return verdict;
}

static void merged(void **state)
{
	(void)state;
	static const char plain[] = ERROR_LIST("contact_merged",
		"This contact has been merged. See the 'Link' header for the canonical contact.");
	static const enum call_kind of_contact[] = {
		CALL_UPDATE_CONTACT, CALL_FIND_CONTACT, CALL_UNARCHIVE_CONTACT, CALL_SUBMIT_EVENT};
	for (size_t i = 0; i < 4; i++) {
		expect(of_contact[i], 410, plain, VERDICT_MERGED, "");
		expect(of_contact[i], 410, NULL, VERDICT_MERGED, "");
		expect(of_contact[i], 410, ERROR_LIST("contact_merged", "merged into id=" ID),
			VERDICT_MERGED, ID);
		expect(of_contact[i], 410, ERROR_LIST("contact_merged", "see /contacts/" ID "."),
			VERDICT_MERGED, ID);
		struct verdict verdict = judge_with_link(of_contact[i], 410, ID);
		assert_int_equal(verdict.kind, VERDICT_MERGED);
		assert_string_equal(verdict.contact_id, ID);
		verdict = judge_with_link(of_contact[i], 404, ID);
		assert_int_equal(verdict.kind, VERDICT_MERGED);
		assert_string_equal(verdict.contact_id, ID);
	}
	expect(CALL_ME, 410, NULL, VERDICT_PARK, "");
	assert_int_equal(judge_with_link(CALL_UPDATE_CONTACT, 500, ID).kind, VERDICT_RETRY);
}

static void missing_attribute(void **state)
{
	(void)state;
	static const char body[] =
		ERROR_LIST("parameter_invalid", "Custom attribute 'isOpenSource' does not exist");
	static const enum call_kind writes[] = {CALL_CREATE_CONTACT, CALL_UPDATE_CONTACT};
	for (size_t i = 0; i < 2; i++) {
		for (long status = 400; status <= 422; status += 22) {
			struct verdict verdict = judge(writes[i], status, body);
			assert_int_equal(verdict.kind, VERDICT_ATTRIBUTE_MISSING);
			assert_string_equal(verdict.attribute, "isOpenSource");
		}
		expect_reason(writes[i], 400, body, VERDICT_ATTRIBUTE_MISSING,
			"400 parameter_invalid: Custom attribute 'isOpenSource' does not exist");
	}
	expect(CALL_SUBMIT_EVENT, 400, body, VERDICT_PARK, "");
	struct verdict verdict = judge(CALL_UPDATE_CONTACT, 400,
		ERROR_LIST("parameter_invalid", "Custom attribute 'it's' does not exist"));
	assert_string_equal(verdict.attribute, "it's");
	/* Not to be mended by creating it. */
	static const char *const others[] = {
		ERROR_LIST("parameter_invalid", "Custom attribute 'x' is not a number"),
		ERROR_LIST("parameter_invalid", "Custom attribute '' does not exist"),
		ERROR_LIST("parameter_invalid", "Custom attribute 'x"),
		ERROR_LIST("parameter_invalid",
			"Custom attribute '"
			"0123456789012345678901234567890123456789012345678901234567890123"
			"0123456789012345678901234567890123456789012345678901234567890123"
			"' does not exist"),
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		verdict = judge(CALL_UPDATE_CONTACT, 400, others[i]);
		assert_int_equal(verdict.kind, VERDICT_PARK);
		assert_string_equal(verdict.attribute, "");
	}
}

static void attribute_there_already(void **state)
{
	(void)state;
	static const char people[] = ERROR_LIST("parameter_invalid",
		"You already have 'x' in your people data. To save this as new people data, use a "
		"different name.");
	static const char company[] = ERROR_LIST("parameter_invalid",
		"You already have 'x' in your company data. To save this as new people data, use a "
		"different name.");
	expect(CALL_CREATE_ATTRIBUTE, 400, people, VERDICT_DONE, "");
	expect(CALL_CREATE_ATTRIBUTE, 409, people, VERDICT_DONE, "");
	expect(CALL_CREATE_ATTRIBUTE, 422, people, VERDICT_DONE, "");
	expect(CALL_CREATE_ATTRIBUTE, 400, company, VERDICT_PARK, "");
	expect(CALL_UPDATE_CONTACT, 400, people, VERDICT_PARK, "");
	expect(CALL_CREATE_ATTRIBUTE, 400,
		ERROR_LIST("parameter_invalid", "Data Type isn't an option"), VERDICT_PARK, "");
	expect(CALL_CREATE_ATTRIBUTE, 400,
		ERROR_LIST("custom_data_limit_reached", "CDA limit reached"), VERDICT_PARK, "");
}

static void refusals_for_good(void **state)
{
	(void)state;
	static const char several[] =
		"{\"type\":\"error.list\",\"errors\":[{\"code\":\"conflict\",\"message\":"
		"\"Multiple existing users match this email address a.b@example.com"
		" - must be more specific using user_id\"}]}";
	expect(CALL_SUBMIT_EVENT, 409, several, VERDICT_PARK, "");
	expect(CALL_SUBMIT_EVENT, 400, several, VERDICT_PARK, "");
	expect(CALL_CREATE_CONTACT, 409, several, VERDICT_PARK, "");
	expect_reason(CALL_SUBMIT_EVENT, 409, several, VERDICT_PARK,
		"409 conflict: Multiple existing users match this email address (e-mail) - must be "
		"more "
		"specific using user_id");
	expect_reason(CALL_UNARCHIVE_CONTACT, 400,
		ERROR_LIST("bad_request",
			"User has been marked for permanent deletion and is not restorable."),
		VERDICT_PARK,
		"400 bad_request: User has been marked for permanent deletion and is not "
		"restorable.");
	expect_reason(CALL_SUBMIT_EVENT, 422,
		ERROR_LIST("422", "Cannot have more than 120 active event names"), VERDICT_PARK,
		"422 422: Cannot have more than 120 active event names");
	expect_reason(CALL_UPDATE_CONTACT, 400,
		ERROR_LIST("client_error", "Contact with user role can't be converted to a lead"),
		VERDICT_PARK,
		"400 client_error: Contact with user role can't be converted to a lead");
	expect_reason(
		CALL_SUBMIT_EVENT, 400, "{\"errors\":[{\"code\":17}]}", VERDICT_PARK, "400 17");
	expect_reason(CALL_SUBMIT_EVENT, 414, "{\"errors\":[{\"message\":\"too long\"}]}",
		VERDICT_PARK, "414: too long");
}

static void holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		expect(kinds[i], 401, ERROR_LIST("unauthorized", "Access Token Invalid"),
			VERDICT_HOLD, "");
		expect(kinds[i], 403, ERROR_LIST("action_forbidden", "not permitted"), VERDICT_HOLD,
			"");
		expect(kinds[i], 403,
			"{\"errors\":[{\"code\":\"action_forbidden\",\"data\":"
			"{\"required_permissions\":[\"x\"]}}]}",
			VERDICT_HOLD, "");
		expect(kinds[i], 400,
			ERROR_LIST("intercom_version_invalid",
				"Requested resource is not "
				"available in current API version."),
			VERDICT_HOLD, "");
	}
	expect_reason(CALL_ME, 401, ERROR_LIST("unauthorized", "Access Token Invalid"),
		VERDICT_HOLD, "401 unauthorized: Access Token Invalid");
}

static void wire_errors(void **state)
{
	(void)state;
	struct reply reply;
	struct verdict verdict;
	reply_init(&reply);
	reply.status = 200; /* of half an answer */
	buf_add_text(&reply.body, "{\"id\":\"x\"}");
	reply.wire = WIRE_UNREACHABLE;
	(void)snprintf(reply.wire_error, sizeof(reply.wire_error), "Could not connect");
	for (size_t i = 0; i < KIND_COUNT; i++) {
		reply.wire = WIRE_UNREACHABLE;
		verdict_of(kinds[i], &reply, &verdict);
		assert_int_equal(verdict.kind, VERDICT_RETRY);
		assert_true(verdict.unreachable);
		assert_string_equal(verdict.reason, "unreachable: Could not connect");
		reply.wire = WIRE_BROKEN;
		verdict_of(kinds[i], &reply, &verdict);
		assert_int_equal(verdict.kind, VERDICT_RETRY);
		assert_false(verdict.unreachable);
		assert_string_equal(verdict.reason, "no whole answer: Could not connect");
	}
	reply_finish(&reply);
}

static void request_ids(void **state)
{
	(void)state;
	struct reply reply;
	struct verdict verdict;
	reply_init(&reply);
	reply.wire = WIRE_ANSWERED;
	reply.status = 400;
	buf_add_text(&reply.body, ERROR_LIST("bad_request", "no"));
	verdict_of(CALL_ME, &reply, &verdict);
	assert_string_equal(verdict.request_id, "b2i3mhcboc6pcbe33q80");
	(void)snprintf(reply.request_id, sizeof(reply.request_id), "from-the-header");
	verdict_of(CALL_ME, &reply, &verdict);
	assert_string_equal(verdict.request_id, "from-the-header");
	reply_finish(&reply);
	assert_string_equal(judge(CALL_ME, 400, "{\"request_id\":null}").request_id, "");
	assert_string_equal(judge(CALL_ME, 500, NULL).request_id, "");
}

/* Reasons are for people and logs: one line, whole characters, no addresses. */
static void reasons_are_clean(void **state)
{
	(void)state;
	expect_reason(CALL_ME, 400,
		"{\"errors\":[{\"code\":\"c\",\"message\":\"a\\n\\tb <jo@example.com>, 'x@y' "
		"z\\u007f@\"}]}",
		VERDICT_PARK, "400 c: a  b <(e-mail)>, '(e-mail)' (e-mail)");
	char body[2000] = "{\"errors\":[{\"code\":\"c\",\"message\":\"";
	for (int i = 0; i < 300; i++)
		strcat(body, "\xe2\x82\xac"); /* NOLINT: it fits */
	strcat(body, "\"}]}");                /* NOLINT: it fits */
	struct verdict verdict = judge(CALL_ME, 400, body);
	size_t len = strlen(verdict.reason);
	assert_in_range(len, sizeof(verdict.reason) - 4, sizeof(verdict.reason) - 1);
	assert_memory_equal(verdict.reason + len - 3, "\xe2\x82\xac", 3);
	/* A NUL in a string cuts it, and nothing else. */
	expect_reason(CALL_ME, 400, "{\"errors\":[{\"code\":\"c\",\"message\":\"ab\\u0000cd\"}]}",
		VERDICT_PARK, "400 c: ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(success),
		cmocka_unit_test(strange_success),
		cmocka_unit_test(a_body_cut_for_its_size),
		cmocka_unit_test(search),
		cmocka_unit_test(by_status),
		cmocka_unit_test(by_code),
		cmocka_unit_test(not_found),
		cmocka_unit_test(exists_and_archived),
		cmocka_unit_test(merged),
		cmocka_unit_test(missing_attribute),
		cmocka_unit_test(attribute_there_already),
		cmocka_unit_test(refusals_for_good),
		cmocka_unit_test(holds),
		cmocka_unit_test(wire_errors),
		cmocka_unit_test(request_ids),
		cmocka_unit_test(reasons_are_clean),
	};
	return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
