#ifndef SUBRELAY_EVENT_ATTRIBUTES_H
#define SUBRELAY_EVENT_ATTRIBUTES_H

/*
 * A small ordered set of named values: what a contact's custom attributes should be.
 *
 * Each value remembers who said so and as of when, so that several sources may write to one
 * contact: the newest word on a name wins (of the same time, the one of the later source by name),
 * and a source always overrules itself. Two texts: the compact form that the store keeps (attributes_encode / _decode), and the JSON object that
 * Intercom is sent (attributes_render), same set, same bytes. Names and strings are owned. Not
 * thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct error;

enum value_type {
	VALUE_NULL,
	VALUE_TEXT,
	VALUE_INTEGER,
	VALUE_TIME /* unix seconds */,
	VALUE_BOOLEAN
};

struct value {
	enum value_type type; /* of a null: VALUE_NULL */
	enum value_type kind; /* what it is when it is there; says which attribute to create */
	int64_t integer;
	char *text;
};

struct attribute {
	char *name;
	struct value value;
	int64_t at_ms; /* as of when */
	char *by;      /* the source that says so */
};

struct attributes {
	struct attribute *items;
	size_t count;
};

void attributes_init(struct attributes *set);
void attributes_finish(struct attributes *set);

/* Sets a name unless another source's word on it is newer. Copies. */
void attributes_set_text(struct attributes *set, const char *name, const char *text, int64_t at_ms,
	const char *by); /* text NULL: null */
void attributes_set_time(struct attributes *set, const char *name, int64_t unix_s, int64_t at_ms,
	const char *by); /* TIME_NONE: null */
const struct attribute *attributes_get(const struct attributes *set, const char *name);
/* Sets every attribute of `from`. */
void attributes_merge(struct attributes *set, const struct attributes *from);

void attributes_encode(const struct attributes *set, struct buf *ret);
/* ret_set need not be initialised; the caller finishes it on success. */
bool attributes_decode(const char *text, size_t len, struct attributes *ret_set, struct error *err);
/* {"latest_store":"APP_STORE","expires_at":1663252169} */
void attributes_render(const struct attributes *set, struct buf *ret);

/* Intercom's data_type for an attribute of this kind: "string", "integer", "datetime", "boolean".
 */
const char *value_data_type(enum value_type kind);

#endif
