#ifndef SUBRELAY_BASE_XALLOC_H
#define SUBRELAY_BASE_XALLOC_H

/*
 * Allocation that cannot fail: out of memory ends the process with a message.
 *
 * For small blocks whose size the program chose. Everything acknowledged is on disk, so a death
 * here loses nothing. A size that comes from input is checked against a limit before it gets here.
 */

#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *block, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len);
/* NULL stays NULL. */
char *xstrdup_or_null(const char *text);

/* The end, for where a library reports that it has no memory. size: what was asked for, 0: unknown. */
_Noreturn void xalloc_die(size_t size);

#endif
