/*
 * Calls and replies: their memory, and what is read out of response headers.
 *
 * Headers come one line at a time, in whatever order and case the peer likes. Only a handful
 * matter; the table says where each goes. A value that is not what it should be counts as absent:
 * the rate then lacks a number, which pace.c can live with.
 */

#include "deliver/call.h"

#include "base/text.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CALL_PATH_MAX ((size_t)16 * 1024)
#define CALL_BODY_MAX ((size_t)1024 * 1024)
#define HEADER_VALUE_MAX 256
#define NUMBER_MAX INT64_C(100000000000)
#define STATUS_MAX 999 /* three digits */

const char *const call_headers[] = {
	"Accept: application/json",
	"Content-Type: application/json",
	"User-Agent: subrelay/" SUBRELAY_VERSION,
	NULL,
};

const char *call_kind_name(enum call_kind kind)
{
	static const char *const names[] = {
		[CALL_NONE] = "none",
		[CALL_CREATE_CONTACT] = "create_contact",
		[CALL_UPDATE_CONTACT] = "update_contact",
		[CALL_FIND_CONTACT] = "find_contact",
		[CALL_SEARCH_CONTACT] = "search_contact",
		[CALL_UNARCHIVE_CONTACT] = "unarchive_contact",
		[CALL_SUBMIT_EVENT] = "submit_event",
		[CALL_CREATE_ATTRIBUTE] = "create_attribute",
		[CALL_LIST_ATTRIBUTES] = "list_attributes",
		[CALL_ME] = "me",
	};
	assert((size_t)kind < sizeof(names) / sizeof(*names));
	return names[kind];
}

void call_init(struct call *call)
{
	*call = (struct call){.kind = CALL_NONE};
	buf_init(&call->path, CALL_PATH_MAX);
	buf_init(&call->body, CALL_BODY_MAX);
}

void call_finish(struct call *call)
{
	buf_finish(&call->path);
	buf_finish(&call->body);
}

void call_clear(struct call *call)
{
	call->kind = CALL_NONE;
	call->method = NULL;
	buf_clear(&call->path);
	buf_clear(&call->body);
}

bool call_is_too_large(const struct call *call)
{
	return call->path.overflowed || call->body.overflowed;
}

static const struct pace_headers no_rate = {
	.limit = -1,
	.remaining = -1,
	.reset_s = -1,
	.date_s = -1,
	.retry_after_s = -1,
};

void reply_init(struct reply *reply)
{
	*reply = (struct reply){.wire = WIRE_BROKEN, .rate = no_rate};
	buf_init(&reply->body, REPLY_BODY_MAX);
}

void reply_finish(struct reply *reply)
{
	buf_finish(&reply->body);
}

static void forget_headers(struct reply *reply)
{
	reply->status = 0;
	reply->request_id[0] = '\0';
	reply->location_id[0] = '\0';
	reply->rate = no_rate;
}

void reply_clear(struct reply *reply)
{
	reply->wire = WIRE_BROKEN;
	reply->wire_error[0] = '\0';
	reply->elapsed_ms = 0;
	buf_clear(&reply->body);
	forget_headers(reply);
}

static void take_text(char *ret, size_t ret_size, const char *value)
{
	size_t len = strlen(value);
	if (len >= ret_size)
		return;
	memcpy(ret, value, len + 1);
}

static void take_request_id(struct reply *reply, const char *value)
{
	take_text(reply->request_id, sizeof(reply->request_id), value);
}

/* </contacts/6762f0dd>; rel="canonical" */
static void take_link(struct reply *reply, const char *value)
{
	static const char prefix[] = "/contacts/";
	const char *start = strstr(value, prefix);
	if (!start || !strstr(value, "canonical"))
		return;
	start += strlen(prefix);
	size_t len = strcspn(start, ">/?#; ");
	if (len == 0 || len >= sizeof(reply->location_id))
		return;
	memcpy(reply->location_id, start, len);
	reply->location_id[len] = '\0';
}

/* Counts and dates in seconds; what can't be one counts as absent. */
static int64_t number_of(const char *value)
{
	int64_t number;
	return text_to_int64(value, &number) && number >= 0 && number <= NUMBER_MAX ? number : -1;
}

static void take_limit(struct reply *reply, const char *value)
{
	reply->rate.limit = number_of(value);
}

static void take_remaining(struct reply *reply, const char *value)
{
	reply->rate.remaining = number_of(value);
}

static void take_reset(struct reply *reply, const char *value)
{
	reply->rate.reset_s = number_of(value);
}

static void take_date(struct reply *reply, const char *value)
{
	time_t date = curl_getdate(value, NULL);
	if (date > 0)
		reply->rate.date_s = date;
}

/* Seconds; a date counts as absent. */
static void take_retry_after(struct reply *reply, const char *value)
{
	reply->rate.retry_after_s = number_of(value);
}

static void take_status_line(struct reply *reply, const char *line)
{
	forget_headers(reply);
	const char *blank = strchr(line, ' ');
	long status = blank ? strtol(blank, NULL, 10) : 0;
	reply->status = status >= 100 && status <= STATUS_MAX ? status : 0;
	reply->rate.too_many = reply->status == 429;
}

static const struct header {
	const char *name;
	void (*take)(struct reply *reply, const char *value);
} headers[] = {
	{"date", take_date},
	{"link", take_link},
	{"retry-after", take_retry_after},
	{"x-ratelimit-limit", take_limit},
	{"x-ratelimit-remaining", take_remaining},
	{"x-ratelimit-reset", take_reset},
	{"x-request-id", take_request_id},
};

static const struct header *header_get(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		if (strlen(headers[i].name) == len && strncasecmp(headers[i].name, name, len) == 0)
			return &headers[i];
	}
	return NULL;
}

void reply_take_header(struct reply *reply, const char *line, size_t len)
{
	char value[HEADER_VALUE_MAX];
	bool is_status_line = len >= 5 && memcmp(line, "HTTP/", 5) == 0;
	const char *colon = is_status_line ? NULL : memchr(line, ':', len);
	const struct header *header = colon ? header_get(line, (size_t)(colon - line)) : NULL;
	if (!is_status_line && !header)
		return;
	const char *start = is_status_line ? line : colon + 1;
	size_t value_len = (size_t)(line + len - start);
	if (value_len >= sizeof(value) || memchr(start, '\0', value_len))
		return;
	memcpy(value, start, value_len);
	value[value_len] = '\0';
	if (is_status_line)
		take_status_line(reply, value);
	else
		header->take(reply, text_trim(value));
}

void reply_refuse(struct reply *reply)
{
	reply_clear(reply);
	reply->wire = WIRE_ANSWERED;
	reply->status = 414;
	buf_add_text(&reply->body,
		"{\"type\":\"error.list\",\"errors\":[{\"code\":\"too_large\","
		"\"message\":\"subrelay does not send a call this large\"}]}");
}
