/*
 * One line an occurrence, valid in its format whatever the values hold.
 */

#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct seen {
	char line[4096];
	enum log_level level;
	int count;
};

static void keep(void *context, enum log_level level, const char *line)
{
	struct seen *seen = context;
	(void)snprintf(seen->line, sizeof(seen->line), "%s", line);
	seen->level = level;
	seen->count++;
}

static int tear_down(void **state)
{
	(void)state;
	log_redirect(NULL, NULL);
	log_configure(LOG_INFO_LEVEL, LOG_LOGFMT);
	return 0;
}

static void logfmt_line(void **state)
{
	(void)state;
	struct seen seen = {0};
	log_redirect(keep, &seen);
	log_info("delivered", LOG_TEXT("job", "j1"), LOG_INT("status", 200),
		LOG_INT("n", INT64_MIN));
	assert_string_equal(
		seen.line, "level=info msg=delivered job=j1 status=200 n=-9223372036854775808");
	assert_int_equal(seen.level, LOG_INFO_LEVEL);
	log_warn("no fields at all");
	assert_string_equal(seen.line, "level=warn msg=\"no fields at all\"");
	log_error("x");
	assert_string_equal(seen.line, "level=error msg=x");
	log_write(LOG_ERROR_LEVEL, "y", NULL);
	assert_string_equal(seen.line, "level=error msg=y");
	log_write(LOG_ERROR_LEVEL, "z", LOG_FIELDS(LOG_INT("a", 1)));
	assert_string_equal(seen.line, "level=error msg=z a=1");
}

static void logfmt_quotes_where_needed(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		const char *written;
	} rows[] = {
		{"plain", "plain"},
		{"a/b:c,d", "a/b:c,d"},
		{"\xc3\xa4", "\xc3\xa4"},
		{"", "\"\""},
		{NULL, "\"\""},
		{"a b", "\"a b\""},
		{"a=b", "\"a=b\""},
		{"say \"x\"", "\"say \\\"x\\\"\""},
		{"back\\slash", "\"back\\\\slash\""},
		{"two\nlevel=error", "\"two\\u000alevel=error\""},
		{"\x1b[31m", "\"\\u001b[31m\""},
		{"\x7f", "\"\\u007f\""},
		{"\xc2\x9b", "\"\\u009b\""}, /* CSI as one character */
		{"\xff", "\"\\ufffd\""},
		{"\xc2", "\"\\ufffd\""},
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
	};
	struct seen seen = {0};
	log_redirect(keep, &seen);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char expected[200];
		(void)snprintf(
			expected, sizeof(expected), "level=info msg=m v=%s", rows[i].written);
		log_info("m", LOG_TEXT("v", rows[i].value));
		assert_string_equal(seen.line, expected);
	}
}

static void json_line(void **state)
{
	(void)state;
	struct seen seen = {0};
	log_redirect(keep, &seen);
	log_configure(LOG_INFO_LEVEL, LOG_JSON);
	log_info("a \"b\"\n", LOG_TEXT("path", "c\\d\x01\xff"), LOG_INT("n", -5));
	assert_string_equal(seen.line,
		"{\"level\":\"info\",\"msg\":\"a \\\"b\\\"\\u000a\","
		"\"path\":\"c\\\\d\\u0001\\ufffd\",\"n\":-5}");
	log_info("bare");
	assert_string_equal(seen.line, "{\"level\":\"info\",\"msg\":\"bare\"}");
}

static int evaluated;

static int64_t evaluate(void)
{
	return ++evaluated;
}

static void levels_are_filtered_before_fields_are_evaluated(void **state)
{
	(void)state;
	struct seen seen = {0};
	log_redirect(keep, &seen);
	log_configure(LOG_WARN_LEVEL, LOG_LOGFMT);
	log_debug("no", LOG_INT("n", evaluate()));
	log_info("no", LOG_INT("n", evaluate()));
	assert_int_equal(seen.count, 0);
	assert_int_equal(evaluated, 0);
	log_warn("yes", LOG_INT("n", evaluate()));
	log_error("yes");
	assert_int_equal(seen.count, 2);
	assert_int_equal(evaluated, 1);
	assert_false(log_wants(LOG_INFO_LEVEL));
	assert_true(log_wants(LOG_ERROR_LEVEL));
	log_configure(LOG_DEBUG_LEVEL, LOG_LOGFMT);
	log_debug("yes");
	assert_string_equal(seen.line, "level=debug msg=yes");
}

/* Whatever is cut, the line stays readable: in JSON a document, in logfmt with quotes in pairs. */
static void long_lines_are_cut(void **state)
{
	(void)state;
	static const char *const units[] = {"x", "\"", "\n", "\xe2\x82\xac", " \xff"};
	struct seen seen = {0};
	log_redirect(keep, &seen);
	for (size_t len = 1900; len < 2100; len++) {
		for (size_t which = 0; which < 5; which++) {
			char text[9000] = "";
			size_t size = strlen(units[which]);
			for (size_t at = 0; at < len; at += size)
				memcpy(text + at, units[which], size + 1);
			log_configure(LOG_INFO_LEVEL, LOG_JSON);
			log_info("m", LOG_TEXT("v", text), LOG_INT("n", 123456),
				LOG_TEXT("w", "end"));
			assert_true(strlen(seen.line) < 2048);
			json_t *read = json_loads(seen.line, 0, NULL);
			assert_non_null(read);
			const json_t *number = json_object_get(read, "n");
			assert_true(!number || json_integer_value(number) == 123456);
			json_decref(read);
			log_configure(LOG_INFO_LEVEL, LOG_LOGFMT);
			log_info("m", LOG_TEXT("v", text), LOG_INT("n", 123456));
			assert_true(strlen(seen.line) < 2048 && strlen(seen.line) > 1890);
			assert_null(strchr(seen.line, '\n'));
		}
	}
}

static void long_keys_are_dropped(void **state)
{
	(void)state;
	char key[3000];
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	struct seen seen = {0};
	log_redirect(keep, &seen);
	log_info("m", LOG_INT("a", 1), LOG_INT(key, 1), LOG_INT("b", 1));
	assert_string_equal(seen.line, "level=info msg=m a=1");
	log_info("m", LOG_TEXT(key, "v"));
	assert_string_equal(seen.line, "level=info msg=m");
}

/* Runs `work` with stderr going to a file of its own and returns what was written. */
static char *captured(void (*work)(int fd))
{
	char name[] = "/tmp/subrelay-test-log-XXXXXX";
	int fd = mkstemp(name);
	assert_true(fd >= 0);
	unlink(name);
	int saved = dup(STDERR_FILENO);
	fcntl(fd, F_SETFL, O_APPEND);
	dup2(fd, STDERR_FILENO);
	work(fd);
	dup2(saved, STDERR_FILENO);
	close(saved);
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)len + 1);
	assert_int_equal(pread(fd, text, (size_t)len, 0), len);
	close(fd);
	return text;
}

static void write_one(int fd)
{
	(void)fd;
	log_configure(LOG_INFO_LEVEL, LOG_LOGFMT);
	log_info("hello", LOG_INT("n", 1));
}

static void stderr_line_has_the_time(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	char *text = captured(write_one);
	assert_int_equal(
		strlen(text), strlen("ts=2026-01-01T00:00:00.000Z level=info msg=hello n=1\n"));
	assert_memory_equal(text, "ts=2", 4);
	assert_string_equal(text + 27, " level=info msg=hello n=1\n");
	free(text);
}

static void write_to_journal(int fd)
{
	struct stat info;
	char name[64];
	assert_int_equal(fstat(fd, &info), 0);
	(void)snprintf(
		name, sizeof(name), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	log_configure(LOG_DEBUG_LEVEL, LOG_LOGFMT);
	log_debug("d");
	log_info("i");
	log_warn("w");
	log_error("e", LOG_INT("n", 1));
	log_configure(LOG_INFO_LEVEL, LOG_JSON);
	log_info("j");
}

static void journal_gets_priorities(void **state)
{
	(void)state;
	char *text = captured(write_to_journal);
	assert_string_equal(text,
		"<7>level=debug msg=d\n<6>level=info msg=i\n<4>level=warn msg=w\n"
		"<3>level=error msg=e n=1\n<6>{\"level\":\"info\",\"msg\":\"j\"}\n");
	free(text);
}

/* A process started under systemd whose stderr was sent elsewhere: not the journal. */
static void journal_variable_alone_proves_nothing(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "1:1", 1);
	char *text = captured(write_one);
	assert_memory_equal(text, "ts=", 3);
	free(text);
	unsetenv("JOURNAL_STREAM");
}

static void *write_many(void *context)
{
	(void)context;
	for (int i = 0; i < 500; i++)
		log_info(
			"many words in this message", LOG_TEXT("v", "some value"), LOG_INT("n", 7));
	return NULL;
}

static void write_from_threads(int fd)
{
	(void)fd;
	pthread_t threads[4];
	log_configure(LOG_INFO_LEVEL, LOG_LOGFMT);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void lines_of_threads_do_not_mix(void **state)
{
	(void)state;
	char *text = captured(write_from_threads);
	int count = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), count++)
		assert_string_equal(line + 27,
			" level=info msg=\"many words in this message\" v=\"some value\" n=7");
	assert_int_equal(count, 2000);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(logfmt_line, tear_down),
		cmocka_unit_test_teardown(logfmt_quotes_where_needed, tear_down),
		cmocka_unit_test_teardown(json_line, tear_down),
		cmocka_unit_test_teardown(
			levels_are_filtered_before_fields_are_evaluated, tear_down),
		cmocka_unit_test_teardown(long_lines_are_cut, tear_down),
		cmocka_unit_test_teardown(long_keys_are_dropped, tear_down),
		cmocka_unit_test_teardown(stderr_line_has_the_time, tear_down),
		cmocka_unit_test_teardown(journal_gets_priorities, tear_down),
		cmocka_unit_test_teardown(journal_variable_alone_proves_nothing, tear_down),
		cmocka_unit_test_teardown(lines_of_threads_do_not_mix, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
