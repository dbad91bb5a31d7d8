#ifndef SUBRELAY_BASE_SECRET_H
#define SUBRELAY_BASE_SECRET_H

/*
 * A password, token or key: compared in constant time, wiped when done, never printed.
 */

#include <stdbool.h>
#include <stddef.h>

struct secret {
	char *bytes; /* NUL-terminated; NULL: none */
	size_t len;
};

/* Copies. A NULL or empty text gives an empty secret. */
void secret_init(struct secret *secret, const char *text, size_t len);
/* Wipes and frees; takes a zeroed or finished one as well. */
void secret_finish(struct secret *secret);
bool secret_is_set(const struct secret *secret);

/* True when equal. Takes the same time wherever the first difference lies (compares digests, so the
 * lengths do not show either). An empty secret equals nothing. An OpenSSL that can't say ends the
 * process. */
bool secret_equals(const struct secret *secret, const char *candidate, size_t candidate_len);

/* HMAC-SHA256 of `parts` joined, into ret_mac. Cannot fail: an OpenSSL that can't ends the process.
 */
struct secret_part {
	const void *data;
	size_t len;
};
void secret_hmac_sha256(const struct secret *key, const struct secret_part *parts, size_t count,
	unsigned char ret_mac[32]);

#endif
