/*
 * Memory for things that die together.
 *
 * A list of chunks; the first is the one that allocations are cut from. A request too large for a
 * common chunk gets its own, hung in second place, so that the rest of the first isn't lost. What
 * must stay true: every chunk was zeroed when made and a byte is handed out once, so blocks are
 * zero.
 */

#include "base/arena.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT _Alignof(max_align_t)
#define CHUNK_BYTES 4096

struct arena_chunk {
	struct arena_chunk *next;
	size_t used;
	size_t size;
	_Alignas(max_align_t) unsigned char data[];
};

#define CHUNK_ROOM (CHUNK_BYTES - sizeof(struct arena_chunk))

void arena_init(struct arena *arena)
{
	arena->chunks = NULL;
}

void arena_finish(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;
	while (chunk) {
		struct arena_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	arena->chunks = NULL;
}

static struct arena_chunk *chunk_create(size_t size)
{
	struct arena_chunk *chunk = xcalloc(1, sizeof(*chunk) + size);
	chunk->size = size;
	return chunk;
}

static void *alloc_alone(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = chunk_create(size);
	chunk->used = size;
	struct arena_chunk **place = arena->chunks ? &arena->chunks->next : &arena->chunks;
	chunk->next = *place;
	*place = chunk;
	return chunk->data;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	assert(size <= PTRDIFF_MAX - CHUNK_BYTES);
	size_t rounded = size ? (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
	if (rounded > CHUNK_ROOM)
		return alloc_alone(arena, rounded);
	struct arena_chunk *chunk = arena->chunks;
	if (!chunk || rounded > chunk->size - chunk->used) {
		chunk = chunk_create(CHUNK_ROOM);
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	void *block = chunk->data + chunk->used;
	chunk->used += rounded;
	return block;
}

char *arena_dup(struct arena *arena, const char *text)
{
	return text ? arena_dup_len(arena, text, strlen(text)) : NULL;
}

char *arena_dup_len(struct arena *arena, const char *text, size_t len)
{
	char *copy = arena_alloc(arena, len + 1);
	if (len > 0)
		memcpy(copy, text, len);
	return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	assert(len >= 0);
	char *text = arena_alloc(arena, (size_t)len + 1);
	va_start(args, format);
	(void)vsnprintf(text, (size_t)len + 1, format, args); /* known to fit */
	va_end(args);
	return text;
}
