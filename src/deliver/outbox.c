/*
 * Lists, heap and hash of one destination's lanes; see outbox_private.h for the states.
 */

#include "outbox_private.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

void outbox_init(struct outbox *outbox, int64_t id, const char *name)
{
	*outbox = (struct outbox){.id = id};
	(void)snprintf(outbox->name, sizeof(outbox->name), "%s", name);
	heap_init(&outbox->resting);
	outbox->fresh.until = INT64_MAX;
	outbox_split(outbox, cursor_past(0), 0);
}

static void free_lane(struct lane *lane)
{
	lane_run_destroy(lane->run);
	reply_finish(&lane->errand.reply);
	conf_unref(lane->conf);
	free(lane);
}

static void remove_lane(struct outbox *outbox, struct lane *lane)
{
	/* The analyzer takes the hash's next lane for the one that was freed before. */
	HASH_DEL(outbox->lanes, lane); /* NOLINT(clang-analyzer-unix.Malloc) */
	outbox->lane_count--;
	free_lane(lane);
}

void outbox_finish(struct outbox *outbox)
{
	struct lane *lane = NULL;
	struct lane *next = NULL;

	/* The heap first: it marks its items as in no heap, and they are parts of the lanes. */
	heap_finish(&outbox->resting);
	HASH_ITER (hh, outbox->lanes, lane, next) {
		remove_lane(outbox, lane);
	}
}

static enum outbox_line line_of(const struct lane *lane)
{
	return lane->is_fresh ? LINE_FRESH : LINE_BACKLOG;
}

static void leave_line(struct outbox *outbox, struct lane *lane)
{
	DL_DELETE(outbox->due[line_of(lane)], lane);
	outbox->fresh_due_count -= lane->is_fresh;
}

static void join_line(struct outbox *outbox, struct lane *lane)
{
	DL_APPEND(outbox->due[line_of(lane)], lane);
	outbox->fresh_due_count += lane->is_fresh;
}

/*
 * Out of the fresh line. What the fresh cursor found lies in what is backlog from now on, and needs no
 * memory until it is found there. What came before that the backlog's cursor may have passed already
 * (and what the lane was found by since may be done: a late event goes before those that wait), a
 * lane that failed knows how often, one that the rate has broken off how far it was: these stay, in
 * the other line.
 */
static void leave_fresh_line(struct outbox *outbox, struct lane *lane)
{
	const bool is_found_again = lane->oldest_event_id > outbox->fresh_since.event_id &&
		lane->attempts == 0 && !lane_has_learnt(&lane->learnt);

	leave_line(outbox, lane);
	if (is_found_again) {
		remove_lane(outbox, lane);
		return;
	}
	lane->is_fresh = false;
	join_line(outbox, lane);
}

void outbox_age(struct outbox *outbox, size_t keep)
{
	const struct lane_ref from =
		cursor_has_more(&outbox->backlog) ? outbox->backlog.after : outbox->fresh_since;
	int64_t last_id = outbox->fresh_since.event_id;

	while (outbox->fresh_due_count > keep) {
		struct lane *lane = outbox->due[LINE_FRESH];

		if (lane->found_event_id > last_id)
			last_id = lane->found_event_id;
		leave_fresh_line(outbox, lane);
	}
	outbox->backlog = (struct cursor){.after = from, .until = last_id};
	outbox->fresh_since = cursor_past(last_id);
}

void outbox_split(struct outbox *outbox, struct lane_ref from, int64_t last_event_id)
{
	while (outbox->due[LINE_FRESH] != NULL)
		leave_fresh_line(outbox, outbox->due[LINE_FRESH]);
	outbox->backlog = (struct cursor){.after = from, .until = last_event_id};
	outbox->fresh.after = cursor_past(last_event_id);
	outbox->fresh_since = outbox->fresh.after;
	outbox->fresh_has_more = true;
	outbox->splits++;
}

struct lane_ref cursor_past(int64_t event_id)
{
	return (struct lane_ref){.event_id = event_id, .contact_id = INT64_MAX};
}

bool cursor_has_more(const struct cursor *cursor)
{
	return cursor->after.event_id < cursor->until ||
		(cursor->after.event_id == cursor->until && cursor->after.contact_id < INT64_MAX);
}

static void make_due(struct outbox *outbox, struct lane *lane)
{
	lane->state = LANE_DUE;
	lane->has_news = false;
	join_line(outbox, lane);
}

bool outbox_has_due(const struct outbox *outbox)
{
	return outbox->due[LINE_BACKLOG] != NULL || outbox->due[LINE_FRESH] != NULL;
}

/* Today's news for a contact whose backlog is in memory: it goes with today's. */
static void freshen(struct outbox *outbox, struct lane *lane, int64_t event_id)
{
	const bool is_in_line = lane->state == LANE_DUE && !lane->is_fresh;

	if (is_in_line)
		leave_line(outbox, lane);
	lane->is_fresh = true;
	lane->found_event_id = event_id;
	if (is_in_line)
		join_line(outbox, lane);
}

void outbox_found(struct outbox *outbox, struct lane_ref ref, bool is_fresh)
{
	struct lane *lane;

	HASH_FIND(hh, outbox->lanes, &ref.contact_id, sizeof(ref.contact_id), lane);
	if (lane != NULL) {
		lane->has_news = true;
		if (ref.event_id < lane->oldest_event_id)
			lane->oldest_event_id = ref.event_id;
		if (is_fresh)
			freshen(outbox, lane, ref.event_id);
		return;
	}
	lane = xcalloc(1, sizeof(*lane));
	lane->contact_id = ref.contact_id;
	lane->outbox = outbox;
	lane->is_fresh = is_fresh;
	lane->found_event_id = lane->oldest_event_id = ref.event_id;
	lane->rest.owner = lane;
	reply_init(&lane->errand.reply);
	lane->errand.owner = lane;
	HASH_ADD(hh, outbox->lanes, contact_id, sizeof(lane->contact_id), lane);
	outbox->lane_count++;
	make_due(outbox, lane);
}

size_t outbox_take_due(struct outbox *outbox, struct lane **ret, size_t max, int64_t now_mono_ms)
{
	size_t count = 0;

	(void)outbox_wake(outbox, now_mono_ms);
	while (count < max && outbox_has_due(outbox)) {
		outbox->line = outbox->line == LINE_FRESH ? LINE_BACKLOG : LINE_FRESH;
		if (outbox->due[outbox->line] == NULL)
			outbox->line = outbox->line == LINE_FRESH ? LINE_BACKLOG : LINE_FRESH;
		struct lane *lane = outbox->due[outbox->line];

		assert(lane->state == LANE_DUE);
		leave_line(outbox, lane);
		lane->state = LANE_LOADING;
		lane->has_news = false;
		ret[count++] = lane;
	}
	return count;
}

void outbox_loaded(struct outbox *outbox, struct lane *lane, struct lane_run *run)
{
	assert(lane->state == LANE_LOADING && lane->run == NULL);
	lane->run = run;
	lane->state = LANE_READY;
	DL_APPEND(outbox->ready, lane);
	outbox->ready_count++;
}

void outbox_continue(struct outbox *outbox, struct lane *lane)
{
	assert(lane->state == LANE_RUNNING);
	lane->state = LANE_READY;
	DL_PREPEND(outbox->ready, lane);
	outbox->ready_count++;
}

void outbox_unload(struct outbox *outbox, struct lane *lane)
{
	assert(lane->state == LANE_READY && !lane->run->is_begun);
	DL_DELETE(outbox->ready, lane);
	outbox->ready_count--;
	lane_run_destroy(lane->run);
	lane->run = NULL;
	conf_unref(lane->conf);
	lane->conf = NULL;
	lane->state = LANE_DUE;
	DL_PREPEND(outbox->due[line_of(lane)], lane);
	outbox->fresh_due_count += lane->is_fresh;
}

struct lane *outbox_take_ready(struct outbox *outbox)
{
	struct lane *lane = outbox->ready;

	if (lane == NULL)
		return NULL;
	assert(lane->state == LANE_READY);
	DL_DELETE(outbox->ready, lane);
	outbox->ready_count--;
	lane->state = LANE_RUNNING;
	return lane;
}

void outbox_release(struct outbox *outbox, struct lane *lane)
{
	assert(lane->state == LANE_LOADING || lane->state == LANE_SETTLING);
	assert(lane->run == NULL && lane->reports == 0);
	/* A contact with more than one load waiting is a backlog of its own. */
	lane->is_fresh &= !lane->has_more;
	if (lane->after == AFTER_REST) {
		lane->state = LANE_RESTING;
		heap_insert(&outbox->resting, &lane->rest, lane->rest_until_mono_ms);
	} else if (lane->after == AFTER_DUE || lane->has_news) {
		make_due(outbox, lane);
	} else {
		remove_lane(outbox, lane);
	}
}

int64_t outbox_wake(struct outbox *outbox, int64_t now_mono_ms)
{
	struct heap_item *first;

	while ((first = heap_peek(&outbox->resting)) != NULL) {
		if (first->key > now_mono_ms)
			return first->key;
		make_due(outbox, heap_pop(&outbox->resting)->owner);
	}
	return INT64_MAX;
}

void outbox_wake_all(struct outbox *outbox)
{
	(void)outbox_wake(outbox, INT64_MAX);
}
