/* events: the list of what came in, newest first. */

#include "base/clock.h"
#include "base/text.h"
#include "cli_private.h"
#include "client_private.h"
#include "table_private.h"

#include <stdio.h>

#define LIMIT_MAX 10000 /* the daemon's as well */

static void print_table(const json_t *rows)
{
	static const char *const headings[] = {
		"ID", "RECEIVED (UTC)", "STATE", "TYPE", "CUSTOMER", "REASON"};
	struct table table;
	char text[32];

	table_init(&table, sizeof(headings) / sizeof(headings[0]));
	for (size_t i = 0; i < table.columns; i++)
		table_add(&table, headings[i]);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		(void)snprintf(text, sizeof(text), "%lld", (long long)client_integer(row, "id"));
		table_add(&table, text);
		table_add(&table, client_time(row, "received_at", text));
		table_add(&table, client_text(row, "state"));
		table_add(&table, client_text(row, "type"));
		table_add(&table, client_text(row, "customer"));
		table_add(&table, client_text(row, "reason"));
	}
	table_print(&table, 0);
	table_finish(&table);
}

/* What the command line asks for. */
struct wish {
	const char *state;
	const char *source;
	const char *type;
	const char *customer;
	const char *limit;
	const char *before;
	const char *since;
};

/* NULL: wrong usage, which is said. */
static json_t *make_request(const struct wish *wish)
{
	int64_t limit = 50;
	int64_t before = 0;
	int64_t since_ms = 0;

	if (wish->state && !text_equal(wish->state, "waiting") &&
		!text_equal(wish->state, "delivered") && !text_equal(wish->state, "ignored") &&
		!text_equal(wish->state, "parked")) {
		(void)cli_misused(&cmd_events,
			"--state is waiting, delivered, ignored or parked, not '%s'", wish->state);
		return NULL;
	}
	if (wish->limit && !cli_number(&cmd_events, "--limit", wish->limit, LIMIT_MAX, &limit))
		return NULL;
	if (wish->before && !cli_number(&cmd_events, "--before", wish->before, INT64_MAX, &before))
		return NULL;
	if (wish->since && !text_to_duration_ms(wish->since, &since_ms)) {
		(void)cli_misused(
			&cmd_events, "--since is a span such as 2h or 3d, not '%s'", wish->since);
		return NULL;
	}
	json_t *request = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:I, s:I}", "verb", "events",
		"state", wish->state, "source", wish->source, "type", wish->type, "customer",
		wish->customer, "limit", (json_int_t)limit, "before", (json_int_t)before);
	if (!request)
		(void)cli_misused(&cmd_events, "the arguments are not UTF-8");
	if (request && wish->since)
		(void)json_object_set_new(
			request, "since_ms", json_integer(clock_wall_ms(&clock_system) - since_ms));
	return request;
}

static int run(int argc, char **argv)
{
	struct client_place place = CLIENT_PLACE;
	struct wish wish = {0};
	bool as_json = false;
	const struct cli_flag flags[] = {
		CLIENT_FLAGS(&place),
		{.name = "json", .is_set = &as_json},
		{.name = "state", .value = &wish.state},
		{.name = "source", .value = &wish.source},
		{.name = "type", .value = &wish.type},
		{.name = "customer", .value = &wish.customer},
		{.name = "limit", .letter = 'n', .value = &wish.limit},
		{.name = "before", .value = &wish.before},
		{.name = "since", .value = &wish.since},
		{.name = NULL},
	};
	char **operands;
	int code;

	if (!cli_parse(&cmd_events, argc, argv, flags, 0, &operands, &code))
		return code;
	json_t *request = make_request(&wish);
	if (!request)
		return CLI_USAGE;
	json_t *rows = client_run_take(&cmd_events, &place, request);
	if (!rows)
		return CLI_FAILED;
	if (as_json)
		client_print_json(rows);
	else if (json_array_size(rows) == 0)
		(void)printf("no such events\n");
	else
		print_table(rows);
	json_decref(rows);
	return CLI_DONE;
}

const struct cli_command cmd_events = {
	.name = "events",
	.usage = "events [-c FILE] [--socket PATH] [--json] [--state STATE] [--source NAME]\n"
		 "                       [--type TYPE] [--customer ID] [--since SPAN] [--before "
		 "ID]\n"
		 "                       [-n N]",
	.help = "lists events, newest first\n"
		"\n"
		"      --state STATE   waiting, delivered, ignored or parked\n"
		"      --source NAME   the section it came in by, such as revenuecat.ios\n"
		"      --type TYPE     the billing system's word, such as RENEWAL\n"
		"      --customer ID   whom it is about, in the billing system's words\n"
		"      --since SPAN    received not longer ago than that, such as 2h or 3d\n"
		"      --before ID     older than that one, for the next page\n"
		"  -n, --limit N       at most so many, up to 10000; default 50\n" CLIENT_HELP
		"      --json          as a JSON array\n"
		"\n"
		"example: subrelay events --state parked",
	.run = run,
};
