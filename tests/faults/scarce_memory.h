#ifndef SUBRELAY_TESTS_FAULTS_SCARCE_MEMORY_H
#define SUBRELAY_TESTS_FAULTS_SCARCE_MEMORY_H

/*
 * Memory that runs out on cue: this program's own malloc, which every library in it uses as well.
 *
 * Allocations are counted while it is armed, over all threads, and from the first-th on `span` of
 * them fail; with `scarce_of_libraries` only those that shared libraries make for themselves, which
 * take a NULL for an answer where the program dies. For what isn't the program under test,
 * `scarce_abroad` turns the counting off and takes memory from a block that a forked child shares
 * with its parent: what the child's Intercom has seen is still there when the child is dead.
 *
 * To be included by one file of a program. It stands on glibc's __libc_malloc and can't be had
 * together with a sanitizer, which has a malloc of its own: then SCARCE_MEMORY is 0, and there is
 * nothing but malloc as it is.
 */

#include <stdbool.h>
#include <stdlib.h> /* and with it __GLIBC__ */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SCARCE_SANITIZED 1
#endif
#endif
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	defined(SCARCE_SANITIZED)
#define SCARCE_MEMORY 0
#else
#define SCARCE_MEMORY 1
#endif

#if SCARCE_MEMORY

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SCARCE_SHARED_BYTES ((size_t)64 * 1024 * 1024)
#define SCARCE_ALIGNMENT ((size_t)16)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);
/* The linker's: where the program's code begins and ends. */
extern const char __executable_start[];
extern const char etext[];

static struct {
	atomic_bool is_armed;
	atomic_long count; /* allocations since it was armed */
	long first;
	long span;
	bool is_of_libraries;
	atomic_bool is_abroad; /* atomic: compilers think that malloc reads no variable */
	char *shared;          /* NULL: none yet */
	size_t shared_used;
} scarce;

/* ---- the shared block ---- */

/* What the block begins with; the rest is handed out once and never taken back. */
struct scarce_shared_head {
	size_t used;
};

static inline void scarce_share(void)
{
	scarce.shared = mmap(NULL, SCARCE_SHARED_BYTES, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (scarce.shared == MAP_FAILED)
		abort();
	((struct scarce_shared_head *)(void *)scarce.shared)->used = SCARCE_ALIGNMENT;
}

static inline bool scarce_is_shared(const void *block)
{
	const uintptr_t at = (uintptr_t)block;
	const uintptr_t start = (uintptr_t)scarce.shared;

	return scarce.shared != NULL && at >= start && at < start + SCARCE_SHARED_BYTES;
}

/* Its size stands before a block. Zeroed. */
static void *shared_alloc(size_t size)
{
	struct scarce_shared_head *head = (struct scarce_shared_head *)(void *)scarce.shared;
	const size_t rounded = (size + SCARCE_ALIGNMENT - 1) / SCARCE_ALIGNMENT * SCARCE_ALIGNMENT;
	char *block = scarce.shared + head->used + SCARCE_ALIGNMENT;

	if (head->used + SCARCE_ALIGNMENT + rounded > SCARCE_SHARED_BYTES)
		abort();
	head->used += SCARCE_ALIGNMENT + rounded;
	memcpy(block - SCARCE_ALIGNMENT, &size, sizeof(size));
	memset(block, 0, rounded);
	return block;
}

static size_t shared_size(const void *block)
{
	size_t size;

	memcpy(&size, (const char *)block - SCARCE_ALIGNMENT, sizeof(size));
	return size;
}

/* What is in the block now, for scarce_restore. */
static inline char *scarce_save(void)
{
	const size_t used = ((struct scarce_shared_head *)(void *)scarce.shared)->used;
	char *copy = __libc_malloc(used);

	if (copy == NULL)
		abort();
	memcpy(copy, scarce.shared, used);
	return copy;
}

static inline void scarce_restore(const char *copy)
{
	const struct scarce_shared_head *head =
		(const struct scarce_shared_head *)(const void *)copy;

	memcpy(scarce.shared, copy, head->used);
}

/* ---- on cue ---- */

static inline void scarce_arm(long first, long span)
{
	scarce.first = first;
	scarce.span = span;
	atomic_store(&scarce.count, 0);
	atomic_store(&scarce.is_armed, true);
}

/* Returns how many allocations there were. */
static inline long scarce_disarm(void)
{
	atomic_store(&scarce.is_armed, false);
	return atomic_load(&scarce.count);
}

static inline void scarce_of_libraries(bool is_of_libraries)
{
	scarce.is_of_libraries = is_of_libraries;
}

static inline void scarce_abroad(bool is_abroad)
{
	atomic_store(&scarce.is_abroad, is_abroad);
}

static bool is_of_program(const void *caller)
{
	return (const char *)caller >= __executable_start && (const char *)caller < etext;
}

static bool is_out(const void *caller)
{
	if (!atomic_load(&scarce.is_armed) || scarce.is_abroad)
		return false;
	if (scarce.is_of_libraries && is_of_program(caller))
		return false;
	const long at = atomic_fetch_add(&scarce.count, 1) + 1;
	const bool is_failing = at >= scarce.first && at - scarce.first < scarce.span;

	if (is_failing)
		errno = ENOMEM;
	return is_failing;
}

/* ---- the C library's names ---- */

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
	if (scarce.is_abroad)
		return shared_alloc(size);
	return is_out(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	if (scarce.is_abroad && (size == 0 || count <= SCARCE_SHARED_BYTES / size))
		return shared_alloc(count * size);
	return is_out(CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
	if (!scarce.is_abroad && !scarce_is_shared(block))
		return is_out(CALLER) ? NULL : __libc_realloc(block, size);

	char *moved = scarce.is_abroad ? shared_alloc(size) : __libc_malloc(size);

	/* Blocks of home aren't taken abroad, so its size is known. */
	if (moved != NULL && block != NULL) {
		const size_t before = scarce_is_shared(block) ? shared_size(block) : 0;

		memcpy(moved, block, before < size ? before : size);
	}
	return moved;
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
	return is_out(CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return is_out(CALLER) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
	void *block = is_out(CALLER) ? NULL : __libc_memalign(alignment, size);

	if (block == NULL)
		return ENOMEM;
	*ret_block = block;
	return 0;
}

void free(void *block)
{
	if (!scarce_is_shared(block))
		__libc_free(block);
}

#endif

#endif
