/*
 * One request and its answer.
 *
 *   IDLE      -> BEGUN                  the request line is read
 *   BEGUN     -> RECEIVING | REFUSED    the headers are: route found, size allowed, or not
 *   RECEIVING -> HANDLING | REFUSED     the body is; or it is too large, or the daemon stops
 *   HANDLING  -> WAITING | ANSWERED     the handler returned; or somebody answered before it did
 *   WAITING   -> ANSWERED
 *   ANSWERED, REFUSED -> SENDING -> IDLE
 *
 * The connection's thread makes every move but those to ANSWERED, which whoever answers makes, from
 * any thread: out of HANDLING nothing more is needed, the connection's thread looks when the
 * handler returns; out of WAITING the connection is suspended and gets resumed. An answer that
 * comes while the handler runs therefore costs no suspending. Each state may also fall to IDLE when
 * the connection breaks, except HANDLING and WAITING: a suspended connection isn't looked at.
 *
 * The answer is copied into the exchange and turned into a response by the connection's thread:
 * whoever answers, often the one thread that commits for all, pays for a copy and a wake-up, and
 * libmicrohttpd's structures are touched by one thread only. MHD_resume_connection alone comes from
 * others, and it still reads the worker when that may have sent the answer already; `unanswered` is
 * counted down behind it so that destroying can wait.
 *
 * What the headers say is enough to refuse is refused before the body is read, and the connection
 * closed behind the answer (the door lets the client finish). 0.9.75 can't answer in the middle of
 * a body, so one that turns out too large is dropped, up to DROP_MAX beyond body_max, then cut;
 * when it ends before that it is answered, and the connection lives on.
 *
 * Smuggling: a proxy in front sends many people's requests over one connection, and where its
 * idea of a request's end differs from ours, one person's bytes become part of another's request.
 * libmicrohttpd is lenient: it takes the last of two Content-Lengths, prefers Transfer-Encoding to
 * Content-Length, reads any encoding but "chunked" as "until the end", and passes over "Length :".
 * So all that is ambiguous is refused here (is_framed_plainly), and what can't be seen from here,
 * a bare CR or a NUL in a header's value, is harmless because no stranger's connection outlives its
 * first refusal.
 *
 * Memory: a body grows as it arrives, never on the word of its Content-Length; what a connection
 * keeps for its next request is KEEP_BYTES a buffer; all bodies that are larger hold bodies_max
 * together at most, beyond which 503 is answered.
 */

#include "http/exchange_private.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/xalloc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEEP_BYTES ((size_t)16 * 1024)
#define DROP_MAX ((size_t)8 * 1024 * 1024)
#define BODIES_MAX ((size_t)64 * 1024 * 1024)
#define ANSWER_MAX ((size_t)64 * 1024 * 1024)

enum exchange_state {
	EXCHANGE_IDLE,
	EXCHANGE_BEGUN,
	EXCHANGE_RECEIVING,
	EXCHANGE_REFUSED,
	EXCHANGE_HANDLING,
	EXCHANGE_WAITING,
	EXCHANGE_ANSWERED,
	EXCHANGE_SENDING,
};

/* An http_answer of our own memory. */
struct exchange_answer {
	unsigned status;
	int retry_after_s;
	bool close;
	bool is_known;
	char content_type[64];
	struct buf body;
};

struct exchange {
	struct peer peer; /* first: the door's part */
	struct exchange_host *host;
	struct MHD_Connection *connection;
	_Atomic enum exchange_state state;
	bool is_fresh;   /* no request yet */
	bool has_served; /* a request before this one */
	bool has_odd_uri;
	const struct http_route *routes;
	const struct http_route *route; /* NULL: refused */
	struct http_request request;
	struct buf body;
	size_t body_capacity; /* counted in bodies_bytes */
	size_t dropped;
	struct exchange_answer answer;
};

/* -- what all share -- */

void exchange_host_init(
	struct exchange_host *host, const struct http_router *router, size_t body_max)
{
	*host = (struct exchange_host){
		.router = *router,
		.body_max = body_max,
		.bodies_max = body_max > BODIES_MAX / 4 ? 4 * body_max : BODIES_MAX,
	};
	(void)pthread_mutex_init(&host->lock, NULL); /* cannot fail without attributes */
	pthread_condattr_t monotonic;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&host->all_answered, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

void exchange_host_finish(struct exchange_host *host)
{
	assert(host->active == 0 && host->bodies_bytes == 0);
	(void)pthread_cond_destroy(&host->all_answered);
	(void)pthread_mutex_destroy(&host->lock);
}

bool exchange_host_drain(struct exchange_host *host, int64_t wait_ms)
{
	int64_t until = clock_mono_ms(&clock_system) + wait_ms;
	struct timespec deadline = {
		.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000};
	int error = 0;
	pthread_mutex_lock(&host->lock);
	host->is_draining = true;
	while (host->unanswered > 0 && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&host->all_answered, &host->lock, &deadline);
	bool is_done = host->unanswered == 0;
	pthread_mutex_unlock(&host->lock);
	return is_done;
}

/* False when no handler may be called any more: the connections are about to be closed, and a
 * connection that got suspended now would be an abort in libmicrohttpd. */
static bool count_unanswered(struct exchange_host *host)
{
	pthread_mutex_lock(&host->lock);
	bool may_handle = !host->is_draining;
	host->unanswered += may_handle;
	pthread_mutex_unlock(&host->lock);
	return may_handle;
}

static void count_answered(struct exchange_host *host)
{
	pthread_mutex_lock(&host->lock);
	assert(host->unanswered > 0);
	if (--host->unanswered == 0)
		pthread_cond_broadcast(&host->all_answered);
	pthread_mutex_unlock(&host->lock);
}

/* -- memory -- */

static void buf_slim(struct buf *buf)
{
	if (buf->capacity > KEEP_BYTES)
		buf_finish(buf);
	else
		buf_clear(buf);
}

/* False when the bodies of all connections together are too much. What a connection may keep anyway
 * isn't counted: an event of the usual size gets in however many large ones there are. */
static bool count_body(struct exchange *exchange)
{
	struct exchange_host *host = exchange->host;
	size_t before = exchange->body_capacity;
	size_t after = exchange->body.capacity > KEEP_BYTES ? exchange->body.capacity : 0;
	if (after == before)
		return true;
	exchange->body_capacity = after;
	if (after < before) {
		atomic_fetch_sub_explicit(
			&host->bodies_bytes, before - after, memory_order_relaxed);
		return true;
	}
	size_t more = after - before;
	return atomic_fetch_add_explicit(&host->bodies_bytes, more, memory_order_relaxed) + more <=
		host->bodies_max;
}

static void release_body(struct exchange *exchange)
{
	buf_finish(&exchange->body);
	(void)count_body(exchange); /* only ever less */
}

/* -- life -- */

struct exchange *exchange_create(struct exchange_host *host, int fd)
{
	struct exchange *exchange = xcalloc(1, sizeof(*exchange));
	exchange->host = host;
	exchange->is_fresh = true;
	buf_init(&exchange->body, host->body_max);
	buf_init(&exchange->answer.body, ANSWER_MAX);
	door_add_peer(host->door, &exchange->peer, fd);
	return exchange;
}

void exchange_destroy(struct exchange *exchange)
{
	assert(exchange->state == EXCHANGE_IDLE);
	struct exchange_host *host = exchange->host;
	const bool is_leaving = exchange->peer.lingers && !exchange->is_fresh;
	door_remove_peer(host->door, &exchange->peer);
	/* Behind the door's counting: one who lingers is always in one of the two. */
	atomic_fetch_sub(exchange->is_fresh ? &host->fresh
			: is_leaving        ? &host->active
					    : &host->kept,
		1);
	release_body(exchange);
	buf_finish(&exchange->answer.body);
	free(exchange);
}

static void move(struct exchange *exchange, enum exchange_state from, enum exchange_state to)
{
	assert(atomic_load_explicit(&exchange->state, memory_order_relaxed) == from);
	(void)from;
	atomic_store_explicit(&exchange->state, to, memory_order_release);
}

/* A NUL would end the path for us and not for others. The rest of what no URI has goes with it. */
static bool is_odd_uri(const char *uri)
{
	for (const char *c = uri; *c; c++) {
		if (*c <= ' ' || *c >= 0x7f || strncmp(c, "%00", 3) == 0)
			return true;
	}
	return false;
}

void exchange_begin(struct exchange *exchange, const char *uri)
{
	exchange->has_odd_uri = is_odd_uri(uri);
	move(exchange, EXCHANGE_IDLE, EXCHANGE_BEGUN);
	/* In here before it is out there: who waits for an end must not find it nowhere. */
	atomic_fetch_add(&exchange->host->active, 1);
	atomic_fetch_sub(exchange->is_fresh ? &exchange->host->fresh : &exchange->host->kept, 1);
	exchange->is_fresh = false;
	atomic_fetch_add_explicit(&exchange->host->requests, 1, memory_order_relaxed);
	/* The first request's time runs from the connection's beginning. Of a later one the first
	 * byte isn't seen, only this, its whole first line. */
	if (exchange->has_served)
		door_arm(exchange->host->door, &exchange->peer);
}

void exchange_end(struct exchange *exchange)
{
	struct exchange_host *host = exchange->host;
	enum exchange_state state = exchange->state;
	assert(state != EXCHANGE_IDLE && state != EXCHANGE_HANDLING && state != EXCHANGE_WAITING);
	(void)state;
	if (exchange->routes && host->router.release)
		host->router.release(host->router.context, exchange->routes);
	exchange->routes = NULL;
	exchange->route = NULL;
	buf_slim(&exchange->body);
	(void)count_body(exchange);
	buf_slim(&exchange->answer.body);
	exchange->dropped = 0;
	exchange->has_served = true;
	door_arm(host->door, &exchange->peer);
	atomic_store(&exchange->peer.wants_more, true);
	atomic_store(&exchange->state, EXCHANGE_IDLE);
	if (exchange->peer.lingers)
		return; /* closed at once; active until then, see exchange_destroy */
	atomic_fetch_add(&host->kept, 1);
	atomic_fetch_sub(&host->active, 1);
}

/* -- sending -- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
	return MHD_add_response_header(response, name, value) == MHD_YES;
}

static bool add_allow(
	struct MHD_Response *response, const struct http_route *routes, const char *path)
{
	struct buf methods;
	buf_init(&methods, 256);
	for (const struct http_route *route = routes; route->path; route++) {
		if (strcmp(route->path, path) != 0)
			continue;
		buf_addf(&methods, "%s%s", methods.len ? ", " : "", route->method);
		if (strcmp(route->method, "GET") == 0)
			buf_add_text(&methods, ", HEAD");
	}
	bool is_added = add_header(response, MHD_HTTP_HEADER_ALLOW, buf_text(&methods));
	buf_finish(&methods);
	return is_added;
}

static bool add_headers(
	const struct exchange *exchange, struct MHD_Response *response, const char *path)
{
	const struct exchange_answer *answer = &exchange->answer;
	if (!add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type))
		return false;
	if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED && !exchange->route &&
		!add_allow(response, exchange->routes, path))
		return false;
	if (answer->retry_after_s > 0) {
		struct buf seconds;
		buf_init(&seconds, 24);
		buf_add_integer(&seconds, answer->retry_after_s);
		bool is_added =
			add_header(response, MHD_HTTP_HEADER_RETRY_AFTER, buf_text(&seconds));
		buf_finish(&seconds);
		if (!is_added)
			return false;
	}
	return !answer->close || add_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

/* MHD_NO, which closes the connection, when there is no memory for a response. */
static enum MHD_Result send_answer(struct exchange *exchange, struct MHD_Connection *connection,
	const char *path, enum exchange_state from)
{
	struct exchange_answer *answer = &exchange->answer;
	move(exchange, from, EXCHANGE_SENDING);
	atomic_store(&exchange->peer.wants_more, false);
	door_arm(exchange->host->door, &exchange->peer);
	if (answer->is_known)
		door_trust(exchange->host->door, &exchange->peer);
	/* More of what was refused may be on its way. */
	if (answer->close)
		exchange->peer.lingers = true;
	if (atomic_load_explicit(&exchange->host->is_parting, memory_order_relaxed)) {
		answer->close = true;
		/* It could not know, and may have sent its next request already. */
		exchange->peer.lingers = true;
	}
	/* PERSISTENT: the body stays in the exchange until the end, so it isn't copied again. */
	struct MHD_Response *response = MHD_create_response_from_buffer(
		answer->body.len, answer->body.data, MHD_RESPMEM_PERSISTENT);
	if (!response)
		return MHD_NO;
	enum MHD_Result result = MHD_NO;
	if (add_headers(exchange, response, path))
		result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

static void answer_set(struct exchange_answer *answer, const struct http_answer *given)
{
	const char *type = given->content_type ? given->content_type : "application/json";
	size_t type_len = strlen(type);
	assert(given->status >= 200 && given->status <= 599);
	assert(type_len < sizeof(answer->content_type));
	assert(given->body_len <= answer->body.max);
	answer->status = given->status;
	answer->retry_after_s = given->retry_after_s;
	answer->close = given->close;
	answer->is_known = given->is_known;
	memcpy(answer->content_type, type, type_len + 1);
	buf_clear(&answer->body);
	if (given->body_len > 0)
		buf_add(&answer->body, given->body, given->body_len);
}

/* -- receiving -- */

/* From BEGUN the connection is closed behind the answer. */
static void refuse(struct exchange *exchange, enum exchange_state from, unsigned status,
	int retry_after_s, const char *json)
{
	const struct http_answer answer = {
		.status = status,
		.body = json,
		.body_len = strlen(json),
		.retry_after_s = retry_after_s,
		.close = from == EXCHANGE_BEGUN,
	};
	move(exchange, from, EXCHANGE_REFUSED);
	exchange->route = NULL;
	answer_set(&exchange->answer, &answer);
	release_body(exchange);
	atomic_fetch_add_explicit(&exchange->host->refused, 1, memory_order_relaxed);
}

static void refuse_too_large(struct exchange *exchange, enum exchange_state from)
{
	struct buf json;
	buf_init(&json, 128);
	buf_addf(&json, "{\"error\":\"the body is larger than %zu bytes\"}",
		exchange->host->body_max);
	refuse(exchange, from, MHD_HTTP_CONTENT_TOO_LARGE, 0, buf_text(&json));
	buf_finish(&json);
}

static bool method_fits(const char *wanted, const char *got)
{
	return strcmp(wanted, got) == 0 || (strcmp(wanted, "GET") == 0 && strcmp(got, "HEAD") == 0);
}

/* NULL when there is none; *ret_knows_path tells 405 from 404. */
static const struct http_route *find_route(
	const struct http_route *routes, const char *path, const char *method, bool *ret_knows_path)
{
	*ret_knows_path = false;
	for (const struct http_route *route = routes; route->path; route++) {
		if (strcmp(route->path, path) != 0)
			continue;
		*ret_knows_path = true;
		if (method_fits(route->method, method))
			return route;
	}
	return NULL;
}

/* What there is of the headers that say where a request ends, and of those that must be well. */
struct framing {
	unsigned lengths, encodings, hosts;
	bool is_chunked;
	bool has_odd_name;
};

/* RFC 9110, 5.6.2: a header's name is a token. */
static bool is_token(const char *name)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	const char *c = name;
	while ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
		(*c && strchr(others, *c)))
		c++;
	return c != name && !*c;
}

static enum MHD_Result look_at_header(
	void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct framing *framing = context;
	(void)kind;
	if (!is_token(name))
		framing->has_odd_name = true;
	else if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
		framing->lengths++;
	else if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0)
		framing->hosts++;
	else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
		framing->encodings++;
		framing->is_chunked = value && strcasecmp(value, "chunked") == 0;
	}
	return MHD_YES;
}

/* Whether everybody reads the same request here (RFC 9112, 6.1 to 6.3 and 3.2). */
static bool is_framed_plainly(const struct framing *framing, const char *version)
{
	bool is_old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
	if (framing->has_odd_name || framing->hosts > 1 || (framing->hosts == 0 && !is_old))
		return false;
	if (framing->encodings == 0)
		return framing->lengths <= 1;
	return framing->encodings == 1 && framing->is_chunked && framing->lengths == 0 && !is_old;
}

/* Zero when it is chunked or absent; libmicrohttpd has refused what is no number. */
static unsigned long long content_length(struct MHD_Connection *connection)
{
	const char *text = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
	return text ? strtoull(text, NULL, 10) : 0;
}

static bool is_compressed(struct MHD_Connection *connection)
{
	const char *encoding = header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING);
	return encoding && strcasecmp(encoding, "identity") != 0;
}

static void refuse_at_once(struct exchange *exchange, unsigned status, const char *json)
{
	refuse(exchange, EXCHANGE_BEGUN, status, 0, json);
}

/* By what the request line and the headers say. False: it is refused. */
static bool admit(struct exchange *exchange, struct MHD_Connection *connection, const char *path,
	const char *method, const char *version)
{
	struct framing framing = {0};
	bool knows_path;
	(void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &framing);
	unsigned long long length = content_length(connection);
	exchange->route = find_route(exchange->routes, path, method, &knows_path);
	const struct http_route *route = exchange->route;
	if (exchange->has_odd_uri || !is_framed_plainly(&framing, version))
		refuse_at_once(exchange, MHD_HTTP_BAD_REQUEST,
			"{\"error\":\"the request's line or headers are not clean HTTP\"}");
	else if (!route && !knows_path)
		refuse_at_once(exchange, MHD_HTTP_NOT_FOUND, "{\"error\":\"unknown path\"}");
	else if (!route)
		refuse_at_once(exchange, MHD_HTTP_METHOD_NOT_ALLOWED,
			"{\"error\":\"method not allowed\"}");
	else if (strcmp(route->method, "GET") == 0 && (length > 0 || framing.is_chunked))
		refuse_at_once(exchange, MHD_HTTP_BAD_REQUEST,
			"{\"error\":\"there must be no body here\"}");
	else if (length > exchange->host->body_max)
		refuse_too_large(exchange, EXCHANGE_BEGUN); /* whoever says it */
	else if (route->screen && !route->screen(route->context, exchange))
		refuse_at_once(exchange, MHD_HTTP_UNAUTHORIZED, "{\"error\":\"not authorized\"}");
	else if (is_compressed(connection))
		refuse_at_once(exchange, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
			"{\"error\":\"compressed bodies are not taken\"}");
	else
		return true;
	return false;
}

/* The headers are there. */
static enum MHD_Result start(struct exchange *exchange, struct MHD_Connection *connection,
	const char *path, const char *method, const char *version)
{
	struct exchange_host *host = exchange->host;
	exchange->connection = connection;
	exchange->routes = host->router.acquire(host->router.context);
	if (!admit(exchange, connection, path, method, version))
		return send_answer(exchange, connection, path, EXCHANGE_REFUSED);
	move(exchange, EXCHANGE_BEGUN, EXCHANGE_RECEIVING);
	return MHD_YES;
}

static void receive(struct exchange *exchange, const char *data, size_t len)
{
	if (!buf_add(&exchange->body, data, len)) {
		exchange->dropped = exchange->body.len + len;
		refuse_too_large(exchange, EXCHANGE_RECEIVING);
	} else if (!count_body(exchange)) {
		exchange->dropped = exchange->body.len;
		refuse(exchange, EXCHANGE_RECEIVING, MHD_HTTP_SERVICE_UNAVAILABLE, 1,
			"{\"error\":\"too many large bodies at once\"}");
	}
}

/* MHD_NO when it has gone on for too long. */
static enum MHD_Result drop(struct exchange *exchange, size_t len)
{
	exchange->dropped += len;
	return exchange->dropped <= exchange->host->body_max + DROP_MAX ? MHD_YES : MHD_NO;
}

/* -- handling -- */

static enum MHD_Result handle(struct exchange *exchange, struct MHD_Connection *connection,
	const char *path, const char *method)
{
	const struct http_route *route = exchange->route;
	if (!count_unanswered(exchange->host)) {
		refuse(exchange, EXCHANGE_RECEIVING, MHD_HTTP_SERVICE_UNAVAILABLE, 1,
			"{\"error\":\"stopping\"}");
		return send_answer(exchange, connection, path, EXCHANGE_REFUSED);
	}
	exchange->request = (struct http_request){
		.method = method,
		.path = path,
		.body = buf_text(&exchange->body),
		.body_len = exchange->body.len,
	};
	door_disarm(&exchange->peer);
	atomic_store(&exchange->peer.wants_more, false);
	move(exchange, EXCHANGE_RECEIVING, EXCHANGE_HANDLING);
	route->handle(route->context, exchange, &exchange->request);
	if (atomic_load_explicit(&exchange->state, memory_order_acquire) == EXCHANGE_ANSWERED)
		return send_answer(exchange, connection, path, EXCHANGE_ANSWERED);
	MHD_suspend_connection(connection);
	enum exchange_state expected = EXCHANGE_HANDLING;
	if (!atomic_compare_exchange_strong(&exchange->state, &expected, EXCHANGE_WAITING)) {
		/* Answered this very moment, by one who could not know that it is suspended. */
		assert(expected == EXCHANGE_ANSWERED);
		MHD_resume_connection(connection);
	}
	return MHD_YES;
}

enum MHD_Result exchange_proceed(struct exchange *exchange, struct MHD_Connection *connection,
	const char *path, const char *method, const char *version, const char *data,
	size_t *data_len)
{
	size_t len = *data_len;
	*data_len = 0; /* all of it is taken, always */
	switch (atomic_load_explicit(&exchange->state, memory_order_acquire)) {
	case EXCHANGE_BEGUN: return start(exchange, connection, path, method, version);
	case EXCHANGE_RECEIVING:
		if (len == 0)
			return handle(exchange, connection, path, method);
		receive(exchange, data, len);
		return MHD_YES;
	case EXCHANGE_REFUSED:
		if (len == 0)
			return send_answer(exchange, connection, path, EXCHANGE_REFUSED);
		return drop(exchange, len);
	case EXCHANGE_ANSWERED: return send_answer(exchange, connection, path, EXCHANGE_ANSWERED);
	case EXCHANGE_IDLE:
	case EXCHANGE_HANDLING:
	case EXCHANGE_WAITING:
	case EXCHANGE_SENDING: break;
	}
	return MHD_YES; /* nothing to say yet */
}

/* -- the handler's side -- */

const char *exchange_header(struct exchange *exchange, const char *name)
{
	assert(exchange->state == EXCHANGE_HANDLING || exchange->state == EXCHANGE_BEGUN);
	return header(exchange->connection, name);
}

void exchange_answer(struct exchange *exchange, const struct http_answer *answer)
{
	struct exchange_host *host = exchange->host;
	struct MHD_Connection *connection = exchange->connection;
	answer_set(&exchange->answer, answer);
	enum exchange_state before = atomic_exchange(&exchange->state, EXCHANGE_ANSWERED);
	/* From here on the exchange may be gone. */
	assert(before == EXCHANGE_HANDLING || before == EXCHANGE_WAITING);
	if (before == EXCHANGE_WAITING)
		MHD_resume_connection(connection);
	count_answered(host);
}
