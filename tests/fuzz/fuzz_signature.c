/*
 * Who may post: every source's verify, and the signature scheme behind it.
 *
 * An input is Authorization, signature header and body, parted by FUZZ_SEPARATOR, after eight bytes
 * of clock. What must be true: whoever doesn't have the secrets is never let in, whatever he sends
 * and whatever time it is; whoever has is, within the tolerance and for the very body that was
 * signed.
 */

#include "base/error.h"
#include "base/secret.h"
#include "conf/conf.h"
#include "fuzz.h"
#include "source/signature.h"
#include "source/source.h"

#define SIGNING "whsec_5f2b8e01c7a94d36"
#define AUTHORIZATION "Bearer 0c9e44d1b7f35a62"
#define TOLERANCE_S 300
#define NOW_MS INT64_C(1780000000000)
#define HEADER_MAX 160

struct headers {
	const char *authorization; /* NULL: absent */
	const char *signature;
};

static const char *header(void *context, const char *name)
{
	const struct headers *headers = context;
	return strcmp(name, "Authorization") == 0 ? headers->authorization : headers->signature;
}

/* The section as configured: 0 with an Authorization, 1 with a signing secret besides. */
static const struct conf *configuration(unsigned which)
{
	static struct conf *confs[2];
	char authorization[] = "SUBRELAY_REVENUECAT_AUTHORIZATION=" AUTHORIZATION;
	char signing[] = "SUBRELAY_REVENUECAT_SIGNING_SECRET=" SIGNING;
	char *const environment[] = {authorization, which ? signing : NULL, NULL};
	struct conf_report report;

	if (!confs[which]) {
		confs[which] = conf_load(NULL, environment, &report);
		FUZZ_CHECK(confs[which]);
		conf_report_finish(&report);
	}
	return confs[which];
}

static bool is_let_in(const struct conf_source *section, const struct headers *headers,
	struct fuzz_bytes body, int64_t now_ms)
{
	struct error err = {0};
	struct headers copy = *headers;
	struct source_request request = {
		.header = header,
		.context = &copy,
		.body = (const char *)body.at,
		.body_len = body.left,
		.now_ms = now_ms,
	};
	bool is_in = section->source->verify(section, &request, &err);
	FUZZ_CHECK(is_in != error_is_set(&err));
	/* For the log: no secret in it. */
	FUZZ_CHECK(!strstr(err.text, SIGNING) && !strstr(err.text, AUTHORIZATION));
	return is_in;
}

static void sign(const char *time, struct fuzz_bytes body, const char *with, char *ret)
{
	struct secret secret = {0};
	unsigned char mac[32];
	const struct secret_part parts[] = {
		{time, strlen(time)}, {".", 1}, {body.at ? (const void *)body.at : "", body.left}};

	secret_init(&secret, with, strlen(with));
	secret_hmac_sha256(&secret, parts, 3, mac);
	secret_finish(&secret);
	int len = snprintf(ret, HEADER_MAX, "t=%s,v1=", time);
	for (size_t i = 0; i < sizeof(mac); i++)
		len += snprintf(ret + len, HEADER_MAX - (size_t)len, "%02x", (unsigned)mac[i]);
}

/* Signed by the holder of the secret `skew_s` from now. */
static void try_signed(const struct conf_source *section, struct fuzz_bytes body, int64_t skew_s)
{
	char time[32], good[HEADER_MAX], foreign[HEADER_MAX];
	struct headers headers = {AUTHORIZATION, good};
	bool is_fresh = skew_s >= -TOLERANCE_S && skew_s <= TOLERANCE_S;

	(void)snprintf(time, sizeof(time), "%lld", (long long)(NOW_MS / 1000 + skew_s));
	sign(time, body, SIGNING, good);
	FUZZ_CHECK(is_let_in(section, &headers, body, NOW_MS) == is_fresh);
	/* By anybody else. */
	sign(time, body, SIGNING "x", foreign);
	headers.signature = foreign;
	FUZZ_CHECK(!is_let_in(section, &headers, body, NOW_MS));
	/* Over another body, or another time. */
	headers.signature = good;
	if (body.left > 0) {
		struct fuzz_bytes less = {body.at, body.left - 1};
		FUZZ_CHECK(!is_let_in(section, &headers, less, NOW_MS));
	}
	good[2] = good[2] == '1' ? '2' : '1';
	FUZZ_CHECK(!is_let_in(section, &headers, body, NOW_MS));
}

/* The scheme alone: no secret, or an empty one, verifies nothing. */
static void try_without_secret(const char *signature, struct fuzz_bytes body, int64_t now_ms)
{
	struct secret secrets[2] = {{0}, {0}};
	char time[] = "1780000000", empty[HEADER_MAX];

	FUZZ_CHECK(!signature_verify(
		signature, (const char *)body.at, body.left, secrets, 0, now_ms, 0, NULL));
	FUZZ_CHECK(!signature_verify(signature, (const char *)body.at, body.left, secrets, 2,
		now_ms, TOLERANCE_S, NULL));
	sign(time, body, "", empty);
	FUZZ_CHECK(!signature_verify(
		empty, (const char *)body.at, body.left, secrets, 2, NOW_MS, 0, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	const struct conf *plain = configuration(0), *strict = configuration(1);
	uint64_t clock = 0;

	for (int i = 0; i < 8; i++)
		clock = clock << 8 | fuzz_byte(&bytes);
	char *authorization = fuzz_text(fuzz_part(&bytes));
	char *signature = fuzz_text(fuzz_part(&bytes));
	struct headers headers = {authorization, signature};
	bool knows = strcmp(authorization, AUTHORIZATION) == 0;
	/* A clock of the years 1970 to 10000. */
	int64_t now_ms = (int64_t)(clock % UINT64_C(253402300800000));
	for (size_t i = 0; i < plain->source_count; i++) {
		const struct conf_source *section = &plain->sources[i];
		FUZZ_CHECK(is_let_in(section, &headers, bytes, now_ms) == knows);
		FUZZ_CHECK(!is_let_in(section, &(struct headers){NULL, signature}, bytes, now_ms));
	}
	for (size_t i = 0; i < strict->source_count; i++) {
		const struct conf_source *section = &strict->sources[i];
		FUZZ_CHECK(!is_let_in(section, &headers, bytes, now_ms));
		FUZZ_CHECK(!is_let_in(
			section, &(struct headers){AUTHORIZATION, signature}, bytes, now_ms));
		FUZZ_CHECK(
			!is_let_in(section, &(struct headers){AUTHORIZATION, NULL}, bytes, now_ms));
		try_signed(section, bytes, 0);
		try_signed(section, bytes, (int64_t)(clock % 1201) - 600);
	}
	try_without_secret(signature, bytes, now_ms);
	free(authorization);
	free(signature);
	return 0;
}
