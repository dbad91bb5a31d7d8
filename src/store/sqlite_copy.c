/*
 * A copy of the database while it is written to, for whoever takes its pages.
 *
 * A reading handle holds one state of the database (a read transaction) while SQLite's backup
 * interface copies it, a few pages a step, into a second database. That one lives in a VFS of our
 * own which keeps nothing: what is written goes straight to the sink. So the copy needs no room on
 * the daemon's disk and no path, and the service may go on being unable to write anywhere but into
 * its own folder.
 *
 * Writers don't wait for readers in WAL mode. What a long reader costs is the log: it can't be
 * begun anew while the copy runs, so it grows by all that is written meanwhile. The sink says by
 * how much; beyond that the copy is given up, not the disk. (The log is cut to its usual length
 * once it is begun anew, see journal_size_limit.)
 *
 * The VFS: one file, written and hardly read. Without a journal SQLite never reads back what it
 * wrote but for the first page, which its cache keeps.
 */

#include "schema.h"
#include "sqlite_private.h"

#include "base/error.h"
#include "store/copy.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STEP_PAGES 64
#define CHECK_STEPS 100000 /* of SQLite's machine, between two looks whether it is still wanted */

struct copy {
	const struct copy_sink *sink;
	struct error *err;
	int64_t size;
	bool has_failed;
	sqlite3_vfs vfs;
	char name[48];
};

/* The file: SQLite allocates it, and it begins with SQLite's part. */
struct copy_file {
	sqlite3_file base;
	struct copy *copy;
};

/* ---- the file ---- */

static struct copy *copy_of(sqlite3_file *file)
{
	return ((struct copy_file *)file)->copy;
}

static int file_close(sqlite3_file *file)
{
	(void)file;
	return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *data, int len, sqlite3_int64 offset)
{
	if (offset < copy_of(file)->size)
		return SQLITE_IOERR_READ; /* it is gone; see the top */
	memset(data, 0, (size_t)len);
	return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
	struct copy *copy = copy_of(file);

	if (copy->has_failed ||
		!copy->sink->write(copy->sink->context, offset, data, (size_t)len, copy->err)) {
		copy->has_failed = true;
		return SQLITE_IOERR_WRITE;
	}
	if (offset + len > copy->size)
		copy->size = offset + len;
	return SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	copy_of(file)->size = size; /* a new file is never made shorter than it was written */
	return SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
	(void)file;
	(void)flags;
	return SQLITE_OK; /* who has the pages syncs them */
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	*ret = copy_of(file)->size;
	return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
	(void)file;
	(void)level;
	return SQLITE_OK; /* nobody else can see it */
}

static int file_is_reserved(sqlite3_file *file, int *ret)
{
	(void)file;
	*ret = 0;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int operation, void *argument)
{
	(void)file;
	(void)operation;
	(void)argument;
	return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
	(void)file;
	return 4096;
}

static int file_characteristics(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods FILE_METHODS = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_is_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector_size,
	.xDeviceCharacteristics = file_characteristics,
};

/* ---- the VFS ---- */

static int vfs_open(
	sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	struct copy_file *copy_file = (struct copy_file *)file;

	(void)name;
	copy_file->base.pMethods = NULL;
	if ((flags & SQLITE_OPEN_MAIN_DB) == 0)
		return SQLITE_CANTOPEN; /* nothing but the copy itself */
	copy_file->base.pMethods = &FILE_METHODS;
	copy_file->copy = vfs->pAppData;
	if (ret_flags != NULL)
		*ret_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	(void)vfs;
	(void)name;
	(void)sync_folder;
	return SQLITE_IOERR_DELETE_NOENT;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	(void)vfs;
	(void)name;
	(void)flags;
	*ret = 0;
	return SQLITE_OK;
}

static int vfs_full_name(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	(void)vfs;
	(void)snprintf(ret, (size_t)size, "%s", name);
	return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *ret)
{
	(void)vfs;
	memset(ret, 0, (size_t)len);
	return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs;
	return microseconds;
}

static int vfs_time(sqlite3_vfs *vfs, double *ret)
{
	(void)vfs;
	*ret = 2440587.5; /* 1970; nobody asks */
	return SQLITE_OK;
}

static void copy_init(struct copy *copy, const struct copy_sink *sink, struct error *err)
{
	*copy = (struct copy){.sink = sink, .err = err};
	(void)snprintf(copy->name, sizeof(copy->name), "subrelay-copy-%p", (void *)copy);
	copy->vfs = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = sizeof(struct copy_file),
		.mxPathname = 64,
		.zName = copy->name,
		.pAppData = copy,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_name,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
	};
}

/* ---- copying ---- */

static int64_t log_bytes(struct backend *backend)
{
	struct stat status;
	const char *path = sqlite3_filename_wal(sqlite3_db_filename(backend->db, "main"));

	return path != NULL && stat(path, &status) == 0 ? status.st_size : 0;
}

static bool step_all(struct backend *backend, struct copy *copy, sqlite3_backup *backup)
{
	const int64_t log_before = log_bytes(backend);
	bool has_begun = false;
	int code;

	do {
		/* The first one only counts. */
		code = sqlite3_backup_step(backup, has_begun ? STEP_PAGES : 0);
		if (!has_begun) {
			const int64_t bytes = (int64_t)sqlite3_backup_pagecount(backup) *
				sqlite_page_size(backend);

			if (!copy->sink->begin(copy->sink->context, bytes, copy->err))
				return false;
			has_begun = true;
		}
		if (code == SQLITE_OK &&
			log_bytes(backend) - log_before > copy->sink->log_growth_max)
			return error_set(copy->err,
				"the copy is made too slowly for all that is written meanwhile: "
				"the database's log has grown by %lld MiB",
				(long long)(copy->sink->log_growth_max >> 20));
	} while (code == SQLITE_OK);
	return code == SQLITE_DONE ||
		error_set(copy->err, "copying the store: %s", sqlite3_errstr(code));
}

static bool copy_into(struct backend *backend, struct copy *copy, sqlite3 *target)
{
	/* Pages are passed on as soon as there are some; the journal would be of no use. */
	if (sqlite3_exec(target,
		    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = 64",
		    NULL, NULL, NULL) != SQLITE_OK)
		return error_set(copy->err, "copying the store: %s", sqlite3_errmsg(target));
	sqlite3_backup *backup = sqlite3_backup_init(target, "main", backend->db, "main");
	if (backup == NULL)
		return error_set(copy->err, "copying the store: %s", sqlite3_errmsg(target));
	const bool is_good = step_all(backend, copy, backup);
	return sqlite3_backup_finish(backup) == SQLITE_OK && is_good;
}

bool sqlite_copy(struct backend *backend, const struct copy_sink *sink, struct error *err)
{
	struct copy copy;
	struct totals totals;
	sqlite3 *target = NULL;
	bool done = false;

	copy_init(&copy, sink, err);
	if (sqlite3_vfs_register(&copy.vfs, 0) != SQLITE_OK)
		return error_set(err, "copying the store: out of memory");
	/* From the first read to the end it is one state of the store. */
	if (sqlite3_exec(backend->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK) {
		(void)sqlite_fail(backend, "copying the store", err);
		goto out;
	}
	if (!sqlite_totals_load(backend, &totals, err))
		goto out;
	if (sqlite3_open_v2("copy", &target,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    copy.name) != SQLITE_OK)
		(void)error_set(err, "copying the store: out of memory");
	else
		done = copy_into(backend, &copy, target);
out:
	(void)sqlite3_close(target);
	if (sqlite3_get_autocommit(backend->db) == 0) /* it only read */
		(void)sqlite3_exec(backend->db, "ROLLBACK", NULL, NULL, NULL);
	(void)sqlite3_vfs_unregister(&copy.vfs);
	return done;
}

/* ---- checking ---- */

struct checking {
	bool (*is_wanted)(void *context);
	void *context;
};

static int ask_whether_wanted(void *context)
{
	const struct checking *checking = context;
	return !checking->is_wanted(checking->context);
}

static bool read_report(sqlite3 *db, struct copy_report *ret, struct error *err)
{
	sqlite3_stmt *statement = NULL;
	bool done = false;

	if (sqlite3_prepare_v2(db,
		    "SELECT (SELECT integrity_check FROM pragma_integrity_check LIMIT 1),"
		    " (SELECT user_version FROM pragma_user_version),"
		    " (SELECT count(*) FROM event), waiting, parked FROM totals",
		    -1, &statement, NULL) != SQLITE_OK ||
		sqlite3_step(statement) != SQLITE_ROW) {
		(void)error_set(err, "%s", sqlite3_errmsg(db));
	} else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0) {
		(void)error_set(
			err, "it is damaged: %s", (const char *)sqlite3_column_text(statement, 0));
	} else {
		*ret = (struct copy_report){
			.schema = sqlite3_column_int64(statement, 1),
			.events = sqlite3_column_int64(statement, 2),
			.waiting = sqlite3_column_int64(statement, 3),
			.parked = sqlite3_column_int64(statement, 4),
		};
		done = true;
	}
	(void)sqlite3_finalize(statement);
	return done;
}

bool copy_check(const char *path, bool (*is_wanted)(void *context), void *context,
	struct copy_report *ret, struct error *err)
{
	struct checking checking = {.is_wanted = is_wanted, .context = context};

	if (!sqlite_look(path, err))
		return false;
	sqlite3 *db = sqlite_open_immutable(path, err);
	if (db == NULL)
		return false;
	sqlite3_progress_handler(db, CHECK_STEPS, ask_whether_wanted, &checking);
	const bool is_good = read_report(db, ret, err);
	(void)sqlite3_close(db);
	return is_good;
}
