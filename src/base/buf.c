/*
 * A growing byte buffer that is born with its maximum.
 *
 * Memory doubles up to max + 1, the one being the NUL. What must stay true: len <= max, and
 * data[len] is NUL whenever data is not NULL; an addition goes in whole or not at all, so an
 * overflowed buf holds the additions before the one that was too much.
 */

#include "base/buf.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 256

void buf_init(struct buf *buf, size_t max)
{
	assert(max < SIZE_MAX);
	*buf = (struct buf){.max = max};
}

void buf_finish(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){.max = buf->max};
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->overflowed = false;
	if (buf->data)
		buf->data[0] = '\0';
}

static void grow(struct buf *buf, size_t capacity_needed)
{
	size_t capacity = buf->capacity ? buf->capacity : CAPACITY_FIRST;
	while (capacity < capacity_needed && capacity <= buf->max / 2)
		capacity *= 2;
	if (capacity < capacity_needed || capacity > buf->max)
		capacity = buf->max + 1;
	buf->data = xrealloc(buf->data, capacity);
	buf->capacity = capacity;
}

/* Room for len more bytes and the NUL; false and overflowed when that is too much. */
static bool reserve(struct buf *buf, size_t len)
{
	if (buf->overflowed)
		return false;
	if (len > buf->max - buf->len) {
		buf->overflowed = true;
		return false;
	}
	if (buf->len + len >= buf->capacity)
		grow(buf, buf->len + len + 1);
	return true;
}

bool buf_add(struct buf *buf, const void *data, size_t len)
{
	if (!reserve(buf, len))
		return false;
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return true;
}

bool buf_add_text(struct buf *buf, const char *text)
{
	return buf_add(buf, text, strlen(text));
}

bool buf_add_char(struct buf *buf, char c)
{
	return buf_add(buf, &c, 1);
}

bool buf_add_integer(struct buf *buf, long long value)
{
	char digits[24];
	char *start = digits + sizeof(digits);
	unsigned long long rest =
		value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
	do {
		*--start = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		*--start = '-';
	return buf_add(buf, start, (size_t)(digits + sizeof(digits) - start));
}

bool buf_addf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	assert(len >= 0);
	if (!reserve(buf, (size_t)len))
		return false;
	va_start(args, format);
	(void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args); /* known to fit */
	va_end(args);
	buf->len += (size_t)len;
	return true;
}

const char *buf_text(const struct buf *buf)
{
	return buf->data ? buf->data : "";
}

char *buf_detach(struct buf *buf)
{
	char *data = buf->data ? buf->data : xstrdup("");
	*buf = (struct buf){.max = buf->max};
	return data;
}
