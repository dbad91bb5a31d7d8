#ifndef SUBRELAY_HTTP_TLS_PRIVATE_H
#define SUBRELAY_HTTP_TLS_PRIVATE_H

/*
 * A certificate (or chain) and its key, read from PEM files and checked, so that what is wrong is
 * said with the file's name before libmicrohttpd refuses both without a word.
 */

#include <stdbool.h>

struct error;

struct tls_pair {
	char *certificate; /* PEM */
	char *key;         /* PEM */
};

bool tls_pair_load(const char *certificate_path, const char *key_path, struct tls_pair *ret_pair,
	struct error *err);
/* Wipes the key. Takes a zeroed one as well. */
void tls_pair_finish(struct tls_pair *pair);

#endif
