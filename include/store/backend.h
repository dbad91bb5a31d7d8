#ifndef SUBRELAY_STORE_BACKEND_H
#define SUBRELAY_STORE_BACKEND_H

/*
 * What a place to keep things must be able to do: rows in, rows out, and a durable commit.
 *
 * A back end is thin on purpose. What an event means, which one is a duplicate, what is counted and
 * who waits for whom is the front's business (store.c, accept.c, finish.c) and the same for every
 * back end; one contract suite (tests/contract) runs on each.
 *
 * A handle belongs to one thread at a time. There is one writing handle per store and any number of
 * reading ones; a reader sees what was committed when its call began. Writes happen between begin
 * and commit; commit returns true only when everything is on disk (power may fail now); after
 * false, or after any failed call, the front calls rollback and nothing of the transaction remains.
 *
 * Every function returns false with err set when the world refuses (disk, lock). Strings handed out
 * live in the arena that was given.
 */

#include "base/arena.h"
#include "map/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend;
struct copy_sink;
struct error;

/* A webhook as it is kept. */
struct stored_event {
	int64_t id; /* given out by the front, ascending, never again */
	const char *source;
	const char *event_id;
	const char *type;
	const char *customer; /* may be NULL */
	int64_t at_ms;
	int64_t received_at_ms;
	const char *ignored; /* the reason; NULL: relayed */
	const char *body;
	size_t body_len;
};

/* A contact of a workspace: what it should have, what it was last sent. */
struct stored_contact {
	int64_t id; /* 0: not there yet */
	int64_t destination_id;
	bool is_email;
	const char *identity;
	const char *intercom_id; /* NULL: not known */
	const char *wanted;      /* attributes_encode's form; "" for none */
	const char *sent;        /* attributes_render's form; "" for none */
};

/* One event's work for one contact: the share in its attribute update, and the Intercom event. */
struct job {
	int64_t destination_id;
	int64_t event_id; /* stored_event.id */
	int64_t contact_id;
	int64_t at_ms; /* the billing system's time: the order within the contact */
	int rank;
	int64_t received_at_ms;
	bool touches;       /* changed what the contact's attributes should be */
	bool is_main;       /* counts as the event in the totals (a transfer has several jobs) */
	const char *name;   /* of the Intercom event; NULL: only the attributes */
	int64_t created_at; /* unix seconds */
	const char *metadata;
};

/* Why a job is parked. */
struct parking {
	int64_t parked_at_ms;
	const char *reason;
	const char *request_id; /* "" when there is none */
};

/* One call to Intercom and what came of it. */
struct attempt {
	int64_t event_id;
	int64_t at_ms;
	int64_t serial; /* tells attempts of one millisecond apart */
	int64_t contact_id;
	const char *call;    /* "create_contact" */
	long status;         /* HTTP; 0: no answer */
	const char *verdict; /* "done" */
	const char *request_id;
	const char *reason;
	int64_t elapsed_ms;
};

/* Numbers since the store was made, kept in the same transaction as what they count. */
struct totals {
	int64_t received; /* authenticated and usable: accepted + duplicate + ignored */
	int64_t accepted;
	int64_t duplicate;
	int64_t ignored;
	int64_t delivered; /* events; so are the rest */
	int64_t parked;    /* parked now */
	int64_t waiting;   /* jobs waiting now */
	int64_t last_event_id;
};

/* Ordered by both. */
struct lane_ref {
	int64_t event_id;
	int64_t contact_id;
};

/* Everything that delivery needs to know of one contact's waiting work. */
struct lane_work {
	struct stored_contact contact;
	struct job *jobs; /* in order */
	size_t job_count;
	bool touches; /* of any waiting job, also beyond those listed */
	bool has_more;
};

/* One row of a listing; job and parking fields by state. */
struct event_row {
	struct stored_event event;
	const char *state;  /* "waiting", "delivered", "ignored", "parked" */
	const char *reason; /* ignored or parked: why; "" otherwise */
	const char *request_id;
};

struct event_filter {
	const char *state; /* NULL: any */
	const char *source;
	const char *type;
	const char *customer;
	int64_t before_id; /* only older ones; 0: from the newest */
	int64_t since_ms;  /* received not before; TIME_NONE: any */
	size_t limit;
};

struct store_backend {
	const char *name;

	/* Opens (writer: creates and migrates). */
	struct backend *(*open)(const char *path, bool is_writer, struct error *err);
	void (*close)(struct backend *backend);

	bool (*begin)(struct backend *backend, struct error *err);
	bool (*commit)(struct backend *backend, struct error *err);
	void (*rollback)(struct backend *backend);
	/* Between transactions: moves finished work to its final place when there is much of it, or
	 * when `is_idle`. Failure is harmless. */
	void (*tidy)(struct backend *backend, bool is_idle);

	/* -- writer, inside a transaction -- */
	bool (*totals_load)(struct backend *backend, struct totals *ret, struct error *err);
	bool (*totals_save)(
		struct backend *backend, const struct totals *totals, struct error *err);
	/* The id for a destination's name, new ones included. */
	bool (*destination_id)(
		struct backend *backend, const char *name, int64_t *ret_id, struct error *err);
	/* ret_id 0: not there. */
	bool (*event_find)(struct backend *backend, const char *source, const char *event_id,
		int64_t *ret_id, struct error *err);
	bool (*event_add)(
		struct backend *backend, const struct stored_event *event, struct error *err);
	bool (*event_ignore)(
		struct backend *backend, int64_t id, const char *reason, struct error *err);
	/* Fills id, records, links and contact of the customer named by scope and key; id 0: not
	 * there. */
	bool (*customer_load)(struct backend *backend, struct customer *customer,
		struct arena *arena, struct error *err);
	/* The keys of the customers of this scope whose contact this is, the newest first; at most
	 * CONTACT_KEYS_MAX. */
	bool (*customer_keys)(struct backend *backend, const char *scope,
		const struct contact_ref *contact, struct arena *arena, const char ***ret_keys,
		size_t *ret_count, struct error *err);
	/* Writes key and contact; sets the id of a new one. */
	bool (*customer_save)(
		struct backend *backend, struct customer *customer, struct error *err);
	bool (*record_add)(struct backend *backend, int64_t customer_id,
		const struct record *record, struct error *err);
	bool (*record_drop)(struct backend *backend, int64_t customer_id,
		const struct record *record, struct error *err);
	bool (*link_add)(struct backend *backend, int64_t from_id, int64_t to_id,
		const struct link *link, struct error *err);
	/* By destination, is_email and identity; id 0 and "" where it is not there. */
	bool (*contact_load)(struct backend *backend, struct stored_contact *contact,
		struct arena *arena, struct error *err);
	/* Inserts (id 0; sets it) or updates `wanted`. */
	bool (*contact_save)(
		struct backend *backend, struct stored_contact *contact, struct error *err);
	/* What delivery learnt: intercom_id (NULL: forget it) and what was sent. */
	bool (*contact_learn)(struct backend *backend, int64_t contact_id, const char *intercom_id,
		const char *sent, struct error *err);
	bool (*job_add)(struct backend *backend, const struct job *job, struct error *err);
	/* ret_found false: it is not waiting (any more). */
	bool (*job_remove)(
		struct backend *backend, const struct job *key, bool *ret_found, struct error *err);
	bool (*job_park)(struct backend *backend, const struct job *key,
		const struct parking *parking, bool *ret_found, struct error *err);
	/* Parked -> waiting again. event_id 0: all of them. */
	bool (*job_unpark)(
		struct backend *backend, int64_t event_id, int64_t *ret_count, struct error *err);
	bool (*attempt_add)(
		struct backend *backend, const struct attempt *attempt, struct error *err);
	/* Forgets events (and their attempts) that are neither waiting nor parked, received before
	 * `before_ms`, from *cursor on; at most `limit` looked at. Moves the cursor behind them, or
	 * to 0 when it is through. */
	bool (*purge)(struct backend *backend, int64_t delivered_before_ms,
		int64_t parked_before_ms, int64_t *cursor, size_t limit, size_t *ret_purged,
		struct totals *totals, struct error *err);

	/* -- any handle -- */
	bool (*read_totals)(struct backend *backend, struct totals *ret, struct error *err);
	bool (*destinations)(struct backend *backend, struct arena *arena, const char ***ret_names,
		int64_t **ret_ids, size_t *ret_count, struct error *err);
	/* Waiting work of a destination in order of arrival, after that of an event and contact (an
	 * event may have work for many). */
	bool (*lanes_after)(struct backend *backend, int64_t destination_id, struct lane_ref after,
		struct lane_ref *ret, size_t max, size_t *ret_count, struct error *err);
	/* TIME_NONE / 0 when nothing waits. */
	bool (*oldest_waiting)(struct backend *backend, int64_t destination_id,
		int64_t *ret_received_at_ms, int64_t *ret_event_id, int64_t *ret_last_event_id,
		struct error *err);
	/* job_count 0: nothing waits for this contact. */
	bool (*lane_load)(struct backend *backend, int64_t contact_id, size_t jobs_max,
		struct arena *arena, struct lane_work *ret, struct error *err);
	/* By the store's id, or by the provider's when id is 0; ret->event.id 0: not there. With
	 * body. */
	bool (*event_get)(struct backend *backend, int64_t id, const char *event_id,
		struct arena *arena, struct event_row *ret, struct error *err);
	/* Newest first, without bodies; `row` returns false to stop. */
	bool (*event_list)(struct backend *backend, const struct event_filter *filter,
		bool (*row)(void *context, const struct event_row *row), void *context,
		struct error *err);
	bool (*attempt_list)(struct backend *backend, int64_t event_id,
		void (*row)(void *context, const struct attempt *attempt), void *context,
		struct error *err);
	/* A contact by the store's id; one that isn't there is an error. */
	bool (*contact_get)(struct backend *backend, int64_t id, struct arena *arena,
		struct stored_contact *ret, struct error *err);
	/* The jobs of an event, waiting and parked. */
	bool (*job_list)(struct backend *backend, int64_t event_id,
		void (*row)(void *context, const struct job *job,
			const struct stored_contact *contact, const struct parking *parking),
		void *context, struct error *err);
	/* Everything that was committed when the call began, and nothing later, as a file that
	 * `open` takes. May last for minutes, and keeps no writer waiting; a reading handle of its
	 * own. NULL: this back end is copied by other means. */
	bool (*copy)(struct backend *backend, const struct copy_sink *sink, struct error *err);
};

extern const struct store_backend store_sqlite;

#endif
