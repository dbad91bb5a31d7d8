/*
 * The signature scheme. The macs were made with the openssl command, not with our code:
 *   (printf '%s.' TIME; printf '%s' BODY) | openssl dgst -sha256 -hmac SECRET
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "source/signature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* cmocka.h wants the four above first. */
#include <cmocka.h>

#define AT_S INT64_C(1790000000)
#define BODY "{\"event\":{\"id\":\"1\"}}"
#define MAC "c6916fe04f53086bbf7c89f5e676cfce9ae9d4abadc313dfc9658331ee3d76cb"
#define MAC_OLDER "2cf86cb718ad2b1a2f12eba2b0d0e950e58174c1cdd1b06cad51464aa5c22dd4"
#define MAC_EMPTY_BODY "a3f35c00bc29124348d857767c3a985852d21c3b9187c35b6453b94cc9af3221"
#define MAC_NUL_BODY "b91c9ba046d354961cc39a5f0b517c3fd5ea30200916537c378dda5efed18cbb"
#define MAC_UTF8_BODY "39af0686ce434d0cfc598be575b4221d1b52c3dfccc5cafe380a2f402c6abf61"
#define MAC_ZEROS_TIME "2562c8192068c9774816c7de88b6b5a9f6dabedeab333b0fab534e6b497c80c3"
#define MAC_TIME_19 "8f2ae680cd9a0aaf8d14c65ea54890759fa9767b89f7061cbf7cde052c8b19b7"
#define MAC_TIME_18 "390e5799ca11e641d108f607fbc4e7e4ba34f3285387c270c99dab862f860aae"
#define MAC_TIME_NEGATIVE "26cb9324bcafe8b72d1379d44d245a64084931515dc75ee0bb4ffaa69e71909a"
#define MAC_TIME_EMPTY "add5d30e185d90c59c51f44195938cf2255f8e6c506b03bc0f98340e4ede3472"
#define MAC_TIME_BLANK "1b65d3c9073878577f0809fbf976ccad63e8f7a2b5686987ca3fb91c4774b682"
#define MAC_NO_SECRET "d8cf75103a44555f151888e9f3dbf36b455334fdbc6606a5b84edfe4e3fdcc45"
#define OTHER "00000000000000000000000000000000000000000000000000000000000000ff"

/* Under the secret "fjord-secret". */
static bool verify_at(const char *header, const char *body, size_t len, int64_t now_ms,
	int64_t tolerance_s, struct error *err)
{
	struct secret secret;
	secret_init(&secret, "fjord-secret", strlen("fjord-secret"));
	*err = (struct error){0};
	bool valid = signature_verify(header, body, len, &secret, 1, now_ms, tolerance_s, err);
	secret_finish(&secret);
	assert_true(valid == !error_is_set(err));
	return valid;
}

static bool is_valid(const char *header)
{
	struct error err;
	return verify_at(header, BODY, strlen(BODY), AT_S * 1000, 300, &err);
}

static void test_accepts(void **state)
{
	(void)state;
	static const char *const headers[] = {
		"t=1790000000,v1=" MAC,
		"v1=" MAC ",t=1790000000",
		"t=1790000000,v1=" MAC ",v0=" OTHER,
		"v0=" OTHER ",t=1790000000,v1=" MAC,
		"t=1790000000,v1=" OTHER ",v1=" MAC,
		"t=1790000000,v1=" MAC ",v1=" OTHER,
		"t=1790000000,v1=,v1=" MAC,
		"t=1790000000,v1=short,v1=" MAC,
		"t=1790000000,,v1=" MAC ",",
		"t=1790000000,flag,v1=" MAC,
		"t=1790000000,=x,v1=" MAC,
		"t=1790000000,v2=" OTHER ",v1=" MAC,
	};
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		if (!is_valid(headers[i]))
			fail_msg("refused: %s", headers[i]);
	}
}

static void test_refuses(void **state)
{
	(void)state;
	static const char *const headers[] = {
		"",
		",",
		"=",
		"t",
		"t=",
		"v1=" MAC,
		"t=1790000000",
		"t=1790000000,v1=",
		"t=1790000000,v1=" OTHER,
		"t=1790000000,v0=" MAC,
		"t=1790000000,v11=" MAC,
		"t=1790000000,v=" MAC,
		"t=1790000000,V1=" MAC,
		"T=1790000000,v1=" MAC,
		"t=1790000000, v1=" MAC,
		"t=1790000000,v1= " MAC,
		"t=1790000000,v1=" MAC " ",
		"t=1790000000,v1=" MAC "0",
		"t=1790000000,v1=" MAC MAC,
		"t=1790000000,v1==" MAC,
		"t=1790000000;v1=" MAC,
		"t=1790000001,v1=" MAC,
		"t=1790000000,v1=C6916FE04F53086BBF7C89F5E676CFCE9AE9D4ABADC313DFC9658331EE3D76CB",
		"t=1790000000,t=1790000000,v1=" MAC,
		"t=,v1=" MAC_TIME_EMPTY,
		"t=-5,v1=" MAC_TIME_NEGATIVE,
		"t=1790000000 ,v1=" MAC_TIME_BLANK,
		"t=4000000000000000000,v1=" MAC_TIME_19,
		"t=999999999999999999,v1=" MAC_TIME_18,
		"t=+1790000000,v1=" MAC,
		"t=1.79e9,v1=" MAC,
		"Bearer demo",
	};
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		if (is_valid(headers[i]))
			fail_msg("accepted: %s", headers[i]);
	}
}

static void test_mac_of_another_length(void **state)
{
	(void)state;
	/* Every prefix of the right mac, down to none. */
	for (size_t len = 0; len < strlen(MAC); len++) {
		char header[128];
		(void)snprintf(header, sizeof(header), "t=1790000000,v1=%.*s", (int)len, MAC);
		assert_false(is_valid(header));
	}
}

static void test_every_digit_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < strlen(MAC); i++) {
		char header[] = "t=1790000000,v1=" MAC;
		char *digit = header + strlen("t=1790000000,v1=") + i;
		*digit = *digit == '0' ? '1' : '0';
		assert_false(is_valid(header));
	}
}

static void test_bodies(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		size_t len;
		const char *mac;
		bool valid;
	} cases[] = {
		{BODY, sizeof(BODY) - 1, MAC, true},
		{BODY " ", sizeof(BODY), MAC, false},
		{BODY, sizeof(BODY) - 2, MAC, false},
		{"", 0, MAC_EMPTY_BODY, true},
		{NULL, 0, MAC_EMPTY_BODY, true},
		{"a\0b", 3, MAC_NUL_BODY, true},
		{"a\0c", 3, MAC_NUL_BODY, false},
		{"a", 1, MAC_NUL_BODY, false},
		{"{\"n\":\"\xc3\xb8\xe2\x82\xac\"}", 13, MAC_UTF8_BODY, true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char header[128];
		(void)snprintf(header, sizeof(header), "t=1790000000,v1=%s", cases[i].mac);
		struct error err;
		bool valid = verify_at(header, cases[i].body, cases[i].len, AT_S * 1000, 300, &err);
		if (valid != cases[i].valid)
			fail_msg("body %zu: %d", i, valid);
	}
}

static void test_tolerance(void **state)
{
	(void)state;
	static const struct {
		int64_t now_ms;
		int64_t tolerance_s;
		bool valid;
	} cases[] = {
		{AT_S * 1000, 300, true},
		{(AT_S + 300) * 1000, 300, true},
		{(AT_S + 300) * 1000 + 999, 300, true},
		{(AT_S + 301) * 1000, 300, false},
		{(AT_S - 300) * 1000, 300, true},
		{(AT_S - 301) * 1000, 300, false},
		{AT_S * 1000, 1, true},
		{(AT_S + 2) * 1000, 1, false},
		{0, 300, false},
		{INT64_MIN, 300, false},
		{INT64_MAX, 300, false},
		/* Without a tolerance the time isn't looked at. */
		{0, 0, true},
		{(AT_S + 1000000) * 1000, 0, true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;
		bool valid = verify_at("t=1790000000,v1=" MAC, BODY, strlen(BODY), cases[i].now_ms,
			cases[i].tolerance_s, &err);
		if (valid != cases[i].valid)
			fail_msg("case %zu: %s", i, err.text);
	}
}

static void test_time_is_signed_as_written(void **state)
{
	(void)state;
	assert_true(is_valid("t=0001790000000,v1=" MAC_ZEROS_TIME));
	assert_false(is_valid("t=1790000000,v1=" MAC_ZEROS_TIME));
	assert_false(is_valid("t=0001790000000,v1=" MAC));
}

static void test_time_without_tolerance_must_be_a_number_all_the_same(void **state)
{
	(void)state;
	struct error err;
	assert_false(verify_at("t=-5,v1=" MAC_TIME_NEGATIVE, BODY, strlen(BODY), 0, 0, &err));
	assert_false(verify_at("t=,v1=" MAC_TIME_EMPTY, BODY, strlen(BODY), 0, 0, &err));
}

static void test_several_secrets(void **state)
{
	(void)state;
	struct secret secrets[3];
	secret_init(&secrets[0], "fjord-secret", strlen("fjord-secret"));
	secret_init(&secrets[1], "", 0);
	secret_init(&secrets[2], "older-secret", strlen("older-secret"));
	const char *header = "t=1790000000,v1=" MAC_OLDER;
	assert_true(
		signature_verify(header, BODY, strlen(BODY), secrets, 3, AT_S * 1000, 300, NULL));
	assert_false(
		signature_verify(header, BODY, strlen(BODY), secrets, 2, AT_S * 1000, 300, NULL));
	for (size_t i = 0; i < 3; i++)
		secret_finish(&secrets[i]);
}

static void test_no_secret_signs_nothing(void **state)
{
	(void)state;
	struct secret none = {0};
	const char *header = "t=1790000000,v1=" MAC_NO_SECRET;
	struct error err = {0};
	assert_false(
		signature_verify(header, BODY, strlen(BODY), &none, 1, AT_S * 1000, 300, &err));
	assert_string_equal(err.text, "no v1 signature in the header matches the body");
	assert_false(signature_verify(header, BODY, strlen(BODY), NULL, 0, AT_S * 1000, 300, NULL));
}

static void test_says_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *header;
		int64_t now_s;
		const char *text;
	} cases[] = {
		{"v1=" MAC, AT_S, "the signature header has no time (t=…)"},
		{"t=1,t=2,v1=" MAC, AT_S, "the signature header has more than one time"},
		{"t=soon,v1=" MAC, AT_S, "the signature's time is not a number of seconds"},
		{"t=1790000000,v0=" MAC, AT_S, "no v1 signature in the header matches the body"},
		{"t=1790000000,v1=" MAC, AT_S + 400,
			"the signature was made 400 s ago, more than 300 s: a replay, or one of "
			"the "
			"clocks is wrong"},
		{"t=1790000000,v1=" MAC, AT_S - 3600,
			"the signature was made 3600 s ahead of now, more than 300 s: a replay, or "
			"one "
			"of the clocks is wrong"},
		/* Whoever has no secret isn't told the time. */
		{"t=1790000000,v1=" OTHER, AT_S + 400,
			"no v1 signature in the header matches the body"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;
		assert_false(verify_at(
			cases[i].header, BODY, strlen(BODY), cases[i].now_s * 1000, 300, &err));
		assert_string_equal(err.text, cases[i].text);
	}
}

static void test_long_header(void **state)
{
	(void)state;
	struct buf header;
	buf_init(&header, 1000000);
	for (size_t i = 0; i < 2000; i++)
		buf_add_text(&header, "v1=" OTHER ",");
	size_t len = header.len;
	buf_add_text(&header, "t=1790000000,v1=" MAC);
	assert_true(is_valid(buf_text(&header)));
	header.data[len - 1] = '!'; /* takes the time's element away */
	assert_false(is_valid(buf_text(&header)));
	buf_finish(&header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepts),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_mac_of_another_length),
		cmocka_unit_test(test_every_digit_counts),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_tolerance),
		cmocka_unit_test(test_time_is_signed_as_written),
		cmocka_unit_test(test_time_without_tolerance_must_be_a_number_all_the_same),
		cmocka_unit_test(test_several_secrets),
		cmocka_unit_test(test_no_secret_signs_nothing),
		cmocka_unit_test(test_says_what_is_wrong),
		cmocka_unit_test(test_long_header),
	};
	return cmocka_run_group_tests_name("source/signature", tests, NULL, NULL);
}
