#ifndef SUBRELAY_BASE_ERROR_H
#define SUBRELAY_BASE_ERROR_H

/*
 * What went wrong, in words for the operator.
 *
 * A function that can fail returns bool (true is success) and takes `struct error *` last. The text
 * lives in the caller's struct, so that an error path allocates nothing. The first error wins: what
 * is set later on the way out does not cover the cause. NULL is accepted wherever an error is taken
 * and means that the caller does not want the text.
 */

#include <stdbool.h>

#define ERROR_TEXT_MAX 400

struct error {
	char text[ERROR_TEXT_MAX]; /* empty: no error; longer texts are cut */
};

/* Sets the text unless one is set already. Always returns false, so that `return error_set(…)`
 * reads as a failure. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before the text that is set; when none was, the context is the text. Always
 * returns false. */
bool error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void error_clear(struct error *err);
bool error_is_set(const struct error *err);

#endif
