/*
 * First error wins, prefixes stack, cuts are clean.
 */

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void first_error_wins(void **state)
{
	(void)state;
	struct error err = {0};
	assert_false(error_is_set(&err));
	assert_false(error_set(&err, "disk %d", 7));
	assert_false(error_set(&err, "later"));
	assert_string_equal(err.text, "disk 7");
	assert_true(error_is_set(&err));
	error_clear(&err);
	assert_false(error_is_set(&err));
	error_set(&err, "again");
	assert_string_equal(err.text, "again");
}

static void prefixes_stack(void **state)
{
	(void)state;
	struct error err = {0};
	error_set(&err, "no such file");
	assert_false(error_prefix(&err, "open %s", "x.db"));
	assert_false(error_prefix(&err, "store"));
	assert_string_equal(err.text, "store: open x.db: no such file");
}

static void prefix_of_nothing_is_the_text(void **state)
{
	(void)state;
	struct error err = {0};
	error_prefix(&err, "store");
	assert_string_equal(err.text, "store");
}

static void null_is_accepted(void **state)
{
	(void)state;
	assert_false(error_set(NULL, "x"));
	assert_false(error_prefix(NULL, "x"));
	error_clear(NULL);
	assert_false(error_is_set(NULL));
}

static void long_texts_are_cut(void **state)
{
	(void)state;
	char text[2 * ERROR_TEXT_MAX];
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	struct error err = {0};
	error_set(&err, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	error_prefix(&err, "b");
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "b: aaa", 6);
	error_prefix(&err, "%s", text);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

/* Whatever the place of the cut within a character, the result holds whole characters only. */
static void cut_keeps_characters_whole(void **state)
{
	(void)state;
	static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
	for (size_t which = 0; which < 3; which++) {
		size_t size = strlen(characters[which]);
		for (size_t shift = 0; shift < size; shift++) {
			char text[2 * ERROR_TEXT_MAX] = "";
			memset(text, 'x', shift);
			for (size_t at = shift; at + size < sizeof(text); at += size)
				memcpy(text + at, characters[which], size + 1);
			struct error err = {0};
			error_set(&err, "%s", text);
			size_t len = strlen(err.text);
			assert_int_equal((len - shift) % size, 0);
			assert_true(len >= ERROR_TEXT_MAX - size);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_error_wins),
		cmocka_unit_test(prefixes_stack),
		cmocka_unit_test(prefix_of_nothing_is_the_text),
		cmocka_unit_test(null_is_accepted),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(cut_keeps_characters_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
