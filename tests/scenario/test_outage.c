/*
 * Intercom away for three days, in small: what it costs while it lasts, and what is served first when
 * it is back. The same at full size is `make bench` with BENCH_OUTAGE=1.
 */

#include "support/rig.h"

#include "base/error.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <sqlite3.h>

#define HOUR_MS (3600 * 1000LL)
#define DAY_MS (24 * HOUR_MS)

/* More contacts than are kept in memory (LANES_MAX), and one with far more than its share. */
#define EVENTS 12000
#define CONTACTS 11000
#define WHALE_EVERY 20

static void post(struct rig *rig, const char *customer, const char *id)
{
	const unsigned status = rig_post_event(rig,
		"'id':'%s','type':'CANCELLATION','event_timestamp_ms':%lld,'app_user_id':'%s',"
		"'purchased_at_ms':1699990000000,'expiration_at_ms':1702582000000,"
		"'period_type':'NORMAL','store':'APP_STORE','environment':'PRODUCTION',"
		"'entitlement_ids':['pro'],'product_id':'monthly','original_transaction_id':'T1',"
		"'app_id':'app1','cancel_reason':'UNSUBSCRIBE'",
		id, (long long)rig->clock.wall_ms, customer);

	assert_int_equal(status, 200);
}

static void rule(struct rig *rig, const char *json)
{
	struct error err = {0};

	standin_clear_rules(rig->standin);
	if (!standin_add_rules(rig->standin, json, strlen(json), &err))
		fail_msg("%s", err.text);
}

static int64_t number(struct rig *rig, const char *sql)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *row = NULL;

	assert_int_equal(sqlite3_open(rig->conf->store.path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	const int64_t value = sqlite3_column_int64(row, 0);
	(void)sqlite3_finalize(row);
	(void)sqlite3_close(db);
	return value;
}

static size_t allocated(void)
{
	return mallinfo2().uordblks;
}

/* ---- three days ---- */

static void post_nth(struct rig *rig, int n)
{
	char customer[32];
	char id[32];

	if (n % WHALE_EVERY == 0)
		(void)snprintf(customer, sizeof(customer), "whale");
	else
		(void)snprintf(customer, sizeof(customer), "c%d", n % CONTACTS);
	(void)snprintf(id, sizeof(id), "e%d", n);
	post(rig, customer, id);
}

/* A third each: no connection, 503, a refused token. Returns what the last third took of memory. */
static int64_t be_away_for_three_days(struct rig *rig)
{
	const int64_t gap_ms = 3 * DAY_MS / EVENTS;
	size_t before = 0;

	rig->is_unreachable = true;
	for (int n = 0; n < EVENTS; n++) {
		if (n == EVENTS / 3) {
			rig->is_unreachable = false;
			rule(rig,
				"{\"times\":0,\"status\":503,\"code\":\"server_error\","
				"\"message\":\"no\"}");
		}
		if (n == EVENTS * 2 / 3) {
			rule(rig,
				"{\"times\":0,\"status\":401,\"code\":\"unauthorized\","
				"\"message\":\"no\"}");
			before = allocated();
		}
		post_nth(rig, n);
		rig_run(rig, gap_ms);
	}
	return (int64_t)allocated() - (int64_t)before;
}

struct today {
	int count;
	int64_t posted_at_ms[4096];
};

/* Drains at Intercom's pace, with an event of a new contact every two seconds. */
static void drain(struct rig *rig, struct today *today, int64_t waiting_at_end)
{
	while (rig_totals(rig).waiting > waiting_at_end) {
		char id[32];

		assert_true(today->count < 4096);
		(void)snprintf(id, sizeof(id), "today%d", today->count);
		today->posted_at_ms[today->count++] = rig->clock.wall_ms;
		post(rig, id, id);
		rig_run(rig, 2000);
	}
}

/* Looks at everything that came, in order: per contact by the billing system's time, and how long
 * today's took. */
static int64_t check_order(struct rig *rig, const struct today *today)
{
	static int64_t newest[CONTACTS + 1];
	int64_t slowest_ms = 0;
	struct standin_event event;
	int seen = 0;

	memset(newest, 0, sizeof(newest));
	for (size_t i = 0; i < standin_event_count(rig->standin); i++) {
		standin_event_at(rig->standin, i, &event);
		if (strncmp(event.external_id, "today", 5) == 0) {
			const int64_t took_ms =
				event.at_ms - today->posted_at_ms[atoi(event.external_id + 5)];

			slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
			seen++;
			continue;
		}
		int64_t *last = event.external_id[0] == 'w' ? &newest[CONTACTS]
							    : &newest[atoi(event.external_id + 1)];
		assert_true(event.created_at >= *last);
		*last = event.created_at;
	}
	assert_int_equal(seen, today->count);
	return slowest_ms;
}

static void note_lanes(void *context, const struct workspace_status *status)
{
	size_t *lanes = context;

	*lanes = status->lanes;
}

static void three_days_away_cost_little_and_today_comes_first(void **state)
{
	struct rig *rig = rig_create("retry_base = 1s\n", NULL);
	struct today today = {0};
	struct standin_totals totals;
	size_t lanes = 0;

	(void)state;
	rig->answer_ms = 0;
	const int64_t grown = be_away_for_three_days(rig);
	assert_int_equal(rig_totals(rig).parked, 0);
	assert_int_equal(rig_totals(rig).waiting, EVENTS);
	/* One probe at a time: every 30 s while refused, by backoff (30 s at most, at random: 15 s
	 * in the mean) while away. */
	assert_in_range(rig->calls, 3 * DAY_MS / 30000, 2 * DAY_MS / 15000 + DAY_MS / 30000 + 1500);
	/* Memory was full of lanes long before the last third, and has not grown since. */
	dispatcher_status(rig->dispatcher, note_lanes, &lanes);
	assert_in_range(lanes, LANES_MAX - 1024, LANES_MAX + 256);
	assert_true(grown < 3 * 1024 * 1024);

	standin_clear_rules(rig->standin);
	standin_configure(
		rig->standin, &(struct standin_options){.limit = 1667, .reset_offset_ms = 2000});
	drain(rig, &today, EVENTS / 2);
	rig_restart(rig);
	drain(rig, &today, 0);

	standin_get_totals(rig->standin, &totals);
	assert_int_equal(totals.refused, 0);
	assert_int_equal(totals.events, EVENTS + today.count);
	assert_int_equal(rig_totals(rig).parked, 0);
	/* refill.c: behind what is loaded, not behind the backlog. A probe may be 30 s away when
	 * Intercom is back; the first event of today was there then. */
	const int64_t slowest_ms = check_order(rig, &today);
	print_message("# today's slowest: %lld ms, events today: %d, calls %lld\n",
		(long long)slowest_ms, today.count, (long long)rig->calls);
	assert_true(slowest_ms <= 30000 + 13000);
	rig_destroy(rig);
}

/* ---- what comes late ---- */

static void post_at(struct rig *rig, const char *customer, const char *id, int64_t at_ms)
{
	const unsigned status = rig_post_event(rig,
		"'id':'%s','type':'CANCELLATION','event_timestamp_ms':%lld,'app_user_id':'%s',"
		"'store':'APP_STORE','environment':'PRODUCTION','product_id':'monthly',"
		"'original_transaction_id':'T1','app_id':'app1','cancel_reason':'UNSUBSCRIBE'",
		id, (long long)at_ms, customer);

	assert_int_equal(status, 200);
}

/* In the backlog waits an event; a late one of its contact is today's and goes before it; then the
 * workspace refuses, so long that today's line has no room for the contact. What is left of it lies
 * where the backlog's cursor has passed long ago. */
static void what_waits_behind_a_late_event_is_not_forgotten(void **state)
{
	static const char REFUSED[] =
		"{\"times\":0,\"status\":401,\"code\":\"unauthorized\",\"message\":\"no\"}";
	struct rig *rig = rig_create(NULL, NULL);
	const int64_t now_ms = rig->clock.wall_ms;
	char id[32];

	(void)state;
	rule(rig, REFUSED);
	post_at(rig, "late", "second", now_ms);
	rig_restart(rig);
	rig_run(rig, 60000);
	post_at(rig, "late", "first", now_ms - HOUR_MS);
	rule(rig,
		"{\"path\":\"/events\",\"nth\":2,\"times\":0,\"status\":401,"
		"\"code\":\"unauthorized\",\"message\":\"no\"}");
	rig_run(rig, 60000);
	assert_int_equal(standin_event_count(rig->standin), 1);
	assert_int_equal(rig_totals(rig).waiting, 1);

	rule(rig, REFUSED);
	for (int n = 0; n < 2000; n++) {
		(void)snprintf(id, sizeof(id), "today%d", n);
		post(rig, id, id);
		rig_run(rig, 100);
	}
	standin_clear_rules(rig->standin);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(standin_event_count(rig->standin), 2002);
	rig_destroy(rig);
}

/* ---- the file ---- */

static void a_cycle(struct rig *rig, int cycle)
{
	rig->is_unreachable = true;
	for (int n = 0; n < 1500; n++) {
		char id[32];
		char customer[32];

		(void)snprintf(id, sizeof(id), "%d-%d", cycle, n);
		(void)snprintf(customer, sizeof(customer), "c%d", n);
		post(rig, customer, id);
	}
	rig->is_unreachable = false;
	rig_drain(rig, HOUR_MS);
	/* A slice of purging is a step's. */
	for (int minute = 0; minute < 180; minute++)
		rig_run(rig, 60000);
}

static void the_file_is_used_again_after_an_outage(void **state)
{
	struct rig *rig = rig_create("[store]\nkeep_delivered = 1h\n", NULL);
	int64_t pages[5];

	(void)state;
	for (int cycle = 0; cycle < 5; cycle++) {
		a_cycle(rig, cycle);
		pages[cycle] = number(rig, "PRAGMA page_count");
		assert_int_equal(number(rig, "SELECT count(*) FROM event"), 0);
		assert_int_equal(number(rig, "SELECT count(*) FROM attempt"), 0);
	}
	/* What stays of a customer, a record of some 250 bytes an event, grows until it is full
	 * (128 records); the pages of events, jobs and attempts are the same ones, some 400 a
	 * cycle. */
	assert_true(pages[4] - pages[1] <= 3 * 60);
	rig_destroy(rig);
}

static void the_log_is_used_again_when_a_reader_ends(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	sqlite3 *db = NULL;
	char path[128];
	struct stat before;
	struct stat after;

	(void)state;
	rig->is_unreachable = true;
	(void)snprintf(path, sizeof(path), "%s-wal", rig->conf->store.path);
	for (int n = 0; n < 100; n++)
		post_nth(rig, n + 1);
	assert_int_equal(sqlite3_open(rig->conf->store.path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "BEGIN; SELECT count(*) FROM event", NULL, NULL, NULL), SQLITE_OK);
	for (int n = 100; n < 600; n++)
		post_nth(rig, n + 1);
	(void)sqlite3_close(db);
	rig_run(rig, 5000);
	assert_int_equal(stat(path, &before), 0);
	for (int n = 600; n < 1100; n++)
		post_nth(rig, n + 1);
	assert_int_equal(stat(path, &after), 0);
	/* A reader that ended is no reason to grow. */
	assert_int_equal(after.st_size, before.st_size);
	rig_destroy(rig);
}

/* ---- purging ---- */

static void purging_keeps_up_with_a_writer_that_is_never_idle(void **state)
{
	struct rig *rig = rig_create("[store]\nkeep_delivered = 1h\n", NULL);
	char id[32];

	(void)state;
	rule(rig,
		"{\"contact\":\"parked\",\"times\":0,\"status\":422,\"code\":\"no\","
		"\"message\":\"no\"}");
	post(rig, "parked", "parked");
	for (int n = 0; n < 400; n++) {
		(void)snprintf(id, sizeof(id), "old%d", n);
		post(rig, id, id);
	}
	rig_drain(rig, HOUR_MS);
	rig->is_unreachable = true;
	post(rig, "waiting", "waiting");
	assert_int_equal(rig_totals(rig).parked, 1);
	clock_fake_advance(&rig->clock, 2 * HOUR_MS);

	/* Each round has work: nothing is ever idle. */
	for (int n = 0; n < 600; n++) {
		(void)snprintf(id, sizeof(id), "new%d", n);
		post(rig, id, id);
	}
	assert_int_equal(number(rig, "SELECT count(*) FROM event WHERE event_id LIKE 'old%'"), 0);
	assert_int_equal(number(rig, "SELECT count(*) FROM event WHERE event_id LIKE 'new%'"), 600);
	assert_int_equal(number(rig,
				 "SELECT count(*) FROM event"
				 " WHERE event_id IN ('parked', 'waiting')"),
		2);
	/* The window in which a duplicate is known as one is keep_delivered. */
	post(rig, "waiting", "waiting");
	assert_string_equal(rig->answer, "{\"status\":\"duplicate\"}");
	post(rig, "old1", "old1");
	assert_string_equal(rig->answer, "{\"status\":\"accepted\"}");
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_days_away_cost_little_and_today_comes_first),
		cmocka_unit_test(what_waits_behind_a_late_event_is_not_forgotten),
		cmocka_unit_test(the_file_is_used_again_after_an_outage),
		cmocka_unit_test(the_log_is_used_again_when_a_reader_ends),
		cmocka_unit_test(purging_keeps_up_with_a_writer_that_is_never_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
