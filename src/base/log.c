/*
 * The log: one line an occurrence.
 *
 * A line is built on the stack and leaves by one write(2), which a pipe of this size takes whole,
 * so threads need no lock between them. What must stay true: no memory is allocated (xalloc reports
 * here that there is none); a line stays one line and valid in its format whatever is in the
 * values, also when it had to be cut: cuts fall inside a value or before a field, and room for
 * closing the quote and the object is set aside.
 *
 * The state (level, format, sink) is the process's own, the only such state in the program.
 */

#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 2048
#define CLOSING_BYTES 4 /* quote, brace, newline, NUL */

static atomic_int log_level = LOG_INFO_LEVEL;
static atomic_int log_format = LOG_LOGFMT;
static atomic_bool log_to_journal;

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_call)(void *context, enum log_level level, const char *line); /* sink_lock */
static void *sink_context;                                                       /* sink_lock */

static const struct {
	const char *name;
	const char *journal_prefix; /* the syslog priority */
} levels[] = {
	[LOG_DEBUG_LEVEL] = {"debug", "<7>"},
	[LOG_INFO_LEVEL] = {"info", "<6>"},
	[LOG_WARN_LEVEL] = {"warn", "<4>"},
	[LOG_ERROR_LEVEL] = {"error", "<3>"},
};

struct line {
	char bytes[LINE_BYTES];
	size_t len;
	bool is_cut; /* nothing but closings after this */
	bool is_json;
	bool has_field;
};

/* systemd names the journal's stream by device and inode; a process whose stderr was redirected
 * afterwards still has the variable, so the name alone proves nothing. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat info;
	if (!stream || fstat(STDERR_FILENO, &info) != 0)
		return false;
	char name[48];
	(void)snprintf(
		name, sizeof(name), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
	return strcmp(stream, name) == 0;
}

void log_configure(enum log_level level, enum log_format format)
{
	atomic_store(&log_level, (int)level);
	atomic_store(&log_format, (int)format);
	atomic_store(&log_to_journal, stderr_is_journal());
}

bool log_wants(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void log_redirect(
	void (*sink)(void *context, enum log_level level, const char *line), void *context)
{
	pthread_mutex_lock(&sink_lock);
	sink_call = sink;
	sink_context = context;
	pthread_mutex_unlock(&sink_lock);
}

static bool line_add(struct line *line, const char *data, size_t len)
{
	if (line->is_cut || len > LINE_BYTES - CLOSING_BYTES - line->len) {
		line->is_cut = true;
		return false;
	}
	memcpy(line->bytes + line->len, data, len);
	line->len += len;
	return true;
}

/* Only for what CLOSING_BYTES counts. */
static void line_close(struct line *line, char c)
{
	line->bytes[line->len++] = c;
}

/* A whole character that may stand in a quoted value as it is. C1 controls may not: some terminals
 * obey them. Neither may bytes that are no UTF-8. */
static size_t printable_len(const char *text, size_t len)
{
	unsigned char byte = (unsigned char)text[0];
	if (byte < 0x20 || byte == 0x7f || byte == '"' || byte == '\\')
		return 0;
	if (byte == 0xc2 && len > 1 && (unsigned char)text[1] < 0xa0)
		return 0;
	return text_utf8_len(text, len);
}

/* Writes the escape for the character at text and returns how many bytes of text it stands for. */
static size_t escape(const char *text, size_t len, char ret_escape[8])
{
	unsigned char byte = (unsigned char)text[0];
	if (byte == '"' || byte == '\\') {
		(void)snprintf(ret_escape, 8, "\\%c", byte);
	} else if (byte < 0x80) {
		(void)snprintf(ret_escape, 8, "\\u%04x", byte);
	} else if (text_utf8_len(text, len) == 2) {
		(void)snprintf(
			ret_escape, 8, "\\u%04x", (unsigned char)text[1]); /* c2 80 is U+0080 */
		return 2;
	} else {
		(void)snprintf(ret_escape, 8, "\\ufffd");
	}
	return 1;
}

static void line_add_escaped(struct line *line, const char *text)
{
	size_t len = strlen(text);
	for (size_t at = 0; at < len && !line->is_cut;) {
		size_t printable = printable_len(text + at, len - at);
		if (printable > 0) {
			(void)line_add(line, text + at, printable); /* the loop sees is_cut */
			at += printable;
			continue;
		}
		char escaped[8];
		at += escape(text + at, len - at, escaped);
		(void)line_add(line, escaped, strlen(escaped)); /* as above */
	}
}

static bool needs_quotes(const char *text)
{
	size_t len = strlen(text);
	for (size_t at = 0; at < len;) {
		size_t printable = printable_len(text + at, len - at);
		if (printable == 0 || text[at] == ' ' || text[at] == '=')
			return true;
		at += printable;
	}
	return len == 0;
}

/* Up to where the value starts: ` key=` or `,"key":`. */
static bool line_add_key(struct line *line, const char *key)
{
	size_t key_len = strlen(key);
	if (line->is_cut || line->len + key_len + 8 > LINE_BYTES - CLOSING_BYTES) {
		line->is_cut = true;
		return false;
	}
	if (line->has_field)
		(void)line_add(
			line, line->is_json ? "," : " ", 1); /* known to fit, like the rest */
	line->has_field = true;
	if (line->is_json)
		(void)line_add(line, "\"", 1);
	(void)line_add(line, key, key_len);
	if (line->is_json)
		(void)line_add(line, "\":", 2);
	else
		(void)line_add(line, "=", 1);
	return true;
}

static void line_add_text(struct line *line, const char *key, const char *text)
{
	if (!line_add_key(line, key))
		return;
	bool is_quoted = line->is_json || needs_quotes(text);
	if (is_quoted)
		(void)line_add(line, "\"", 1); /* line_add_key left room */
	line_add_escaped(line, text);
	if (is_quoted)
		line_close(line, '"');
}

static void line_add_number(struct line *line, const char *key, int64_t number)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRId64, number);
	/* All or nothing: a number that was cut is a wrong number. */
	if (line->len + strlen(key) + 8 + (size_t)len > LINE_BYTES - CLOSING_BYTES)
		line->is_cut = true;
	if (line_add_key(line, key))
		(void)line_add(line, digits, (size_t)len); /* known to fit */
}

static void line_build(struct line *line, enum log_level level, bool with_time, const char *message,
	const struct log_field *fields)
{
	line->is_json = atomic_load(&log_format) == LOG_JSON;
	if (line->is_json)
		(void)line_add(line, "{", 1); /* the line is all but empty */
	if (with_time) {
		char now[32];
		text_from_time(clock_wall_ms(&clock_system), now, sizeof(now));
		line_add_text(line, "ts", now);
	}
	line_add_text(line, "level", levels[level].name);
	line_add_text(line, "msg", message);
	for (; fields && fields->key; fields++) {
		if (fields->text)
			line_add_text(line, fields->key, fields->text);
		else
			line_add_number(line, fields->key, fields->number);
	}
	if (line->is_json)
		line_close(line, '}');
}

static void write_stderr(enum log_level level, const char *message, const struct log_field *fields)
{
	struct line line = {.len = 0};
	bool journal = atomic_load(&log_to_journal);
	if (journal)
		(void)line_add(&line, levels[level].journal_prefix, 3); /* the line is empty */
	line_build(&line, level, !journal, message, fields);
	line_close(&line, '\n');
	ssize_t written;
	do {
		written = write(STDERR_FILENO, line.bytes, line.len);
	} while (written < 0 && errno == EINTR);
	/* Otherwise stderr is gone or full, and there is nobody left to tell. */
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
	int saved_errno = errno;
	pthread_mutex_lock(&sink_lock);
	void (*sink)(void *, enum log_level, const char *) = sink_call;
	void *context = sink_context;
	pthread_mutex_unlock(&sink_lock);
	if (sink) {
		struct line line = {.len = 0};
		line_build(&line, level, false, message, fields);
		line_close(&line, '\0');
		sink(context, level, line.bytes);
	} else {
		write_stderr(level, message, fields);
	}
	errno = saved_errno;
}
