#ifndef SUBRELAY_SOURCE_JSON_IN_H
#define SUBRELAY_SOURCE_JSON_IN_H

/*
 * Reading a provider's JSON without trusting its shape: every member may be absent, null or of
 * another type than its documentation says, and whatever isn't usable counts as absent.
 *
 * A usable string is not empty and holds no NUL (cut at it, "admin\0x" would pass for "admin").
 * Members of what is not an object (NULL included) are absent. What is called _dup belongs to the
 * arena; everything else is borrowed from the JSON. Safe from any thread.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;

/*
 * NULL and "the body is not JSON: …" when it isn't; the text quotes nothing of the body. Two things
 * that JSON allows and jansson doesn't are accepted: integers over 64 bits (then every number is
 * read as a real) and half a surrogate pair (becomes U+FFFD). One thing that JSON allows is not:
 * more than 30,000 values, so that what is parsed stays within some 8 MB, however large the body
 * may be; "the body has more than …" then. The caller owns one reference.
 */
json_t *json_in_load(const char *body, size_t len, struct error *err);

/* Present and not null. */
bool json_in_is_given(const json_t *object, const char *key);
const char *json_in_text(const json_t *object, const char *key);
char *json_in_text_dup(struct arena *arena, const json_t *object, const char *key);
bool json_in_is_true(const json_t *object, const char *key);

/* An id: a usable string, or a whole number as its decimal text. NULL when it is neither. */
char *json_in_id_dup(struct arena *arena, const json_t *value);
/* The ids in an array, without what is none; *ret_ids stays NULL when there are none. */
size_t json_in_ids_dup(struct arena *arena, const json_t *array, char ***ret_ids);

/* Milliseconds since 1970. TIME_NONE unless it is a number within [2008, 2100): dates before there
 * was an app store and dates in the year 4466 say nothing. */
int64_t json_in_time_ms(const json_t *object, const char *key);

#endif
