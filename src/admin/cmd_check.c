/* check: what is wrong with the configuration, before the daemon finds out. */

#include "base/error.h"
#include "base/text.h"
#include "cli_private.h"
#include "conf/conf.h"
#include "online_private.h"

#include <stdio.h>
#include <strings.h>

extern char **environ;

static const char *const region_names[] = {
	[CONF_REGION_US] = "us",
	[CONF_REGION_EU] = "eu",
	[CONF_REGION_AU] = "au",
};

static void print_summary(const char *path, const struct conf *conf)
{
	(void)printf("%s: ok, %zu source%s", path, conf->source_count,
		conf->source_count == 1 ? "" : "s");
	for (size_t i = 0; i < conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &conf->workspaces[i];
		char section[80];
		(void)printf(", %s mode %s", online_section(workspace, section, sizeof(section)),
			workspace->mode == CONF_MODE_DRY_RUN ? "dry-run" : "live");
	}
	(void)fputc('\n', stdout);
}

/* False: there is a problem, which is said. */
static bool check_region(
	const char *section, const struct conf_workspace *workspace, const struct online_me *me)
{
	const char *configured = region_names[workspace->region];

	if (me->region[0] == '\0' || strcasecmp(me->region, configured) == 0)
		return true;
	(void)fprintf(stderr,
		"%s region = %s, but the workspace is in %s: set region to where it is\n", section,
		configured, me->region);
	return false;
}

static bool check_attribute(const char *section, const struct conf_workspace *workspace,
	const struct online_attribute *attribute)
{
	switch (attribute->standing) {
	case ONLINE_USABLE:
		(void)printf("%s attribute %s: there (%s)%s%s\n", section, attribute->name,
			attribute->data_type, attribute->text[0] ? "; " : "", attribute->text);
		return true;
	case ONLINE_MISSING:
		if (workspace->create_attributes) {
			(void)printf("%s attribute %s: missing; `subrelay setup` creates it, or "
				     "the first event that needs it\n",
				section, attribute->name);
			return true;
		}
		(void)fprintf(stderr,
			"%s attribute %s: missing, and create_attributes = no; `subrelay setup` "
			"creates it\n",
			section, attribute->name);
		return false;
	case ONLINE_UNUSABLE:
		(void)fprintf(
			stderr, "%s attribute %s: %s\n", section, attribute->name, attribute->text);
		return false;
	}
	return false;
}

static bool check_workspace(const struct conf *conf, const struct conf_workspace *workspace)
{
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(conf, attributes);
	struct online_me me;
	struct error err = {0};
	char section[80];
	bool is_fine = true;

	(void)online_section(workspace, section, sizeof(section));
	if (!online_ask_me(workspace, &me, &err)) {
		(void)fprintf(stderr, "%s %s\n", section, err.text);
		return false;
	}
	(void)printf("%s the token works: workspace \"%s\"%s%s\n", section, cli_printable(me.app),
		me.region[0] ? ", region " : "", cli_printable(me.region));
	is_fine = check_region(section, workspace, &me);
	if (!online_compare(workspace, attributes, count, &err)) {
		(void)fprintf(stderr, "%s attributes: %s\n", section, err.text);
		return false;
	}
	for (size_t i = 0; i < count; i++)
		is_fine = check_attribute(section, workspace, &attributes[i]) && is_fine;
	return is_fine;
}

static int check_online(const struct conf *conf)
{
	size_t asked = 0;
	bool is_fine = true;

	for (size_t i = 0; i < conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &conf->workspaces[i];
		char section[80];
		if (!secret_is_set(&workspace->access_token)) {
			cli_note(&cmd_check, "%s has no access_token: dry-run, nothing to ask",
				online_section(workspace, section, sizeof(section)));
			continue;
		}
		asked++;
		is_fine = check_workspace(conf, workspace) && is_fine;
	}
	if (asked == 0)
		return cli_failed(&cmd_check, "--online needs an access_token");
	return is_fine ? CLI_DONE : CLI_FAILED;
}

static int run(int argc, char **argv)
{
	const char *path = CLI_DEFAULT_CONFIG;
	bool online = false;
	const struct cli_flag flags[] = {
		{.name = "config", .letter = 'c', .value = &path},
		{.name = "online", .is_set = &online},
		{.name = NULL},
	};
	struct conf_report report = {0};
	char **operands;
	int code;

	if (!cli_parse(&cmd_check, argc, argv, flags, 0, &operands, &code))
		return code;
	struct conf *conf = conf_load(path, environ, &report);
	cli_print_problems(&report);
	conf_report_finish(&report);
	if (!conf)
		return CLI_FAILED;
	code = online ? check_online(conf) : CLI_DONE;
	if (code == CLI_DONE)
		print_summary(path, conf);
	conf_unref(conf);
	return code;
}

const struct cli_command cmd_check = {
	.name = "check",
	.usage = "check [-c FILE] [--online]",
	.help = "reports every problem of the configuration\n"
		"\n"
		"Reads it as the daemon would, environment included, and prints each problem as\n"
		"FILE:LINE: text. Warnings are printed too, and don't make it fail.\n"
		"\n"
		"  -c, --config FILE   the configuration; default " CLI_DEFAULT_CONFIG "\n"
		"      --online        besides, asks Intercom: does each token work, is the "
		"region\n"
		"                      right, are the custom attributes there and of the right "
		"type?\n"
		"                      Changes nothing.\n"
		"\n"
		"example: subrelay check --online",
	.run = run,
};
