/*
 * A start on a disk that fails: it may be in vain, and must leave everything as it was.
 */

#include "support/disk.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_MS (24 * 3600 * 1000LL)

static char folder[64];
static char path[80];
static struct clock_fake fake_clock;

static struct store *open_store(struct error *err)
{
	return store_open(&(struct store_options){.backend = &store_sqlite,
				  .path = path,
				  .clock = &fake_clock.clock,
				  .keep_delivered_ms = 30 * DAY_MS,
				  .keep_parked_ms = 30 * DAY_MS},
		err);
}

/* A store in which something was counted. */
static struct disk *prepared_disk(void)
{
	struct disk *disk = disk_create(1);
	struct totals totals = {.received = 7, .accepted = 7, .delivered = 7, .last_event_id = 7};
	struct error err = {0};

	disk_mount(disk);
	struct backend *backend = store_sqlite.open(path, true, &err);
	assert_non_null(backend);
	assert_true(store_sqlite.begin(backend, &err));
	assert_true(store_sqlite.totals_save(backend, &totals, &err));
	assert_true(store_sqlite.commit(backend, &err));
	store_sqlite.close(backend);
	disk_unmount(disk);
	return disk;
}

static void a_start_that_fails_to_read_changes_nothing(void **state)
{
	struct disk *prepared = prepared_disk();
	bool has_failed = true;
	int starts_failed = 0;

	(void)state;
	for (int64_t nth = 1; has_failed; nth++) {
		struct disk *disk = disk_copy(prepared, (uint64_t)nth);
		struct totals totals;
		struct error err = {0};

		disk_mount(disk);
		const int64_t before = disk_operations(disk, DISK_READS);
		disk_fail_at(disk, DISK_READS, DISK_IO_ERROR, nth);
		struct store *store = open_store(&err);
		has_failed = disk_operations(disk, DISK_READS) - before >= nth;
		starts_failed += store == NULL;
		store_close(store);
		disk_fail_at(disk, DISK_READS, DISK_IO_ERROR, 0);
		error_clear(&err);
		store = open_store(&err);
		assert_non_null(store);
		store_totals(store, &totals);
		assert_int_equal(totals.received, 7);
		assert_int_equal(totals.last_event_id, 7);
		store_close(store);
		disk_destroy(disk);
	}
	assert_true(starts_failed > 0);
	disk_destroy(prepared);
}

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "%s/subrelay-start-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/relay.db", folder);
	clock_fake_init(&fake_clock, 1700000000000);
	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	return 0;
}

static int remove_folder(void **state)
{
	char lock[96];

	(void)state;
	(void)snprintf(lock, sizeof(lock), "%s-lock", path);
	(void)unlink(lock);
	(void)unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_start_that_fails_to_read_changes_nothing),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
