#ifndef SUBRELAY_BASE_ARENA_H
#define SUBRELAY_BASE_ARENA_H

/*
 * Memory for things that die together: one webhook, one plan.
 *
 * Blocks are only ever freed all at once, by arena_finish. Allocation is a pointer bump within
 * chunks of 4 KiB (larger requests get a chunk of their own). Not thread-safe: one owner at a time.
 */

#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
};

void arena_init(struct arena *arena);
/* Takes a zeroed arena as well. Every pointer from it dies here. */
void arena_finish(struct arena *arena);

/* Zeroed, aligned for any type; never NULL. */
void *arena_alloc(struct arena *arena, size_t size);
char *arena_dup(struct arena *arena, const char *text); /* NULL stays NULL */
char *arena_dup_len(struct arena *arena, const char *text, size_t len);
char *arena_printf(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
