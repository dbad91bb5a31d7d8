/*
 * The environment: SUBRELAY_<SECTION>[_<SUFFIX>]_<KEY>.
 *
 * '_' both parts a variable's words and stands within them, so a name can't be cut up; it is tried
 * against the vocabulary instead. The first that fits wins:
 *   1. a key of a section without a suffix:        SUBRELAY_INTERCOM_ACCESS_TOKEN
 *   2. a key of a section that the file has:       SUBRELAY_INTERCOM_TEST_ACCESS_TOKEN,
 * [intercom.Test]
 *   3. the longest key at its end; what is left is a new section's suffix, in lower case.
 */

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "SUBRELAY_"
#define NAME_LEN_MAX 128
#define NAME_BYTES_MAX ((size_t)2 * NAME_LEN_MAX)

/* Where a variable goes. Texts are borrowed from the vocabulary, the rest is small. */
struct target {
	struct kind kind;
	const char *key;
	bool is_file;              /* KEY_file */
	char suffix[NAME_LEN_MAX]; /* as in the section's name; "" for none */
};

/* "intercom.test-eu" -> "INTERCOM_TEST_EU"; compared, not kept: '.', '-' and '_' are one. */
static bool equals_upper(const char *upper, size_t upper_len, const char *name)
{
	if (strlen(name) != upper_len)
		return false;
	for (size_t i = 0; i < upper_len; i++) {
		int c = name[i] == '.' || name[i] == '-' ? '_' : toupper((unsigned char)name[i]);
		if (c != upper[i])
			return false;
	}
	return true;
}

/* "SERVER" of "SERVER_LISTEN" -> "LISTEN"; NULL when it doesn't begin so. */
static const char *after_name(const char *rest, const char *name)
{
	size_t len = strlen(name);
	if (strlen(rest) <= len || rest[len] != '_' || !equals_upper(rest, len, name))
		return NULL;
	return rest + len + 1;
}

static bool is_key(const char *rest, const char *key, bool is_secret, bool *ret_is_file)
{
	size_t len = strlen(rest);
	size_t file_len = strlen(KEY_FILE_ENDING);
	*ret_is_file = false;
	if (equals_upper(rest, len, key))
		return true;
	if (!is_secret || len <= file_len ||
		!equals_upper(rest + len - file_len, file_len, KEY_FILE_ENDING))
		return false;
	*ret_is_file = true;
	return equals_upper(rest, len - file_len, key);
}

static bool find_key(const char *rest, struct target *target)
{
	const char *key;
	bool is_secret;
	for (size_t i = 0; (key = kind_key_at(&target->kind, i, &is_secret)) != NULL; i++) {
		if (is_key(rest, key, is_secret, &target->is_file)) {
			target->key = key;
			return true;
		}
	}
	return false;
}

static bool find_plain(const char *rest, struct target *target)
{
	for (size_t i = 0; kind_at(i, &target->kind); i++) {
		const char *key = after_name(rest, target->kind.stem);
		if (key && find_key(key, target))
			return true;
	}
	return false;
}

static bool find_in_sections(const struct given *given, const char *rest, struct target *target)
{
	for (size_t i = 0; i < given->section_count; i++) {
		const struct section *section = &given->sections[i];
		const char *key = after_name(rest, section->name);
		target->kind = section->kind;
		if (!key || !find_key(key, target))
			continue;
		memcpy(target->suffix, section->suffix, strlen(section->suffix) + 1);
		return true;
	}
	return false;
}

static bool find_new_section(const char *rest, struct target *target)
{
	for (size_t i = 0; kind_at(i, &target->kind); i++) {
		const char *suffix = after_name(rest, target->kind.stem);
		if (!suffix || !kind_has_suffixes(&target->kind))
			continue;
		/* From the left, so that the longest key is met first. */
		for (const char *cut = strchr(suffix, '_'); cut; cut = strchr(cut + 1, '_')) {
			size_t len = (size_t)(cut - suffix);
			if (len == 0 || len > SUFFIX_LEN_MAX || !find_key(cut + 1, target))
				continue;
			for (size_t j = 0; j < len; j++)
				target->suffix[j] = (char)tolower((unsigned char)suffix[j]);
			target->suffix[len] = '\0';
			return true;
		}
	}
	return false;
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len < NAME_LEN_MAX &&
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == len;
}

static bool target_find(const struct given *given, const char *rest, struct target *target)
{
	*target = (struct target){0};
	return is_name(rest) &&
		(find_plain(rest, target) || find_in_sections(given, rest, target) ||
			find_new_section(rest, target));
}

/* `best` keeps the nearest name, for the guess has only borrowed it. */
static void offer_variable(struct guess *guess, const char *stem, const char *key, char *best)
{
	char name[NAME_LEN_MAX] = "";
	int len = snprintf(name, sizeof(name), "%s_%s", stem, key);
	for (int i = 0; i < len && name[i] != '\0'; i++)
		name[i] = (char)toupper((unsigned char)name[i]);
	guess_offer(guess, name);
	if (guess->best == name) {
		memcpy(best, name, sizeof(name));
		guess->best = best;
	}
}

static void warn_unknown(struct given *given, const char *variable)
{
	char best[NAME_LEN_MAX] = "";
	struct guess guess;
	struct kind kind;
	const char *key;
	bool is_secret;
	guess_init(&guess, variable + strlen(PREFIX));
	for (size_t i = 0; kind_at(i, &kind); i++) {
		for (size_t j = 0; (key = kind_key_at(&kind, j, &is_secret)) != NULL; j++)
			offer_variable(&guess, kind.stem, key, best);
	}
	if (guess.best)
		conf_report_warning(given->report, (struct place){.variable = variable},
			"no option has this name, so it is not used; did you mean '%s%s'?", PREFIX,
			best);
	else
		conf_report_warning(given->report, (struct place){.variable = variable},
			"no option has this name, so it is not used");
}

static bool is_plain_text(const char *value)
{
	for (; *value != '\0'; value++) {
		unsigned char c = (unsigned char)*value;
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static void take(struct given *given, const struct target *target, const char *variable,
	const char *untrimmed)
{
	struct buf name;
	struct buf key;
	buf_init(&name, NAME_BYTES_MAX);
	buf_init(&key, NAME_BYTES_MAX);
	buf_addf(&name, "%s%s%s", target->kind.stem, target->suffix[0] != '\0' ? "." : "",
		target->suffix);
	buf_addf(&key, "%s%s", target->key, target->is_file ? KEY_FILE_ENDING : "");

	struct section *section = given_section_get(given, buf_text(&name));
	if (!section) {
		section = given_section_add(given, buf_text(&name), &target->kind);
		section->variable = xstrdup(variable);
	}
	char *copy = xstrdup(untrimmed);
	const char *value = text_trim(copy);
	size_t len = strlen(untrimmed);
	if (is_plain_text(value))
		given_override(section, buf_text(&key), target->key, value, variable);
	else
		conf_report_problem(given->report, (struct place){.variable = variable},
			"the value holds a control character");
	explicit_bzero(copy, len);
	free(copy);
	buf_finish(&key);
	buf_finish(&name);
}

void environment_read(struct given *given, char *const *environment)
{
	for (char *const *entry = environment; environment && *entry; entry++) {
		const char *equals = strchr(*entry, '=');
		if (!equals)
			continue;
		char *variable = xstrndup(*entry, (size_t)(equals - *entry));
		struct target target;
		if (text_equal(variable, "CREDENTIALS_DIRECTORY"))
			given->credentials_directory = equals + 1;
		else if (text_starts_with(variable, PREFIX) &&
			target_find(given, variable + strlen(PREFIX), &target))
			take(given, &target, variable, equals + 1);
		else if (text_starts_with(variable, PREFIX))
			warn_unknown(given, variable);
		free(variable);
	}
}
