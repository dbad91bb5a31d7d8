/*
 * The golden folders: tests/golden/SOURCE/CASE holds a webhook (in.json) and what `map` prints of
 * it (out.json), to the byte; conf.ini, where there is one, is the configuration it is mapped with,
 * and note.txt says what is worth knowing. Every folder is a test.
 *
 * Run from the top of the checkout.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/map_text_private.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/xalloc.h"
#include "conf/conf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT "tests/golden"
#define FILE_MAX ((size_t)1024 * 1024)
#define NOW_MS INT64_C(1767225600000) /* 2026-01-01: later than any event in here */

struct golden {
	char *source;
	char *name;
};

static void path_of(const struct golden *golden, const char *file, char *ret, size_t ret_size)
{
	(void)snprintf(ret, ret_size, "%s/%s/%s/%s", ROOT, golden->source, golden->name, file);
}

static void read_file(const struct golden *golden, const char *name, struct buf *ret)
{
	char path[512];
	char chunk[4096];
	size_t got;

	buf_init(ret, FILE_MAX);
	path_of(golden, name, path, sizeof(path));
	FILE *file = fopen(path, "r");
	if (!file)
		fail_msg("%s can't be read", path);
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		assert_true(buf_add(ret, chunk, got));
	(void)fclose(file);
}

static struct conf *load_conf(const struct golden *golden)
{
	char *const environment[] = {NULL};
	struct conf_report report;
	char path[512];

	path_of(golden, "conf.ini", path, sizeof(path));
	struct conf *conf =
		conf_load_for_map(access(path, F_OK) == 0 ? path : NULL, environment, &report);
	for (size_t i = 0; i < report.count; i++)
		print_error("%s: %s\n", report.problems[i].where, report.problems[i].text);
	assert_int_equal(report.count, 0);
	conf_report_finish(&report);
	return conf;
}

static void test_golden(void **state)
{
	const struct golden *golden = *state;
	struct conf *conf = load_conf(golden);
	const struct conf_source *section = conf_source_get(conf, golden->source);
	struct buf in, out, mapped;
	struct error err = {0};

	assert_non_null(section);
	read_file(golden, "in.json", &in);
	read_file(golden, "out.json", &out);
	buf_init(&mapped, FILE_MAX);
	if (!map_body(conf, section, buf_text(&in), in.len, NOW_MS, &mapped, &err))
		fail_msg("%s/%s: %s", golden->source, golden->name, err.text);
	if (strcmp(buf_text(&mapped), buf_text(&out)) != 0)
		fail_msg("%s/%s: wanted\n%s\ngot\n%s", golden->source, golden->name, buf_text(&out),
			buf_text(&mapped));
	buf_finish(&mapped);
	buf_finish(&out);
	buf_finish(&in);
	conf_unref(conf);
}

/* ---- the list ---- */

struct list {
	struct CMUnitTest *tests;
	size_t count;
};

static void list_add(struct list *list, const char *source, const char *name)
{
	struct golden *golden = xcalloc(1, sizeof(*golden));

	*golden = (struct golden){.source = xstrdup(source), .name = xstrdup(name)};
	list->tests = xrealloc(list->tests, (list->count + 1) * sizeof(*list->tests));
	list->tests[list->count++] = (struct CMUnitTest){
		.name = golden->name,
		.test_func = test_golden,
		.initial_state = golden,
	};
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Calls for each folder of `path`, by name. */
static void each_folder(
	const char *path, void (*call)(void *context, const char *name), void *context)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, is_visible, alphasort);

	for (int i = 0; i < count; i++) {
		call(context, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

struct walk {
	struct list *list;
	const char *source;
};

static void add_case(void *context, const char *name)
{
	const struct walk *walk = context;

	list_add(walk->list, walk->source, name);
}

static void add_source(void *context, const char *source)
{
	struct walk walk = {.list = context, .source = source};
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", ROOT, source);
	each_folder(path, add_case, &walk);
}

static void list_finish(struct list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct golden *golden = list->tests[i].initial_state;

		free(golden->source);
		free(golden->name);
		free(golden);
	}
	free(list->tests);
}

int main(void)
{
	struct list list = {0};

	each_folder(ROOT, add_source, &list);
	if (list.count == 0) {
		(void)fprintf(stderr, "there are no folders in %s\n", ROOT);
		return 1;
	}
	/* What cmocka_run_group_tests does for an array whose size it can see. */
	int failed = _cmocka_run_group_tests("golden", list.tests, list.count, NULL, NULL);
	list_finish(&list);
	return failed;
}
