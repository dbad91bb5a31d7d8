/*
 * Migrations are all or nothing, wherever they end. With a list of migrations of our own: the linker
 * takes this program's schema_migrations rather than the library's.
 */

#include "base/error.h"
#include "base/log.h"
#include "store/backend.h"
#include "store/schema.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#define ROWS 4000

/* The names that a file of version 1 is known by. */
static const char VERSION_1[] =
	"CREATE TABLE event (id INTEGER PRIMARY KEY, body TEXT);"
	"CREATE TABLE contact (id); CREATE TABLE job (id); CREATE TABLE parked (id);"
	"CREATE TABLE totals (id)";
static const char VERSION_2[] =
	"ALTER TABLE event RENAME TO old;"
	"CREATE TABLE event (id INTEGER PRIMARY KEY, body TEXT, extra INTEGER CHECK (extra > 0));"
	"INSERT INTO event SELECT id, body, id * 2 FROM old;"
	"DROP TABLE old";

const char *const schema_migrations[] = {VERSION_1, VERSION_2};
const int schema_version = 2;

struct place {
	char folder[64];
	char path[96];
};

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	(void)snprintf(place->folder, sizeof(place->folder), "/tmp/subrelay-migration-XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	(void)snprintf(place->path, sizeof(place->path), "%s/relay.db", place->folder);
	*state = place;
	return 0;
}

static void remove_files(const struct place *place)
{
	static const char *const ENDS[] = {"", "-wal", "-shm", "-lock"};

	for (size_t i = 0; i < sizeof(ENDS) / sizeof(*ENDS); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s%s", place->path, ENDS[i]);
		(void)unlink(path);
	}
}

static int tear_down(void **state)
{
	struct place *place = *state;

	remove_files(place);
	(void)rmdir(place->folder);
	free(place);
	return 0;
}

static void run_sql(const struct place *place, const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	(void)sqlite3_close(db);
}

static int64_t number(const struct place *place, const char *sql)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;

	assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	const int64_t value = sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	(void)sqlite3_close(db);
	return value;
}

static void make_version_1(const struct place *place)
{
	char sql[1024];

	remove_files(place);
	(void)snprintf(sql, sizeof(sql),
		"PRAGMA journal_mode = WAL; BEGIN; %s;"
		"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		" INSERT INTO event SELECT i, printf('%%0200d', i) FROM n;"
		"PRAGMA user_version = 1; COMMIT",
		VERSION_1, ROWS);
	run_sql(place, sql);
}

/* Wholly the one or wholly the other. */
static int64_t check_whole(const struct place *place)
{
	const int64_t version = number(place, "PRAGMA user_version");

	assert_in_range(version, 1, 2);
	assert_int_equal(number(place, "SELECT count(*) FROM event"), ROWS);
	assert_int_equal(number(place, "SELECT count(*) FROM pragma_table_info('event')"),
		version == 1 ? 2 : 3);
	assert_int_equal(number(place, "SELECT count(*) FROM sqlite_schema WHERE name = 'old'"), 0);
	assert_int_equal(
		number(place, "PRAGMA application_id"), version == 1 ? 0 : SCHEMA_APPLICATION_ID);
	assert_int_equal(number(place,
				 "SELECT count(*) FROM pragma_integrity_check WHERE"
				 " integrity_check = 'ok'"),
		1);
	return version;
}

static bool migrate(const struct place *place, struct error *err)
{
	struct backend *backend = store_sqlite.open(place->path, true, err);

	store_sqlite.close(backend);
	return backend != NULL;
}

static void test_migrates_in_place(void **state)
{
	const struct place *place = *state;
	struct error err = {0};

	make_version_1(place);
	if (!migrate(place, &err))
		fail_msg("%s", err.text);
	assert_int_equal(check_whole(place), 2);
	if (!migrate(place, &err)) /* and once only */
		fail_msg("%s", err.text);
	assert_int_equal(check_whole(place), 2);
}

static void test_one_that_fails_leaves_the_old(void **state)
{
	const struct place *place = *state;
	struct error err = {0};

	make_version_1(place);
	run_sql(place, "UPDATE event SET id = -1 WHERE id = 2000"); /* the CHECK refuses it */
	assert_false(migrate(place, &err));
	assert_non_null(strstr(err.text, "making schema 2"));
	assert_non_null(strstr(err.text, place->path));
	assert_int_equal(check_whole(place), 1);
	run_sql(place, "UPDATE event SET id = 2000 WHERE id = -1");
	assert_true(migrate(place, &(struct error){0}));
	assert_int_equal(check_whole(place), 2);
}

/* Killed a little later each time, until it is done before. */
static void test_one_that_is_killed_leaves_the_old_or_the_new(void **state)
{
	const struct place *place = *state;
	int killed = 0;
	bool is_done = false;

	for (int64_t delay_us = 0; !is_done; delay_us = delay_us + 400 + delay_us / 10) {
		make_version_1(place);
		const pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0)
			_exit(migrate(place, NULL) ? 0 : 1);
		const struct timespec delay = {.tv_sec = (time_t)(delay_us / 1000000),
			.tv_nsec = (long)(delay_us % 1000000) * 1000};
		(void)nanosleep(&delay, NULL);
		(void)kill(child, SIGKILL);
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		is_done = WIFEXITED(status);
		if (is_done)
			assert_int_equal(WEXITSTATUS(status), 0);
		killed += !is_done;
		const int64_t version = check_whole(place);
		assert_true(!is_done || version == 2);
		assert_true(migrate(place, &(struct error){0}));
		assert_int_equal(check_whole(place), 2);
	}
	assert_true(killed >= 5);
}

int main(void)
{
	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_migrates_in_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_one_that_fails_leaves_the_old, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_one_that_is_killed_leaves_the_old_or_the_new, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
