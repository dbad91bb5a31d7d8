/*
 * What was written, before it means anything: sections of settings, each with its place.
 *
 * Names are checked against the vocabulary as they come in, and what it doesn't know is reported
 * and left out; so the rest of conf/ only meets sections and keys that exist. Values are kept as
 * text: they may be secrets, and are wiped.
 */

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUGGESTION_MAX 100
#define LIST_BYTES_MAX 700
#define KEY_LEN_MAX 64
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

static struct place line_place(const struct given *given, int line)
{
	return (struct place){.file = given->path, .line = line};
}

static void setting_finish(struct setting *setting)
{
	if (setting->value)
		explicit_bzero(setting->value, strlen(setting->value));
	free(setting->value);
	free(setting->key);
	free(setting->variable);
}

void given_finish(struct given *given)
{
	for (size_t i = 0; i < given->section_count; i++) {
		struct section *section = &given->sections[i];
		for (size_t j = 0; j < section->setting_count; j++)
			setting_finish(&section->settings[j]);
		free(section->settings);
		free(section->name);
		free(section->variable);
	}
	free(given->sections);
	*given = (struct given){0};
}

struct section *given_section_get(const struct given *given, const char *name)
{
	for (size_t i = 0; i < given->section_count; i++) {
		if (text_equal(given->sections[i].name, name))
			return &given->sections[i];
	}
	return NULL;
}

struct section *given_section_add(struct given *given, const char *name, const struct kind *kind)
{
	size_t count = given->section_count + 1;
	given->sections = xrealloc(given->sections, count * sizeof(*given->sections));
	struct section *section = &given->sections[given->section_count++];
	*section = (struct section){.name = xstrdup(name), .kind = *kind};
	const char *dot = strchr(section->name, '.');
	section->suffix = dot ? dot + 1 : "";
	return section;
}

static void report_unknown_section(struct given *given, const char *name, int line)
{
	char meant[SUGGESTION_MAX];
	char *stem = xstrndup(name, strcspn(name, "."));
	struct guess guess;
	struct kind kind;
	struct buf all;
	guess_init(&guess, stem);
	buf_init(&all, LIST_BYTES_MAX);
	for (size_t i = 0; kind_at(i, &kind); i++) {
		guess_offer(&guess, kind.stem);
		buf_addf(&all, "%s[%s]", i == 0 ? "; there are " : ", ", kind.stem);
	}
	guess_say(&guess, meant, sizeof(meant));
	conf_report_problem(given->report, line_place(given, line), "there is no section [%s]%s",
		conf_show(name).text, guess.best ? meant : buf_text(&all));
	given->has_unknown_section = true;
	buf_finish(&all);
	free(stem);
}

void given_open_section(struct given *given, const char *name, int line)
{
	struct kind kind;
	size_t stem_len = strcspn(name, ".");
	const char *suffix = name[stem_len] == '.' ? name + stem_len + 1 : NULL;
	struct section *section = given_section_get(given, name);

	if (section)
		return;
	if (!kind_find(name, stem_len, &kind)) {
		report_unknown_section(given, name, line);
		return;
	}
	if (suffix && !kind_has_suffixes(&kind)) {
		conf_report_problem(given->report, line_place(given, line),
			"[%s] is there once and takes no name after a dot", kind.stem);
		return;
	}
	size_t suffix_len = suffix ? strlen(suffix) : 0;
	if (suffix &&
		(suffix_len == 0 || suffix_len > SUFFIX_LEN_MAX ||
			strspn(suffix, NAME_CHARACTERS) != suffix_len)) {
		conf_report_problem(given->report, line_place(given, line),
			"[%s]: the name after the dot is 1 to %d letters, digits, '-' and '_'",
			conf_show(name).text, SUFFIX_LEN_MAX);
		return;
	}
	section = given_section_add(given, name, &kind);
	section->line = line;
}

/* The key stands in another section's table: likely it was put under the wrong header. */
static const char *section_that_has(const char *key, const struct kind *but)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (!text_equal(kind.stem, but->stem) && kind_has_key(&kind, key))
			return kind.stem;
	}
	return NULL;
}

static void report_unknown_key(
	struct given *given, const struct section *section, const char *key, int line)
{
	char meant[SUGGESTION_MAX];
	struct guess guess;
	struct buf all;
	bool is_secret;
	const char *known;
	const char *other = section_that_has(key, &section->kind);
	guess_init(&guess, key);
	buf_init(&all, LIST_BYTES_MAX);
	for (size_t i = 0; (known = kind_key_at(&section->kind, i, &is_secret)) != NULL; i++) {
		guess_offer(&guess, known);
		buf_addf(&all, "%s%s", i == 0 ? "; it has " : ", ", known);
	}
	guess_say(&guess, meant, sizeof(meant));
	if (other)
		(void)snprintf(meant, sizeof(meant), "; it belongs in [%s]", other); /* fits */
	conf_report_problem(given->report, line_place(given, line), "[%s] has no option '%s'%s",
		section->name, conf_show(key).text, guess.best || other ? meant : buf_text(&all));
	buf_finish(&all);
}

static bool is_quoted(const char *value)
{
	size_t len = strlen(value);
	return len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0];
}

/* Other INI dialects have comments after values, and quotes. A secret that quietly took them in
 * would only show as a day of 401s. */
static void warn_of_dialects(struct given *given, const char *key, const char *value, int line)
{
	if (strstr(value, " ;") || strstr(value, " #") || strstr(value, "\t;") ||
		strstr(value, "\t#"))
		conf_report_warning(given->report, line_place(given, line),
			"%s: the ';' or '#' and what follows is part of the value; a comment needs "
			"a "
			"line of its own",
			key);
	if (is_quoted(value))
		conf_report_warning(given->report, line_place(given, line),
			"%s: the quotes are part of the value; leave them out unless they are "
			"meant",
			key);
}

static void setting_add(struct section *section, struct setting setting)
{
	size_t count = section->setting_count + 1;
	section->settings = xrealloc(section->settings, count * sizeof(*section->settings));
	section->settings[section->setting_count++] = setting;
}

static struct setting *setting_find(const struct section *section, const char *key)
{
	for (size_t i = 0; i < section->setting_count; i++) {
		if (text_equal(section->settings[i].key, key))
			return &section->settings[i];
	}
	return NULL;
}

void given_add(
	struct given *given, const char *section_name, const char *key, const char *value, int line)
{
	struct place place = line_place(given, line);
	struct section *section = given_section_get(given, section_name);
	size_t key_len = strlen(key);
	if (key_len == 0 || key_len > KEY_LEN_MAX || strspn(key, NAME_CHARACTERS) != key_len) {
		/* Not shown: what stands before a '=' here may be half a secret. */
		conf_report_problem(given->report, place,
			"what stands before the '=' is no option's name; a line is 'key = value'");
		return;
	}
	if (section_name[0] == '\0') {
		conf_report_problem(given->report, place,
			"'%s' stands before the first section; put it under a header such as "
			"[server]",
			conf_show(key).text);
		return;
	}
	if (!section) /* reported where it began */
		return;
	if (!kind_has_key(&section->kind, key)) {
		report_unknown_key(given, section, key, line);
		return;
	}
	const struct setting *first = setting_find(section, key);
	if (first) {
		conf_report_problem(given->report, place,
			"%s is given twice in [%s]: on line %d and here, on line %d", key,
			section->name, first->line, line);
		return;
	}
	warn_of_dialects(given, key, value, line);
	setting_add(section,
		(struct setting){.key = xstrdup(key), .value = xstrdup(value), .line = line});
}

static bool is_key_or_its_file(const char *key, const char *base_key)
{
	size_t len = strlen(base_key);
	return strncmp(key, base_key, len) == 0 &&
		(key[len] == '\0' || text_equal(key + len, KEY_FILE_ENDING));
}

void given_override(struct section *section, const char *key, const char *base_key,
	const char *value, const char *variable)
{
	size_t kept = 0;
	for (size_t i = 0; i < section->setting_count; i++) {
		struct setting *setting = &section->settings[i];
		if (!setting->variable && is_key_or_its_file(setting->key, base_key))
			setting_finish(setting);
		else
			section->settings[kept++] = *setting;
	}
	section->setting_count = kept;
	const struct setting *first = setting_find(section, key);
	if (first) /* the same variable twice in the environment: getenv takes the first as well */
		return;
	setting_add(section,
		(struct setting){.key = xstrdup(key),
			.value = xstrdup(value),
			.variable = xstrdup(variable)});
}

const struct setting *given_setting_get(
	const struct section *section, const char *key, const char *ending)
{
	size_t key_len = strlen(key);
	for (size_t i = 0; section && i < section->setting_count; i++) {
		const struct setting *setting = &section->settings[i];
		if (strncmp(setting->key, key, key_len) == 0 &&
			text_equal(setting->key + key_len, ending) && setting->value[0] != '\0')
			return setting;
	}
	return NULL;
}

struct place given_place_of_setting(const struct given *given, const struct setting *setting)
{
	return (struct place){
		.file = given->path,
		.line = setting->line,
		.variable = setting->variable,
	};
}

struct place given_place_of_section(const struct given *given, const struct section *section)
{
	if (!section || (section->line == 0 && !section->variable))
		return line_place(given, 1);
	return (struct place){
		.file = given->path,
		.line = section->line,
		.variable = section->line > 0 ? NULL : section->variable,
	};
}

struct place given_place_of_key(
	const struct given *given, const struct section *section, const char *key)
{
	const struct setting *setting = given_setting_get(section, key, "");
	if (!setting)
		setting = given_setting_get(section, key, KEY_FILE_ENDING);
	return setting ? given_place_of_setting(given, setting)
		       : given_place_of_section(given, section);
}
