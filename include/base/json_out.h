#ifndef SUBRELAY_BASE_JSON_OUT_H
#define SUBRELAY_BASE_JSON_OUT_H

/*
 * Writes JSON into a buf, keys in the order they are given, the same bytes each time.
 *
 * The writer puts the commas. Keys and strings are escaped (control characters as \u00XX, '/' as it
 * is); bytes that are not UTF-8 become U+FFFD, so the result is always valid JSON. Misuse (a value
 * without a key inside an object, unbalanced ends, a second value after the document's) is an
 * assertion. Depth at most 16.
 */

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct json_out {
	struct buf *buf;
	unsigned depth;
	uint32_t not_first; /* bit d: depth d already holds something */
	uint32_t in_array;  /* bit d: depth d is an array */
	bool after_key;
	bool pretty; /* two-space indent and newlines: for people */
};

void json_out_init(struct json_out *out, struct buf *buf);

void json_out_object(struct json_out *out);
void json_out_object_end(struct json_out *out);
void json_out_array(struct json_out *out);
void json_out_array_end(struct json_out *out);
void json_out_key(struct json_out *out, const char *key);

void json_out_text(struct json_out *out, const char *text); /* NULL writes null */
void json_out_text_len(struct json_out *out, const char *text, size_t len);
void json_out_integer(struct json_out *out, int64_t value);
void json_out_boolean(struct json_out *out, bool value);
void json_out_null(struct json_out *out);
/* A value that is JSON already; not checked. */
void json_out_raw(struct json_out *out, const char *json, size_t len);

/* key and value at once */
void json_out_key_text(struct json_out *out, const char *key, const char *text);
void json_out_key_integer(struct json_out *out, const char *key, int64_t value);
void json_out_key_boolean(struct json_out *out, const char *key, bool value);
void json_out_key_raw(struct json_out *out, const char *key, const char *json);

#endif
