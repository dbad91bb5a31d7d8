#ifndef SUBRELAY_DELIVER_VERDICT_H
#define SUBRELAY_DELIVER_VERDICT_H

/*
 * What an answer of Intercom means: one pure function from (kind of call, reply) to a verdict.
 *
 * The HTTP status decides first; the body is read opportunistically (gateways send HTML, 5xx bodies
 * may be empty). Sources: Intercom's API reference (http-responses, error-codes) and recorded
 * answers.
 *
 * | answer                                                      | verdict                         |
 * | 2xx                                                         | DONE (contact_id when told)     |
 * | 2xx without an id on create, find, unarchive                | RETRY                           |
 * | 2xx with HTML or JSON cut on the way                        | RETRY                           |
 * | 401, 402, 403, 406, 407                                     | HOLD                            |
 * | 4xx intercom_version_invalid, token_… and such              | HOLD                            |
 * | 429                                                         | PACED                           |
 * | 408, 425, 5xx, 3xx, wire errors                             | RETRY                           |
 * | 4xx server_error, rate_limit_exceeded and such              | RETRY                           |
 * | 409 "… already exists with id=X" on create                  | EXISTS, contact_id if legible   |
 * | 409 "An archived contact … id=X" on create                  | ARCHIVED, contact_id if legible |
 * | 404 on update, unarchive, event, find                       | GONE (a stale id, or nobody)    |
 * | 410 on those, or 404 with a canonical Link                  | MERGED, contact_id if told      |
 * | 400, 422 "Custom attribute 'x' does not exist" on a contact | ATTRIBUTE_MISSING, attribute    |
 * | 4xx "You already have 'x' …" on create attribute            | DONE                            |
 * | the same "in your company data"                             | PARK (names are shared)         |
 * | search: one hit / none / several                            | DONE / GONE / PARK (ambiguous)  |
 * | search, list of attributes without a data array             | RETRY                           |
 * | 409, 400 "Multiple existing users …"                        | PARK (ambiguous)                |
 * | any other 4xx (400 parameter_invalid, 404 elsewhere …)      | PARK                            |
 */

#include "deliver/call.h"

enum verdict_kind {
	VERDICT_DONE,
	VERDICT_RETRY,
	VERDICT_PACED,
	VERDICT_HOLD,
	VERDICT_PARK,
	VERDICT_EXISTS,
	VERDICT_ARCHIVED,
	VERDICT_GONE,
	VERDICT_MERGED,
	VERDICT_ATTRIBUTE_MISSING,
};

const char *verdict_kind_name(enum verdict_kind kind); /* "done", "retry" … */

struct verdict {
	enum verdict_kind kind;
	char contact_id[64]; /* "" when not told */
	char attribute[128]; /* ATTRIBUTE_MISSING */
	char reason[240];    /* for people: "400 parameter_invalid: Custom attribute …", e-mail
			      * addresses left out; "" when DONE by a 2xx */
	char request_id[64]; /* from the header, else the body; "" */
	bool unreachable;    /* RETRY: no connection could be made */
};

/* Intercom's ids are 24 hex digits, but any run of [0-9A-Za-z_-] up to 63 bytes after "id=" is
 * taken. */
void verdict_of(enum call_kind kind, const struct reply *reply, struct verdict *ret_verdict);

#endif
