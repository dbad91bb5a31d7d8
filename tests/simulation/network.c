/*
 * Calls under way, and Intercom's moods.
 *
 * A call is copied as it goes out, reaches Intercom some time later, is carried out by the stand-in
 * or not, and its answer comes back some time after that, if it does. Many are under way at once
 * and overtake each other. When the process dies, what is under way takes effect or doesn't, there
 * and then: Intercom is not supposed to carry out a call after its sender has hung up.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS (30 * SECOND_MS)
#define CONNECT_TIMEOUT_MS (10 * SECOND_MS)
#define HTML "<html><body>Bad gateway</body></html>"

/* ---- moods ---- */

static const struct trouble *trouble_for(const struct world *world, const struct flight *flight)
{
	const struct person *person = &world->persons[flight->person];

	for (size_t i = 0; i < world->trouble_count; i++) {
		const struct trouble *trouble = &world->troubles[i];
		const bool is_personal =
			trouble->kind == TROUBLE_REFUSED || trouble->kind == TROUBLE_FAILING;

		if (world->now_ms < trouble->from_ms || world->now_ms >= trouble->to_ms)
			continue;
		if (is_personal ? trouble->contact == person->contact
				: trouble->workspace == flight->workspace)
			return trouble;
	}
	return NULL;
}

static void say(
	struct flight *flight, enum fate fate, int status, const char *headers, const char *answer)
{
	flight->fate = fate;
	flight->status = status;
	flight->headers = xstrdup(headers);
	flight->answer = xstrdup(answer);
	flight->answer_len = strlen(answer);
}

static void say_code(struct flight *flight, enum fate fate, int status, const char *code)
{
	char headers[64];
	char answer[200];

	(void)snprintf(headers, sizeof(headers), "X-Request-Id: sim-%llu\r\n",
		(unsigned long long)flight->number);
	(void)snprintf(answer, sizeof(answer),
		"{\"type\":\"error.list\",\"errors\":[{\"code\":\"%s\",\"message\":\"as it is\"}]}",
		code);
	say(flight, fate, status, headers, answer);
}

static void be_out(struct flight *flight, int what)
{
	switch (what) {
	case 0: say_code(flight, FATE_SAID_BEFORE, 503, "service_unavailable"); break;
	case 1: say(flight, FATE_SAID_BEFORE, 502, "Content-Type: text/html\r\n", HTML); break;
	case 2: flight->fate = FATE_NO_CONNECTION; break;
	case 3: flight->fate = FATE_LOST_BEFORE; break;
	default: flight->fate = FATE_LOST_AFTER; break;
	}
}

static bool is_of_scope(const struct flight *flight, int what)
{
	return what == 0 ? flight->kind == CALL_SUBMIT_EVENT : flight->kind != CALL_SUBMIT_EVENT;
}

static void be_in_trouble(struct flight *flight, const struct trouble *trouble)
{
	switch (trouble->kind) {
	case TROUBLE_OUTAGE: be_out(flight, trouble->what); break;
	case TROUBLE_TOKEN: say_code(flight, FATE_SAID_BEFORE, 401, "token_revoked"); break;
	case TROUBLE_SCOPE:
		if (is_of_scope(flight, trouble->what % 2))
			say_code(flight, FATE_SAID_BEFORE, 403, "forbidden");
		break;
	case TROUBLE_REFUSED:
		if (trouble->what >= 2 || is_of_scope(flight, trouble->what))
			say_code(flight, FATE_SAID_BEFORE, trouble->what % 2 == 0 ? 400 : 422,
				"parameter_invalid");
		break;
	case TROUBLE_FAILING:
		if (trouble->what % 2 == 0)
			say_code(flight, FATE_SAID_BEFORE, 500, "server_error");
		else
			be_out(flight, 3 + trouble->what / 2 % 2);
		break;
	default: break;
	}
}

/* One call alone goes wrong. */
static void stumble(struct world *world, struct flight *flight)
{
	static const int STATUSES[] = {500, 502, 503, 504, 520, 408, 425, 302, 600};
	const enum fate fate = dice_one_in(&world->mood, 2) ? FATE_SAID_BEFORE : FATE_SAID_AFTER;

	switch (dice_below(&world->mood, 9)) {
	case 0:
	case 1:
		say(flight, fate, STATUSES[dice_below(&world->mood, 9)], "",
			dice_one_in(&world->mood, 2) ? HTML : "");
		break;
	case 2: say_code(flight, fate, 400, "server_error"); break;
	case 3:
		say(flight, FATE_SAID_BEFORE, 429,
			dice_one_in(&world->mood, 2) ? "Retry-After: 7\r\n" : "", "");
		break;
	case 4: flight->fate = FATE_NO_CONNECTION; break;
	case 5: flight->fate = FATE_LOST_BEFORE; break;
	case 6: flight->fate = FATE_LOST_AFTER; break;
	case 7:
		if (dice_one_in(&world->mood, 2))
			flight->fate = FATE_HTML;
		else
			say(flight, FATE_PORTAL, 200, "Content-Type: text/html\r\n", HTML);
		break;
	default: flight->fate = FATE_CUT; break;
	}
}

static void choose_fate(struct world *world, struct flight *flight)
{
	const struct trouble *trouble = trouble_for(world, flight);

	flight->fate = FATE_REAL;
	if (world->is_quiet)
		return;
	if (trouble != NULL)
		be_in_trouble(flight, trouble);
	else if (world->choices.has[TROUBLE_CALLS] &&
		dice_below(&world->mood, 1000) < world->choices.fault_per_mille)
		stumble(world, flight);
}

/* ---- out ---- */

static int64_t latency_ms(struct world *world)
{
	return 1 + dice_below(&world->mood, world->choices.latency_ms);
}

static struct flight *free_flight(struct world *world)
{
	for (size_t i = 0; i < FLIGHTS_MAX; i++)
		if (!world->flights[i].is_used)
			return &world->flights[i];
	simulation_fail("more calls under way than there is room for");
}

void network_send(struct world *world, struct errand *errand)
{
	struct flight *flight = free_flight(world);
	const struct lane *lane = errand->owner;
	const struct person *person = ledger_person(world, lane->contact_id);

	*flight = (struct flight){
		.is_used = true,
		.errand = errand,
		.workspace = strcmp(lane->outbox->name, "intercom") != 0,
		.person = (size_t)(person - world->persons),
		.kind = (int)errand->call.kind,
		.event_id = lane_event_id(lane->run),
		.sent_ms = world->now_ms,
		.number = ++world->calls,
		.method = xstrdup(errand->call.method),
		.path = xstrdup(buf_text(&errand->call.path)),
		.body = xstrndup(buf_text(&errand->call.body), errand->call.body.len),
		.body_len = errand->call.body.len,
	};
	(void)snprintf(flight->token, sizeof(flight->token), "Bearer %s",
		errand->workspace->access_token.bytes);
	(void)snprintf(
		flight->version, sizeof(flight->version), "%s", errand->workspace->api_version);
	check_sent(world, errand, flight);
	world->in_flight++;
	world_say(world, "-> %llu %s %s %s", (unsigned long long)flight->number, flight->method,
		flight->path, flight->body);
	world_note(world, text_hash(flight->path, strlen(flight->path), 0),
		text_hash(flight->body, flight->body_len, 0));

	choose_fate(world, flight);
	for (size_t i = 0; i < 4; i++)
		if (world->kill_at_calls[i] == flight->number && !world->is_quiet)
			world_schedule(world, world->now_ms + 2 * latency_ms(world), THING_KILL, 0);
	const int64_t here = flight - world->flights;
	const int64_t arrive_ms = world->now_ms + latency_ms(world);
	if (flight->fate == FATE_NO_CONNECTION) {
		flight->has_arrived = true;
		flight->wire = WIRE_UNREACHABLE;
		world_schedule(world, world->now_ms + dice_span(&world->mood, CONNECT_TIMEOUT_MS),
			THING_REPLY, here);
		return;
	}
	world_schedule(world, arrive_ms, THING_ARRIVE, here);
	if (flight->fate == FATE_LOST_BEFORE || flight->fate == FATE_LOST_AFTER)
		world_schedule(world,
			dice_one_in(&world->mood, 2) ? world->now_ms + TIMEOUT_MS
						     : arrive_ms + latency_ms(world),
			THING_REPLY, here);
	else
		world_schedule(world, arrive_ms + latency_ms(world), THING_REPLY, here);
}

/* ---- there ---- */

static void ask(struct world *world, struct flight *flight, struct standin_answer *ret_answer)
{
	standin_handle(world->workspaces[flight->workspace].standin, world_wall_ms(world),
		&(struct standin_request){.method = flight->method,
			.path = flight->path,
			.authorization = flight->token,
			.intercom_version = flight->version,
			.accept = "application/json",
			.content_type = "application/json",
			.body = flight->body,
			.body_len = flight->body_len},
		ret_answer);
}

static bool is_carried_out(enum fate fate)
{
	return fate != FATE_SAID_BEFORE && fate != FATE_LOST_BEFORE && fate != FATE_PORTAL &&
		fate != FATE_NO_CONNECTION;
}

static bool has_json(const struct flight *flight)
{
	return flight->status >= 200 && flight->status <= 299 && flight->answer_len > 2;
}

void network_arrive(struct world *world, struct flight *flight)
{
	struct standin_answer answer;

	flight->has_arrived = true;
	flight->wire = WIRE_ANSWERED;
	if (!is_carried_out(flight->fate)) {
		if (flight->fate == FATE_LOST_BEFORE)
			flight->wire = WIRE_BROKEN;
		return;
	}
	standin_answer_init(&answer);
	ask(world, flight, &answer);
	if (flight->fate == FATE_LOST_AFTER)
		flight->wire = WIRE_BROKEN;
	if (flight->fate == FATE_REAL || flight->fate == FATE_HTML || flight->fate == FATE_CUT) {
		flight->status = answer.status;
		flight->headers = xstrdup(buf_text(&answer.headers));
		flight->answer_len = answer.body.len;
		flight->answer = buf_detach(&answer.body);
	}
	/* A page or half an answer for a success; who refuses is heard. */
	if (flight->fate == FATE_HTML && flight->status <= 299) {
		free(flight->answer);
		flight->answer = xstrdup(HTML);
		flight->answer_len = strlen(HTML);
	} else if (flight->fate == FATE_CUT && has_json(flight)) {
		flight->answer_len /= 2;
		flight->answer[flight->answer_len] = '\0';
	}
	if (flight->fate == FATE_REAL && flight->status == 429)
		check_limited(world, flight);
	standin_answer_finish(&answer);
}

/* ---- back ---- */

static void copy_headers(struct reply *reply, const char *headers)
{
	while (headers != NULL && *headers != '\0') {
		const char *end = strstr(headers, "\r\n");
		const size_t len = end != NULL ? (size_t)(end - headers) + 2 : strlen(headers);

		reply_take_header(reply, headers, len);
		headers += len;
	}
}

static void land(struct flight *flight)
{
	free(flight->method);
	free(flight->path);
	free(flight->body);
	free(flight->headers);
	free(flight->answer);
	*flight = (struct flight){0};
}

static void fill_reply(const struct world *world, const struct flight *flight, struct reply *reply)
{
	reply->wire = (enum wire)flight->wire;
	reply->elapsed_ms = world->now_ms - flight->sent_ms;
	if (flight->wire != WIRE_ANSWERED) {
		(void)snprintf(reply->wire_error, sizeof(reply->wire_error), "lost");
		return;
	}
	reply->status = flight->status;
	copy_headers(reply, flight->headers);
	(void)buf_add(&reply->body, flight->answer, flight->answer_len);
	reply->rate.too_many = flight->status == 429;
}

void network_reply(struct world *world, struct flight *flight)
{
	struct errand *errand = flight->errand;

	/* A timeout before Intercom has got to it: nothing comes of it any more. */
	if (!flight->has_arrived)
		flight->wire = WIRE_BROKEN;
	fill_reply(world, flight, &errand->reply);
	world_say(world, "<- %llu %s %d", (unsigned long long)flight->number,
		flight->wire == WIRE_ANSWERED              ? "answered"
			: flight->wire == WIRE_UNREACHABLE ? "unreachable"
							   : "broken",
		flight->status);
	world_note(world, (uint64_t)flight->status, flight->number);
	world->in_flight--;
	struct flight copy = *flight;
	*flight = (struct flight){0};
	check_replied(world, &copy);
	land(&copy);
	relay_nudge_store(world);
	if (world->refill_due_ms > world->now_ms)
		world->refill_due_ms = world->now_ms;
	world->feed_due_ms = world->now_ms;
}

void network_orphan(struct world *world)
{
	for (size_t i = 0; i < FLIGHTS_MAX; i++) {
		struct flight *flight = &world->flights[i];

		if (!flight->is_used)
			continue;
		if (!flight->has_arrived && dice_one_in(&world->mood, 2))
			network_arrive(world, flight);
		land(flight);
	}
	world->in_flight = 0;
	world_forget(world, THING_ARRIVE);
	world_forget(world, THING_REPLY);
}
