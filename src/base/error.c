/*
 * What went wrong, in words for the operator.
 *
 * Everything is formatted into the caller's struct. What must stay true: the first cause survives,
 * nothing here allocates, and a text that had to be cut ends at a whole character.
 */

#include "base/error.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A cut may have split the last character; what is left of it goes too. */
static void drop_split_character(char *text)
{
	size_t len = strlen(text);
	for (size_t tail = 1; tail <= 3 && tail <= len; tail++) {
		unsigned char lead = (unsigned char)text[len - tail];
		if (lead < 0x80)
			return;
		if (lead >= 0xc0) {
			if (text_utf8_len(text + len - tail, tail) == 0)
				text[len - tail] = '\0';
			return;
		}
	}
}

bool error_set(struct error *err, const char *format, ...)
{
	if (!err || err->text[0] != '\0')
		return false;
	va_list args;
	va_start(args, format);
	int len = vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	if (len >= (int)sizeof(err->text))
		drop_split_character(err->text);
	return false;
}

bool error_prefix(struct error *err, const char *format, ...)
{
	if (!err)
		return false;
	char joined[ERROR_TEXT_MAX];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(joined, sizeof(joined), format, args);
	va_end(args);
	if (len >= 0 && len < (int)sizeof(joined) && err->text[0] != '\0')
		len += snprintf(joined + len, sizeof(joined) - (size_t)len, ": %s", err->text);
	if (len >= (int)sizeof(joined))
		drop_split_character(joined);
	memcpy(err->text, joined, sizeof(joined));
	return false;
}

void error_clear(struct error *err)
{
	if (err)
		err->text[0] = '\0';
}

bool error_is_set(const struct error *err)
{
	return err && err->text[0] != '\0';
}
