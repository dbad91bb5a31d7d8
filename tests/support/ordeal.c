/*
 * See ordeal.h. A table of webhooks, a table of steps, and what is asked of the rows afterwards.
 */

#include "ordeal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START_MS 1700000000000
#define TICK_MS 20
#define HOUR_MS (3600 * 1000LL)
/* In pages of 8 KiB: the log is long enough for a checkpoint at 500. */
#define FILLER 140 /* the log is moved when it has 1,000 pages of 8 KiB */
#define FILLER_BYTES (64 * 1024)
/* A sender's patience with one event, and an init system's with a daemon that can't start. */
#define TRIES_MAX 200

static const char INI[] = "retry_base = 100ms\n"
			  "retry_cap = 1s\n"
			  "[store]\n"
			  "keep_delivered = 1h\n"
			  "[event_names]\n"
			  "transfer = on\n";

/* ---- what is sent ---- */

struct webhook {
	const char *id;
	const char *type;
	const char *customer;
	int at_s;       /* after the start */
	const char *to; /* of a transfer */
};

static const struct webhook WEBHOOKS[] = {
	{"e1", "INITIAL_PURCHASE", "u1", 1, NULL},
	{"e2", "INITIAL_PURCHASE", "u2", 2, NULL},
	{"e3", "CANCELLATION", "u1", 3, NULL},
	{"e4", "INITIAL_PURCHASE", "parks", 4, NULL},
	{"e5", "INITIAL_PURCHASE", "falters", 5, NULL},
	{"e6", "TEST", "u1", 6, NULL},
	{"e7", "RENEWAL", "u2", 7, NULL},
	{"e8", "UNCANCELLATION", "u1", 8, NULL},
	{"e9", "CANCELLATION", "parks", 9, NULL},
	{"e10", "TRANSFER", "u2", 10, "u3"},
	{"e11", "RENEWAL", "falters", 11, NULL},
	{"e12", "RENEWAL", "u1", 12, NULL},
	{"e13", "INITIAL_PURCHASE", "u4", 13, NULL},
	{"e14", "EXPIRATION", "u4", 14, NULL},
	{"e15", "RENEWAL", "parks", 15, NULL},
};

#define WEBHOOK_COUNT (sizeof(WEBHOOKS) / sizeof(*WEBHOOKS))

static const char *const CUSTOMERS[] = {"u1", "u2", "u3", "u4", "parks", "falters"};
static const char *const ATTRIBUTES[] = {
	"subscription_status", "expires_at", "latest_entitlement", "latest_store"};

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* ---- what happens ---- */

enum deed { START, STOP, TROUBLE, PEACE, POST, FILL, RUN, RETRY, PURGE };

static const char *const DEEDS[] = {[START] = "start",
	[STOP] = "close",
	[TROUBLE] = "trouble",
	[PEACE] = "peace",
	[POST] = "post",
	[FILL] = "fill",
	[RUN] = "deliver",
	[RETRY] = "retry",
	[PURGE] = "purge"};

struct step {
	enum deed deed;
	int number; /* POST: which webhook, from 1; RUN: ms */
};

static const struct step STEPS[] = {
	{START, 0},
	{TROUBLE, 0},
	{POST, 1},
	{POST, 2},
	{RUN, 40},
	{FILL, 0},
	{POST, 3},
	{POST, 1}, /* again */
	{POST, 4},
	{POST, 5},
	{RUN, 40},
	{POST, 6},
	{POST, 7},
	{POST, 8},
	{RUN, 300},
	{STOP, 0},
	{START, 0},
	{POST, 9},
	{POST, 10},
	{POST, 7}, /* again */
	{RUN, 100},
	{POST, 11},
	{PEACE, 0},
	{RETRY, 0},
	{RUN, 40},
	{POST, 12},
	{POST, 13},
	{POST, 14},
	{RUN, 2000},
	{POST, 15},
	{PURGE, 0},
	{STOP, 0},
	{START, 0},
	{RUN, 100},
};

#define STEP_COUNT COUNT_OF(STEPS)

static const char TROUBLES[] = "[{\"method\":\"POST\",\"path\":\"/events\",\"contact\":\"parks\","
			       "\"status\":400,\"times\":0},"
			       "{\"method\":\"POST\",\"path\":\"/events\",\"contact\":\"falters\","
			       "\"status\":503,\"times\":2}]";

static bool is_off(const struct ordeal *ordeal)
{
	return disk_is_off(ordeal->disk);
}

static void start(struct ordeal *ordeal)
{
	struct error err = {0};

	for (int tries = 0; ordeal->rig->store == NULL && !is_off(ordeal); tries++) {
		if (tries == TRIES_MAX)
			fail_msg("it doesn't start: %s", err.text);
		error_clear(&err);
		if (!rig_start(ordeal->rig, &err))
			ordeal->failed_starts++;
		clock_fake_advance(&ordeal->rig->clock, TICK_MS);
	}
}

static void post_once(struct ordeal *ordeal, const struct webhook *webhook)
{
	struct rig *rig = ordeal->rig;
	const long long at_ms = START_MS + webhook->at_s * 1000LL;

	if (webhook->to != NULL)
		(void)rig_post_event(rig,
			"'id':'%s','type':'%s','event_timestamp_ms':%lld,'store':'APP_STORE',"
			"'environment':'PRODUCTION','transferred_from':['%s'],"
			"'transferred_to':['%s']",
			webhook->id, webhook->type, at_ms, webhook->customer, webhook->to);
	else
		(void)rig_post_event(rig,
			"'id':'%s','type':'%s','event_timestamp_ms':%lld,'app_user_id':'%s',"
			"'purchased_at_ms':%lld,'expiration_at_ms':%lld,'period_type':'NORMAL',"
			"'store':'APP_STORE','environment':'PRODUCTION','entitlement_ids':['pro'],"
			"'product_id':'monthly','original_transaction_id':'T1','app_id':'app1',"
			"'cancel_reason':'UNSUBSCRIBE','expiration_reason':'UNSUBSCRIBE'",
			webhook->id, webhook->type, at_ms, webhook->customer, at_ms - 500,
			at_ms + 2592000000);
}

/* Ignored, and stored with its whole body. */
static void post_filler(struct ordeal *ordeal)
{
	char *body = xmalloc(FILLER_BYTES + 1);
	const int len = snprintf(body, FILLER_BYTES,
		"{\"api_version\":\"1.0\",\"event\":{\"id\":\"f%d\",\"type\":\"TEST\","
		"\"event_timestamp_ms\":%lld,\"app_user_id\":\"u1\"}}",
		ordeal->filled, (long long)START_MS);

	memset(body + len, ' ', (size_t)(FILLER_BYTES - len));
	body[FILLER_BYTES] = '\0';
	(void)rig_post(ordeal->rig, body);
	free(body);
}

/* As a billing system: again until it is answered 200. */
static bool insist(struct ordeal *ordeal, const struct webhook *webhook)
{
	struct rig *rig = ordeal->rig;

	for (int tries = 0; !is_off(ordeal); tries++) {
		if (webhook != NULL)
			post_once(ordeal, webhook);
		else
			post_filler(ordeal);
		if (rig->status == 200)
			return true;
		assert_int_equal(rig->status, 503);
		assert_true(rig->retry_after_s > 0);
		assert_true(tries < TRIES_MAX);
		ordeal->refusals++;
		clock_fake_advance(&rig->clock, TICK_MS);
	}
	return false;
}

static void post(struct ordeal *ordeal, size_t number)
{
	if (!insist(ordeal, &WEBHOOKS[number]))
		return;
	ordeal->acknowledged[number] = true;
	if (ordeal->cut_past > 0 &&
		disk_operations(ordeal->disk, DISK_WRITES) >= ordeal->cut_past) {
		ordeal->cut_past = 0;
		disk_cut(ordeal->disk);
	}
}

static void run(struct ordeal *ordeal, int64_t span_ms)
{
	struct rig *rig = ordeal->rig;
	const int64_t end_ms = rig->clock.mono_ms + span_ms;

	while (rig->clock.mono_ms < end_ms && !is_off(ordeal))
		if (!rig_step(rig))
			clock_fake_advance(&rig->clock, TICK_MS);
}

static void retry(struct ordeal *ordeal)
{
	struct error err = {0};
	int64_t count;

	for (int tries = 0; !is_off(ordeal); tries++) {
		error_clear(&err);
		if (store_retry(ordeal->rig->store, 0, &count, &err))
			return;
		assert_true(tries < TRIES_MAX);
	}
}

static void take_step(struct ordeal *ordeal, const struct step *step)
{
	struct rig *rig = ordeal->rig;
	struct error err = {0};

	switch (step->deed) {
	case START: start(ordeal); break;
	case STOP: rig_stop(rig); break;
	case TROUBLE:
		standin_clear_rules(rig->standin);
		assert_true(standin_add_rules(rig->standin, TROUBLES, strlen(TROUBLES), &err));
		break;
	case PEACE: standin_clear_rules(rig->standin); break;
	case POST: post(ordeal, (size_t)step->number - 1); break;
	case FILL:
		while (ordeal->filled < ordeal->filler && insist(ordeal, NULL))
			ordeal->filled++;
		break;
	case RUN: run(ordeal, step->number); break;
	case RETRY: retry(ordeal); break;
	case PURGE:
		run(ordeal, 2000); /* what waits now would not be purged */
		ordeal->is_purging = true;
		clock_fake_advance(&rig->clock, 2 * HOUR_MS);
		run(ordeal, 2000);
		break;
	}
}

bool ordeal_go_on(struct ordeal *ordeal)
{
	/* After a cut everything starts anew, whatever was to be done next. */
	if (ordeal->step > 0 && ordeal->step < STEP_COUNT && STEPS[ordeal->step].deed != START)
		start(ordeal);
	while (!is_off(ordeal) && ordeal->step < STEP_COUNT) {
		take_step(ordeal, &STEPS[ordeal->step]);
		if (!is_off(ordeal))
			ordeal->step++;
	}
	if (!is_off(ordeal))
		return true;
	rig_stop(ordeal->rig);
	assert_int_equal(disk_open_files(ordeal->disk), 0);
	return false;
}

/* ---- what must be so ---- */

struct law {
	const char *what;
	const char *broken; /* counts what breaks it */
};

#define DELIVERED_ROWS                                                          \
	"(SELECT count(*) FROM event e WHERE ignored IS NULL"                   \
	" AND NOT EXISTS (SELECT 1 FROM job WHERE event_id = e.id AND is_main)" \
	" AND NOT EXISTS (SELECT 1 FROM parked WHERE event_id = e.id AND is_main))"

static const struct law LAWS[] = {
	{"a job has its event",
		"SELECT count(*) FROM job WHERE event_id NOT IN (SELECT id FROM event)"},
	{"parked work has its event",
		"SELECT count(*) FROM parked WHERE event_id NOT IN (SELECT id FROM event)"},
	{"work is for a contact",
		"SELECT count(*) FROM (SELECT contact_id FROM job UNION ALL SELECT contact_id FROM"
		" parked) WHERE contact_id NOT IN (SELECT id FROM contact)"},
	{"work is for a destination",
		"SELECT count(*) FROM job WHERE destination_id NOT IN (SELECT id FROM "
		"destination)"},
	{"what waits isn't parked",
		"SELECT count(*) FROM job JOIN parked USING (event_id, contact_id)"},
	{"an attempt has its event",
		"SELECT count(*) FROM attempt WHERE event_id NOT IN (SELECT id FROM event)"},
	{"a record has its customer",
		"SELECT count(*) FROM record WHERE customer_id NOT IN (SELECT id FROM customer)"},
	{"a link has its customers",
		"SELECT count(*) FROM link WHERE from_id NOT IN (SELECT id FROM customer)"
		" OR to_id NOT IN (SELECT id FROM customer)"},
	{"an event is there once",
		"SELECT count(*) FROM event GROUP BY source, event_id HAVING count(*) > 1"},
	{"nobody is there twice",
		"SELECT count(*) FROM contact GROUP BY destination_id, is_email, identity"
		" HAVING count(*) > 1"},
	{"a relayed event left a record or a link",
		"SELECT count(*) FROM event WHERE ignored IS NULL AND event_id NOT IN"
		" (SELECT id FROM record UNION ALL SELECT id FROM link)"},
	{"received = accepted + duplicate + ignored",
		"SELECT received <> accepted + duplicate + ignored FROM totals"},
	{"waiting = jobs", "SELECT waiting <> (SELECT count(*) FROM job) FROM totals"},
	{"parked = parked rows", "SELECT parked <> (SELECT count(*) FROM parked) FROM totals"},
	{"the last event has the last number",
		"SELECT last_event_id < ifnull((SELECT max(id) FROM event), 0) FROM totals"},
	{"accepted and delivered miss the same events (the purged)",
		"SELECT accepted - (SELECT count(*) FROM event WHERE ignored IS NULL)"
		" <> delivered - " DELIVERED_ROWS " FROM totals"},
};

static const struct law LAWS_BEFORE_PURGE[] = {
	{"accepted = relayed events",
		"SELECT accepted <> (SELECT count(*) FROM event WHERE ignored IS NULL) FROM "
		"totals"},
	{"ignored = ignored events",
		"SELECT ignored <> (SELECT count(*) FROM event WHERE ignored IS NOT NULL)"
		" FROM totals"},
	{"delivered = events without work", "SELECT delivered <> " DELIVERED_ROWS " FROM totals"},
};

static void check_law(sqlite3 *db, const struct law *law)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(db, law->broken, -1, &statement, NULL) != SQLITE_OK)
		fail_msg("%s: %s", law->what, sqlite3_errmsg(db));
	const int code = sqlite3_step(statement);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		fail_msg("%s: %s", law->what, sqlite3_errmsg(db));
	if (code == SQLITE_ROW && sqlite3_column_int(statement, 0) != 0)
		fail_msg("broken: %s (%d)", law->what, sqlite3_column_int(statement, 0));
	(void)sqlite3_finalize(statement);
}

static void check_sound(sqlite3 *db)
{
	sqlite3_stmt *statement = NULL;

	assert_int_equal(
		sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
	(void)sqlite3_finalize(statement);
}

static void check_acknowledged(struct ordeal *ordeal, sqlite3 *db)
{
	sqlite3_stmt *statement = NULL;

	assert_int_equal(sqlite3_prepare_v2(db,
				 "SELECT 1 FROM event WHERE event_id = ? AND length(body) > 0", -1,
				 &statement, NULL),
		SQLITE_OK);
	for (size_t i = 0; i < WEBHOOK_COUNT; i++) {
		if (!ordeal->acknowledged[i])
			continue;
		(void)sqlite3_bind_text(statement, 1, WEBHOOKS[i].id, -1, SQLITE_STATIC);
		if (sqlite3_step(statement) != SQLITE_ROW)
			fail_msg("%s was answered 200 and is lost", WEBHOOKS[i].id);
		(void)sqlite3_reset(statement);
	}
	for (int i = 0; i < ordeal->filled; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "f%d", i);
		(void)sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
		if (sqlite3_step(statement) != SQLITE_ROW)
			fail_msg("%s was answered 200 and is lost", id);
		(void)sqlite3_reset(statement);
	}
	(void)sqlite3_finalize(statement);
}

void ordeal_check(struct ordeal *ordeal)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open_v2(ordeal->rig->conf->store.path, &db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
		SQLITE_OK);
	check_sound(db);
	for (size_t i = 0; i < COUNT_OF(LAWS); i++)
		check_law(db, &LAWS[i]);
	for (size_t i = 0; !ordeal->is_purging && i < COUNT_OF(LAWS_BEFORE_PURGE); i++)
		check_law(db, &LAWS_BEFORE_PURGE[i]);
	if (!ordeal->is_purging)
		check_acknowledged(ordeal, db);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

bool ordeal_recover(struct ordeal *ordeal)
{
	disk_power_on(ordeal->disk);
	start(ordeal);
	if (!is_off(ordeal)) {
		ordeal_check(ordeal);
		return true;
	}
	rig_stop(ordeal->rig);
	return false;
}

/* Per customer: its attributes, and its events in the order of their first arrival. */
static char *intercom_state(const struct ordeal *ordeal)
{
	const struct standin *standin = ordeal->rig->standin;
	struct buf buf;

	buf_init(&buf, 65536);
	for (size_t i = 0; i < COUNT_OF(CUSTOMERS); i++) {
		(void)buf_addf(&buf, "%s:", CUSTOMERS[i]);
		for (size_t k = 0; k < COUNT_OF(ATTRIBUTES); k++) {
			const char *value = standin_attribute(standin, CUSTOMERS[i], ATTRIBUTES[k]);

			(void)buf_addf(&buf, " %s", value != NULL ? value : "-");
		}
		for (size_t k = 0; k < standin_event_count(standin); k++) {
			struct standin_event event;

			standin_event_at(standin, k, &event);
			if (strcmp(event.external_id, CUSTOMERS[i]) == 0)
				(void)buf_addf(&buf, "\n  %s %lld %s", event.name,
					(long long)event.created_at, event.metadata);
		}
		(void)buf_add_char(&buf, '\n');
	}
	return buf_detach(&buf);
}

void ordeal_check_end(struct ordeal *ordeal)
{
	char *state = intercom_state(ordeal);
	const struct totals totals = rig_totals(ordeal->rig);

	ordeal_check(ordeal);
	assert_int_equal(totals.waiting, 0);
	assert_int_equal(totals.parked, 0);
	assert_int_equal(totals.ignored, 1 + ordeal->filler);
	assert_int_equal(totals.accepted, WEBHOOK_COUNT - 1);
	assert_int_equal(totals.delivered, WEBHOOK_COUNT - 1);
	assert_string_equal(state, ordeal->expected);
	assert_int_equal(standin_violation_count(ordeal->rig->standin), 0);
	free(state);
}

const char *ordeal_deed(const struct ordeal *ordeal)
{
	return ordeal->step < STEP_COUNT ? DEEDS[STEPS[ordeal->step].deed] : "end";
}

/* ---- life ---- */

static void drop_line(void *context, enum log_level level, const char *line)
{
	(void)context;
	(void)level;
	(void)line;
}

static void end_disk(struct ordeal *ordeal)
{
	rig_stop(ordeal->rig);
	disk_destroy(ordeal->disk);
	ordeal->disk = NULL;
}

void ordeal_begin(struct ordeal *ordeal, uint64_t seed)
{
	end_disk(ordeal);
	ordeal->disk = disk_create(seed);
	disk_mount(ordeal->disk);
	clock_fake_init(&ordeal->rig->clock, START_MS + 60000);
	standin_reset(ordeal->rig->standin);
	standin_clear_rules(ordeal->rig->standin);
	memset(ordeal->acknowledged, 0, sizeof(ordeal->acknowledged));
	ordeal->is_purging = false;
	ordeal->step = 0;
	ordeal->filled = 0;
	ordeal->cut_past = 0;
	ordeal->refusals = 0;
	ordeal->failed_starts = 0;
}

struct watching {
	const struct ordeal *ordeal;
	struct ordeal_checkpoint seen;
};

static void note_checkpoint(void *context, const char *operation, const char *path)
{
	struct watching *watching = context;
	const struct ordeal *ordeal = watching->ordeal;
	const int64_t nth = disk_operations(ordeal->disk, DISK_WRITES) + 1;

	(void)operation;
	if (strcmp(ordeal_deed(ordeal), DEEDS[FILL]) != 0 ||
		strcmp(path, ordeal->rig->conf->store.path) != 0)
		return;
	if (watching->seen.first == 0)
		watching->seen.first = nth;
	watching->seen.last = nth;
}

struct ordeal_checkpoint ordeal_fill_log(struct ordeal *ordeal)
{
	struct watching watching = {.ordeal = ordeal};

	ordeal->filler = FILLER;
	ordeal_begin(ordeal, 1);
	disk_watch(ordeal->disk, note_checkpoint, &watching);
	assert_true(ordeal_go_on(ordeal));
	ordeal_check_end(ordeal);
	disk_watch(ordeal->disk, NULL, NULL);
	assert_true(watching.seen.last - watching.seen.first > 300);
	return watching.seen;
}

struct ordeal *ordeal_create(void)
{
	struct ordeal *ordeal = xcalloc(1, sizeof(*ordeal));

	log_redirect(drop_line, NULL);
	ordeal->rig = rig_prepare(INI, NULL);
	ordeal_begin(ordeal, 0);
	assert_true(ordeal_go_on(ordeal));
	ordeal->expected = intercom_state(ordeal);
	return ordeal;
}

void ordeal_destroy(struct ordeal *ordeal)
{
	end_disk(ordeal);
	rig_destroy(ordeal->rig);
	free(ordeal->expected);
	free(ordeal);
	log_redirect(NULL, NULL);
}

int64_t ordeal_number(const char *variable, int64_t fallback)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoll(text, NULL, 10) : fallback;
}
