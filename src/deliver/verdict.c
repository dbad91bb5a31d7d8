/*
 * What an answer of Intercom means.
 *
 * Three steps, each able to settle it: what became of the call on the wire; a 2xx, whose body must
 * be what the kind of call asks for (a captive portal answers 200 to everything); and a refusal.
 * For a refusal the first row of `refusals` that fits decides: by status, kind, error code and a
 * piece of the message, from the most particular to the most general. A few verdicts then read a
 * name or an id out of the message, because Intercom says it nowhere else.
 *
 * What must stay true: every answer gets a verdict, and nothing but a status of 2xx (or the
 * attribute that is there already) is DONE. An unknown refusal is PARK.
 */

#include "deliver/verdict.h"

#include "base/text.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define KIND(kind) (1u << (kind))
#define ANY_KIND (~0u)
#define OF_CONTACT                                                                            \
	(KIND(CALL_UPDATE_CONTACT) | KIND(CALL_FIND_CONTACT) | KIND(CALL_UNARCHIVE_CONTACT) | \
		KIND(CALL_SUBMIT_EVENT))
#define WRITES_CONTACT (KIND(CALL_CREATE_CONTACT) | KIND(CALL_UPDATE_CONTACT))

const char *verdict_kind_name(enum verdict_kind kind)
{
	static const char *const names[] = {
		[VERDICT_DONE] = "done",
		[VERDICT_RETRY] = "retry",
		[VERDICT_PACED] = "paced",
		[VERDICT_HOLD] = "hold",
		[VERDICT_PARK] = "park",
		[VERDICT_EXISTS] = "exists",
		[VERDICT_ARCHIVED] = "archived",
		[VERDICT_GONE] = "gone",
		[VERDICT_MERGED] = "merged",
		[VERDICT_ATTRIBUTE_MISSING] = "attribute_missing",
	};
	assert((size_t)kind < sizeof(names) / sizeof(*names));
	return names[kind];
}

/* What the body of a refusal says. Borrowed from the parsed body. */
struct refusal {
	int status;
	char code[64];       /* "" when not told */
	const char *message; /* "" likewise */
	bool has_canonical;  /* a Link to the canonical contact came along */
};

enum when { ALWAYS, WHEN_CANONICAL };

static const struct refusal_row {
	int from, to; /* status, both included */
	unsigned kinds;
	const char *code;    /* NULL: any; ending in '*': a prefix */
	const char *message; /* NULL: any; else contained, in any case */
	enum when when;
	enum verdict_kind verdict;
} refusals[] = {
	/* Said by the status alone. */
	{300, 399, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_RETRY},
	{401, 403, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_HOLD},
	{406, 407, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_HOLD},
	{408, 408, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_RETRY},
	{425, 425, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_RETRY},
	{429, 429, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_PACED},
	{500, 999, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_RETRY},
	/* Trouble of the workspace or of Intercom, under whatever status it comes. */
	{400, 499, ANY_KIND, "api_plan_restricted", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "intercom_version_invalid", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "media_type_not_acceptable", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "missing_authorization", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "token_*", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "unauthorized", NULL, ALWAYS, VERDICT_HOLD},
	{400, 499, ANY_KIND, "internal_error", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "rate_limit_exceeded", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "request_timeout", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "retry_after", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "server_error", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "service_unavailable", NULL, ALWAYS, VERDICT_RETRY},
	{400, 499, ANY_KIND, "too_many_requests", NULL, ALWAYS, VERDICT_RETRY},
	/* What can be mended. */
	{404, 404, OF_CONTACT, NULL, NULL, WHEN_CANONICAL, VERDICT_MERGED},
	{404, 404, OF_CONTACT, NULL, NULL, ALWAYS, VERDICT_GONE},
	{410, 410, OF_CONTACT, NULL, NULL, ALWAYS, VERDICT_MERGED},
	{400, 499, ANY_KIND, NULL, "multiple existing users", ALWAYS, VERDICT_PARK},
	{409, 409, KIND(CALL_CREATE_CONTACT), NULL, "archived contact", ALWAYS, VERDICT_ARCHIVED},
	{409, 409, KIND(CALL_CREATE_CONTACT), NULL, "already exists", ALWAYS, VERDICT_EXISTS},
	{400, 400, WRITES_CONTACT, NULL, "custom attribute '", ALWAYS, VERDICT_ATTRIBUTE_MISSING},
	{422, 422, WRITES_CONTACT, NULL, "custom attribute '", ALWAYS, VERDICT_ATTRIBUTE_MISSING},
	/* Names are shared between contacts and companies: that it is there does not help here. */
	{400, 499, KIND(CALL_CREATE_ATTRIBUTE), NULL, "in your company data", ALWAYS, VERDICT_PARK},
	{400, 499, KIND(CALL_CREATE_ATTRIBUTE), NULL, "you already have '", ALWAYS, VERDICT_DONE},
	{400, 499, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_PARK},
	/* Not a status that HTTP knows. */
	{INT_MIN, INT_MAX, ANY_KIND, NULL, NULL, ALWAYS, VERDICT_RETRY},
};

static bool code_fits(const char *pattern, const char *code)
{
	if (!pattern)
		return true;
	size_t len = strlen(pattern);
	if (pattern[len - 1] == '*')
		return strncmp(code, pattern, len - 1) == 0;
	return strcmp(code, pattern) == 0;
}

static bool row_fits(
	const struct refusal_row *row, enum call_kind kind, const struct refusal *refusal)
{
	return refusal->status >= row->from && refusal->status <= row->to &&
		(row->kinds & KIND(kind)) && code_fits(row->code, refusal->code) &&
		(!row->message || strcasestr(refusal->message, row->message)) &&
		(row->when == ALWAYS || refusal->has_canonical);
}

static enum verdict_kind refusal_kind(enum call_kind kind, const struct refusal *refusal)
{
	const struct refusal_row *row = refusals;
	while (!row_fits(row, kind, refusal))
		row++; /* the last row fits all */
	return row->verdict;
}

static size_t id_len(const char *text)
{
	return strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-");
}

static bool set_contact_id(struct verdict *verdict, const char *text, size_t len)
{
	if (len == 0 || len >= sizeof(verdict->contact_id) || id_len(text) < len)
		return false;
	memcpy(verdict->contact_id, text, len);
	verdict->contact_id[len] = '\0';
	return true;
}

/* "…with id=6762f0dd1bb69f9f2193bb83", or "…/contacts/6762f0dd1bb69f9f2193bb83" */
static void take_id_from_message(struct verdict *verdict, const char *message)
{
	static const char *const marks[] = {"id=", "/contacts/"};
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++) {
		const char *mark = strstr(message, marks[i]);
		const char *id = mark ? mark + strlen(marks[i]) : NULL;
		if (id && set_contact_id(verdict, id, id_len(id)))
			return;
	}
}

/* "Custom attribute 'x' does not exist": false when that is not what it says, or x is too long. */
static bool take_attribute(struct verdict *verdict, const char *message)
{
	const char *name = strcasestr(message, "custom attribute '");
	if (!name)
		return false;
	name += strlen("custom attribute '");
	const char *end = strcasestr(name, "' does not exist");
	size_t len = end ? (size_t)(end - name) : 0;
	if (len == 0 || len >= sizeof(verdict->attribute))
		return false;
	memcpy(verdict->attribute, name, len);
	verdict->attribute[len] = '\0';
	return true;
}

/* Adds whole characters while there is room; false when there is none left. */
static bool add_word(struct verdict *verdict, const char *word, size_t len)
{
	size_t at = strlen(verdict->reason);
	for (size_t i = 0; i < len;) {
		size_t bytes = text_utf8_len(word + i, len - i);
		if (bytes == 0)
			bytes = 1;
		if (at + bytes >= sizeof(verdict->reason))
			return false;
		memcpy(verdict->reason + at, word + i, bytes);
		if ((unsigned char)word[i] < 0x20 || word[i] == 0x7f)
			verdict->reason[at] = ' ';
		at += bytes;
		i += bytes;
		verdict->reason[at] = '\0';
	}
	return true;
}

/* Reasons are stored, shown and logged: no e-mail addresses, control characters, half characters.
 */
static void add_reason(struct verdict *verdict, const char *text)
{
	bool has_room = true;
	while (*text && has_room) {
		size_t len = strcspn(text, " \t\r\n\"'<>(),;");
		if (memchr(text, '@', len))
			has_room = add_word(verdict, "(e-mail)", strlen("(e-mail)"));
		else
			has_room = add_word(verdict, text, len);
		text += len;
		if (*text && has_room)
			has_room = add_word(verdict, text++, 1);
	}
}

static void set_refusal_reason(struct verdict *verdict, const struct refusal *refusal)
{
	char start[96];
	(void)snprintf(start, sizeof(start), "%d%s%s%s", refusal->status,
		refusal->code[0] ? " " : "", refusal->code, refusal->message[0] ? ": " : "");
	add_reason(verdict, start);
	add_reason(verdict, refusal->message);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* Old bodies say `type` where newer ones say `code`; some gateways send a number. */
static void take_code(const json_t *error, struct refusal *refusal)
{
	const json_t *code = json_object_get(error, "code");
	const char *text = text_of(error, json_is_string(code) ? "code" : "type");
	if (json_is_integer(code))
		(void)snprintf(refusal->code, sizeof(refusal->code), "%lld",
			(long long)json_integer_value(code));
	else if (strlen(text) < sizeof(refusal->code))
		strcpy(refusal->code, text); /* NOLINT: it fits */
}

static void take_refusal(const json_t *body, struct refusal *refusal)
{
	const json_t *error = json_array_get(json_object_get(body, "errors"), 0);
	take_code(error, refusal);
	refusal->message = text_of(error, "message");
}

static void take_request_id(struct verdict *verdict, const struct reply *reply, const json_t *body)
{
	const char *id = reply->request_id[0] ? reply->request_id : text_of(body, "request_id");
	if (strlen(id) < sizeof(verdict->request_id))
		strcpy(verdict->request_id, id); /* NOLINT: it fits */
}

static void settle_wire_error(const struct reply *reply, struct verdict *verdict)
{
	verdict->kind = VERDICT_RETRY;
	verdict->unreachable = reply->wire == WIRE_UNREACHABLE;
	add_reason(verdict, verdict->unreachable ? "unreachable: " : "no whole answer: ");
	add_reason(verdict, reply->wire_error[0] ? reply->wire_error : "unknown");
}

/* Success that is not what was asked for: nothing is lost by asking again. */
static void settle_strange(const struct reply *reply, struct verdict *verdict, const char *what)
{
	char start[16];
	(void)snprintf(start, sizeof(start), "%ld: ", reply->status);
	verdict->kind = VERDICT_RETRY;
	add_reason(verdict, start);
	add_reason(verdict, what);
}

static void settle_search(const struct reply *reply, const json_t *body, struct verdict *verdict)
{
	const json_t *data = json_object_get(body, "data");
	if (!json_is_array(data)) {
		settle_strange(reply, verdict, "a search result without a list");
		return;
	}
	/* A page may hold fewer than there are. */
	json_int_t total = json_integer_value(json_object_get(body, "total_count"));
	if (json_array_size(data) == 0 && total > 0) {
		settle_strange(reply, verdict, "a search result without its contacts");
	} else if (json_array_size(data) == 0) {
		verdict->kind = VERDICT_GONE;
		add_reason(verdict, "no contact has this e-mail address");
	} else if (json_array_size(data) > 1 || total > 1) {
		verdict->kind = VERDICT_PARK;
		add_reason(verdict, "several contacts have this e-mail address");
	} else {
		const char *id = text_of(json_array_get(data, 0), "id");
		verdict->kind = VERDICT_DONE;
		if (!set_contact_id(verdict, id, strlen(id)))
			settle_strange(reply, verdict, "a search result without an id");
	}
}

static bool is_blank_body(const struct reply *reply)
{
	const char *text = buf_text(&reply->body);
	return strspn(text, " \t\r\n") == reply->body.len;
}

static bool is_html(const struct reply *reply)
{
	const char *text = buf_text(&reply->body);
	return text[strspn(text, " \t\r\n")] == '<';
}

/* Needs the id out of the answer. */
static void settle_contact(const struct reply *reply, const json_t *body, struct verdict *verdict)
{
	const char *id = text_of(body, "id");
	verdict->kind = VERDICT_DONE;
	if (!set_contact_id(verdict, id, strlen(id)))
		settle_strange(reply, verdict, "an answer without a contact");
}

/* Would like the id, but the status alone is good enough. */
static void settle_update(const struct reply *reply, const json_t *body, struct verdict *verdict)
{
	const char *id = text_of(body, "id");
	verdict->kind = VERDICT_DONE;
	(void)set_contact_id(verdict, id, strlen(id)); /* none: the caller knows it */
	if (!json_is_object(body) && !is_blank_body(reply) && !reply->body.overflowed)
		settle_strange(reply, verdict, "an answer that is not JSON");
}

static void settle_success(
	enum call_kind kind, const struct reply *reply, const json_t *body, struct verdict *verdict)
{
	verdict->kind = VERDICT_DONE;
	switch (kind) {
	case CALL_CREATE_CONTACT:
	case CALL_FIND_CONTACT:
	case CALL_UNARCHIVE_CONTACT: settle_contact(reply, body, verdict); break;
	case CALL_UPDATE_CONTACT:
	case CALL_CREATE_ATTRIBUTE: settle_update(reply, body, verdict); break;
	case CALL_SEARCH_CONTACT: settle_search(reply, body, verdict); break;
	case CALL_LIST_ATTRIBUTES:
		if (!json_is_array(json_object_get(body, "data")))
			settle_strange(reply, verdict, "a list without data");
		break;
	case CALL_ME:
		if (!json_is_object(body))
			settle_strange(reply, verdict, "an answer that is not JSON");
		break;
	case CALL_SUBMIT_EVENT: /* 202, empty */
	case CALL_NONE:
		if (is_html(reply))
			settle_strange(reply, verdict, "a web page for an answer");
		break;
	}
	if (kind == CALL_CREATE_ATTRIBUTE)
		verdict->contact_id[0] = '\0';
}

static void settle_refusal(
	enum call_kind kind, const struct reply *reply, const json_t *body, struct verdict *verdict)
{
	struct refusal refusal = {
		.status = (int)reply->status,
		.message = "",
		.has_canonical = reply->location_id[0] != '\0',
	};
	take_refusal(body, &refusal);
	set_refusal_reason(verdict, &refusal);
	verdict->kind = refusal_kind(kind, &refusal);
	switch (verdict->kind) {
	case VERDICT_EXISTS:
	case VERDICT_ARCHIVED: take_id_from_message(verdict, refusal.message); break;
	case VERDICT_MERGED:
		if (!set_contact_id(verdict, reply->location_id, id_len(reply->location_id)))
			take_id_from_message(verdict, refusal.message);
		break;
	case VERDICT_ATTRIBUTE_MISSING:
		if (!take_attribute(verdict, refusal.message))
			verdict->kind = VERDICT_PARK;
		break;
	default: break;
	}
}

/* The bodies that nobody looks at need no parsing: an accepted event's is empty. */
static json_t *parse(const struct reply *reply)
{
	if (reply->wire != WIRE_ANSWERED || reply->body.len == 0 || is_html(reply))
		return NULL;
	return json_loadb(buf_text(&reply->body), reply->body.len, JSON_ALLOW_NUL, NULL);
}

void verdict_of(enum call_kind kind, const struct reply *reply, struct verdict *ret_verdict)
{
	json_t *body = parse(reply);
	*ret_verdict = (struct verdict){.kind = VERDICT_RETRY};
	take_request_id(ret_verdict, reply, body);
	if (reply->wire != WIRE_ANSWERED)
		settle_wire_error(reply, ret_verdict);
	else if (reply->status >= 200 && reply->status <= 299)
		settle_success(kind, reply, body, ret_verdict);
	else
		settle_refusal(kind, reply, body, ret_verdict);
	json_decref(body);
}
