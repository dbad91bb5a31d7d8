#ifndef SUBRELAY_STORE_STORE_H
#define SUBRELAY_STORE_STORE_H

/*
 * The store's front: everything that is kept goes through here, and nothing is acknowledged before
 * it is on disk.
 *
 * One thread writes. What arrives while it commits waits in a queue and is committed together by
 * the next round: one fsync serves every webhook and every delivery that is waiting. Each request
 * is told of its own outcome after the commit (or its failure), on the writer's thread; such a
 * callback must be quick and must not wait.
 *
 *   accept   one webhook: duplicate? -> plan (source's) -> event, customer, contact, jobs
 *   finish   what became of a lane's work: contact learnt, jobs done or parked, attempts
 *   command  retry, purge and the like
 *
 * When the disk is full, the file locked or read-only, accepts are answered ACCEPT_FAILED and
 * nothing is lost by that: the sender keeps its copy. Finishes are kept and tried again until they
 * are in. The store recovers by itself as soon as a commit works.
 *
 * What it may grow to. Memory: what is queued, a webhook or a report for each connection that waits
 * for its answer, so server.connections_max and delivery.connections bound both; a disk slower than
 * the senders makes them wait, not the queue grow. The file: some 2.8 kB an event that waits (10
 * million: 28 GB), whatever arrives in keep_delivered after that, and what is known of each customer
 * (128 records of some 250 bytes at most), which stays. It does not shrink: what is purged is used
 * again; to give it back, stop the daemon and `sqlite3 FILE VACUUM`. The log beside it is 64 MiB at
 * most, but for readers that never end, see sqlite.c.
 *
 * Purging is a slice of 200 events between two rounds: when idle, and under load three for every two
 * that came in, so that it keeps up with any load and a round waits for one slice at most. Age is
 * told by calendar.h, not by a wall clock that was just set. What waits is never purged, nor what is
 * parked before keep_parked. A webhook that comes again after its event was purged is a new one:
 * keep_delivered should not be less than a billing system's retries (RevenueCat: 2 1/2 hours).
 *
 * Threads: every function may be called from any thread, but store_run (tests) from one only.
 */

#include "store/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock;
struct conf;
struct conf_source;
struct error;
struct event;
struct store;

enum accept_status {
	ACCEPT_STORED,
	ACCEPT_DUPLICATE,
	ACCEPT_IGNORED, /* stored, and not relayed: `reason` */
	ACCEPT_FAILED,  /* not stored: `err` */
};

/* One webhook to be stored. The caller's memory, untouched by it from store_accept to `done`. */
struct accept {
	const struct conf *conf; /* borrowed until done */
	const struct conf_source *section;
	const struct event *event;
	const char *body;
	size_t body_len;
	int64_t received_at_ms;
	void (*done)(struct accept *accept); /* writer's thread, after the commit */
	void *context;

	enum accept_status status;
	char reason[200];
	struct accept *next; /* the store's */
};

enum job_outcome { JOB_DONE, JOB_IGNORED, JOB_PARKED };

struct finish_job {
	int64_t event_id;
	bool is_main;
	enum job_outcome outcome;
	char reason[240];
	char request_id[64];
};

/*
 * What delivery has to report of one contact. Made with finish_create, owned by the store from
 * store_finish until `done`, which must finish_destroy it. Only what is set is written.
 */
struct finish {
	struct arena arena;
	int64_t destination_id;
	int64_t contact_id;
	bool learnt;             /* the next two are news */
	const char *intercom_id; /* NULL: forget it */
	const char *sent;
	struct finish_job *jobs;
	size_t job_count;
	struct attempt *attempts;
	size_t attempt_count;
	void (*done)(struct finish *finish);
	void *context; /* the maker's, both */
	void *owner;
	struct finish *next;
};

struct finish *finish_create(int64_t destination_id, int64_t contact_id);
void finish_destroy(struct finish *finish);
struct finish_job *finish_add_job(struct finish *finish);
/* Copies its strings. */
void finish_add_attempt(struct finish *finish, const struct attempt *attempt);

struct store_options {
	const struct store_backend *backend;
	const char *path;
	const struct clock *clock;
	int64_t keep_delivered_ms;
	int64_t keep_parked_ms;
	bool has_thread; /* false: nothing happens until store_run (tests) */
	/* After a commit that added waiting work for a destination; with is_rewound, parked work of
	 * any destination (id 0) waits again, older perhaps than what was scanned. Writer's thread.
	 */
	void (*new_work)(void *context, int64_t destination_id, bool is_rewound);
	void *context;
};

/* NULL with err: cannot be opened, made by a newer version, or in use by another daemon. */
struct store *store_open(const struct store_options *options, struct error *err);
/* Writes out what is queued, then closes. Accepts that cannot be written are answered. */
void store_close(struct store *store);

/* For a reload. */
void store_set_retention(struct store *store, int64_t keep_delivered_ms, int64_t keep_parked_ms);

void store_accept(struct store *store, struct accept *accept);
void store_finish(struct store *store, struct finish *finish);
/* Parked -> waiting; waits for the commit. event_id 0: all. */
bool store_retry(struct store *store, int64_t event_id, int64_t *ret_count, struct error *err);
/* The id of a destination, made when it is new; waits for the commit. */
bool store_destination(struct store *store, const char *name, int64_t *ret_id, struct error *err);

/* Whether an event could be stored now. Asks the disk at most once a second; else says what the
 * last write said. May wait for a commit. */
bool store_is_ready(struct store *store, struct error *err);
void store_totals(struct store *store, struct totals *ret);

/* A reading handle, for one thread. */
struct backend *store_reader(struct store *store, struct error *err);
void store_reader_close(struct store *store, struct backend *reader);
const struct store_backend *store_ops(const struct store *store);

/* Without a thread: commits all that is queued, tells everyone, and returns whether anything was
 * done: false, too, when all that is left is what the disk refused. */
bool store_run(struct store *store);

#endif
