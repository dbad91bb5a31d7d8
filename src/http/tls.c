/*
 * Reads and checks the certificate and key that HTTPS is served with.
 *
 * OpenSSL judges (it is linked for the signatures anyway), GnuTLS inside libmicrohttpd serves; both
 * read the same PEM. A key with a passphrase is refused: nobody is there to type it.
 */

#include "http/tls_private.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_FILE_MAX ((size_t)1024 * 1024)

static void wipe_and_free(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

/* NULL when the file can't be read. Freed with wipe_and_free. */
static char *read_file(const char *path, struct error *err)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		error_set(err, "cannot read %s: %s", path, strerror(errno));
		return NULL;
	}
	(void)setvbuf(file, NULL, _IONBF, 0); /* no second copy of a key; failing is harmless */
	char *text = xcalloc(1, PEM_FILE_MAX + 1);
	size_t len = fread(text, 1, PEM_FILE_MAX, file);
	if (ferror(file))
		error_set(err, "cannot read %s: %s", path, strerror(errno));
	else if (len == PEM_FILE_MAX)
		error_set(err, "%s is too large to be a certificate or key", path);
	(void)fclose(file); /* only read */
	if (error_is_set(err) || len == PEM_FILE_MAX) {
		wipe_and_free(text);
		return NULL;
	}
	return text;
}

static X509 *parse_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return certificate;
}

static int give_no_passphrase(char *buffer, int size, int is_writing, void *was_asked)
{
	(void)buffer;
	(void)size;
	(void)is_writing;
	*(bool *)was_asked = true;
	return -1;
}

static EVP_PKEY *parse_key(const char *pem, bool *ret_is_encrypted)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio
		? PEM_read_bio_PrivateKey(bio, NULL, give_no_passphrase, ret_is_encrypted)
		: NULL;
	BIO_free(bio);
	return key;
}

bool tls_pair_load(const char *certificate_path, const char *key_path, struct tls_pair *ret_pair,
	struct error *err)
{
	struct error own = {0};
	struct tls_pair pair = {0};
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	bool is_encrypted = false;

	pair.certificate = read_file(certificate_path, &own);
	if (!pair.certificate)
		goto out;
	pair.key = read_file(key_path, &own);
	if (!pair.key)
		goto out;
	certificate = parse_certificate(pair.certificate);
	if (!certificate) {
		error_set(&own, "%s holds no PEM certificate", certificate_path);
		goto out;
	}
	key = parse_key(pair.key, &is_encrypted);
	if (!key) {
		error_set(&own,
			is_encrypted ? "the key in %s has a passphrase; give one without"
				     : "%s holds no PEM private key",
			key_path);
		goto out;
	}
	if (X509_check_private_key(certificate, key) != 1) {
		error_set(&own, "the key in %s does not belong to the certificate in %s", key_path,
			certificate_path);
		goto out;
	}
	*ret_pair = pair;
	pair = (struct tls_pair){0};
out:
	ERR_clear_error();
	EVP_PKEY_free(key);
	X509_free(certificate);
	tls_pair_finish(&pair);
	return error_is_set(&own) ? error_set(err, "%s", own.text) : true;
}

void tls_pair_finish(struct tls_pair *pair)
{
	free(pair->certificate);
	wipe_and_free(pair->key);
	*pair = (struct tls_pair){0};
}
