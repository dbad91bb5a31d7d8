/*
 * A small ordered set of named values.
 *
 * An array in the order in which the names first came; a contact has four or five, so finding one
 * is a walk. It grows at powers of two and therefore needs no capacity beside the count. What must
 * stay true: no name is twice; whether a word is taken depends on who says it and as of when, not
 * on what it says; the same set gives the same bytes.
 */

#include "event/attributes.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_out.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The words are Intercom's; the store's form uses them too. */
static const struct {
	enum value_type kind;
	const char *data_type;
} data_types[] = {
	{VALUE_TEXT, "string"},
	{VALUE_INTEGER, "integer"},
	{VALUE_TIME, "datetime"},
	{VALUE_BOOLEAN, "boolean"},
};

#define DATA_TYPE_COUNT (sizeof(data_types) / sizeof(data_types[0]))

const char *value_data_type(enum value_type kind)
{
	for (size_t i = 0; i < DATA_TYPE_COUNT; i++)
		if (data_types[i].kind == kind)
			return data_types[i].data_type;
	return "string";
}

static bool kind_from_word(const char *word, enum value_type *ret_kind)
{
	for (size_t i = 0; i < DATA_TYPE_COUNT; i++) {
		if (text_equal(data_types[i].data_type, word)) {
			*ret_kind = data_types[i].kind;
			return true;
		}
	}
	return false;
}

void attributes_init(struct attributes *set)
{
	*set = (struct attributes){0};
}

void attributes_finish(struct attributes *set)
{
	for (size_t i = 0; i < set->count; i++) {
		free(set->items[i].name);
		free(set->items[i].value.text);
		free(set->items[i].by);
	}
	free(set->items);
	*set = (struct attributes){0};
}

static struct attribute *find(const struct attributes *set, const char *name)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->items[i].name, name) == 0)
			return &set->items[i];
	return NULL;
}

/* A new item, without word or value yet. The name is known not to be there. */
static struct attribute *append(struct attributes *set, const char *name)
{
	bool is_full = (set->count & (set->count - 1)) == 0;
	if (is_full) {
		size_t capacity = set->count ? 2 * set->count : 1;
		set->items = xrealloc(set->items, capacity * sizeof(*set->items));
	}
	struct attribute *item = &set->items[set->count++];
	*item = (struct attribute){.name = xstrdup(name)};
	return item;
}

/* Of two words of one time one must win, whichever came first. */
static bool is_newer(const struct attribute *item, int64_t at_ms, const char *by)
{
	assert(item->by); /* of every item that is there */
	return item->at_ms > at_ms || (item->at_ms == at_ms && strcmp(item->by, by) > 0);
}

/* The item that this word goes into; NULL when another source's word on the name is newer. */
static struct attribute *claim(
	struct attributes *set, const char *name, int64_t at_ms, const char *by)
{
	assert(name && by);
	struct attribute *item = find(set, name);
	if (!item)
		item = append(set, name);
	else if (!text_equal(item->by, by) && is_newer(item, at_ms, by))
		return NULL;
	item->at_ms = at_ms;
	if (!text_equal(item->by, by)) {
		char *old = item->by;
		item->by = xstrdup(by);
		free(old);
	}
	return item;
}

/* `text` is borrowed, and may be the item's own. */
static void fill(struct attribute *item, struct value value, const char *text)
{
	char *old = item->value.text;
	item->value = value;
	item->value.text = xstrdup_or_null(text);
	free(old);
}

void attributes_set_text(
	struct attributes *set, const char *name, const char *text, int64_t at_ms, const char *by)
{
	struct attribute *item = claim(set, name, at_ms, by);
	struct value value = {.type = text ? VALUE_TEXT : VALUE_NULL, .kind = VALUE_TEXT};
	if (item)
		fill(item, value, text);
}

void attributes_set_time(
	struct attributes *set, const char *name, int64_t unix_s, int64_t at_ms, const char *by)
{
	struct attribute *item = claim(set, name, at_ms, by);
	struct value value = {.type = VALUE_NULL, .kind = VALUE_TIME};
	if (unix_s != TIME_NONE)
		value = (struct value){.type = VALUE_TIME, .kind = VALUE_TIME, .integer = unix_s};
	if (item)
		fill(item, value, NULL);
}

const struct attribute *attributes_get(const struct attributes *set, const char *name)
{
	return find(set, name);
}

void attributes_merge(struct attributes *set, const struct attributes *from)
{
	assert(set != from);
	for (size_t i = 0; i < from->count; i++) {
		const struct attribute *word = &from->items[i];
		struct attribute *item = claim(set, word->name, word->at_ms, word->by);
		if (item)
			fill(item, word->value, word->value.text);
	}
}

static void write_value(struct json_out *out, const struct value *value)
{
	switch (value->type) {
	case VALUE_NULL: json_out_null(out); break;
	case VALUE_TEXT: json_out_text(out, value->text); break;
	case VALUE_INTEGER:
	case VALUE_TIME: json_out_integer(out, value->integer); break;
	case VALUE_BOOLEAN: json_out_boolean(out, value->integer != 0); break;
	}
}

void attributes_encode(const struct attributes *set, struct buf *ret)
{
	struct json_out out;
	json_out_init(&out, ret);
	json_out_object(&out);
	for (size_t i = 0; i < set->count; i++) {
		const struct attribute *item = &set->items[i];
		json_out_key(&out, item->name);
		json_out_array(&out);
		write_value(&out, &item->value);
		json_out_text(&out, value_data_type(item->value.kind));
		json_out_integer(&out, item->at_ms);
		json_out_text(&out, item->by);
		json_out_array_end(&out);
	}
	json_out_object_end(&out);
}

void attributes_render(const struct attributes *set, struct buf *ret)
{
	struct json_out out;
	json_out_init(&out, ret);
	json_out_object(&out);
	for (size_t i = 0; i < set->count; i++) {
		json_out_key(&out, set->items[i].name);
		write_value(&out, &set->items[i].value);
	}
	json_out_object_end(&out);
}

/* The value whose kind is known from the word beside it; false when the two disagree. */
static bool read_value(const json_t *json, struct value *value)
{
	if (json_is_null(json)) {
		value->type = VALUE_NULL;
		return true;
	}
	value->type = value->kind;
	switch (value->kind) {
	case VALUE_TEXT:
		if (!json_is_string(json))
			return false;
		value->text = xstrdup(json_string_value(json));
		return true;
	case VALUE_INTEGER:
	case VALUE_TIME: value->integer = json_integer_value(json); return json_is_integer(json);
	case VALUE_BOOLEAN: value->integer = json_is_true(json); return json_is_boolean(json);
	case VALUE_NULL: break;
	}
	return false;
}

/* [value, "kind", at_ms, "by"] */
static bool read_item(const json_t *json, struct attribute *item)
{
	const json_t *at = json_array_get(json, 2);
	const char *by = json_string_value(json_array_get(json, 3));
	if (json_array_size(json) != 4 || !json_is_integer(at) || !by)
		return false;
	item->at_ms = json_integer_value(at);
	item->by = xstrdup(by);
	return kind_from_word(json_string_value(json_array_get(json, 1)), &item->value.kind) &&
		read_value(json_array_get(json, 0), &item->value);
}

bool attributes_decode(const char *text, size_t len, struct attributes *ret_set, struct error *err)
{
	struct attributes set = {0};
	bool done = false;
	json_error_t problem;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
	if (!json_is_object(json)) {
		error_set(err, "stored attributes: %s", json ? "not an object" : problem.text);
		goto out;
	}
	const char *name;
	json_t *value;
	json_object_foreach(json, name, value)
	{
		/* Appended without looking: the parser refused names that come twice. */
		if (!read_item(value, append(&set, name))) {
			error_set(err, "stored attributes: %s is not [value, kind, at, by]", name);
			goto out;
		}
	}
	*ret_set = set;
	set = (struct attributes){0};
	done = true;
out:
	attributes_finish(&set);
	json_decref(json);
	return done;
}
