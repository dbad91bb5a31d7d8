/*
 * Strict readers for numbers, spans and sizes, and small text helpers.
 *
 * What must stay true: a reader understands the whole text or refuses it and leaves its result
 * alone; nothing depends on the locale, the time zone or the clock.
 */

#include "base/text.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

struct unit {
	const char *name;
	int64_t factor;
};

#define MS_SECOND INT64_C(1000)
#define MS_MINUTE (60 * MS_SECOND)
#define MS_HOUR (60 * MS_MINUTE)
#define MS_DAY (24 * MS_HOUR)

/* Largest first: text_from_span walks down. */
static const struct unit span_units[] = {
	{"d", MS_DAY},
	{"h", MS_HOUR},
	{"m", MS_MINUTE},
	{"s", MS_SECOND},
	{"ms", 1},
};

static const struct unit size_units[] = {
	{"", 1},
	{"k", INT64_C(1) << 10},
	{"K", INT64_C(1) << 10},
	{"m", INT64_C(1) << 20},
	{"M", INT64_C(1) << 20},
	{"g", INT64_C(1) << 30},
	{"G", INT64_C(1) << 30},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads the digits that text starts with, negated on demand; NULL when there are none or too many.
 */
static const char *read_digits(const char *text, bool negative, int64_t *ret_value)
{
	int64_t value = 0;
	const char *c = text;
	for (; *c >= '0' && *c <= '9'; c++) {
		int64_t digit = negative ? -(*c - '0') : *c - '0';
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, digit, &value))
			return NULL;
	}
	if (c == text)
		return NULL;
	*ret_value = value;
	return c;
}

bool text_to_int64(const char *text, int64_t *ret_value)
{
	if (!text)
		return false;
	bool negative = *text == '-';
	int64_t value;
	const char *end = read_digits(text + negative, negative, &value);
	if (!end || *end != '\0')
		return false;
	*ret_value = value;
	return true;
}

static bool read_with_unit(
	const char *text, const struct unit *units, size_t unit_count, int64_t *ret_value)
{
	int64_t number;
	const char *end = text ? read_digits(text, false, &number) : NULL;
	if (!end)
		return false;
	for (size_t i = 0; i < unit_count; i++) {
		int64_t value;
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(number, units[i].factor, &value))
			return false;
		*ret_value = value;
		return true;
	}
	return false;
}

bool text_to_duration_ms(const char *text, int64_t *ret_ms)
{
	if (text_equal(text, "0")) {
		*ret_ms = 0;
		return true;
	}
	return read_with_unit(text, span_units, COUNT(span_units), ret_ms);
}

bool text_to_size(const char *text, int64_t *ret_bytes)
{
	return read_with_unit(text, size_units, COUNT(size_units), ret_bytes);
}

bool text_to_bool(const char *text, bool *ret_value)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{"yes", true},
		{"no", false},
		{"on", true},
		{"off", false},
		{"true", true},
		{"false", false},
		{"1", true},
		{"0", false},
	};
	for (size_t i = 0; text && i < COUNT(words); i++) {
		if (strcasecmp(text, words[i].word) == 0) {
			*ret_value = words[i].value;
			return true;
		}
	}
	return false;
}

bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool text_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

char *text_trim(char *text)
{
	while (is_blank(*text))
		text++;
	size_t len = strlen(text);
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

size_t text_distance(const char *a, const char *b)
{
	size_t b_len = strlen(b);
	/* row[j]: the distance between the part of a read so far and the first j bytes of b. */
	size_t *row = xcalloc(b_len + 1, sizeof(*row));
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (a[i] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	size_t distance = row[b_len];
	free(row);
	return distance;
}

static bool is_between(unsigned char byte, unsigned char low, unsigned char high)
{
	return byte >= low && byte <= high;
}

/* The second byte is where overlong forms, surrogates and too high code points show. */
size_t text_utf8_len(const char *text, size_t len)
{
	const unsigned char *byte = (const unsigned char *)text;
	if (len == 0 || is_between(byte[0], 0x80, 0xc1) || byte[0] > 0xf4)
		return 0;
	if (byte[0] < 0x80)
		return 1;
	size_t wanted = byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
	unsigned char low = byte[0] == 0xe0 ? 0xa0 : byte[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = byte[0] == 0xed ? 0x9f : byte[0] == 0xf4 ? 0x8f : 0xbf;
	if (len < wanted || !is_between(byte[1], low, high))
		return 0;
	for (size_t i = 2; i < wanted; i++)
		if (!is_between(byte[i], 0x80, 0xbf))
			return 0;
	return wanted;
}

bool text_is_utf8(const char *text, size_t len)
{
	size_t at = 0;
	while (at < len) {
		uint64_t word;
		if (len - at >= sizeof(word)) {
			memcpy(&word, text + at, sizeof(word));
			if ((word & UINT64_C(0x8080808080808080)) == 0) {
				at += sizeof(word);
				continue;
			}
		}
		size_t step = text_utf8_len(text + at, len - at);
		if (step == 0)
			return false;
		at += step;
	}
	return true;
}

int text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

uint64_t text_hash(const char *text, size_t len, uint64_t seed)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return hash;
}

void text_from_time(int64_t at_ms, char *ret, size_t ret_size)
{
	int64_t ms = at_ms % 1000;
	if (ms < 0)
		ms += 1000;
	struct tm date;
	time_t at_s = (time_t)(at_ms / 1000 - (at_ms % 1000 < 0));
	if (at_ms == TIME_NONE || !gmtime_r(&at_s, &date) || date.tm_year < -1900 ||
		date.tm_year > 9999 - 1900) {
		(void)snprintf(ret, ret_size, "-");
		return;
	}
	/* A ret that is too small gets a cut text; the contract asks for 25. */
	(void)snprintf(ret, ret_size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", date.tm_year + 1900,
		date.tm_mon + 1, date.tm_mday, date.tm_hour, date.tm_min, date.tm_sec, (int)ms);
}

void text_from_span(int64_t span_ms, char *ret, size_t ret_size)
{
	const char *sign = span_ms < 0 ? "-" : "";
	uint64_t rest = span_ms < 0 ? 0 - (uint64_t)span_ms : (uint64_t)span_ms;
	size_t i = 0;
	while (i + 1 < COUNT(span_units) && rest < (uint64_t)span_units[i].factor)
		i++;
	uint64_t factor = (uint64_t)span_units[i].factor;
	unsigned long long large = rest / factor;
	unsigned long long small = 0;
	if (i + 1 < COUNT(span_units))
		small = rest % factor / (uint64_t)span_units[i + 1].factor;
	/* As above: a ret that is too small gets a cut text. */
	if (small == 0)
		(void)snprintf(ret, ret_size, "%s%llu%s", sign, large, span_units[i].name);
	else
		(void)snprintf(ret, ret_size, "%s%llu%s%llu%s", sign, large, span_units[i].name,
			small, span_units[i + 1].name);
}
