#ifndef SUBRELAY_CONF_CONF_H
#define SUBRELAY_CONF_CONF_H

/*
 * The configuration: defaults, then the INI file, then the environment, into one immutable struct.
 *
 * conf_load reports every problem at once, each with file and line (or the name of the environment
 * variable), and gives no conf when there is one. A loaded conf never changes; SIGHUP loads a new
 * one. It is reference-counted: intake, delivery and control hold the one they began with.
 *
 * Sections: those of the tables in tables.c, one section (and any number of `[NAME.suffix]`) per
 * source in source_all(), whose options the source brings itself, and `[intercom]` /
 * `[intercom.NAME]`, one per workspace. Environment: SUBRELAY_<SECTION>[_<SUFFIX>]_<KEY>, upper
 * case, '-' and '.' as '_'. A variable SUBRELAY_… that matches no option is a warning, not a
 * problem. A blank value, in the file or in the environment, stands for the default (for a secret:
 * for none).
 *
 * A value is the whole rest of its line, without the blanks around it: there are no comments after
 * a value, no quotes and no continued lines.
 *
 * Secrets: KEY, or KEY_file naming a file that holds nothing but the secret, with or without a
 * newline at its end (a relative path is looked up in $CREDENTIALS_DIRECTORY first, then beside the
 * INI file); both given is a problem. In the environment either one replaces both of the file.
 *
 * Threads: conf_load is called by one thread at a time; a struct conf may be read from any thread.
 */

#include "base/log.h"
#include "base/secret.h"
#include "conf/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;

/* One `listen` address: "127.0.0.1:8080" or "[::1]:8080". */
struct conf_address {
	char host[64]; /* without brackets */
	uint16_t port; /* 0: any free port (for tests) */
	bool is_ipv6;
	bool is_loopback;
};

struct conf_server {
	struct conf_address listen;
	char *tls_certificate; /* path of a PEM file; both or neither */
	char *tls_key;
	int64_t body_max;           /* bytes */
	int64_t request_timeout_ms; /* from the first byte of a request to its last */
	int64_t connections_max;
};

struct conf_store {
	char *path;
	int64_t keep_delivered_ms; /* INT64_MAX: forever */
	int64_t keep_parked_ms;
};

enum conf_mode { CONF_MODE_AUTO, CONF_MODE_LIVE, CONF_MODE_DRY_RUN };
enum conf_region { CONF_REGION_US, CONF_REGION_EU, CONF_REGION_AU };
enum conf_unmatched { CONF_UNMATCHED_CREATE, CONF_UNMATCHED_SKIP };
enum conf_archived { CONF_ARCHIVED_UNARCHIVE, CONF_ARCHIVED_SKIP };

/* One Intercom workspace: `[intercom]` (name "") or `[intercom.NAME]`. */
struct conf_workspace {
	char *name; /* "" for the plain section */
	struct secret access_token;
	int mode; /* enum conf_mode; never AUTO once loaded */
	int region;
	char *base_url; /* without a trailing '/'; filled in by region when not given */
	char *api_version;
	int unmatched;
	int archived;
	bool create_attributes;
};

#define CONF_RATE_AUTO 0

struct conf_delivery {
	int64_t workers;
	int64_t connections;
	int64_t retry_base_ms;
	int64_t retry_cap_ms;
	int64_t give_up_after_ms;
	int64_t rate_limit; /* calls per 10 s over each workspace; CONF_RATE_AUTO: by Intercom's
			       headers */
};

/* One section of a source: `[revenuecat]` (name "revenuecat") or `[revenuecat.ios]`. */
struct conf_source {
	const struct source *source;
	char *name;      /* the section's name */
	void *options;   /* the source's own struct, filled by its option table */
	char *path;      /* URL path; copied out of the source's options after loading */
	char *workspace; /* name of the [intercom.NAME] that its events go to, "" for [intercom] */
};

struct conf_log {
	int level;  /* enum log_level */
	int format; /* enum log_format */
};

struct conf_control {
	char *socket;
};

/* `[event_names]` and `[attributes]` are open lists of what the sources can send (see source.h). */
struct conf_name {
	char *key;
	char *name; /* what is written; NULL: off */
};

struct conf {
	struct conf_server server;
	struct conf_store store;
	struct conf_delivery delivery;
	struct conf_log log;
	struct conf_control control;
	struct conf_workspace *workspaces;
	size_t workspace_count; /* at least 1: [0] is the plain [intercom] */
	struct conf_source *sources;
	size_t source_count;
	struct conf_name *event_names; /* a row per key that any source knows */
	size_t event_name_count;
	struct conf_name *attributes;
	size_t attribute_count;
	int references; /* atomic */
};

struct conf_problem {
	char *where; /* "FILE:LINE", "FILE" (it can't be read) or "environment:NAME" */
	char *text;  /* never holds a secret */
	int line;    /* of the file; 0: none */
	bool is_warning;
};

/* In the order of the file's lines, then the environment's. After 200 the rest is only counted. */
struct conf_report {
	struct conf_problem *problems;
	size_t count;
	size_t error_count; /* those that are not warnings, counted past the 200 as well */
};

/*
 * Loads `path` (NULL: no file, defaults and environment alone). `environment` is an array like
 * environ, ending with NULL. Returns NULL when the report holds an error. The report is the
 * caller's, to be finished with conf_report_finish in both cases.
 */
struct conf *conf_load(const char *path, char *const *environment, struct conf_report *ret_report);

/* For `map`: like conf_load, but a missing secret is no problem, and a missing source section
 * counts as given with its defaults. */
struct conf *conf_load_for_map(
	const char *path, char *const *environment, struct conf_report *ret_report);

void conf_report_finish(struct conf_report *report);

struct conf *conf_ref(struct conf *conf);
void conf_unref(struct conf *conf); /* NULL is fine */

/* NULL when there is none of that name. */
const struct conf_workspace *conf_workspace_get(const struct conf *conf, const char *name);
const struct conf_source *conf_source_get(const struct conf *conf, const char *name);
/* The configured name under `key`; NULL when it is off. An unknown key is an assertion. */
const char *conf_event_name(const struct conf *conf, const char *key);
const char *conf_attribute_name(const struct conf *conf, const char *key);

/* Names the first option that differs and that only a restart can change ("server.listen"; for a
 * workspace that came or went "[intercom.NAME]"); a literal; NULL when there is none. */
const char *conf_needs_restart(const struct conf *before, const struct conf *after);

/* Every table with its section's name, for the manual's and the sample file's tests. `call` returns
 * false to stop. */
void conf_each_table(bool (*call)(void *context, const char *section, const struct option *table),
	void *context);

#endif
