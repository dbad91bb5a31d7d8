/*
 * Blocks are zeroed, aligned, apart from each other, and stay where they are.
 */

#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void blocks_are_zeroed_and_aligned(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena);
	for (size_t size = 0; size < 9000; size = size * 5 / 4 + 1) {
		unsigned char *block = arena_alloc(&arena, size);
		assert_non_null(block);
		assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(block[i], 0);
		memset(block, 0xff, size);
	}
	arena_finish(&arena);
}

static void blocks_do_not_overlap(void **state)
{
	(void)state;
	enum { COUNT = 2000 };
	static unsigned char *blocks[COUNT];
	static size_t sizes[COUNT];
	struct arena arena;
	arena_init(&arena);
	for (size_t i = 0; i < COUNT; i++) {
		sizes[i] = i % 97 == 0 ? 5000 : i % 61;
		blocks[i] = arena_alloc(&arena, sizes[i]);
		memset(blocks[i], (int)(i % 251), sizes[i]);
	}
	for (size_t i = 0; i < COUNT; i++)
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(blocks[i][j], i % 251);
	arena_finish(&arena);
}

/* A large block must not cost the rest of the chunk that small ones come from. */
static void large_block_leaves_the_chunk_in_use(void **state)
{
	(void)state;
	struct arena arena;
	arena_init(&arena);
	char *before = arena_alloc(&arena, 16);
	arena_alloc(&arena, 100000);
	char *after = arena_alloc(&arena, 16);
	assert_ptr_equal(after, before + 16);
	arena_finish(&arena);
}

static void texts(void **state)
{
	(void)state;
	struct arena arena = {0};
	assert_null(arena_dup(&arena, NULL));
	assert_string_equal(arena_dup(&arena, ""), "");
	assert_string_equal(arena_dup(&arena, "abc"), "abc");
	assert_string_equal(arena_dup_len(&arena, "abcdef", 2), "ab");
	assert_string_equal(arena_dup_len(&arena, NULL, 0), "");
	assert_memory_equal(arena_dup_len(&arena, "a\0b", 3), "a\0b", 4);
	assert_string_equal(arena_printf(&arena, "%s-%d", "x", 5), "x-5");
	assert_int_equal(strlen(arena_printf(&arena, "%0*d", 5000, 1)), 5000);
	arena_finish(&arena);
}

static void finish_twice_and_use_again(void **state)
{
	(void)state;
	struct arena arena = {0};
	arena_finish(&arena);
	arena_alloc(&arena, 1);
	arena_finish(&arena);
	arena_finish(&arena);
	assert_non_null(arena_alloc(&arena, 10000));
	arena_finish(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_zeroed_and_aligned),
		cmocka_unit_test(blocks_do_not_overlap),
		cmocka_unit_test(large_block_leaves_the_chunk_in_use),
		cmocka_unit_test(texts),
		cmocka_unit_test(finish_twice_and_use_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
