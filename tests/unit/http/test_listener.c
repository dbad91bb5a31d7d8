/*
 * The listener over real sockets on loopback: what a sender, a slow client, a stranger and a
 * stopping daemon see.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "http/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 30000 /* for what should happen at once */
#define LONG_MS 60000     /* a request_timeout that no test reaches */
#define SHORT_MS 300
#define QUEUE_MAX 1024

/* -- a server whose handlers answer in every way there is -- */

struct server {
	struct listener *listener;
	struct http_route routes[12];
	atomic_int acquired, released;
	pthread_t answerer;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct exchange *queue[QUEUE_MAX]; /* lock */
	struct exchange *held[QUEUE_MAX];  /* lock */
	size_t queued, held_count;         /* lock */
	bool stopping;                     /* lock */
};

static int64_t now_ms(void)
{
	return clock_mono_ms(&clock_system);
}

static void answer_text(struct exchange *exchange, const char *json)
{
	exchange_answer(exchange,
		&(struct http_answer){.status = 200, .body = json, .body_len = strlen(json)});
}

static void echo(struct exchange *exchange, const struct http_request *request)
{
	exchange_answer(exchange,
		&(struct http_answer){.status = 200,
			.body = request->body,
			.body_len = request->body_len,
			.content_type = "text/plain"});
}

static void handle_now(void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	assert(strlen(request->body) == request->body_len);
	if (request->body_len > 0)
		echo(exchange, request);
	else
		answer_text(exchange, "{\"status\":\"ok\"}");
}

static void handle_later(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	struct server *server = context;
	(void)request;
	pthread_mutex_lock(&server->lock);
	server->queue[server->queued++] = exchange;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Returns only when the other thread has taken the exchange up, so that it often answers first. */
static void handle_early(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	struct server *server = context;
	handle_later(context, exchange, request);
	pthread_mutex_lock(&server->lock);
	while (server->queued > 0)
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
}

static void handle_hold(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	struct server *server = context;
	(void)request;
	pthread_mutex_lock(&server->lock);
	server->held[server->held_count++] = exchange;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void handle_header(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	const char *value = exchange_header(exchange, "x-TEST");
	struct buf text;
	buf_init(&text, 256);
	buf_addf(&text, "%s %s %s", request->method, request->path, value ? value : "(absent)");
	assert(!exchange_header(exchange, "X-Other"));
	answer_text(exchange, buf_text(&text));
	buf_finish(&text);
}

static void handle_busy(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	(void)request;
	exchange_answer(exchange,
		&(struct http_answer){.status = 503,
			.body = "{}",
			.body_len = 2,
			.retry_after_s = 7,
			.close = true});
}

/* Who may come in here says so in a header, and is known after the first answer. */
static bool screen(void *context, struct exchange *exchange)
{
	(void)context;
	const char *word = exchange_header(exchange, "X-Word");
	return word && strcmp(word, "friend") == 0;
}

static void handle_known(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	(void)request;
	exchange_answer(exchange,
		&(struct http_answer){
			.status = 200, .body = "{}", .body_len = 2, .is_known = true});
}

static void handle_large(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	(void)request;
	size_t len = 300000;
	char *text = xmalloc(len);
	memset(text, 'x', len);
	exchange_answer(
		exchange, &(struct http_answer){.status = 200, .body = text, .body_len = len});
	free(text);
}

static void *answer_queued(void *context)
{
	struct server *server = context;
	struct exchange *mine[QUEUE_MAX];
	pthread_mutex_lock(&server->lock);
	for (;;) {
		while (server->queued == 0 && !server->stopping)
			pthread_cond_wait(&server->changed, &server->lock);
		if (server->queued == 0)
			break;
		size_t count = server->queued;
		for (size_t i = 0; i < count; i++)
			mine[i] = server->queue[i];
		server->queued = 0;
		pthread_cond_broadcast(&server->changed);
		pthread_mutex_unlock(&server->lock);
		for (size_t i = 0; i < count; i++)
			answer_text(mine[i], "{\"status\":\"accepted\"}");
		pthread_mutex_lock(&server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static const struct http_route *acquire(void *context)
{
	struct server *server = context;
	atomic_fetch_add(&server->acquired, 1);
	return server->routes;
}

static void release(void *context, const struct http_route *routes)
{
	struct server *server = context;
	assert(routes == server->routes);
	atomic_fetch_add(&server->released, 1);
}

static struct conf test_conf(void)
{
	return (struct conf){.server = {
				     .listen = {.host = "127.0.0.1", .is_loopback = true},
				     .body_max = 100000,
				     .request_timeout_ms = LONG_MS,
				     .connections_max = 1024,
			     }};
}

/* NULL with err set when the listener can't be had. */
static struct server *server_try(const struct conf *conf, int listen_fd, struct error *err)
{
	struct server *server = xcalloc(1, sizeof(*server));
	const struct http_route routes[] = {
		{"POST", "/now", handle_now, server, NULL},
		{"GET", "/now", handle_now, server, NULL},
		{"POST", "/later", handle_later, server, NULL},
		{"POST", "/early", handle_early, server, NULL},
		{"POST", "/hold", handle_hold, server, NULL},
		{"GET", "/header", handle_header, server, NULL},
		{"GET", "/busy", handle_busy, server, NULL},
		{"GET", "/large", handle_large, server, NULL},
		{"POST", "/screened", handle_known, server, screen},
		{0},
	};
	memcpy(server->routes, routes, sizeof(routes));
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	const struct http_router router = {
		.acquire = acquire, .release = release, .context = server};
	server->listener = listener_create(conf, router, listen_fd, err);
	if (!server->listener) {
		free(server);
		return NULL;
	}
	if (pthread_create(&server->answerer, NULL, answer_queued, server) != 0)
		abort();
	return server;
}

static struct server *server_start(const struct conf *conf)
{
	struct error err = {0};
	struct server *server = server_try(conf, -1, &err);
	if (!server)
		fail_msg("%s", err.text);
	return server;
}

static void server_stop(struct server *server)
{
	listener_quiesce(server->listener);
	listener_destroy(server->listener);
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	pthread_join(server->answerer, NULL);
	assert_int_equal(server->queued, 0);
	assert_int_equal(server->acquired, server->released);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static void wait_held(struct server *server, size_t count)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_MS / 1000;
	int error = 0;
	pthread_mutex_lock(&server->lock);
	while (server->held_count < count && error == 0)
		error = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	pthread_mutex_unlock(&server->lock);
	assert_int_equal(error, 0);
}

static void wait_inactive(const struct server *server)
{
	int64_t until_ms = now_ms() + DEADLINE_MS;
	while (listener_active(server->listener) > 0) {
		assert_true(now_ms() < until_ms);
		sched_yield();
	}
}

/* -- a client -- */

static int try_connect(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int open_client(const struct server *server)
{
	int fd = try_connect(listener_port(server->listener));
	assert_true(fd >= 0);
	return fd;
}

/* False when the other side is gone. */
static bool try_send(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		data += sent;
		len -= (size_t)sent;
	}
	return true;
}

static void send_text(int fd, const char *text)
{
	assert_true(try_send(fd, text, strlen(text)));
}

static void send_post(int fd, const char *path, const char *body)
{
	struct buf text;
	buf_init(&text, 1 << 20);
	buf_addf(&text, "POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", path,
		strlen(body), body);
	send_text(fd, buf_text(&text));
	buf_finish(&text);
}

/* How bytes come in: a socket, or a TLS session over one. Positive, 0 at the end, -1 broken. */
static ssize_t receive(int fd, SSL *tls, char *data, size_t len, int64_t until_ms)
{
	if (!tls || SSL_pending(tls) == 0) {
		int64_t wait_ms = until_ms - now_ms();
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		if (poll(&ready, 1, wait_ms > 0 ? (int)wait_ms : 0) != 1)
			fail_msg("nothing came in time");
	}
	return tls ? SSL_read(tls, data, (int)len) : recv(fd, data, len, 0);
}

struct response {
	int status;
	struct buf head;
	struct buf body;
};

static void response_finish(struct response *response)
{
	buf_finish(&response->head);
	buf_finish(&response->body);
}

/* The header's value, cut at its line's end, in a static place; NULL when it is absent. */
static const char *response_header(const struct response *response, const char *name)
{
	static char value[256];
	const char *line = buf_text(&response->head);
	size_t len = strlen(name);
	while ((line = strstr(line, "\r\n"))) {
		line += 2;
		if (strncasecmp(line, name, len) != 0 || line[len] != ':')
			continue;
		snprintf(value, sizeof(value), "%s", line + len + 2);
		value[strcspn(value, "\r")] = '\0';
		return value;
	}
	return NULL;
}

static void read_head(int fd, SSL *tls, struct response *response, int64_t until_ms)
{
	char c;
	while (!strstr(buf_text(&response->head), "\r\n\r\n")) {
		ssize_t got = receive(fd, tls, &c, 1, until_ms);
		if (got != 1)
			fail_msg("closed after \"%s\": %s", buf_text(&response->head),
				strerror(errno));
		buf_add_char(&response->head, c);
	}
	assert_memory_equal(buf_text(&response->head), "HTTP/1.1 ", 9);
	response->status = (int)strtol(buf_text(&response->head) + 9, NULL, 10);
}

/* One response; of HEAD and 100 without a body. */
static void read_response_over(int fd, SSL *tls, bool has_body, struct response *ret_response)
{
	int64_t until_ms = now_ms() + DEADLINE_MS;
	struct response response = {0};
	buf_init(&response.head, 16384);
	buf_init(&response.body, 1 << 24);
	read_head(fd, tls, &response, until_ms);
	const char *length = response_header(&response, "Content-Length");
	size_t missing = has_body && length ? strtoul(length, NULL, 10) : 0;
	while (missing > 0) {
		char part[16384];
		ssize_t got = receive(
			fd, tls, part, missing < sizeof(part) ? missing : sizeof(part), until_ms);
		assert_true(got > 0);
		buf_add(&response.body, part, (size_t)got);
		missing -= (size_t)got;
	}
	*ret_response = response;
}

static void read_response(int fd, struct response *ret_response)
{
	read_response_over(fd, NULL, true, ret_response);
}

/* Reads one response and checks it. */
static void expect_response(int fd, int status, const char *body)
{
	struct response response;
	read_response(fd, &response);
	assert_int_equal(response.status, status);
	assert_string_equal(buf_text(&response.body), body);
	response_finish(&response);
}

/* Reads on until the server closes. */
static void expect_closed(int fd)
{
	int64_t until_ms = now_ms() + DEADLINE_MS;
	char part[4096];
	while (receive(fd, NULL, part, sizeof(part), until_ms) > 0)
		continue;
}

#define GET_NOW "GET /now HTTP/1.1\r\nHost: t\r\n\r\n"
#define POST_SCREENED \
	"POST /screened HTTP/1.1\r\nHost: t\r\nX-Word: friend\r\nContent-Length: 2\r\n\r\n{}"
#define OK_BODY "{\"status\":\"ok\"}"
#define ACCEPTED_BODY "{\"status\":\"accepted\"}"

static void test_answers_within_the_handler(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, GET_NOW);
	struct response response;
	read_response(fd, &response);
	assert_int_equal(response.status, 200);
	assert_string_equal(buf_text(&response.body), OK_BODY);
	assert_string_equal(response_header(&response, "Content-Type"), "application/json");
	assert_null(response_header(&response, "Retry-After"));
	assert_null(response_header(&response, "Connection"));
	response_finish(&response);
	send_post(fd, "/now", "hello");
	read_response(fd, &response);
	assert_string_equal(buf_text(&response.body), "hello");
	assert_string_equal(response_header(&response, "Content-Type"), "text/plain");
	response_finish(&response);
	close(fd);
	server_stop(server);
}

static void test_answers_from_another_thread(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	for (int i = 0; i < 200; i++) {
		send_post(fd, i % 2 ? "/later" : "/early", "{}");
		expect_response(fd, 200, ACCEPTED_BODY);
	}
	close(fd);
	server_stop(server);
}

static void test_serves_pipelined_requests_in_order(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd,
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\none" GET_NOW
		"POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}" GET_NOW);
	expect_response(fd, 200, "one");
	expect_response(fd, 200, OK_BODY);
	expect_response(fd, 200, ACCEPTED_BODY);
	expect_response(fd, 200, OK_BODY);
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.accepted, 1);
	assert_int_equal(counts.requests, 4);
	assert_int_equal(counts.refused, 0);
	close(fd);
	server_stop(server);
}

static void test_serves_head_wherever_get_is(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, "HEAD /now HTTP/1.1\r\nHost: t\r\n\r\n");
	struct response response;
	read_response_over(fd, NULL, false, &response);
	assert_int_equal(response.status, 200);
	assert_string_equal(response_header(&response, "Content-Length"), "15");
	response_finish(&response);
	send_text(fd, GET_NOW); /* no body was sent in between */
	expect_response(fd, 200, OK_BODY);
	send_text(fd, "HEAD /later HTTP/1.1\r\nHost: t\r\n\r\n");
	read_response_over(fd, NULL, false, &response);
	assert_int_equal(response.status, 405);
	response_finish(&response);
	char byte;
	assert_int_equal(receive(fd, NULL, &byte, 1, now_ms() + DEADLINE_MS), 0);
	close(fd);
	server_stop(server);
}

static void test_finds_headers_and_ignores_the_query(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, "GET /header?a=b&c HTTP/1.1\r\nHost: t\r\nX-Test: yes\r\n\r\n");
	expect_response(fd, 200, "GET /header yes");
	send_text(fd, "GET /header HTTP/1.1\r\nHost: t\r\n\r\n");
	expect_response(fd, 200, "GET /header (absent)");
	close(fd);
	server_stop(server);
}

static void test_refuses_unknown_paths_and_methods(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_post(fd, "/nowhere", "a body that has to be dropped");
	expect_response(fd, 404, "{\"error\":\"unknown path\"}");
	expect_closed(fd);
	close(fd);
	fd = open_client(server);
	send_text(fd, "GET /now/ HTTP/1.1\r\nHost: t\r\n\r\n" GET_NOW);
	expect_response(fd, 404, "{\"error\":\"unknown path\"}");
	expect_closed(fd); /* what came behind it isn't a request any more */
	close(fd);
	fd = open_client(server);
	send_text(fd, "PUT /now HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}");
	struct response response;
	read_response(fd, &response);
	assert_int_equal(response.status, 405);
	assert_string_equal(response_header(&response, "Allow"), "POST, GET, HEAD");
	assert_string_equal(response_header(&response, "Content-Type"), "application/json");
	assert_string_equal(buf_text(&response.body), "{\"error\":\"method not allowed\"}");
	response_finish(&response);
	close(fd);
	fd = open_client(server);
	send_text(fd, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n");
	read_response(fd, &response);
	assert_int_equal(response.status, 405);
	assert_string_equal(response_header(&response, "Allow"), "POST");
	response_finish(&response);
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.requests, 4);
	assert_int_equal(counts.refused, 4);
	close(fd);
	server_stop(server);
}

static void test_passes_on_retry_after_and_close(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, "GET /busy HTTP/1.1\r\nHost: t\r\n\r\n");
	struct response response;
	read_response(fd, &response);
	assert_int_equal(response.status, 503);
	assert_string_equal(response_header(&response, "Retry-After"), "7");
	assert_string_equal(response_header(&response, "Connection"), "close");
	response_finish(&response);
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

static void test_sends_large_answers(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	for (int i = 0; i < 3; i++) {
		send_text(fd, "GET /large HTTP/1.1\r\nHost: t\r\n\r\n");
		struct response response;
		read_response(fd, &response);
		assert_int_equal(response.body.len, 300000);
		response_finish(&response);
	}
	close(fd);
	server_stop(server);
}

/* -- bodies -- */

static char *filled(size_t len)
{
	char *text = xmalloc(len + 1);
	memset(text, 'b', len);
	text[len] = '\0';
	return text;
}

static void test_takes_bodies_up_to_the_maximum(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	const size_t sizes[] = {1, 255, 256, 4096, 20000, 99999, 100000};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *body = filled(sizes[i]);
		send_post(fd, "/now", body);
		expect_response(fd, 200, body);
		free(body);
	}
	close(fd);
	server_stop(server);
}

static void test_refuses_an_announced_large_body_before_it_comes(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 100001\r\n\r\n");
	struct response response;
	read_response(fd, &response);
	assert_int_equal(response.status, 413);
	assert_string_equal(
		buf_text(&response.body), "{\"error\":\"the body is larger than 100000 bytes\"}");
	assert_string_equal(response_header(&response, "Connection"), "close");
	response_finish(&response);
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

/* A client that sends everything before it reads must find the 413, not a reset. */
static void test_lets_a_refused_client_finish(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	const size_t len = 20000000;
	char *body = filled(len);
	const char *const paths[] = {"/now", "/nowhere"};
	const int statuses[] = {413, 404};
	for (size_t i = 0; i < 2; i++) {
		int fd = open_client(server);
		char head[128];
		snprintf(head, sizeof(head),
			"POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", paths[i],
			len);
		send_text(fd, head);
		assert_true(try_send(fd, body, len));
		struct response response;
		read_response(fd, &response);
		assert_int_equal(response.status, statuses[i]);
		response_finish(&response);
		expect_closed(fd);
		close(fd);
	}
	free(body);
	server_stop(server);
}

static void test_honours_expect_100_continue(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd,
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n"
		"Expect: 100-continue\r\n\r\n");
	struct response response;
	read_response_over(fd, NULL, false, &response);
	assert_int_equal(response.status, 100);
	response_finish(&response);
	send_text(fd, "hello");
	expect_response(fd, 200, "hello");
	send_text(fd,
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 100001\r\n"
		"Expect: 100-continue\r\n\r\n");
	read_response(fd, &response);
	assert_int_equal(response.status, 413);
	response_finish(&response);
	expect_closed(fd);
	close(fd);
	fd = open_client(server);
	send_text(fd,
		"POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n"
		"Expect: 100-continue\r\n\r\n");
	expect_response(fd, 404, "{\"error\":\"unknown path\"}");
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

#define CHUNKED_HEAD(path) "POST " path " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_takes_chunked_bodies(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, CHUNKED_HEAD("/now"));
	send_text(fd, "3\r\none\r\n");
	send_text(fd, "5\r\n, two\r\n0\r\n\r\n");
	expect_response(fd, 200, "one, two");
	send_text(fd, CHUNKED_HEAD("/later") "0\r\n\r\n");
	expect_response(fd, 200, ACCEPTED_BODY);
	send_text(fd, CHUNKED_HEAD("/nowhere") "3\r\none\r\n0\r\n\r\n");
	expect_response(fd, 404, "{\"error\":\"unknown path\"}");
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

static void test_refuses_a_large_chunked_body_as_it_streams(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	char *chunk = filled(0x8000);
	send_text(fd, CHUNKED_HEAD("/now"));
	for (int i = 0; i < 4; i++) {
		send_text(fd, "8000\r\n");
		send_text(fd, chunk);
		send_text(fd, "\r\n");
	}
	send_text(fd, "0\r\n\r\n");
	expect_response(fd, 413, "{\"error\":\"the body is larger than 100000 bytes\"}");
	send_text(fd, GET_NOW);
	expect_response(fd, 200, OK_BODY);

	/* One that never ends is cut. */
	send_text(fd, CHUNKED_HEAD("/now"));
	int chunks = 0;
	while (try_send(fd, "8000\r\n", 6) && try_send(fd, chunk, 0x8000) &&
		try_send(fd, "\r\n", 2))
		assert_true(++chunks < 10000);
	free(chunk);
	close(fd);
	server_stop(server);
}

static void test_bounds_the_memory_of_all_bodies(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.body_max = 16L * 1024 * 1024;
	struct server *server = server_start(&conf);
	const size_t len = (size_t)12 * 1024 * 1024; /* held as 16 MiB; the fifth is over 64 */
	char *body = filled(len);
	char head[128];
	snprintf(head, sizeof(head),
		"POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", len);
	int fds[5];
	for (size_t i = 0; i < 5; i++) {
		fds[i] = open_client(server);
		send_text(fds[i], head);
		assert_true(try_send(fds[i], body, len));
		if (i < 4)
			wait_held(server, i + 1);
	}
	struct response response;
	read_response(fds[4], &response);
	assert_int_equal(response.status, 503);
	assert_string_equal(response_header(&response, "Retry-After"), "1");
	response_finish(&response);
	for (size_t i = 0; i < 4; i++) {
		answer_text(server->held[i], "{}");
		expect_response(fds[i], 200, "{}");
	}
	/* And again, once it is free: a client may see its answer a moment before that. */
	wait_inactive(server);
	send_text(fds[4], head);
	assert_true(try_send(fds[4], body, len));
	wait_held(server, 5);
	answer_text(server->held[4], "{}");
	expect_response(fds[4], 200, "{}");
	for (size_t i = 0; i < 5; i++)
		close(fds[i]);
	free(body);
	server_stop(server);
}

static void test_bounds_headers(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	struct buf head;
	buf_init(&head, 65536);
	char *value = filled(8000);
	buf_addf(&head, "GET /header HTTP/1.1\r\nHost: t\r\nX-Test: yes\r\nX-Long: %s\r\n\r\n",
		value);
	send_text(fd, buf_text(&head));
	expect_response(fd, 200, "GET /header yes");
	free(value);
	value = filled(30000);
	buf_clear(&head);
	buf_addf(&head, "GET /header HTTP/1.1\r\nHost: t\r\nX-Long: %s\r\n\r\n", value);
	(void)try_send(fd, buf_text(&head), head.len); /* it may be refused half-way */
	expect_closed(fd);
	free(value);
	buf_finish(&head);
	close(fd);
	server_stop(server);
}

static void test_answers_400_to_what_is_not_http(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	const char *const texts[] = {
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /now HTTP/1.1\r\nno colon\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		int fd = open_client(server);
		send_text(fd, texts[i]);
		struct response response;
		read_response(fd, &response);
		assert_int_equal(response.status, 400);
		response_finish(&response);
		expect_closed(fd);
		close(fd);
	}
	int fd = open_client(server);
	send_text(fd, "\x16\x03\x01\x02\r\n\r\n");
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

/* What another server could read as another request. Each is followed by a request that must not be
 * served, whatever of it was the body. */
static void test_refuses_what_could_be_read_differently(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	const char *const heads[] = {
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n"
		"Transfer-Encoding: chunked\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
		"Transfer-Encoding: chunked\r\n",
		"POST /now HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length : 2\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length\t: 2\r\n",
		"POST /now HTTP/1.1\r\nContent-Length: 2\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nHost: t\r\nContent-Length: 2\r\n",
		"POST /now%00/x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n",
		"POST /now\x7f HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n",
		"GET /now HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n",
		"GET /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n",
	};
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		int fd = open_client(server);
		send_text(fd, heads[i]);
		send_text(fd, "\r\n{}" GET_NOW);
		struct response response;
		read_response(fd, &response);
		assert_int_equal(response.status, 400);
		response_finish(&response);
		char byte;
		assert_int_equal(receive(fd, NULL, &byte, 1, now_ms() + DEADLINE_MS), 0);
		close(fd);
	}
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.refused, sizeof(heads) / sizeof(heads[0]));
	assert_int_equal(counts.requests, counts.refused);
	server_stop(server);
}

static void test_screens_before_the_body_comes(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_text(fd, "POST /screened HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n");
	expect_response(fd, 401, "{\"error\":\"not authorized\"}"); /* not a byte was sent */
	expect_closed(fd);
	close(fd);
	fd = open_client(server);
	send_text(fd, POST_SCREENED POST_SCREENED);
	expect_response(fd, 200, "{}");
	expect_response(fd, 200, "{}");
	send_text(fd,
		"POST /screened HTTP/1.1\r\nHost: t\r\nX-Word: friend\r\n"
		"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n");
	expect_response(fd, 415, "{\"error\":\"compressed bodies are not taken\"}");
	expect_closed(fd);
	close(fd);
	server_stop(server);
}

/* -- deadlines -- */

/* Sends `text` a byte at a time until the server closes; returns how long that took. */
static int64_t trickle_until_closed(int fd, const char *text)
{
	int64_t began_ms = now_ms();
	while (now_ms() < began_ms + DEADLINE_MS) {
		struct pollfd closed = {.fd = fd, .events = POLLIN};
		if (poll(&closed, 1, 10) == 1 || !try_send(fd, text, 1))
			return now_ms() - began_ms;
		text += text[1] != '\0';
	}
	fail_msg("the trickle was never cut");
	return 0;
}

static void test_cuts_requests_that_trickle(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.request_timeout_ms = SHORT_MS;
	struct server *server = server_start(&conf);
	char *endless = filled(20000);
	const char *const heads[] = {"", "GET /", "POST /now HTTP/1.1\r\nHost: t\r\nX-Long: ",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 99999\r\n\r\n",
		"POST /now HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n"};
	size_t count = sizeof(heads) / sizeof(heads[0]);
	for (size_t i = 0; i < count; i++) {
		int fd = open_client(server);
		send_text(fd, heads[i]);
		int64_t took_ms = trickle_until_closed(fd, endless);
		assert_in_range(took_ms, SHORT_MS / 2, 20 * SHORT_MS);
		close(fd);
	}
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.timed_out, count);
	free(endless);
	server_stop(server);
}

static void test_closes_idle_and_half_sent(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.request_timeout_ms = SHORT_MS;
	struct server *server = server_start(&conf);
	int silent = open_client(server);
	int half = open_client(server);
	send_text(half, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf");
	int idle = open_client(server);
	send_text(idle, GET_NOW);
	expect_response(idle, 200, OK_BODY);
	int half_again = open_client(server);
	send_text(half_again, GET_NOW);
	expect_response(half_again, 200, OK_BODY);
	send_text(half_again, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf");
	const int fds[] = {silent, half, idle, half_again};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		expect_closed(fds[i]);
		close(fds[i]);
	}
	server_stop(server);
}

/* Who doesn't fetch the answer is cut as well. */
static void test_closes_who_does_not_read(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.request_timeout_ms = SHORT_MS;
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	int64_t until_ms = now_ms() + DEADLINE_MS;
	struct listener_counts counts;
	/* Until the buffers are full and the server can't get rid of the next answer. */
	do {
		assert_true(now_ms() < until_ms);
		struct pollfd ready = {.fd = fd, .events = POLLOUT};
		static const char get[] = "GET /large HTTP/1.1\r\nHost: t\r\n\r\n";
		if (poll(&ready, 1, 10) == 1)
			(void)send(fd, get, sizeof(get) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		listener_count(server->listener, &counts);
	} while (counts.timed_out == 0);
	close(fd);
	server_stop(server);
}

static void test_no_deadline_runs_while_an_answer_is_awaited(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.request_timeout_ms = SHORT_MS;
	struct server *server = server_start(&conf);
	int fd = open_client(server);
	send_post(fd, "/hold", "{}");
	wait_held(server, 1);
	for (int i = 0; i < 2; i++) { /* two deadlines pass one after the other */
		int silent = open_client(server);
		expect_closed(silent);
		close(silent);
	}
	assert_int_equal(listener_active(server->listener), 1);
	answer_text(server->held[0], "{\"late\":true}");
	expect_response(fd, 200, "{\"late\":true}");
	close(fd);
	server_stop(server);
}

static void test_survives_a_client_that_hangs_up_while_waiting(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int fds[16];
	for (size_t i = 0; i < 16; i++) {
		fds[i] = open_client(server);
		send_post(fds[i], "/hold", "{}");
	}
	wait_held(server, 16);
	for (size_t i = 0; i < 16; i++) {
		/* half of them with a reset */
		struct linger linger = {.l_onoff = (int)(i % 2)};
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(fds[i]);
	}
	for (size_t i = 0; i < 16; i++)
		answer_text(server->held[i], "{}");
	wait_inactive(server);
	server_stop(server);
}

/* -- strangers -- */

static void wait_open(const struct server *server, uint64_t accepted)
{
	struct listener_counts counts;
	int64_t until_ms = now_ms() + DEADLINE_MS;
	do {
		assert_true(now_ms() < until_ms);
		sched_yield();
		listener_count(server->listener, &counts);
	} while (counts.accepted < accepted);
}

/* The oldest stranger goes; who was served as a known sender, or waits for an answer, stays. */
static void test_makes_room_by_the_oldest_stranger(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.connections_max = 4;
	struct server *server = server_start(&conf);
	int known = open_client(server);
	send_text(known, POST_SCREENED);
	expect_response(known, 200, "{}");
	int held = open_client(server);
	send_post(held, "/hold", "{}");
	wait_held(server, 1);
	int served = open_client(server); /* being served makes nobody known */
	send_text(served, GET_NOW);
	expect_response(served, 200, OK_BODY);
	int silent = open_client(server);
	wait_open(server, 4);
	int newcomers[20];
	for (int i = 0; i < 20; i++) {
		int fd = open_client(server);
		send_text(fd, GET_NOW);
		expect_response(fd, 200, OK_BODY);
		if (i == 0)
			expect_closed(served);
		newcomers[i] = fd;
	}
	expect_closed(silent);
	for (int i = 0; i < 18; i++)
		expect_closed(newcomers[i]); /* all but the last two */
	for (int i = 0; i < 20; i++)
		close(newcomers[i]);
	send_text(known, POST_SCREENED);
	expect_response(known, 200, "{}");
	answer_text(server->held[0], "{}");
	expect_response(held, 200, "{}");
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.turned_away, 0);
	assert_true(counts.evicted >= 2);
	close(known);
	close(held);
	close(served);
	close(silent);
	server_stop(server);
}

static void test_turns_away_when_all_inside_are_known(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.connections_max = 4;
	struct server *server = server_start(&conf);
	int fds[4];
	for (size_t i = 0; i < 4; i++) {
		fds[i] = open_client(server);
		send_text(fds[i], POST_SCREENED);
		expect_response(fds[i], 200, "{}");
	}
	int fifth = open_client(server);
	expect_closed(fifth);
	close(fifth);
	for (size_t i = 0; i < 4; i++) {
		send_text(fds[i], GET_NOW);
		expect_response(fds[i], 200, OK_BODY);
	}
	struct listener_counts counts;
	listener_count(server->listener, &counts);
	assert_int_equal(counts.accepted, 4);
	assert_int_equal(counts.turned_away, 1);

	/* When one leaves there is room again. */
	close(fds[0]);
	int64_t until_ms = now_ms() + DEADLINE_MS;
	char byte;
	for (bool is_in = false; !is_in; close(fds[0])) {
		assert_true(now_ms() < until_ms);
		fds[0] = open_client(server);
		is_in = try_send(fds[0], GET_NOW, strlen(GET_NOW)) &&
			receive(fds[0], NULL, &byte, 1, until_ms) == 1;
	}
	for (size_t i = 1; i < 4; i++)
		close(fds[i]);
	server_stop(server);
}

struct crowd {
	uint16_t port;
	atomic_int served;
	int rounds;
};

/* A client that sends whole requests, half ones, and hangs up at odd moments. */
static void *behave_badly(void *context)
{
	struct crowd *crowd = context;
	static const char *const texts[] = {GET_NOW,
		"POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}",
		"POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}",
		"POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{", "PO",
		"POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 999999\r\n\r\nxx"};
	for (int i = 0; i < crowd->rounds; i++) {
		int fd = try_connect(crowd->port);
		if (fd < 0)
			continue;
		for (size_t j = 0; j < 6; j++) {
			const char *text = texts[(size_t)i % 5 == 4 ? j : j % 3];
			if (!try_send(fd, text, strlen(text)))
				break;
			char part[512];
			struct pollfd ready = {.fd = fd, .events = POLLIN};
			if (poll(&ready, 1, 60) != 1 || recv(fd, part, sizeof(part), 0) <= 0)
				break;
			atomic_fetch_add(&crowd->served, 1);
		}
		close(fd);
	}
	return NULL;
}

/* Deadlines, answers, hang-ups and the limit all at the same time; the sanitizers watch. */
static void test_stands_a_crowd(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	conf.server.request_timeout_ms = 20;
	conf.server.connections_max = 6;
	struct server *server = server_start(&conf);
	struct crowd crowd = {.port = listener_port(server->listener), .rounds = 40};
	pthread_t threads[8];
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, behave_badly, &crowd), 0);
	for (size_t i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_true(crowd.served > 0);
	wait_inactive(server);
	server_stop(server);
}

/* -- many at once: the server is a child that is stopped while the requests arrive -- */

static void serve_until_closed(const struct conf *conf, int port_fd, int end_fd)
{
	struct error err = {0};
	struct server *server = server_try(conf, -1, &err);
	uint16_t port = server ? listener_port(server->listener) : 0;
	if (write(port_fd, &port, sizeof(port)) != sizeof(port) || !server)
		_exit(1);
	char byte;
	if (read(end_fd, &byte, 1) != 0)
		_exit(2);
	listener_quiesce(server->listener);
	listener_destroy(server->listener);
	_exit(0);
}

struct child {
	pid_t pid;
	int end_fd;
	uint16_t port;
};

static struct child child_start(const struct conf *conf)
{
	int port_pipe[2];
	int end_pipe[2];
	assert_int_equal(pipe(port_pipe), 0);
	assert_int_equal(pipe(end_pipe), 0);
	struct child child = {.pid = fork()};
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		close(end_pipe[1]);
		serve_until_closed(conf, port_pipe[1], end_pipe[0]);
	}
	close(port_pipe[1]);
	close(end_pipe[0]);
	assert_int_equal(read(port_pipe[0], &child.port, sizeof(child.port)), sizeof(child.port));
	close(port_pipe[0]);
	child.end_fd = end_pipe[1];
	return child;
}

static void child_stop(const struct child *child)
{
	close(child->end_fd);
	int status;
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void freeze(const struct child *child)
{
	int status;
	assert_int_equal(kill(child->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(child->pid, &status, WUNTRACED), child->pid);
	assert_true(WIFSTOPPED(status));
}

static void expect_all_answered(const struct child *child, size_t count, const char *path)
{
	int *fds = xcalloc(count, sizeof(*fds));
	for (size_t i = 0; i < count; i++) {
		fds[i] = try_connect(child->port);
		assert_true(fds[i] >= 0);
	}
	for (size_t i = 0; i < count; i++) { /* all are with their workers after this */
		send_text(fds[i], GET_NOW);
		expect_response(fds[i], 200, OK_BODY);
	}
	for (int round = 0; round < 3; round++) {
		freeze(child);
		for (size_t i = 0; i < count; i++)
			send_post(fds[i], path, "{}");
		assert_int_equal(kill(child->pid, SIGCONT), 0);
		for (size_t i = 0; i < count; i++)
			expect_response(fds[i], 200, path[1] == 'n' ? "{}" : ACCEPTED_BODY);
	}
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	free(fds);
}

static void test_answers_all_that_are_ready_at_once(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct child child = child_start(&conf);
	const size_t counts[] = {1, 64, 127, 128, 129, 256, 512};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		expect_all_answered(&child, counts[i], "/later");
		expect_all_answered(&child, counts[i], "/now");
	}
	child_stop(&child);

	/* The most that two workers share. */
	conf.server.connections_max = 228;
	child = child_start(&conf);
	expect_all_answered(&child, 228, "/later");
	child_stop(&child);
}

/* Newcomers, not only requests: all wait in the backlog when the server wakes. */
static void test_answers_all_that_connect_at_once(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct child child = child_start(&conf);
	int fds[512];
	freeze(&child);
	for (size_t i = 0; i < 512; i++) {
		fds[i] = try_connect(child.port);
		assert_true(fds[i] >= 0);
		send_post(fds[i], "/later", "{}");
	}
	assert_int_equal(kill(child.pid, SIGCONT), 0);
	for (size_t i = 0; i < 512; i++) {
		expect_response(fds[i], 200, ACCEPTED_BODY);
		close(fds[i]);
	}
	child_stop(&child);
}

/* -- stopping -- */

static void test_quiesce_finishes_what_is_open(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	uint16_t port = listener_port(server->listener);
	int held = open_client(server);
	send_post(held, "/hold", "{}");
	wait_held(server, 1);
	int half = open_client(server);
	send_text(half, GET_NOW);
	expect_response(half, 200, OK_BODY);
	send_text(half, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
	assert_in_range(listener_active(server->listener), 1, 2);

	listener_quiesce(server->listener);
	listener_quiesce(server->listener); /* twice is once */
	assert_int_equal(try_connect(port), -1);
	assert_int_equal(errno, ECONNREFUSED);

	answer_text(server->held[0], "{}");
	send_text(half, "llo");
	const int fds[] = {held, half};
	for (size_t i = 0; i < 2; i++) {
		struct response response;
		read_response(fds[i], &response);
		assert_int_equal(response.status, 200);
		assert_string_equal(response_header(&response, "Connection"), "close");
		response_finish(&response);
		expect_closed(fds[i]);
		close(fds[i]);
	}
	wait_inactive(server);
	server_stop(server);
}

static void wait_count(
	struct server *server, size_t (*count)(const struct listener *), size_t wanted)
{
	for (int i = 0; i < 20000 && count(server->listener) != wanted; i++)
		usleep(1000);
	assert_int_equal(count(server->listener), wanted);
}

static void test_parting_goes_on_serving(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int kept = open_client(server);
	send_text(kept, GET_NOW);
	expect_response(kept, 200, OK_BODY);
	wait_count(server, listener_kept, 1);
	int silent = open_client(server);
	wait_count(server, listener_expected, 1);

	listener_part(server->listener);
	int newcomer = open_client(server);
	wait_count(server, listener_expected, 2);
	const int fds[] = {kept, silent, newcomer};
	for (size_t i = 0; i < 3; i++) {
		struct response response;
		/* What it has pipelined behind is heard out, not answered. */
		send_text(fds[i], GET_NOW GET_NOW);
		read_response(fds[i], &response);
		assert_int_equal(response.status, 200);
		assert_string_equal(response_header(&response, "Connection"), "close");
		response_finish(&response);
		expect_closed(fds[i]);
		close(fds[i]);
	}
	wait_inactive(server);
	wait_count(server, listener_kept, 0);
	wait_count(server, listener_expected, 0);
	server_stop(server);
}

/* libmicrohttpd misses an end that comes together with the last bytes. */
static void test_those_who_hung_up_are_told_apart(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int held = open_client(server);
	send_post(held, "/hold", "{}");
	wait_held(server, 1);
	int half = open_client(server);
	send_text(half, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
	int gone = open_client(server);
	send_text(gone, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
	close(gone);
	struct listener_counts counts;
	do { /* until all three have begun */
		usleep(1000);
		listener_count(server->listener, &counts);
	} while (counts.requests < 3);
	for (int i = 0; i < 20000 && listener_active(server->listener) != 2; i++) {
		listener_cut_gone(server->listener);
		usleep(1000);
	}
	/* Those who wait for their answer, or go on sending, are still there. */
	assert_int_equal(listener_active(server->listener), 2);
	answer_text(server->held[0], "{}");
	expect_response(held, 200, "{}");
	send_text(half, "llo");
	expect_response(half, 200, "hello");
	close(half);
	close(held);
	server_stop(server);
}

static void test_quiesce_and_destroy_under_load(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	for (int i = 0; i < 20; i++) {
		struct server *server = server_start(&conf);
		struct crowd crowd = {.port = listener_port(server->listener), .rounds = 20};
		pthread_t threads[4];
		for (size_t j = 0; j < 4; j++)
			assert_int_equal(
				pthread_create(&threads[j], NULL, behave_badly, &crowd), 0);
		int64_t until_ms = now_ms() + DEADLINE_MS;
		while (crowd.served < 10)
			assert_true(now_ms() < until_ms);
		listener_quiesce(server->listener);
		server_stop(server);
		for (size_t j = 0; j < 4; j++)
			pthread_join(threads[j], NULL);
	}
}

static void test_destroy_closes_what_is_left(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	int silent = open_client(server);
	int half = open_client(server);
	send_text(half, GET_NOW);
	expect_response(half, 200, OK_BODY);
	send_text(half, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
	int refused = open_client(server); /* 413, and still sending */
	send_text(refused, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 999999\r\n\r\nhe");
	struct response response;
	read_response(refused, &response);
	assert_int_equal(response.status, 413);
	response_finish(&response);
	server_stop(server);
	expect_closed(silent);
	expect_closed(half);
	expect_closed(refused);
	close(silent);
	close(half);
	close(refused);
	listener_destroy(NULL);
}

static void log_nothing(void *context, enum log_level level, const char *line)
{
	(void)context;
	(void)level;
	(void)line;
}

static void test_destroy_aborts_when_an_exchange_is_unanswered(void **state)
{
	(void)state;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		log_redirect(log_nothing, NULL);
		struct rlimit none = {0};
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		struct conf conf = test_conf();
		struct error err = {0};
		struct server *server = server_try(&conf, -1, &err);
		int fd = server ? try_connect(listener_port(server->listener)) : -1;
		if (fd < 0)
			_exit(1);
		send_post(fd, "/hold", "{}");
		wait_held(server, 1);
		listener_destroy(server->listener);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* -- where it listens -- */

static void test_listens_where_it_is_told(void **state)
{
	(void)state;
	const char *const hosts[] = {"127.0.0.1", "localhost", "*", "0.0.0.0"};
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct conf conf = test_conf();
		snprintf(conf.server.listen.host, sizeof(conf.server.listen.host), "%s", hosts[i]);
		struct server *server = server_start(&conf);
		int fd = open_client(server);
		send_text(fd, GET_NOW);
		expect_response(fd, 200, OK_BODY);
		close(fd);
		server_stop(server);
	}
}

static void test_listens_on_ipv6(void **state)
{
	(void)state;
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (fd >= 0)
			close(fd);
		skip();
	}
	close(fd);
	struct conf conf = test_conf();
	strcpy(conf.server.listen.host, "::1");
	conf.server.listen.is_ipv6 = true;
	struct server *server = server_start(&conf);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin6_port = htons(listener_port(server->listener));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	send_text(fd, GET_NOW);
	expect_response(fd, 200, OK_BODY);
	close(fd);
	conf.server.listen.port = listener_port(server->listener);
	struct error err = {0};
	assert_null(server_try(&conf, -1, &err));
	char expected[128];
	snprintf(expected, sizeof(expected), "cannot listen on [::1]:%u: Address already in use",
		(unsigned)conf.server.listen.port);
	assert_string_equal(err.text, expected);
	server_stop(server);
}

static void test_says_why_it_cannot_listen(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct server *server = server_start(&conf);
	conf.server.listen.port = listener_port(server->listener);
	struct error err = {0};
	assert_null(server_try(&conf, -1, &err));
	char expected[128];
	snprintf(expected, sizeof(expected),
		"cannot listen on 127.0.0.1:%u: Address already in use",
		(unsigned)conf.server.listen.port);
	assert_string_equal(err.text, expected);
	server_stop(server);

	strcpy(conf.server.listen.host, "300.1.1.1.");
	conf.server.listen.port = 8080;
	error_clear(&err);
	assert_null(server_try(&conf, -1, &err));
	assert_non_null(strstr(err.text, "cannot listen on 300.1.1.1.:8080: "));
}

static void test_uses_a_passed_socket(void **state)
{
	(void)state;
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int passed = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(passed, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(passed, 16), 0);
	assert_int_equal(getsockname(passed, (struct sockaddr *)&address, &len), 0);
	int ours = dup(passed); /* as systemd keeps one */

	struct conf conf = test_conf();
	conf.server.listen.port = 1; /* not looked at */
	struct error err = {0};
	struct server *server = server_try(&conf, passed, &err);
	assert_non_null(server);
	assert_int_equal(listener_port(server->listener), ntohs(address.sin_port));
	int fd = open_client(server);
	send_text(fd, GET_NOW);
	expect_response(fd, 200, OK_BODY);
	close(fd);
	server_stop(server);

	/* The socket itself lives on: who comes between two starts waits for the next one. */
	int early = try_connect(ntohs(address.sin_port));
	assert_true(early >= 0);
	send_text(early, GET_NOW);
	server = server_try(&conf, ours, &err);
	assert_non_null(server);
	expect_response(early, 200, OK_BODY);
	close(early);
	server_stop(server);
}

static void test_refuses_a_passed_socket_that_does_not_listen(void **state)
{
	(void)state;
	struct conf conf = test_conf();
	struct error err = {0};
	assert_null(server_try(&conf, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &err));
	assert_string_equal(err.text, "the passed socket does not listen");
	error_clear(&err);
	int pipe_fds[2];
	assert_int_equal(pipe(pipe_fds), 0);
	assert_null(server_try(&conf, pipe_fds[0], &err));
	assert_non_null(strstr(err.text, "the passed socket: "));
	close(pipe_fds[1]);
}

/* -- TLS -- */

static char tls_dir[] = "/tmp/subrelay_test_listener_XXXXXX";
static char certificate_path[64], key_path[64], other_key_path[64], locked_key_path[64],
	no_pem_path[64];

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

static int make_certificates(void **state)
{
	(void)state;
	if (!mkdtemp(tls_dir))
		return -1;
	snprintf(certificate_path, sizeof(certificate_path), "%s/cert.pem", tls_dir);
	snprintf(key_path, sizeof(key_path), "%s/key.pem", tls_dir);
	snprintf(other_key_path, sizeof(other_key_path), "%s/other.pem", tls_dir);
	snprintf(locked_key_path, sizeof(locked_key_path), "%s/locked.pem", tls_dir);
	snprintf(no_pem_path, sizeof(no_pem_path), "%s/none.pem", tls_dir);
	char command[512];
	snprintf(command, sizeof(command),
		"cd %s && exec 2>/dev/null && "
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		"-subj /CN=localhost -keyout key.pem -out cert.pem && "
		"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.pem && "
		"openssl ec -in key.pem -aes128 -passout pass:secret -out locked.pem && "
		"echo hello > none.pem",
		tls_dir);
	run(command);
	return 0;
}

static int remove_certificates(void **state)
{
	(void)state;
	const char *const paths[] = {
		certificate_path, key_path, other_key_path, locked_key_path, no_pem_path};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		unlink(paths[i]);
	return rmdir(tls_dir);
}

static struct conf tls_conf(void)
{
	struct conf conf = test_conf();
	conf.server.tls_certificate = certificate_path;
	conf.server.tls_key = key_path;
	return conf;
}

static SSL *tls_open(SSL_CTX *context, int fd)
{
	SSL *tls = SSL_new(context);
	SSL_set_fd(tls, fd);
	assert_int_equal(SSL_connect(tls), 1);
	return tls;
}

static void tls_send(SSL *tls, const char *text)
{
	assert_int_equal(SSL_write(tls, text, (int)strlen(text)), (int)strlen(text));
}

static void tls_expect(int fd, SSL *tls, int status, const char *body)
{
	struct response response;
	read_response_over(fd, tls, true, &response);
	assert_int_equal(response.status, status);
	assert_string_equal(buf_text(&response.body), body);
	response_finish(&response);
}

static void test_serves_https(void **state)
{
	(void)state;
	struct conf conf = tls_conf();
	struct server *server = server_start(&conf);
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int fd = open_client(server);
	SSL *tls = tls_open(context, fd);
	tls_send(tls, GET_NOW);
	tls_expect(fd, tls, 200, OK_BODY);
	tls_send(tls, "POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}");
	tls_expect(fd, tls, 200, ACCEPTED_BODY);
	char *body = filled(100000);
	char head[128];
	snprintf(head, sizeof(head), "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n",
		100000);
	tls_send(tls, head);
	tls_send(tls, body);
	tls_expect(fd, tls, 200, body);
	free(body);
	tls_send(tls, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 100001\r\n\r\n");
	tls_expect(fd, tls, 413, "{\"error\":\"the body is larger than 100000 bytes\"}");
	SSL_free(tls);
	close(fd);
	SSL_CTX_free(context);
	server_stop(server);
}

static void test_cuts_slow_tls(void **state)
{
	(void)state;
	struct conf conf = tls_conf();
	conf.server.request_timeout_ms = SHORT_MS;
	struct server *server = server_start(&conf);
	int silent = open_client(server); /* never says hello */
	int half = open_client(server);   /* the first bytes of a hello that promises 512 */
	assert_true(try_send(half, "\x16\x03\x01\x02\x00\x01\x00", 7));
	int64_t took_ms = trickle_until_closed(half, "x");
	assert_in_range(took_ms, SHORT_MS / 2, 20 * SHORT_MS);
	expect_closed(silent);
	close(silent);
	close(half);

	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int fd = open_client(server);
	SSL *tls = tls_open(context, fd);
	tls_send(tls, "POST /now HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
	expect_closed(fd);
	SSL_free(tls);
	close(fd);
	SSL_CTX_free(context);
	server_stop(server);
}

static void expect_tls_error(char *certificate, char *key, const char *text)
{
	struct conf conf = test_conf();
	conf.server.tls_certificate = certificate;
	conf.server.tls_key = key;
	struct error err = {0};
	assert_null(server_try(&conf, -1, &err));
	/* In `text`, DIR stands for tls_dir. */
	struct buf expected;
	buf_init(&expected, ERROR_TEXT_MAX);
	for (const char *rest = text; *rest; rest++) {
		if (strncmp(rest, "DIR", 3) == 0) {
			buf_add_text(&expected, tls_dir);
			rest += 2;
		} else {
			buf_add_char(&expected, *rest);
		}
	}
	assert_string_equal(err.text, buf_text(&expected));
	buf_finish(&expected);
}

static void test_says_what_is_wrong_with_a_certificate(void **state)
{
	(void)state;
	char missing_path[64];
	snprintf(missing_path, sizeof(missing_path), "%s/missing.pem", tls_dir);
	expect_tls_error(
		missing_path, key_path, "cannot read DIR/missing.pem: No such file or directory");
	expect_tls_error(certificate_path, missing_path,
		"cannot read DIR/missing.pem: No such file or directory");
	expect_tls_error(tls_dir, key_path, "cannot read DIR: Is a directory");
	expect_tls_error(no_pem_path, key_path, "DIR/none.pem holds no PEM certificate");
	expect_tls_error(certificate_path, no_pem_path, "DIR/none.pem holds no PEM private key");
	expect_tls_error(certificate_path, other_key_path,
		"the key in DIR/other.pem does not belong to the certificate in DIR/cert.pem");
	expect_tls_error(certificate_path, locked_key_path,
		"the key in DIR/locked.pem has a passphrase; give one without");
}

int main(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 2048) {
		files.rlim_cur = files.rlim_max < 2048 ? files.rlim_max : 2048;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_all_that_are_ready_at_once),
		cmocka_unit_test(test_answers_all_that_connect_at_once),
		cmocka_unit_test(test_destroy_aborts_when_an_exchange_is_unanswered),
		cmocka_unit_test(test_answers_within_the_handler),
		cmocka_unit_test(test_answers_from_another_thread),
		cmocka_unit_test(test_serves_pipelined_requests_in_order),
		cmocka_unit_test(test_serves_head_wherever_get_is),
		cmocka_unit_test(test_finds_headers_and_ignores_the_query),
		cmocka_unit_test(test_refuses_unknown_paths_and_methods),
		cmocka_unit_test(test_passes_on_retry_after_and_close),
		cmocka_unit_test(test_sends_large_answers),
		cmocka_unit_test(test_takes_bodies_up_to_the_maximum),
		cmocka_unit_test(test_refuses_an_announced_large_body_before_it_comes),
		cmocka_unit_test(test_lets_a_refused_client_finish),
		cmocka_unit_test(test_honours_expect_100_continue),
		cmocka_unit_test(test_takes_chunked_bodies),
		cmocka_unit_test(test_refuses_a_large_chunked_body_as_it_streams),
		cmocka_unit_test(test_bounds_the_memory_of_all_bodies),
		cmocka_unit_test(test_bounds_headers),
		cmocka_unit_test(test_answers_400_to_what_is_not_http),
		cmocka_unit_test(test_refuses_what_could_be_read_differently),
		cmocka_unit_test(test_screens_before_the_body_comes),
		cmocka_unit_test(test_cuts_requests_that_trickle),
		cmocka_unit_test(test_closes_idle_and_half_sent),
		cmocka_unit_test(test_closes_who_does_not_read),
		cmocka_unit_test(test_no_deadline_runs_while_an_answer_is_awaited),
		cmocka_unit_test(test_survives_a_client_that_hangs_up_while_waiting),
		cmocka_unit_test(test_makes_room_by_the_oldest_stranger),
		cmocka_unit_test(test_turns_away_when_all_inside_are_known),
		cmocka_unit_test(test_stands_a_crowd),
		cmocka_unit_test(test_quiesce_finishes_what_is_open),
		cmocka_unit_test(test_parting_goes_on_serving),
		cmocka_unit_test(test_those_who_hung_up_are_told_apart),
		cmocka_unit_test(test_quiesce_and_destroy_under_load),
		cmocka_unit_test(test_destroy_closes_what_is_left),
		cmocka_unit_test(test_listens_where_it_is_told),
		cmocka_unit_test(test_listens_on_ipv6),
		cmocka_unit_test(test_says_why_it_cannot_listen),
		cmocka_unit_test(test_uses_a_passed_socket),
		cmocka_unit_test(test_refuses_a_passed_socket_that_does_not_listen),
		cmocka_unit_test(test_serves_https),
		cmocka_unit_test(test_cuts_slow_tls),
		cmocka_unit_test(test_says_what_is_wrong_with_a_certificate),
	};
	return cmocka_run_group_tests_name(
		"listener", tests, make_certificates, remove_certificates);
}
