/*
 * The list of verbs, and what stands before and after each.
 */

#include "admin/cli.h"

#include "base/text.h"
#include "cli_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* In the order in which an operator meets them. */
static const struct cli_command *const commands[] = {
	&cmd_serve,
	&cmd_check,
	&cmd_setup,
	&cmd_map,
	&cmd_status,
	&cmd_events,
	&cmd_show,
	&cmd_retry,
	&cmd_backup,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* The first sentence of the help. */
static int headline_len(const char *help)
{
	const char *end = strchr(help, '\n');
	return end ? (int)(end - help) : (int)strlen(help);
}

static void print_overview(FILE *out)
{
	(void)fputs("subrelay relays subscription billing webhooks into Intercom.\n"
		    "\n"
		    "usage: subrelay COMMAND [OPTION]… [ARGUMENT]…\n"
		    "\n",
		out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "  %-8s %.*s\n", commands[i]->name,
			headline_len(commands[i]->help), commands[i]->help);
	(void)fputs("\n"
		    "subrelay COMMAND --help says more of a command, subrelay --version which "
		    "version this is.\n"
		    "Exit codes: 0 done, 1 it failed (stderr says why), 2 wrong usage.\n",
		out);
}

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static int say_unknown(const char *name)
{
	const struct cli_command *closest = NULL;
	size_t closest_distance = 3; /* farther isn't a slip of the fingers */
	for (size_t i = 0; strlen(name) < 32 && i < COMMAND_COUNT; i++) {
		size_t distance = text_distance(name, commands[i]->name);
		if (distance < closest_distance) {
			closest_distance = distance;
			closest = commands[i];
		}
	}
	if (closest)
		(void)fprintf(stderr, "subrelay: there is no command '%s'; did you mean '%s'?\n",
			name, closest->name);
	else
		(void)fprintf(stderr, "subrelay: there is no command '%s'\n", name);
	(void)fputs("try: subrelay --help\n", stderr);
	return CLI_USAGE;
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		print_overview(stderr);
		return CLI_USAGE;
	}
	const char *name = argv[1];
	if (text_equal(name, "--version") || text_equal(name, "-V")) {
		(void)printf("subrelay %s\n", SUBRELAY_VERSION);
		return CLI_DONE;
	}
	if (text_equal(name, "--help") || text_equal(name, "-h") || text_equal(name, "help")) {
		const struct cli_command *command = argc > 2 ? find(argv[2]) : NULL;
		if (argc > 2 && !command)
			return say_unknown(argv[2]);
		if (command)
			cli_help(command);
		else
			print_overview(stdout);
		return CLI_DONE;
	}
	if (name[0] == '-') {
		(void)fprintf(stderr,
			"subrelay: the command comes first, then its options ('%s')\n"
			"try: subrelay --help\n",
			name);
		return CLI_USAGE;
	}
	const struct cli_command *command = find(name);
	return command ? command->run(argc - 1, argv + 1) : say_unknown(name);
}

int cli_main(int argc, char **argv)
{
	int code = run(argc, argv);
	/* An answer that didn't get out is no answer: a full disk behind a '>' for example. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_DONE) {
		(void)fprintf(stderr, "subrelay: stdout can't be written: %s\n", strerror(errno));
		code = CLI_FAILED;
	}
	return code;
}
