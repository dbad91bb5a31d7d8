#ifndef SUBRELAY_DELIVER_LANE_H
#define SUBRELAY_DELIVER_LANE_H

/*
 * One contact's waiting work, call by call: which call comes next, and what an answer means for it.
 *
 *   no id known --create (or find, search)--> id --unarchive--> update --> event, event …
 *                     ^                        |
 *                     '---- gone, merged ------'
 *   attribute missing --> create it, the same call again
 *
 * A run is loaded from the store, makes at most one call at a time, and collects what the store
 * must be told in a struct finish. It is pure but for its memory: no clock, no network, no store.
 * One owner at a time.
 *
 * Rules: the due attribute update comes first, then the events in the billing system's order.
 * Nothing to change, no call. A creation carries the attributes with it, so it is the update as
 * well.
 */

#include "deliver/call.h"
#include "deliver/verdict.h"
#include "store/backend.h"
#include "store/store.h"

#include <stdbool.h>

struct conf_workspace;

enum lane_result {
	LANE_CONTINUES, /* the next call is ready */
	LANE_DONE,      /* nothing is left of what was loaded */
	LANE_RETRIES,   /* later: the answer was no verdict on the work */
	LANE_PACED,     /* not now: the rate */
	LANE_HELD,      /* not now: the workspace refuses everybody */
};

/* What a run has found out at Intercom on the way to a call, and the store doesn't keep. */
struct lane_learnt {
	bool must_create;        /* nobody was found */
	bool attributes_refused; /* for good */
	char archived_id[64];    /* who has the external id is archived */
	char attribute[128];     /* the name that Intercom doesn't know */
};

struct lane_run {
	struct arena arena; /* of work */
	struct lane_work work;
	struct stored_contact *contact; /* &work.contact */
	char *wanted;                   /* custom attributes as JSON; "" when there are none */
	char intercom_id[64];           /* "" while not known */
	bool update_due;
	bool attributes_refused; /* for good: go on without them */
	bool must_create;        /* a search found nobody */
	bool must_find;          /* a creation was refused: it exists */
	bool is_archived;        /* intercom_id is an archived contact's */
	bool is_begun;           /* a call was made: not to be thrown away unreported */
	bool job_finished;       /* by the last answer */
	bool may_be_reread;      /* nothing is half done before this call: the rest may be loaded
				    anew once the report is in */
	char missing_attribute[128];
	unsigned mends; /* detours since a job was finished; bounded */
	size_t next_job;
	struct call call;      /* the one that is next or under way */
	struct finish *finish; /* what is to be reported; NULL: nothing yet */
};

/*
 * Takes the arena that `work` lives in. NULL when the store's attributes can't be read (err).
 * doubt_until: an update that an event up to this one asked for is made even where nothing seems to
 * change: a process that died may have sent anything and noted nothing.
 */
struct lane_run *lane_run_create_take(
	struct arena *arena, const struct lane_work *work, int64_t doubt_until, struct error *err);
void lane_run_destroy(struct lane_run *run);

/*
 * A call that the rate refuses is made again by another run, and that begins where this one was:
 * with a small allowance, those that need two calls in a row would not get any further else. What
 * the configuration doesn't ask for any more is left out. Before the first lane_next_call.
 */
struct lane_learnt lane_learnt(const struct lane_run *run);
bool lane_has_learnt(const struct lane_learnt *learnt);
void lane_recall(struct lane_run *run, const struct lane_learnt *learnt,
	const struct conf_workspace *workspace);

/* Fills run->call. False: nothing is left to do (jobs that need no call are finished on the way).
 */
bool lane_next_call(struct lane_run *run, const struct conf_workspace *workspace);

/* The answer to run->call. When LANE_CONTINUES the next call is in run->call. */
enum lane_result lane_take_verdict(struct lane_run *run, const struct conf_workspace *workspace,
	const struct verdict *verdict);

/* Parks what the current call was for, `reason` says why: for a delivery that is too old. */
void lane_give_up(struct lane_run *run, const char *reason, const char *request_id);

/* The event whose turn it is (its attempts are filed under it); 0 when none is left. */
int64_t lane_event_id(const struct lane_run *run);

/* Notes an attempt for the report. */
void lane_note_attempt(struct lane_run *run, const struct attempt *attempt);
/* The report so far, NULL when there is nothing to tell; the caller's. */
struct finish *lane_detach_finish(struct lane_run *run);

#endif
