/*
 * A buf never passes its maximum, says so once, and always ends in NUL.
 */

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void empty_is_text(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 10);
	assert_string_equal(buf_text(&buf), "");
	assert_null(buf.data);
	assert_true(buf_add(&buf, NULL, 0));
	assert_string_equal(buf_text(&buf), "");
	buf_finish(&buf);
	buf_finish(&buf);
	struct buf zeroed = {0};
	buf_finish(&zeroed);
}

static void grows_by_any_steps(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 1 << 20);
	for (int i = 0; i < 5000; i++) {
		assert_true(buf_add_text(&buf, "abc"));
		assert_true(buf_add_char(&buf, '-'));
		assert_int_equal(buf.data[buf.len], 0);
	}
	assert_int_equal(buf.len, 20000);
	assert_memory_equal(buf.data + 19996, "abc-", 5);
	buf_finish(&buf);
}

static void maximum_is_reached_but_not_passed(void **state)
{
	(void)state;
	for (size_t max = 0; max < 600; max++) {
		struct buf buf;
		buf_init(&buf, max);
		for (size_t i = 0; i < max; i++)
			assert_true(buf_add_char(&buf, 'x'));
		assert_false(buf.overflowed);
		assert_true(buf.capacity <= max + 1);
		assert_false(buf_add_char(&buf, 'y'));
		assert_true(buf.overflowed);
		assert_int_equal(buf.len, max);
		assert_int_equal(strlen(buf_text(&buf)), max);
		buf_finish(&buf);
	}
}

static void overflow_drops_whole_additions_until_cleared(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 5);
	assert_true(buf_add_text(&buf, "abc"));
	assert_false(buf_add_text(&buf, "defg"));
	assert_false(buf_add_char(&buf, 'h'));
	assert_false(buf_addf(&buf, "%d", 1));
	assert_false(buf_add(&buf, NULL, 0));
	assert_string_equal(buf_text(&buf), "abc");
	buf_clear(&buf);
	assert_false(buf.overflowed);
	assert_string_equal(buf_text(&buf), "");
	assert_true(buf_add_text(&buf, "12345"));
	assert_string_equal(buf_text(&buf), "12345");
	buf_finish(&buf);
}

static void huge_length_overflows_without_being_read(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 100);
	buf_add_char(&buf, 'a');
	assert_false(buf_add(&buf, "b", SIZE_MAX));
	assert_true(buf.overflowed);
	assert_string_equal(buf_text(&buf), "a");
	buf_finish(&buf);
}

static void integers(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 200);
	buf_add_integer(&buf, 0);
	buf_add_char(&buf, ' ');
	buf_add_integer(&buf, -7);
	buf_add_char(&buf, ' ');
	buf_add_integer(&buf, LLONG_MAX);
	buf_add_char(&buf, ' ');
	buf_add_integer(&buf, LLONG_MIN);
	assert_string_equal(buf_text(&buf), "0 -7 9223372036854775807 -9223372036854775808");
	buf_finish(&buf);
}

static void formatted(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 2000);
	assert_true(buf_addf(&buf, "%s=%d", "a", 1));
	assert_true(buf_addf(&buf, "%0*d", 1000, 5));
	assert_int_equal(buf.len, 1003);
	assert_true(buf_addf(&buf, "%0*d", 997, 5));
	assert_int_equal(buf.len, 2000);
	assert_false(buf_addf(&buf, "!"));
	buf_finish(&buf);
}

static void detach_hands_over(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 4);
	buf_add_text(&buf, "abcd");
	buf_add_text(&buf, "e");
	char *text = buf_detach(&buf);
	assert_string_equal(text, "abcd");
	free(text);
	assert_false(buf.overflowed);
	text = buf_detach(&buf);
	assert_string_equal(text, "");
	free(text);
	assert_true(buf_add_text(&buf, "wxyz"));
	assert_false(buf_add_text(&buf, "!"));
	buf_finish(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_is_text),
		cmocka_unit_test(grows_by_any_steps),
		cmocka_unit_test(maximum_is_reached_but_not_passed),
		cmocka_unit_test(overflow_drops_whole_additions_until_cleared),
		cmocka_unit_test(huge_length_overflows_without_being_read),
		cmocka_unit_test(integers),
		cmocka_unit_test(formatted),
		cmocka_unit_test(detach_hands_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
