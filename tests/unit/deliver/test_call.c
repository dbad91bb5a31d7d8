/*
 * Response headers, line by line, as peers write them.
 */

#include "deliver/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void take(struct reply *reply, const char *line)
{
	reply_take_header(reply, line, strlen(line));
}

static void headers_fill_the_reply(void **state)
{
	(void)state;
	struct reply reply;
	reply_init(&reply);
	assert_int_equal(reply.rate.limit, -1);
	assert_int_equal(reply.rate.date_s, -1);
	assert_int_equal(reply.wire, WIRE_BROKEN);
	take(&reply, "HTTP/2 200 \r\n");
	take(&reply, "x-ratelimit-limit: 1666\r\n");
	take(&reply, "X-RateLimit-Remaining:1665\r\n");
	take(&reply, "X-RATELIMIT-RESET: \t1763704812 \r\n");
	take(&reply, "date: Fri, 21 Nov 2025 06:00:03 GMT\r\n");
	take(&reply, "X-Request-Id: 005jsrmatie9k4jdebg0\r\n");
	take(&reply, "Link: </contacts/6762f0dd1bb69f9f2193bb83>; rel=\"canonical\"\r\n");
	take(&reply, "\r\n");
	assert_int_equal(reply.status, 200);
	assert_false(reply.rate.too_many);
	assert_int_equal(reply.rate.limit, 1666);
	assert_int_equal(reply.rate.remaining, 1665);
	assert_int_equal(reply.rate.reset_s, 1763704812);
	assert_int_equal(reply.rate.date_s, 1763704803);
	assert_int_equal(reply.rate.retry_after_s, -1);
	assert_string_equal(reply.request_id, "005jsrmatie9k4jdebg0");
	assert_string_equal(reply.location_id, "6762f0dd1bb69f9f2193bb83");
	reply_clear(&reply);
	assert_int_equal(reply.rate.limit, -1);
	assert_string_equal(reply.request_id, "");
	assert_string_equal(reply.location_id, "");
	assert_int_equal(reply.status, 0);
	reply_finish(&reply);
}

static void a_status_line_begins_anew(void **state)
{
	(void)state;
	struct reply reply;
	reply_init(&reply);
	take(&reply, "HTTP/1.1 100 Continue\r\n");
	take(&reply, "X-Request-Id: first\r\n");
	take(&reply, "HTTP/1.1 429 Too Many Requests\r\n");
	take(&reply, "Retry-After: 30\r\n");
	assert_int_equal(reply.status, 429);
	assert_true(reply.rate.too_many);
	assert_int_equal(reply.rate.retry_after_s, 30);
	assert_string_equal(reply.request_id, "");
	reply_finish(&reply);
}

static void nonsense_counts_as_absent(void **state)
{
	(void)state;
	static const char *const lines[] = {"X-RateLimit-Limit: many\r\n",
		"X-RateLimit-Limit: -5\r\n", "X-RateLimit-Limit: 99999999999999999999\r\n",
		"X-RateLimit-Limit:\r\n", "X-RateLimit-Limit: 9223372036854775807\r\n",
		"X-RateLimit-Limit: 12 34\r\n", "X-RateLimit-Limit 83\r\n",
		"XX-RateLimit-Limit: 83\r\n", "X-RateLimit-Limi: 83\r\n", "Date: yesterday\r\n",
		"Retry-After: Fri, 21 Nov 2025 06:00:03 GMT\r\n",
		"Link: </contacts/abc>; rel=\"next\"\r\n",
		"Link: </companies/abc>; rel=\"canonical\"\r\n",
		"Link: </contacts/>; rel=\"canonical\"\r\n", ":\r\n", "", "\r\n", "no colon",
		"X-Request-Id: "
		"0123456789012345678901234567890123456789012345678901234567890123\r\n",
		"Link: "
		"</contacts/0123456789012345678901234567890123456789012345678901234567890123>; "
		"rel=\"canonical\"\r\n"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct reply reply;
		reply_init(&reply);
		take(&reply, lines[i]);
		assert_int_equal(reply.rate.limit, -1);
		assert_int_equal(reply.rate.date_s, -1);
		assert_int_equal(reply.rate.retry_after_s, -1);
		assert_string_equal(reply.request_id, "");
		assert_string_equal(reply.location_id, "");
		reply_finish(&reply);
	}
	struct reply reply;
	reply_init(&reply);
	reply_take_header(&reply, "X-Request-Id: a\0b\r\n", 19);
	assert_string_equal(reply.request_id, "");
	char line[2000] = "X-Request-Id: ";
	memset(line + strlen(line), 'x', 1500);
	take(&reply, line);
	assert_string_equal(reply.request_id, "");
	reply_finish(&reply);
}

static void calls_have_their_limits(void **state)
{
	(void)state;
	struct call call;
	call_init(&call);
	assert_false(call_is_too_large(&call));
	while (call.path.len < 16000)
		buf_add_text(&call.path, "0123456789abcdef");
	assert_false(call_is_too_large(&call));
	for (int i = 0; i < 100; i++)
		buf_add_text(&call.path, "0123456789abcdef");
	assert_true(call_is_too_large(&call));
	call_clear(&call);
	assert_false(call_is_too_large(&call));
	call_finish(&call);
	struct reply reply;
	reply_init(&reply);
	reply_refuse(&reply);
	assert_int_equal(reply.wire, WIRE_ANSWERED);
	assert_int_equal(reply.status, 414);
	reply_finish(&reply);
}

static void kinds_have_names(void **state)
{
	(void)state;
	for (int kind = CALL_NONE; kind <= CALL_ME; kind++)
		assert_true(strlen(call_kind_name((enum call_kind)kind)) > 1);
	assert_string_equal(call_kind_name(CALL_CREATE_CONTACT), "create_contact");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_fill_the_reply),
		cmocka_unit_test(a_status_line_begins_anew),
		cmocka_unit_test(nonsense_counts_as_absent),
		cmocka_unit_test(calls_have_their_limits),
		cmocka_unit_test(kinds_have_names),
	};
	return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
