/*
 * The configuration, put together: file, environment, defaults, checks; and its life afterwards.
 *
 * Everything is read and checked before anything is decided, so that one run of `check` shows all
 * there is to mend. Only then a report with an error costs the conf its life.
 */

#include "conf/conf.h"

#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"
#include "source/source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *region_url(int region)
{
	static const char *const urls[] = {
		[CONF_REGION_US] = "https://api.intercom.io",
		[CONF_REGION_EU] = "https://api.eu.intercom.io",
		[CONF_REGION_AU] = "https://api.au.intercom.io",
	};
	return urls[region];
}

static void fill_single_sections(struct given *given, struct conf *conf)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (kind.class == KIND_SINGLE)
			fill_options(given, given_section_get(given, kind.stem), kind.stem,
				kind.table, (char *)conf + kind.offset);
	}
}

static void workspace_add(struct given *given, const struct section *section, struct conf *conf)
{
	size_t count = conf->workspace_count + 1;
	conf->workspaces = xrealloc(conf->workspaces, count * sizeof(*conf->workspaces));
	struct conf_workspace *workspace = &conf->workspaces[conf->workspace_count++];
	*workspace = (struct conf_workspace){.name = xstrdup(section ? section->suffix : "")};
	fill_options(given, section, section ? section->name : "intercom", conf_workspace_table,
		workspace);
	if (!workspace->base_url)
		workspace->base_url = xstrdup(region_url(workspace->region));
}

/* The plain one first, whether it is written or not. */
static void fill_workspaces(struct given *given, struct conf *conf)
{
	workspace_add(given, given_section_get(given, "intercom"), conf);
	for (size_t i = 0; i < given->section_count; i++) {
		const struct section *section = &given->sections[i];
		if (section->kind.class == KIND_WORKSPACE && section->suffix[0] != '\0')
			workspace_add(given, section, conf);
	}
}

/* [revenuecat.ios] without a path would share the path of [revenuecat]. */
static void default_path_of_instance(const struct section *section, void *options)
{
	const struct source *source = section->kind.source;
	const struct option *row = option_find(source->options, "path");
	if (!row || !row->fallback || row->type != OPTION_TEXT || section->suffix[0] == '\0' ||
		given_setting_get(section, "path", ""))
		return;
	char **path = (char **)(void *)((char *)options + row->offset);
	size_t size = strlen(row->fallback) + sizeof("/") + strlen(section->suffix);
	free(*path);
	*path = xcalloc(1, size);
	(void)stpcpy(stpcpy(stpcpy(*path, row->fallback), "/"), section->suffix);
}

static void source_add(struct given *given, const struct section *section, struct conf *conf)
{
	const struct source *source = section->kind.source;
	size_t count = conf->source_count + 1;
	void *options = xcalloc(1, source->options_size);
	fill_options(given, section, section->name, source->options, options);
	default_path_of_instance(section, options);

	const char *path = source->path(options);
	const char *workspace = source->workspace(options);
	conf->sources = xrealloc(conf->sources, count * sizeof(*conf->sources));
	conf->sources[conf->source_count++] = (struct conf_source){
		.source = source,
		.name = xstrdup(section->name),
		.options = options,
		.path = xstrdup(path ? path : ""),
		.workspace = xstrdup(workspace ? workspace : ""),
	};
}

static void fill_sources(struct given *given, struct conf *conf)
{
	for (size_t i = 0; i < given->section_count; i++) {
		if (given->sections[i].kind.class == KIND_SOURCE)
			source_add(given, &given->sections[i], conf);
	}
}

/* `map` can be asked for any source, configured or not. */
static void add_absent_sources(struct given *given)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		bool is_there = false;
		for (size_t j = 0; j < given->section_count; j++)
			is_there = is_there || given->sections[j].kind.source == kind.source;
		if (kind.class == KIND_SOURCE && !is_there)
			given_section_add(given, kind.stem, &kind);
	}
}

static struct conf *load(
	const char *path, char *const *environment, bool for_map, struct conf_report *report)
{
	struct conf *conf = NULL;
	struct given given = {.path = path, .report = report, .for_map = for_map};
	*report = (struct conf_report){0};
	if (path && !ini_file_read(&given))
		goto out; /* whatever else seems missing may well stand in that file */
	environment_read(&given, environment);
	if (for_map)
		add_absent_sources(&given);

	conf = xcalloc(1, sizeof(*conf));
	conf->references = 1;
	fill_single_sections(&given, conf);
	fill_workspaces(&given, conf);
	fill_sources(&given, conf);
	names_fill(&given, conf);
	check_all(&given, conf);
out:
	given_finish(&given);
	conf_report_sort(report);
	if (report->error_count > 0) {
		conf_unref(conf);
		conf = NULL;
	}
	return conf;
}

struct conf *conf_load(const char *path, char *const *environment, struct conf_report *ret_report)
{
	return load(path, environment, false, ret_report);
}

struct conf *conf_load_for_map(
	const char *path, char *const *environment, struct conf_report *ret_report)
{
	return load(path, environment, true, ret_report);
}

static void finish_single_sections(struct conf *conf)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (kind.class == KIND_SINGLE)
			options_finish(kind.table, (char *)conf + kind.offset);
	}
}

static void destroy(struct conf *conf)
{
	finish_single_sections(conf);
	for (size_t i = 0; i < conf->workspace_count; i++) {
		options_finish(conf_workspace_table, &conf->workspaces[i]);
		free(conf->workspaces[i].name);
	}
	for (size_t i = 0; i < conf->source_count; i++) {
		struct conf_source *section = &conf->sources[i];
		options_finish(section->source->options, section->options);
		free(section->options);
		free(section->name);
		free(section->path);
		free(section->workspace);
	}
	names_finish(conf->event_names, conf->event_name_count);
	names_finish(conf->attributes, conf->attribute_count);
	free(conf->workspaces);
	free(conf->sources);
	free(conf);
}

struct conf *conf_ref(struct conf *conf)
{
	int before = __atomic_fetch_add(&conf->references, 1, __ATOMIC_RELAXED);
	assert(before > 0);
	(void)before; /* without asserts */
	return conf;
}

void conf_unref(struct conf *conf)
{
	/* Release what this thread did with it; acquire what the others did, before it is freed. */
	if (conf && __atomic_sub_fetch(&conf->references, 1, __ATOMIC_ACQ_REL) == 0)
		destroy(conf);
}

const struct conf_workspace *conf_workspace_get(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->workspace_count; i++) {
		if (text_equal(conf->workspaces[i].name, name))
			return &conf->workspaces[i];
	}
	return NULL;
}

const struct conf_source *conf_source_get(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->source_count; i++) {
		if (text_equal(conf->sources[i].name, name))
			return &conf->sources[i];
	}
	return NULL;
}
