#ifndef SUBRELAY_DELIVER_CALL_H
#define SUBRELAY_DELIVER_CALL_H

/*
 * One HTTP call to Intercom, as data, and its reply: the seam between what is to be said
 * (intercom.c, lane.c) and the wire (worker.c with libcurl, dry_run.c, or a test's script).
 */

#include "base/buf.h"
#include "deliver/pace.h"

#include <stdbool.h>
#include <stdint.h>

enum call_kind {
	CALL_NONE,
	CALL_CREATE_CONTACT,    /* POST /contacts */
	CALL_UPDATE_CONTACT,    /* PUT /contacts/{id} */
	CALL_FIND_CONTACT,      /* GET /contacts/find_by_external_id/{external_id} */
	CALL_SEARCH_CONTACT,    /* POST /contacts/search, by e-mail */
	CALL_UNARCHIVE_CONTACT, /* POST /contacts/{id}/unarchive */
	CALL_SUBMIT_EVENT,      /* POST /events */
	CALL_CREATE_ATTRIBUTE,  /* POST /data_attributes */
	CALL_LIST_ATTRIBUTES,   /* GET /data_attributes?model=contact */
	CALL_ME,                /* GET /me */
};

/* "create_contact" … for the log and the attempts table. */
const char *call_kind_name(enum call_kind kind);

struct call {
	enum call_kind kind;
	const char *method; /* static */
	struct buf path;    /* "/contacts/6762f0dd" : after the base URL */
	struct buf body;    /* JSON; empty: none */
};

/* The headers that are the same on every call, as "Name: value"; NULL ends the list. The others are
 * Authorization and Intercom-Version. */
extern const char *const call_headers[];

void call_init(struct call *call);
void call_finish(struct call *call);
/* Ready to be filled again; keeps the memory. */
void call_clear(struct call *call);
/* Path or body did not fit into its maximum. Such a call is never sent: see reply_refuse. */
bool call_is_too_large(const struct call *call);

/* What became of it on the wire. */
enum wire {
	WIRE_ANSWERED,    /* status and body are valid */
	WIRE_UNREACHABLE, /* no connection: name, connect, TLS: surely not received */
	WIRE_BROKEN,      /* sent, but no whole answer: perhaps received */
};

#define REPLY_BODY_MAX ((size_t)256 * 1024)

struct reply {
	enum wire wire;
	char wire_error[160]; /* libcurl's words */
	long status;
	struct buf body;      /* may be empty, HTML, cut at REPLY_BODY_MAX (then overflowed) */
	char request_id[64];  /* X-Request-Id; "" when absent */
	char location_id[64]; /* contact id out of `Link: </contacts/ID>; rel="canonical"`; "" */
	struct pace_headers rate;
	int64_t elapsed_ms;
};

void reply_init(struct reply *reply);
void reply_finish(struct reply *reply);
void reply_clear(struct reply *reply);

/*
 * One response header line "Name: value\r\n", any case: fills request_id, location_id and rate. A
 * status line "HTTP/1.1 200 OK" forgets the headers before it (those of a 100 Continue) and fills
 * status and rate.too_many.
 */
void reply_take_header(struct reply *reply, const char *line, size_t len);
/* The relay's own answer, 414, to a call that is too large to be sent; its verdict is PARK. */
void reply_refuse(struct reply *reply);

#endif
