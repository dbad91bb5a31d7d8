/*
 * One value by its row: read, compared, freed.
 *
 * Nothing here knows where a value came from. A text that a row refuses leaves the member as it
 * was, so a struct filled with its defaults stays usable whatever the user wrote.
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_TEXT_MAX 64

static void *member_of(const struct option *row, void *options)
{
	return (char *)options + row->offset;
}

static const void *const_member_of(const struct option *row, const void *options)
{
	return (const char *)options + row->offset;
}

static void size_text(int64_t bytes, char *ret, size_t ret_size)
{
	int64_t kib = 1024;
	int64_t mib = kib * kib;
	if (bytes >= mib && bytes % mib == 0)
		(void)snprintf(ret, ret_size, "%lldM", (long long)(bytes / mib));
	else if (bytes >= kib && bytes % kib == 0)
		(void)snprintf(ret, ret_size, "%lldk", (long long)(bytes / kib));
	else
		(void)snprintf(ret, ret_size, "%lld", (long long)bytes);
}

static void limit_text(const struct option *row, int64_t limit, char *ret, size_t ret_size)
{
	if (row->type == OPTION_DURATION && limit == 0)
		(void)snprintf(ret, ret_size, "0");
	else if (row->type == OPTION_DURATION)
		text_from_span(limit, ret, ret_size);
	else if (row->type == OPTION_SIZE)
		size_text(limit, ret, ret_size);
	else
		(void)snprintf(ret, ret_size, "%lld", (long long)limit);
}

static bool range_check(
	const struct option *row, const char *text, int64_t value, struct error *err)
{
	bool has_range = row->minimum != 0 || row->maximum != 0;
	bool is_count = row->type == OPTION_DURATION || row->type == OPTION_SIZE;
	if (!has_range && (value >= 0 || !is_count))
		return true;
	if (has_range && value >= row->minimum && value <= row->maximum)
		return true;
	if (!has_range)
		return error_set(err, "%s is less than nothing", conf_show(text).text);
	char least[RANGE_TEXT_MAX];
	char most[RANGE_TEXT_MAX];
	limit_text(row, row->minimum, least, sizeof(least));
	limit_text(row, row->maximum, most, sizeof(most));
	return error_set(
		err, "%s is out of range: from %s to %s", conf_show(text).text, least, most);
}

static bool number_read(
	const struct option *row, const char *text, int64_t *member, struct error *err)
{
	int64_t value = 0;
	int64_t bare = 0;
	bool may_be_forever = row->type == OPTION_DURATION && row->flags & OPTION_FOREVER;
	if (may_be_forever && text_equal(text, "forever")) {
		*member = INT64_MAX;
		return true;
	}
	if (row->type == OPTION_INT && !text_to_int64(text, &value))
		return error_set(err, "'%s' is no number", conf_show(text).text);
	if (row->type == OPTION_SIZE && !text_to_size(text, &value))
		return error_set(
			err, "'%s' is no size, such as 65536, 64k or 1M", conf_show(text).text);
	if (row->type == OPTION_DURATION && !text_to_duration_ms(text, &value)) {
		if (text_to_int64(text, &bare))
			return error_set(err, "'%s' needs a unit: ms, s, m, h or d, such as 30s",
				conf_show(text).text);
		return error_set(err, "'%s' is no duration, such as 500ms, 30s, 15m, 2h or 3d%s",
			conf_show(text).text, may_be_forever ? ", or forever" : "");
	}
	if (!range_check(row, text, value, err))
		return false;
	*member = value;
	return true;
}

static bool choice_read(const struct option *row, const char *text, int *member, struct error *err)
{
	char meant[80];
	struct guess guess;
	struct buf all;
	guess_init(&guess, text);
	buf_init(&all, ERROR_TEXT_MAX);
	for (int i = 0; row->choices[i]; i++) {
		if (text_equal(row->choices[i], text)) {
			*member = i;
			buf_finish(&all);
			return true;
		}
		guess_offer(&guess, row->choices[i]);
		bool is_last = !row->choices[i + 1];
		buf_addf(&all, "%s%s", i == 0 ? "" : is_last ? " or " : ", ", row->choices[i]);
	}
	guess_say(&guess, meant, sizeof(meant));
	error_set(err, "'%s' is not %s%s", conf_show(text).text, buf_text(&all), meant);
	buf_finish(&all);
	return false;
}

static bool text_read(const char *text, char **member, struct error *err)
{
	if (!text_is_utf8(text, strlen(text)))
		return error_set(err, "is not UTF-8 text");
	free(*member);
	*member = xstrdup(text);
	return true;
}

static void secret_replace(struct secret *member, const char *text)
{
	secret_finish(member);
	secret_init(member, text, strlen(text));
}

bool option_read(const struct option *row, const char *text, void *options, struct error *err)
{
	void *member = member_of(row, options);
	switch (row->type) {
	case OPTION_TEXT: return text_read(text, member, err);
	case OPTION_SECRET: secret_replace(member, text); return true;
	case OPTION_BOOL:
		if (text_to_bool(text, member))
			return true;
		return error_set(err, "'%s' is neither yes nor no", conf_show(text).text);
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE: return number_read(row, text, member, err);
	case OPTION_CHOICE: return choice_read(row, text, member, err);
	case OPTION_CUSTOM: return row->parse(text, member, err);
	}
	assert(false && "an option without a type");
	return false;
}

static bool secret_same(const struct secret *a, const struct secret *b)
{
	if (!secret_is_set(a) || !secret_is_set(b))
		return secret_is_set(a) == secret_is_set(b);
	return secret_equals(a, b->bytes, b->len);
}

bool option_equal(const struct option *row, const void *a, const void *b)
{
	const void *one = const_member_of(row, a);
	const void *other = const_member_of(row, b);
	switch (row->type) {
	case OPTION_TEXT: return text_equal(*(const char *const *)one, *(const char *const *)other);
	case OPTION_SECRET: return secret_same(one, other);
	case OPTION_BOOL: return *(const bool *)one == *(const bool *)other;
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE: return *(const int64_t *)one == *(const int64_t *)other;
	case OPTION_CHOICE: return *(const int *)one == *(const int *)other;
	case OPTION_CUSTOM: return row->equal(one, other);
	}
	assert(false && "an option without a type");
	return false;
}

const struct option *option_find(const struct option *table, const char *key)
{
	for (const struct option *row = table; row->key; row++) {
		if (text_equal(row->key, key))
			return row;
	}
	return NULL;
}

void options_init(const struct option *table, void *options)
{
	for (const struct option *row = table; row->key; row++) {
		struct error err = {0};
		bool is_ok = !row->fallback || option_read(row, row->fallback, options, &err);
		assert(is_ok); /* a default is the programmer's */
		(void)is_ok;   /* without asserts */
	}
}

static void text_forget(char **member)
{
	free(*member);
	*member = NULL;
}

void options_finish(const struct option *table, void *options)
{
	for (const struct option *row = table; row->key; row++) {
		void *member = member_of(row, options);
		if (row->type == OPTION_TEXT)
			text_forget(member);
		else if (row->type == OPTION_SECRET)
			secret_finish(member);
		else if (row->type == OPTION_CUSTOM && row->finish)
			row->finish(member);
	}
}
