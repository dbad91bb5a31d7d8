/* map: what would be sent of one webhook, without network or store. */

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli_private.h"
#include "conf/conf.h"
#include "map_text_private.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;

#define RESULT_MAX ((size_t)64 * 1024 * 1024)

static void list_sources(const struct conf *conf)
{
	(void)fputs("there are:", stderr);
	for (size_t i = 0; i < conf->source_count; i++)
		(void)fprintf(stderr, " %s", conf->sources[i].name);
	(void)fputc('\n', stderr);
}

static int map_file(const struct conf *conf, const char *source, const char *path)
{
	const char *name = source ? source : conf->sources[0].name;
	const struct conf_source *section = conf_source_get(conf, name);
	struct buf body, result;
	struct error err = {0};
	int code = CLI_DONE;

	buf_init(&body, (size_t)conf->server.body_max);
	buf_init(&result, RESULT_MAX);
	if (!section) {
		code = cli_failed(&cmd_map, "no section [%s] is configured", name);
		list_sources(conf);
		goto out;
	}
	if (!cli_read_file(path, &body, &err) ||
		!map_body(conf, section, buf_text(&body), body.len, clock_wall_ms(&clock_system),
			&result, &err)) {
		code = cli_failed(&cmd_map, "%s", err.text);
		goto out;
	}
	(void)fwrite(buf_text(&result), 1, result.len, stdout); /* cli_main looks at ferror */
out:
	buf_finish(&body);
	buf_finish(&result);
	return code;
}

static int run(int argc, char **argv)
{
	const char *config = NULL;
	const char *source = NULL;
	const struct cli_flag flags[] = {
		{.name = "config", .letter = 'c', .value = &config},
		{.name = "source", .letter = 's', .value = &source},
		{.name = NULL},
	};
	struct conf_report report = {0};
	char **operands;
	int code;

	if (!cli_parse(&cmd_map, argc, argv, flags, 1, &operands, &code))
		return code;
	/* Only where nothing is installed; a file that is there and can't be read isn't skipped. */
	if (!config && (access(CLI_DEFAULT_CONFIG, F_OK) == 0 || errno == EACCES))
		config = CLI_DEFAULT_CONFIG;
	struct conf *conf = conf_load_for_map(config, environ, &report);
	cli_print_problems(&report);
	conf_report_finish(&report);
	if (!conf)
		return cli_failed(&cmd_map,
			"the configuration can't be used (-c /dev/null maps with the defaults)");
	code = map_file(conf, source, operands[0]);
	conf_unref(conf);
	return code;
}

const struct cli_command cmd_map = {
	.name = "map",
	.usage = "map [-c FILE] [-s SOURCE] [FILE]",
	.help = "prints what would be sent to Intercom of one webhook body\n"
		"\n"
		"Reads the body from FILE, or from stdin, and prints a JSON object with\n"
		"product_identifier, app_id, user_payload and event_payload; an array of such "
		"objects\n"
		"when several contacts are concerned. A payload that isn't sent is null, and\n"
		"`ignored` says why. Neither network nor store is used: the customer is taken "
		"to be\n"
		"new.\n"
		"\n"
		"  -c, --config FILE   the configuration, for names and choices; default\n"
		"                      " CLI_DEFAULT_CONFIG " if it is there\n"
		"  -s, --source NAME   the section that the webhook comes in by, such as\n"
		"                      revenuecat.ios; default: the first one\n"
		"\n"
		"example: subrelay map < body.json",
	.run = run,
};
