/*
 * What the statements that run all the time cost, counted in SQLite's own steps: as much with many
 * waiting as with few. A plan that reads a whole table looks just as good in every other test.
 */

#include "store/sqlite_private.h"

#include "base/arena.h"
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FEW 300
#define MANY 6000

static void add(struct backend *backend, int64_t id, int64_t destination_id, struct error *err)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "e%d", (int)id);
	const struct stored_event event = {.id = id,
		.source = "s",
		.event_id = text,
		.type = "t",
		.received_at_ms = id,
		.body = "b",
		.body_len = 1};
	/* Every third is delivered. */
	const struct job job = {.destination_id = destination_id,
		.event_id = id,
		.contact_id = id % 3 == 1 ? 7 : id,
		.at_ms = id};

	assert_true(sqlite_event_add(backend, &event, err));
	if (id % 3 != 0)
		assert_true(sqlite_job_add(backend, &job, err));
}

static int steps_of(struct backend *backend, enum sql sql)
{
	assert_non_null(backend->statements[sql]);
	return sqlite3_stmt_status(backend->statements[sql], SQLITE_STMTSTATUS_VM_STEP, 1);
}

/* One slice of purging, one scan from the middle, one look at both ends, one load of a contact. */
static int cost(int count, enum sql sql)
{
	char path[] = "/tmp/subrelay-cost-XXXXXX";
	struct error err = {0};
	struct totals totals = {0};
	struct lane_ref refs[64];
	struct lane_work work;
	struct arena arena;
	int64_t cursor = 0;
	int64_t destination_id;
	int64_t out;
	size_t n;

	assert_non_null(mkdtemp(path));
	char file[64];
	(void)snprintf(file, sizeof(file), "%s/db", path);
	struct backend *backend = store_sqlite.open(file, true, &err);
	assert_non_null(backend);
	arena_init(&arena);
	assert_true(store_sqlite.begin(backend, &err));
	assert_true(sqlite_destination_id(backend, "intercom", &destination_id, &err));
	struct stored_contact contact = {
		.destination_id = destination_id, .identity = "u", .wanted = ""};
	for (int i = 0; i < 8; i++) {
		contact.id = 0;
		assert_true(sqlite_contact_save(backend, &contact, &err));
	}
	for (int64_t id = 1; id <= count; id++)
		add(backend, id, destination_id, &err);
	assert_true(sqlite_purge(backend, count, INT64_MIN, &cursor, 64, &n, &totals, &err));
	assert_true(sqlite_lanes_after(
		backend, destination_id, (struct lane_ref){count / 2, 0}, refs, 64, &n, &err));
	assert_int_equal(n, 64);
	assert_true(sqlite_oldest_waiting(backend, destination_id, &out, &out, &out, &err));
	assert_true(sqlite_lane_load(backend, 7, 32, &arena, &work, &err));
	assert_true(work.has_more);
	const int steps = steps_of(backend, sql);
	assert_true(store_sqlite.commit(backend, &err));
	store_sqlite.close(backend);
	arena_finish(&arena);

	static const char *const NAMES[] = {"db", "db-lock", "db-wal", "db-shm"};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++) {
		(void)snprintf(file, sizeof(file), "%s/%s", path, NAMES[i]);
		(void)unlink(file); /* the last two may be gone */
	}
	assert_int_equal(rmdir(path), 0);
	return steps;
}

static void what_waits_makes_nothing_dearer(void **state)
{
	static const enum sql HOT[] = {SQL_PURGE_SCAN, SQL_LANES_AFTER, SQL_OLDEST_WAITING,
		SQL_LAST_WAITING, SQL_LANE_JOBS};

	(void)state;
	for (size_t i = 0; i < sizeof(HOT) / sizeof(*HOT); i++) {
		const int few = cost(FEW, HOT[i]);
		const int many = cost(MANY, HOT[i]);

		assert_true(few > 0);
		assert_in_range(many, 1, few + few / 4 + 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_waits_makes_nothing_dearer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
