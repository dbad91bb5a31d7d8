/*
 * The daemon's parts, put together as daemon.c does, without its threads: what each thread would do
 * is done here in turn, each a little later than it could be, as the seed has it.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AUTHORIZATION "Bearer a-long-secret"
#define SIGNING_SECRET "another-long-secret"
#define TOLERANCE_S 300
/* After a round that failed the store's thread tries again so much later. */
#define STORE_RETRY_MS 500

/* ---- configuration ---- */

static const char INI[] = "[server]\n"
			  "listen = 127.0.0.1:0\n"
			  "[store]\n"
			  "path = %s\n"
			  "keep_delivered = %lldms\n"
			  "[intercom]\n"
			  "access_token = %s\n"
			  "base_url = http://127.0.0.1:1\n"
			  "unmatched = %s\n"
			  "archived = %s\n"
			  "create_attributes = %s\n"
			  "[delivery]\n"
			  "connections = %d\n"
			  "workers = 1\n"
			  "retry_base = %lldms\n"
			  "retry_cap = %lldms\n"
			  "give_up_after = %lldms\n"
			  "rate_limit = %s\n"
			  "[revenuecat]\n"
			  "authorization = " AUTHORIZATION "\n"
			  "identify = %s\n"
			  "anonymous = %s\n";

static void write_names(FILE *file, enum naming naming)
{
	static const char *const OPTIONAL[] = {"uncancellation", "subscription_paused",
		"subscription_extended", "transfer", "refund", "refund_reversed",
		"temporary_entitlement_grant"};

	(void)fputs("[event_names]\n", file);
	for (size_t i = 0; naming == NAMES_ALL && i < sizeof(OPTIONAL) / sizeof(*OPTIONAL); i++)
		(void)fprintf(file, "%s = on\n", OPTIONAL[i]);
	if (naming == NAMES_FEW)
		(void)fputs("renewal = off\nproduct_change = off\n", file);
}

void relay_write_conf(struct world *world)
{
	static const char *const IDENTIFY[] = {
		"app_user_id", "original_app_user_id", "known_id", "email", "attribute:crm"};
	const struct choices *c = &world->choices;
	char path[200];
	char rate[24] = "auto";
	FILE *file;

	if (c->fixed_rate != 0)
		(void)snprintf(rate, sizeof(rate), "%lld", (long long)c->fixed_rate);
	(void)snprintf(path, sizeof(path), "%s/relay.ini", world->folder);
	file = fopen(path, "w");
	if (file == NULL)
		simulation_fail("cannot write the configuration");
	(void)fprintf(file, INI, world->path, (long long)c->keep_delivered_ms,
		world->workspaces[0].token, c->skips_unmatched ? "skip" : "create",
		c->skips_archived ? "skip" : "unarchive", c->creates_attributes ? "yes" : "no",
		c->connections, (long long)c->retry_base_ms, (long long)c->retry_cap_ms,
		(long long)c->give_up_ms, rate, IDENTIFY[c->identify],
		c->skips_anonymous ? "skip" : "send");
	if (c->is_signed)
		(void)fputs("signing_secret = " SIGNING_SECRET "\n", file);
	if (c->has_sandbox)
		(void)fputs("sandbox = test\n", file);
	write_names(file, c->naming);
	if (c->has_sandbox)
		(void)fprintf(file,
			"[intercom.test]\naccess_token = %s\nbase_url = http://127.0.0.1:1\n"
			"unmatched = %s\narchived = %s\ncreate_attributes = %s\n",
			world->workspaces[1].token, c->skips_unmatched ? "skip" : "create",
			c->skips_archived ? "skip" : "unarchive",
			c->creates_attributes ? "yes" : "no");
	if (fclose(file) != 0)
		simulation_fail("cannot write the configuration");
}

static struct conf *load_conf(const struct world *world)
{
	char *const environment[] = {NULL};
	struct conf_report report;
	char path[200];
	char text[400] = "the configuration is refused";

	(void)snprintf(path, sizeof(path), "%s/relay.ini", world->folder);
	struct conf *conf = conf_load(path, environment, &report);
	for (size_t i = 0; i < report.count; i++)
		if (!report.problems[i].is_warning)
			(void)snprintf(text, sizeof(text), "%s: %s", report.problems[i].where,
				report.problems[i].text);
	conf_report_finish(&report);
	if (conf == NULL)
		simulation_fail(text);
	return conf;
}

/* ---- life ---- */

void relay_set_clock(struct world *world)
{
	world->clock.mono_ms = world->now_ms;
	world->clock.wall_ms = START_WALL_MS + world->now_ms + world->skew_ms;
}

static void new_work(void *context, int64_t destination_id, bool is_rewound)
{
	struct world *world = context;

	if (world->dispatcher != NULL)
		dispatcher_new_work(world->dispatcher, destination_id, is_rewound);
}

static bool open_parts(struct world *world, struct error *err)
{
	world->store = store_open(
		&(struct store_options){
			.backend = &store_sqlite,
			.path = world->path,
			.clock = &world->clock.clock,
			.keep_delivered_ms = world->conf->store.keep_delivered_ms,
			.keep_parked_ms = world->conf->store.keep_parked_ms,
			.new_work = new_work,
			.context = world,
		},
		err);
	if (world->store == NULL)
		return false;
	world->intake = intake_create(world->store, &world->clock.clock);
	world->dispatcher = dispatcher_create(&(struct dispatcher_options){.conf = world->conf,
						      .store = world->store,
						      .clock = &world->clock.clock,
						      .seed = world->choices.seed + world->life},
		err);
	if (world->dispatcher == NULL)
		return false;
	world->feed = dispatcher_feed(world->dispatcher);
	return true;
}

static void know_destinations(struct world *world)
{
	for (struct outbox *outbox = world->dispatcher->outboxes; outbox != NULL;
		outbox = outbox->following)
		world->workspaces[strcmp(outbox->name, "intercom") != 0].destination_id =
			outbox->id;
}

static void begin_life(struct world *world)
{
	world->is_up = true;
	world->started_ms = world->now_ms;
	world->store_retry_ms = 0;
	world->store_due_ms = world->now_ms;
	world->refill_due_ms = world->now_ms;
	world->feed_due_ms = world->now_ms;
	know_destinations(world);
	for (size_t i = 0; i < WORKSPACES; i++) {
		struct workspace_sim *workspace = &world->workspaces[i];

		workspace->stop_until_ms = 0;
		workspace->probe_not_before_ms = 0;
		workspace->stragglers = workspace->probes_out = 0;
		workspace->send_count = 0;
		workspace->answered_ms = INT64_MAX;
		workspace->born_ms = world->now_ms;
	}
	for (size_t i = 0; i < world->person_count; i++) {
		world->persons[i].in_flight = 0;
		world->persons[i].resting_until_ms = 0;
		world->persons[i].failed_ms = -1;
		world->persons[i].hasty = 0;
		world->persons[i].patience_ms = 0;
	}
}

void relay_start(struct world *world)
{
	struct error err = {0};

	if (world->is_up)
		return;
	relay_set_clock(world);
	world->life++;
	conf_unref(world->conf);
	world->conf = load_conf(world);
	if (!open_parts(world, &err)) {
		world_say(world, "it doesn't start: %s", err.text);
		if (!world->is_disk_bad && !disk_is_off(world->disk) &&
			world->disk_bad_ms < world->started_ms)
			world_fail(
				world, "the relay doesn't start on a healthy disk: %s", err.text);
		relay_drop(world);
		if (disk_is_off(world->disk))
			disk_power_on(world->disk);
		world_schedule(world,
			world->now_ms + SECOND_MS + world->starts_failed++ * MINUTE_MS, THING_START,
			0);
		return;
	}
	world->starts_failed = 0;
	world_say(world, "started, process %u", world->life);
	begin_life(world);
	ledger_record_hooks(world);
	ledger_sync(world);
	for (size_t i = 0; i < world->hook_count; i++) {
		if (!world->hooks[i].is_queued)
			continue;
		world->hooks[i].is_queued = false;
		relay_knock(world, i);
	}
}

void relay_drop(struct world *world)
{
	struct dispatcher *dispatcher = world->dispatcher;

	world->is_dying = true;
	world->is_up = false;
	store_close(world->store);
	world->dispatcher = NULL;
	dispatcher_destroy(dispatcher);
	intake_destroy(world->intake);
	world->store = NULL;
	world->intake = NULL;
	world->is_dying = false;
	network_orphan(world);
	if (disk_open_files(world->disk) != 0)
		world_fail(world, "%zu files are still open after the end",
			disk_open_files(world->disk));
}

void relay_kill(struct world *world)
{
	if (!world->is_up)
		return;
	world_say(world, "killed");
	/* What was written is there; what comes out of the dying parts goes nowhere. */
	struct disk *after = disk_copy(world->disk, world->choices.seed + world->life);
	disk_cut(world->disk);
	relay_drop(world);
	disk_destroy(world->disk);
	world->disk = after;
	disk_mount(after);
	if (world->is_disk_full)
		disk_set_full(after, true);
	if (world->is_disk_broken)
		disk_set_broken(after, true);
}

void relay_cut_power(struct world *world)
{
	world_say(world, "power cut");
	if (!disk_is_off(world->disk))
		disk_cut(world->disk);
	if (world->is_up)
		relay_drop(world);
	disk_power_on(world->disk);
}

void relay_stop(struct world *world)
{
	if (!world->is_up)
		return;
	world_say(world, "stopped");
	/* As daemon.c: what was received is stored and answered before the end. */
	intake_stop(world->intake);
	while (store_run(world->store) && store_is_ready(world->store, NULL))
		continue;
	check_stored(world);
	if (disk_is_off(world->disk)) {
		relay_cut_power(world);
		return;
	}
	relay_drop(world);
}

void relay_reload(struct world *world)
{
	struct conf *before = world->conf;

	if (!world->is_up)
		return;
	world->conf = load_conf(world);
	dispatcher_reconfigure(world->dispatcher, world->conf);
	conf_unref(before);
	for (size_t i = 0; i < WORKSPACES; i++)
		check_released(world, i);
	world->refill_due_ms = world->feed_due_ms = world->now_ms;
}

/* ---- webhooks ---- */

/* One try of the sender. */
struct knock {
	bool is_unbelievable; /* by the relay's clock when it came, the time it was signed at is too far off */
	struct world *world;
	size_t hook;
	bool is_signature_good;
	char authorization[64];
	char signature[128];
};

static const char *header(void *context, const char *name)
{
	const struct knock *knock = context;

	if (strcasecmp(name, "Authorization") == 0)
		return knock->authorization[0] != '\0' ? knock->authorization : NULL;
	if (strcasecmp(name, "X-RevenueCat-Webhook-Signature") == 0)
		return knock->signature[0] != '\0' ? knock->signature : NULL;
	return NULL;
}

static void sign(struct knock *knock, const struct hook *hook, int64_t at_s, const char *secret)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;
	char time[24];
	const int time_len = snprintf(time, sizeof(time), "%lld.", (long long)at_s);
	char *message = xmalloc((size_t)time_len + hook->body_len + 1);

	memcpy(message, time, (size_t)time_len);
	memcpy(message + time_len, hook->body, hook->body_len);
	(void)HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)message,
		(size_t)time_len + hook->body_len, mac, &mac_len);
	free(message);
	int len =
		snprintf(knock->signature, sizeof(knock->signature), "t=%lld,v1=", (long long)at_s);
	for (unsigned i = 0; i < mac_len; i++)
		len += snprintf(&knock->signature[len], sizeof(knock->signature) - (size_t)len,
			"%02x", mac[i]);
}

/* The sender tells the time of its own clock; the relay believes it within its tolerance. */
static bool clock_is_off(const struct world *world)
{
	const int64_t sender_s = world_wall_ms(world) / 1000;
	const int64_t relay_s = (world_wall_ms(world) + world->skew_ms) / 1000;
	const int64_t off_s = sender_s > relay_s ? sender_s - relay_s : relay_s - sender_s;

	return world->choices.is_signed && off_s > TOLERANCE_S;
}

static void present_credentials(struct knock *knock, const struct hook *hook)
{
	struct world *world = knock->world;
	const bool is_stranger = hook->sort == HOOK_STRANGER;
	const bool is_forged =
		is_stranger && world->choices.is_signed && dice_one_in(&world->dice, 2);

	(void)snprintf(knock->authorization, sizeof(knock->authorization), "%s",
		!is_stranger || is_forged              ? AUTHORIZATION
			: dice_one_in(&world->dice, 2) ? "Bearer guess"
						       : "");
	knock->is_unbelievable = clock_is_off(world);
	if (world->choices.is_signed)
		sign(knock, hook, world_wall_ms(world) / 1000,
			is_forged ? "guess" : SIGNING_SECRET);
}

static bool may_be_forgotten(const struct world *world)
{
	return world->choices.keep_delivered_ms < 2 * DAY_MS;
}

static void check_answer(struct world *world, const struct hook *hook, bool is_unbelievable,
	const struct intake_answer *answer)
{
	const bool is_known = hook->is_recorded && !may_be_forgotten(world);
	unsigned expected = 200;

	if (hook->sort == HOOK_STRANGER || is_unbelievable)
		expected = 401;
	else if (hook->sort == HOOK_MALFORMED)
		expected = 400;
	if (answer->status == 503 && expected == 200 && world->now_ms <= world->disk_bad_ms)
		return;
	if (answer->status == 503 && world->is_stopping)
		return;
	if (answer->status != expected)
		world_fail(world, "webhook %s is answered %u, not %u: %s", hook->id, answer->status,
			expected, answer->body);
	if (answer->status != 200)
		return;
	if (is_known && strstr(answer->body, "duplicate") == NULL)
		world_fail(world, "webhook %s was stored before and is answered %s", hook->id,
			answer->body);
	if (!hook->is_recorded && hook->acknowledged == 0 && !hook->may_be_stored &&
		(strstr(answer->body, "ignored") != NULL) != (hook->sort == HOOK_IGNORED) &&
		hook->is_sure)
		world_fail(world, "webhook %s is answered %s", hook->id, answer->body);
}

static void take_answer(void *context, const struct intake_answer *answer)
{
	struct knock *knock = context;
	struct world *world = knock->world;
	const size_t here = knock->hook;
	struct hook *hook = &world->hooks[here];
	const bool is_unbelievable = knock->is_unbelievable;
	int64_t again_ms = -1;

	hook->knocks--;
	free(knock);
	if (world->is_dying || disk_is_off(world->disk)) {
		/* The connection breaks: the sender knows nothing. */
		hook->may_be_stored = true;
		again_ms = dice_between(&world->dice, SECOND_MS, 5 * MINUTE_MS);
	} else {
		world_say(world, "webhook %s (%s): %u %s", hook->id, hook->type, answer->status,
			answer->body);
		world_note(world, answer->status, here);
		check_answer(world, hook, is_unbelievable, answer);
		if (answer->status == 200) {
			hook->acknowledged++;
			if (--hook->sends > 0)
				again_ms = dice_span(
					&world->dice, world->is_quiet ? MINUTE_MS : HOUR_MS);
		} else if (hook->sort == HOOK_RELAYED || hook->sort == HOOK_IGNORED) {
			again_ms = dice_between(&world->dice, SECOND_MS, 5 * MINUTE_MS);
		}
	}
	if (again_ms >= 0)
		world_schedule(world, world->now_ms + again_ms, THING_KNOCK, (int64_t)here);
	else
		hook->is_final = true;
}

void relay_knock(struct world *world, size_t i)
{
	struct hook *hook = &world->hooks[i];

	if (!world->is_up) {
		/* Refused, or it waits in the socket that systemd keeps. */
		hook->is_queued = dice_one_in(&world->dice, 2);
		if (!hook->is_queued)
			world_schedule(world,
				world->now_ms +
					dice_between(&world->dice, SECOND_MS, 5 * MINUTE_MS),
				THING_KNOCK, (int64_t)i);
		return;
	}
	struct knock *knock = xcalloc(1, sizeof(*knock));
	knock->world = world;
	knock->hook = i;
	hook->knocks++;
	present_credentials(knock, hook);
	intake_receive(world->intake,
		&(struct intake_request){.conf = world->conf,
			.section = &world->conf->sources[0],
			.header = header,
			.body = hook->body,
			.body_len = hook->body_len,
			.answer = take_answer,
			.context = knock});
	relay_nudge_store(world);
}

/* ---- the threads ---- */

void relay_nudge_store(struct world *world)
{
	int64_t at_ms = world->now_ms + dice_below(&world->dice, world->choices.commit_ms + 1);

	/* Reports that could not be written a moment ago wait a little; a webhook doesn't. */
	if (at_ms < world->store_retry_ms && intake_in_hand(world->intake) == 0)
		at_ms = world->store_retry_ms;

	if (at_ms < world->store_due_ms)
		world->store_due_ms = at_ms;
}

static void nudge_refill(struct world *world)
{
	const int64_t at_ms =
		world->now_ms + dice_below(&world->dice, world->choices.refill_ms + 1);

	if (at_ms < world->refill_due_ms)
		world->refill_due_ms = at_ms;
	world->feed_due_ms = world->now_ms;
}

static void run_store(struct world *world)
{
	world->store_due_ms = INT64_MAX;
	const bool did = store_run(world->store);
	/* Its thread comes back by itself to reports that the disk refused; see wait_for_round. */
	const bool is_refused = !did && world->dispatcher->reports > 0;
	if (did || is_refused) {
		world->store_due_ms = world->now_ms + STORE_RETRY_MS;
		world->store_retry_ms =
			store_is_ready(world->store, NULL) ? 0 : world->store_due_ms;
		if (!disk_is_off(world->disk))
			ledger_record_hooks(world);
		check_stored(world);
		nudge_refill(world);
	} else if (may_be_forgotten(world)) {
		world->store_due_ms = world->now_ms + MINUTE_MS; /* it keeps house */
	}
}

static void run_refill(struct world *world)
{
	const int64_t wake_ms = dispatcher_refill(world->dispatcher);

	world->refill_due_ms = wake_ms;
	if (wake_ms > world->now_ms)
		check_refilled(world);
	relay_nudge_store(world); /* work that needs no call is reported by the refill */
	world->feed_due_ms = world->now_ms;
}

static bool run_worker(struct world *world)
{
	int64_t wake_ms = INT64_MAX;

	if (world->in_flight >= (size_t)world->choices.connections)
		return false;
	struct errand *errand = world->feed.next(world->feed.context, &wake_ms);
	if (errand == NULL) {
		world->feed_due_ms = wake_ms;
		return false;
	}
	network_send(world, errand);
	nudge_refill(world);
	return true;
}

bool relay_work(struct world *world)
{
	bool did = false;

	if (!world->is_up)
		return false;
	if (world->store_due_ms <= world->now_ms) {
		run_store(world);
		did = true;
	}
	if (!disk_is_off(world->disk) && world->refill_due_ms <= world->now_ms) {
		run_refill(world);
		did = true;
	}
	if (!disk_is_off(world->disk) && world->feed_due_ms <= world->now_ms)
		did |= run_worker(world);
	/* Whatever of it calls for the refilling thread. */
	if (world->dispatcher->has_news &&
		world->refill_due_ms > world->now_ms + world->choices.refill_ms)
		nudge_refill(world);
	if (disk_is_off(world->disk)) {
		relay_cut_power(world);
		world_schedule(world, world->now_ms + dice_between(&world->dice, 1, MINUTE_MS),
			THING_START, 0);
	}
	return did;
}

int64_t relay_wake_ms(const struct world *world)
{
	int64_t wake_ms = INT64_MAX;

	if (!world->is_up)
		return wake_ms;
	if (world->store_due_ms < wake_ms)
		wake_ms = world->store_due_ms;
	if (world->refill_due_ms < wake_ms)
		wake_ms = world->refill_due_ms;
	if (world->in_flight < (size_t)world->choices.connections && world->feed_due_ms < wake_ms)
		wake_ms = world->feed_due_ms;
	return wake_ms;
}
