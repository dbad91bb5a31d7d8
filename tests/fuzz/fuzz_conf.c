/*
 * The configuration: an INI text, and behind a FUZZ_SEPARATOR lines of environment.
 *
 * What must be true: a configuration that loads loads again the same, one that doesn't says why,
 * and no problem's text shows a secret. Secret files are left out: an input could name any file of
 * this machine.
 */

#include "base/text.h"
#include "conf/conf.h"
#include "conf/conf_private.h"
#include "fuzz.h"
#include "source/source.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLES_MAX 16
#define MARK "q7Zp-mark-4411"

static bool text_of_file_is_harmless(const char *text)
{
	return !strcasestr(text, "_file");
}

/* One file for all inputs, in memory. */
static const char *write_file(const char *text)
{
	static char path[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("ini", MFD_CLOEXEC);
		FUZZ_CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	size_t len = strlen(text);
	FUZZ_CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, text, len, 0) == (ssize_t)len);
	return path;
}

static void check_report(const struct conf_report *report, bool is_loaded)
{
	FUZZ_CHECK(is_loaded == (report->error_count == 0));
	for (size_t i = 0; i < report->count; i++) {
		const struct conf_problem *problem = &report->problems[i];
		FUZZ_CHECK(problem->where && problem->text && problem->text[0]);
		for (const char *c = problem->text; *c; c++)
			FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
	}
}

static void same_reports(const struct conf_report *a, const struct conf_report *b)
{
	FUZZ_CHECK(a->count == b->count && a->error_count == b->error_count);
	for (size_t i = 0; i < a->count; i++)
		FUZZ_CHECK(text_equal(a->problems[i].text, b->problems[i].text) &&
			text_equal(a->problems[i].where, b->problems[i].where));
}

static void same_options(const struct option *table, const void *a, const void *b)
{
	for (const struct option *row = table; row->key; row++)
		if (row->type != OPTION_CUSTOM || row->equal)
			FUZZ_CHECK(option_equal(row, a, b));
}

static void same_names(const struct conf_name *a, const struct conf_name *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(text_equal(a[i].key, b[i].key) && text_equal(a[i].name, b[i].name));
}

static void same_confs(const struct conf *a, const struct conf *b)
{
	FUZZ_CHECK(!conf_needs_restart(a, b));
	for (const struct kind *kind = conf_own_kinds; kind->stem; kind++)
		if (kind->class == KIND_SINGLE)
			same_options(kind->table, (const char *)a + kind->offset,
				(const char *)b + kind->offset);
	FUZZ_CHECK(a->workspace_count == b->workspace_count && a->source_count == b->source_count);
	for (size_t i = 0; i < a->workspace_count; i++) {
		FUZZ_CHECK(text_equal(a->workspaces[i].name, b->workspaces[i].name));
		same_options(conf_workspace_table, &a->workspaces[i], &b->workspaces[i]);
	}
	for (size_t i = 0; i < a->source_count; i++) {
		FUZZ_CHECK(text_equal(a->sources[i].name, b->sources[i].name));
		FUZZ_CHECK(text_equal(a->sources[i].path, b->sources[i].path));
		same_options(a->sources[i].source->options, a->sources[i].options,
			b->sources[i].options);
	}
	FUZZ_CHECK(a->event_name_count == b->event_name_count);
	same_names(a->event_names, b->event_names, a->event_name_count);
	FUZZ_CHECK(a->attribute_count == b->attribute_count);
	same_names(a->attributes, b->attributes, a->attribute_count);
}

/* What must hold of any configuration that a daemon starts with. */
static void check_conf(const struct conf *conf)
{
	FUZZ_CHECK(conf->workspace_count >= 1 && conf->source_count >= 1);
	FUZZ_CHECK(conf->workspaces[0].name[0] == '\0');
	for (size_t i = 0; i < conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &conf->workspaces[i];
		FUZZ_CHECK(
			workspace->mode == CONF_MODE_LIVE || workspace->mode == CONF_MODE_DRY_RUN);
		FUZZ_CHECK(workspace->mode != CONF_MODE_LIVE ||
			secret_is_set(&workspace->access_token));
		FUZZ_CHECK(text_starts_with(workspace->base_url, "https://") ||
			text_starts_with(workspace->base_url, "http://"));
	}
	for (size_t i = 0; i < conf->source_count; i++) {
		const struct conf_source *section = &conf->sources[i];
		FUZZ_CHECK(section->path[0] == '/');
		FUZZ_CHECK(conf_workspace_get(conf, section->workspace));
		if (section->source->allows_anyone &&
			section->source->allows_anyone(section->options))
			FUZZ_CHECK(conf->server.listen.is_loopback);
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(section->path, conf->sources[j].path) != 0);
	}
}

static void load_twice(const char *path, char *const *environment)
{
	struct conf_report first, second;
	struct conf *a = conf_load(path, environment, &first);
	struct conf *b = conf_load(path, environment, &second);

	check_report(&first, a != NULL);
	same_reports(&first, &second);
	if (a) {
		check_conf(a);
		same_confs(a, b);
	}
	conf_unref(a);
	conf_unref(b);
	conf_report_finish(&first);
	conf_report_finish(&second);
	conf_unref(conf_load_for_map(path, environment, &first));
	conf_report_finish(&first);
}

/* The same again with a secret that stands nowhere else: nothing that is said may show it. */
static void try_secret(const char *path, char *const *environment, size_t count)
{
	char *with_secret[VARIABLES_MAX + 2];
	char secret[] = "SUBRELAY_REVENUECAT_AUTHORIZATION=" MARK;
	struct conf_report report;

	memcpy(with_secret, environment, count * sizeof(*environment));
	with_secret[count] = secret;
	with_secret[count + 1] = NULL;
	conf_unref(conf_load(path, with_secret, &report));
	for (size_t i = 0; i < report.count; i++)
		FUZZ_CHECK(!strstr(report.problems[i].text, MARK));
	conf_report_finish(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	char *ini = fuzz_text(fuzz_part(&bytes));
	char *lines = fuzz_text(bytes), *rest = lines, *line;
	char *environment[VARIABLES_MAX + 1];
	size_t count = 0;

	if (!text_of_file_is_harmless(ini) || !text_of_file_is_harmless(lines))
		goto out;
	while (count < VARIABLES_MAX && (line = strsep(&rest, "\n")))
		if (text_starts_with(line, "SUBRELAY_"))
			environment[count++] = line;
	environment[count] = NULL;
	const char *path = write_file(ini);
	load_twice(path, environment);
	if (!strstr(ini, MARK))
		try_secret(path, environment, count);
out:
	free(ini);
	free(lines);
	return 0;
}
