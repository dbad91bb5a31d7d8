/*
 * Blocks of no bytes exist; out of memory ends the process with a message.
 */

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Otherwise the sanitizer ends the child before xmalloc sees the NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void zero_bytes_are_a_block(void **state)
{
	(void)state;
	void *a = xmalloc(0);
	void *b = xcalloc(0, 8);
	void *c = xrealloc(NULL, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	a = xrealloc(a, 0);
	assert_non_null(a);
	free(a);
	free(b);
	free(c);
}

static void calloc_zeroes(void **state)
{
	(void)state;
	int *numbers = xcalloc(100, sizeof(*numbers));
	for (int i = 0; i < 100; i++)
		assert_int_equal(numbers[i], 0);
	free(numbers);
}

static void realloc_keeps_the_bytes(void **state)
{
	(void)state;
	char *text = xrealloc(xstrdup("kept"), 10000);
	assert_string_equal(text, "kept");
	free(text);
}

static void strings_are_copied(void **state)
{
	(void)state;
	char *whole = xstrdup("abc");
	char *part = xstrndup("abcdef", 3);
	char *shorter = xstrndup("ab\0cd", 5);
	assert_string_equal(whole, "abc");
	assert_string_equal(part, "abc");
	assert_string_equal(shorter, "ab");
	assert_null(xstrdup_or_null(NULL));
	char *empty = xstrdup_or_null("");
	assert_string_equal(empty, "");
	free(whole);
	free(part);
	free(shorter);
	free(empty);
}

static void allocate_too_much(int how)
{
	volatile size_t huge = SIZE_MAX / 4;
	void *block = how == 0 ? xmalloc(huge) : how == 1 ? xcalloc(huge, 8) : xrealloc(NULL, huge);
	free(block);
}

static void out_of_memory_ends_the_process(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		int ends[2];
		assert_int_equal(pipe(ends), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			dup2(ends[1], STDERR_FILENO);
			allocate_too_much(how);
			_exit(0);
		}
		close(ends[1]);
		char said[4096] = "";
		size_t len = 0;
		ssize_t got;
		while ((got = read(ends[0], said + len, sizeof(said) - 1 - len)) > 0)
			len += (size_t)got;
		said[len] = '\0';
		close(ends[0]);
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
		assert_non_null(strstr(said, "level=error msg=\"out of memory\" bytes="));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_bytes_are_a_block),
		cmocka_unit_test(calloc_zeroes),
		cmocka_unit_test(realloc_keeps_the_bytes),
		cmocka_unit_test(strings_are_copied),
		cmocka_unit_test(out_of_memory_ends_the_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
