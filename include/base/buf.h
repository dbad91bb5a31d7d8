#ifndef SUBRELAY_BASE_BUF_H
#define SUBRELAY_BASE_BUF_H

/*
 * A growing byte buffer that is born with its maximum.
 *
 * Going over the maximum sets `overflowed`, drops the addition that did not fit whole and every
 * later one, and is asked about once at the end, so that code which builds a text needs no check at
 * each step. `data` is always NUL-terminated once anything was added (the NUL is not counted in
 * `len`). Growth uses xrealloc. Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL until the first addition */
	size_t len;
	size_t capacity;
	size_t max; /* bytes, without the NUL */
	bool overflowed;
};

void buf_init(struct buf *buf, size_t max);
/* Takes a zeroed or finished buf as well. */
void buf_finish(struct buf *buf);
/* Empty and ready for use again; keeps the memory. */
void buf_clear(struct buf *buf);

bool buf_add(struct buf *buf, const void *data, size_t len);
bool buf_add_text(struct buf *buf, const char *text);
bool buf_add_char(struct buf *buf, char c);
bool buf_add_integer(struct buf *buf, long long value);
bool buf_addf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Never NULL: "" when nothing was added. Borrowed until the next change. */
const char *buf_text(const struct buf *buf);
/* Hands over the bytes (NUL-terminated, "" when empty; free them with free); leaves buf empty. */
char *buf_detach(struct buf *buf);

#endif
