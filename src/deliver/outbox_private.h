#ifndef SUBRELAY_DELIVER_OUTBOX_PRIVATE_H
#define SUBRELAY_DELIVER_OUTBOX_PRIVATE_H

/*
 * One destination's lanes in memory: which are known, which are due, which are ready to be sent,
 * which rest. Only the dispatcher uses it, under its lock. No I/O.
 *
 * States of a lane and who may move it on:
 *
 *   DUE       in the due list    the refill takes it to LOADING
 *   LOADING   the refill's       -> READY; SETTLING when what waits needs no call; gone when
 *                                nothing waits; RESTING when the store can't be read
 *   READY     in the ready list  a worker takes it to RUNNING; DUE again when news, or a reload,
 *                                came before its first call; SETTLING when before an event
 *   RUNNING   a worker's         -> READY (next call), SETTLING
 *   SETTLING  the store's        until all its reports are committed -> DUE, RESTING or gone
 *   RESTING   in the heap        -> DUE when its time has come or the workspace works again
 *
 * Forbidden: a lane that is RUNNING or SETTLING is never loaded (it would be sent twice).
 */

#include "base/backoff.h"
#include "base/heap.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "deliver/hold.h"
#include "deliver/lane.h"
#include "deliver/pace.h"
#include "deliver/worker.h"
#include "store/backend.h"

/* Left alone, the hash ends the process with exit(-1) and no word. */
#define uthash_malloc(size) xmalloc(size)
#include <uthash.h>

enum lane_state { LANE_DUE, LANE_LOADING, LANE_READY, LANE_RUNNING, LANE_SETTLING, LANE_RESTING };

/* What becomes of a lane when its reports are in. */
enum lane_after { AFTER_LEAVE, AFTER_DUE, AFTER_REST };

struct lane {
	int64_t contact_id;
	struct outbox *outbox;
	enum lane_state state;
	bool has_news;          /* work came after it was loaded */
	bool has_more;          /* more waits than was loaded */
	bool is_fresh;          /* in line with today's work, not with the backlog's */
	bool is_sure;           /* this process has made its update: what the store says was sent is
				   not doubted any more */
	int64_t found_event_id; /* the newest fresh event that it was found by */
	int64_t oldest_event_id; /* the oldest event of all that it was found by */
	unsigned attempts;       /* failed in a row */
	int64_t tried_ms;        /* patience used up; valid when attempts > 0, so is: */
	int64_t failed_mono_ms;  /* the last of them */
	bool is_remembered;      /* what was tried before this process began is in these */
	int64_t rest_until_mono_ms;
	enum lane_after after;
	struct lane_learnt learnt; /* by a run that the rate has broken off */
	unsigned reports;          /* on their way to the store */
	struct lane_run *run;      /* READY, RUNNING */
	struct errand errand;      /* the call under way; its `call` is lent by the run */
	struct conf *conf;         /* referenced while there is a run */
	struct heap_item rest;
	struct lane *prev;
	struct lane *next;
	UT_hash_handle hh;
};

/* Due lanes stand in two lines, served in turn. */
enum outbox_line { LINE_BACKLOG, LINE_FRESH, LINES };

/* Reads waiting work in order of arrival: behind `after`, to the last job of event `until`. */
struct cursor {
	struct lane_ref after;
	int64_t until;
};

struct outbox {
	int64_t id;
	char name[80];
	const struct conf_workspace *workspace; /* NULL: the configuration has no such workspace */
	struct pace pace;
	struct hold hold;
	struct lane *lanes; /* by contact_id */
	size_t lane_count;
	struct lane *due[LINES];
	size_t fresh_due_count;
	enum outbox_line line; /* the last one served */
	struct lane *ready;
	size_t ready_count;
	struct heap resting;
	size_t in_flight;
	struct cursor backlog;
	struct cursor fresh;         /* until is INT64_MAX */
	struct lane_ref fresh_since; /* where `fresh` began */
	unsigned splits;             /* how often both were set anew */
	int64_t doubt_until;         /* the last event when this process began */
	bool fresh_has_more;         /* new work was announced, or the last scan was full */
	bool is_paced; /* calls wait because of the rate: noticed by the last `next` */
	bool is_fresh_turn;
	struct outbox *following;
};

void outbox_init(struct outbox *outbox, int64_t id, const char *name);
/* Frees all lanes, whatever their state. */
void outbox_finish(struct outbox *outbox);

/* Splits what waits behind `from`, up to `last_event_id`, from what comes later: the first is
 * backlog, the second fresh. */
void outbox_split(struct outbox *outbox, struct lane_ref from, int64_t last_event_id);
/* Leaves the newest lanes in the fresh line, so many; the others are backlog, at its end. */
void outbox_age(struct outbox *outbox, size_t keep);
/* Behind everything of an event. */
struct lane_ref cursor_past(int64_t event_id);
/* False when the cursor is through. */
bool cursor_has_more(const struct cursor *cursor);

/* Work was found for a contact: a new lane, or news for a known one. */
void outbox_found(struct outbox *outbox, struct lane_ref ref, bool is_fresh);
bool outbox_has_due(const struct outbox *outbox);
/* Up to max due lanes, taken to LOADING. */
size_t outbox_take_due(struct outbox *outbox, struct lane **ret, size_t max, int64_t now_mono_ms);
/* LOADING -> READY with a run whose call is filled. */
void outbox_loaded(struct outbox *outbox, struct lane *lane, struct lane_run *run);
/* RUNNING -> READY, ahead of the others: its next call is filled. */
void outbox_continue(struct outbox *outbox, struct lane *lane);
/* READY -> DUE, first in line: its run, not begun yet, is out of date. */
void outbox_unload(struct outbox *outbox, struct lane *lane);
/* READY -> RUNNING. */
struct lane *outbox_take_ready(struct outbox *outbox);
/* LOADING or SETTLING -> where `after` says; the lane may be gone afterwards. */
void outbox_release(struct outbox *outbox, struct lane *lane);
/* Lanes whose rest is over become due; returns when the next one's is (INT64_MAX: none). */
int64_t outbox_wake(struct outbox *outbox, int64_t now_mono_ms);
/* All of them, now: the workspace works again. */
void outbox_wake_all(struct outbox *outbox);

#endif
