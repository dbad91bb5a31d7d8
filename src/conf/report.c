/*
 * The report: every problem at once, each with its place, and "did you mean".
 *
 * A problem is a sentence for the operator: what is wrong, what would be right. Values of secrets
 * never come here. A file of noise has a problem on every line, so only the first PROBLEM_COUNT_MAX
 * are kept; the rest is counted and said in one line.
 */

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_COUNT_MAX 200
#define PROBLEM_TEXT_MAX 1000
#define GUESSED_LEN_MAX 64

static char *place_text(struct place place)
{
	struct buf text;
	buf_init(&text, PROBLEM_TEXT_MAX);
	if (place.variable)
		buf_addf(&text, "environment:%s", place.variable);
	else if (!place.file)
		buf_add_text(&text, "environment");
	else if (place.line > 0)
		buf_addf(&text, "%s:%d", place.file, place.line);
	else
		buf_add_text(&text, place.file);
	return buf_detach(&text);
}

static void add(struct conf_report *report, struct place place, bool is_warning, const char *text)
{
	bool is_of_file = !place.variable && place.file;
	if (!is_warning)
		report->error_count++;
	if (report->count > PROBLEM_COUNT_MAX)
		return;
	if (report->count == PROBLEM_COUNT_MAX) {
		place = (struct place){.file = place.file};
		text = "there are more problems; these come first";
	}
	report->problems =
		xrealloc(report->problems, (report->count + 1) * sizeof(*report->problems));
	report->problems[report->count] = (struct conf_problem){
		.where = place_text(place),
		.text = xstrdup(text),
		/* The last one stays behind all the others of the file. */
		.line = report->count == PROBLEM_COUNT_MAX ? INT_MAX
			: is_of_file                       ? place.line
							   : 0,
		.is_warning = is_warning,
	};
	report->count++;
}

void conf_report_problem(struct conf_report *report, struct place place, const char *format, ...)
{
	char text[PROBLEM_TEXT_MAX];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments); /* a longer one is cut */
	va_end(arguments);
	add(report, place, false, text);
}

void conf_report_warning(struct conf_report *report, struct place place, const char *format, ...)
{
	char text[PROBLEM_TEXT_MAX];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments); /* a longer one is cut */
	va_end(arguments);
	add(report, place, true, text);
}

static int rank(const struct conf_problem *problem)
{
	bool is_of_environment = text_starts_with(problem->where, "environment");
	return is_of_environment && problem->line == 0 ? INT_MAX : problem->line;
}

/* Insertion: stable, and short lists are the rule. */
void conf_report_sort(struct conf_report *report)
{
	for (size_t i = 1; i < report->count; i++) {
		struct conf_problem moved = report->problems[i];
		size_t at = i;
		for (; at > 0 && rank(&report->problems[at - 1]) > rank(&moved); at--)
			report->problems[at] = report->problems[at - 1];
		report->problems[at] = moved;
	}
}

void conf_report_finish(struct conf_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		free(report->problems[i].where);
		free(report->problems[i].text);
	}
	free(report->problems);
	*report = (struct conf_report){0};
}

void guess_init(struct guess *guess, const char *text)
{
	*guess = (struct guess){.text = text};
}

static void lower_into(char *ret, const char *text)
{
	size_t len = strlen(text);
	for (size_t i = 0; i <= len; i++)
		ret[i] = (char)tolower((unsigned char)text[i]);
}

void guess_offer(struct guess *guess, const char *candidate)
{
	char text[GUESSED_LEN_MAX + 1];
	char other[GUESSED_LEN_MAX + 1];
	size_t len = strlen(guess->text);
	if (len > GUESSED_LEN_MAX || strlen(candidate) > GUESSED_LEN_MAX)
		return;
	lower_into(text, guess->text);
	lower_into(other, candidate);
	size_t distance = text_distance(text, other);
	size_t farthest = len < 3 ? 0 : len < 6 ? 2 : 3;
	if (distance > farthest && len > 3 && strstr(other, text))
		distance =
			GUESSED_LEN_MAX; /* "token" for access_token: behind any slip of the pen */
	else if (distance > farthest)
		return;
	if (guess->best && distance >= guess->distance)
		return;
	guess->best = candidate;
	guess->distance = distance;
}

void guess_say(const struct guess *guess, char *ret, size_t ret_size)
{
	ret[0] = '\0';
	if (guess->best) /* cut when it doesn't fit */
		(void)snprintf(ret, ret_size, "; did you mean '%s'?", guess->best);
}

struct shown conf_show(const char *value)
{
	struct shown shown;
	size_t max = sizeof(shown.text) - sizeof("...");
	size_t len = strlen(value);
	bool is_cut = len > max;
	if (is_cut)
		len = max;
	bool is_printable = text_is_utf8(value, len);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];
		bool prints = c >= 0x80 ? is_printable : isprint(c) != 0;
		shown.text[i] = '?';
		if (prints)
			shown.text[i] = value[i];
	}
	memcpy(shown.text + len, is_cut ? "..." : "", is_cut ? sizeof("...") : 1);
	return shown;
}
