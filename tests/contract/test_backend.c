/*
 * What every store back end must do, asked of each that there is: rows come back as they went in, a
 * transaction is all or nothing and survives the process, order is as promised.
 *
 * A new back end is one more line in BACKENDS.
 */

#include "base/clock.h"
#include "base/error.h"
#include "store/backend.h"
#include "store/copy.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct store_backend *const BACKENDS[] = {&store_sqlite};

struct bench {
	const struct store_backend *ops;
	char folder[64];
	char path[96];
	struct backend *writer;
	struct arena arena;
	struct error err;
};

static int set_up(void **state)
{
	const struct store_backend *ops = *state;
	struct bench *bench = calloc(1, sizeof(*bench));

	bench->ops = ops;
	(void)snprintf(bench->folder, sizeof(bench->folder), "/tmp/subrelay-store-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	(void)snprintf(bench->path, sizeof(bench->path), "%s/relay.db", bench->folder);
	bench->writer = ops->open(bench->path, true, &bench->err);
	if (bench->writer == NULL)
		fail_msg("%s", bench->err.text);
	arena_init(&bench->arena);
	*state = bench;
	return 0;
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
	(void)stat;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	bench->ops->close(bench->writer);
	arena_finish(&bench->arena);
	(void)nftw(bench->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(bench);
	return 0;
}

#define GOOD(call)                                                  \
	do {                                                        \
		if (!(call))                                        \
			fail_msg("%s: %s", #call, bench->err.text); \
	} while (0)

static void begin(struct bench *bench)
{
	GOOD(bench->ops->begin(bench->writer, &bench->err));
}

static void commit(struct bench *bench)
{
	GOOD(bench->ops->commit(bench->writer, &bench->err));
}

static void reopen(struct bench *bench)
{
	bench->ops->close(bench->writer);
	bench->writer = bench->ops->open(bench->path, true, &bench->err);
	assert_non_null(bench->writer);
}

static struct stored_event event(int64_t id, const char *event_id)
{
	return (struct stored_event){.id = id,
		.source = "revenuecat",
		.event_id = event_id,
		.type = "RENEWAL",
		.customer = "u1",
		.at_ms = 1000 + id,
		.received_at_ms = 2000 + id,
		.body = "{\"a\":\"\0b\"}",
		.body_len = 10};
}

static void add_event(struct bench *bench, int64_t id, const char *event_id)
{
	const struct stored_event row = event(id, event_id);

	GOOD(bench->ops->event_add(bench->writer, &row, &bench->err));
}

static int64_t add_contact(struct bench *bench, const char *identity)
{
	struct stored_contact contact = {.identity = identity, .wanted = "{}"};

	GOOD(bench->ops->destination_id(
		bench->writer, "intercom", &contact.destination_id, &bench->err));
	GOOD(bench->ops->contact_save(bench->writer, &contact, &bench->err));
	assert_true(contact.id > 0);
	return contact.id;
}

static struct job job(int64_t event_id, int64_t contact_id, int64_t at_ms, int rank)
{
	return (struct job){.destination_id = 1,
		.event_id = event_id,
		.contact_id = contact_id,
		.at_ms = at_ms,
		.rank = rank,
		.received_at_ms = 5000 + event_id,
		.is_main = true,
		.name = "rc_renewal_event",
		.created_at = 1700000000,
		.metadata = "{\"store\":\"APP_STORE\"}"};
}

static void add_job(struct bench *bench, const struct job *row)
{
	GOOD(bench->ops->job_add(bench->writer, row, &bench->err));
}

static void an_event_is_found_by_source_and_id(void **state)
{
	struct bench *bench = *state;
	struct event_row row;
	int64_t id = -1;

	begin(bench);
	add_event(bench, 7, "e7");
	commit(bench);
	reopen(bench);
	GOOD(bench->ops->event_find(bench->writer, "revenuecat", "e7", &id, &bench->err));
	assert_int_equal(id, 7);
	GOOD(bench->ops->event_find(bench->writer, "revenuecat.ios", "e7", &id, &bench->err));
	assert_int_equal(id, 0);
	GOOD(bench->ops->event_find(bench->writer, "revenuecat", "E7", &id, &bench->err));
	assert_int_equal(id, 0);
	GOOD(bench->ops->event_get(bench->writer, 0, "e7", &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 7);
	assert_string_equal(row.event.type, "RENEWAL");
	assert_string_equal(row.state, "delivered"); /* nothing waits for it */
	assert_int_equal(row.event.body_len, 10);
	assert_memory_equal(row.event.body, "{\"a\":\"\0b\"}", 10);
	GOOD(bench->ops->event_get(bench->writer, 8, NULL, &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 0);
}

static void a_rolled_back_transaction_leaves_nothing(void **state)
{
	struct bench *bench = *state;
	int64_t id = -1;

	begin(bench);
	add_event(bench, 7, "e7");
	bench->ops->rollback(bench->writer);
	GOOD(bench->ops->event_find(bench->writer, "revenuecat", "e7", &id, &bench->err));
	assert_int_equal(id, 0);
	begin(bench);
	add_event(bench, 7, "e7");
	reopen(bench); /* as a process that died before its commit */
	GOOD(bench->ops->event_find(bench->writer, "revenuecat", "e7", &id, &bench->err));
	assert_int_equal(id, 0);
}

static void totals_are_what_was_committed(void **state)
{
	struct bench *bench = *state;
	const struct totals before = {1, 2, 3, 4, 5, 6, 7, 8};
	struct totals after;

	begin(bench);
	GOOD(bench->ops->totals_save(bench->writer, &before, &bench->err));
	commit(bench);
	reopen(bench);
	GOOD(bench->ops->totals_load(bench->writer, &after, &bench->err));
	assert_memory_equal(&before, &after, sizeof(before));
}

static void a_customers_records_come_in_the_order_of_events(void **state)
{
	struct bench *bench = *state;
	struct customer customer = {.scope = "revenuecat",
		.key = "u1",
		.contact = {.destination = "intercom", .identity = "u1"}};
	struct customer other = {.scope = "revenuecat", .key = "u2"};
	const struct record records[] = {
		{.id = "c", .subject = "s", .at_ms = 20, .rank = 1, .data = "{}"},
		{.id = "b", .subject = "s", .at_ms = 20, .rank = 0, .data = "{\"x\":1}"},
		{.id = "a", .subject = "s", .at_ms = 10, .rank = 4, .data = "{}"},
	};
	const struct link link = {.at_ms = 30, .id = "t", .from = "u1", .to = "u2"};
	struct customer loaded = {.scope = "revenuecat", .key = "u1"};

	begin(bench);
	GOOD(bench->ops->customer_save(bench->writer, &customer, &bench->err));
	GOOD(bench->ops->customer_save(bench->writer, &other, &bench->err));
	for (size_t i = 0; i < 3; i++)
		GOOD(bench->ops->record_add(bench->writer, customer.id, &records[i], &bench->err));
	GOOD(bench->ops->link_add(bench->writer, customer.id, other.id, &link, &bench->err));
	commit(bench);
	reopen(bench);
	GOOD(bench->ops->customer_load(bench->writer, &loaded, &bench->arena, &bench->err));
	assert_int_equal(loaded.id, customer.id);
	assert_int_equal(loaded.record_count, 3);
	assert_string_equal(loaded.records[0].id, "a");
	assert_string_equal(loaded.records[1].id, "b");
	assert_string_equal(loaded.records[1].data, "{\"x\":1}");
	assert_string_equal(loaded.records[2].id, "c");
	assert_int_equal(loaded.links_out_count, 1);
	assert_string_equal(loaded.links_out[0].to, "u2");
	assert_string_equal(loaded.contact.identity, "u1");

	begin(bench);
	GOOD(bench->ops->record_drop(bench->writer, customer.id, &records[1], &bench->err));
	commit(bench);
	loaded = (struct customer){.scope = "revenuecat", .key = "u1"};
	GOOD(bench->ops->customer_load(bench->writer, &loaded, &bench->arena, &bench->err));
	assert_int_equal(loaded.record_count, 2);
	loaded = (struct customer){.scope = "revenuecat/sandbox", .key = "u1"};
	GOOD(bench->ops->customer_load(bench->writer, &loaded, &bench->arena, &bench->err));
	assert_int_equal(loaded.id, 0);
	loaded = (struct customer){.scope = "revenuecat", .key = "u2"};
	GOOD(bench->ops->customer_load(bench->writer, &loaded, &bench->arena, &bench->err));
	assert_int_equal(loaded.links_in_count, 1);
	assert_null(loaded.contact.identity);
}

static void add_customer(struct bench *bench, const char *scope, const char *key,
	const char *identity, bool is_email)
{
	struct customer customer = {.scope = scope,
		.key = key,
		.contact = {.destination = "intercom", .identity = identity, .is_email = is_email}};

	GOOD(bench->ops->customer_save(bench->writer, &customer, &bench->err));
}

static void the_customers_of_a_contact_are_found(void **state)
{
	struct bench *bench = *state;
	const struct contact_ref ref = {.destination = "intercom", .identity = "u1"};
	const struct contact_ref email = {
		.destination = "intercom", .identity = "u1", .is_email = true};
	const char **keys;
	size_t count;

	begin(bench);
	add_customer(bench, "revenuecat", "u1", "u1", false);
	add_customer(bench, "revenuecat", "anonymous-1", "u1", false);
	add_customer(bench, "revenuecat", "anonymous-2", "u1", false);
	add_customer(bench, "revenuecat", "by-email", "u1", true);
	add_customer(bench, "revenuecat", "other", "u2", false);
	add_customer(bench, "revenuecat", "unknown", NULL, false);
	add_customer(bench, "revenuecat.ios", "elsewhere", "u1", false);
	GOOD(bench->ops->customer_keys(
		bench->writer, "revenuecat", &ref, &bench->arena, &keys, &count, &bench->err));
	assert_int_equal(count, 3);
	assert_string_equal(keys[0], "anonymous-2");
	assert_string_equal(keys[1], "anonymous-1");
	assert_string_equal(keys[2], "u1");
	GOOD(bench->ops->customer_keys(
		bench->writer, "revenuecat", &email, &bench->arena, &keys, &count, &bench->err));
	assert_int_equal(count, 2);
	assert_string_equal(keys[0], "by-email");
	assert_string_equal(keys[1], "u1");
	for (int i = 0; i < CONTACT_KEYS_MAX + 5; i++) {
		char key[24];

		(void)snprintf(key, sizeof(key), "many-%d", i);
		add_customer(bench, "revenuecat", key, "crowd", true);
	}
	const struct contact_ref crowd = {
		.destination = "intercom", .identity = "crowd", .is_email = true};
	GOOD(bench->ops->customer_keys(
		bench->writer, "revenuecat", &crowd, &bench->arena, &keys, &count, &bench->err));
	assert_int_equal(count, CONTACT_KEYS_MAX + 1);
	commit(bench);
}

static void a_contact_keeps_what_it_wants_apart_from_what_it_was_sent(void **state)
{
	struct bench *bench = *state;
	struct stored_contact contact = {.destination_id = 1, .identity = "u1"};

	begin(bench);
	const int64_t id = add_contact(bench, "u1");
	GOOD(bench->ops->contact_learn(bench->writer, id, "abc", "{\"a\":1}", &bench->err));
	commit(bench);
	GOOD(bench->ops->contact_load(bench->writer, &contact, &bench->arena, &bench->err));
	assert_int_equal(contact.id, id);
	assert_string_equal(contact.intercom_id, "abc");
	assert_string_equal(contact.sent, "{\"a\":1}");
	contact.wanted = "{\"b\":2}";
	begin(bench);
	GOOD(bench->ops->contact_save(bench->writer, &contact, &bench->err));
	GOOD(bench->ops->contact_learn(bench->writer, id, NULL, "", &bench->err));
	commit(bench);
	GOOD(bench->ops->contact_load(bench->writer, &contact, &bench->arena, &bench->err));
	assert_string_equal(contact.wanted, "{\"b\":2}");
	assert_null(contact.intercom_id);
	contact = (struct stored_contact){.destination_id = 1, .is_email = true, .identity = "u1"};
	GOOD(bench->ops->contact_load(bench->writer, &contact, &bench->arena, &bench->err));
	assert_int_equal(contact.id, 0);
}

static void a_lane_comes_in_the_order_of_the_billing_system(void **state)
{
	struct bench *bench = *state;
	struct lane_work work;

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	const int64_t b = add_contact(bench, "b");
	const struct job jobs[] = {
		job(1, a, 300, 0), job(2, a, 100, 3), job(3, b, 50, 0), job(4, a, 100, 1)};
	for (size_t i = 0; i < 4; i++)
		add_job(bench, &jobs[i]);
	commit(bench);
	GOOD(bench->ops->lane_load(bench->writer, a, 10, &bench->arena, &work, &bench->err));
	assert_int_equal(work.job_count, 3);
	assert_false(work.has_more);
	assert_string_equal(work.contact.identity, "a");
	assert_int_equal(work.jobs[0].event_id, 4);
	assert_int_equal(work.jobs[1].event_id, 2);
	assert_int_equal(work.jobs[2].event_id, 1);
	assert_string_equal(work.jobs[2].metadata, "{\"store\":\"APP_STORE\"}");
	GOOD(bench->ops->lane_load(bench->writer, a, 2, &bench->arena, &work, &bench->err));
	assert_int_equal(work.job_count, 2);
	assert_true(work.has_more);
}

static void waiting_work_is_scanned_in_the_order_of_arrival(void **state)
{
	struct bench *bench = *state;
	struct lane_ref refs[8];
	size_t count;
	int64_t received_at_ms;
	int64_t first;
	int64_t last;

	GOOD(bench->ops->oldest_waiting(
		bench->writer, 1, &received_at_ms, &first, &last, &bench->err));
	assert_true(received_at_ms == TIME_NONE);
	begin(bench);
	const int64_t a = add_contact(bench, "a");
	for (int64_t i = 1; i <= 5; i++) {
		const struct job row = job(i, a, 1000 - i, 0);
		add_job(bench, &row);
	}
	commit(bench);
	GOOD(bench->ops->lanes_after(
		bench->writer, 1, (struct lane_ref){2, INT64_MAX}, refs, 2, &count, &bench->err));
	assert_int_equal(count, 2);
	assert_int_equal(refs[0].event_id, 3);
	assert_int_equal(refs[1].event_id, 4);
	GOOD(bench->ops->lanes_after(
		bench->writer, 2, (struct lane_ref){0}, refs, 8, &count, &bench->err));
	assert_int_equal(count, 0);
	GOOD(bench->ops->oldest_waiting(
		bench->writer, 1, &received_at_ms, &first, &last, &bench->err));
	/* One event's work for two contacts, read in two parts. */
	begin(bench);
	const struct job second = job(4, add_contact(bench, "b"), 996, 0);
	add_job(bench, &second);
	commit(bench);
	GOOD(bench->ops->lanes_after(bench->writer, 1, refs[1], refs, 1, &count, &bench->err));
	assert_int_equal(count, 1);
	assert_int_equal(refs[0].event_id, 4);
	assert_int_equal(refs[0].contact_id, second.contact_id);
	assert_int_equal(received_at_ms, 5001);
	assert_int_equal(first, 1);
	assert_int_equal(last, 5);
}

static void a_job_is_removed_once_and_parked_with_a_way_back(void **state)
{
	struct bench *bench = *state;
	const struct parking parking = {.parked_at_ms = 9, .reason = "400 no", .request_id = "r1"};
	struct event_row row;
	bool is_found;
	int64_t count;

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	const struct job one = job(1, a, 1, 0);
	const struct job two = job(2, a, 2, 0);
	add_event(bench, 1, "e1");
	add_event(bench, 2, "e2");
	add_job(bench, &one);
	add_job(bench, &two);
	GOOD(bench->ops->job_remove(bench->writer, &one, &is_found, &bench->err));
	assert_true(is_found);
	GOOD(bench->ops->job_remove(bench->writer, &one, &is_found, &bench->err));
	assert_false(is_found);
	GOOD(bench->ops->event_get(bench->writer, 2, NULL, &bench->arena, &row, &bench->err));
	assert_string_equal(row.state, "waiting");
	GOOD(bench->ops->job_park(bench->writer, &two, &parking, &is_found, &bench->err));
	assert_true(is_found);
	GOOD(bench->ops->job_park(bench->writer, &two, &parking, &is_found, &bench->err));
	assert_false(is_found);
	commit(bench);
	GOOD(bench->ops->event_get(bench->writer, 2, NULL, &bench->arena, &row, &bench->err));
	assert_string_equal(row.state, "parked");
	assert_string_equal(row.reason, "400 no");
	assert_string_equal(row.request_id, "r1");
	begin(bench);
	GOOD(bench->ops->job_unpark(bench->writer, 1, &count, &bench->err));
	assert_int_equal(count, 0);
	GOOD(bench->ops->job_unpark(bench->writer, 0, &count, &bench->err));
	assert_int_equal(count, 1);
	commit(bench);
	GOOD(bench->ops->event_get(bench->writer, 2, NULL, &bench->arena, &row, &bench->err));
	assert_string_equal(row.state, "waiting");
}

static void purging_spares_what_waits_and_what_is_parked(void **state)
{
	struct bench *bench = *state;
	const struct parking parking = {.parked_at_ms = 9, .reason = "no", .request_id = ""};
	struct totals totals = {.parked = 1};
	struct event_row row;
	int64_t cursor = 0;
	size_t purged;
	bool is_found;

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	for (int64_t i = 1; i <= 4; i++) {
		char id[16];
		const struct job waiting = job(i, a, i, 0);

		(void)snprintf(id, sizeof(id), "e%d", (int)i);
		add_event(bench, i, id);
		if (i == 2 || i == 3)
			add_job(bench, &waiting);
		if (i == 3)
			GOOD(bench->ops->job_park(
				bench->writer, &waiting, &parking, &is_found, &bench->err));
	}
	const struct attempt attempt = {
		.event_id = 1, .call = "c", .verdict = "v", .request_id = "", .reason = ""};
	GOOD(bench->ops->attempt_add(bench->writer, &attempt, &bench->err));
	GOOD(bench->ops->purge(
		bench->writer, 2004, INT64_MIN, &cursor, 10, &purged, &totals, &bench->err));
	commit(bench);
	assert_int_equal(purged, 1); /* e1; e4 is too young */
	assert_int_equal(totals.parked, 1);
	GOOD(bench->ops->event_get(bench->writer, 1, NULL, &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 0);
	for (int64_t i = 2; i <= 4; i++) {
		GOOD(bench->ops->event_get(
			bench->writer, i, NULL, &bench->arena, &row, &bench->err));
		assert_int_equal(row.event.id, i);
	}
	cursor = 0;
	begin(bench);
	GOOD(bench->ops->purge(
		bench->writer, INT64_MIN, 10, &cursor, 10, &purged, &totals, &bench->err));
	commit(bench);
	assert_int_equal(totals.parked, 0);
	GOOD(bench->ops->event_get(bench->writer, 3, NULL, &bench->arena, &row, &bench->err));
	assert_string_equal(row.state, "ignored"); /* not delivered, and it says so */
}

static void what_is_parked_for_ever_is_not_in_the_way(void **state)
{
	struct bench *bench = *state;
	const struct parking parking = {.parked_at_ms = 9, .reason = "r", .request_id = ""};
	struct totals totals = {.parked = 2};
	int64_t cursor = 0;
	size_t purged;
	bool is_found;

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	for (int64_t i = 1; i <= 3; i++) {
		const struct job waiting = job(i, a, i, 0);
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", (int)i);
		add_event(bench, i, id);
		if (i == 3)
			continue;
		add_job(bench, &waiting);
		GOOD(bench->ops->job_park(
			bench->writer, &waiting, &parking, &is_found, &bench->err));
	}
	GOOD(bench->ops->purge(
		bench->writer, 9000, INT64_MIN, &cursor, 2, &purged, &totals, &bench->err));
	assert_int_equal(purged, 0);
	assert_int_equal(cursor, 2);
	GOOD(bench->ops->purge(
		bench->writer, 9000, INT64_MIN, &cursor, 2, &purged, &totals, &bench->err));
	assert_int_equal(purged, 1);
	assert_int_equal(cursor, 0);
	commit(bench);
}

static void parked_work_is_forgotten_in_slices(void **state)
{
	struct bench *bench = *state;
	struct totals totals = {.parked = 5};
	int64_t cursor = 0;
	size_t purged;
	bool is_found;

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	for (int64_t i = 1; i <= 5; i++) {
		const struct parking parking = {
			.parked_at_ms = i == 3 ? 99 : i, .reason = "r", .request_id = ""};
		const struct job waiting = job(i, a, i, 0);
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", (int)i);
		add_event(bench, i, id);
		add_job(bench, &waiting);
		GOOD(bench->ops->job_park(
			bench->writer, &waiting, &parking, &is_found, &bench->err));
	}
	for (int64_t left = 3; left >= 1; left--) {
		GOOD(bench->ops->purge(
			bench->writer, INT64_MIN, 50, &cursor, 2, &purged, &totals, &bench->err));
		assert_int_equal(totals.parked, left);
		assert_int_equal(cursor != 0, left > 1);
	}
	commit(bench);
	assert_int_equal(totals.parked, 1); /* the third is too young */
}

static void events_of_a_wrong_clock_are_not_in_the_way(void **state)
{
	struct bench *bench = *state;
	struct totals totals = {0};
	int64_t cursor = 0;
	size_t purged;

	begin(bench);
	for (int64_t i = 1; i <= 8; i++) {
		char id[16];
		struct stored_event event = {.id = i,
			.source = "s",
			.event_id = id,
			.type = "t",
			.received_at_ms = i <= 4 ? 1000000 + i : i,
			.body = "b",
			.body_len = 1};

		(void)snprintf(id, sizeof(id), "e%d", (int)i);
		GOOD(bench->ops->event_add(bench->writer, &event, &bench->err));
	}
	/* Four from the future first; then 5 and 6 are old. */
	for (int64_t slice = 0; slice < 2; slice++) {
		GOOD(bench->ops->purge(
			bench->writer, 7, INT64_MIN, &cursor, 2, &purged, &totals, &bench->err));
		assert_int_equal(purged, 0);
		assert_int_not_equal(cursor, 0);
	}
	GOOD(bench->ops->purge(
		bench->writer, 7, INT64_MIN, &cursor, 2, &purged, &totals, &bench->err));
	assert_int_equal(purged, 2);
	GOOD(bench->ops->purge(
		bench->writer, 7, INT64_MIN, &cursor, 2, &purged, &totals, &bench->err));
	assert_int_equal(purged, 0);
	assert_int_equal(cursor, 0);
	commit(bench);
}

static void a_reader_sees_what_is_committed(void **state)
{
	struct bench *bench = *state;
	struct backend *reader = bench->ops->open(bench->path, false, &bench->err);
	struct event_row row;

	assert_non_null(reader);
	begin(bench);
	add_event(bench, 1, "e1");
	GOOD(bench->ops->event_get(reader, 1, NULL, &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 0);
	commit(bench);
	GOOD(bench->ops->event_get(reader, 1, NULL, &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 1);
	bench->ops->close(reader);
}

static void a_second_writer_is_refused(void **state)
{
	struct bench *bench = *state;

	assert_null(bench->ops->open(bench->path, true, &bench->err));
	assert_non_null(strstr(bench->err.text, "another subrelay"));
}

static bool count_row(void *context, const struct event_row *row)
{
	char *ids = context;

	(void)strcat(ids, row->event.event_id);
	return true;
}

static void a_listing_is_newest_first_and_filtered(void **state)
{
	struct bench *bench = *state;
	struct event_filter filter = {.since_ms = TIME_NONE, .limit = 10};
	char ids[64] = "";

	begin(bench);
	const int64_t a = add_contact(bench, "a");
	for (int64_t i = 1; i <= 3; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", (int)i);
		add_event(bench, i, id);
	}
	const struct job waiting = job(2, a, 1, 0);
	add_job(bench, &waiting);
	GOOD(bench->ops->event_ignore(bench->writer, 3, "why", &bench->err));
	commit(bench);
	GOOD(bench->ops->event_list(bench->writer, &filter, count_row, ids, &bench->err));
	assert_string_equal(ids, "e3e2e1");
	const struct {
		const char *state;
		const char *ids;
	} cases[] = {{"waiting", "e2"}, {"ignored", "e3"}, {"delivered", "e1"}, {"parked", ""}};
	for (size_t i = 0; i < 4; i++) {
		ids[0] = '\0';
		filter.state = cases[i].state;
		GOOD(bench->ops->event_list(bench->writer, &filter, count_row, ids, &bench->err));
		assert_string_equal(ids, cases[i].ids);
	}
}

/* ---- copies ---- */

/* 300 of them, before-1 and so on: more pages than are copied in one step. */
static void add_large_events(struct bench *bench)
{
	char body[4000] = "";

	begin(bench);
	for (int64_t id = 1; id <= 300; id++) {
		char name[32];
		struct stored_event row = event(id, name);

		(void)snprintf(name, sizeof(name), "before-%lld", (long long)id);
		row.body = body;
		row.body_len = sizeof(body);
		GOOD(bench->ops->event_add(bench->writer, &row, &bench->err));
	}
	commit(bench);
}

struct copying {
	struct bench *bench;
	FILE *file;
	int64_t bytes;
	int64_t more; /* events that are committed meanwhile, so many at each write */
	int64_t next_id;
};

static bool copy_begin(void *context, int64_t bytes, struct error *err)
{
	struct copying *copying = context;

	(void)err;
	copying->bytes = bytes;
	return true;
}

static bool copy_write(
	void *context, int64_t offset, const void *data, size_t len, struct error *err)
{
	struct copying *copying = context;
	struct bench *bench = copying->bench;

	(void)err;
	assert_true(offset >= 0 && offset + (int64_t)len <= copying->bytes);
	assert_int_equal(fseek(copying->file, (long)offset, SEEK_SET), 0);
	assert_int_equal(fwrite(data, 1, len, copying->file), len);
	for (int64_t i = 0; i < copying->more; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "during-%lld", (long long)copying->next_id);
		begin(bench);
		add_event(bench, copying->next_id++, name);
		commit(bench);
		bench->ops->tidy(bench->writer, true);
	}
	return true;
}

static bool make_copy(
	struct copying *copying, const char *path, int64_t log_growth_max, struct error *err)
{
	struct bench *bench = copying->bench;
	struct backend *reader = bench->ops->open(bench->path, false, err);
	const struct copy_sink sink = {
		.begin = copy_begin,
		.write = copy_write,
		.context = copying,
		.log_growth_max = log_growth_max,
	};

	assert_non_null(reader);
	copying->file = fopen(path, "wb");
	assert_non_null(copying->file);
	const bool done = bench->ops->copy(reader, &sink, err);
	assert_int_equal(fclose(copying->file), 0);
	bench->ops->close(reader);
	return done;
}

static bool always(void *context)
{
	(void)context;
	return true;
}

/* Whatever is committed while it is made: it has all that was there before, and nothing else. */
static void a_copy_is_one_state(void **state)
{
	struct bench *bench = *state;
	struct copying copying = {.bench = bench, .more = 3, .next_id = 1001};
	struct copy_report report = {0};
	char path[128];

	add_large_events(bench);
	(void)snprintf(path, sizeof(path), "%s/copy.db", bench->folder);
	if (!make_copy(&copying, path, INT64_MAX, &bench->err) ||
		!copy_check(path, always, NULL, &report, &bench->err))
		fail_msg("%s", bench->err.text);
	assert_true(copying.next_id > 1030);
	assert_int_equal(report.events, 300);

	struct backend *copy = bench->ops->open(path, true, &bench->err);
	struct event_row row;
	assert_non_null(copy);
	assert_true(bench->ops->event_get(copy, 300, NULL, &bench->arena, &row, &bench->err));
	assert_string_equal(row.event.event_id, "before-300");
	assert_true(bench->ops->event_get(copy, 1001, NULL, &bench->arena, &row, &bench->err));
	assert_int_equal(row.event.id, 0);
	bench->ops->close(copy);
}

static void a_copy_that_takes_too_long_is_given_up(void **state)
{
	struct bench *bench = *state;
	struct copying copying = {.bench = bench, .more = 20, .next_id = 1001};
	char path[128];

	add_large_events(bench);
	(void)snprintf(path, sizeof(path), "%s/copy.db", bench->folder);
	assert_false(make_copy(&copying, path, 1024 * 1024, &bench->err));
	assert_non_null(strstr(bench->err.text, "too slowly"));
	/* And nobody is the worse for it. */
	begin(bench);
	add_event(bench, copying.next_id, "after");
	commit(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"an_event_is_found_by_source_and_id", an_event_is_found_by_source_and_id, NULL,
			NULL, NULL},
		{"a_rolled_back_transaction_leaves_nothing",
			a_rolled_back_transaction_leaves_nothing, NULL, NULL, NULL},
		{"totals_are_what_was_committed", totals_are_what_was_committed, NULL, NULL, NULL},
		{"a_customers_records_come_in_the_order_of_events",
			a_customers_records_come_in_the_order_of_events, NULL, NULL, NULL},
		{"the_customers_of_a_contact_are_found", the_customers_of_a_contact_are_found, NULL,
			NULL, NULL},
		{"a_contact_keeps_what_it_wants_apart_from_what_it_was_sent",
			a_contact_keeps_what_it_wants_apart_from_what_it_was_sent, NULL, NULL,
			NULL},
		{"a_lane_comes_in_the_order_of_the_billing_system",
			a_lane_comes_in_the_order_of_the_billing_system, NULL, NULL, NULL},
		{"waiting_work_is_scanned_in_the_order_of_arrival",
			waiting_work_is_scanned_in_the_order_of_arrival, NULL, NULL, NULL},
		{"a_job_is_removed_once_and_parked_with_a_way_back",
			a_job_is_removed_once_and_parked_with_a_way_back, NULL, NULL, NULL},
		{"purging_spares_what_waits_and_what_is_parked",
			purging_spares_what_waits_and_what_is_parked, NULL, NULL, NULL},
		{"what_is_parked_for_ever_is_not_in_the_way",
			what_is_parked_for_ever_is_not_in_the_way, NULL, NULL, NULL},
		{"parked_work_is_forgotten_in_slices", parked_work_is_forgotten_in_slices, NULL,
			NULL, NULL},
		{"events_of_a_wrong_clock_are_not_in_the_way",
			events_of_a_wrong_clock_are_not_in_the_way, NULL, NULL, NULL},
		{"a_reader_sees_what_is_committed", a_reader_sees_what_is_committed, NULL, NULL,
			NULL},
		{"a_second_writer_is_refused", a_second_writer_is_refused, NULL, NULL, NULL},
		{"a_copy_is_one_state", a_copy_is_one_state, NULL, NULL, NULL},
		{"a_copy_that_takes_too_long_is_given_up", a_copy_that_takes_too_long_is_given_up,
			NULL, NULL, NULL},
		{"a_listing_is_newest_first_and_filtered", a_listing_is_newest_first_and_filtered,
			NULL, NULL, NULL},
	};
	const size_t count = sizeof(tests) / sizeof(*tests);
	int failed = 0;

	for (size_t b = 0; b < sizeof(BACKENDS) / sizeof(*BACKENDS); b++) {
		struct CMUnitTest of_backend[sizeof(tests) / sizeof(*tests)];

		for (size_t i = 0; i < count; i++) {
			of_backend[i] = tests[i];
			of_backend[i].setup_func = set_up;
			of_backend[i].teardown_func = tear_down;
			of_backend[i].initial_state = (void *)(uintptr_t)BACKENDS[b];
		}
		failed += cmocka_run_group_tests_name(BACKENDS[b]->name, of_backend, NULL, NULL);
	}
	return failed;
}
