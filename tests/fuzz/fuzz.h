#ifndef SUBRELAY_TESTS_FUZZ_FUZZ_H
#define SUBRELAY_TESTS_FUZZ_FUZZ_H

/*
 * What the fuzz targets share: assertions that hold in every build, and reading choices out of an
 * input. A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput; it is given any bytes and
 * checks what must be true of all of them, besides that nothing crashes, leaks or hangs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                  \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			(void)fprintf(stderr, "fuzz: %s:%d: not so: %s\n", __FILE__, __LINE__, \
				#condition);                                                   \
			abort();                                                               \
		}                                                                              \
	} while (0)

/* Parts one input into several; no text of ours holds it. */
#define FUZZ_SEPARATOR 0x1e

struct fuzz_bytes {
	const uint8_t *at;
	size_t left;
};

/* 0 when there are none left. */
static inline unsigned fuzz_byte(struct fuzz_bytes *bytes)
{
	if (bytes->left == 0)
		return 0;
	bytes->left--;
	return *bytes->at++;
}

static inline unsigned fuzz_below(struct fuzz_bytes *bytes, unsigned limit)
{
	return fuzz_byte(bytes) % limit;
}

static inline uint16_t fuzz_u16(struct fuzz_bytes *bytes)
{
	unsigned low = fuzz_byte(bytes);
	return (uint16_t)(low | fuzz_byte(bytes) << 8);
}

/* The bytes up to the next separator, or all that are left; they stay the input's. */
static inline struct fuzz_bytes fuzz_part(struct fuzz_bytes *bytes)
{
	const uint8_t *end = bytes->left ? memchr(bytes->at, FUZZ_SEPARATOR, bytes->left) : NULL;
	struct fuzz_bytes part = {bytes->at, end ? (size_t)(end - bytes->at) : bytes->left};
	size_t used = part.left + (end ? 1 : 0);
	bytes->at = bytes->left ? bytes->at + used : bytes->at;
	bytes->left -= used;
	return part;
}

/* As a C string of the caller's; it ends at the first NUL. A block of its own, so that a read past
 * its end is seen. */
static inline char *fuzz_text(struct fuzz_bytes part)
{
	char *text = malloc(part.left + 1);
	FUZZ_CHECK(text);
	if (part.left > 0)
		memcpy(text, part.at, part.left);
	text[part.left] = '\0';
	return text;
}

#endif
