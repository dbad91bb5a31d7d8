/*
 * The stand-in's front: each call passes the scripted faults, the token, the rate window, the
 * headers, the routes and the JSON reader, in this order, before standin_people.c and its like
 * carry it out. See standin.h.
 *
 * Rate: fixed windows that begin at multiples of their length in unix time, as recorded from
 * Intercom; every call with a good token counts, whatever its answer, refused ones too.
 */

#include "support/standin_private.h"

#include "base/error.h"
#include "base/json_out.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_BODY_MAX ((size_t)8 * 1024 * 1024)
#define ANSWER_HEADERS_MAX ((size_t)16 * 1024)
#define DEFAULT_WINDOW_MS 10000

struct route {
	const char *method;
	const char *path; /* '*' stands for one segment */
	enum standin_call_kind kind;
	bool has_body;
	void (*handle)(struct exchange_state *x);
};

static void answer_me(struct exchange_state *x)
{
	buf_add_text(&x->answer->body,
		"{\"type\":\"admin\",\"id\":\"1\",\"email\":\"admin@workspace.test\",\"name\":"
		"\"Stand In\","
		"\"email_verified\":true,\"app\":{\"type\":\"app\",\"id_code\":\"standin1\","
		"\"name\":\"Stand-in\",\"created_at\":1700000000,\"secure\":false,"
		"\"identity_verification\":false,\"timezone\":\"Etc/UTC\",\"region\":\"US\"},"
		"\"avatar\":{\"type\":\"avatar\",\"image_url\":null},\"has_inbox_seat\":true}");
}

/* The busiest first; "/contacts/search" and the like before "/contacts/" and '*'. */
static const struct route routes[] = {
	{"POST", "/events", STANDIN_SUBMIT_EVENT, true, events_submit},
	{"POST", "/contacts", STANDIN_CREATE_CONTACT, true, people_create},
	{"PUT", "/contacts/*", STANDIN_UPDATE_CONTACT, true, people_update},
	{"GET", "/contacts/find_by_external_id/*", STANDIN_FIND_CONTACT, false, people_find},
	{"GET", "/contacts/*", STANDIN_GET_CONTACT, false, people_get},
	{"POST", "/contacts/search", STANDIN_SEARCH_CONTACT, true, people_search},
	{"POST", "/contacts/*/unarchive", STANDIN_UNARCHIVE_CONTACT, false, people_unarchive},
	{"POST", "/contacts/*/archive", STANDIN_ARCHIVE_CONTACT, false, people_archive},
	{"DELETE", "/contacts/*", STANDIN_DELETE_CONTACT, false, people_delete},
	{"POST", "/data_attributes", STANDIN_CREATE_ATTRIBUTE, true, attributes_create},
	{"GET", "/data_attributes", STANDIN_LIST_ATTRIBUTES, false, attributes_list},
	{"GET", "/me", STANDIN_ME, false, answer_me},
	{NULL, NULL, STANDIN_OTHER, false, NULL},
};

static const char *const kind_names[STANDIN_CALL_KINDS] = {
	[STANDIN_CREATE_CONTACT] = "create_contact",
	[STANDIN_UPDATE_CONTACT] = "update_contact",
	[STANDIN_GET_CONTACT] = "get_contact",
	[STANDIN_FIND_CONTACT] = "find_contact",
	[STANDIN_SEARCH_CONTACT] = "search_contact",
	[STANDIN_ARCHIVE_CONTACT] = "archive_contact",
	[STANDIN_UNARCHIVE_CONTACT] = "unarchive_contact",
	[STANDIN_DELETE_CONTACT] = "delete_contact",
	[STANDIN_SUBMIT_EVENT] = "submit_event",
	[STANDIN_CREATE_ATTRIBUTE] = "create_attribute",
	[STANDIN_LIST_ATTRIBUTES] = "list_attributes",
	[STANDIN_ME] = "me",
	[STANDIN_OTHER] = "other",
};

const char *standin_call_kind_name(enum standin_call_kind kind)
{
	return kind_names[kind];
}

/* ---- life ---- */

void standin_configure(struct standin *standin, const struct standin_options *options)
{
	char *token = xstrdup_or_null(options->token);
	free(standin->token);
	standin->token = token;
	standin->options = *options;
	standin->options.token = token;
	if (standin->options.window_ms <= 0)
		standin->options.window_ms = DEFAULT_WINDOW_MS;
}

const struct standin_options *standin_get_options(const struct standin *standin)
{
	return &standin->options;
}

struct standin *standin_create(const struct standin_options *options)
{
	struct standin *standin = xcalloc(1, sizeof(*standin));
	standin->contacts_end = &standin->contacts;
	standin->names_end = &standin->names;
	standin_configure(standin, options);
	return standin;
}

void standin_reset(struct standin *standin)
{
	standin_clear_rules(standin);
	people_clear(standin);
	attributes_clear(standin);
	events_clear(standin);
	for (size_t i = 0; i < standin->log_count; i++) {
		free(standin->log[i].method);
		free(standin->log[i].path);
		free(standin->log[i].body);
		free(standin->log[i].external_id);
	}
	free(standin->log);
	for (size_t i = 0; i < standin->violation_count; i++)
		free(standin->violations[i]);
	free((void *)standin->violations);
	free(standin->windows);
	const struct standin_options options = standin->options;
	char *token = standin->token;
	const uint64_t request_ids = standin->request_ids;
	*standin = (struct standin){
		.options = options,
		.token = token,
		.request_ids = request_ids,
	};
	standin->contacts_end = &standin->contacts;
	standin->names_end = &standin->names;
}

void standin_destroy(struct standin *standin)
{
	if (!standin)
		return;
	standin_reset(standin);
	free(standin->token);
	free(standin);
}

void standin_answer_init(struct standin_answer *answer)
{
	*answer = (struct standin_answer){0};
	buf_init(&answer->headers, ANSWER_HEADERS_MAX);
	buf_init(&answer->body, ANSWER_BODY_MAX);
}

void standin_answer_finish(struct standin_answer *answer)
{
	buf_finish(&answer->headers);
	buf_finish(&answer->body);
}

/* ---- answers ---- */

static void write_envelope(
	struct buf *body, const char *request_id, const char *code, const char *message)
{
	buf_clear(body);
	struct json_out out;
	json_out_init(&out, body);
	json_out_object(&out);
	json_out_key_text(&out, "type", "error.list");
	json_out_key_text(&out, "request_id", request_id);
	json_out_key(&out, "errors");
	json_out_array(&out);
	json_out_object(&out);
	json_out_key_text(&out, "code", code);
	json_out_key_text(&out, "message", message);
	json_out_object_end(&out);
	json_out_array_end(&out);
	json_out_object_end(&out);
}

void standin_fail(struct exchange_state *x, int status, const char *code, const char *format, ...)
{
	if (x->has_error)
		return; /* the first one counts */
	char message[512];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(message, sizeof(message), format, arguments); /* cut: it is for people */
	va_end(arguments);
	x->has_error = true;
	x->answer->status = status;
	write_envelope(&x->answer->body, x->request_id, code, message);
}

static void remember_violation(struct exchange_state *x, const char *text)
{
	struct standin *standin = x->standin;
	standin->totals.violations++;
	if (standin->violation_count >= VIOLATIONS_MAX)
		return;
	char line[1024];
	(void)snprintf(line, sizeof(line), "%s %s: %s", x->request->method, x->request->path, text);
	standin->violations = xrealloc(
		(void *)standin->violations, (standin->violation_count + 1) * sizeof(char *));
	standin->violations[standin->violation_count++] = xstrdup(line);
}

void standin_violate(struct exchange_state *x, const char *format, ...)
{
	char message[512];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	remember_violation(x, message);
	standin_fail(x, 400, "parameter_invalid", "%s", message);
}

void standin_check_keys(struct exchange_state *x, json_t *object, const char *const *known)
{
	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const char *key = json_object_iter_key(i);
		const char *const *name = known;
		while (*name && strcmp(*name, key) != 0)
			name++;
		if (!*name)
			standin_violate(x, "unknown body key '%s'", key);
	}
}

void standin_check_text(struct exchange_state *x, const char *key)
{
	const json_t *value = json_object_get(x->body, key);
	if (value && !json_is_string(value) && !json_is_null(value))
		standin_violate(x, "%s is not a string", key);
}

const char *standin_body_text(const struct exchange_state *x, const char *key)
{
	const char *text = json_string_value(json_object_get(x->body, key));
	return text && *text ? text : NULL;
}

size_t standin_characters(const char *text)
{
	size_t count = 0;
	for (; *text; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

/* Request ids look like Intercom's xids: 20 digits of base 32. */
static void next_request_id(struct standin *standin, char ret_id[24])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
	uint64_t n = ++standin->request_ids;
	memcpy(ret_id, "005standin", 10);
	for (int i = 19; i >= 10; i--) {
		ret_id[i] = digits[n & 31];
		n >>= 5;
	}
	ret_id[20] = '\0';
}

static void add_number_header(struct buf *headers, const char *name, int64_t value)
{
	buf_add_text(headers, name);
	buf_add_integer(headers, value);
	buf_add_text(headers, "\r\n");
}

static void add_headers(struct exchange_state *x, const struct standin_window *window)
{
	struct standin *standin = x->standin;
	struct buf *headers = &x->answer->headers;
	const int64_t now_s = x->now_ms / 1000;
	if (standin->date_s != now_s || !standin->date[0]) {
		standin->date_s = now_s;
		const time_t seconds = (time_t)now_s;
		struct tm parts;
		gmtime_r(&seconds, &parts);
		strftime(standin->date, sizeof(standin->date),
			"Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
	}
	buf_add_text(headers, standin->date);
	if (x->answer->body.len)
		buf_add_text(headers, "Content-Type: application/json; charset=utf-8\r\n");
	buf_add_text(headers, "X-Request-Id: ");
	buf_add_text(headers, x->request_id);
	buf_add_text(headers, "\r\n");
	if (x->request->intercom_version && strlen(x->request->intercom_version) < 16)
		buf_addf(headers, "Intercom-Version: %s\r\n", x->request->intercom_version);
	const struct standin_options *options = &standin->options;
	if (!window || !options->limit || options->no_headers)
		return;
	const int64_t left = options->limit - window->calls;
	const int64_t reset_ms = window->start_ms + options->window_ms + options->reset_offset_ms;
	add_number_header(headers, "X-RateLimit-Limit: ", options->limit);
	add_number_header(headers, "X-RateLimit-Remaining: ", left > 0 ? left : 0);
	add_number_header(headers, "X-RateLimit-Reset: ", (reset_ms + 999) / 1000);
}

bool standin_add_contact(
	struct standin *standin, const char *json, size_t len, char *ret_id, struct error *err)
{
	json_error_t where;
	json_t *root = json_loadb(json, len, 0, &where);
	bool ok = false;
	if (!root)
		(void)error_set(err, "not JSON: %s", where.text);
	else if (!json_is_object(root))
		(void)error_set(err, "a contact is a JSON object");
	else
		ok = people_preset(standin, root, ret_id, err);
	json_decref(root);
	return ok;
}

/* ---- one call ---- */

/* Intercom's versions: 2.0 … 2.17 and Preview. */
static bool version_is_known(const char *version)
{
	int64_t minor = 0;
	if (text_equal(version, "Preview") || text_equal(version, "Unstable"))
		return true;
	return text_starts_with(version, "2.") && text_to_int64(version + 2, &minor) &&
		minor >= 0 && minor <= 17;
}

bool standin_is_before(const struct exchange_state *x, int minor)
{
	const char *version = x->request->intercom_version;
	int64_t value = 0;
	return version && text_starts_with(version, "2.") && text_to_int64(version + 2, &value) &&
		value < minor;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(const char *text, size_t len, char *ret, size_t ret_size)
{
	size_t used = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '%') {
			if (i + 2 >= len || hex_digit(text[i + 1]) < 0 ||
				hex_digit(text[i + 2]) < 0)
				return false;
			c = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
			i += 2;
		}
		if (!c || used + 1 >= ret_size)
			return false;
		ret[used++] = c;
	}
	ret[used] = '\0';
	return used > 0;
}

/* Whether [path, path+len) is the pattern; what stood for '*' comes decoded. */
static bool path_matches(
	const char *pattern, const char *path, size_t len, char *ret, size_t ret_size)
{
	const char *star = strchr(pattern, '*');
	if (!star)
		return strlen(pattern) == len && memcmp(pattern, path, len) == 0;
	const size_t before = (size_t)(star - pattern);
	const size_t after = strlen(star + 1);
	if (len <= before + after || memcmp(path, pattern, before) != 0 ||
		memcmp(path + len - after, star + 1, after) != 0)
		return false;
	const char *segment = path + before;
	const size_t segment_len = len - before - after;
	return !memchr(segment, '/', segment_len) &&
		percent_decode(segment, segment_len, ret, ret_size);
}

static const struct route *find_route(struct exchange_state *x)
{
	const char *path = x->request->path;
	const size_t len = strcspn(path, "?");
	const struct route *route = routes;
	while (route->method &&
		!(strcmp(route->method, x->request->method) == 0 &&
			path_matches(route->path, path, len, x->captured, sizeof(x->captured))))
		route++;
	return route;
}

static void add_window(struct standin *standin, int64_t start_ms)
{
	if (!standin->windows)
		standin->windows = xcalloc(WINDOWS_MAX, sizeof(*standin->windows));
	if (standin->window_count == WINDOWS_MAX) {
		standin->window_count = WINDOWS_MAX / 2; /* keep the newer half */
		memmove(standin->windows, standin->windows + WINDOWS_MAX / 2,
			standin->window_count * sizeof(*standin->windows));
	}
	standin->windows[standin->window_count++] = (struct standin_window){.start_ms = start_ms};
}

static struct standin_window *count_in_window(struct standin *standin, int64_t now_ms)
{
	const int64_t start_ms = now_ms - now_ms % standin->options.window_ms;
	const size_t count = standin->window_count;
	if (!count || standin->windows[count - 1].start_ms != start_ms)
		add_window(standin, start_ms);
	struct standin_window *last = &standin->windows[standin->window_count - 1];
	last->calls++;
	if (last->calls > standin->totals.window_calls_max)
		standin->totals.window_calls_max = last->calls;
	return last;
}

static bool token_is_good(const struct standin *standin, const char *authorization)
{
	if (!standin->token)
		return true;
	return authorization && text_starts_with(authorization, "Bearer ") &&
		strcmp(authorization + strlen("Bearer "), standin->token) == 0;
}

static void check_headers(struct exchange_state *x, const struct route *route)
{
	const struct standin_request *request = x->request;
	if (!request->accept || !strstr(request->accept, "application/json")) {
		remember_violation(x, "no Accept: application/json");
		standin_fail(x, 406, "media_type_not_acceptable",
			"The Accept header should send a media type of application/json");
	}
	if (!request->authorization)
		remember_violation(x, "no Authorization");
	if (!request->intercom_version)
		remember_violation(x, "no Intercom-Version");
	else if (!version_is_known(request->intercom_version))
		standin_fail(x, 400, "intercom_version_invalid",
			"Requested resource is not available in current API version.");
	if (route->has_body &&
		(!request->content_type || !strstr(request->content_type, "application/json")))
		standin_violate(x, "Content-Type is not application/json");
}

static void read_body(struct exchange_state *x)
{
	json_error_t where;
	const size_t flags = x->standin->options.light ? 0 : JSON_REJECT_DUPLICATES;
	x->body = json_loadb(
		x->request->body ? x->request->body : "", x->request->body_len, flags, &where);
	if (!x->body || !json_is_object(x->body)) {
		remember_violation(x, "the body is not a JSON object");
		standin_fail(x, 400, "bad_request", "The request body is not a JSON object");
	}
}

static void carry_out(struct exchange_state *x, const struct route *route)
{
	if (!route->handle) {
		remember_violation(x, "no such route");
		standin_fail(x, 404, "not_found", "Resource Not Found");
		return;
	}
	if (!x->standin->options.light)
		check_headers(x, route);
	if (!x->has_error && route->has_body)
		read_body(x);
	if (!x->has_error)
		route->handle(x);
}

static void log_call(const struct exchange_state *x, enum standin_call_kind kind, bool scripted)
{
	struct standin *standin = x->standin;
	if (standin->options.light || standin->log_count >= LOG_MAX)
		return;
	if (standin->log_count == standin->log_capacity) {
		standin->log_capacity = standin->log_capacity * 2 + 256;
		standin->log =
			xrealloc(standin->log, standin->log_capacity * sizeof(*standin->log));
	}
	const struct standin_request *request = x->request;
	const struct contact *about = x->about ? x->about : people_find_id(standin, x->captured);
	standin->log[standin->log_count++] = (struct logged_call){
		.at_ms = x->now_ms,
		.kind = kind,
		.status = x->answer->drop == STANDIN_DROP_BEFORE ? 0 : x->answer->status,
		.drop = x->answer->drop,
		.scripted = scripted,
		.method = xstrdup(request->method),
		.path = xstrdup(request->path),
		.body = xstrndup(request->body ? request->body : "", request->body_len),
		.external_id = about ? xstrdup_or_null(about->external_id) : NULL,
	};
}

static void answer_by_rule(struct exchange_state *x, const struct rule *rule)
{
	struct buf *body = &x->answer->body;
	x->answer->status = rule->status;
	buf_clear(body);
	if (rule->code)
		write_envelope(body, x->request_id, rule->code, rule->message ? rule->message : "");
	else if (rule->answer)
		buf_add_text(body, rule->answer);
}

/* Token, window, then the call itself or what the rule says instead. */
static void answer_call(
	struct exchange_state *x, const struct route *route, const struct rule *rule)
{
	struct standin *standin = x->standin;
	struct standin_window *window = NULL;
	if (!token_is_good(standin, x->request->authorization)) {
		standin_fail(x, 401, "unauthorized", "Access Token Invalid");
	} else {
		window = count_in_window(standin, x->now_ms);
		if (standin->options.limit && window->calls > standin->options.limit) {
			window->refused++;
			standin->totals.refused++;
			standin_fail(x, 429, "rate_limit_exceeded",
				"Exceeded rate limit of %lld in %lld_seconds",
				(long long)standin->options.limit,
				(long long)standin->options.window_ms / 1000);
		}
	}
	if (!x->has_error && !(rule && rule->status && !rule->took_effect))
		carry_out(x, route);
	if (rule && rule->status)
		answer_by_rule(x, rule);
	if (rule)
		x->answer->drop = rule->drop;
	add_headers(x, x->answer->status == 401 ? NULL : window);
	if (rule)
		buf_add_text(&x->answer->headers, rule->headers);
}

void standin_handle(struct standin *standin, int64_t now_ms, const struct standin_request *request,
	struct standin_answer *ret_answer)
{
	struct exchange_state x = {
		.standin = standin,
		.request = request,
		.answer = ret_answer,
		.now_ms = now_ms,
	};
	buf_clear(&ret_answer->headers);
	buf_clear(&ret_answer->body);
	ret_answer->status = 200;
	ret_answer->drop = STANDIN_ANSWER;
	ret_answer->delay_ms = standin->options.delay_ms;
	next_request_id(standin, x.request_id);
	const struct route *route = find_route(&x);
	standin->totals.calls++;
	standin->totals.by_kind[route->kind]++;
	const struct rule *rule = rules_due(standin, request);
	if (rule)
		ret_answer->delay_ms += rule->delay_ms;
	if (rule && rule->drop == STANDIN_DROP_BEFORE)
		ret_answer->drop = STANDIN_DROP_BEFORE;
	else
		answer_call(&x, route, rule);
	log_call(&x, route->kind, rule != NULL);
	json_decref(x.body);
}
