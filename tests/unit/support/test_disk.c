/* What the power-cut tests prove is worth what their disk is worth: each statement of disk.h. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/disk.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define SECTORS 8
#define PATH "/a/file"
#define FLAGS (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB)

static sqlite3_file *open_file(const char *path)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	sqlite3_file *file = calloc(1, (size_t)vfs->szOsFile);
	int flags;

	assert_non_null(file);
	assert_int_equal(vfs->xOpen(vfs, path, file, FLAGS, &flags), SQLITE_OK);
	return file;
}

static void close_file(sqlite3_file *file)
{
	assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
	free(file);
}

/* SECTORS sectors full of one letter at a sector's offset. */
static int write_letters(sqlite3_file *file, char letter, int at_sector)
{
	char data[SECTOR * SECTORS];

	memset(data, letter, sizeof(data));
	return file->pMethods->xWrite(file, data, (int)sizeof(data), at_sector * SECTOR);
}

static int sync_file(sqlite3_file *file)
{
	return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

/* One letter a sector; a sector of several letters is an assertion. */
static const char *letters(sqlite3_file *file)
{
	static char text[64];
	sqlite3_int64 len;
	size_t count = 0;

	assert_int_equal(file->pMethods->xFileSize(file, &len), SQLITE_OK);
	for (sqlite3_int64 at = 0; at < len; at += SECTOR) {
		char sector[SECTOR];

		assert_int_equal(file->pMethods->xRead(file, sector, SECTOR, at), SQLITE_OK);
		for (int i = 1; i < SECTOR; i++)
			assert_int_equal(sector[i], sector[0]);
		text[count++] = sector[0] == '\0' ? '-' : sector[0];
	}
	text[count] = '\0';
	return text;
}

/* Cuts the power, switches it on, and opens the file anew. */
static sqlite3_file *cut_and_open(struct disk *disk, sqlite3_file *file)
{
	disk_cut(disk);
	close_file(file);
	disk_power_on(disk);
	return open_file(PATH);
}

static void test_synced_writes_survive(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct disk *disk = disk_create(seed);

		disk_mount(disk);
		sqlite3_file *file = open_file(PATH);
		assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		file = cut_and_open(disk, file);
		assert_string_equal(letters(file), "aaaaaaaa");
		close_file(file);
		disk_destroy(disk);
	}
}

static void test_unsynced_writes_are_kept_lost_or_torn(void **state)
{
	unsigned kept = 0;
	unsigned lost = 0;
	unsigned torn = 0;
	unsigned out_of_order = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct disk *disk = disk_create(seed);

		disk_mount(disk);
		sqlite3_file *file = open_file(PATH);
		assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
		assert_int_equal(write_letters(file, 'a', SECTORS), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
		assert_int_equal(write_letters(file, 'c', SECTORS), SQLITE_OK);
		assert_string_equal(letters(file), "bbbbbbbbcccccccc");
		file = cut_and_open(disk, file);

		const char *left = letters(file);
		const bool is_first_kept = strncmp(left, "bbbbbbbb", SECTORS) == 0;
		const bool is_first_lost = strncmp(left, "aaaaaaaa", SECTORS) == 0;
		assert_int_equal(strlen(left), 2 * SECTORS);
		assert_int_equal(strspn(left, "ab") >= SECTORS, true);
		assert_int_equal(strspn(left + SECTORS, "ac"), SECTORS);
		kept += is_first_kept;
		lost += is_first_lost;
		torn += !is_first_kept && !is_first_lost;
		out_of_order += is_first_lost && strcmp(left + SECTORS, "cccccccc") == 0;
		close_file(file);
		disk_destroy(disk);
	}
	assert_true(kept > 20 && lost > 20 && torn > 20 && out_of_order > 5);
}

/* What is written beyond the end, with the write before it lost, leaves zeros. */
static void test_a_lost_truncation_or_extension(void **state)
{
	bool was_short = false;
	bool was_long = false;
	bool has_hole = false;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct disk *disk = disk_create(seed);

		disk_mount(disk);
		sqlite3_file *file = open_file(PATH);
		assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		assert_int_equal(file->pMethods->xTruncate(file, 2 * SECTOR), SQLITE_OK);
		assert_string_equal(letters(file), "aa");
		file = cut_and_open(disk, file);
		was_short |= strcmp(letters(file), "aa") == 0;
		was_long |= strcmp(letters(file), "aaaaaaaa") == 0;

		assert_int_equal(file->pMethods->xTruncate(file, 0), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
		assert_int_equal(write_letters(file, 'c', SECTORS), SQLITE_OK);
		file = cut_and_open(disk, file);
		has_hole |= strcmp(letters(file), "--------cccccccc") == 0;
		close_file(file);
		disk_destroy(disk);
	}
	assert_true(was_short && was_long && has_hole);
}

static void test_a_failed_sync_cleans_for_good(void **state)
{
	unsigned lost = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct disk *disk = disk_create(seed);

		disk_mount(disk);
		sqlite3_file *file = open_file(PATH);
		assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
		disk_fail_at(disk, DISK_WRITES, DISK_IO_ERROR, 1);
		assert_int_equal(sync_file(file), SQLITE_IOERR_FSYNC);
		assert_string_equal(letters(file), "bbbbbbbb");
		/* The next one has nothing to do, and says so. */
		assert_int_equal(sync_file(file), SQLITE_OK);
		file = cut_and_open(disk, file);
		lost += strcmp(letters(file), "aaaaaaaa") == 0;

		/* Written again it is there. */
		assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
		assert_int_equal(sync_file(file), SQLITE_OK);
		file = cut_and_open(disk, file);
		assert_string_equal(letters(file), "bbbbbbbb");
		close_file(file);
		disk_destroy(disk);
	}
	assert_true(lost > 5);
}

static void test_creation_and_deletion_are_at_once(void **state)
{
	struct disk *disk = disk_create(1);
	int is_there;

	(void)state;
	disk_mount(disk);
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	close_file(open_file("/a/one"));
	close_file(open_file("/a/two"));
	assert_int_equal(vfs->xDelete(vfs, "/a/one", 0), SQLITE_OK);
	assert_int_equal(vfs->xDelete(vfs, "/a/one", 0), SQLITE_IOERR_DELETE_NOENT);
	disk_cut(disk);
	disk_power_on(disk);
	assert_int_equal(vfs->xAccess(vfs, "/a/one", SQLITE_ACCESS_READWRITE, &is_there), 0);
	assert_false(is_there);
	assert_int_equal(vfs->xAccess(vfs, "/a/two", SQLITE_ACCESS_READWRITE, &is_there), 0);
	assert_true(is_there);
	/* As with os_unix.c an empty one doesn't exist. */
	assert_int_equal(vfs->xAccess(vfs, "/a/two", SQLITE_ACCESS_EXISTS, &is_there), 0);
	assert_false(is_there);
	disk_destroy(disk);
}

static void test_handles_from_before_a_cut_are_dead(void **state)
{
	struct disk *disk = disk_create(1);
	char byte;

	(void)state;
	disk_mount(disk);
	sqlite3_file *old = open_file(PATH);
	assert_int_equal(write_letters(old, 'a', 0), SQLITE_OK);
	assert_int_equal(old->pMethods->xLock(old, SQLITE_LOCK_SHARED), SQLITE_OK);
	assert_int_equal(old->pMethods->xLock(old, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
	disk_cut(disk);
	assert_true(disk_is_off(disk));
	assert_int_equal(sync_file(old), SQLITE_IOERR_FSYNC);
	disk_power_on(disk);
	assert_false(disk_is_off(disk));

	const int64_t before = disk_operations(disk, DISK_WRITES);
	assert_int_equal(old->pMethods->xRead(old, &byte, 1, 0), SQLITE_IOERR_READ);
	assert_int_equal(write_letters(old, 'b', 0), SQLITE_IOERR_WRITE);
	assert_int_equal(sync_file(old), SQLITE_IOERR_FSYNC);
	assert_int_equal(disk_operations(disk, DISK_WRITES), before);

	/* Its lock went with the power. */
	sqlite3_file *new = open_file(PATH);
	assert_int_equal(disk_open_files(disk), 2);
	assert_int_equal(new->pMethods->xLock(new, SQLITE_LOCK_SHARED), SQLITE_OK);
	assert_int_equal(new->pMethods->xLock(new, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
	close_file(old);
	close_file(new);
	assert_int_equal(disk_open_files(disk), 0);
	disk_destroy(disk);
}

static void test_one_operation_fails(void **state)
{
	struct disk *disk = disk_create(7);
	sqlite3_int64 len;

	(void)state;
	disk_mount(disk);
	sqlite3_file *file = open_file(PATH);
	assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
	disk_fail_at(disk, DISK_WRITES, DISK_IO_ERROR, 2);
	assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
	assert_int_equal(write_letters(file, 'c', 0), SQLITE_IOERR_WRITE);
	assert_string_equal(letters(file), "bbbbbbbb");
	assert_int_equal(write_letters(file, 'd', 0), SQLITE_OK);

	disk_fail_at(disk, DISK_WRITES, DISK_FULL, 1);
	assert_int_equal(write_letters(file, 'e', 0), SQLITE_FULL);
	assert_string_equal(letters(file), "dddddddd");

	disk_fail_at(disk, DISK_WRITES, DISK_TORN, 1);
	assert_int_equal(write_letters(file, 'e', 0), SQLITE_IOERR_WRITE);
	assert_int_equal(strspn(letters(file), "de"), SECTORS);
	assert_non_null(strchr(letters(file), 'd'));
	assert_non_null(strchr(letters(file), 'e'));

	disk_fail_at(disk, DISK_READS, DISK_IO_ERROR, 1);
	assert_int_equal(file->pMethods->xFileSize(file, &len), SQLITE_IOERR_FSTAT);
	assert_int_equal(file->pMethods->xFileSize(file, &len), SQLITE_OK);

	/* Called off. */
	disk_fail_at(disk, DISK_WRITES, DISK_IO_ERROR, 1);
	disk_fail_at(disk, DISK_WRITES, DISK_IO_ERROR, 0);
	assert_int_equal(write_letters(file, 'f', 0), SQLITE_OK);

	disk_fail_at(disk, DISK_WRITES, DISK_POWER, 1);
	assert_int_equal(sync_file(file), SQLITE_IOERR_FSYNC);
	assert_true(disk_is_off(disk));
	close_file(file);
	disk_destroy(disk);
}

static void test_lasting_faults(void **state)
{
	struct disk *disk = disk_create(1);

	(void)state;
	disk_mount(disk);
	sqlite3_file *file = open_file(PATH);
	assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
	disk_set_full(disk, true);
	assert_int_equal(write_letters(file, 'b', 1), SQLITE_FULL);
	assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
	assert_int_equal(sync_file(file), SQLITE_OK);
	disk_set_full(disk, false);
	assert_int_equal(write_letters(file, 'b', 1), SQLITE_OK);
	disk_set_broken(disk, true);
	assert_int_equal(write_letters(file, 'c', 0), SQLITE_IOERR_WRITE);
	assert_int_equal(sync_file(file), SQLITE_IOERR_FSYNC);
	assert_string_equal(letters(file), "bbbbbbbbb");
	disk_set_broken(disk, false);
	assert_int_equal(write_letters(file, 'c', 0), SQLITE_OK);
	assert_int_equal(disk_bytes(disk), (SECTORS + 1) * SECTOR);
	close_file(file);
	disk_destroy(disk);
}

static void note_operation(void *context, const char *operation, const char *path)
{
	char *text = context;

	(void)snprintf(text + strlen(text), 200 - strlen(text), "%s %s;", operation, path);
}

static void test_watching(void **state)
{
	struct disk *disk = disk_create(1);
	char seen[200] = "";

	(void)state;
	disk_mount(disk);
	disk_watch(disk, note_operation, seen);
	sqlite3_file *file = open_file(PATH);
	assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
	assert_int_equal(sync_file(file), SQLITE_OK);
	assert_string_equal(seen, "write /a/file;sync /a/file;");
	disk_watch(disk, NULL, NULL);
	assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
	assert_string_equal(seen, "write /a/file;sync /a/file;");
	assert_int_equal(disk_operations(disk, DISK_WRITES), 3);
	close_file(file);
	disk_destroy(disk);
}

static void test_a_copy_has_it_all_and_lives_alone(void **state)
{
	struct disk *disk = disk_create(1);

	(void)state;
	disk_mount(disk);
	sqlite3_file *file = open_file(PATH);
	assert_int_equal(write_letters(file, 'a', 0), SQLITE_OK);
	disk_set_full(disk, true);
	struct disk *copy = disk_copy(disk, 2);
	assert_int_equal(write_letters(file, 'b', 0), SQLITE_OK);
	close_file(file);
	disk_unmount(disk);

	disk_mount(copy);
	disk_cut(copy);
	disk_power_on(copy);
	file = open_file(PATH);
	assert_string_equal(letters(file), "aaaaaaaa");
	assert_int_equal(write_letters(file, 'c', SECTORS), SQLITE_OK);
	close_file(file);
	disk_destroy(copy);
	disk_destroy(disk);
}

static void test_unmounting_gives_the_old_default_back(void **state)
{
	sqlite3_vfs *before = sqlite3_vfs_find(NULL);
	struct disk *disk = disk_create(1);

	(void)state;
	disk_mount(disk);
	assert_ptr_not_equal(sqlite3_vfs_find(NULL), before);
	disk_unmount(disk);
	assert_ptr_equal(sqlite3_vfs_find(NULL), before);
	disk_mount(disk);
	disk_destroy(disk);
	assert_ptr_equal(sqlite3_vfs_find(NULL), before);
	disk_destroy(NULL);
}

/* ---- with SQLite on it ---- */

static int query(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement;
	int result = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(statement) == SQLITE_ROW)
		result = sqlite3_column_int(statement, 0);
	(void)sqlite3_finalize(statement);
	return result;
}

static sqlite3 *open_db(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open("/a/db", &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
				 "PRAGMA wal_autocheckpoint = 0",
				 NULL, NULL, NULL),
		SQLITE_OK);
	return db;
}

static void test_two_connections_share_a_log(void **state)
{
	struct disk *disk = disk_create(1);

	(void)state;
	disk_mount(disk);
	sqlite3 *writer = open_db();
	sqlite3 *reader = open_db();
	assert_int_equal(sqlite3_exec(writer, "CREATE TABLE t (n); INSERT INTO t VALUES (1)", NULL,
				 NULL, NULL),
		SQLITE_OK);
	assert_int_equal(query(reader, "SELECT count(*) FROM t"), 1);

	/* A reader's snapshot stays; two writers exclude each other. */
	assert_int_equal(sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(query(reader, "SELECT count(*) FROM t"), 1);
	assert_int_equal(
		sqlite3_exec(writer, "INSERT INTO t VALUES (2)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(query(reader, "SELECT count(*) FROM t"), 1);
	assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(query(reader, "SELECT count(*) FROM t"), 2);
	assert_int_equal(sqlite3_exec(writer, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_BUSY);
	assert_int_equal(sqlite3_exec(writer, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(reader), SQLITE_OK);
	assert_int_equal(sqlite3_close(writer), SQLITE_OK);
	/* The last one to close folds the log up. */
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	int is_there;
	assert_int_equal(vfs->xAccess(vfs, "/a/db-wal", SQLITE_ACCESS_READWRITE, &is_there), 0);
	assert_false(is_there);
	disk_destroy(disk);
}

/* Commits until the cut; returns how many were confirmed. */
static int commit_until_cut(sqlite3 *db)
{
	int confirmed = 0;

	while (confirmed < 200 &&
		sqlite3_exec(db, "INSERT INTO t VALUES (randomblob(700))", NULL, NULL, NULL) ==
			SQLITE_OK)
		confirmed++;
	return confirmed;
}

/* Returns how many rows are there after a cut at the nth write, -1 when one is missing. */
static int rows_after_cut(uint64_t seed, int64_t nth, bool is_synced)
{
	struct disk *disk = disk_create(seed);

	disk_mount(disk);
	sqlite3 *db = open_db();
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (b)", NULL, NULL, NULL), SQLITE_OK);
	if (!is_synced)
		assert_int_equal(
			sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL), SQLITE_OK);
	disk_fail_at(disk, DISK_WRITES, DISK_POWER, nth);
	const int confirmed = commit_until_cut(db);
	assert_true(disk_is_off(disk));
	(void)sqlite3_close(db);
	disk_power_on(disk);
	db = open_db();
	int rows = query(db, "SELECT count(*) FROM t");
	if (rows < confirmed || rows > confirmed + 1)
		rows = -1;
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	disk_destroy(disk);
	return rows;
}

/* The disk must hurt whoever doesn't sync, and must not hurt who does. */
static void test_syncing_is_what_saves(void **state)
{
	unsigned losses = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		for (int64_t nth = 1; nth <= 20; nth++) {
			assert_int_not_equal(rows_after_cut(seed, nth, true), -1);
			losses += rows_after_cut(seed, nth, false) == -1;
		}
	}
	assert_true(losses > 100);
}

static void test_a_seed_repeats(void **state)
{
	sqlite3_int64 numbers[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct disk *disk = disk_create(42);

		disk_mount(disk);
		sqlite3_randomness((int)sizeof(numbers[i]), &numbers[i]);
		disk_destroy(disk);
	}
	assert_int_equal(numbers[0], numbers[1]);
	assert_int_equal(rows_after_cut(42, 9, true), rows_after_cut(42, 9, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synced_writes_survive),
		cmocka_unit_test(test_unsynced_writes_are_kept_lost_or_torn),
		cmocka_unit_test(test_a_lost_truncation_or_extension),
		cmocka_unit_test(test_a_failed_sync_cleans_for_good),
		cmocka_unit_test(test_creation_and_deletion_are_at_once),
		cmocka_unit_test(test_handles_from_before_a_cut_are_dead),
		cmocka_unit_test(test_one_operation_fails),
		cmocka_unit_test(test_lasting_faults),
		cmocka_unit_test(test_watching),
		cmocka_unit_test(test_a_copy_has_it_all_and_lives_alone),
		cmocka_unit_test(test_unmounting_gives_the_old_default_back),
		cmocka_unit_test(test_two_connections_share_a_log),
		cmocka_unit_test(test_syncing_is_what_saves),
		cmocka_unit_test(test_a_seed_repeats),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
