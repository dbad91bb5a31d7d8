/*
 * Before anything is written: is this file ours, whole enough to be opened, and not from the future?
 *
 * Everything else about opening changes the file (the journal mode, the tables) or leaves files
 * beside it, so a file that is refused must be refused here: it stays as it is, byte for byte, and
 * alone. That is why SQLite looks at it as immutable, which takes no lock and makes no log. Where
 * there is a log already (a daemon that was killed) its newest part counts, and the look is an
 * ordinary one that leaves the log where it is.
 *
 * Files are told apart by PRAGMA application_id. Files of the first version were made without it:
 * those have none, schema 1 and our tables.
 *
 * Garbage in the middle of a file isn't looked for: that takes reading all of it at every start. It
 * is met when it is read, and then it is an error like any of the disk's.
 */

#include "schema.h"
#include "sqlite_private.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEFT "; it is left as it is"
#define MAGIC "SQLite format 3" /* and its NUL */

struct identity {
	int64_t application_id;
	int64_t version;
	int64_t objects; /* tables and indexes */
	int64_t ours;    /* of some tables that version 1 has */
};

static bool number(sqlite3 *db, const char *sql, int64_t *ret, struct error *err)
{
	sqlite3_stmt *statement = NULL;
	bool done = false;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
		sqlite3_step(statement) == SQLITE_ROW) {
		*ret = sqlite3_column_int64(statement, 0);
		done = true;
	} else {
		(void)error_set(err, "%s" LEFT "%s", sqlite3_errmsg(db), sqlite_remedy(db));
	}
	(void)sqlite3_finalize(statement);
	return done;
}

static bool identify(sqlite3 *db, struct identity *ret, struct error *err)
{
	return number(db, "PRAGMA application_id", &ret->application_id, err) &&
		number(db, "PRAGMA user_version", &ret->version, err) &&
		number(db, "SELECT count(*) FROM sqlite_schema", &ret->objects, err) &&
		number(db,
			"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN"
			" ('event', 'contact', 'job', 'parked', 'totals')",
			&ret->ours, err);
}

static bool judge(const struct identity *identity, struct error *err)
{
	const bool is_new =
		identity->application_id == 0 && identity->version == 0 && identity->objects == 0;
	const bool is_first =
		identity->application_id == 0 && identity->version == 1 && identity->ours == 5;

	if (!is_new && !is_first && identity->application_id != SCHEMA_APPLICATION_ID)
		return error_set(err, "it is an SQLite database, but not one of subrelay's" LEFT);
	if (identity->version > schema_version)
		return error_set(err,
			"a newer subrelay has made it (schema %lld; this one, version %s, knows "
			"schema %d)" LEFT ": install the newer one again, or put back a backup "
			"from before the upgrade",
			(long long)identity->version, SUBRELAY_VERSION, schema_version);
	return true;
}

/* "file:" and the path as a URI has it, which the caller frees. */
static char *uri_of(const char *path, const char *query)
{
	const size_t size = 3 * strlen(path) + strlen(query) + sizeof("file:?");
	char *uri = xmalloc(size);
	size_t len = (size_t)snprintf(uri, size, "file:");

	for (const char *c = path; *c != '\0'; c++)
		len += (size_t)snprintf(uri + len, size - len,
			strchr("?#%", *c) != NULL ? "%%%02x" : "%c", (unsigned char)*c);
	(void)snprintf(uri + len, size - len, "?%s", query);
	return uri;
}

sqlite3 *sqlite_open_immutable(const char *path, struct error *err)
{
	char *uri = uri_of(path, "immutable=1");
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK) {
		(void)error_set(err, "%s", db != NULL ? sqlite3_errmsg(db) : "out of memory");
		(void)sqlite3_close(db);
		db = NULL;
	}
	free(uri);
	return db;
}

/* One with a log beside it. */
static sqlite3 *open_with_log(const char *path, struct error *err)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
		SQLITE_OK) {
		/* Closing would move the log into the file. */
		(void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
		return db;
	}
	(void)error_set(err, "%s", db != NULL ? sqlite3_errmsg(db) : "out of memory");
	(void)sqlite3_close(db);
	return NULL;
}

static bool has_log(const char *path)
{
	const size_t size = strlen(path) + sizeof("-wal");
	char *log_path = xmalloc(size);
	struct stat status;

	(void)snprintf(log_path, size, "%s-wal", path);
	const bool has = stat(log_path, &status) == 0 && status.st_size > 0;
	free(log_path);
	return has;
}

static bool has_magic(const char *path, struct error *err)
{
	char head[sizeof(MAGIC)];
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, "%s", strerror(errno));
	const ssize_t got = read(fd, head, sizeof(head));
	const bool has = got == (ssize_t)sizeof(head) && memcmp(head, MAGIC, sizeof(head)) == 0;
	(void)close(fd); /* it was only read */
	return has || error_set(err, "it is no SQLite database" LEFT);
}

bool sqlite_look(const char *path, struct error *err)
{
	struct identity identity = {0};
	struct stat status;
	sqlite3 *db;

	if (stat(path, &status) != 0)
		return errno == ENOENT || error_set(err, "%s", strerror(errno));
	if (!S_ISREG(status.st_mode))
		return error_set(err, "it is %s, not a file",
			S_ISDIR(status.st_mode) ? "a directory" : "something special");
	const bool is_logged = has_log(path);
	if (status.st_size == 0) /* SQLite would take the log for an old one's, and delete it */
		return !is_logged ||
			error_set(err,
				"it is empty, but the log beside it (-wal) isn't" LEFT
				": put back a backup, or remove both to begin anew");
	if (!has_magic(path, err))
		return false;
	db = is_logged ? open_with_log(path, err) : sqlite_open_immutable(path, err);
	const bool is_good = db != NULL && identify(db, &identity, err) && judge(&identity, err);
	(void)sqlite3_close(db);
	return is_good;
}
