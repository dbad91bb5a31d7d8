/*
 * The small readers of base and conf, and the writers that take text from outside: what is read is
 * read whole or not at all, and what is written can be read back as what it was.
 */

#include "base/arena.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_out.h"
#include "base/text.h"
#include "conf/conf.h"
#include "conf/conf_private.h"
#include "deliver/intercom.h"
#include "fuzz.h"
#include "source/json_in.h"

#include <jansson.h>

static void try_numbers(const char *text)
{
	int64_t number = 4711;
	char back[32];
	bool yes;

	if (text_to_int64(text, &number)) {
		int64_t again;
		(void)snprintf(back, sizeof(back), "%lld", (long long)number);
		FUZZ_CHECK(text_to_int64(back, &again) && again == number);
	} else {
		FUZZ_CHECK(number == 4711);
	}
	if (text_to_duration_ms(text, &number))
		FUZZ_CHECK(number >= 0);
	if (text_to_size(text, &number))
		FUZZ_CHECK(number >= 0);
	(void)text_to_bool(text, &yes);
	text_from_span(number, back, sizeof(back));
	FUZZ_CHECK(strlen(back) > 1);
	text_from_time(number, back, sizeof(back));
	FUZZ_CHECK(strcmp(back, "-") == 0 || strlen(back) == 24);
}

static void try_trim(const char *text, size_t len)
{
	struct fuzz_bytes whole = {(const uint8_t *)text, len};
	char *copy = fuzz_text(whole);
	char *kept = text_trim(copy);
	size_t kept_len = strlen(kept);

	FUZZ_CHECK(kept_len == 0 || (kept[0] != ' ' && kept[kept_len - 1] != ' '));
	FUZZ_CHECK(kept_len <= len && strstr(text, kept));
	if (len < 64) {
		FUZZ_CHECK(text_distance(text, kept) == len - kept_len);
		FUZZ_CHECK(text_distance(kept, text) == len - kept_len);
	}
	free(copy);
}

/* Any bytes become valid JSON, and the same text where they were one. */
static void try_json(struct fuzz_bytes bytes)
{
	struct json_out out;
	struct buf buf;

	buf_init(&buf, (size_t)1024 * 1024);
	json_out_init(&out, &buf);
	json_out_array(&out);
	json_out_text_len(&out, bytes.left ? (const char *)bytes.at : "", bytes.left);
	json_out_array_end(&out);
	json_t *json = json_loadb(buf_text(&buf), buf.len, JSON_ALLOW_NUL, NULL);
	const json_t *text = json_array_get(json, 0);
	FUZZ_CHECK(json_is_string(text));
	bool is_utf8 = text_is_utf8((const char *)bytes.at, bytes.left);
	bool is_same = json_string_length(text) == bytes.left &&
		(bytes.left == 0 || memcmp(json_string_value(text), bytes.at, bytes.left) == 0);
	FUZZ_CHECK(is_utf8 == is_same);
	json_decref(json);
	buf_finish(&buf);
}

static char from_hex(const char *digits)
{
	return (char)(text_hex_digit(digits[0]) * 16 + text_hex_digit(digits[1]));
}

/* An id in a path, taken apart again. */
static void try_path(const char *id)
{
	struct call call;

	call_init(&call);
	intercom_find_contact(&call, id);
	if (!call_is_too_large(&call)) {
		const char *path = strrchr(buf_text(&call.path), '/') + 1;
		const char *c = id;
		for (; *path; c++) {
			FUZZ_CHECK(*c == (*path == '%' ? from_hex(path + 1) : *path));
			path += *path == '%' ? 3 : 1;
		}
		FUZZ_CHECK(*c == '\0');
	}
	call_finish(&call);
}

static void try_addresses(const char *text)
{
	struct conf_address address = {0}, again = {0};
	struct error err = {0};
	char *url = NULL, *same = NULL, written[96];

	if (address_parse(text, &address, &err)) {
		(void)snprintf(written, sizeof(written), address.is_ipv6 ? "[%s]:%u" : "%s:%u",
			address.host, (unsigned)address.port);
		FUZZ_CHECK(address_parse(written, &again, &err) && address_equal(&address, &again));
	} else {
		FUZZ_CHECK(error_is_set(&err));
	}
	error_clear(&err);
	if (base_url_parse(text, &url, &err)) {
		FUZZ_CHECK(base_url_parse(url, &same, &err) && text_equal(url, same));
		FUZZ_CHECK(url[strlen(url) - 1] != '/');
	} else {
		FUZZ_CHECK(error_is_set(&err));
	}
	free(url);
	free(same);
}

/* A provider's JSON, asked for everything. */
static void try_json_in(struct fuzz_bytes bytes)
{
	struct arena arena;
	struct error err = {0};
	json_t *json = json_in_load((const char *)bytes.at, bytes.left, &err);
	const char *key;
	json_t *value;

	FUZZ_CHECK(json || text_starts_with(err.text, "the body is not JSON: "));
	arena_init(&arena);
	json_object_foreach(json, key, value)
	{
		char **ids = NULL;
		const char *text = json_in_text(json, key);
		FUZZ_CHECK(!text || text[0] != '\0');
		size_t count = json_in_ids_dup(&arena, value, &ids);
		FUZZ_CHECK((count > 0) == (ids != NULL));
		const char *id = json_in_id_dup(&arena, value);
		FUZZ_CHECK(!id || id[0] != '\0');
		int64_t at_ms = json_in_time_ms(json, key);
		FUZZ_CHECK(at_ms == TIME_NONE || at_ms > 0);
	}
	arena_finish(&arena);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	char *text = fuzz_text(bytes);
	struct rng rng;

	try_numbers(text);
	try_trim(text, strlen(text));
	try_json(bytes);
	try_json_in(bytes);
	try_path(text);
	try_addresses(text);
	rng_seed(&rng, text_hash(text, strlen(text), 0));
	int64_t cap_ms = (int64_t)rng_below(&rng, INT64_MAX);
	int64_t delay_ms =
		backoff_delay_ms(&rng, (int64_t)size * 1000 + 1, cap_ms, (unsigned)rng.state);
	FUZZ_CHECK(delay_ms >= 0 && delay_ms <= cap_ms);
	free(text);
	return 0;
}
