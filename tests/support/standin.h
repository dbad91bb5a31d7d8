#ifndef SUBRELAY_TESTS_SUPPORT_STANDIN_H
#define SUBRELAY_TESTS_SUPPORT_STANDIN_H

/*
 * Intercom, as far as subrelay meets it: a stateful stand-in that remembers contacts, attributes
 * and events, counts calls in fixed rate windows, and fails on cue.
 *
 * A library without sockets, clock or threads: a test hands it a request and the time, and gets the
 * answer. standin_main.c serves it over HTTP. It knows Intercom (by its OpenAPI description 2.15,
 * recorded traffic and the documentation) and nothing of subrelay, so that a mistake there is not
 * repeated here.
 *
 * It is stricter than Intercom where a client that does its job never gets to: an unknown body key,
 * an eleventh metadata key, a created_at that isn't ten digits are refused with 400, and the reason
 * is kept in a list of *violations* that a test expects to be empty.
 *
 * Single-threaded. An instance is independent of every other.
 */

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct standin;

struct standin_options {
	const char *token;       /* NULL: any Authorization will do. Copied. */
	int64_t limit;           /* calls per window; 0: no limit, and no X-RateLimit headers */
	int64_t window_ms;       /* 0: 10,000. Windows begin at multiples of it. */
	int64_t reset_offset_ms; /* X-RateLimit-Reset is the window's end + this (Intercom: 2,000)
				  */
	int64_t delay_ms;        /* every answer's delay_ms */
	bool no_headers;         /* keeps the limit and leaves out the headers */
	bool strict_attributes;  /* a custom attribute must exist and have the right type */
	bool light; /* for the bench: no validation, and only contacts and numbers are kept */
};

struct standin_request {
	const char *method;
	const char *path;          /* as on the wire: percent-encoded, with the query */
	const char *authorization; /* headers; NULL: absent */
	const char *intercom_version;
	const char *accept;
	const char *content_type;
	const char *body; /* not NUL-terminated; may be NULL when body_len is 0 */
	size_t body_len;
};

enum standin_drop {
	STANDIN_ANSWER,
	STANDIN_DROP_BEFORE, /* close the connection: the call had no effect */
	STANDIN_DROP_AFTER,  /* close the connection: the call took effect */
	STANDIN_DROP_MIDWAY, /* took effect; send half of the answer, then close */
};

struct standin_answer {
	int status;
	struct buf headers; /* "Name: value\r\n" …, without Content-Length and Connection */
	struct buf body;
	int64_t delay_ms; /* wait so long before it is sent */
	enum standin_drop drop;
};

enum standin_call_kind {
	STANDIN_CREATE_CONTACT,
	STANDIN_UPDATE_CONTACT,
	STANDIN_GET_CONTACT,
	STANDIN_FIND_CONTACT,
	STANDIN_SEARCH_CONTACT,
	STANDIN_ARCHIVE_CONTACT,
	STANDIN_UNARCHIVE_CONTACT,
	STANDIN_DELETE_CONTACT,
	STANDIN_SUBMIT_EVENT,
	STANDIN_CREATE_ATTRIBUTE,
	STANDIN_LIST_ATTRIBUTES,
	STANDIN_ME,
	STANDIN_OTHER,
	STANDIN_CALL_KINDS,
};

struct standin_totals {
	int64_t calls; /* all, refused and dropped ones too */
	int64_t by_kind[STANDIN_CALL_KINDS];
	int64_t contacts;
	int64_t events;           /* distinct */
	int64_t events_repeated;  /* accepted again, and not counted */
	int64_t refused;          /* 429 by the window */
	int64_t window_calls_max; /* the most calls of one window, refused ones counted */
	int64_t violations;
};

struct standin_event {
	const char *contact_id;
	const char *external_id; /* "" when the contact has none */
	const char *name;
	const char *metadata; /* JSON, compact, keys in the order they came; "{}" when absent */
	int64_t created_at;
	int64_t at_ms; /* when it came */
};

struct standin_window {
	int64_t start_ms;
	int64_t calls; /* refused ones counted */
	int64_t refused;
};

struct standin *standin_create(const struct standin_options *options);
void standin_destroy(struct standin *standin); /* NULL is fine */
/* Takes new options over; what happened so far stays. */
void standin_configure(struct standin *standin, const struct standin_options *options);
const struct standin_options *standin_get_options(const struct standin *standin);
/* As newly created, with the options of now. */
void standin_reset(struct standin *standin);

void standin_answer_init(struct standin_answer *answer);
void standin_answer_finish(struct standin_answer *answer);

/* now_ms: unix time; it doesn't have to move on. The answer is the caller's, initialised once and
 * used again for every call. */
void standin_handle(struct standin *standin, int64_t now_ms, const struct standin_request *request,
	struct standin_answer *ret_answer);

/*
 * Adds a scripted fault (a JSON object) or several (an array of them). A call meets the first rule
 * that matches it and is due:
 *
 *   method "POST", path "/contacts" (a prefix), body "text in it",
 *   contact "u1" (an external id: calls about it)   all given ones must match; none: every call
 *   nth 1, times 1              from the nth matching call on, so many times; 0: always
 *   status 503                  this answer instead of the real one, with
 *   answer {...} or "text"      this body, or
 *   code "server_error", message "..."   an error envelope
 *   headers {"Retry-After":"3"}          and these headers besides
 *   took_effect true            the call is carried out all the same
 *   drop "before" | "after" | "midway"   see enum standin_drop
 *   delay_ms 2000               besides the options' own
 */
bool standin_add_rules(struct standin *standin, const char *json, size_t len, struct error *err);
void standin_clear_rules(struct standin *standin);

/*
 * Presets a contact, or changes the one with this external_id: {"external_id":"u1","id":"24 hex",
 * "email":"…","role":"user","state":"live|archived|deleted|merged","merged_into":"24 hex",
 * "custom_attributes":{…}}, all optional. ret_id (may be NULL): at least 25 bytes.
 */
bool standin_add_contact(
	struct standin *standin, const char *json, size_t len, char *ret_id, struct error *err);
/* Presets a custom attribute of contacts. data_type: "string", "integer", "datetime" … */
void standin_add_attribute(struct standin *standin, const char *name, const char *data_type);

/* What is there. Pointers stay valid until the next call that changes anything. */
void standin_get_totals(const struct standin *standin, struct standin_totals *ret_totals);
const char *standin_call_kind_name(enum standin_call_kind kind); /* "create_contact" … */
/* A contact's custom attribute as JSON text; NULL: no such contact, or not set. */
const char *standin_attribute(
	const struct standin *standin, const char *external_id, const char *name);
/* "live", "archived", "deleted", "merged"; NULL: no such contact. */
const char *standin_contact_state(const struct standin *standin, const char *external_id);
/* The contact's id; NULL: no such contact. */
const char *standin_contact_id(const struct standin *standin, const char *external_id);
/* Distinct events in the order they came (none in light mode). */
size_t standin_event_count(const struct standin *standin);
void standin_event_at(const struct standin *standin, size_t i, struct standin_event *ret_event);
size_t standin_violation_count(const struct standin *standin);
const char *standin_violation_at(const struct standin *standin, size_t i);
size_t standin_window_count(const struct standin *standin);
const struct standin_window *standin_window_at(const struct standin *standin, size_t i);

/* Everything, as one JSON object: see standin_report.c. */
void standin_write_state(const struct standin *standin, struct buf *ret);
/* The numbers alone. */
void standin_write_totals(const struct standin *standin, struct buf *ret);

#endif
