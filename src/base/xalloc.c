/*
 * Allocation that cannot fail.
 *
 * Thin shells around malloc and friends. What must stay true: no caller ever sees NULL for a block
 * it asked for, not even for one of no bytes, and dying needs no memory (log_write allocates none).
 */

#include "base/xalloc.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void xalloc_die(size_t size)
{
	log_error("out of memory", LOG_INT("bytes", (int64_t)size));
	/* Not exit(): its handlers may want memory, or locks that this thread holds. */
	_exit(EXIT_FAILURE);
}

void *xmalloc(size_t size)
{
	void *block = malloc(size ? size : 1);
	if (!block)
		xalloc_die(size);
	return block;
}

void *xcalloc(size_t count, size_t size)
{
	void *block = count && size ? calloc(count, size) : calloc(1, 1);
	if (!block)
		xalloc_die(size);
	return block;
}

void *xrealloc(void *block, size_t size)
{
	/* realloc(block, 0) would free on some systems and not on others. */
	void *moved = realloc(block, size ? size : 1);
	if (!moved)
		xalloc_die(size);
	return moved;
}

char *xstrdup(const char *text)
{
	return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t len)
{
	len = strnlen(text, len);
	char *copy = xmalloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

char *xstrdup_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}
