/*
 * One section's struct, by its table, from what was given.
 *
 * A value that can't be read leaves the default in its place, so that the checks that follow see a
 * whole struct and add no problem that is only the echo of the first. For the same reason a secret
 * that was given and can't be read counts as given.
 */

#include "base/error.h"
#include "base/secret.h"
#include "conf/conf_private.h"

#include <string.h>

static void read_setting(struct given *given, const struct section *section,
	const struct option *row, const struct setting *setting, void *options)
{
	struct error err = {0};
	if (!option_read(row, setting->value, options, &err))
		conf_report_problem(given->report, given_place_of_setting(given, setting),
			"[%s] %s: %s", section->name, row->key, err.text);
}

static void warn_of_inline_secret(
	struct given *given, const struct option *row, const struct setting *setting)
{
	if (setting->variable || !given->file_is_world_readable || given->warned_world_readable)
		return;
	given->warned_world_readable = true;
	conf_report_warning(given->report, given_place_of_setting(given, setting),
		"%s is a secret, and every user of this machine can read this file: chmod o-r it, "
		"or "
		"move the secret to a file of its own with %s_file",
		row->key, row->key);
}

static void read_secret_file(struct given *given, const struct section *section,
	const struct option *row, const struct setting *setting, struct secret *member)
{
	struct place place = given_place_of_setting(given, setting);
	bool is_world_readable = false;
	struct error err = {0};
	if (!secret_file_read(given, setting->value, member, &is_world_readable, &err)) {
		conf_report_problem(given->report, place, "[%s] %s: '%s' %s", section->name,
			setting->key, conf_show(setting->value).text, err.text);
		secret_finish(member);
		secret_init(member, SECRET_STAND_IN, strlen(SECRET_STAND_IN));
	} else if (is_world_readable) {
		conf_report_warning(given->report, place,
			"[%s] %s: every user of this machine can read '%s'; chmod o-r it",
			section->name, row->key, conf_show(setting->value).text);
	}
}

static void read_secret(
	struct given *given, const struct section *section, const struct option *row, void *options)
{
	const struct setting *inline_one = given_setting_get(section, row->key, "");
	const struct setting *file = given_setting_get(section, row->key, KEY_FILE_ENDING);
	if (inline_one && file) {
		const struct setting *second = file->line > inline_one->line ? file : inline_one;
		conf_report_problem(given->report, given_place_of_setting(given, second),
			"[%s] has both %s and %s; one of them is enough", section->name, row->key,
			file->key);
	}
	if (inline_one) {
		warn_of_inline_secret(given, row, inline_one);
		read_setting(given, section, row, inline_one, options);
	} else if (file) {
		void *member = (char *)options + row->offset;
		read_secret_file(given, section, row, file, member);
	}
}

static bool is_given(const struct section *section, const struct option *row)
{
	return given_setting_get(section, row->key, "") ||
		(row->type == OPTION_SECRET &&
			given_setting_get(section, row->key, KEY_FILE_ENDING));
}

static void check_required(struct given *given, const struct section *section,
	const char *section_name, const struct option *row)
{
	bool is_secret = row->type == OPTION_SECRET;
	if (!(row->flags & OPTION_REQUIRED) || is_given(section, row) ||
		(is_secret && given->for_map))
		return;
	conf_report_problem(given->report, given_place_of_section(given, section),
		"[%s] needs %s%s%s%s", section_name, row->key, is_secret ? " (or " : "",
		is_secret ? row->key : "", is_secret ? KEY_FILE_ENDING ")" : "");
}

void fill_options(struct given *given, const struct section *section, const char *section_name,
	const struct option *table, void *options)
{
	options_init(table, options);
	for (const struct option *row = table; row->key; row++) {
		const struct setting *setting = given_setting_get(section, row->key, "");
		if (row->type == OPTION_SECRET)
			read_secret(given, section, row, options);
		else if (setting)
			read_setting(given, section, row, setting, options);
		check_required(given, section, section_name, row);
	}
}
