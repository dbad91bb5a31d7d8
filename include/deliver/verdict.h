#ifndef SUBRELAY_DELIVER_VERDICT_H
#define SUBRELAY_DELIVER_VERDICT_H

/*
 * What an answer of Intercom means: one pure function from (kind of call, reply) to a verdict.
 *
 * The HTTP status decides first; the body is read opportunistically (gateways send HTML, 5xx bodies
 * may be empty). Sources: Intercom's API reference (http-responses, error-codes) and recorded answers.
 *
 * | answer                                               | verdict |
 * | 2xx                                                  | DONE (contact_id when the body has one) |
 * | 2xx on create, find, unarchive without a contact id  | RETRY |
 * | 2xx with HTML or cut JSON (not one cut for its size) | RETRY |
 * | 401, 402, 403, 406, 407                              | HOLD |
 * | 4xx intercom_version_invalid, api_plan_restricted, unauthorized, token_… | HOLD |
 * | 429                                                  | PACED |
 * | 408, 425, 5xx, 3xx, wire errors                      | RETRY |
 * | 4xx whose code says that (server_error, rate_limit_exceeded …) | RETRY |
 * | 409 "… already exists with id=X" on create           | EXISTS with contact_id; "" when it can't be read |
 * | 409 "An archived contact … id=X" on create           | ARCHIVED with contact_id; "" likewise |
 * | 404 on update, unarchive, event; contact find        | GONE (the id is stale, or there is none) |
 * | 410, or 404 with a Link to the canonical contact, on those | MERGED with contact_id when it is told |
 * | 400/422 "Custom attribute 'x' does not exist" on create, update | ATTRIBUTE_MISSING with attribute |
 * | 400/409/422 "You already have 'x' …" on create attribute | DONE, unless it is company data that has it |
 * | search: 200 with one hit / none / several            | DONE with contact_id / GONE / PARK (ambiguous) |
 * | search, list of attributes: 200 without a data array | RETRY |
 * | 409 "Multiple existing users …"                      | PARK (ambiguous) |
 * | any other 4xx, e.g. 400 parameter_invalid, 404 elsewhere, 422 | PARK |
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

/* Intercom's ids are 24 hex digits, but any run of [0-9A-Za-z_-] up to 63 bytes after "id=" is taken. */
void verdict_of(enum call_kind kind, const struct reply *reply, struct verdict *ret_verdict);

#endif
