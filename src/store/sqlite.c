/*
 * SQLite: the handle's life, its transactions, its statements.
 *
 * WAL with synchronous=FULL: a commit is an fsync of the log, so what was committed survives a
 * power cut. Checkpoints are not left to the commit that happens to cross a threshold (it would
 * wait 10 ms and more): tidy runs one after the acknowledgements are out, when the writer is idle
 * and the log has grown, and in any case before it grows large.
 *
 * A lock file beside the database keeps a second daemon off it: two would deliver everything twice.
 */

#include "schema.h"
#include "sqlite_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 8192
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define WAL_PAGES_IDLE 500
#define WAL_PAGES_MAX 1000
/* 256 MiB: longer than it ever gets by itself. */
#define WAL_PAGES_LONG 32768
/* How long a commit waits for somebody else's lock (an operator's sqlite3 shell) before it gives
 * up. */
#define LOCK_WAIT_MS 1000

#define JOB_COLUMNS                                                                             \
	"destination_id, event_id, contact_id, at_ms, rank, received_at_ms, touches, is_main, " \
	"name,"                                                                                 \
	" created_at, metadata"
#define EVENT_COLUMNS "id, source, event_id, type, customer, at_ms, received_at_ms, ignored"

static const char *const SQL_TEXTS[SQL_COUNT] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_TOTALS_LOAD] =
		"SELECT received, accepted, duplicate, ignored, delivered, parked, waiting,"
		" last_event_id FROM totals WHERE id = 1",
	[SQL_TOTALS_SAVE] =
		"UPDATE totals SET received = ?, accepted = ?, duplicate = ?, ignored = ?,"
		" delivered = ?, parked = ?, waiting = ?, last_event_id = ? WHERE id = 1",
	[SQL_DESTINATION_GET] = "SELECT id FROM destination WHERE name = ?",
	[SQL_DESTINATION_ADD] = "INSERT INTO destination (name) VALUES (?)",
	[SQL_DESTINATIONS] = "SELECT id, name FROM destination ORDER BY id",
	[SQL_EVENT_FIND] = "SELECT id FROM event WHERE hash = ? AND event_id = ? AND source = ?",
	[SQL_EVENT_ADD] = "INSERT INTO event (" EVENT_COLUMNS ", hash, body)"
			  " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_EVENT_IGNORE] = "UPDATE event SET ignored = ? WHERE id = ?",
	[SQL_EVENT_GET] = "SELECT " EVENT_COLUMNS ", body FROM event WHERE id = ?",
	[SQL_EVENT_GET_BY_EVENT_ID] =
		"SELECT " EVENT_COLUMNS ", body FROM event WHERE hash = ? AND event_id = ? LIMIT 1",
	[SQL_CUSTOMER_GET] = "SELECT id, has_links, destination, identity, is_email FROM customer"
			     " WHERE hash = ? AND key = ? AND scope = ?",
	/* In the words of the index, so that it is used. */
	[SQL_CUSTOMER_KEYS] = "SELECT key FROM customer WHERE identity = ?1 AND identity <> key"
			      " AND scope = ?2 AND destination = ?3 AND is_email = ?4"
			      " ORDER BY id DESC LIMIT ?5",
	[SQL_CUSTOMER_ADD] =
		"INSERT INTO customer (scope, key, hash, destination, identity, is_email)"
		" VALUES (?, ?, ?, ?, ?, ?)",
	[SQL_CUSTOMER_UPDATE] =
		"UPDATE customer SET destination = ?, identity = ?, is_email = ? WHERE id = ?",
	[SQL_CUSTOMER_HAS_LINKS] = "UPDATE customer SET has_links = 1 WHERE id = ?",
	[SQL_RECORDS] = "SELECT at_ms, rank, id, subject, data FROM record WHERE customer_id = ?"
			" ORDER BY at_ms, rank, id",
	[SQL_RECORD_ADD] =
		"INSERT OR REPLACE INTO record (customer_id, at_ms, rank, id, subject, data)"
		" VALUES (?, ?, ?, ?, ?, ?)",
	[SQL_RECORD_DROP] =
		"DELETE FROM record WHERE customer_id = ? AND at_ms = ? AND rank = ? AND id = ?",
	[SQL_LINKS_OUT] =
		"SELECT l.at_ms, l.id, c.key FROM link l JOIN customer c ON c.id = l.to_id"
		" WHERE l.from_id = ? ORDER BY l.at_ms, c.key",
	[SQL_LINKS_IN] =
		"SELECT l.at_ms, l.id, c.key FROM link l JOIN customer c ON c.id = l.from_id"
		" WHERE l.to_id = ? ORDER BY l.at_ms, c.key",
	[SQL_LINK_ADD] =
		"INSERT OR IGNORE INTO link (from_id, to_id, at_ms, id) VALUES (?, ?, ?, ?)",
	[SQL_CONTACT_FIND] = "SELECT id, intercom_id, wanted, sent FROM contact WHERE hash = ?"
			     " AND identity = ? AND destination_id = ? AND is_email = ?",
	[SQL_CONTACT_GET] = "SELECT destination_id, is_email, identity, intercom_id, wanted, sent"
			    " FROM contact WHERE id = ?",
	[SQL_CONTACT_ADD] = "INSERT INTO contact (destination_id, is_email, identity, hash, wanted)"
			    " VALUES (?, ?, ?, ?, ?)",
	[SQL_CONTACT_UPDATE] = "UPDATE contact SET wanted = ? WHERE id = ?",
	[SQL_CONTACT_LEARN] = "UPDATE contact SET intercom_id = ?, sent = ? WHERE id = ?",
	[SQL_JOB_ADD] = "INSERT OR REPLACE INTO job (" JOB_COLUMNS ")"
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_JOB_REMOVE] =
		"DELETE FROM job WHERE destination_id = ? AND event_id = ? AND contact_id = ?",
	[SQL_JOB_PARK] =
		"INSERT OR REPLACE INTO parked (" JOB_COLUMNS ", parked_at_ms, reason, request_id)"
		" SELECT " JOB_COLUMNS ", ?, ?, ? FROM job"
		" WHERE destination_id = ? AND event_id = ? AND contact_id = ?",
	[SQL_UNPARK_ONE] = "INSERT OR REPLACE INTO job (" JOB_COLUMNS ") SELECT " JOB_COLUMNS
			   " FROM parked WHERE event_id = ?",
	[SQL_UNPARK_ONE_DELETE] = "DELETE FROM parked WHERE event_id = ?",
	[SQL_UNPARK_ALL] =
		"INSERT OR REPLACE INTO job (" JOB_COLUMNS ") SELECT " JOB_COLUMNS " FROM parked",
	[SQL_UNPARK_ALL_DELETE] = "DELETE FROM parked",
	[SQL_ATTEMPT_ADD] =
		"INSERT OR REPLACE INTO attempt (event_id, at_ms, serial, contact_id, call,"
		" status, verdict, request_id, reason, elapsed_ms)"
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[SQL_PURGE_PARKED_SCAN] = "SELECT event_id, contact_id, parked_at_ms < ?4 FROM parked"
				  " WHERE (event_id, contact_id) > (?1, ?2)"
				  " ORDER BY event_id, contact_id LIMIT ?3",
	[SQL_PURGE_PARKED_NOTE] =
		"UPDATE event SET ignored = 'parked, and forgotten after keep_parked' WHERE id = ?",
	[SQL_PURGE_PARKED] = "DELETE FROM parked WHERE event_id = ? AND contact_id = ?",
	[SQL_PURGE_SCAN] = "SELECT e.id, e.received_at_ms < ?2,"
			   " e.received_at_ms > (SELECT received_at_ms FROM event"
			   "  ORDER BY id DESC LIMIT 1),"
			   " NOT EXISTS (SELECT 1 FROM parked p WHERE p.event_id = e.id)"
			   " AND NOT EXISTS (" SQL_WAITING_OF_E ")"
			   " FROM event e WHERE e.id > ?1 ORDER BY e.id LIMIT ?3",
	[SQL_PURGE_EVENT] = "DELETE FROM event WHERE id = ?",
	[SQL_PURGE_ATTEMPTS] = "DELETE FROM attempt WHERE event_id = ?",
	[SQL_LANES_AFTER] = "SELECT event_id, contact_id FROM job"
			    " WHERE destination_id = ? AND (event_id, contact_id) > (?, ?)"
			    " ORDER BY event_id, contact_id LIMIT ?",
	[SQL_OLDEST_WAITING] = "SELECT event_id, received_at_ms FROM job WHERE destination_id = ?"
			       " ORDER BY event_id LIMIT 1",
	[SQL_LAST_WAITING] = "SELECT event_id FROM job WHERE destination_id = ?"
			     " ORDER BY event_id DESC LIMIT 1",
	[SQL_LANE_JOBS] = "SELECT " JOB_COLUMNS " FROM job WHERE contact_id = ?"
			  " ORDER BY at_ms, rank, event_id LIMIT ?",
	[SQL_LANE_TOUCHES] = "SELECT 1 FROM job WHERE contact_id = ? AND touches LIMIT 1",
	[SQL_ATTEMPTS] =
		"SELECT at_ms, serial, contact_id, call, status, verdict, request_id, reason,"
		" elapsed_ms FROM attempt WHERE event_id = ? ORDER BY at_ms, serial",
	[SQL_JOBS_OF_EVENT] = "SELECT " JOB_COLUMNS " FROM job WHERE event_id = ?"
			      " AND destination_id IN (SELECT id FROM destination)",
	[SQL_PARKED_OF_EVENT] = "SELECT " JOB_COLUMNS ", parked_at_ms, reason, request_id"
				" FROM parked WHERE event_id = ?",
};

bool sqlite_fail(struct backend *backend, const char *doing, struct error *err)
{
	const int cause = sqlite3_system_errno(backend->db);
	const int code = sqlite3_errcode(backend->db) & 0xff;

	/* "disk I/O error" alone helps nobody: the system knows more. */
	if ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && cause != 0)
		return error_set(
			err, "%s: %s (%s)", doing, sqlite3_errmsg(backend->db), strerror(cause));
	return error_set(
		err, "%s: %s%s", doing, sqlite3_errmsg(backend->db), sqlite_remedy(backend->db));
}

const char *sqlite_remedy(sqlite3 *db)
{
	const int code = db != NULL ? sqlite3_errcode(db) & 0xff : SQLITE_OK;

	return code == SQLITE_CORRUPT || code == SQLITE_NOTADB
		? ": it is damaged; put back a backup, or rescue what is left with sqlite3's "
		  "`.recover`"
		: "";
}

sqlite3_stmt *sqlite_statement(struct backend *backend, enum sql sql, struct error *err)
{
	sqlite3_stmt **statement = &backend->statements[sql];

	if (*statement == NULL &&
		sqlite3_prepare_v3(backend->db, SQL_TEXTS[sql], -1, SQLITE_PREPARE_PERSISTENT,
			statement, NULL) != SQLITE_OK) {
		(void)sqlite_fail(backend, "store", err);
		return NULL;
	}
	return *statement;
}

void sqlite_done(sqlite3_stmt *statement)
{
	/* The step already told of any error. */
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
}

bool sqlite_step(struct backend *backend, sqlite3_stmt *statement, bool *ret_row, struct error *err)
{
	const bool is_bound = !backend->bind_failed;
	const int code = is_bound ? sqlite3_step(statement) : SQLITE_NOMEM;

	backend->bind_failed = false;
	*ret_row = code == SQLITE_ROW;
	if (code == SQLITE_ROW)
		return true;
	const bool is_done = code == SQLITE_DONE;
	if (!is_bound)
		(void)error_set(err, "store: a value could not be handed to SQLite");
	else if (!is_done)
		(void)sqlite_fail(backend, "store", err);
	sqlite_done(statement);
	return is_done;
}

bool sqlite_run(struct backend *backend, sqlite3_stmt *statement, struct error *err)
{
	bool has_row;

	if (statement == NULL || !sqlite_step(backend, statement, &has_row, err))
		return false;
	if (has_row)
		sqlite_done(statement);
	return true;
}

/* What could not be bound would be a null in the row; the step tells, so that the callers needn't. */
static void note_bound(struct backend *backend, int code)
{
	backend->bind_failed |= code != SQLITE_OK;
}

void sqlite_bind_text(struct backend *backend, sqlite3_stmt *statement, int index, const char *text)
{
	note_bound(backend, sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC));
}

void sqlite_bind_blob(
	struct backend *backend, sqlite3_stmt *statement, int index, const char *data, size_t len)
{
	note_bound(backend, sqlite3_bind_blob64(statement, index, data, len, SQLITE_STATIC));
}

void sqlite_bind_integer(struct backend *backend, sqlite3_stmt *statement, int index, int64_t value)
{
	note_bound(backend, sqlite3_bind_int64(statement, index, value));
}

int64_t sqlite_hash(const char *text)
{
	return (int64_t)text_hash(text, strlen(text), 0);
}

const char *sqlite_column(sqlite3_stmt *statement, int column, struct arena *arena)
{
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return NULL;
	/* As a blob: a text would be made to end in a NUL, and be NULL when there is no memory for
	 * that. */
	const char *bytes = sqlite3_column_blob(statement, column);

	return arena_dup_len(arena, bytes, (size_t)sqlite3_column_bytes(statement, column));
}

/* ---- transactions ---- */

static void sqlite_rollback(struct backend *backend)
{
	/* SQLite may have rolled back by itself; then there is nothing to do. */
	if (sqlite3_get_autocommit(backend->db) == 0)
		(void)sqlite_run(backend, sqlite_statement(backend, SQL_ROLLBACK, NULL), NULL);
}

static bool sqlite_begin(struct backend *backend, struct error *err)
{
	/* Even a rollback can want memory. One that failed is made up for here, or no transaction
	 * would ever begin again. */
	sqlite_rollback(backend);
	return sqlite_run(backend, sqlite_statement(backend, SQL_BEGIN, err), err);
}

static bool sqlite_commit(struct backend *backend, struct error *err)
{
	return sqlite_run(backend, sqlite_statement(backend, SQL_COMMIT, err), err);
}

static int note_wal_pages(void *context, sqlite3 *db, const char *name, int pages)
{
	struct backend *backend = context;

	(void)db;
	(void)name;
	backend->wal_pages = pages;
	return SQLITE_OK;
}

/* Somebody who reads and doesn't end (a shell that was left open) makes the log grow for ever. */
static void watch_log(struct backend *backend, int pages)
{
	const bool is_long = pages > WAL_PAGES_LONG;

	if (is_long && !backend->is_wal_long)
		log_warn("the database's log grows, because somebody keeps the database open for "
			 "reading; it is freed when they end",
			LOG_INT("bytes", (int64_t)pages * PAGE_BYTES));
	else if (!is_long && backend->is_wal_long)
		log_info("the database's log is short again");
	backend->is_wal_long = is_long;
}

static void sqlite_tidy(struct backend *backend, bool is_idle)
{
	int pages = 0;
	int moved = 0;

	/* Smaller than it was: it began anew. */
	if (backend->wal_pages < backend->tidy_pages - WAL_PAGES_MAX)
		backend->tidy_pages = 0;
	if (backend->wal_pages < (is_idle ? WAL_PAGES_IDLE : WAL_PAGES_MAX) ||
		(!is_idle && backend->wal_pages < backend->tidy_pages))
		return;
	if (sqlite3_wal_checkpoint_v2(
		    backend->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved) != SQLITE_OK)
		return;
	backend->wal_pages = 0;
	/* What can't be moved now, because somebody reads it, is not sorted out anew after each
	 * round: that costs more the longer the log is. */
	backend->tidy_pages = moved < pages ? pages + WAL_PAGES_MAX : 0;
	watch_log(backend, moved < pages ? pages : 0);
}

/* ---- opening ---- */

static bool execute(struct backend *backend, const char *sql, struct error *err)
{
	char *message = NULL;
	const bool done = sqlite3_exec(backend->db, sql, NULL, NULL, &message) == SQLITE_OK;

	if (!done)
		(void)error_set(err, "%s%s",
			message != NULL ? message : sqlite3_errmsg(backend->db),
			sqlite_remedy(backend->db));
	sqlite3_free(message);
	return done;
}

static bool read_pragma(struct backend *backend, const char *sql, int *ret, struct error *err)
{
	sqlite3_stmt *statement = NULL;
	bool done = false;

	if (sqlite3_prepare_v2(backend->db, sql, -1, &statement, NULL) == SQLITE_OK &&
		sqlite3_step(statement) == SQLITE_ROW) {
		*ret = sqlite3_column_int(statement, 0);
		done = true;
	} else {
		(void)sqlite_fail(backend, sql, err);
	}
	(void)sqlite3_finalize(statement);
	return done;
}

int sqlite_page_size(struct backend *backend)
{
	int size = 0;

	/* It needs no disk: the file is open. */
	(void)read_pragma(backend, "PRAGMA page_size", &size, NULL);
	return size;
}

static bool migrate(struct backend *backend, struct error *err)
{
	int version = 0;

	if (!read_pragma(backend, "PRAGMA user_version", &version, err))
		return false;
	if (version > schema_version) /* sqlite_look has let it pass, and somebody was quick */
		return error_set(err, "a newer subrelay has made it (schema %d)", version);
	if (version > 0 && version < schema_version)
		log_info("the database is brought up to date; a large one takes a while",
			LOG_INT("schema", version), LOG_INT("becomes", schema_version));
	for (; version < schema_version; version++) {
		char set_version[96];

		(void)snprintf(set_version, sizeof(set_version),
			"PRAGMA user_version = %d; PRAGMA application_id = %d", version + 1,
			SCHEMA_APPLICATION_ID);
		if (!sqlite_begin(backend, err) ||
			!execute(backend, schema_migrations[version], err) ||
			!execute(backend, set_version, err) || !sqlite_commit(backend, err)) {
			sqlite_rollback(backend);
			return error_prefix(err, "making schema %d", version + 1);
		}
	}
	return true;
}

/* The file must be there, private, before SQLite makes it with the umask's mode. */
static bool prepare_file(struct backend *backend, const char *path, struct error *err)
{
	char *folder = xstrdup(path);
	const size_t lock_path_size = strlen(path) + sizeof("-lock");
	char *lock_path = xmalloc(lock_path_size);
	bool done = false;
	int fd = -1;

	if (!sqlite_look(path, err))
		goto out;

	/* An existing folder, or one that can't be made: opening the file tells. */
	if (mkdir(dirname(folder), 0700) == 0)
		log_info("the store's directory is new", LOG_TEXT("path", folder));
	(void)snprintf(lock_path, lock_path_size, "%s-lock", path);

	backend->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (backend->lock_fd < 0) {
		(void)error_set(err, "%s: %s", lock_path, strerror(errno));
		goto out;
	}
	if (flock(backend->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		(void)error_set(
			err, "another subrelay is using this store (%s is locked)", lock_path);
		goto out;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		(void)error_set(err, "%s", strerror(errno));
		goto out;
	}
	done = true;
out:
	if (fd >= 0)
		(void)close(fd);
	free(lock_path);
	free(folder);
	return done;
}

static void sqlite_close(struct backend *backend)
{
	if (backend == NULL)
		return;
	for (size_t i = 0; i < SQL_COUNT; i++)
		(void)sqlite3_finalize(backend->statements[i]);
	(void)sqlite3_close(backend->db);
	if (backend->lock_fd >= 0)
		(void)close(backend->lock_fd);
	free(backend);
}

static struct backend *sqlite_open(const char *path, bool is_writer, struct error *err)
{
	struct backend *backend = xcalloc(1, sizeof(*backend));
	const int flags = SQLITE_OPEN_NOMUTEX |
		(is_writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE);

	backend->lock_fd = -1;
	if (is_writer && !prepare_file(backend, path, err))
		goto fail;
	if (sqlite3_open_v2(path, &backend->db, flags, NULL) != SQLITE_OK) {
		(void)error_set(err, "%s",
			backend->db != NULL ? sqlite3_errmsg(backend->db) : "out of memory");
		goto fail;
	}
	(void)sqlite3_busy_timeout(backend->db, LOCK_WAIT_MS);
	(void)sqlite3_extended_result_codes(backend->db, 1);
	if (is_writer) {
		if (!execute(backend,
			    "PRAGMA page_size = " TEXT(
				    PAGE_BYTES) "; PRAGMA journal_mode = WAL;"
						"PRAGMA synchronous = FULL; PRAGMA "
						"wal_autocheckpoint = 0;"
						"PRAGMA secure_delete = FAST; PRAGMA cache_size = "
						"-4096;"
						"PRAGMA journal_size_limit = 67108864; PRAGMA "
						"temp_store = MEMORY",
			    err) ||
			!migrate(backend, err))
			goto fail;
		(void)sqlite3_wal_hook(backend->db, note_wal_pages, backend);
		/* A log left by a kill is as long as it was. */
		backend->wal_pages = WAL_PAGES_IDLE;
	} else if (!execute(backend, "PRAGMA query_only = 1; PRAGMA cache_size = -2048", err)) {
		goto fail;
	}
	return backend;
fail:
	sqlite_close(backend);
	(void)error_prefix(err, "store %s", path);
	return NULL;
}

const struct store_backend store_sqlite = {
	.name = "sqlite",
	.open = sqlite_open,
	.close = sqlite_close,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.tidy = sqlite_tidy,
	.totals_load = sqlite_totals_load,
	.totals_save = sqlite_totals_save,
	.destination_id = sqlite_destination_id,
	.event_find = sqlite_event_find,
	.event_add = sqlite_event_add,
	.event_ignore = sqlite_event_ignore,
	.customer_load = sqlite_customer_load,
	.customer_keys = sqlite_customer_keys,
	.customer_save = sqlite_customer_save,
	.record_add = sqlite_record_add,
	.record_drop = sqlite_record_drop,
	.link_add = sqlite_link_add,
	.contact_load = sqlite_contact_load,
	.contact_save = sqlite_contact_save,
	.contact_learn = sqlite_contact_learn,
	.job_add = sqlite_job_add,
	.job_remove = sqlite_job_remove,
	.job_park = sqlite_job_park,
	.job_unpark = sqlite_job_unpark,
	.attempt_add = sqlite_attempt_add,
	.purge = sqlite_purge,
	.read_totals = sqlite_totals_load,
	.destinations = sqlite_destinations,
	.lanes_after = sqlite_lanes_after,
	.oldest_waiting = sqlite_oldest_waiting,
	.lane_load = sqlite_lane_load,
	.event_get = sqlite_event_get,
	.event_list = sqlite_event_list,
	.attempt_list = sqlite_attempt_list,
	.contact_get = sqlite_contact_get,
	.job_list = sqlite_job_list,
	.copy = sqlite_copy,
};
