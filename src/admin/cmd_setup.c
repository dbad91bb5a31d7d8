/* setup: the custom attributes that will be written, made ahead of the first event. */

#include "base/error.h"
#include "cli_private.h"
#include "conf/conf.h"
#include "online_private.h"

#include <stdio.h>

extern char **environ;

/* False: it can't be used, which is said. */
static bool set_up_attribute(const char *section, const struct conf_workspace *workspace,
	const struct online_attribute *attribute)
{
	struct error err = {0};

	switch (attribute->standing) {
	case ONLINE_USABLE:
		(void)printf("%s attribute %s: exists%s%s\n", section, attribute->name,
			attribute->text[0] ? "; " : "", attribute->text);
		return true;
	case ONLINE_MISSING:
		if (online_create(workspace, attribute, &err)) {
			(void)printf("%s attribute %s: created (%s)\n", section, attribute->name,
				attribute->data_type);
			return true;
		}
		(void)fprintf(stderr, "%s attribute %s: %s\n", section, attribute->name, err.text);
		return false;
	case ONLINE_UNUSABLE:
		(void)fprintf(
			stderr, "%s attribute %s: %s\n", section, attribute->name, attribute->text);
		return false;
	}
	return false;
}

static bool set_up_workspace(const struct conf *conf, const struct conf_workspace *workspace)
{
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(conf, attributes);
	struct error err = {0};
	char section[80];
	bool is_fine = true;

	(void)online_section(workspace, section, sizeof(section));
	if (!online_compare(workspace, attributes, count, &err)) {
		(void)fprintf(stderr, "%s %s\n", section, err.text);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		is_fine = set_up_attribute(section, workspace, &attributes[i]) && is_fine;
	return is_fine;
}

static int set_up(const struct conf *conf)
{
	size_t live = 0;
	bool is_fine = true;

	for (size_t i = 0; i < conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &conf->workspaces[i];
		char section[80];
		if (workspace->mode != CONF_MODE_LIVE) {
			cli_note(&cmd_setup, "%s is in dry-run mode: left alone",
				online_section(workspace, section, sizeof(section)));
			continue;
		}
		live++;
		is_fine = set_up_workspace(conf, workspace) && is_fine;
	}
	if (live == 0)
		return cli_failed(&cmd_setup, "no workspace is live; setup needs an access_token");
	return is_fine ? CLI_DONE : CLI_FAILED;
}

static int run(int argc, char **argv)
{
	const char *path = CLI_DEFAULT_CONFIG;
	const struct cli_flag flags[] = {
		{.name = "config", .letter = 'c', .value = &path},
		{.name = NULL},
	};
	struct conf_report report = {0};
	char **operands;
	int code;

	if (!cli_parse(&cmd_setup, argc, argv, flags, 0, &operands, &code))
		return code;
	struct conf *conf = conf_load(path, environ, &report);
	cli_print_problems(&report);
	conf_report_finish(&report);
	if (!conf)
		return CLI_FAILED;
	code = set_up(conf);
	conf_unref(conf);
	return code;
}

const struct cli_command cmd_setup = {
	.name = "setup",
	.usage = "setup [-c FILE]",
	.help = "creates the missing Intercom custom attributes\n"
		"\n"
		"In each live workspace: those of [attributes] that aren't there yet, with the\n"
		"right type. What is there is left as it is, so it may be run again.\n"
		"\n"
		"  -c, --config FILE   the configuration; default " CLI_DEFAULT_CONFIG "\n"
		"\n"
		"example: subrelay setup",
	.run = run,
};
