/*
 * The `t=…,v1=…` signature.
 *
 * Two passes over the header: one for the time, which is part of what was signed, one for the macs.
 * Nothing is copied out of it. What must stay true: how long it takes doesn't depend on how much of
 * a mac is right, and an empty secret verifies nothing.
 */

#include "source/signature.h"

#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"

#include <openssl/crypto.h>
#include <string.h>

#define MAC_BYTES 32
#define MAC_DIGITS ((size_t)2 * MAC_BYTES)
#define TIME_DIGITS_MAX 18 /* what fits int64_t whatever the digits are */

/* A piece of the header; not NUL-terminated. */
struct span {
	const char *start;
	size_t len;
};

/* Cuts the next element off `rest`: its name up to the first '=', its value behind it. */
static bool next_element(struct span *rest, struct span *ret_name, struct span *ret_value)
{
	if (!rest->start)
		return false;
	const char *comma = memchr(rest->start, ',', rest->len);
	size_t len = comma ? (size_t)(comma - rest->start) : rest->len;
	const char *equals = memchr(rest->start, '=', len);
	size_t name_len = equals ? (size_t)(equals - rest->start) : len;
	*ret_name = (struct span){rest->start, name_len};
	*ret_value = (struct span){
		rest->start + name_len + (equals ? 1 : 0), len - name_len - (equals ? 1 : 0)};
	*rest = comma ? (struct span){comma + 1, rest->len - len - 1} : (struct span){NULL, 0};
	return true;
}

static bool span_is(const struct span *span, const char *text)
{
	return span->len == strlen(text) && memcmp(span->start, text, span->len) == 0;
}

/* The one `t`, as it is written and as a number; digits alone. */
static bool find_time(
	const char *header, struct span *ret_written, int64_t *ret_at_s, struct error *err)
{
	struct span rest = {header, strlen(header)}, name, value, written = {NULL, 0};
	while (next_element(&rest, &name, &value)) {
		if (!span_is(&name, "t"))
			continue;
		if (written.start)
			return error_set(err, "the signature header has more than one time");
		written = value;
	}
	if (!written.start)
		return error_set(err, "the signature header has no time (t=…)");
	if (written.len == 0 || written.len > TIME_DIGITS_MAX)
		return error_set(err, "the signature's time is not a number of seconds");
	int64_t at_s = 0;
	for (size_t i = 0; i < written.len; i++) {
		char digit = written.start[i];
		if (digit < '0' || digit > '9')
			return error_set(err, "the signature's time is not a number of seconds");
		at_s = at_s * 10 + (digit - '0');
	}
	*ret_written = written;
	*ret_at_s = at_s;
	return true;
}

/* Lower case, as the schemes have it: the digits are compared, not what they stand for. */
static void to_hex(const unsigned char mac[MAC_BYTES], char ret_digits[MAC_DIGITS])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < MAC_BYTES; i++) {
		ret_digits[2 * i] = digits[mac[i] >> 4];
		ret_digits[2 * i + 1] = digits[mac[i] & 15];
	}
}

/* Compares with every v1, also after one has matched. */
static bool has_v1(const char *header, const char expected[MAC_DIGITS])
{
	struct span rest = {header, strlen(header)}, name, value;
	bool found = false;
	while (next_element(&rest, &name, &value)) {
		if (span_is(&name, "v1") && value.len == MAC_DIGITS)
			found |= CRYPTO_memcmp(value.start, expected, MAC_DIGITS) == 0;
	}
	return found;
}

static bool matches(const char *header, const struct span *written_time, const char *body,
	size_t body_len, const struct secret *secret)
{
	const struct secret_part parts[] = {
		{written_time->start, written_time->len},
		{".", 1},
		{body, body_len},
	};
	unsigned char mac[MAC_BYTES];
	secret_hmac_sha256(secret, parts, sizeof(parts) / sizeof(parts[0]), mac);
	char digits[MAC_DIGITS];
	to_hex(mac, digits);
	return has_v1(header, digits);
}

bool signature_verify(const char *header, const char *body, size_t body_len,
	const struct secret *secrets, size_t secret_count, int64_t now_ms, int64_t tolerance_s,
	struct error *err)
{
	struct span written_time = {NULL, 0};
	int64_t at_s = 0;
	if (!find_time(header, &written_time, &at_s, err))
		return false;
	bool matched = false;
	for (size_t i = 0; i < secret_count; i++) {
		/* Without a secret anybody could compute the signature. */
		if (secret_is_set(&secrets[i]))
			matched |= matches(header, &written_time, body, body_len, &secrets[i]);
	}
	if (!matched)
		return error_set(err, "no v1 signature in the header matches the body");
	/* Last, so that only the holder of the secret learns what time it is here. */
	int64_t now_s = now_ms / 1000;
	if (tolerance_s != 0 && (at_s < now_s - tolerance_s || at_s > now_s + tolerance_s))
		return error_set(err,
			"the signature was made %lld s %s, more than %lld s: a replay, or one of "
			"the clocks is wrong",
			(long long)(at_s < now_s ? now_s - at_s : at_s - now_s),
			at_s < now_s ? "ago" : "ahead of now", (long long)tolerance_s);
	return true;
}
