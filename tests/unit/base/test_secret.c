/*
 * Only the very same bytes are equal, nothing equals no secret, and the MAC is the RFC's.
 */

#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include <cmocka.h>

#include <string.h>

static void holds_a_copy(void **state)
{
	(void)state;
	char text[] = "Bearer demo";
	struct secret secret;
	secret_init(&secret, text, strlen(text));
	memset(text, 'x', sizeof(text) - 1);
	assert_true(secret_is_set(&secret));
	assert_string_equal(secret.bytes, "Bearer demo");
	secret_finish(&secret);
	assert_false(secret_is_set(&secret));
	assert_null(secret.bytes);
	secret_finish(&secret);
}

static void equals_only_the_same_bytes(void **state)
{
	(void)state;
	struct secret secret;
	secret_init(&secret, "Bearer demo", 11);
	assert_true(secret_equals(&secret, "Bearer demo", 11));
	assert_false(secret_equals(&secret, "Bearer demo", 10));
	assert_false(secret_equals(&secret, "Bearer demo", 12));
	assert_false(secret_equals(&secret, "bearer demo", 11));
	assert_false(secret_equals(&secret, "Bearer dem0", 11));
	assert_false(secret_equals(&secret, "", 0));
	assert_false(secret_equals(&secret, NULL, 0));
	secret_finish(&secret);
}

static void empty_equals_nothing(void **state)
{
	(void)state;
	struct secret zeroed = {0};
	struct secret from_null;
	struct secret from_empty;
	secret_init(&from_null, NULL, 0);
	secret_init(&from_empty, "", 0);
	assert_false(secret_is_set(&from_null));
	assert_false(secret_is_set(&from_empty));
	assert_false(secret_equals(&zeroed, "", 0));
	assert_false(secret_equals(&from_null, "", 0));
	assert_false(secret_equals(&from_empty, "", 0));
	assert_false(secret_equals(&from_empty, NULL, 0));
	secret_finish(&from_null);
	secret_finish(&from_empty);
}

static void nul_bytes_count(void **state)
{
	(void)state;
	struct secret secret;
	secret_init(&secret, "a\0b", 3);
	assert_true(secret_equals(&secret, "a\0b", 3));
	assert_false(secret_equals(&secret, "a\0c", 3));
	assert_false(secret_equals(&secret, "a", 1));
	secret_finish(&secret);
}

static void assert_mac(
	const struct secret *key, const struct secret_part *parts, size_t count, const char *hex)
{
	unsigned char mac[32];
	unsigned char expected[32];
	assert_int_equal(strlen(hex), 2 * sizeof(expected));
	for (size_t i = 0; i < sizeof(expected); i++)
		expected[i] = (unsigned char)(text_hex_digit(hex[2 * i]) * 16 +
			text_hex_digit(hex[2 * i + 1]));
	secret_hmac_sha256(key, parts, count, mac);
	assert_memory_equal(mac, expected, sizeof(mac));
}

/* RFC 4231, test cases 2 and 6. */
static void hmac_as_in_the_rfc(void **state)
{
	(void)state;
	struct secret key;
	secret_init(&key, "Jefe", 4);
	const struct secret_part whole[] = {{"what do ya want for nothing?", 28}};
	assert_mac(
		&key, whole, 1, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	secret_finish(&key);

	char long_key[131];
	memset(long_key, 0xaa, sizeof(long_key));
	secret_init(&key, long_key, sizeof(long_key));
	const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
	const struct secret_part long_whole[] = {{text, strlen(text)}};
	assert_mac(&key, long_whole, 1,
		"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	secret_finish(&key);
}

static void parts_are_joined(void **state)
{
	(void)state;
	struct secret key;
	secret_init(&key, "Jefe", 4);
	const struct secret_part parts[] = {
		{"what do ya ", 11}, {NULL, 0}, {"want for", 8}, {"", 0}, {" nothing?", 9}};
	assert_mac(
		&key, parts, 5, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	secret_finish(&key);
}

static void empty_key_and_message(void **state)
{
	(void)state;
	struct secret key = {0};
	assert_mac(
		&key, NULL, 0, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_a_copy),
		cmocka_unit_test(equals_only_the_same_bytes),
		cmocka_unit_test(empty_equals_nothing),
		cmocka_unit_test(nul_bytes_count),
		cmocka_unit_test(hmac_as_in_the_rfc),
		cmocka_unit_test(parts_are_joined),
		cmocka_unit_test(empty_key_and_message),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
