/*
 * Time: a queue of things to come, and between two of them the relay does what it can.
 *
 * A thing is webhook, call, answer, or trouble. What troubles there are and when is drawn once, at
 * the start; all of them end before the quiet.
 */

#include "simulation.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the quiet on everything is through within this, and the time that the calls cost. */
#define SETTLE_MS (2 * HOUR_MS)

/* ---- the trace ---- */

void world_note(struct world *world, uint64_t what, uint64_t value)
{
	world->trace =
		(world->trace ^ what ^ (uint64_t)world->now_ms << 32) * UINT64_C(0x100000001b3);
	world->trace = (world->trace ^ value) * UINT64_C(0x100000001b3);
}

static void print_time(const struct world *world)
{
	printf("%3lld:%02lld:%02lld.%03lld ", (long long)(world->now_ms / HOUR_MS),
		(long long)(world->now_ms / MINUTE_MS % 60), (long long)(world->now_ms / 1000 % 60),
		(long long)(world->now_ms % 1000));
}

void world_say(const struct world *world, const char *format, ...)
{
	va_list arguments;

	if (!world->is_verbose)
		return;
	print_time(world);
	va_start(arguments, format);
	(void)vprintf(format, arguments);
	va_end(arguments);
	(void)putchar('\n');
}

void world_fail(const struct world *world, const char *format, ...)
{
	char text[600];
	char message[700];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)snprintf(message, sizeof(message), "at %lld.%03lld s: %s",
		(long long)world->now_ms / 1000, (long long)world->now_ms % 1000, text);
	simulation_fail(message);
}

/* ---- the queue ---- */

void world_schedule(struct world *world, int64_t at_ms, enum thing_kind kind, int64_t what)
{
	if (world->thing_count == world->thing_capacity) {
		world->thing_capacity = world->thing_capacity * 2 + 128;
		world->things =
			xrealloc(world->things, world->thing_capacity * sizeof(*world->things));
	}
	world->things[world->thing_count++] = (struct thing){
		.at_ms = at_ms, .serial = ++world->serial, .kind = kind, .what = what};
}

void world_forget(struct world *world, enum thing_kind kind)
{
	size_t kept = 0;

	for (size_t i = 0; i < world->thing_count; i++)
		if (world->things[i].kind != kind)
			world->things[kept++] = world->things[i];
	world->thing_count = kept;
}

/* A few hundred at most: looking through them is quick enough. */
static const struct thing *next_thing(const struct world *world)
{
	const struct thing *first = NULL;

	for (size_t i = 0; i < world->thing_count; i++) {
		const struct thing *thing = &world->things[i];

		if (first == NULL || thing->at_ms < first->at_ms ||
			(thing->at_ms == first->at_ms && thing->serial < first->serial))
			first = thing;
	}
	return first;
}

/* ---- troubles ---- */

static int64_t some_time(struct world *world)
{
	return dice_below(&world->dice, world->choices.quiet_ms);
}

static void plan_windows(struct world *world, enum trouble_kind kind)
{
	const int64_t count = world->choices.has[kind] ? dice_between(&world->dice, 1, 3) : 0;

	for (int64_t i = 0; i < count && world->trouble_count < TROUBLES_MAX; i++) {
		const int64_t from_ms = some_time(world);
		/* Moments as well as hours. */
		int64_t to_ms = from_ms +
			(dice_one_in(&world->dice, 3)
					? world->choices.quiet_ms / 2
					: dice_span(&world->dice, world->choices.quiet_ms / 2));

		if (to_ms > world->choices.quiet_ms)
			to_ms = world->choices.quiet_ms;
		world->troubles[world->trouble_count++] = (struct trouble){
			.kind = kind,
			.from_ms = from_ms,
			.to_ms = to_ms,
			.workspace = world->choices.has_sandbox && dice_one_in(&world->dice, 3),
			.contact =
				(size_t)dice_below(&world->dice, (int64_t)world->contact_count + 1),
			.what = (int)dice_below(&world->dice, 5),
		};
	}
}

static void plan_moments(
	struct world *world, enum trouble_kind kind, enum thing_kind thing, int64_t most)
{
	const int64_t count = world->choices.has[kind] ? dice_between(&world->dice, 1, most) : 0;

	for (int64_t i = 0; i < count; i++)
		world_schedule(
			world, some_time(world), thing, (int64_t)rng_below(&world->dice, 1 << 20));
}

static void plan_troubles(struct world *world)
{
	static const enum trouble_kind WINDOWS[] = {
		TROUBLE_OUTAGE, TROUBLE_TOKEN, TROUBLE_SCOPE, TROUBLE_REFUSED, TROUBLE_FAILING};

	for (size_t i = 0; i < sizeof(WINDOWS) / sizeof(*WINDOWS); i++)
		plan_windows(world, WINDOWS[i]);
	plan_moments(world, TROUBLE_KILL, THING_KILL, 5);
	for (size_t i = 0; i < 4 && world->choices.has[TROUBLE_KILL]; i++)
		world->kill_at_calls[i] = (uint64_t)dice_between(&world->dice, 1, 60);
	plan_moments(world, TROUBLE_POWER, THING_POWER, 4);
	plan_moments(world, TROUBLE_STOP, THING_STOP, 3);
	plan_moments(world, TROUBLE_CLOCK, THING_CLOCK, 5);
	plan_moments(world, TROUBLE_DISK_FULL, THING_DISK_FULL, 3);
	plan_moments(world, TROUBLE_DISK_BROKEN, THING_DISK_BROKEN, 3);
	plan_moments(world, TROUBLE_DISK_ONCE, THING_DISK_ONCE, 5);
	plan_moments(world, TROUBLE_RELOAD, THING_RELOAD, 4);
	plan_moments(world, TROUBLE_PEOPLE, THING_PEOPLE, 6);
	plan_moments(world, TROUBLE_FOREIGN, THING_FOREIGN, 40);
	plan_moments(world, TROUBLE_RETRY, THING_RETRY, 4);
	world_schedule(world, world->choices.quiet_ms, THING_QUIET, 0);
}

/* ---- what happens ---- */

static void trouble_disk(struct world *world, enum thing_kind kind, int64_t what)
{
	struct rng dice;

	rng_seed(&dice, (uint64_t)what);
	if (kind == THING_DISK_ONCE) {
		const enum disk_operation operation =
			dice_one_in(&dice, 3) ? DISK_READS : DISK_WRITES;
		const enum disk_fault fault = (enum disk_fault)dice_below(&dice, 3);

		disk_fail_at(world->disk, operation, fault, dice_between(&dice, 1, 30));
		world->disk_bad_ms = INT64_MAX; /* nobody knows when */
		world_say(world, "an operation of the disk will fail");
		return;
	}
	world->is_disk_bad = true;
	world->disk_bad_ms = INT64_MAX;
	world->is_disk_full |= kind == THING_DISK_FULL;
	world->is_disk_broken |= kind == THING_DISK_BROKEN;
	disk_set_full(world->disk, world->is_disk_full);
	disk_set_broken(world->disk, world->is_disk_broken);
	world_say(world, kind == THING_DISK_FULL ? "the disk is full" : "the disk is broken");
	int64_t until_ms = world->now_ms + 1 + dice_span(&dice, HOUR_MS);
	if (until_ms > world->choices.quiet_ms)
		until_ms = world->choices.quiet_ms;
	world_schedule(world, until_ms, THING_DISK_WELL, 0);
}

static void heal_disk(struct world *world)
{
	world_say(world, "the disk is well");
	disk_fail_at(world->disk, DISK_WRITES, DISK_IO_ERROR, 0);
	disk_fail_at(world->disk, DISK_READS, DISK_IO_ERROR, 0);
	disk_set_full(world->disk, false);
	disk_set_broken(world->disk, false);
	world->is_disk_bad = world->is_disk_full = world->is_disk_broken = false;
	world->disk_bad_ms = world->now_ms;
}

static void set_clock(struct world *world, int64_t what)
{
	struct rng dice;

	rng_seed(&dice, (uint64_t)what);
	if (dice_one_in(&dice, 3))
		world->skew_ms = dice_between(&dice, -200, 200) * SECOND_MS;
	else
		world->skew_ms = (dice_one_in(&dice, 2) ? 1 : -1) * dice_span(&dice, 3 * DAY_MS);
	world_say(world, "the clock is set %lld s off", (long long)world->skew_ms / 1000);
	relay_set_clock(world);
}

static void change_token(struct world *world, int64_t what)
{
	struct workspace_sim *workspace = &world->workspaces[0];

	/* Some reloads change nothing. */
	if (what % 3 != 0) {
		(void)snprintf(
			workspace->token, sizeof(workspace->token), "token-%u", ++world->tokens);
		struct standin_options options = *standin_get_options(workspace->standin);
		options.token = workspace->token;
		standin_configure(workspace->standin, &options);
	}
	world_say(world, "reload, token %s", workspace->token);
	relay_write_conf(world);
	relay_reload(world);
}

/* Somebody else does something to a contact. */
static void change_people(struct world *world, int64_t what)
{
	static const char *const STATES[] = {"live", "archived", "archived", "deleted", "merged"};
	struct rng dice;
	char text[300];
	struct error err = {0};

	rng_seed(&dice, (uint64_t)what);
	if (world->contact_count == 0)
		return;
	struct contact_sim *contact =
		&world->contacts[dice_below(&dice, (int64_t)world->contact_count)];
	const size_t side = contact->is_sandbox;
	struct standin *standin = world->workspaces[side].standin;
	const char *state = STATES[dice_below(&dice, 5)];

	if (contact->is_email)
		return;
	int len = snprintf(text, sizeof(text), "{\"external_id\":\"%s\",\"state\":\"%s\"",
		contact->identity, state);
	if (strcmp(state, "merged") == 0) {
		char into[32];

		if (!standin_add_contact(
			    standin, "{\"external_id\":\"canonical\"}", 27, into, &err))
			world_fail(world, "%s", err.text);
		len += snprintf(
			&text[len], sizeof(text) - (size_t)len, ",\"merged_into\":\"%s\"", into);
	}
	text[len++] = '}';
	if (!standin_add_contact(standin, text, (size_t)len, NULL, &err))
		world_fail(world, "%s", err.text);
	world_say(world, "%s is %s", contact->identity, state);
	contact->is_merged |= strcmp(state, "merged") == 0;
	contact->is_broken |= strcmp(state, "deleted") == 0;
}

/* Another app of the workspace calls. */
static void call_foreign(struct world *world, int64_t what)
{
	struct workspace_sim *workspace =
		&world->workspaces[world->choices.has_sandbox && what % 3 == 0];
	struct standin_answer answer;
	char authorization[80];
	const int64_t calls = 1 + what % (world->choices.limit / 2 + 1) % 64;

	(void)snprintf(authorization, sizeof(authorization), "Bearer %s", workspace->token);
	standin_answer_init(&answer);
	for (int64_t i = 0; i < calls; i++)
		standin_handle(workspace->standin, world_wall_ms(world),
			&(struct standin_request){.method = "GET",
				.path = "/me",
				.authorization = authorization,
				.intercom_version = "2.15",
				.accept = "application/json"},
			&answer);
	standin_answer_finish(&answer);
	world_say(world, "another app makes %lld calls", (long long)calls);
}

static void retry_parked(struct world *world, bool is_checked)
{
	int64_t count = 0;
	struct error err = {0};

	if (!world->is_up)
		return;
	const bool done = store_retry(world->store, 0, &count, &err);
	/* Webhooks that waited for the store's thread went with it. */
	if (!disk_is_off(world->disk))
		ledger_record_hooks(world);
	world_say(world, "an operator retries what is parked: %lld jobs %s", (long long)count,
		err.text);
	if (!done && is_checked)
		world_fail(world, "retry: %s", err.text);
	for (size_t i = 0; i < world->delivery_count; i++)
		world->deliveries[i].is_seen = world->deliveries[i].is_gone = false;
	world->store_due_ms = world->refill_due_ms = world->feed_due_ms = world->now_ms;
}

static void be_quiet(struct world *world)
{
	world_say(world, "quiet");
	world->is_quiet = true;
	heal_disk(world);
	world->skew_ms = 0;
	relay_set_clock(world);
	relay_start(world);
}

static void restart_soon(struct world *world, int64_t max_ms)
{
	world_schedule(world, world->now_ms + dice_span(&world->dice, max_ms), THING_START, 0);
}

static void happen(struct world *world, const struct thing *thing)
{
	world_note(world, (uint64_t)thing->kind, (uint64_t)thing->what);
	switch (thing->kind) {
	case THING_KNOCK: relay_knock(world, (size_t)thing->what); break;
	case THING_ARRIVE: network_arrive(world, &world->flights[thing->what]); break;
	case THING_REPLY: network_reply(world, &world->flights[thing->what]); break;
	case THING_KILL:
		relay_kill(world);
		restart_soon(world, 10 * MINUTE_MS);
		break;
	case THING_POWER:
		if (thing->what % 3 == 0) {
			relay_cut_power(world);
			restart_soon(world, 10 * MINUTE_MS);
		} else { /* in the middle of a write */
			disk_fail_at(world->disk, DISK_WRITES, DISK_POWER, 1 + thing->what % 20);
			world->disk_bad_ms = INT64_MAX;
		}
		break;
	case THING_STOP:
		relay_stop(world);
		restart_soon(world, MINUTE_MS);
		break;
	case THING_START: relay_start(world); break;
	case THING_CLOCK: set_clock(world, thing->what); break;
	case THING_DISK_FULL:
	case THING_DISK_BROKEN:
	case THING_DISK_ONCE: trouble_disk(world, thing->kind, thing->what); break;
	case THING_DISK_WELL: heal_disk(world); break;
	case THING_RELOAD: change_token(world, thing->what); break;
	case THING_PEOPLE: change_people(world, thing->what); break;
	case THING_FOREIGN: call_foreign(world, thing->what); break;
	case THING_RETRY: retry_parked(world, false); break;
	case THING_QUIET: be_quiet(world); break;
	}
}

/* ---- one run ---- */

static void make_workspaces(struct world *world)
{
	const struct choices *c = &world->choices;

	for (size_t i = 0; i < WORKSPACES; i++) {
		struct workspace_sim *workspace = &world->workspaces[i];

		(void)snprintf(workspace->token, sizeof(workspace->token), "token-%c", "ab"[i]);
		workspace->standin = standin_create(&(struct standin_options){
			.token = workspace->token,
			.limit = c->limit,
			.reset_offset_ms = 2000,
			.no_headers = c->has[TROUBLE_BLIND],
			.strict_attributes = c->has[TROUBLE_ATTRIBUTES],
		});
		workspace->is_scarce = c->has[TROUBLE_FOREIGN] || c->has[TROUBLE_BLIND];
	}
}

static int64_t settle_ms(const struct world *world)
{
	const struct choices *c = &world->choices;
	int64_t span_ms = SETTLE_MS + 4 * c->retry_cap_ms;
	const int64_t calls = (int64_t)world->hook_count * 8;

	/* As many calls as there may be, at the slowest pace. */
	if (c->limit > 0)
		span_ms += calls * 20 * SECOND_MS / c->limit;
	if (c->fixed_rate > 0)
		span_ms += calls * 10 * SECOND_MS / c->fixed_rate;
	return span_ms + calls * 2 * (c->latency_ms + 1);
}

static void pass_time(struct world *world, int64_t to_ms)
{
	check_passed(world, to_ms - world->now_ms);
	world->now_ms = to_ms;
	relay_set_clock(world);
}

static void run_until_settled(struct world *world)
{
	const int64_t end_ms = world->choices.quiet_ms + settle_ms(world);

	while (!world->is_quiet || !verdict_is_settled(world)) {
		if (relay_work(world))
			continue;
		const struct thing *next = next_thing(world);
		const int64_t wake_ms = relay_wake_ms(world);
		int64_t at_ms = next != NULL && next->at_ms < wake_ms ? next->at_ms : wake_ms;

		if (at_ms > end_ms)
			world_fail(world, "not everything is through %lld s after the quiet began",
				(long long)(end_ms - world->choices.quiet_ms) / 1000);
		if (at_ms > world->now_ms)
			pass_time(world, at_ms);
		if (next != NULL && next->at_ms <= world->now_ms) {
			const struct thing thing = *next;

			world->things[next - world->things] = world->things[--world->thing_count];
			happen(world, &thing);
		}
	}
}

static void finish(struct world *world)
{
	if (world->is_up)
		relay_drop(world);
	conf_unref(world->conf);
	disk_destroy(world->disk);
	for (size_t i = 0; i < WORKSPACES; i++)
		standin_destroy(world->workspaces[i].standin);
	webhooks_finish(world);
	ledger_finish(world);
	free(world->things);
	free(world);
}

uint64_t world_run(uint64_t seed, const struct disk *image, const char *folder, bool is_verbose)
{
	struct world *world = xcalloc(1, sizeof(*world));

	world->is_verbose = is_verbose;
	world->folder = folder;
	world->image = image;
	world->store_due_ms = world->refill_due_ms = world->feed_due_ms = INT64_MAX;
	(void)snprintf(world->path, sizeof(world->path), "%s/relay.db", folder);
	choices_make(&world->choices, seed);
	if (is_verbose)
		choices_print(&world->choices);
	rng_seed(&world->dice, seed ^ UINT64_C(0x0d1ce));
	rng_seed(&world->mood, seed ^ UINT64_C(0x600d));
	clock_fake_init(&world->clock, START_WALL_MS);
	world->disk = disk_copy(image, seed);
	disk_mount(world->disk);
	make_workspaces(world);
	webhooks_make(world);
	for (size_t i = 0; i < world->hook_count; i++)
		world_schedule(world, world->hooks[i].send_at_ms, THING_KNOCK, (int64_t)i);
	plan_troubles(world);
	relay_write_conf(world);
	relay_start(world);
	run_until_settled(world);
	if (seed % 2 == 0) {
		/* The operator's way back: whatever was parked, nothing speaks against it now. */
		retry_parked(world, true);
		run_until_settled(world);
	}
	verdict_check(world);
	const uint64_t trace = world->trace;
	finish(world);
	return trace;
}

struct disk *world_make_image(const char *folder)
{
	static const char *const NAMES[WORKSPACES] = {"intercom", "intercom.test"};
	struct disk *disk = disk_create(1);
	struct clock_fake clock;
	struct error err = {0};
	char path[160];

	clock_fake_init(&clock, START_WALL_MS);
	disk_mount(disk);
	(void)snprintf(path, sizeof(path), "%s/relay.db", folder);
	struct store *store = store_open(
		&(struct store_options){
			.backend = &store_sqlite, .path = path, .clock = &clock.clock},
		&err);
	for (size_t i = 0; i < WORKSPACES && store != NULL; i++) {
		int64_t id;

		if (!store_destination(store, NAMES[i], &id, &err))
			simulation_fail(err.text);
	}
	if (store == NULL)
		simulation_fail(err.text);
	store_close(store);
	disk_unmount(disk);
	return disk;
}
