/*
 * Items come out by key, know their place, and may leave or move at any time.
 */

#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/backoff.h"
#include <cmocka.h>

static void assert_in_order(const struct heap *heap)
{
	for (size_t i = 0; i < heap->count; i++) {
		assert_int_equal(heap->items[i]->position, i + 1);
		if (i > 0)
			assert_true(heap->items[(i + 1) / 2 - 1]->key <= heap->items[i]->key);
	}
}

static void empty(void **state)
{
	(void)state;
	struct heap heap = {0};
	assert_null(heap_peek(&heap));
	assert_null(heap_pop(&heap));
	heap_finish(&heap);
	heap_init(&heap);
	assert_null(heap_pop(&heap));
	heap_finish(&heap);
	heap_finish(&heap);
}

static void comes_out_by_key(void **state)
{
	(void)state;
	static const int64_t keys[] = {5, INT64_MAX, -3, 5, 0, INT64_MIN, 9, 5};
	static const int64_t sorted[] = {INT64_MIN, -3, 0, 5, 5, 5, 9, INT64_MAX};
	struct heap_item items[8] = {{0}};
	struct heap heap;
	heap_init(&heap);
	for (size_t i = 0; i < 8; i++) {
		items[i].owner = &items[i];
		heap_insert(&heap, &items[i], keys[i]);
		assert_in_order(&heap);
	}
	for (size_t i = 0; i < 8; i++) {
		struct heap_item *first = heap_peek(&heap);
		assert_int_equal(first->key, sorted[i]);
		assert_ptr_equal(heap_pop(&heap), first);
		assert_ptr_equal(first->owner, first);
		assert_false(heap_item_is_in(first));
		assert_in_order(&heap);
	}
	assert_null(heap_peek(&heap));
	heap_finish(&heap);
}

static void removed_item_may_come_back(void **state)
{
	(void)state;
	struct heap_item a = {0}, b = {0};
	struct heap heap;
	heap_init(&heap);
	heap_insert(&heap, &a, 1);
	heap_insert(&heap, &b, 2);
	heap_remove(&heap, &a);
	assert_false(heap_item_is_in(&a));
	assert_true(heap_item_is_in(&b));
	assert_ptr_equal(heap_peek(&heap), &b);
	heap_insert(&heap, &a, 3);
	assert_ptr_equal(heap_peek(&heap), &b);
	heap_remove(&heap, &b);
	heap_remove(&heap, &a);
	assert_null(heap_peek(&heap));
	heap_finish(&heap);
}

static void change_moves_both_ways(void **state)
{
	(void)state;
	struct heap_item items[10] = {{0}};
	struct heap heap;
	heap_init(&heap);
	for (size_t i = 0; i < 10; i++)
		heap_insert(&heap, &items[i], (int64_t)i * 10);
	heap_change(&heap, &items[9], -1);
	assert_ptr_equal(heap_peek(&heap), &items[9]);
	heap_change(&heap, &items[9], 45);
	assert_ptr_equal(heap_peek(&heap), &items[0]);
	heap_change(&heap, &items[0], 0);
	assert_ptr_equal(heap_peek(&heap), &items[0]);
	assert_in_order(&heap);
	heap_finish(&heap);
	assert_false(heap_item_is_in(&items[3]));
}

/* The smallest of a plain array is what the heap must say, through any mix of operations. */
static void agrees_with_a_plain_array(void **state)
{
	(void)state;
	enum { COUNT = 64 };
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct heap_item items[COUNT] = {{0}};
		struct heap heap;
		struct rng rng;
		rng_seed(&rng, seed);
		heap_init(&heap);
		for (int step = 0; step < 1000; step++) {
			struct heap_item *item = &items[rng_below(&rng, COUNT)];
			int64_t key = (int64_t)rng_below(&rng, 100);
			if (!heap_item_is_in(item))
				heap_insert(&heap, item, key);
			else if (rng_below(&rng, 2) == 0)
				heap_change(&heap, item, key);
			else if (rng_below(&rng, 2) == 0)
				heap_remove(&heap, item);
			else
				assert_non_null(heap_pop(&heap));
			const struct heap_item *smallest = NULL;
			for (size_t i = 0; i < COUNT; i++)
				if (heap_item_is_in(&items[i]) &&
					(!smallest || items[i].key < smallest->key))
					smallest = &items[i];
			if (smallest)
				assert_int_equal(heap_peek(&heap)->key, smallest->key);
			else
				assert_null(heap_peek(&heap));
			assert_in_order(&heap);
		}
		heap_finish(&heap);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(comes_out_by_key),
		cmocka_unit_test(removed_item_may_come_back),
		cmocka_unit_test(change_moves_both_ways),
		cmocka_unit_test(agrees_with_a_plain_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
