/* retry: parked events wait for delivery again. */

#include "cli_private.h"
#include "client_private.h"

#include <stdio.h>

static int run(int argc, char **argv)
{
	struct client_place place = CLIENT_PLACE;
	bool all = false;
	bool as_json = false;
	const struct cli_flag flags[] = {
		CLIENT_FLAGS(&place),
		{.name = "all-parked", .is_set = &all},
		{.name = "json", .is_set = &as_json},
		{.name = NULL},
	};
	char **operands;
	int code;

	if (!cli_parse(&cmd_retry, argc, argv, flags, 1, &operands, &code))
		return code;
	if (all == (operands[0] != NULL))
		return cli_misused(&cmd_retry, "either the ID of an event, or --all-parked");
	json_t *request = all ? json_pack("{s:s, s:b}", "verb", "retry", "all", 1)
			      : json_pack("{s:s, s:s}", "verb", "retry", "id", operands[0]);
	if (!request)
		return cli_failed(&cmd_retry, "the ID is not UTF-8");
	json_t *rows = client_run_take(&cmd_retry, &place, request);
	if (!rows)
		return CLI_FAILED;
	const json_t *row = json_array_get(rows, 0);
	long long count = (long long)client_integer(row, "count");
	if (as_json)
		client_print_json(row);
	else if (count == 0)
		(void)printf("nothing is parked\n");
	else
		(void)printf("%lld parked deliver%s again\n", count,
			count == 1 ? "y waits" : "ies wait");
	json_decref(rows);
	return CLI_DONE;
}

const struct cli_command cmd_retry = {
	.name = "retry",
	.usage = "retry [-c FILE] [--socket PATH] [--json] ID | --all-parked",
	.help = "delivers parked events again\n"
		"\n"
		"An event is parked when Intercom refuses it for good, or when it couldn't be\n"
		"delivered for too long. ID is the number that `subrelay events` shows, or the\n"
		"billing system's own id of the event.\n"
		"\n"
		"      --all-parked    all of them\n" CLIENT_HELP
		"      --json          {\"count\":…}\n"
		"\n"
		"example: subrelay retry 4711",
	.run = run,
};
