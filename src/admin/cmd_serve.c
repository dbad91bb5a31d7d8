/* serve: the daemon, in the foreground; a service manager puts it where it belongs. */

#include "base/error.h"
#include "cli_private.h"
#include "daemon.h"

static int run(int argc, char **argv)
{
	const char *path = CLI_DEFAULT_CONFIG;
	const struct cli_flag flags[] = {
		{.name = "config", .letter = 'c', .value = &path},
		{.name = NULL},
	};
	struct error err = {0};
	char **operands;
	int code;

	if (!cli_parse(&cmd_serve, argc, argv, flags, 0, &operands, &code))
		return code;
	if (!daemon_run(path, &err))
		return cli_failed(&cmd_serve, "%s", err.text);
	return CLI_DONE;
}

const struct cli_command cmd_serve = {
	.name = "serve",
	.usage = "serve [-c FILE]",
	.help = "runs the daemon\n"
		"\n"
		"Receives webhooks and relays them until it gets SIGTERM or SIGINT; SIGHUP reads "
		"the\n"
		"configuration again. Stays in the foreground and logs to stderr.\n"
		"\n"
		"  -c, --config FILE   the configuration; default " CLI_DEFAULT_CONFIG "\n"
		"\n"
		"As long as no Intercom access token is given it runs dry: every call is made up "
		"to\n"
		"the last byte and printed instead of sent.\n"
		"\n"
		"example: subrelay serve -c config/subrelay.ini",
	.run = run,
};
