#ifndef SUBRELAY_SOURCE_SOURCE_H
#define SUBRELAY_SOURCE_SOURCE_H

/*
 * A source is a billing system that posts webhooks: one file that verifies and normalises, and the
 * plan of what its events mean to Intercom. Another source is another file and one line in
 * source.c.
 *
 * All functions are pure with respect to the process (no network, no store, no clock of their own)
 * and may be called from any thread at the same time.
 *
 *   screen      once per request, before its body is read: can it be them at all?
 *   verify      once per request, before anything is parsed: is it really them, is it fresh?
 *   normalise   once per verified body: their JSON -> struct event
 *   plan        inside the store's transaction: event and what is known of the customer -> what it
 *               changes
 */

#include "conf/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct conf_source;
struct conf_report;
struct error;
struct event;
struct ledger;
struct plan;

/* What verify may look at. `header` finds a request header by its name, in any case; NULL: absent.
 */
struct source_request {
	const char *(*header)(void *context, const char *name);
	void *context;
	const char *body; /* raw bytes, not NUL-terminated */
	size_t body_len;
	int64_t now_ms; /* wall */
};

/* A key of [event_names] or [attributes] that the source brings. */
struct source_name {
	const char *key;
	const char *fallback;     /* default name; NULL: off unless turned on */
	const char *name_when_on; /* the name that `on` means */
};

struct source {
	const char *name; /* the section's and `-s`'s name: "revenuecat" */
	const struct option *options;
	size_t options_size;                   /* of the struct that `options` fills */
	const struct source_name *event_names; /* each ends with a NULL key */
	const struct source_name *attributes;

	/* After loading: cross-checks between options. Adds what is wrong to err (one problem). May
	 * be NULL. `options` is the filled struct; conf is complete but for this. */
	bool (*check)(
		const struct conf *conf, const struct conf_source *section, struct error *err);
	/* Borrowed from the options struct: URL path; workspace's name ("" when not given). */
	const char *(*path)(const void *options);
	const char *(*workspace)(const void *options);
	/* Whether these options let anybody in: then only loopback may be listened on, also by a
	 * passed socket. NULL: they never do. */
	bool (*allows_anyone)(const void *options);

	/* Looks at the headers alone (`body` is NULL). False: answer 401, whatever the body is, so
	 * that nobody's memory is spent on it. NULL: the headers tell nothing. What passes is
	 * verified all the same. */
	bool (*screen)(const struct conf_source *section, const struct source_request *request,
		struct error *err);
	/* False: answer 401 (err says why, for the log only). */
	bool (*verify)(const struct conf_source *section, const struct source_request *request,
		struct error *err);
	/* Returns NULL when the body is not usable: answer 400 with err's text. The event is the
	 * caller's, to be destroyed with event_destroy. An event that is understood and not relayed
	 * has `ignored` set. */
	struct event *(*normalise)(const struct conf *conf, const struct conf_source *section,
		const char *body, size_t body_len, struct error *err);
	/* Fills the plan. `ledger` loads customers on demand (see plan.h). False only when the
	 * store fails underneath. */
	bool (*plan)(const struct conf *conf, const struct conf_source *section,
		const struct event *event, struct ledger *ledger, struct plan *plan,
		struct error *err);
};

/* All sources there are; ends with NULL. */
const struct source *const *source_all(void);

#endif
