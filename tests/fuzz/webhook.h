#ifndef SUBRELAY_TESTS_FUZZ_WEBHOOK_H
#define SUBRELAY_TESTS_FUZZ_WEBHOOK_H

/*
 * A source's webhook bodies, from bytes to what Intercom is sent. Another source is another file of
 * one line, see fuzz_revenuecat.c.
 *
 * An input is a body, or several parted by FUZZ_SEPARATOR: then all are accepted in that order and
 * in others, and what each contact is to have must not depend on it.
 */

#include "fuzz.h"

/* environment: the source's own options beyond the defaults, as "SUBRELAY_…=…"; ends with NULL. */
int webhook_input(
	const char *source, const char *const *environment, const uint8_t *data, size_t size);

#define WEBHOOK_TARGET(source, ...)                                     \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)    \
	{                                                               \
		static const char *const environment[] = {__VA_ARGS__}; \
		return webhook_input(source, environment, data, size);  \
	}

#endif
