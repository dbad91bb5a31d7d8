#ifndef SUBRELAY_ADMIN_CONTROL_PRIVATE_H
#define SUBRELAY_ADMIN_CONTROL_PRIVATE_H

/*
 * Between the socket (control.c) and what is said over it (control_*.c).
 *
 * An answer is gathered whole before any of it is sent: the store is never kept waiting by a peer
 * that reads slowly.
 */

#include "admin/control.h"
#include "base/json_out.h"
#include "store/store.h"

#include <jansson.h>
#include <stdbool.h>

struct error;

#define CONTROL_REQUEST_MAX ((size_t)64 * 1024)
#define CONTROL_ANSWER_MAX ((size_t)64 * 1024 * 1024)
#define CONTROL_EVENTS_MAX 10000 /* rows of one listing */

/* One request being answered. */
struct control_call {
	const struct control_options *options; /* dispatcher and intake may be NULL (tests) */
	const struct store_backend *ops;
	struct backend *reader;
	const json_t *request;
	struct buf *answer;
	struct json_out row;
};

/* For a verb whose answer is no text to be gathered first: it takes the connection over. */
struct control_taker {
	bool (*take)(void *context, struct error *err);
	void *context;
	bool is_taken; /* then the answer is somebody else's to give */
};

/* The whole answer to one request: a line without its end, which may be anything. The reader is the
 * calling thread's. */
void control_answer(const struct control_options *options, struct backend *reader,
	struct control_taker *taker, const struct buf *line, struct buf *answer);

/* A row is a JSON object on a line of its own; control_row is ready for its keys. */
struct json_out *control_row(struct control_call *call);
void control_row_end(struct control_call *call);

/* The verbs: false with err, and what rows there are aren't sent. */
bool control_status(struct control_call *call, struct error *err);
bool control_events(struct control_call *call, struct error *err);
bool control_show(struct control_call *call, struct error *err);
bool control_retry(struct control_call *call, struct error *err);

/* key and a date as ISO 8601 in UTC; null for TIME_NONE. */
void control_key_time(struct json_out *out, const char *key, int64_t at_ms);

/* By the store's number or by the provider's id. False: no such event, or the store failed. The
 * text lives in the arena. */
bool control_find_event(struct control_call *call, const char *id, struct arena *arena,
	struct event_row *ret_row, struct error *err);

#endif
