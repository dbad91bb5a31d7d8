/*
 * What verbs read from outside: files, and a configuration's problems.
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"
#include "cli_private.h"
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cli_print_problems(const struct conf_report *report)
{
	size_t errors = 0;
	for (size_t i = 0; i < report->count; i++) {
		const struct conf_problem *problem = &report->problems[i];
		(void)fprintf(stderr, "%s: %s%s\n", problem->where,
			problem->is_warning ? "warning: " : "", problem->text);
		errors += problem->is_warning ? 0 : 1;
	}
	if (report->error_count > errors)
		(void)fprintf(stderr, "… and %zu more\n", report->error_count - errors);
}

bool cli_read_file(const char *path, struct buf *ret, struct error *err)
{
	bool is_stdin = !path || text_equal(path, "-");
	const char *name = is_stdin ? "stdin" : path;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool done = false;
	char chunk[16384];
	ssize_t got;

	if (fd < 0)
		return error_set(err, "%s can't be read: %s", name, strerror(errno));
	while ((got = read(fd, chunk, sizeof(chunk))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			(void)error_set(err, "%s can't be read: %s", name, strerror(errno));
			goto out;
		}
		if (!buf_add(ret, chunk, (size_t)got)) {
			(void)error_set(err, "%s is longer than %zu bytes", name, ret->max);
			goto out;
		}
	}
	done = true;
out:
	if (!is_stdin)
		(void)close(fd);
	return done;
}
