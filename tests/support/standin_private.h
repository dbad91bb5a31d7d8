#ifndef SUBRELAY_TESTS_SUPPORT_STANDIN_PRIVATE_H
#define SUBRELAY_TESTS_SUPPORT_STANDIN_PRIVATE_H

/* The inside of the stand-in, shared by standin.c (front: token, rate, routes), standin_rules.c
 * (faults), standin_people.c, standin_attributes.c and standin_events.c (what a call does), and
 * standin_report.c (what it tells). */

#include "support/lookup.h"
#include "support/standin.h"

#include <jansson.h>

#define ID_LEN 24
#define TEXT_MAX 255 /* characters of an attribute or of a metadata value */
#define LOG_MAX 200000
#define VIOLATIONS_MAX 1000
#define WINDOWS_MAX 10000

enum contact_state { CONTACT_LIVE, CONTACT_ARCHIVED, CONTACT_DELETED, CONTACT_MERGED };

struct attribute_name {
	struct lookup_node by_name;
	struct attribute_name *next; /* in order of appearance */
	char *name;
	char *data_type; /* "string" … */
	bool exists;     /* created or preset; else only seen in a call */
	int64_t id;
};

struct attribute_value {
	struct attribute_name *name;
	char *json;
};

struct contact {
	struct lookup_node by_id;
	struct lookup_node by_external_id;
	struct lookup_node by_email;
	struct contact *next; /* in order of creation */
	char id[ID_LEN + 1];
	char merged_into[ID_LEN + 1];
	char *external_id;      /* NULL: none */
	char *external_id_json; /* quoted */
	char *email;            /* lower case for the table; NULL: none */
	char *email_json;
	enum contact_state state;
	bool is_lead;
	int64_t created_ms;
	int64_t updated_ms;
	int64_t updates; /* PUTs */
	int64_t events;
	struct attribute_value *values;
	size_t value_count;
};

struct event_seen {
	const struct contact *contact;
	char *name;
	char *metadata;
	int64_t created_at;
	int64_t at_ms;
};

struct logged_call {
	int64_t at_ms;
	enum standin_call_kind kind;
	int status; /* 0: dropped before it had an effect */
	enum standin_drop drop;
	bool scripted;
	char *method;
	char *path;
	char *body;
	char *external_id; /* whom it was about; NULL: nobody known */
};

struct rule {
	struct rule *next;
	char *method; /* NULL: any; so the next three */
	char *path;
	char *body;
	char *contact;
	int64_t nth;
	int64_t times;
	int64_t seen;
	int64_t fired;
	int status;
	char *answer; /* NULL: an envelope of code and message, or nothing */
	char *code;
	char *message;
	char *headers;
	bool took_effect;
	enum standin_drop drop;
	int64_t delay_ms;
};

struct standin {
	struct standin_options options;
	char *token;
	struct contact *contacts;
	struct contact **contacts_end;
	struct lookup by_id;
	struct lookup by_external_id;
	struct lookup by_email;
	struct attribute_name *names;
	struct attribute_name **names_end;
	struct lookup by_name;
	int64_t attribute_count;
	struct event_seen *events;
	size_t event_count;
	size_t event_capacity;
	struct hash_set event_hashes;
	struct logged_call *log;
	size_t log_count;
	size_t log_capacity;
	char **violations;
	size_t violation_count;
	struct standin_window *windows;
	size_t window_count;
	struct rule *rules;
	struct standin_totals totals;
	uint64_t ids; /* contacts' ids given out */
	uint64_t request_ids;
	int64_t date_s; /* of `date` */
	char date[48];
};

/* One call on its way through. */
struct exchange_state {
	struct standin *standin;
	const struct standin_request *request;
	struct standin_answer *answer;
	int64_t now_ms;
	char request_id[24];
	char captured[1024];         /* the decoded part of the path that stood for '*' */
	json_t *body;                /* the parsed body; NULL when the route has none */
	const struct contact *about; /* for the log */
	bool has_error;
};

/* standin.c */
void standin_fail(struct exchange_state *x, int status, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Remembers a violation and answers 400 parameter_invalid. */
void standin_violate(struct exchange_state *x, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool standin_is_before(const struct exchange_state *x, int minor);

/* The text under a body key; NULL when absent, null or empty. */
const char *standin_body_text(const struct exchange_state *x, const char *key);
/* A violation unless every key of the object is known (known ends with NULL). */
void standin_check_keys(struct exchange_state *x, json_t *object, const char *const *known);
/* A violation unless the body key is a string, null or absent. */
void standin_check_text(struct exchange_state *x, const char *key);
/* Of UTF-8. */
size_t standin_characters(const char *text);

/* standin_rules.c */
/* The rule that this call meets, counted as met; NULL: none. */
const struct rule *rules_due(struct standin *standin, const struct standin_request *request);

/* standin_people.c */
void people_clear(struct standin *standin);
struct contact *people_find_id(const struct standin *standin, const char *id);
struct contact *people_find_external(const struct standin *standin, const char *external_id);
/* Calls visit for each contact with this e-mail address until it returns false. */
void people_each_by_email(const struct standin *standin, const char *email,
	bool (*visit)(void *context, struct contact *contact), void *context);
/* Answers 404 or 410 and returns false when the contact (NULL: none) can't be seen. */
bool people_is_visible(struct exchange_state *x, const struct contact *contact);
bool people_preset(struct standin *standin, json_t *preset, char *ret_id, struct error *err);
const char *people_state_name(enum contact_state state);

void people_create(struct exchange_state *x);
void people_update(struct exchange_state *x);
void people_get(struct exchange_state *x);
void people_find(struct exchange_state *x);
void people_search(struct exchange_state *x);
void people_archive(struct exchange_state *x);
void people_unarchive(struct exchange_state *x);
void people_delete(struct exchange_state *x);

/* standin_attributes.c */
void attributes_clear(struct standin *standin);
/* Finds it, or adds it as one that was seen. */
struct attribute_name *attributes_name(struct standin *standin, const char *name);
void attributes_set(struct standin *standin, struct contact *contact, json_t *attributes);
void attributes_check(struct exchange_state *x, const char *name, const json_t *value);
void attributes_create(struct exchange_state *x);
void attributes_list(struct exchange_state *x);

/* standin_events.c */
void events_clear(struct standin *standin);
void events_submit(struct exchange_state *x);

#endif
