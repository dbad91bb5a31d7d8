#ifndef SUBRELAY_STORE_SQLITE_PRIVATE_H
#define SUBRELAY_STORE_SQLITE_PRIVATE_H

/*
 * What the three files of the SQLite back end share: the handle with its prepared statements, and
 * the few helpers that make a row out of columns. sqlite.c: life, transactions; sqlite_write.c:
 * rows in; sqlite_read.c: rows out.
 */

#include "store/backend.h"

#include <sqlite3.h>

/* What waits of an event e, by job's key. CROSS keeps this order: left to itself SQLite reads all that
 * waits, once for each event. */
#define SQL_WAITING_OF_E                               \
	"SELECT 1 FROM destination d CROSS JOIN job j" \
	" WHERE j.destination_id = d.id AND j.event_id = e.id"

/* Each statement is prepared once per handle; preparing anew costs a third of the throughput. */
enum sql {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_TOTALS_LOAD,
	SQL_TOTALS_SAVE,
	SQL_DESTINATION_GET,
	SQL_DESTINATION_ADD,
	SQL_DESTINATIONS,
	SQL_EVENT_FIND,
	SQL_EVENT_ADD,
	SQL_EVENT_IGNORE,
	SQL_EVENT_GET,
	SQL_EVENT_GET_BY_EVENT_ID,
	SQL_CUSTOMER_GET,
	SQL_CUSTOMER_KEYS,
	SQL_CUSTOMER_ADD,
	SQL_CUSTOMER_UPDATE,
	SQL_CUSTOMER_HAS_LINKS,
	SQL_RECORDS,
	SQL_RECORD_ADD,
	SQL_RECORD_DROP,
	SQL_LINKS_OUT,
	SQL_LINKS_IN,
	SQL_LINK_ADD,
	SQL_CONTACT_FIND,
	SQL_CONTACT_GET,
	SQL_CONTACT_ADD,
	SQL_CONTACT_UPDATE,
	SQL_CONTACT_LEARN,
	SQL_JOB_ADD,
	SQL_JOB_REMOVE,
	SQL_JOB_PARK,
	SQL_UNPARK_ONE,
	SQL_UNPARK_ONE_DELETE,
	SQL_UNPARK_ALL,
	SQL_UNPARK_ALL_DELETE,
	SQL_ATTEMPT_ADD,
	SQL_PURGE_PARKED_SCAN,
	SQL_PURGE_PARKED_NOTE,
	SQL_PURGE_PARKED,
	SQL_PURGE_SCAN,
	SQL_PURGE_EVENT,
	SQL_PURGE_ATTEMPTS,
	SQL_LANES_AFTER,
	SQL_OLDEST_WAITING,
	SQL_LAST_WAITING,
	SQL_LANE_JOBS,
	SQL_LANE_TOUCHES,
	SQL_ATTEMPTS,
	SQL_JOBS_OF_EVENT,
	SQL_PARKED_OF_EVENT,
	SQL_COUNT,
};

struct backend {
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_COUNT];
	int lock_fd;      /* writer: the lock that keeps a second daemon off; else -1 */
	int wal_pages;    /* in the log */
	int tidy_pages;   /* the log is not moved before it has so many */
	bool is_wal_long; /* and that was said */
	bool bind_failed; /* of the statement that is stepped next */
	struct lane_ref purged_parked; /* how far purging has walked through parked work */
};

/* The prepared statement, reset and unbound; NULL with err. Bound texts must outlive the step. */
sqlite3_stmt *sqlite_statement(struct backend *backend, enum sql sql, struct error *err);
/* Runs a statement that returns no rows. */
bool sqlite_run(struct backend *backend, sqlite3_stmt *statement, struct error *err);
/* One step of a query: *ret_row says whether there is a row; at its end the statement is reset. */
bool sqlite_step(
	struct backend *backend, sqlite3_stmt *statement, bool *ret_row, struct error *err);
bool sqlite_fail(struct backend *backend, const char *doing, struct error *err);
/* Of the file, in bytes. */
int sqlite_page_size(struct backend *backend);
/* What an operator can do about a file that is damaged, to be put behind the message; else "". */
const char *sqlite_remedy(sqlite3 *db);

/* False: the file is refused, and has not been touched. A file that isn't there, or is empty, is
 * fine. */
bool sqlite_look(const char *path, struct error *err);
/* For reading a file that nobody writes: no lock, no log, nothing beside it. The caller closes it. */
sqlite3 *sqlite_open_immutable(const char *path, struct error *err);

/* Ends a query early. */
void sqlite_done(sqlite3_stmt *statement);

/* One that fails makes the next sqlite_step fail. */
void sqlite_bind_text(struct backend *backend, sqlite3_stmt *statement, int index,
	const char *text); /* NULL: null */
void sqlite_bind_blob(
	struct backend *backend, sqlite3_stmt *statement, int index, const char *data, size_t len);
void sqlite_bind_integer(
	struct backend *backend, sqlite3_stmt *statement, int index, int64_t value);
int64_t sqlite_hash(const char *text);
/* NULL stays NULL. */
const char *sqlite_column(sqlite3_stmt *statement, int column, struct arena *arena);

/* The writing half. */
bool sqlite_totals_load(struct backend *backend, struct totals *ret, struct error *err);
bool sqlite_totals_save(struct backend *backend, const struct totals *totals, struct error *err);
bool sqlite_destination_id(
	struct backend *backend, const char *name, int64_t *ret_id, struct error *err);
bool sqlite_event_find(struct backend *backend, const char *source, const char *event_id,
	int64_t *ret_id, struct error *err);
bool sqlite_event_add(struct backend *backend, const struct stored_event *event, struct error *err);
bool sqlite_event_ignore(
	struct backend *backend, int64_t id, const char *reason, struct error *err);
bool sqlite_customer_keys(struct backend *backend, const char *scope,
	const struct contact_ref *contact, struct arena *arena, const char ***ret_keys,
	size_t *ret_count, struct error *err);
bool sqlite_customer_load(
	struct backend *backend, struct customer *customer, struct arena *arena, struct error *err);
bool sqlite_customer_save(struct backend *backend, struct customer *customer, struct error *err);
bool sqlite_record_add(struct backend *backend, int64_t customer_id, const struct record *record,
	struct error *err);
bool sqlite_record_drop(struct backend *backend, int64_t customer_id, const struct record *record,
	struct error *err);
bool sqlite_link_add(struct backend *backend, int64_t from_id, int64_t to_id,
	const struct link *link, struct error *err);
bool sqlite_contact_load(struct backend *backend, struct stored_contact *contact,
	struct arena *arena, struct error *err);
bool sqlite_contact_save(
	struct backend *backend, struct stored_contact *contact, struct error *err);
bool sqlite_contact_learn(struct backend *backend, int64_t contact_id, const char *intercom_id,
	const char *sent, struct error *err);
bool sqlite_job_add(struct backend *backend, const struct job *job, struct error *err);
bool sqlite_job_remove(
	struct backend *backend, const struct job *key, bool *ret_found, struct error *err);
bool sqlite_job_park(struct backend *backend, const struct job *key, const struct parking *parking,
	bool *ret_found, struct error *err);
bool sqlite_job_unpark(
	struct backend *backend, int64_t event_id, int64_t *ret_count, struct error *err);
bool sqlite_attempt_add(struct backend *backend, const struct attempt *attempt, struct error *err);
bool sqlite_purge(struct backend *backend, int64_t delivered_before_ms, int64_t parked_before_ms,
	int64_t *cursor, size_t limit, size_t *ret_purged, struct totals *totals,
	struct error *err);

/* The reading half. */
bool sqlite_destinations(struct backend *backend, struct arena *arena, const char ***ret_names,
	int64_t **ret_ids, size_t *ret_count, struct error *err);
bool sqlite_lanes_after(struct backend *backend, int64_t destination_id, struct lane_ref after,
	struct lane_ref *ret, size_t max, size_t *ret_count, struct error *err);
bool sqlite_oldest_waiting(struct backend *backend, int64_t destination_id,
	int64_t *ret_received_at_ms, int64_t *ret_event_id, int64_t *ret_last_event_id,
	struct error *err);
bool sqlite_lane_load(struct backend *backend, int64_t contact_id, size_t jobs_max,
	struct arena *arena, struct lane_work *ret, struct error *err);
bool sqlite_event_get(struct backend *backend, int64_t id, const char *event_id,
	struct arena *arena, struct event_row *ret, struct error *err);
bool sqlite_event_list(struct backend *backend, const struct event_filter *filter,
	bool (*row)(void *context, const struct event_row *row), void *context, struct error *err);
bool sqlite_contact_get(struct backend *backend, int64_t id, struct arena *arena,
	struct stored_contact *ret, struct error *err);
bool sqlite_attempt_list(struct backend *backend, int64_t event_id,
	void (*row)(void *context, const struct attempt *attempt), void *context,
	struct error *err);
bool sqlite_job_list(struct backend *backend, int64_t event_id,
	void (*row)(void *context, const struct job *job, const struct stored_contact *contact,
		const struct parking *parking),
	void *context, struct error *err);

bool sqlite_copy(struct backend *backend, const struct copy_sink *sink, struct error *err);

#endif
