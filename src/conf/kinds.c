/*
 * The vocabulary: which sections there are, and which keys each of them knows.
 *
 * What a section's name begins with is its kind: one of our own (tables.c: single sections, and
 * `intercom`, a workspace each), a source with its own table, or one of the two lists of names,
 * whose keys the sources bring. The file and the environment are both read against this; another
 * source or another option changes nothing here.
 */

#include "base/text.h"
#include "conf/conf_private.h"
#include "source/source.h"

#include <string.h>

bool kind_at(size_t index, struct kind *ret_kind)
{
	for (const struct kind *own = conf_own_kinds; own->stem; own++) {
		if (index-- == 0) {
			*ret_kind = *own;
			return true;
		}
	}
	const struct source *const *source = source_all();
	while (*source && index > 0) {
		source++;
		index--;
	}
	if (!*source)
		return false;
	*ret_kind = (struct kind){
		.stem = (*source)->name,
		.class = KIND_SOURCE,
		.table = (*source)->options,
		.source = *source,
	};
	return true;
}

bool kind_find(const char *stem, size_t stem_len, struct kind *ret_kind)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (strlen(kind.stem) == stem_len && memcmp(kind.stem, stem, stem_len) == 0) {
			*ret_kind = kind;
			return true;
		}
	}
	return false;
}

bool kind_has_suffixes(const struct kind *kind)
{
	return kind->class == KIND_WORKSPACE || kind->class == KIND_SOURCE;
}

/* Over all sources, one after the other: a key that two of them know comes twice. */
static const char *name_key_at(enum kind_class class, size_t index)
{
	for (const struct source *const *source = source_all(); *source; source++) {
		const struct source_name *row =
			class == KIND_EVENT_NAMES ? (*source)->event_names : (*source)->attributes;
		for (; row && row->key; row++) {
			if (index-- == 0)
				return row->key;
		}
	}
	return NULL;
}

const char *kind_key_at(const struct kind *kind, size_t index, bool *ret_is_secret)
{
	*ret_is_secret = false;
	if (!kind->table)
		return name_key_at(kind->class, index);
	const struct option *row = kind->table;
	while (row->key && index > 0) {
		row++;
		index--;
	}
	*ret_is_secret = row->key && row->type == OPTION_SECRET;
	return row->key;
}

bool kind_has_key(const struct kind *kind, const char *key)
{
	size_t len = strlen(key);
	size_t ending_len = strlen(KEY_FILE_ENDING);
	bool is_file = len > ending_len && text_equal(key + len - ending_len, KEY_FILE_ENDING);
	const char *known;
	bool is_secret;
	for (size_t i = 0; (known = kind_key_at(kind, i, &is_secret)) != NULL; i++) {
		if (text_equal(known, key))
			return true;
		if (is_secret && is_file && strlen(known) == len - ending_len &&
			memcmp(known, key, len - ending_len) == 0)
			return true;
	}
	return false;
}

void conf_each_table(
	bool (*call)(void *context, const char *section, const struct option *table), void *context)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (kind.table && !call(context, kind.stem, kind.table))
			return;
	}
}
