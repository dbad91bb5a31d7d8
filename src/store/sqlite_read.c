/*
 * SQLite: rows out, for delivery and for the operator's questions.
 */

#include "sqlite_private.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

bool sqlite_destinations(struct backend *backend, struct arena *arena, const char ***ret_names,
	int64_t **ret_ids, size_t *ret_count, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_DESTINATIONS, err);
	const size_t max = 256; /* a configuration has a handful */
	const char **names = arena_alloc(arena, max * sizeof(*names));
	int64_t *ids = arena_alloc(arena, max * sizeof(*ids));
	size_t count = 0;
	bool has_row = true;

	if (row == NULL)
		return false;
	while (has_row) {
		if (!sqlite_step(backend, row, &has_row, err))
			return false;
		if (has_row && count < max) {
			ids[count] = sqlite3_column_int64(row, 0);
			names[count++] = sqlite_column(row, 1, arena);
		}
	}
	*ret_names = names;
	*ret_ids = ids;
	*ret_count = count;
	return true;
}

bool sqlite_lanes_after(struct backend *backend, int64_t destination_id, struct lane_ref after,
	struct lane_ref *ret, size_t max, size_t *ret_count, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_LANES_AFTER, err);
	size_t count = 0;
	bool has_row = true;

	if (row == NULL)
		return false;
	sqlite_bind_integer(backend, row, 1, destination_id);
	sqlite_bind_integer(backend, row, 2, after.event_id);
	sqlite_bind_integer(backend, row, 3, after.contact_id);
	sqlite_bind_integer(backend, row, 4, (int64_t)max);
	while (has_row) {
		if (!sqlite_step(backend, row, &has_row, err))
			return false;
		if (has_row && count < max)
			ret[count++] = (struct lane_ref){
				.event_id = sqlite3_column_int64(row, 0),
				.contact_id = sqlite3_column_int64(row, 1),
			};
	}
	*ret_count = count;
	return true;
}

bool sqlite_oldest_waiting(struct backend *backend, int64_t destination_id,
	int64_t *ret_received_at_ms, int64_t *ret_event_id, int64_t *ret_last_event_id,
	struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_OLDEST_WAITING, err);
	int64_t received_at_ms = TIME_NONE;
	int64_t event_id = 0;
	int64_t last_event_id = 0;
	bool has_row;

	if (row == NULL)
		return false;
	sqlite_bind_integer(backend, row, 1, destination_id);
	if (!sqlite_step(backend, row, &has_row, err))
		return false;
	if (has_row) {
		event_id = sqlite3_column_int64(row, 0);
		received_at_ms = sqlite3_column_int64(row, 1);
		sqlite_done(row);
		row = sqlite_statement(backend, SQL_LAST_WAITING, err);
		if (row == NULL)
			return false;
		sqlite_bind_integer(backend, row, 1, destination_id);
		if (!sqlite_step(backend, row, &has_row, err))
			return false;
		if (has_row) {
			last_event_id = sqlite3_column_int64(row, 0);
			sqlite_done(row);
		}
	}
	*ret_received_at_ms = received_at_ms;
	*ret_event_id = event_id;
	*ret_last_event_id = last_event_id;
	return true;
}

/* The columns that job and parked share, in the order of JOB_COLUMNS. */
static struct job job_of(sqlite3_stmt *row, struct arena *arena)
{
	return (struct job){
		.destination_id = sqlite3_column_int64(row, 0),
		.event_id = sqlite3_column_int64(row, 1),
		.contact_id = sqlite3_column_int64(row, 2),
		.at_ms = sqlite3_column_int64(row, 3),
		.rank = sqlite3_column_int(row, 4),
		.received_at_ms = sqlite3_column_int64(row, 5),
		.touches = sqlite3_column_int(row, 6) != 0,
		.is_main = sqlite3_column_int(row, 7) != 0,
		.name = sqlite_column(row, 8, arena),
		.created_at = sqlite3_column_int64(row, 9),
		.metadata = sqlite_column(row, 10, arena),
	};
}

bool sqlite_contact_get(struct backend *backend, int64_t id, struct arena *arena,
	struct stored_contact *ret, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_CONTACT_GET, err);
	bool has_row;

	if (row == NULL)
		return false;
	sqlite_bind_integer(backend, row, 1, id);
	if (!sqlite_step(backend, row, &has_row, err))
		return false;
	if (!has_row)
		return error_set(err, "the store has no contact %lld", (long long)id);
	*ret = (struct stored_contact){
		.id = id,
		.destination_id = sqlite3_column_int64(row, 0),
		.is_email = sqlite3_column_int(row, 1) != 0,
		.identity = sqlite_column(row, 2, arena),
		.intercom_id = sqlite_column(row, 3, arena),
		.wanted = sqlite_column(row, 4, arena),
		.sent = sqlite_column(row, 5, arena),
	};
	sqlite_done(row);
	return true;
}

static bool lane_touches(struct backend *backend, struct lane_work *work, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_LANE_TOUCHES, err);
	bool has_row;

	if (row == NULL)
		return false;
	sqlite_bind_integer(backend, row, 1, work->contact.id);
	if (!sqlite_step(backend, row, &has_row, err))
		return false;
	work->touches = has_row;
	if (has_row)
		sqlite_done(row);
	return true;
}

bool sqlite_lane_load(struct backend *backend, int64_t contact_id, size_t jobs_max,
	struct arena *arena, struct lane_work *ret, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_LANE_JOBS, err);
	struct lane_work work = {.contact.id = contact_id};
	size_t capacity = 0;
	bool has_row = true;

	if (row == NULL)
		return false;
	sqlite_bind_integer(backend, row, 1, contact_id);
	sqlite_bind_integer(backend, row, 2, (int64_t)jobs_max + 1);
	while (has_row) {
		if (!sqlite_step(backend, row, &has_row, err))
			return false;
		if (!has_row)
			break;
		if (work.job_count == jobs_max) {
			work.has_more = true;
			sqlite_done(row);
			break;
		}
		if (work.job_count == capacity) {
			capacity = capacity == 0 ? 1 : capacity * 4;
			struct job *more = arena_alloc(arena, capacity * sizeof(*more));
			if (work.job_count > 0)
				memcpy(more, work.jobs, work.job_count * sizeof(*more));
			work.jobs = more;
		}
		work.jobs[work.job_count] = job_of(row, arena);
		work.touches |= work.jobs[work.job_count++].touches;
	}
	if (work.job_count > 0 &&
		!sqlite_contact_get(backend, contact_id, arena, &work.contact, err))
		return false;
	if (work.has_more && !work.touches && !lane_touches(backend, &work, err))
		return false;
	*ret = work;
	return true;
}

/* ---- the operator's questions ---- */

/* The columns of EVENT_COLUMNS. */
static struct stored_event event_of(sqlite3_stmt *row, struct arena *arena)
{
	return (struct stored_event){
		.id = sqlite3_column_int64(row, 0),
		.source = sqlite_column(row, 1, arena),
		.event_id = sqlite_column(row, 2, arena),
		.type = sqlite_column(row, 3, arena),
		.customer = sqlite_column(row, 4, arena),
		.at_ms = sqlite3_column_int64(row, 5),
		.received_at_ms = sqlite3_column_int64(row, 6),
		.ignored = sqlite_column(row, 7, arena),
	};
}

struct standing {
	bool is_waiting;
	bool is_parked;
	char reason[256];
	char request_id[64];
};

static void note_standing(void *context, const struct job *job,
	const struct stored_contact *contact, const struct parking *parking)
{
	struct standing *standing = context;

	(void)job;
	(void)contact;
	if (parking == NULL) {
		standing->is_waiting = true;
		return;
	}
	standing->is_parked = true;
	(void)snprintf(standing->reason, sizeof(standing->reason), "%s", parking->reason);
	(void)snprintf(
		standing->request_id, sizeof(standing->request_id), "%s", parking->request_id);
}

/* An event's state is where its jobs are. */
static bool add_standing(
	struct backend *backend, struct event_row *row, struct arena *arena, struct error *err)
{
	struct standing standing = {0};

	row->reason = "";
	row->request_id = "";
	if (row->event.ignored != NULL) {
		row->state = "ignored";
		row->reason = row->event.ignored;
		return true;
	}
	if (!sqlite_job_list(backend, row->event.id, note_standing, &standing, err))
		return false;
	row->state = standing.is_parked ? "parked" : standing.is_waiting ? "waiting" : "delivered";
	row->reason = arena_dup(arena, standing.reason);
	row->request_id = arena_dup(arena, standing.request_id);
	return true;
}

bool sqlite_event_get(struct backend *backend, int64_t id, const char *event_id,
	struct arena *arena, struct event_row *ret, struct error *err)
{
	sqlite3_stmt *row =
		sqlite_statement(backend, id != 0 ? SQL_EVENT_GET : SQL_EVENT_GET_BY_EVENT_ID, err);
	struct event_row found = {.state = "", .reason = "", .request_id = ""};
	bool has_row;

	if (row == NULL)
		return false;
	if (id != 0) {
		sqlite_bind_integer(backend, row, 1, id);
	} else {
		sqlite_bind_integer(backend, row, 1, sqlite_hash(event_id));
		sqlite_bind_text(backend, row, 2, event_id);
	}
	if (!sqlite_step(backend, row, &has_row, err))
		return false;
	if (has_row) {
		found.event = event_of(row, arena);
		found.event.body_len = (size_t)sqlite3_column_bytes(row, 8);
		found.event.body =
			arena_dup_len(arena, sqlite3_column_blob(row, 8), found.event.body_len);
		sqlite_done(row);
		if (!add_standing(backend, &found, arena, err))
			return false;
	}
	*ret = found;
	return true;
}

/* Conditions that are not asked for cost nothing, so the query is written for each listing. */
static void write_list_query(struct buf *sql, const struct event_filter *filter)
{
	static const char IS_WAITING[] = "EXISTS (" SQL_WAITING_OF_E ")";
	const char *state = filter->state != NULL ? filter->state : "";

	(void)buf_add_text(sql,
		"SELECT e.id, e.source, e.event_id, e.type, e.customer, e.at_ms, e.received_at_ms,"
		" e.ignored FROM event e WHERE 1");
	if (strcmp(state, "parked") == 0)
		(void)buf_add_text(sql, " AND e.id IN (SELECT event_id FROM parked)");
	else if (strcmp(state, "waiting") == 0)
		(void)buf_addf(sql, " AND e.ignored IS NULL AND %s", IS_WAITING);
	else if (strcmp(state, "ignored") == 0)
		(void)buf_add_text(sql, " AND e.ignored IS NOT NULL");
	else if (strcmp(state, "delivered") == 0)
		(void)buf_addf(sql,
			" AND e.ignored IS NULL AND NOT %s"
			" AND e.id NOT IN (SELECT event_id FROM parked)",
			IS_WAITING);
	if (filter->before_id > 0)
		(void)buf_add_text(sql, " AND e.id < ?1");
	if (filter->source != NULL)
		(void)buf_add_text(sql, " AND e.source = ?2");
	if (filter->type != NULL)
		(void)buf_add_text(sql, " AND e.type = ?3");
	if (filter->customer != NULL)
		(void)buf_add_text(sql, " AND e.customer = ?4");
	if (filter->since_ms != TIME_NONE)
		(void)buf_add_text(sql, " AND e.received_at_ms >= ?5");
	(void)buf_add_text(sql, " ORDER BY e.id DESC LIMIT ?6");
}

bool sqlite_event_list(struct backend *backend, const struct event_filter *filter,
	bool (*row)(void *context, const struct event_row *row), void *context, struct error *err)
{
	sqlite3_stmt *query = NULL;
	struct buf sql;
	bool has_row = true;
	bool done = false;

	buf_init(&sql, 4096);
	write_list_query(&sql, filter);
	if (sqlite3_prepare_v2(backend->db, buf_text(&sql), -1, &query, NULL) != SQLITE_OK) {
		(void)sqlite_fail(backend, "listing events", err);
		goto out;
	}
	sqlite_bind_integer(backend, query, 1, filter->before_id);
	sqlite_bind_text(backend, query, 2, filter->source);
	sqlite_bind_text(backend, query, 3, filter->type);
	sqlite_bind_text(backend, query, 4, filter->customer);
	sqlite_bind_integer(backend, query, 5, filter->since_ms);
	sqlite_bind_integer(backend, query, 6, (int64_t)filter->limit);
	while (has_row) {
		struct event_row found = {0};
		struct arena arena;

		if (!sqlite_step(backend, query, &has_row, err))
			goto out;
		if (!has_row)
			break;
		arena_init(&arena);
		found.event = event_of(query, &arena);
		const bool is_complete = add_standing(backend, &found, &arena, err);
		const bool wants_more = is_complete && row(context, &found);
		arena_finish(&arena);
		if (!is_complete)
			goto out;
		if (!wants_more)
			break;
	}
	done = true;
out:
	(void)sqlite3_finalize(query);
	buf_finish(&sql);
	return done;
}

bool sqlite_attempt_list(struct backend *backend, int64_t event_id,
	void (*row)(void *context, const struct attempt *attempt), void *context, struct error *err)
{
	sqlite3_stmt *query = sqlite_statement(backend, SQL_ATTEMPTS, err);
	bool has_row = true;

	if (query == NULL)
		return false;
	sqlite_bind_integer(backend, query, 1, event_id);
	while (has_row) {
		struct arena arena;

		if (!sqlite_step(backend, query, &has_row, err))
			return false;
		if (!has_row)
			break;
		arena_init(&arena);
		row(context,
			&(struct attempt){
				.event_id = event_id,
				.at_ms = sqlite3_column_int64(query, 0),
				.serial = sqlite3_column_int64(query, 1),
				.contact_id = sqlite3_column_int64(query, 2),
				.call = sqlite_column(query, 3, &arena),
				.status = (long)sqlite3_column_int64(query, 4),
				.verdict = sqlite_column(query, 5, &arena),
				.request_id = sqlite_column(query, 6, &arena),
				.reason = sqlite_column(query, 7, &arena),
				.elapsed_ms = sqlite3_column_int64(query, 8),
			});
		arena_finish(&arena);
	}
	return true;
}

bool sqlite_job_list(struct backend *backend, int64_t event_id,
	void (*row)(void *context, const struct job *job, const struct stored_contact *contact,
		const struct parking *parking),
	void *context, struct error *err)
{
	for (int is_parked = 0; is_parked < 2; is_parked++) {
		sqlite3_stmt *query = sqlite_statement(
			backend, is_parked ? SQL_PARKED_OF_EVENT : SQL_JOBS_OF_EVENT, err);
		bool has_row = true;

		if (query == NULL)
			return false;
		sqlite_bind_integer(backend, query, 1, event_id);
		while (has_row) {
			struct stored_contact contact;
			struct parking parking = {0};
			struct arena arena;

			if (!sqlite_step(backend, query, &has_row, err))
				return false;
			if (!has_row)
				break;
			arena_init(&arena);
			const struct job job = job_of(query, &arena);
			if (is_parked)
				parking = (struct parking){
					.parked_at_ms = sqlite3_column_int64(query, 11),
					.reason = sqlite_column(query, 12, &arena),
					.request_id = sqlite_column(query, 13, &arena),
				};
			const bool is_found =
				sqlite_contact_get(backend, job.contact_id, &arena, &contact, err);
			if (is_found)
				row(context, &job, &contact, is_parked ? &parking : NULL);
			arena_finish(&arena);
			if (!is_found) {
				sqlite_done(query);
				return false;
			}
		}
	}
	return true;
}
