/*
 * The newest word wins, a source overrules itself, and both texts are exact.
 */

#include "event/attributes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void assert_text(void (*write)(const struct attributes *, struct buf *),
	const struct attributes *set, const char *expected)
{
	struct buf buf;
	buf_init(&buf, 10000);
	write(set, &buf);
	assert_string_equal(buf_text(&buf), expected);
	buf_finish(&buf);
}

static void assert_value(const struct attributes *set, const char *name, const char *text)
{
	const struct attribute *item = attributes_get(set, name);
	assert_non_null(item);
	assert_int_equal(item->value.type, VALUE_TEXT);
	assert_string_equal(item->value.text, text);
}

static bool decode(const char *text, struct attributes *ret_set, struct error *err)
{
	return attributes_decode(text, strlen(text), ret_set, err);
}

static void empty(void **state)
{
	(void)state;
	struct attributes set;
	attributes_init(&set);
	assert_null(attributes_get(&set, "latest_store"));
	assert_text(attributes_encode, &set, "{}");
	assert_text(attributes_render, &set, "{}");
	attributes_finish(&set);
	attributes_finish(&set);
}

static void newest_word_wins(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "plan", "ios", 1000, "revenuecat");
	attributes_set_text(&set, "plan", "older", 999, "stripe");
	assert_value(&set, "plan", "ios");
	attributes_set_text(&set, "plan", "newer", 1001, "stripe");
	assert_value(&set, "plan", "newer");
	/* Of the same time: the same one wins, whichever comes first. */
	attributes_set_text(&set, "plan", "tie", 1001, "revenuecat");
	assert_value(&set, "plan", "newer");
	attributes_set_text(&set, "tied", "first", 1001, "revenuecat");
	attributes_set_text(&set, "tied", "second", 1001, "stripe");
	assert_value(&set, "tied", "second");
	assert_string_equal(attributes_get(&set, "plan")->by, "stripe");
	assert_int_equal(attributes_get(&set, "plan")->at_ms, 1001);
	assert_int_equal(set.count, 2);
	attributes_finish(&set);
}

static void source_overrules_itself(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "plan", "a", 2000, "stripe");
	attributes_set_text(&set, "plan", "b", 1000, "stripe");
	assert_value(&set, "plan", "b");
	assert_int_equal(attributes_get(&set, "plan")->at_ms, 1000);
	/* And now others may be newer than it. */
	attributes_set_text(&set, "plan", "c", 1500, "revenuecat");
	assert_value(&set, "plan", "c");
	attributes_finish(&set);
}

static void null_keeps_its_kind(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "a", "x", 1, "s");
	attributes_set_text(&set, "a", NULL, 2, "s");
	attributes_set_time(&set, "b", TIME_NONE, 2, "s");
	assert_int_equal(attributes_get(&set, "a")->value.type, VALUE_NULL);
	assert_int_equal(attributes_get(&set, "a")->value.kind, VALUE_TEXT);
	assert_null(attributes_get(&set, "a")->value.text);
	assert_int_equal(attributes_get(&set, "b")->value.type, VALUE_NULL);
	assert_int_equal(attributes_get(&set, "b")->value.kind, VALUE_TIME);
	assert_text(attributes_render, &set, "{\"a\":null,\"b\":null}");
	assert_text(attributes_encode, &set,
		"{\"a\":[null,\"string\",2,\"s\"],\"b\":[null,\"datetime\",2,\"s\"]}");
	attributes_finish(&set);
}

static void type_may_change(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "a", "x", 1, "s");
	attributes_set_time(&set, "a", 1663252169, 2, "s");
	assert_text(attributes_render, &set, "{\"a\":1663252169}");
	attributes_set_text(&set, "a", "y", 3, "s");
	assert_text(attributes_render, &set, "{\"a\":\"y\"}");
	attributes_finish(&set);
}

static void own_text_may_be_set_again(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "a", "value", 1, "s");
	const struct attribute *item = attributes_get(&set, "a");
	attributes_set_text(&set, item->name, item->value.text, 2, item->by);
	assert_value(&set, "a", "value");
	attributes_finish(&set);
}

static void order_of_first_coming_is_kept(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "z", "1", 1, "s");
	attributes_set_text(&set, "a", "2", 1, "s");
	attributes_set_text(&set, "z", "3", 2, "s");
	assert_text(attributes_render, &set, "{\"z\":\"3\",\"a\":\"2\"}");
	attributes_finish(&set);
}

static void merge_goes_by_the_same_rule(void **state)
{
	(void)state;
	struct attributes set = {0}, from = {0};
	attributes_set_text(&set, "kept", "mine", 10, "a");
	attributes_set_text(&set, "lost", "mine", 10, "a");
	attributes_set_text(&from, "kept", "theirs", 9, "b");
	attributes_set_text(&from, "lost", "theirs", 11, "b");
	attributes_set_time(&from, "new", 5, 1, "b");
	attributes_merge(&set, &from);
	attributes_finish(&from);
	assert_text(attributes_render, &set, "{\"kept\":\"mine\",\"lost\":\"theirs\",\"new\":5}");
	attributes_finish(&set);
}

static void texts_are_exact(void **state)
{
	(void)state;
	struct attributes set = {0};
	attributes_set_text(&set, "latest_store", "APP_STORE", 1658726378679, "revenuecat");
	attributes_set_time(&set, "expires_at", 1663252169, 1658726378679, "revenuecat");
	assert_text(attributes_encode, &set,
		"{\"latest_store\":[\"APP_STORE\",\"string\",1658726378679,\"revenuecat\"],"
		"\"expires_at\":[1663252169,\"datetime\",1658726378679,\"revenuecat\"]}");
	assert_text(attributes_render, &set,
		"{\"latest_store\":\"APP_STORE\",\"expires_at\":1663252169}");
	attributes_finish(&set);
}

static void decode_gives_back_what_was_encoded(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{}",
		"{\"z\":[\"\xc3\xa4 \\\"q\\\"\\u000a\",\"string\",1658726378679,\"revenuecat\"],"
		"\"a\":[-5,\"integer\",0,\"stripe\"],\"t\":[true,\"boolean\",1,\"x\"],"
		"\"f\":[false,\"boolean\",1,\"x\"],\"n\":[null,\"datetime\",-1,\"\"],"
		"\"min\":[1,\"datetime\",-9223372036854775808,\"s\"]}",
	};
	for (size_t i = 0; i < 2; i++) {
		struct attributes set;
		struct error err = {0};
		assert_true(decode(texts[i], &set, &err));
		assert_false(error_is_set(&err));
		assert_text(attributes_encode, &set, texts[i]);
		attributes_finish(&set);
	}
}

static void order_survives_many_names(void **state)
{
	(void)state;
	struct attributes set = {0}, read;
	for (int i = 0; i < 100; i++) {
		char name[16] = {
			(char)('a' + i * 7 % 26), (char)('a' + i / 26), (char)('0' + i % 10)};
		attributes_set_time(&set, name, i, i, "s");
	}
	assert_int_equal(set.count, 100);
	struct buf buf;
	buf_init(&buf, 100000);
	attributes_encode(&set, &buf);
	assert_true(attributes_decode(buf_text(&buf), buf.len, &read, NULL));
	assert_text(attributes_encode, &read, buf_text(&buf));
	buf_finish(&buf);
	attributes_finish(&set);
	attributes_finish(&read);
}

static void decoded_set_takes_more(void **state)
{
	(void)state;
	struct attributes set;
	assert_true(decode("{\"a\":[\"x\",\"string\",5,\"s\"]}", &set, NULL));
	attributes_set_text(&set, "a", "late", 4, "other");
	attributes_set_text(&set, "b", "y", 4, "other");
	assert_text(attributes_render, &set, "{\"a\":\"x\",\"b\":\"y\"}");
	attributes_finish(&set);
}

static void damage_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"null",
		"{} x",
		"{\"a\":1}",
		"{\"a\":[]}",
		"{\"a\":[\"x\",\"string\",1]}",
		"{\"a\":[\"x\",\"string\",1,\"s\",0]}",
		"{\"a\":[\"x\",\"strings\",1,\"s\"]}",
		"{\"a\":[\"x\",7,1,\"s\"]}",
		"{\"a\":[5,\"string\",1,\"s\"]}",
		"{\"a\":[\"x\",\"datetime\",1,\"s\"]}",
		"{\"a\":[1.5,\"integer\",1,\"s\"]}",
		"{\"a\":[1,\"boolean\",1,\"s\"]}",
		"{\"a\":[\"x\",\"string\",1.0,\"s\"]}",
		"{\"a\":[\"x\",\"string\",1,null]}",
		"{\"a\":[[],\"string\",1,\"s\"]}",
		"{\"ok\":[\"x\",\"string\",1,\"s\"],\"a\":[5,\"string\",1,\"s\"]}",
		"{\"a\":[\"x\",\"string\",1,\"s\"],\"a\":[\"y\",\"string\",1,\"s\"]}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct attributes set = {.count = 77};
		struct error err = {0};
		if (decode(texts[i], &set, &err))
			fail_msg("%s was read", texts[i]);
		assert_true(error_is_set(&err));
		assert_int_equal(set.count, 77);
	}
}

static void data_types(void **state)
{
	(void)state;
	assert_string_equal(value_data_type(VALUE_TEXT), "string");
	assert_string_equal(value_data_type(VALUE_INTEGER), "integer");
	assert_string_equal(value_data_type(VALUE_TIME), "datetime");
	assert_string_equal(value_data_type(VALUE_BOOLEAN), "boolean");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(newest_word_wins),
		cmocka_unit_test(source_overrules_itself),
		cmocka_unit_test(null_keeps_its_kind),
		cmocka_unit_test(type_may_change),
		cmocka_unit_test(own_text_may_be_set_again),
		cmocka_unit_test(order_of_first_coming_is_kept),
		cmocka_unit_test(merge_goes_by_the_same_rule),
		cmocka_unit_test(texts_are_exact),
		cmocka_unit_test(decode_gives_back_what_was_encoded),
		cmocka_unit_test(order_survives_many_names),
		cmocka_unit_test(decoded_set_takes_more),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(data_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
