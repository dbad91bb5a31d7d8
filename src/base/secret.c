/*
 * A password, token or key: compared in constant time, wiped when done, never printed.
 *
 * Comparing SHA-256 digests makes both sides 32 bytes, so that neither the place of the first
 * difference nor the length shows in the time. What must stay true: when OpenSSL can't answer, which
 * is for want of memory, there is no answer and the process ends. "Equal" would let anybody in, "not
 * equal" would tell an honest sender that it is none.
 */

#include "base/secret.h"

#include "base/log.h"
#include "base/xalloc.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void secret_init(struct secret *secret, const char *text, size_t len)
{
	*secret = (struct secret){0};
	if (!text || len == 0)
		return;
	secret->bytes = xmalloc(len + 1);
	memcpy(secret->bytes, text, len);
	secret->bytes[len] = '\0';
	secret->len = len;
}

void secret_finish(struct secret *secret)
{
	if (secret->bytes)
		OPENSSL_cleanse(secret->bytes, secret->len);
	free(secret->bytes);
	*secret = (struct secret){0};
}

bool secret_is_set(const struct secret *secret)
{
	return secret->len > 0;
}

/* Out of memory, or an OpenSSL without SHA-256. */
static _Noreturn void die(void)
{
	log_error("OpenSSL computes no SHA-256: out of memory?");
	_exit(EXIT_FAILURE);
}

static void digest(const void *data, size_t len, unsigned char ret_digest[SHA256_DIGEST_LENGTH])
{
	if (!SHA256(data, len, ret_digest))
		die();
}

bool secret_equals(const struct secret *secret, const char *candidate, size_t candidate_len)
{
	unsigned char ours[SHA256_DIGEST_LENGTH];
	unsigned char theirs[SHA256_DIGEST_LENGTH];
	if (!secret_is_set(secret) || !candidate)
		return false;
	digest(secret->bytes, secret->len, ours);
	digest(candidate, candidate_len, theirs);
	bool equal = CRYPTO_memcmp(ours, theirs, sizeof(ours)) == 0;
	OPENSSL_cleanse(ours, sizeof(ours));
	return equal;
}

static bool hmac_run(EVP_MAC_CTX *hmac, const struct secret *key, const struct secret_part *parts,
	size_t count, unsigned char ret_mac[32])
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	/* A key of NULL would mean "the key from before". */
	const char *bytes = key->bytes ? key->bytes : "";
	if (!hmac || !EVP_MAC_init(hmac, (const unsigned char *)bytes, key->len, params))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!EVP_MAC_update(hmac, parts[i].data, parts[i].len))
			return false;
	size_t len = 0;
	return EVP_MAC_final(hmac, ret_mac, &len, 32) && len == 32;
}

void secret_hmac_sha256(const struct secret *key, const struct secret_part *parts, size_t count,
	unsigned char ret_mac[32])
{
	EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *hmac = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;
	bool done = hmac_run(hmac, key, parts, count, ret_mac);
	EVP_MAC_CTX_free(hmac);
	EVP_MAC_free(algorithm);
	if (!done)
		die(); /* a made-up MAC is no answer */
}
