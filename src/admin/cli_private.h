#ifndef SUBRELAY_ADMIN_CLI_PRIVATE_H
#define SUBRELAY_ADMIN_CLI_PRIVATE_H

/*
 * What the verbs share: reading their arguments, saying what went wrong, loading the configuration.
 *
 * Results go to stdout, everything else to stderr. What is said there begins with "subrelay VERB:
 * ", but for the problems of a configuration, which begin with their place.
 */

#include "admin/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct conf;
struct conf_report;
struct error;

/* One option of a verb: "--name", also "-letter" unless that is 0. Either value or is_set is set.
 */
struct cli_flag {
	const char *name; /* NULL ends the list */
	char letter;
	const char **value; /* it takes an argument, which is borrowed from argv */
	bool *is_set;       /* it takes none */
};

/*
 * Reads argv by the list; --help is understood besides. Options may stand anywhere, "--" ends them.
 * False: nothing is to be done (any more), and *ret_exit is the exit code; what there was to say is
 * said. *ret_operands are what is left, at most operands_max, ended by NULL.
 */
bool cli_parse(const struct cli_command *command, int argc, char **argv,
	const struct cli_flag *flags, int operands_max, char ***ret_operands, int *ret_exit);
/* A whole number from 1 to `maximum`, or a usage error (false). */
bool cli_number(const struct cli_command *command, const char *name, const char *text,
	int64_t maximum, int64_t *ret_number);

/* Says it, with the usage line and where help is; returns CLI_USAGE. */
int cli_misused(const struct cli_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Says it; returns CLI_FAILED. */
int cli_failed(const struct cli_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same without an end: a remark. */
void cli_note(const struct cli_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Usage and help of a verb, on stdout. */
void cli_help(const struct cli_command *command);

/* Prints "FILE:LINE: text" for each problem on stderr, warnings with "warning: " before the text.
 */
void cli_print_problems(const struct conf_report *report);

/* All of a file, or of stdin ("-" or NULL), up to buf's maximum. */
bool cli_read_file(const char *path, struct buf *ret, struct error *err);

/* Text from outside for a terminal or a table: what could steer a terminal becomes '?'. In place.
 */
char *cli_printable(char *text);

#endif
