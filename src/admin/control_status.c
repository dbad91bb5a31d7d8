/*
 * What the daemon says of itself: `status`.
 *
 * One row. The workspaces are copied out of the dispatcher's lock before anything else is done with
 * them.
 */

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "control_private.h"
#include "deliver/dispatcher.h"
#include "intake.h"

#include <stdio.h>
#include <string.h>

#define WORKSPACES_MAX 64

struct workspaces {
	struct {
		struct workspace_status status; /* name, mode and state stay the dispatcher's */
		char name[80];
	} items[WORKSPACES_MAX];
	size_t count;
};

struct json_out *control_row(struct control_call *call)
{
	json_out_init(&call->row, call->answer);
	json_out_object(&call->row);
	return &call->row;
}

void control_row_end(struct control_call *call)
{
	json_out_object_end(&call->row);
	(void)buf_add_char(call->answer, '\n');
}

void control_key_time(struct json_out *out, const char *key, int64_t at_ms)
{
	char text[32];

	text_from_time(at_ms, text, sizeof(text));
	json_out_key_text(out, key, at_ms == TIME_NONE ? NULL : text);
}

static void write_totals(struct json_out *out, const struct totals *totals)
{
	json_out_key_integer(out, "received", totals->received);
	json_out_key_integer(out, "accepted", totals->accepted);
	json_out_key_integer(out, "duplicate", totals->duplicate);
	json_out_key_integer(out, "ignored", totals->ignored);
	json_out_key_integer(out, "waiting", totals->waiting);
	json_out_key_integer(out, "delivered", totals->delivered);
	json_out_key_integer(out, "parked", totals->parked);
}

/* The receipt of the oldest event that waits anywhere; TIME_NONE: nothing does. */
static bool oldest_waiting(struct control_call *call, int64_t *ret_at_ms, struct error *err)
{
	struct arena arena;
	const char **names;
	int64_t *ids;
	size_t count = 0;
	int64_t oldest_ms = TIME_NONE;
	bool done = false;

	arena_init(&arena);
	if (!call->ops->destinations(call->reader, &arena, &names, &ids, &count, err))
		goto out;
	for (size_t i = 0; i < count; i++) {
		int64_t at_ms, event_id, last_event_id;

		if (!call->ops->oldest_waiting(
			    call->reader, ids[i], &at_ms, &event_id, &last_event_id, err))
			goto out;
		if (at_ms != TIME_NONE && (oldest_ms == TIME_NONE || at_ms < oldest_ms))
			oldest_ms = at_ms;
	}
	*ret_at_ms = oldest_ms;
	done = true;
out:
	arena_finish(&arena);
	return done;
}

static void write_intake(struct json_out *out, const struct intake *intake)
{
	struct intake_counts counts = {0};

	if (intake)
		intake_count(intake, &counts);
	json_out_key_integer(out, "unauthorized", counts.unauthorized);
	json_out_key_integer(out, "malformed", counts.malformed);
	json_out_key_integer(out, "failed", counts.failed);
}

/* A destination's name tells dry runs apart; here the mode does. */
static int plain_len(const struct workspace_status *status)
{
	const char *mark = strchr(status->name, '~');
	bool is_told = mark && text_equal(status->mode, "dry-run");
	return is_told ? (int)(mark - status->name) : (int)strlen(status->name);
}

static void note_workspace(void *context, const struct workspace_status *status)
{
	struct workspaces *workspaces = context;

	if (workspaces->count == WORKSPACES_MAX)
		return;
	workspaces->items[workspaces->count].status = *status;
	(void)snprintf(workspaces->items[workspaces->count].name,
		sizeof(workspaces->items[workspaces->count].name), "%.*s", plain_len(status),
		status->name);
	workspaces->count++;
}

static void write_workspaces(struct json_out *out, struct dispatcher *dispatcher)
{
	struct workspaces workspaces = {.count = 0};

	if (dispatcher)
		dispatcher_status(dispatcher, note_workspace, &workspaces);
	json_out_key(out, "workspaces");
	json_out_array(out);
	for (size_t i = 0; i < workspaces.count; i++) {
		const struct workspace_status *status = &workspaces.items[i].status;

		json_out_object(out);
		json_out_key_text(out, "name", workspaces.items[i].name);
		json_out_key_text(out, "mode", status->mode);
		json_out_key_text(out, "state", status->state);
		json_out_key_text(out, "why", status->why);
		control_key_time(out, "since", status->since_ms);
		json_out_key_integer(out, "in_flight", (int64_t)status->in_flight);
		json_out_key_integer(out, "resting", (int64_t)status->resting);
		json_out_object_end(out);
	}
	json_out_array_end(out);
}

bool control_status(struct control_call *call, struct error *err)
{
	const struct control_options *options = call->options;
	int64_t now_ms = clock_wall_ms(options->clock);
	int64_t oldest_ms = TIME_NONE;
	struct totals totals = {0};
	struct error trouble = {0};

	if (!oldest_waiting(call, &oldest_ms, err))
		return false;
	store_totals(options->store, &totals);
	bool is_ready = store_is_ready(options->store, &trouble);

	struct json_out *out = control_row(call);
	json_out_key_text(out, "version", SUBRELAY_VERSION);
	json_out_key_integer(out, "uptime_s", (now_ms - options->started_at_ms) / 1000);
	write_totals(out, &totals);
	json_out_key_integer(out, "oldest_waiting_s",
		oldest_ms == TIME_NONE || oldest_ms > now_ms ? 0 : (now_ms - oldest_ms) / 1000);
	write_intake(out, options->intake);
	json_out_key_boolean(out, "store_ready", is_ready);
	json_out_key_text(out, "store_why", is_ready ? "" : trouble.text);
	write_workspaces(out, options->dispatcher);
	control_row_end(call);
	return true;
}
