#ifndef SUBRELAY_ADMIN_MAP_TEXT_PRIVATE_H
#define SUBRELAY_ADMIN_MAP_TEXT_PRIVATE_H

/*
 * One webhook body and what would be sent of it, as text: `map`. Neither network nor store: the
 * customer is taken to be new, so what earlier events say doesn't count.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct conf;
struct conf_source;
struct error;

/*
 * JSON for people (two-space indent, ends with a newline):
 *
 *   {"product_identifier":…, "app_id":…,
 *    "user_payload":{"user_id":…, "custom_attributes":{…}} or null,
 *    "event_payload":{"event_name":…, "user_id":…, "created_at":…, "metadata":{…}} or null,
 *    "ignored":"why"}                only when either is null
 *
 * shaped as the sample events of RevenueCat's Intercom page; "email" takes the place of "user_id"
 * where the contact is known by that. When several contacts are concerned (a transfer) an array of
 * such objects. now_ms: wall; the time of an event that brings none that makes sense. False: the
 * body isn't usable, the daemon would answer 400.
 */
bool map_body(const struct conf *conf, const struct conf_source *section, const char *body,
	size_t body_len, int64_t now_ms, struct buf *ret, struct error *err);

#endif
