#ifndef SUBRELAY_TESTS_SUPPORT_RIG_H
#define SUBRELAY_TESTS_SUPPORT_RIG_H

/*
 * The whole relay in one thread, with a clock that a test moves and an Intercom in the same
 * process: intake, store (SQLite in a folder of its own), dispatcher, and the stand-in as the wire.
 *
 * rig_step does what is due now: writes the queue out, refills, sends what may be sent and judges
 * the answers (an answer's delay is spent on the clock). rig_run goes on until nothing can happen
 * before `until`, moving the clock to the next due time by itself: hours pass in milliseconds.
 *
 * Failures of the rig itself are assertions of cmocka.
 */

#include "base/clock.h"
#include "conf/conf.h"
#include "deliver/dispatcher.h"
#include "intake.h"
#include "standin.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct rig {
	struct clock_fake clock;
	struct conf *conf;
	struct store *store;
	struct intake *intake;
	struct dispatcher *dispatcher;
	struct worker_feed feed;
	struct standin *standin;
	const struct store_backend *backend; /* NULL: SQLite; another one from rig_restart on */
	bool is_unreachable;                 /* no connection can be made */
	int64_t answer_ms;                   /* how long each call takes */
	/* Told when a call reaches Intercom and when its answer leaves: what happens in between is
	 * not the relay's. NULL: nobody. */
	void (*at_intercom)(bool is_there);
	int64_t wire_ahead_ms; /* Intercom's clock, before ours */
	/* The last webhook's answer. */
	unsigned status;
	int retry_after_s;
	char answer[512];
	int64_t calls;
	char folder[64];
	char *ini;
};

/* ini: text that follows a minimal configuration (may begin with keys of [delivery]). */
struct rig *rig_create(const char *ini, const struct standin_options *options);
void rig_destroy(struct rig *rig);

/* In two steps, for what may fail: prepared, the rig is stopped; started, it lives until it is
 * stopped, and may be started again. After a false it is stopped still. */
struct rig *rig_prepare(const char *ini, const struct standin_options *options);
bool rig_start(struct rig *rig, struct error *err);
/* What is queued is written, if the disk takes it; then the store is closed, and another process may
 * have it. Stopping a stopped one is fine. */
void rig_stop(struct rig *rig);

/* A SIGHUP with this text in place of the one before. */
void rig_reload(struct rig *rig, const char *ini);
/* As a kill and a new start: what was not committed is gone, the stand-in stays. */
void rig_restart(struct rig *rig);

/* Posts a body; writes it out at once. Returns the HTTP status. */
unsigned rig_post(struct rig *rig, const char *body);
/* {"api_version":"1.0","event":{…}} around a JSON object's members; single quotes stand for double.
 */
unsigned rig_post_event(struct rig *rig, const char *members, ...)
	__attribute__((format(printf, 2, 3)));

/* Our wall clock is set; Intercom's and the monotonic one are not. */
void rig_set_clock(struct rig *rig, int64_t by_ms);

/* True when anything was done. */
bool rig_step(struct rig *rig);
/* Runs for a span of the rig's time. */
void rig_run(struct rig *rig, int64_t span_ms);
/* Runs until nothing waits; an assertion when that takes longer than the span. */
void rig_drain(struct rig *rig, int64_t span_ms);

struct totals rig_totals(struct rig *rig);
/* The wanted attributes of a contact (by e-mail when there is an @ in it) as JSON, "" when there is
 * none. Caller frees. */
char *rig_wanted(struct rig *rig, const char *identity);
/* The first workspace's state: "ok", "holding", "paced". */
const char *rig_workspace_state(struct rig *rig);

#endif
