/*
 * [event_names] and [attributes]: under which names things are written in Intercom.
 *
 * The keys are what the sources can send; one that two sources know has the first one's default. Of
 * a value `on` and `off` (and their kin) are words, everything else is a name, which is checked
 * against Intercom's rules here, because there a bad one would only show when the first event is
 * refused.
 */

#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"
#include "source/source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_NAME_BYTES_MAX 255
#define ATTRIBUTE_NAME_BYTES_MAX 190

struct rule {
	const char *section;
	size_t bytes_max;
};

static const struct rule event_rule = {"event_names", EVENT_NAME_BYTES_MAX};
static const struct rule attribute_rule = {"attributes", ATTRIBUTE_NAME_BYTES_MAX};

static bool has_key(const struct conf_name *names, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (text_equal(names[i].key, key))
			return true;
	}
	return false;
}

static bool name_check(struct given *given, const struct rule *rule, const struct setting *setting)
{
	struct place place = given_place_of_setting(given, setting);
	const char *name = setting->value;
	if (strpbrk(name, ".$")) {
		conf_report_problem(given->report, place,
			"[%s] %s: '%s' holds '.' or '$', which Intercom doesn't take in a name",
			rule->section, setting->key, conf_show(name).text);
		return false;
	}
	if (strlen(name) > rule->bytes_max) {
		conf_report_problem(given->report, place,
			"[%s] %s: the name has %zu bytes; Intercom takes at most %zu",
			rule->section, setting->key, strlen(name), rule->bytes_max);
		return false;
	}
	if (!text_is_utf8(name, strlen(name))) {
		conf_report_problem(given->report, place, "[%s] %s: the name is not UTF-8 text",
			rule->section, setting->key);
		return false;
	}
	return true;
}

/* Borrowed; NULL: off. */
static const char *name_choose(
	struct given *given, const struct rule *rule, const struct source_name *row)
{
	const struct section *section = given_section_get(given, rule->section);
	const struct setting *setting = given_setting_get(section, row->key, "");
	bool is_on = false;
	if (!setting)
		return row->fallback;
	if (text_to_bool(setting->value, &is_on))
		return is_on ? row->name_when_on : NULL;
	return name_check(given, rule, setting) ? setting->value : row->fallback;
}

static void fill(struct given *given, const struct rule *rule, const struct source_name *row,
	struct conf_name **names, size_t *count)
{
	for (; row && row->key; row++) {
		if (has_key(*names, *count, row->key))
			continue;
		*names = xrealloc(*names, (*count + 1) * sizeof(**names));
		(*names)[(*count)++] = (struct conf_name){
			.key = xstrdup(row->key),
			.name = xstrdup_or_null(name_choose(given, rule, row)),
		};
	}
}

/* Two events may well share a name; two values of one attribute would overwrite each other. */
static void check_attributes_differ(struct given *given, const struct conf *conf)
{
	const struct section *section = given_section_get(given, attribute_rule.section);
	for (size_t i = 0; i < conf->attribute_count; i++) {
		for (size_t j = 0; j < i; j++) {
			const struct conf_name *one = &conf->attributes[j];
			const struct conf_name *other = &conf->attributes[i];
			if (!one->name || !text_equal(one->name, other->name))
				continue;
			bool is_other_given = given_setting_get(section, other->key, "") != NULL;
			const char *key = is_other_given ? other->key : one->key;
			conf_report_problem(given->report, given_place_of_key(given, section, key),
				"[attributes] %s and %s are both written as '%s'", one->key,
				other->key, conf_show(one->name).text);
		}
	}
}

void names_fill(struct given *given, struct conf *conf)
{
	for (const struct source *const *source = source_all(); *source; source++) {
		fill(given, &event_rule, (*source)->event_names, &conf->event_names,
			&conf->event_name_count);
		fill(given, &attribute_rule, (*source)->attributes, &conf->attributes,
			&conf->attribute_count);
	}
	check_attributes_differ(given, conf);
}

void names_finish(struct conf_name *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(names[i].key);
		free(names[i].name);
	}
	free(names);
}

static const char *name_of(const struct conf_name *names, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (text_equal(names[i].key, key))
			return names[i].name;
	}
	assert(false && "a key that no source has");
	return NULL;
}

const char *conf_event_name(const struct conf *conf, const char *key)
{
	return name_of(conf->event_names, conf->event_name_count, key);
}

const char *conf_attribute_name(const struct conf *conf, const char *key)
{
	return name_of(conf->attributes, conf->attribute_count, key);
}
