#ifndef SUBRELAY_BASE_HEAP_H
#define SUBRELAY_BASE_HEAP_H

/*
 * A binary min-heap of things that are due at some time, each of which knows its place in it.
 *
 * The caller embeds a struct heap_item in its own struct, zeroed at first, with `owner` pointing
 * back:
 *
 *   lane->due.owner = lane;
 *   heap_insert(&heap, &lane->due, due_mono_ms);
 *   …
 *   struct heap_item *first = heap_peek(&heap);
 *   if (first && first->key <= now_mono_ms)
 *           run(heap_pop(&heap)->owner);
 *
 * Insert, remove, change and pop are O(log n), peek is O(1). Items are borrowed: they must stay
 * where they are while they are in. Equal keys come out in no particular order. Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_item {
	int64_t key;     /* change it by heap_change alone */
	size_t position; /* the heap's: 1 is the top; 0 is in no heap */
	void *owner;     /* the caller's */
};

struct heap {
	struct heap_item **items;
	size_t count;
	size_t capacity;
};

void heap_init(struct heap *heap);
/* Frees the heap and leaves each item in no heap. Takes a zeroed or finished one as well. */
void heap_finish(struct heap *heap);

/* The item is in no heap. */
void heap_insert(struct heap *heap, struct heap_item *item, int64_t key);
/* The item is in this heap. */
void heap_remove(struct heap *heap, struct heap_item *item);
/* The item is in this heap; it moves to where the new key belongs. */
void heap_change(struct heap *heap, struct heap_item *item, int64_t key);

/* The item with the smallest key; NULL when there is none. */
struct heap_item *heap_peek(const struct heap *heap);
/* The same, taken out. */
struct heap_item *heap_pop(struct heap *heap);

bool heap_item_is_in(const struct heap_item *item);

#endif
