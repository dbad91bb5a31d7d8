/*
 * Valid JSON for any bytes, commas in place, and the pretty form.
 */

#include "base/json_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
	struct buf buf;
	struct json_out out;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	buf_init(&fixture->buf, 65536);
	json_out_init(&fixture->out, &fixture->buf);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	buf_finish(&fixture->buf);
	free(fixture);
	return 0;
}

static void all_kinds_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct json_out *out = &fixture->out;
	json_out_object(out);
	json_out_key_text(out, "b", "text");
	json_out_key_text(out, "a", NULL);
	json_out_key_integer(out, "n", INT64_MIN);
	json_out_key_boolean(out, "t", true);
	json_out_key_boolean(out, "f", false);
	json_out_key_raw(out, "raw", "[1,{}]");
	json_out_key(out, "list");
	json_out_array(out);
	json_out_integer(out, 1);
	json_out_null(out);
	json_out_array(out);
	json_out_array_end(out);
	json_out_object(out);
	json_out_object_end(out);
	json_out_text_len(out, "abc", 2);
	json_out_array_end(out);
	json_out_key_integer(out, "last", 0);
	json_out_object_end(out);
	assert_string_equal(buf_text(&fixture->buf),
		"{\"b\":\"text\",\"a\":null,\"n\":-9223372036854775808,\"t\":true,\"f\":false,"
		"\"raw\":[1,{}],\"list\":[1,null,[],{},\"ab\"],\"last\":0}");
}

static void siblings_after_a_nested_level(void **state)
{
	struct fixture *fixture = *state;
	struct json_out *out = &fixture->out;
	json_out_array(out);
	for (int i = 0; i < 2; i++) {
		json_out_object(out);
		json_out_key_integer(out, "i", i);
		json_out_object_end(out);
	}
	json_out_array_end(out);
	assert_string_equal(buf_text(&fixture->buf), "[{\"i\":0},{\"i\":1}]");
}

static void escapes(void **state)
{
	struct fixture *fixture = *state;
	json_out_text_len(&fixture->out, "a\"b\\c/\n\t\x01\x1f\x7f\0z", 13);
	assert_string_equal(buf_text(&fixture->buf),
		"\"a\\\"b\\\\c/\\u000a\\u0009\\u0001\\u001f\x7f\\u0000z\"");
}

static void keys_are_escaped(void **state)
{
	struct fixture *fixture = *state;
	json_out_object(&fixture->out);
	json_out_key_integer(&fixture->out, "a\"\n", 1);
	json_out_object_end(&fixture->out);
	assert_string_equal(buf_text(&fixture->buf), "{\"a\\\"\\u000a\":1}");
}

static void utf8_passes_and_the_rest_is_replaced(void **state)
{
	struct fixture *fixture = *state;
	json_out_text(&fixture->out,
		"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|\xff|\xc3|\xed\xa0\x80|\xc0\x80|\xe2\x82");
	assert_string_equal(buf_text(&fixture->buf),
		"\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|\xef\xbf\xbd|\xef\xbf\xbd|"
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|"
		"\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Every pair of bytes makes a string that a JSON reader takes. */
static void any_bytes_are_valid_json(void **state)
{
	struct fixture *fixture = *state;
	for (int pair = 0; pair < 65536; pair++) {
		const char text[3] = {'<', (char)(pair >> 8), (char)pair};
		buf_clear(&fixture->buf);
		json_out_init(&fixture->out, &fixture->buf);
		json_out_text_len(&fixture->out, text, sizeof(text));
		json_t *read = json_loadb(fixture->buf.data, fixture->buf.len,
			JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(read);
		json_decref(read);
	}
}

static void long_text_survives(void **state)
{
	struct fixture *fixture = *state;
	char text[5000];
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 700 == 0 ? '"' : (char)('a' + i % 26);
	json_out_text_len(&fixture->out, text, sizeof(text));
	json_t *read = json_loads(buf_text(&fixture->buf), JSON_DECODE_ANY, NULL);
	assert_int_equal(json_string_length(read), sizeof(text));
	assert_memory_equal(json_string_value(read), text, sizeof(text));
	json_decref(read);
}

static void pretty(void **state)
{
	struct fixture *fixture = *state;
	struct json_out *out = &fixture->out;
	out->pretty = true;
	json_out_object(out);
	json_out_key_integer(out, "a", 1);
	json_out_key(out, "list");
	json_out_array(out);
	json_out_integer(out, 1);
	json_out_integer(out, 2);
	json_out_array_end(out);
	json_out_key(out, "empty");
	json_out_object(out);
	json_out_object_end(out);
	json_out_object_end(out);
	assert_string_equal(buf_text(&fixture->buf),
		"{\n  \"a\": 1,\n  \"list\": [\n    1,\n    2\n  ],\n  \"empty\": {}\n}");
}

static void sixteen_deep(void **state)
{
	struct fixture *fixture = *state;
	for (int i = 0; i < 16; i++)
		json_out_array(&fixture->out);
	json_out_integer(&fixture->out, 1);
	json_out_integer(&fixture->out, 2);
	for (int i = 0; i < 16; i++)
		json_out_array_end(&fixture->out);
	assert_string_equal(buf_text(&fixture->buf), "[[[[[[[[[[[[[[[[1,2]]]]]]]]]]]]]]]]");
}

static void overflow_is_left_to_the_buf(void **state)
{
	(void)state;
	struct buf buf;
	struct json_out out;
	buf_init(&buf, 10);
	json_out_init(&out, &buf);
	json_out_object(&out);
	json_out_key_text(&out, "key", "much too long for this");
	json_out_object_end(&out);
	assert_true(buf.overflowed);
	assert_true(buf.len <= 10);
	buf_finish(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_kinds_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(siblings_after_a_nested_level, set_up, tear_down),
		cmocka_unit_test_setup_teardown(escapes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keys_are_escaped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			utf8_passes_and_the_rest_is_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(any_bytes_are_valid_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(long_text_survives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pretty, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sixteen_deep, set_up, tear_down),
		cmocka_unit_test(overflow_is_left_to_the_buf),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
