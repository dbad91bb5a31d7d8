/*
 * The readers take what they understand whole and leave the result alone otherwise.
 */

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define UNTOUCHED 4711
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct reading {
	const char *text;
	bool is_read;
	int64_t value;
};

static void assert_readings(
	bool (*read)(const char *, int64_t *), const struct reading *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value = UNTOUCHED;
		bool is_read = read(rows[i].text, &value);
		if (is_read != rows[i].is_read)
			fail_msg("\"%s\" was %s", rows[i].text, is_read ? "read" : "refused");
		assert_int_equal(value, is_read ? rows[i].value : UNTOUCHED);
	}
}

static void integers(void **state)
{
	(void)state;
	static const struct reading rows[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"007", true, 7},
		{"-12", true, -12},
		{"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN},
		{"9223372036854775808", false, 0},
		{"-9223372036854775809", false, 0},
		{"99999999999999999999999", false, 0},
		{"", false, 0},
		{"-", false, 0},
		{"--1", false, 0},
		{"+1", false, 0},
		{" 1", false, 0},
		{"1 ", false, 0},
		{"1x", false, 0},
		{"0x10", false, 0},
		{"1.0", false, 0},
		{NULL, false, 0},
	};
	assert_readings(text_to_int64, rows, COUNT(rows));
}

static void durations(void **state)
{
	(void)state;
	static const struct reading rows[] = {
		{"500ms", true, 500},
		{"30s", true, 30000},
		{"15m", true, 900000},
		{"2h", true, 7200000},
		{"3d", true, 259200000},
		{"0", true, 0},
		{"0s", true, 0},
		{"9223372036854775807ms", true, INT64_MAX},
		{"9223372036854775808ms", false, 0},
		{"9223372036854776s", false, 0},
		{"106751991167d", true, INT64_C(106751991167) * 86400000},
		{"106751991168d", false, 0},
		{"5", false, 0},
		{"00", false, 0},
		{"s", false, 0},
		{"", false, 0},
		{"-5s", false, 0},
		{"5 s", false, 0},
		{"5S", false, 0},
		{"5sec", false, 0},
		{"1h30m", false, 0},
		{"1.5h", false, 0},
		{"5w", false, 0},
		{NULL, false, 0},
	};
	assert_readings(text_to_duration_ms, rows, COUNT(rows));
}

static void sizes(void **state)
{
	(void)state;
	static const struct reading rows[] = {
		{"65536", true, 65536},
		{"64k", true, 65536},
		{"64K", true, 65536},
		{"1M", true, 1048576},
		{"1m", true, 1048576},
		{"2G", true, INT64_C(2147483648)},
		{"0", true, 0},
		{"8589934591G", true, INT64_C(8589934591) << 30},
		{"8589934592G", false, 0},
		{"9223372036854775808", false, 0},
		{"1T", false, 0},
		{"1kB", false, 0},
		{"1 M", false, 0},
		{"-1k", false, 0},
		{"k", false, 0},
		{"", false, 0},
		{NULL, false, 0},
	};
	assert_readings(text_to_size, rows, COUNT(rows));
}

static void booleans(void **state)
{
	(void)state;
	static const char *const yes[] = {"yes", "Yes", "ON", "true", "1"};
	static const char *const no[] = {"no", "off", "False", "0"};
	static const char *const neither[] = {"", "y", "yes ", "2", "enabled", NULL};
	for (size_t i = 0; i < COUNT(yes); i++) {
		bool value = false;
		assert_true(text_to_bool(yes[i], &value) && value);
	}
	for (size_t i = 0; i < COUNT(no); i++) {
		bool value = true;
		assert_true(text_to_bool(no[i], &value) && !value);
	}
	for (size_t i = 0; i < COUNT(neither); i++) {
		bool value = true;
		assert_false(text_to_bool(neither[i], &value));
		assert_true(value);
	}
}

static void comparing(void **state)
{
	(void)state;
	assert_true(text_equal("a", "a"));
	assert_false(text_equal("a", "A"));
	assert_true(text_equal(NULL, NULL));
	assert_false(text_equal(NULL, ""));
	assert_false(text_equal("", NULL));
	assert_true(text_starts_with("revenuecat.ios", "revenuecat"));
	assert_true(text_starts_with("a", ""));
	assert_false(text_starts_with("rev", "revenuecat"));
}

static void trimming(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *trimmed;
	} rows[] = {
		{"", ""},
		{"a", "a"},
		{" \t a b \r\n", "a b"},
		{" \t\r\n ", ""},
		{"\xc3\xa4 ", "\xc3\xa4"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char copy[32];
		strcpy(copy, rows[i].text);
		assert_string_equal(text_trim(copy), rows[i].trimmed);
	}
}

static void distances(void **state)
{
	(void)state;
	assert_int_equal(text_distance("", ""), 0);
	assert_int_equal(text_distance("", "abc"), 3);
	assert_int_equal(text_distance("abc", ""), 3);
	assert_int_equal(text_distance("kitten", "sitting"), 3);
	assert_int_equal(text_distance("sitting", "kitten"), 3);
	assert_int_equal(text_distance("access_tokn", "access_token"), 1);
	assert_int_equal(text_distance("same", "same"), 0);
}

static void utf8(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_utf8;
	} rows[] = {
		{"", true},
		{"plain ASCII that is longer than a word", true},
		{"\xc2\x80 \xdf\xbf", true},
		{"\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf", true},
		{"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf", true},
		{"\x80", false},
		{"abcdefgh\xbf", false},
		{"\xc0\x80", false},         /* overlong NUL */
		{"\xc1\xbf", false},         /* overlong */
		{"\xe0\x9f\xbf", false},     /* overlong */
		{"\xf0\x8f\xbf\xbf", false}, /* overlong */
		{"\xed\xa0\x80", false},     /* surrogate */
		{"\xed\xbf\xbf", false},     /* surrogate */
		{"\xf4\x90\x80\x80", false}, /* over U+10FFFF */
		{"\xf5\x80\x80\x80", false},
		{"\xff", false},
		{"\xc3", false}, /* ends early */
		{"\xe2\x82", false},
		{"\xf0\x9f\x98", false},
		{"\xe2\x28\xa1", false},
		{"\xf0\x9f\x98\x28", false},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		if (text_is_utf8(rows[i].text, strlen(rows[i].text)) != rows[i].is_utf8)
			fail_msg("row %zu", i);
	assert_true(text_is_utf8("a\0b", 3));
}

/* The bytes after the end are not looked at, wherever the text ends. */
static void utf8_stops_at_the_end(void **state)
{
	(void)state;
	const char *text = "12345678\xf0\x9f\x98\x80 23\xe2\x82\xac";
	for (size_t len = 0; len <= strlen(text); len++) {
		char *copy = malloc(len ? len : 1);
		memcpy(copy, text, len);
		bool is_whole = (len <= 8 || len >= 12) && (len <= 15 || len >= 18);
		assert_int_equal(text_is_utf8(copy, len), is_whole);
		free(copy);
	}
}

static void utf8_lengths(void **state)
{
	(void)state;
	assert_int_equal(text_utf8_len("", 0), 0);
	assert_int_equal(text_utf8_len("\0", 1), 1);
	assert_int_equal(text_utf8_len("a\xff", 2), 1);
	assert_int_equal(text_utf8_len("\xc3\xa4x", 3), 2);
	assert_int_equal(text_utf8_len("\xe2\x82\xac", 3), 3);
	assert_int_equal(text_utf8_len("\xf0\x9f\x98\x80", 4), 4);
	assert_int_equal(text_utf8_len("\xf0\x9f\x98\x80", 3), 0);
}

static void hex(void **state)
{
	(void)state;
	static const char digits[] = "0123456789abcdef";
	for (int i = 0; i < 16; i++)
		assert_int_equal(text_hex_digit(digits[i]), i);
	assert_int_equal(text_hex_digit('A'), 10);
	assert_int_equal(text_hex_digit('F'), 15);
	for (const char *c = "/:@G`g \xc3"; *c; c++)
		assert_int_equal(text_hex_digit(*c), -1);
	assert_int_equal(text_hex_digit('\0'), -1);
}

/* The published FNV-1a values; a hash that is stored must not change. */
static void hashes(void **state)
{
	(void)state;
	assert_true(text_hash("", 0, 0) == UINT64_C(0xcbf29ce484222325));
	assert_true(text_hash("a", 1, 0) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(text_hash("foobar", 6, 0) == UINT64_C(0x85944171f73967e8));
	assert_true(text_hash("foobar", 6, 1) != text_hash("foobar", 6, 0));
	assert_true(text_hash("\xff", 1, 0) != text_hash("\x7f", 1, 0));
}

static void times(void **state)
{
	(void)state;
	static const struct {
		int64_t at_ms;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000Z"},
		{INT64_C(1658726378679), "2022-07-25T05:19:38.679Z"},
		{-1, "1969-12-31T23:59:59.999Z"},
		{-1000, "1969-12-31T23:59:59.000Z"},
		{INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
		{INT64_C(253402300800000), "-"},
		{INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z"},
		{INT64_C(-62167219200001), "-"},
		{INT64_MAX, "-"},
		{TIME_NONE, "-"},
		{INT64_MIN + 1, "-"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[25];
		text_from_time(rows[i].at_ms, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
	}
}

static void spans(void **state)
{
	(void)state;
	static const struct {
		int64_t span_ms;
		const char *text;
	} rows[] = {
		{0, "0ms"},
		{230, "230ms"},
		{999, "999ms"},
		{45000, "45s"},
		{1500, "1s500ms"},
		{720000, "12m"},
		{750000, "12m30s"},
		{750999, "12m30s"},
		{273600000, "3d4h"},
		{259500000, "3d"}, /* 3d 0h 5m: the next unit is 0 */
		{86399999, "23h59m"},
		{-61000, "-1m1s"},
		{INT64_MAX, "106751991167d7h"},
		{INT64_MIN, "-106751991167d7h"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[32];
		text_from_span(rows[i].span_ms, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),
		cmocka_unit_test(durations),
		cmocka_unit_test(sizes),
		cmocka_unit_test(booleans),
		cmocka_unit_test(comparing),
		cmocka_unit_test(trimming),
		cmocka_unit_test(distances),
		cmocka_unit_test(utf8),
		cmocka_unit_test(utf8_stops_at_the_end),
		cmocka_unit_test(utf8_lengths),
		cmocka_unit_test(hex),
		cmocka_unit_test(hashes),
		cmocka_unit_test(times),
		cmocka_unit_test(spans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
