/*
 * SQLite: rows in. Everything here runs inside the writer's transaction.
 */

#include "sqlite_private.h"

#include "base/error.h"

#include <string.h>

/* Binds one after the other, so that a statement reads like its column list. */
struct binder {
	struct backend *backend;
	sqlite3_stmt *statement;
	int index;
};

static void put_text(struct binder *binder, const char *text)
{
	sqlite_bind_text(binder->backend, binder->statement, ++binder->index, text);
}

static void put_integer(struct binder *binder, int64_t value)
{
	sqlite_bind_integer(binder->backend, binder->statement, ++binder->index, value);
}

static bool start(struct backend *backend, enum sql sql, struct binder *ret, struct error *err)
{
	*ret = (struct binder){
		.backend = backend, .statement = sqlite_statement(backend, sql, err)};
	return ret->statement != NULL;
}

static bool finish(struct backend *backend, struct binder *binder, struct error *err)
{
	return sqlite_run(backend, binder->statement, err);
}

bool sqlite_totals_load(struct backend *backend, struct totals *ret, struct error *err)
{
	sqlite3_stmt *row = sqlite_statement(backend, SQL_TOTALS_LOAD, err);
	bool has_row = false;

	if (row == NULL || !sqlite_step(backend, row, &has_row, err))
		return false;
	if (!has_row)
		return error_set(err, "the store has no totals");
	*ret = (struct totals){
		.received = sqlite3_column_int64(row, 0),
		.accepted = sqlite3_column_int64(row, 1),
		.duplicate = sqlite3_column_int64(row, 2),
		.ignored = sqlite3_column_int64(row, 3),
		.delivered = sqlite3_column_int64(row, 4),
		.parked = sqlite3_column_int64(row, 5),
		.waiting = sqlite3_column_int64(row, 6),
		.last_event_id = sqlite3_column_int64(row, 7),
	};
	sqlite_done(row);
	return true;
}

bool sqlite_totals_save(struct backend *backend, const struct totals *totals, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_TOTALS_SAVE, &put, err))
		return false;
	put_integer(&put, totals->received);
	put_integer(&put, totals->accepted);
	put_integer(&put, totals->duplicate);
	put_integer(&put, totals->ignored);
	put_integer(&put, totals->delivered);
	put_integer(&put, totals->parked);
	put_integer(&put, totals->waiting);
	put_integer(&put, totals->last_event_id);
	return finish(backend, &put, err);
}

/* The first column of the only row, or 0. */
static bool get_id(
	struct backend *backend, struct binder *query, int64_t *ret_id, struct error *err)
{
	bool has_row = false;

	if (!sqlite_step(backend, query->statement, &has_row, err))
		return false;
	*ret_id = has_row ? sqlite3_column_int64(query->statement, 0) : 0;
	if (has_row)
		sqlite_done(query->statement);
	return true;
}

bool sqlite_destination_id(
	struct backend *backend, const char *name, int64_t *ret_id, struct error *err)
{
	struct binder put;
	int64_t id;

	if (!start(backend, SQL_DESTINATION_GET, &put, err))
		return false;
	put_text(&put, name);
	if (!get_id(backend, &put, &id, err))
		return false;
	if (id == 0) {
		if (!start(backend, SQL_DESTINATION_ADD, &put, err))
			return false;
		put_text(&put, name);
		if (!finish(backend, &put, err))
			return false;
		id = sqlite3_last_insert_rowid(backend->db);
	}
	*ret_id = id;
	return true;
}

bool sqlite_event_find(struct backend *backend, const char *source, const char *event_id,
	int64_t *ret_id, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_EVENT_FIND, &put, err))
		return false;
	put_integer(&put, sqlite_hash(event_id));
	put_text(&put, event_id);
	put_text(&put, source);
	return get_id(backend, &put, ret_id, err);
}

bool sqlite_event_add(struct backend *backend, const struct stored_event *event, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_EVENT_ADD, &put, err))
		return false;
	put_integer(&put, event->id);
	put_text(&put, event->source);
	put_text(&put, event->event_id);
	put_text(&put, event->type);
	put_text(&put, event->customer);
	put_integer(&put, event->at_ms);
	put_integer(&put, event->received_at_ms);
	put_text(&put, event->ignored);
	put_integer(&put, sqlite_hash(event->event_id));
	sqlite_bind_blob(put.backend, put.statement, ++put.index, event->body, event->body_len);
	return finish(backend, &put, err);
}

bool sqlite_event_ignore(struct backend *backend, int64_t id, const char *reason, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_EVENT_IGNORE, &put, err))
		return false;
	put_text(&put, reason);
	put_integer(&put, id);
	return finish(backend, &put, err);
}

/* ---- customers ---- */

static bool load_records(
	struct backend *backend, struct customer *customer, struct arena *arena, struct error *err)
{
	struct binder put;
	bool has_row;
	size_t capacity = 0;

	if (!start(backend, SQL_RECORDS, &put, err))
		return false;
	put_integer(&put, customer->id);
	for (;;) {
		if (!sqlite_step(backend, put.statement, &has_row, err))
			return false;
		if (!has_row)
			return true;
		if (customer->record_count == capacity) {
			capacity = capacity == 0 ? 8 : capacity * 2;
			struct record *more = arena_alloc(arena, capacity * sizeof(*more));
			if (customer->record_count > 0)
				memcpy(more, customer->records,
					customer->record_count * sizeof(*more));
			customer->records = more;
		}
		customer->records[customer->record_count++] = (struct record){
			.at_ms = sqlite3_column_int64(put.statement, 0),
			.rank = sqlite3_column_int(put.statement, 1),
			.id = sqlite_column(put.statement, 2, arena),
			.subject = sqlite_column(put.statement, 3, arena),
			.data = sqlite_column(put.statement, 4, arena),
		};
	}
}

static bool load_links(struct backend *backend, struct customer *customer, bool is_out,
	struct arena *arena, struct error *err)
{
	struct link **links = is_out ? &customer->links_out : &customer->links_in;
	size_t *count = is_out ? &customer->links_out_count : &customer->links_in_count;
	struct binder put;
	bool has_row;
	size_t capacity = 0;

	if (!start(backend, is_out ? SQL_LINKS_OUT : SQL_LINKS_IN, &put, err))
		return false;
	put_integer(&put, customer->id);
	for (;;) {
		if (!sqlite_step(backend, put.statement, &has_row, err))
			return false;
		if (!has_row)
			return true;
		if (*count == capacity) {
			capacity = capacity == 0 ? 4 : capacity * 2;
			struct link *more = arena_alloc(arena, capacity * sizeof(*more));
			if (*count > 0)
				memcpy(more, *links, *count * sizeof(*more));
			*links = more;
		}
		const char *other = sqlite_column(put.statement, 2, arena);
		(*links)[(*count)++] = (struct link){
			.at_ms = sqlite3_column_int64(put.statement, 0),
			.id = sqlite_column(put.statement, 1, arena),
			.from = is_out ? customer->key : other,
			.to = is_out ? other : customer->key,
		};
	}
}

bool sqlite_customer_load(
	struct backend *backend, struct customer *customer, struct arena *arena, struct error *err)
{
	struct binder put;
	bool has_row;

	if (!start(backend, SQL_CUSTOMER_GET, &put, err))
		return false;
	put_integer(&put, sqlite_hash(customer->key));
	put_text(&put, customer->key);
	put_text(&put, customer->scope);
	if (!sqlite_step(backend, put.statement, &has_row, err))
		return false;
	if (!has_row)
		return true;
	customer->id = sqlite3_column_int64(put.statement, 0);
	const bool has_links = sqlite3_column_int(put.statement, 1) != 0;
	customer->contact = (struct contact_ref){
		.destination = sqlite_column(put.statement, 2, arena),
		.identity = sqlite_column(put.statement, 3, arena),
		.is_email = sqlite3_column_int(put.statement, 4) != 0,
	};
	sqlite_done(put.statement);
	if (!load_records(backend, customer, arena, err))
		return false;
	return !has_links ||
		(load_links(backend, customer, true, arena, err) &&
			load_links(backend, customer, false, arena, err));
}

bool sqlite_customer_keys(struct backend *backend, const char *scope,
	const struct contact_ref *contact, struct arena *arena, const char ***ret_keys,
	size_t *ret_count, struct error *err)
{
	const char **keys = arena_alloc(arena, (CONTACT_KEYS_MAX + 1) * sizeof(char *));
	size_t count = 0;
	struct binder put;
	bool has_row;

	if (!start(backend, SQL_CUSTOMER_KEYS, &put, err))
		return false;
	put_text(&put, contact->identity);
	put_text(&put, scope);
	put_text(&put, contact->destination);
	put_integer(&put, contact->is_email);
	put_integer(&put, CONTACT_KEYS_MAX);
	for (;;) {
		if (!sqlite_step(backend, put.statement, &has_row, err))
			return false;
		if (!has_row)
			break;
		keys[count++] = sqlite_column(put.statement, 0, arena);
	}
	/* Not in the index: the customer whose key is the identity itself, if there is one. */
	keys[count++] = contact->identity;
	*ret_keys = keys;
	*ret_count = count;
	return true;
}

bool sqlite_customer_save(struct backend *backend, struct customer *customer, struct error *err)
{
	struct binder put;
	const bool is_new = customer->id == 0;

	if (!start(backend, is_new ? SQL_CUSTOMER_ADD : SQL_CUSTOMER_UPDATE, &put, err))
		return false;
	if (is_new) {
		put_text(&put, customer->scope);
		put_text(&put, customer->key);
		put_integer(&put, sqlite_hash(customer->key));
	}
	put_text(&put, customer->contact.destination);
	put_text(&put, customer->contact.identity);
	put_integer(&put, customer->contact.is_email);
	if (!is_new)
		put_integer(&put, customer->id);
	if (!finish(backend, &put, err))
		return false;
	if (is_new)
		customer->id = sqlite3_last_insert_rowid(backend->db);
	return true;
}

bool sqlite_record_add(struct backend *backend, int64_t customer_id, const struct record *record,
	struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_RECORD_ADD, &put, err))
		return false;
	put_integer(&put, customer_id);
	put_integer(&put, record->at_ms);
	put_integer(&put, record->rank);
	put_text(&put, record->id);
	put_text(&put, record->subject);
	put_text(&put, record->data);
	return finish(backend, &put, err);
}

bool sqlite_record_drop(struct backend *backend, int64_t customer_id, const struct record *record,
	struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_RECORD_DROP, &put, err))
		return false;
	put_integer(&put, customer_id);
	put_integer(&put, record->at_ms);
	put_integer(&put, record->rank);
	put_text(&put, record->id);
	return finish(backend, &put, err);
}

static bool mark_links(struct backend *backend, int64_t customer_id, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_CUSTOMER_HAS_LINKS, &put, err))
		return false;
	put_integer(&put, customer_id);
	return finish(backend, &put, err);
}

bool sqlite_link_add(struct backend *backend, int64_t from_id, int64_t to_id,
	const struct link *link, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_LINK_ADD, &put, err))
		return false;
	put_integer(&put, from_id);
	put_integer(&put, to_id);
	put_integer(&put, link->at_ms);
	put_text(&put, link->id);
	return finish(backend, &put, err) && mark_links(backend, from_id, err) &&
		mark_links(backend, to_id, err);
}

/* ---- contacts ---- */

bool sqlite_contact_load(struct backend *backend, struct stored_contact *contact,
	struct arena *arena, struct error *err)
{
	struct binder put;
	bool has_row;

	if (!start(backend, SQL_CONTACT_FIND, &put, err))
		return false;
	put_integer(&put, sqlite_hash(contact->identity));
	put_text(&put, contact->identity);
	put_integer(&put, contact->destination_id);
	put_integer(&put, contact->is_email);
	if (!sqlite_step(backend, put.statement, &has_row, err))
		return false;
	contact->id = 0;
	contact->intercom_id = NULL;
	contact->wanted = "";
	contact->sent = "";
	if (!has_row)
		return true;
	contact->id = sqlite3_column_int64(put.statement, 0);
	contact->intercom_id = sqlite_column(put.statement, 1, arena);
	contact->wanted = sqlite_column(put.statement, 2, arena);
	contact->sent = sqlite_column(put.statement, 3, arena);
	sqlite_done(put.statement);
	return true;
}

bool sqlite_contact_save(struct backend *backend, struct stored_contact *contact, struct error *err)
{
	struct binder put;
	const bool is_new = contact->id == 0;

	if (!start(backend, is_new ? SQL_CONTACT_ADD : SQL_CONTACT_UPDATE, &put, err))
		return false;
	if (is_new) {
		put_integer(&put, contact->destination_id);
		put_integer(&put, contact->is_email);
		put_text(&put, contact->identity);
		put_integer(&put, sqlite_hash(contact->identity));
	}
	put_text(&put, contact->wanted);
	if (!is_new)
		put_integer(&put, contact->id);
	if (!finish(backend, &put, err))
		return false;
	if (is_new)
		contact->id = sqlite3_last_insert_rowid(backend->db);
	return true;
}

bool sqlite_contact_learn(struct backend *backend, int64_t contact_id, const char *intercom_id,
	const char *sent, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_CONTACT_LEARN, &put, err))
		return false;
	put_text(&put, intercom_id);
	put_text(&put, sent);
	put_integer(&put, contact_id);
	return finish(backend, &put, err);
}

/* ---- jobs ---- */

bool sqlite_job_add(struct backend *backend, const struct job *job, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_JOB_ADD, &put, err))
		return false;
	put_integer(&put, job->destination_id);
	put_integer(&put, job->event_id);
	put_integer(&put, job->contact_id);
	put_integer(&put, job->at_ms);
	put_integer(&put, job->rank);
	put_integer(&put, job->received_at_ms);
	put_integer(&put, job->touches);
	put_integer(&put, job->is_main);
	put_text(&put, job->name);
	put_integer(&put, job->created_at);
	put_text(&put, job->metadata);
	return finish(backend, &put, err);
}

static void put_job_key(struct binder *put, const struct job *key)
{
	put_integer(put, key->destination_id);
	put_integer(put, key->event_id);
	put_integer(put, key->contact_id);
}

bool sqlite_job_remove(
	struct backend *backend, const struct job *key, bool *ret_found, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_JOB_REMOVE, &put, err))
		return false;
	put_job_key(&put, key);
	if (!finish(backend, &put, err))
		return false;
	*ret_found = sqlite3_changes(backend->db) > 0;
	return true;
}

bool sqlite_job_park(struct backend *backend, const struct job *key, const struct parking *parking,
	bool *ret_found, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_JOB_PARK, &put, err))
		return false;
	put_integer(&put, parking->parked_at_ms);
	put_text(&put, parking->reason);
	put_text(&put, parking->request_id);
	put_job_key(&put, key);
	return finish(backend, &put, err) && sqlite_job_remove(backend, key, ret_found, err);
}

bool sqlite_job_unpark(
	struct backend *backend, int64_t event_id, int64_t *ret_count, struct error *err)
{
	struct binder put;

	if (!start(backend, event_id == 0 ? SQL_UNPARK_ALL : SQL_UNPARK_ONE, &put, err))
		return false;
	if (event_id != 0)
		put_integer(&put, event_id);
	if (!finish(backend, &put, err))
		return false;
	*ret_count = sqlite3_changes(backend->db);
	if (!start(backend, event_id == 0 ? SQL_UNPARK_ALL_DELETE : SQL_UNPARK_ONE_DELETE, &put,
		    err))
		return false;
	if (event_id != 0)
		put_integer(&put, event_id);
	return finish(backend, &put, err);
}

bool sqlite_attempt_add(struct backend *backend, const struct attempt *attempt, struct error *err)
{
	struct binder put;

	if (!start(backend, SQL_ATTEMPT_ADD, &put, err))
		return false;
	put_integer(&put, attempt->event_id);
	put_integer(&put, attempt->at_ms);
	put_integer(&put, attempt->serial);
	put_integer(&put, attempt->contact_id);
	put_text(&put, attempt->call);
	put_integer(&put, attempt->status);
	put_text(&put, attempt->verdict);
	put_text(&put, attempt->request_id);
	put_text(&put, attempt->reason);
	put_integer(&put, attempt->elapsed_ms);
	return finish(backend, &put, err);
}

/* ---- forgetting ---- */

/*
 * Two walks by key, a slice of each per call: a table is never read or deleted from as a whole,
 * however much is parked or old, for the writer's next round waits for this one.
 */

#define SLICE_MAX 512

struct slice {
	int64_t event_ids[SLICE_MAX];
	int64_t contact_ids[SLICE_MAX];
	size_t count;    /* to be forgotten */
	size_t seen;     /* looked at */
	bool goes_on;    /* the last one seen was no reason to stop */
	int64_t last_id; /* the last one seen */
	int64_t last_contact_id;
};

static bool run_by_id(struct backend *backend, enum sql sql, int64_t id, struct error *err)
{
	struct binder put;

	if (!start(backend, sql, &put, err))
		return false;
	put_integer(&put, id);
	return finish(backend, &put, err);
}

static bool scan_parked(struct backend *backend, int64_t before_ms, size_t limit,
	struct slice *slice, struct error *err)
{
	struct binder put;
	bool has_row = true;

	if (!start(backend, SQL_PURGE_PARKED_SCAN, &put, err))
		return false;
	put_integer(&put, backend->purged_parked.event_id);
	put_integer(&put, backend->purged_parked.contact_id);
	put_integer(&put, (int64_t)limit);
	put_integer(&put, before_ms);
	while (has_row) {
		if (!sqlite_step(backend, put.statement, &has_row, err))
			return false;
		if (!has_row)
			break;
		slice->last_id = sqlite3_column_int64(put.statement, 0);
		slice->last_contact_id = sqlite3_column_int64(put.statement, 1);
		slice->seen++;
		if (sqlite3_column_int(put.statement, 2) == 0)
			continue;
		slice->event_ids[slice->count] = slice->last_id;
		slice->contact_ids[slice->count++] = slice->last_contact_id;
	}
	slice->goes_on = slice->seen == limit;
	return true;
}

/* *ret_more: parked work is left to be looked at. */
static bool purge_parked(struct backend *backend, int64_t before_ms, size_t limit, bool *ret_more,
	struct totals *totals, struct error *err)
{
	struct slice slice = {.count = 0};

	if (!scan_parked(backend, before_ms, limit, &slice, err))
		return false;
	for (size_t i = 0; i < slice.count; i++) {
		struct binder put;

		if (!run_by_id(backend, SQL_PURGE_PARKED_NOTE, slice.event_ids[i], err) ||
			!start(backend, SQL_PURGE_PARKED, &put, err))
			return false;
		put_integer(&put, slice.event_ids[i]);
		put_integer(&put, slice.contact_ids[i]);
		if (!finish(backend, &put, err))
			return false;
	}
	totals->parked -= (int64_t)slice.count;
	/* What a rollback brings back is found by the next walk. */
	backend->purged_parked = slice.goes_on
		? (struct lane_ref){slice.last_id, slice.last_contact_id}
		: (struct lane_ref){0, 0};
	*ret_more = slice.goes_on;
	return true;
}

static bool scan_events(struct backend *backend, int64_t after_id, int64_t before_ms, size_t limit,
	struct slice *slice, struct error *err)
{
	struct binder put;
	bool has_row = true;
	bool is_old = false;

	if (!start(backend, SQL_PURGE_SCAN, &put, err))
		return false;
	put_integer(&put, after_id);
	put_integer(&put, before_ms);
	put_integer(&put, (int64_t)limit);
	while (has_row) {
		if (!sqlite_step(backend, put.statement, &has_row, err))
			return false;
		if (!has_row)
			break;
		slice->last_id = sqlite3_column_int64(put.statement, 0);
		is_old = sqlite3_column_int(put.statement, 1) != 0;
		/* Received after the newest: the clock was wrong then; it is not in the way of
		 * what came later. */
		slice->goes_on = is_old || sqlite3_column_int(put.statement, 2) != 0;
		slice->seen++;
		if (is_old && sqlite3_column_int(put.statement, 3) != 0)
			slice->event_ids[slice->count++] = slice->last_id;
	}
	slice->goes_on &= slice->seen == limit;
	return true;
}

bool sqlite_purge(struct backend *backend, int64_t delivered_before_ms, int64_t parked_before_ms,
	int64_t *cursor, size_t limit, size_t *ret_purged, struct totals *totals, struct error *err)
{
	struct slice slice = {.count = 0};
	bool has_parked = false;

	if (limit > SLICE_MAX)
		limit = SLICE_MAX;
	if (parked_before_ms != INT64_MIN &&
		!purge_parked(backend, parked_before_ms, limit, &has_parked, totals, err))
		return false;
	if (delivered_before_ms != INT64_MIN &&
		!scan_events(backend, *cursor, delivered_before_ms, limit, &slice, err))
		return false;
	for (size_t i = 0; i < slice.count; i++)
		if (!run_by_id(backend, SQL_PURGE_ATTEMPTS, slice.event_ids[i], err) ||
			!run_by_id(backend, SQL_PURGE_EVENT, slice.event_ids[i], err))
			return false;
	/* Past what may not go, too: events parked for ever must not be in the way of the others.
	 * Where only the parked go on, this walk begins anew (-1 is before all, and not the end).
	 */
	*cursor = slice.goes_on ? slice.last_id : has_parked ? -1 : 0;
	*ret_purged = slice.count;
	return true;
}
