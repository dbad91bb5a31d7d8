/*
 * A provider's JSON, read without trusting its shape.
 *
 * jansson parses; this decides what counts as a value. A body is first read as it is, and only when
 * that fails once more, mended. What must stay true: nothing of a body gets into an error's text,
 * and a text with a NUL in it never passes for its first half.
 */

#include "source/json_in.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

/* A megabyte of "{},{}," is 330,000 objects, 70 MB parsed, on each of the listener's threads. An
 * event has some fifty values; this many are 7 MB at most. */
#define VALUES_MAX 30000

#define TIME_MIN_MS INT64_C(1199145600000)   /* 2008-01-01 */
#define TIME_MAX_MS INT64_C(4102444800000)   /* 2100-01-01 */
#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53: up to here a double counts by ones */

/* ---- loading ---- */

/* The code unit of the "\uXXXX" at `text`; -1 when there is none. */
static int escaped_unit(const char *text, size_t len)
{
	if (len < 6 || text[0] != '\\' || text[1] != 'u')
		return -1;
	int unit = 0;
	for (size_t i = 2; i < 6; i++) {
		int digit = text_hex_digit(text[i]);
		if (digit < 0)
			return -1;
		unit = unit * 16 + digit;
	}
	return unit;
}

static bool is_surrogate(int unit)
{
	return unit >= 0xd800 && unit <= 0xdfff;
}

/*
 * Puts U+FFFD in the place of each half of a surrogate pair, which takes as many bytes. Apps cut
 * names in the middle of an emoji, and such a name must not cost a billing event. True when there
 * was one.
 */
static bool mend_surrogates(char *text, size_t len)
{
	static const char replacement[] = {'\\', 'u', 'f', 'f', 'f', 'd'};
	bool mended = false;
	for (size_t i = 0; i < len;) {
		int unit = escaped_unit(text + i, len - i);
		if (unit < 0) {
			i += text[i] == '\\' ? 2 : 1;
			continue;
		}
		if (is_surrogate(unit)) {
			int next = escaped_unit(text + i + 6, len - i - 6);
			if (unit < 0xdc00 && next >= 0xdc00 && next <= 0xdfff) {
				i += 12;
				continue;
			}
			memcpy(text + i, replacement, sizeof(replacement));
			mended = true;
		}
		i += 6;
	}
	return mended;
}

/* Counts what begins a value or parts it from the next; the JSON needn't be well-formed. */
static bool has_too_many_values(const char *body, size_t len)
{
	size_t count = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		switch (body[i]) {
		case '"': in_string = !in_string; break;
		case '\\': i += in_string; break;
		case ',':
		case '[':
		case '{': count += !in_string; break;
		default: break;
		}
	}
	return count > VALUES_MAX;
}

/* A second, milder look at what jansson refused; NULL when nothing could be mended. */
static json_t *load_mended(const char *body, size_t len, json_error_t *error)
{
	char *copy = xmalloc(len);
	memcpy(copy, body, len);
	json_t *root = NULL;
	if (mend_surrogates(copy, len) || json_error_code(error) == json_error_numeric_overflow)
		root = json_loadb(copy, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, error);
	free(copy);
	return root;
}

/* jansson's words without what it quotes of the body: errors are logged, and bodies are not. */
static void say_what_is_wrong(json_error_t *error, struct error *err)
{
	const char *text = error->text;
	char *quote = strstr(error->text, " near ");
	if (quote)
		*quote = '\0';
	if (json_error_code(error) == json_error_premature_end_of_input)
		text = "it ends too early";
	(void)error_set(err, "the body is not JSON: %s (line %d, column %d)", text, error->line,
		error->column);
}

json_t *json_in_load(const char *body, size_t len, struct error *err)
{
	if (len == 0) {
		(void)error_set(err, "the body is not JSON: it is empty");
		return NULL;
	}
	if (has_too_many_values(body, len)) {
		(void)error_set(err, "the body has more than %d values", VALUES_MAX);
		return NULL;
	}
	json_error_t error;
	/* NUL is allowed here so that one in some attribute doesn't cost the event; what is used of
	 * the event is looked at again, see usable_text. */
	json_t *root = json_loadb(body, len, JSON_ALLOW_NUL, &error);
	if (!root)
		root = load_mended(body, len, &error);
	if (!root)
		say_what_is_wrong(&error, err);
	return root;
}

/* ---- members ---- */

static const char *usable_text(const json_t *value)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);
	return len > 0 && strlen(text) == len ? text : NULL;
}

bool json_in_is_given(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return value && !json_is_null(value);
}

const char *json_in_text(const json_t *object, const char *key)
{
	return usable_text(json_object_get(object, key));
}

char *json_in_text_dup(struct arena *arena, const json_t *object, const char *key)
{
	return arena_dup(arena, json_in_text(object, key));
}

bool json_in_is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

char *json_in_id_dup(struct arena *arena, const json_t *value)
{
	if (json_is_integer(value))
		return arena_printf(arena, "%lld", (long long)json_integer_value(value));
	if (json_is_real(value)) {
		/* Only as long as no other number could have been meant. */
		double number = json_real_value(value);
		if (!(number > -EXACT_INTEGER_MAX && number < EXACT_INTEGER_MAX))
			return NULL;
		long long whole = (long long)number;
		return (double)whole < number || (double)whole > number
			? NULL
			: arena_printf(arena, "%lld", whole);
	}
	return arena_dup(arena, usable_text(value));
}

size_t json_in_ids_dup(struct arena *arena, const json_t *array, char ***ret_ids)
{
	size_t size = json_array_size(array);
	if (size == 0)
		return 0;
	char **ids = arena_alloc(arena, size * sizeof(*ids));
	size_t count = 0;
	for (size_t i = 0; i < size; i++) {
		char *id = json_in_id_dup(arena, json_array_get(array, i));
		if (id)
			ids[count++] = id;
	}
	if (count > 0)
		*ret_ids = ids;
	return count;
}

int64_t json_in_time_ms(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	if (!json_is_number(value))
		return TIME_NONE;
	/* As a double: exact far beyond 2100, and no number is too large for it. */
	double at_ms = json_number_value(value);
	if (!(at_ms >= (double)TIME_MIN_MS && at_ms < (double)TIME_MAX_MS))
		return TIME_NONE;
	return (int64_t)at_ms;
}
