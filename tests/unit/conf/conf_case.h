#ifndef SUBRELAY_TESTS_CONF_CASE_H
#define SUBRELAY_TESTS_CONF_CASE_H

/*
 * One configuration, written into a directory of its own, loaded, and asked about.
 */

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka.h wants setjmp.h, stdarg.h, stddef.h and stdint.h first. */
#include <cmocka.h>

#define WITH_SOURCE "[revenuecat]\nauthorization = Bearer demo\n"

struct conf_case {
	char directory[64];
	char *path;
	char *files[8];
	size_t file_count;
	struct conf_report report;
	struct conf *conf;
};

static inline char *case_path(const struct conf_case *c, const char *name)
{
	char *path = NULL;
	assert_true(asprintf(&path, "%s/%s", c->directory, name) > 0);
	return path;
}

static inline void case_file(
	struct conf_case *c, const char *name, const char *text, size_t len, unsigned mode)
{
	assert_true(c->file_count < sizeof(c->files) / sizeof(c->files[0]));
	char *path = c->files[c->file_count++] = case_path(c, name);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static inline void case_begin(struct conf_case *c)
{
	*c = (struct conf_case){.directory = "/tmp/subrelay-conf-XXXXXX"};
	assert_non_null(mkdtemp(c->directory));
	c->path = case_path(c, "s.ini");
}

static inline void case_load_bytes(
	struct conf_case *c, const char *text, size_t len, char *const *environment)
{
	case_file(c, "s.ini", text, len, 0600);
	c->conf = conf_load(c->path, environment, &c->report);
}

static inline void case_load(struct conf_case *c, const char *text, char *const *environment)
{
	case_begin(c);
	case_load_bytes(c, text, strlen(text), environment);
}

static inline void case_end(struct conf_case *c)
{
	conf_unref(c->conf);
	conf_report_finish(&c->report);
	for (size_t i = 0; i < c->file_count; i++) {
		(void)unlink(c->files[i]); /* one may have been written twice */
		free(c->files[i]);
	}
	free(c->path);
	assert_int_equal(rmdir(c->directory), 0);
}

static inline void case_print(const struct conf_case *c)
{
	for (size_t i = 0; i < c->report.count; i++)
		print_message("%s: %s%s\n", c->report.problems[i].where,
			c->report.problems[i].is_warning ? "warning: " : "",
			c->report.problems[i].text);
}

/* `line` 0: one that is not of the file. */
static inline bool case_says(const struct conf_case *c, int line, bool is_warning, const char *part)
{
	char where[256];
	(void)snprintf(where, sizeof(where), "%s:%d", c->path, line);
	for (size_t i = 0; i < c->report.count; i++) {
		const struct conf_problem *problem = &c->report.problems[i];
		bool is_there = line == 0 ? problem->line == 0 : text_equal(problem->where, where);
		if (is_there && problem->is_warning == is_warning && strstr(problem->text, part))
			return true;
	}
	return false;
}

static inline void assert_problem(const struct conf_case *c, int line, const char *part)
{
	if (case_says(c, line, false, part) && !c->conf)
		return;
	case_print(c);
	fail_msg("no problem \"%s\" on line %d", part, line);
}

static inline void assert_warning(const struct conf_case *c, int line, const char *part)
{
	if (case_says(c, line, true, part))
		return;
	case_print(c);
	fail_msg("no warning \"%s\" on line %d", part, line);
}

static inline void assert_loaded(const struct conf_case *c)
{
	if (c->conf && c->report.count == 0)
		return;
	case_print(c);
	fail_msg("not loaded, or not without a word");
}

/* The text gives exactly this one problem. */
static inline void assert_only_problem(const char *text, int line, const char *part)
{
	struct conf_case c;
	case_load(&c, text, NULL);
	assert_problem(&c, line, part);
	if (c.report.count != 1)
		case_print(&c);
	assert_int_equal(c.report.count, 1);
	case_end(&c);
}

#endif
