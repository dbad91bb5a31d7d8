/*
 * A binary min-heap of things that are due at some time.
 *
 * Positions count from 1, so that the parent of i is i / 2 and a zeroed item is in no heap; the
 * item at position i is items[i - 1]. What must stay true: items[i - 1]->position == i for all i,
 * and no item's key is smaller than its parent's.
 */

#include "base/heap.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_FIRST 16

void heap_init(struct heap *heap)
{
	*heap = (struct heap){0};
}

void heap_finish(struct heap *heap)
{
	for (size_t i = 0; i < heap->count; i++)
		heap->items[i]->position = 0;
	free(heap->items);
	*heap = (struct heap){0};
}

static struct heap_item *item_at(const struct heap *heap, size_t position)
{
	return heap->items[position - 1];
}

static void put(struct heap *heap, size_t position, struct heap_item *item)
{
	heap->items[position - 1] = item;
	item->position = position;
}

/* Both move a hole from where the item is to where it belongs, and put it there. */

static void rise(struct heap *heap, struct heap_item *item)
{
	size_t position = item->position;
	while (position > 1 && item_at(heap, position / 2)->key > item->key) {
		put(heap, position, item_at(heap, position / 2));
		position /= 2;
	}
	put(heap, position, item);
}

static void sink(struct heap *heap, struct heap_item *item)
{
	size_t position = item->position;
	for (;;) {
		size_t child = 2 * position;
		if (child < heap->count &&
			item_at(heap, child + 1)->key < item_at(heap, child)->key)
			child++;
		if (child > heap->count || item_at(heap, child)->key >= item->key)
			break;
		put(heap, position, item_at(heap, child));
		position = child;
	}
	put(heap, position, item);
}

void heap_insert(struct heap *heap, struct heap_item *item, int64_t key)
{
	assert(item->position == 0);
	if (heap->count == heap->capacity) {
		heap->capacity = heap->capacity ? 2 * heap->capacity : CAPACITY_FIRST;
		heap->items = xrealloc(heap->items, heap->capacity * sizeof(struct heap_item *));
	}
	item->key = key;
	item->position = ++heap->count;
	rise(heap, item);
}

void heap_remove(struct heap *heap, struct heap_item *item)
{
	size_t position = item->position;
	assert(position >= 1 && position <= heap->count && item_at(heap, position) == item);
	struct heap_item *last = item_at(heap, heap->count--);
	item->position = 0;
	if (last == item)
		return;
	/* The last one takes the place; it comes from another branch, so either way may be right.
	 */
	put(heap, position, last);
	rise(heap, last);
	sink(heap, last);
}

void heap_change(struct heap *heap, struct heap_item *item, int64_t key)
{
	assert(item->position >= 1 && item->position <= heap->count);
	assert(item_at(heap, item->position) == item);
	item->key = key;
	rise(heap, item);
	sink(heap, item);
}

struct heap_item *heap_peek(const struct heap *heap)
{
	return heap->count > 0 ? item_at(heap, 1) : NULL;
}

struct heap_item *heap_pop(struct heap *heap)
{
	struct heap_item *first = heap_peek(heap);
	if (first)
		heap_remove(heap, first);
	return first;
}

bool heap_item_is_in(const struct heap_item *item)
{
	return item->position > 0;
}
