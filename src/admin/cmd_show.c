/* show: one event, with everything that is known of it. */

#include "base/text.h"
#include "cli_private.h"
#include "client_private.h"
#include "table_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "  key         value"; text from outside, so nothing of it steers the terminal. */
static void print_line(const char *key, const char *text)
{
	struct table table;

	table_init(&table, 1);
	table_add(&table, text);
	(void)printf("  %-11s ", key);
	table_print(&table, 0);
	table_finish(&table);
}

static void print_json_line(const char *key, const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	print_line(key, text);
	free(text);
}

/* A reason with Intercom's request id, where there is one. */
static void print_reason(const json_t *object)
{
	if (client_text(object, "reason")[0] != '\0')
		print_line("because", client_text(object, "reason"));
	if (client_text(object, "request_id")[0] != '\0')
		print_line("request id", client_text(object, "request_id"));
}

static void print_event(const json_t *event)
{
	char time[32];

	(void)printf("event %lld\n", (long long)client_integer(event, "id"));
	print_line("event id", client_text(event, "event_id"));
	print_line("source", client_text(event, "source"));
	print_line("type", client_text(event, "type"));
	print_line("customer", client_text(event, "customer"));
	(void)printf("  %-11s %s UTC\n", "happened", client_time(event, "event_at", time));
	(void)printf("  %-11s %s UTC\n", "received", client_time(event, "received_at", time));
	print_line("state", client_text(event, "state"));
	print_reason(event);
}

static void print_delivery(const json_t *delivery)
{
	const char *email = client_text(delivery, "email");
	const json_t *wanted = json_object_get(delivery, "wanted");
	char time[32];

	(void)printf("\ndelivery to ");
	client_print_text(client_text(delivery, "workspace"));
	(void)fputc('\n', stdout);
	if (email[0] != '\0')
		print_line("email", email);
	else
		print_line("user id", client_text(delivery, "user_id"));
	if (client_text(delivery, "intercom_id")[0] != '\0')
		print_line("contact", client_text(delivery, "intercom_id"));
	print_line("state", client_text(delivery, "state"));
	if (client_text(delivery, "parked_at")[0] != '\0')
		(void)printf(
			"  %-11s %s UTC\n", "parked", client_time(delivery, "parked_at", time));
	print_reason(delivery);
	if (client_text(delivery, "event_name")[0] != '\0') {
		print_line("event", client_text(delivery, "event_name"));
		print_json_line("metadata", json_object_get(delivery, "metadata"));
	}
	if (json_object_size(wanted) > 0) {
		print_json_line("attributes", wanted);
		if (!json_equal(wanted, json_object_get(delivery, "sent")))
			print_json_line("sent so far", json_object_get(delivery, "sent"));
	}
}

static void print_attempts(const json_t *attempts)
{
	static const char *const headings[] = {
		"AT (UTC)", "CALL", "STATUS", "VERDICT", "TOOK", "REQUEST ID", "REASON"};
	struct table table;
	char text[32];

	(void)printf("\ncalls to Intercom\n");
	table_init(&table, sizeof(headings) / sizeof(headings[0]));
	for (size_t i = 0; i < table.columns; i++)
		table_add(&table, headings[i]);
	for (size_t i = 0; i < json_array_size(attempts); i++) {
		const json_t *attempt = json_array_get(attempts, i);
		long long status = (long long)client_integer(attempt, "status");
		table_add(&table, client_time(attempt, "at", text));
		table_add(&table, client_text(attempt, "call"));
		(void)snprintf(text, sizeof(text), "%lld", status);
		table_add(&table, status == 0 ? "-" : text);
		table_add(&table, client_text(attempt, "verdict"));
		text_from_span(client_integer(attempt, "elapsed_ms"), text, sizeof(text));
		table_add(&table, text);
		table_add(&table, client_text(attempt, "request_id"));
		table_add(&table, client_text(attempt, "reason"));
	}
	table_print(&table, 2);
	table_finish(&table);
}

static void print_body(const json_t *body)
{
	(void)printf("\nas it came\n");
	if (json_is_string(body)) {
		print_line("", json_string_value(body));
		return;
	}
	char *text = json_dumps(body, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	char *rest = text;
	char *line;
	while ((line = strsep(&rest, "\n")))
		(void)puts(cli_printable(line));
	free(text);
}

static void print_all(const json_t *event)
{
	const json_t *deliveries = json_object_get(event, "deliveries");
	const json_t *attempts = json_object_get(event, "attempts");

	print_event(event);
	for (size_t i = 0; i < json_array_size(deliveries); i++)
		print_delivery(json_array_get(deliveries, i));
	if (json_array_size(attempts) > 0)
		print_attempts(attempts);
	print_body(json_object_get(event, "body"));
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

	if (!cli_parse(&cmd_show, argc, argv, flags, 1, &operands, &code))
		return code;
	if (!operands[0])
		return cli_misused(&cmd_show, "the ID of an event is missing");
	json_t *request = json_pack("{s:s, s:s}", "verb", "show", "id", operands[0]);
	if (!request)
		return cli_failed(&cmd_show, "the ID is not UTF-8");
	json_t *rows = client_run_take(&cmd_show, &place, request);
	if (!rows)
		return CLI_FAILED;
	if (as_json)
		client_print_json(json_array_get(rows, 0));
	else
		print_all(json_array_get(rows, 0));
	json_decref(rows);
	return CLI_DONE;
}

const struct cli_command cmd_show = {
	.name = "show",
	.usage = "show [-c FILE] [--socket PATH] [--json] ID",
	.help = "shows one event: what came, what goes to Intercom, what Intercom said\n"
		"\n"
		"ID is the number that `subrelay events` shows, or the billing system's own id of\n"
		"the event.\n"
		"\n" CLIENT_HELP "      --json          as a JSON object\n"
		"\n"
		"example: subrelay show 4711",
	.run = run,
};
