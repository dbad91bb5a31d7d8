#ifndef SUBRELAY_BASE_LOG_H
#define SUBRELAY_BASE_LOG_H

/*
 * The log: one line an occurrence, on stderr, as logfmt or JSON, from any thread.
 *
 *   log_info("delivered", LOG_TEXT("job", id), LOG_INT("status", 200));
 *   -> level=info msg=delivered job=… status=200
 *
 * When stderr is the journal ($JOURNAL_STREAM names it) each line gets the priority prefix "<6>"
 * and no time; otherwise it starts with ts=…. Values are quoted and escaped where they need it, so
 * that nothing in them can end a line, begin a field or steer a terminal. Never log bodies, tokens
 * or e-mail addresses. This is the only module with state of its own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG_LEVEL, LOG_INFO_LEVEL, LOG_WARN_LEVEL, LOG_ERROR_LEVEL };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field {
	const char *key;  /* NULL ends the list */
	const char *text; /* NULL: the number is the value */
	int64_t number;
};

static inline struct log_field log_field_text(const char *key, const char *text)
{
	return (struct log_field){.key = key, .text = text ? text : ""};
}

#define LOG_TEXT(k, v) log_field_text((k), (v))
#define LOG_INT(k, v) ((struct log_field){.key = (k), .number = (v)})
#define LOG_END ((struct log_field){.key = NULL})

/* Before the first line, and again on reload. Until then: info, logfmt. */
void log_configure(enum log_level level, enum log_format format);
bool log_wants(enum log_level level);
/* Where lines go: NULL is stderr. For tests, and for `serve` in the foreground. The sink is called
 * from any thread, under no lock; its line has no time, priority or newline and is borrowed. */
void log_redirect(
	void (*sink)(void *context, enum log_level level, const char *line), void *context);

/* `fields` ends with a field whose key is NULL; may be NULL. Lines over 2 KiB are cut. Writes at
 * any level: the macros below ask log_wants first. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);

/* One field or more, ended; for log_write. */
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, LOG_END})

/* log_info("message") and log_info("message", field, …): LOG_END goes last in the arguments, so
 * that there is always one after the message, as C11 wants it. Fields are not evaluated for a level
 * that is not logged. */
#define log_at_ended(level, message, ...)                                                          \
	(log_wants(level) ? log_write((level), (message), (const struct log_field[]){__VA_ARGS__}) \
			  : (void)0)
#define log_at(level, ...) log_at_ended(level, __VA_ARGS__, LOG_END)
#define log_debug(...) log_at(LOG_DEBUG_LEVEL, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO_LEVEL, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN_LEVEL, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR_LEVEL, __VA_ARGS__)

#endif
