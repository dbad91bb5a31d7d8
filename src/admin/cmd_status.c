/* status: how the daemon is doing, on one screen. */

#include "base/text.h"
#include "cli_private.h"
#include "client_private.h"

#include <stdio.h>
#include <string.h>

/* Seconds, as a span for people. */
static void span_of(const json_t *status, const char *key, char ret[32])
{
	int64_t span_ms;

	if (__builtin_mul_overflow(client_integer(status, key), INT64_C(1000), &span_ms))
		span_ms = 0; /* no daemon says that */
	text_from_span(span_ms, ret, 32);
}

/* A line's first column. */
static void print_heading(const char *name)
{
	client_print_text(name);
	(void)printf("%*s  ", strlen(name) < 9 ? (int)(9 - strlen(name)) : 0, "");
}

static void print_events(const json_t *status)
{
	char span[32];

	(void)printf("events     %lld received: %lld accepted, %lld ignored, %lld duplicate\n",
		(long long)client_integer(status, "received"),
		(long long)client_integer(status, "accepted"),
		(long long)client_integer(status, "ignored"),
		(long long)client_integer(status, "duplicate"));
	(void)printf("delivery   %lld delivered, %lld waiting",
		(long long)client_integer(status, "delivered"),
		(long long)client_integer(status, "waiting"));
	if (client_integer(status, "waiting") > 0) {
		span_of(status, "oldest_waiting_s", span);
		(void)printf(" (the oldest for %s)", span);
	}
	(void)printf(", %lld parked%s\n", (long long)client_integer(status, "parked"),
		client_integer(status, "parked") > 0 ? " (which: subrelay events --state parked)"
						     : "");
	(void)printf(
		"refused    since the start %lld unauthorized, %lld malformed, %lld that could "
		"not be stored\n",
		(long long)client_integer(status, "unauthorized"),
		(long long)client_integer(status, "malformed"),
		(long long)client_integer(status, "failed"));
}

/* "delivery is held since …: 401 unauthorized …" */
static void print_state(const json_t *workspace)
{
	const char *state = client_text(workspace, "state");
	const char *why = client_text(workspace, "why");
	char since[32];

	if (text_equal(state, "ok"))
		(void)printf("delivery works");
	else if (text_equal(state, "holding"))
		(void)printf(
			"delivery is held since %s UTC", client_time(workspace, "since", since));
	else if (text_equal(state, "paced"))
		(void)printf("delivery waits for Intercom's next rate window");
	else
		client_print_text(state);
	if (why[0] != '\0') {
		(void)printf(": ");
		client_print_text(why);
	}
}

static void print_workspace(const json_t *workspace)
{
	long long in_flight = (long long)client_integer(workspace, "in_flight");
	long long resting = (long long)client_integer(workspace, "resting");

	print_heading(client_text(workspace, "name"));
	if (text_equal(client_text(workspace, "mode"), "dry-run"))
		(void)printf("dry run, calls are printed instead of sent; ");
	print_state(workspace);
	if (in_flight > 0)
		(void)printf("; %lld call%s in flight", in_flight, in_flight == 1 ? "" : "s");
	if (resting > 0)
		(void)printf("; %lld contact%s to be tried again later", resting,
			resting == 1 ? "" : "s");
	(void)fputc('\n', stdout);
}

static void print_status(const json_t *status)
{
	const json_t *workspaces = json_object_get(status, "workspaces");
	char span[32];

	span_of(status, "uptime_s", span);
	print_heading("subrelay");
	client_print_text(client_text(status, "version"));
	(void)printf(", up for %s\n", span);
	print_events(status);
	if (json_is_true(json_object_get(status, "store_ready"))) {
		(void)printf("store      ready\n");
	} else {
		(void)printf("store      events can't be stored: ");
		client_print_text(client_text(status, "store_why"));
		(void)fputc('\n', stdout);
	}
	for (size_t i = 0; i < json_array_size(workspaces); i++)
		print_workspace(json_array_get(workspaces, i));
}

static int run(int argc, char **argv)
{
	struct client_place place = CLIENT_PLACE;
	bool as_json = false;
	const struct cli_flag flags[] = {
		CLIENT_FLAGS(&place),
		{.name = "json", .is_set = &as_json},
		{.name = NULL},
	};
	char **operands;
	int code;

	if (!cli_parse(&cmd_status, argc, argv, flags, 0, &operands, &code))
		return code;
	json_t *rows = client_run_take(&cmd_status, &place, json_pack("{s:s}", "verb", "status"));
	if (!rows)
		return CLI_FAILED;
	if (as_json)
		client_print_json(json_array_get(rows, 0));
	else
		print_status(json_array_get(rows, 0));
	json_decref(rows);
	return CLI_DONE;
}

const struct cli_command cmd_status = {
	.name = "status",
	.usage = "status [-c FILE] [--socket PATH] [--json]",
	.help = "says how the running daemon is doing\n"
		"\n"
		"Counts of events, what waits and for how long, and of each Intercom workspace\n"
		"whether delivery works, or since when and why it is held.\n"
		"\n" CLIENT_HELP "      --json          as a JSON object\n"
		"\n"
		"example: subrelay status --json | jq .waiting",
	.run = run,
};
