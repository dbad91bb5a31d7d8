#ifndef SUBRELAY_ADMIN_CLI_H
#define SUBRELAY_ADMIN_CLI_H

/*
 * The command line: verbs as a table, one file a verb (cmd_*.c).
 *
 * Exit codes: 0 done, 1 it failed (stderr says why), 2 wrong usage. `subrelay --help`,
 * `subrelay VERB --help`, `subrelay --version`.
 */

/* One verb. argv[0] is the verb's name. */
struct cli_command {
	const char *name;
	const char *usage; /* "show [-c FILE] [--json] ID" */
	const char *help;  /* a sentence or more, with an example */
	int (*run)(int argc, char **argv);
};

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

#define CLI_DEFAULT_CONFIG "/etc/subrelay/subrelay.ini"

int cli_main(int argc, char **argv);

extern const struct cli_command cmd_backup;
extern const struct cli_command cmd_check;
extern const struct cli_command cmd_events;
extern const struct cli_command cmd_map;
extern const struct cli_command cmd_retry;
extern const struct cli_command cmd_serve;
extern const struct cli_command cmd_setup;
extern const struct cli_command cmd_show;
extern const struct cli_command cmd_status;

#endif
