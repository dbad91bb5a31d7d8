#ifndef SUBRELAY_INTAKE_H
#define SUBRELAY_INTAKE_H

/*
 * One webhook on its way in: verify, normalise, store, answer.
 *
 * | case                                            | answer |
 * | stored                                          | 200 {"status":"accepted"} |
 * | (source, event id) seen before                  | 200 {"status":"duplicate"} |
 * | understood and not relayed                      | 200 {"status":"ignored","reason":…} |
 * | wrong or missing Authorization or signature     | 401 |
 * | not JSON, or no usable event                    | 400 {"error":…} |
 * | the store can't take it, or the daemon stops    | 503 with Retry-After |
 *
 * The answer is given after the commit, from the store's thread; until then the request costs
 * memory but no thread. Nothing here knows HTTP beyond status codes: the listener's routes, replay
 * and tests all come in by intake_receive.
 *
 * Threads: intake_receive from any.
 */

#include "source/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock;
struct conf;
struct intake;
struct store;

struct intake_answer {
	unsigned status;   /* HTTP */
	const char *body;  /* JSON; valid during the callback */
	int retry_after_s; /* 0: none */
};

/* One request. The body must stay valid until `answer` was called, which happens exactly once,
 * perhaps before intake_receive returns. */
struct intake_request {
	struct conf *conf; /* referenced by the intake until answered */
	const struct conf_source *section;
	const char *(*header)(
		void *context, const char *name); /* used before intake_receive returns */
	const char *body;
	size_t body_len;
	void (*answer)(void *context, const struct intake_answer *answer);
	void *context;
};

/* Requests that were turned away, since the start. */
struct intake_counts {
	int64_t unauthorized;
	int64_t malformed;
	int64_t failed; /* answered 503 */
};

struct intake *intake_create(struct store *store, const struct clock *clock);
void intake_destroy(struct intake *intake);

/* Before the body is read, from the headers alone (`body` and `answer` are not used): false when it
 * can only end in 401; it is counted and logged then. */
bool intake_screen(struct intake *intake, const struct intake_request *request);
void intake_receive(struct intake *intake, const struct intake_request *request);
/* From now on every request is answered 503. */
void intake_stop(struct intake *intake);
/* Webhooks that the store has and that are not answered yet. */
size_t intake_in_hand(const struct intake *intake);
void intake_count(const struct intake *intake, struct intake_counts *ret);

#endif
