/*
 * The wire against a small HTTP server of the test's own: one thread, one poll loop, and a
 * behaviour for each path. What the workers promise is counted there.
 */

#include "deliver/worker.h"

#include "base/clock.h"
#include "base/error.h"
#include "conf/conf.h"
#include "deliver/intercom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the server ---- */

#define PEERS_MAX 128
#define REQUEST_MAX 8192
#define HUGE_BYTES (3 * 1024 * 1024)

struct peer {
	int fd;
	size_t len;
	char data[REQUEST_MAX];
};

struct server {
	int listener;
	int stop_pipe[2];
	uint16_t port;
	pthread_t thread;
	struct peer peers[PEERS_MAX];
	int peer_count;
	atomic_int connections;
	atomic_int requests;
	atomic_bool drop_idle; /* closes every connection that has nothing to say */
	pthread_mutex_t lock;
	char last_request[REQUEST_MAX]; /* lock */
};

static void set_nonblocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static void send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};
			if (poll(&wait, 1, 2000) <= 0)
				return;
			continue;
		}
		if (sent <= 0)
			return;
		data += sent;
		len -= (size_t)sent;
	}
}

static void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

static void send_huge(int fd)
{
	char head[128];
	(void)snprintf(
		head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", HUGE_BYTES);
	send_text(fd, head);
	char block[4096];
	memset(block, 'x', sizeof(block));
	for (size_t sent = 0; sent < HUGE_BYTES; sent += sizeof(block))
		send_all(fd, block, sizeof(block));
}

/* Returns false when the connection is to be closed. */
static bool respond(int fd, const char *path)
{
	if (strncmp(path, "/close", 6) == 0) { /* without having said so */
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
		return false;
	}
	if (strncmp(path, "/half", 5) == 0) {
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{\"type\":");
		return false;
	}
	if (strncmp(path, "/nothing", 8) == 0)
		return false;
	if (strncmp(path, "/garbage", 8) == 0) {
		send_text(fd, "lorem ipsum dolor sit amet\r\n\r\n");
		return false;
	}
	if (strncmp(path, "/silent", 7) == 0)
		return true;
	if (strncmp(path, "/huge", 5) == 0) {
		send_huge(fd);
		return true;
	}
	if (strncmp(path, "/limited", 8) == 0) {
		send_text(fd,
			"HTTP/1.1 429 Too Many Requests\r\n"
			"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n"
			"x-ratelimit-limit: 83\r\nX-RATELIMIT-REMAINING:0\r\n"
			"X-RateLimit-Reset: 784111782 \r\nRetry-After: 5\r\n"
			"X-Request-Id: 005jsrmatie9k4jdebg0\r\n\r\n");
		return true;
	}
	if (strncmp(path, "/moved", 6) == 0) {
		send_text(fd, "HTTP/1.1 301 Moved\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
		return true;
	}
	if (strncmp(path, "/chunked", 8) == 0) {
		send_text(fd,
			"HTTP/1.1 100 Continue\r\nX-Request-Id: not-this\r\n\r\n"
			"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
			"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
		return true;
	}
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	return true;
}

/* The bytes of the first whole request; 0: not there yet. */
static size_t request_len(const struct peer *peer)
{
	const char *end = memmem(peer->data, peer->len, "\r\n\r\n", 4);
	if (!end)
		return 0;
	size_t head = (size_t)(end - peer->data) + 4;
	size_t body = 0;
	const char *length = strcasestr(peer->data, "\r\nContent-Length:");
	if (length && length < end)
		body = strtoul(length + 17, NULL, 10);
	return peer->len >= head + body ? head + body : 0;
}

static void remember(struct server *server, const struct peer *peer, size_t len)
{
	pthread_mutex_lock(&server->lock);
	memcpy(server->last_request, peer->data, len);
	server->last_request[len] = '\0';
	pthread_mutex_unlock(&server->lock);
}

/* Returns false when the connection is over. */
static bool peer_read(struct server *server, struct peer *peer)
{
	ssize_t got = recv(peer->fd, peer->data + peer->len, REQUEST_MAX - 1 - peer->len, 0);
	if (got < 0)
		return errno == EAGAIN;
	if (got == 0)
		return false;
	peer->len += (size_t)got;
	peer->data[peer->len] = '\0';
	if (peer->data[0] == 0x16)
		return false; /* a TLS hello */
	size_t len;
	while ((len = request_len(peer)) > 0) {
		char path[256] = "";
		(void)sscanf(peer->data, "%*s %255s", path); /* NOLINT: bounded */
		remember(server, peer, len);
		atomic_fetch_add(&server->requests, 1);
		memmove(peer->data, peer->data + len, peer->len - len + 1);
		peer->len -= len;
		if (!respond(peer->fd, path))
			return false;
	}
	return true;
}

static void peer_close(struct server *server, int index)
{
	close(server->peers[index].fd);
	server->peers[index] = server->peers[--server->peer_count];
}

static void accept_peers(struct server *server)
{
	int fd;
	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		int on = 1;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		set_nonblocking(fd);
		assert_true(server->peer_count < PEERS_MAX);
		struct peer *peer = &server->peers[server->peer_count++];
		peer->fd = fd;
		peer->len = 0;
		atomic_fetch_add(&server->connections, 1);
	}
}

static void *server_run(void *context)
{
	struct server *server = context;
	for (;;) {
		struct pollfd polls[PEERS_MAX + 2];
		polls[0] = (struct pollfd){.fd = server->stop_pipe[0], .events = POLLIN};
		polls[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
		int count = server->peer_count;
		for (int i = 0; i < count; i++)
			polls[2 + i] = (struct pollfd){.fd = server->peers[i].fd, .events = POLLIN};
		poll(polls, (nfds_t)count + 2, -1);
		if (polls[0].revents) {
			char byte;
			if (read(server->stop_pipe[0], &byte, 1) != 1 || byte == 's')
				return NULL;
			if (byte == 'd') { /* drop */
				while (server->peer_count > 0)
					peer_close(server, 0);
				atomic_store(&server->drop_idle, false);
				continue;
			}
		}
		for (int i = count - 1; i >= 0; i--) {
			if (polls[2 + i].revents && !peer_read(server, &server->peers[i]))
				peer_close(server, i);
		}
		if (polls[1].revents)
			accept_peers(server);
	}
}

static void tell(struct server *server, char what)
{
	assert_int_equal(write(server->stop_pipe[1], &what, 1), 1);
}

static void sleep_ms(long span_ms)
{
	struct timespec span = {.tv_sec = span_ms / 1000, .tv_nsec = span_ms % 1000 * 1000000};
	nanosleep(&span, NULL);
}

/* Closes all connections, as a server does with idle ones. */
static void drop_connections(struct server *server)
{
	atomic_store(&server->drop_idle, true);
	tell(server, 'd');
	while (atomic_load(&server->drop_idle))
		sleep_ms(1);
}

static int listen_anywhere(uint16_t *ret_port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static struct server *server_start(void)
{
	struct server *server = calloc(1, sizeof(*server));
	assert_non_null(server);
	server->listener = listen_anywhere(&server->port);
	assert_int_equal(listen(server->listener, 128), 0);
	set_nonblocking(server->listener);
	assert_int_equal(pipe(server->stop_pipe), 0);
	pthread_mutex_init(&server->lock, NULL);
	assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
	return server;
}

static void server_stop(struct server *server)
{
	tell(server, 's');
	pthread_join(server->thread, NULL);
	while (server->peer_count > 0)
		peer_close(server, 0);
	close(server->listener);
	close(server->stop_pipe[0]);
	close(server->stop_pipe[1]);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

/* ---- the feed: a list of errands, handed out in order, over and over until `count` were sent ----
 */

#define ERRANDS_MAX 64

struct feed {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct errand *errands; /* the first `count` are to be sent */
	int *done_count;        /* of each errand */
	bool *busy;             /* likewise */
	int count;
	int next;
	int done;
	int asked;
};

static struct errand *take_free(struct feed *feed)
{
	int index = feed->next++ % ERRANDS_MAX;
	while (feed->busy[index])
		index = (index + 1) % ERRANDS_MAX;
	feed->busy[index] = true;
	return &feed->errands[index];
}

static struct errand *feed_next(void *context, int64_t *ret_wake_mono_ms)
{
	struct feed *feed = context;
	struct errand *errand = NULL;
	pthread_mutex_lock(&feed->lock);
	feed->asked++;
	*ret_wake_mono_ms = INT64_MAX;
	if (feed->next < feed->count)
		errand = take_free(feed);
	pthread_mutex_unlock(&feed->lock);
	return errand;
}

static void feed_done(void *context, struct errand *errand)
{
	struct feed *feed = context;
	pthread_mutex_lock(&feed->lock);
	feed->done++;
	assert_true(feed->busy[errand - feed->errands]);
	feed->busy[errand - feed->errands] = false;
	feed->done_count[errand - feed->errands]++;
	pthread_cond_signal(&feed->changed);
	pthread_mutex_unlock(&feed->lock);
}

static void feed_init(struct feed *feed, const struct conf_workspace *workspace)
{
	*feed = (struct feed){.count = 0};
	pthread_mutex_init(&feed->lock, NULL);
	pthread_cond_init(&feed->changed, NULL);
	feed->errands = calloc(ERRANDS_MAX, sizeof(*feed->errands));
	feed->done_count = calloc(ERRANDS_MAX, sizeof(*feed->done_count));
	feed->busy = calloc(ERRANDS_MAX, sizeof(*feed->busy));
	assert_true(feed->errands && feed->done_count && feed->busy);
	for (int i = 0; i < ERRANDS_MAX; i++) {
		call_init(&feed->errands[i].call);
		reply_init(&feed->errands[i].reply);
		feed->errands[i].workspace = workspace;
	}
}

static void feed_finish(struct feed *feed)
{
	for (int i = 0; i < ERRANDS_MAX; i++) {
		call_finish(&feed->errands[i].call);
		reply_finish(&feed->errands[i].reply);
	}
	free(feed->errands);
	free(feed->done_count);
	free(feed->busy);
	pthread_cond_destroy(&feed->changed);
	pthread_mutex_destroy(&feed->lock);
}

static void set_call(struct errand *errand, const char *method, const char *path, const char *body)
{
	call_clear(&errand->call);
	errand->call.kind = CALL_SUBMIT_EVENT;
	errand->call.method = method;
	buf_add_text(&errand->call.path, path);
	buf_add_text(&errand->call.body, body);
}

static void feed_add(struct feed *feed, const char *method, const char *path, const char *body)
{
	pthread_mutex_lock(&feed->lock);
	set_call(&feed->errands[feed->count], method, path, body);
	feed->count++;
	pthread_mutex_unlock(&feed->lock);
}

static void feed_wait(struct feed *feed, int done)
{
	pthread_mutex_lock(&feed->lock);
	while (feed->done < done)
		pthread_cond_wait(&feed->changed, &feed->lock);
	pthread_mutex_unlock(&feed->lock);
}

/* ---- one test's world ---- */

struct world {
	struct server *server;
	char base_url[64];
	char token[32];
	char version[8];
	struct conf_workspace workspace;
	struct feed feed;
	struct worker_pool *pool;
};

static void set_workspace(struct world *world, uint16_t port)
{
	(void)snprintf(
		world->base_url, sizeof(world->base_url), "http://127.0.0.1:%u", (unsigned)port);
	strcpy(world->token, "secret-token");
	strcpy(world->version, "2.15");
	world->workspace = (struct conf_workspace){
		.base_url = world->base_url,
		.api_version = world->version,
		.mode = CONF_MODE_LIVE,
		.access_token = {.bytes = world->token, .len = strlen(world->token)},
	};
}

static struct world *world_create(int threads, int connections)
{
	struct world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	world->server = server_start();
	set_workspace(world, world->server->port);
	feed_init(&world->feed, &world->workspace);
	struct error err = {.text = ""};
	struct worker_feed feed = {feed_next, feed_done, &world->feed};
	world->pool = worker_pool_create(threads, connections, feed, &clock_system, &err);
	assert_non_null(world->pool);
	return world;
}

static void world_destroy(struct world *world)
{
	worker_pool_destroy(world->pool, 1000);
	server_stop(world->server);
	feed_finish(&world->feed);
	free(world);
}

/* Sends one call and waits for its reply. */
static const struct reply *send_one(
	struct world *world, const char *method, const char *path, const char *body)
{
	int index = world->feed.count;
	feed_add(&world->feed, method, path, body);
	worker_pool_wake(world->pool);
	feed_wait(&world->feed, index + 1);
	return &world->feed.errands[index].reply;
}

static void assert_request_has(struct world *world, const char *text)
{
	pthread_mutex_lock(&world->server->lock);
	if (!strcasestr(world->server->last_request, text))
		fail_msg("no '%s' in: %s", text, world->server->last_request);
	pthread_mutex_unlock(&world->server->lock);
}

static void assert_request_lacks(struct world *world, const char *text)
{
	pthread_mutex_lock(&world->server->lock);
	if (strcasestr(world->server->last_request, text))
		fail_msg("'%s' in: %s", text, world->server->last_request);
	pthread_mutex_unlock(&world->server->lock);
}

/* ---- tests ---- */

static void a_call_goes_out_whole(void **state)
{
	(void)state;
	struct world *world = world_create(1, 4);
	const struct reply *reply = send_one(world, "POST", "/ok", "{\"a\":1}");
	assert_int_equal(reply->wire, WIRE_ANSWERED);
	assert_int_equal(reply->status, 200);
	assert_string_equal(buf_text(&reply->body), "{}");
	assert_in_range(reply->elapsed_ms, 0, 5000);
	assert_request_has(world, "POST /ok HTTP/1.1\r\n");
	assert_request_has(world, "\r\nAuthorization: Bearer secret-token\r\n");
	assert_request_has(world, "\r\nIntercom-Version: 2.15\r\n");
	assert_request_has(world, "\r\nAccept: application/json\r\n");
	assert_request_has(world, "\r\nContent-Type: application/json\r\n");
	assert_request_has(world, "\r\nUser-Agent: subrelay/" SUBRELAY_VERSION "\r\n");
	assert_request_has(world, "\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
	assert_request_lacks(world, "Expect");
	assert_request_lacks(world, "Accept-Encoding");
	world_destroy(world);
}

/* One slot takes all methods in turn: none leaves anything behind for the next. */
static void methods_do_not_mix(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	for (int round = 0; round < 2; round++) {
		send_one(world, "PUT", "/ok/a", "{\"b\":22}");
		assert_request_has(world, "PUT /ok/a HTTP/1.1\r\n");
		assert_request_has(world, "Content-Length: 8\r\n\r\n{\"b\":22}");
		send_one(world, "GET", "/ok/b?x=%24", "");
		assert_request_has(world, "GET /ok/b?x=%24 HTTP/1.1\r\n");
		assert_request_lacks(world, "Content-Length");
		send_one(world, "POST", "/ok/c", "");
		assert_request_has(world, "POST /ok/c HTTP/1.1\r\n");
		assert_request_has(world, "Content-Length: 0\r\n\r\n");
		send_one(world, "GET", "/ok/..", "");
		assert_request_has(world, "GET /ok/.. HTTP/1.1\r\n");
		send_one(world, "POST", "/ok/d", "{}");
		assert_request_has(world, "POST /ok/d HTTP/1.1\r\n");
	}
	assert_int_equal(atomic_load(&world->server->connections), 1);
	world_destroy(world);
}

static void a_new_token_is_used_at_once(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	send_one(world, "GET", "/ok", "");
	assert_request_has(world, "Bearer secret-token\r\n");
	/* The same address, as after a reload. Nothing is in flight: nobody reads it. */
	strcpy(world->token, "SECRET-TOKEN");
	send_one(world, "GET", "/ok", "");
	assert_request_has(world, "Bearer SECRET-TOKEN\r\n");
	strcpy(world->version, "2.16");
	send_one(world, "GET", "/ok", "");
	assert_request_has(world, "Intercom-Version: 2.16\r\n");
	world->workspace.access_token = (struct secret){NULL, 0};
	send_one(world, "GET", "/ok", "");
	assert_request_lacks(world, "secret");
	world_destroy(world);
}

static void headers_are_read(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	const struct reply *reply = send_one(world, "POST", "/limited", "{}");
	assert_int_equal(reply->status, 429);
	assert_true(reply->rate.too_many);
	assert_int_equal(reply->rate.limit, 83);
	assert_int_equal(reply->rate.remaining, 0);
	assert_int_equal(reply->rate.reset_s, 784111782);
	assert_int_equal(reply->rate.date_s, 784111777);
	assert_int_equal(reply->rate.retry_after_s, 5);
	assert_string_equal(reply->request_id, "005jsrmatie9k4jdebg0");
	reply = send_one(world, "POST", "/chunked", "{}");
	assert_int_equal(reply->wire, WIRE_ANSWERED);
	assert_int_equal(reply->status, 404);
	assert_string_equal(buf_text(&reply->body), "abcdefg");
	assert_string_equal(reply->request_id, "");
	assert_int_equal(reply->rate.limit, -1);
	world_destroy(world);
}

static void redirects_are_not_followed(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	const struct reply *reply = send_one(world, "POST", "/moved", "{}");
	assert_int_equal(reply->status, 301);
	assert_int_equal(atomic_load(&world->server->requests), 1);
	world_destroy(world);
}

static void many_calls_share_few_connections(void **state)
{
	(void)state;
	enum { CALLS = 20000 };
	struct world *world = world_create(2, 7);
	for (int i = 0; i < ERRANDS_MAX; i++)
		set_call(&world->feed.errands[i], i % 3 ? "POST" : "PUT", "/ok", "{\"x\":1}");
	pthread_mutex_lock(&world->feed.lock);
	world->feed.count = CALLS;
	pthread_mutex_unlock(&world->feed.lock);
	worker_pool_wake(world->pool);
	feed_wait(&world->feed, CALLS);
	for (int i = 0; i < ERRANDS_MAX; i++) {
		assert_false(world->feed.busy[i]);
		if (world->feed.done_count[i] > 0)
			assert_int_equal(world->feed.errands[i].reply.status, 200);
	}
	assert_int_equal(world->feed.done, CALLS);
	assert_int_equal(atomic_load(&world->server->requests), CALLS);
	assert_in_range(atomic_load(&world->server->connections), 1, 7);
	world_destroy(world);
}

static void closed_idle_connections_are_not_noticed(void **state)
{
	(void)state;
	struct world *world = world_create(1, 2);
	for (int i = 0; i < 10; i++) {
		/* Closed behind our back: before we know (drop), and right after an answer. */
		const struct reply *reply =
			send_one(world, "POST", i % 2 ? "/ok" : "/close", "{\"i\":1}");
		assert_int_equal(reply->wire, WIRE_ANSWERED);
		assert_int_equal(reply->status, 200);
		if (i % 4 == 1)
			drop_connections(world->server);
	}
	assert_int_equal(atomic_load(&world->server->requests), 10);
	assert_true(atomic_load(&world->server->connections) > 5);
	world_destroy(world);
}

static void half_answers_are_broken(void **state)
{
	(void)state;
	static const char *const paths[] = {"/half", "/nothing", "/garbage"};
	struct world *world = world_create(1, 1);
	for (size_t i = 0; i < 3; i++) {
		const struct reply *reply = send_one(world, "POST", paths[i], "{}");
		assert_int_equal(reply->wire, WIRE_BROKEN);
		assert_true(reply->wire_error[0]);
	}
	/* The slot is as good as new. */
	assert_int_equal(send_one(world, "POST", "/ok", "{}")->wire, WIRE_ANSWERED);
	world_destroy(world);
}

static void huge_bodies_are_cut(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	const struct reply *reply = send_one(world, "GET", "/huge", "");
	assert_int_equal(reply->wire, WIRE_ANSWERED);
	assert_int_equal(reply->status, 200);
	assert_int_equal(reply->body.len, REPLY_BODY_MAX);
	assert_true(reply->body.overflowed);
	assert_int_equal(send_one(world, "POST", "/ok", "{}")->wire, WIRE_ANSWERED);
	world_destroy(world);
}

static void too_large_calls_are_refused_here(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	struct errand *errand = &world->feed.errands[0];
	set_call(errand, "POST", "/ok", "");
	while (!errand->call.body.overflowed)
		buf_add_text(&errand->call.body, "0123456789abcdef0123456789abcdef");
	pthread_mutex_lock(&world->feed.lock);
	world->feed.count = 1;
	pthread_mutex_unlock(&world->feed.lock);
	worker_pool_wake(world->pool);
	feed_wait(&world->feed, 1);
	assert_int_equal(errand->reply.wire, WIRE_ANSWERED);
	assert_int_equal(errand->reply.status, 414);
	assert_int_equal(atomic_load(&world->server->requests), 0);
	world_destroy(world);
}

static void nobody_there_is_unreachable(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	static const char *const starts[] = {
		"http://127.0.0.1", "http://no one", "ftp://127.0.0.1"};
	uint16_t port;
	int fd = listen_anywhere(&port); /* bound, but not listening */
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(world->base_url, sizeof(world->base_url), "%s:%u", starts[i],
			(unsigned)port);
		const struct reply *reply = send_one(world, "POST", "/ok", "{}");
		assert_int_equal(reply->wire, WIRE_UNREACHABLE);
		assert_true(reply->wire_error[0]);
	}
	/* A server that speaks no TLS. */
	(void)snprintf(world->base_url, sizeof(world->base_url), "https://127.0.0.1:%u",
		(unsigned)world->server->port);
	assert_int_equal(send_one(world, "POST", "/ok", "{}")->wire, WIRE_UNREACHABLE);
	close(fd);
	world_destroy(world);
}

static void a_loopback_address_needs_no_proxy(void **state)
{
	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	struct world *world = world_create(1, 1);
	assert_int_equal(send_one(world, "POST", "/ok", "{}")->wire, WIRE_ANSWERED);
	assert_request_has(world, "POST /ok HTTP/1.1\r\n");
	world_destroy(world);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
}

static void wait_for_requests(struct server *server, int count)
{
	while (atomic_load(&server->requests) < count)
		sleep_ms(1);
}

static void stopping_breaks_off_what_hangs(void **state)
{
	(void)state;
	struct world *world = world_create(2, 4);
	for (int i = 0; i < 6; i++)
		feed_add(&world->feed, "POST", "/silent", "{}");
	worker_pool_wake(world->pool);
	wait_for_requests(world->server, 4); /* two wait for a slot */
	int64_t before_ms = clock_mono_ms(&clock_system);
	worker_pool_destroy(world->pool, 100);
	world->pool = NULL;
	assert_in_range(clock_mono_ms(&clock_system) - before_ms, 90, 3000);
	assert_int_equal(world->feed.done, 4);
	assert_int_equal(world->feed.next, 4); /* nothing more was asked for */
	for (int i = 0; i < 4; i++) {
		assert_int_equal(world->feed.errands[i].reply.wire, WIRE_BROKEN);
		assert_int_equal(world->feed.done_count[i], 1);
	}
	world_destroy(world);
}

static void stopping_waits_for_what_is_answered(void **state)
{
	(void)state;
	enum { ROUNDS = 30 };
	for (int i = 0; i < ROUNDS; i++) {
		struct world *world = world_create(2, 8);
		for (int j = 0; j < 8; j++)
			feed_add(&world->feed, "POST", "/ok", "{}");
		worker_pool_wake(world->pool);
		if (i % 2)
			sleep_ms(1);
		worker_pool_destroy(world->pool, 5000);
		world->pool = NULL;
		assert_int_equal(world->feed.done, world->feed.next);
		for (int j = 0; j < world->feed.done; j++)
			assert_int_equal(world->feed.errands[j].reply.status, 200);
		world_destroy(world);
	}
}

/* Without a wake the feed is asked when it said, and an idle pool asks nothing. */
static struct errand *timed_next(void *context, int64_t *ret_wake_mono_ms)
{
	int64_t *calls = context;
	calls[0]++;
	*ret_wake_mono_ms = calls[0] >= 5 ? INT64_MAX : clock_mono_ms(&clock_system) + 20;
	if (calls[0] == 5)
		calls[1] = clock_mono_ms(&clock_system);
	return NULL;
}

static void timed_done(void *context, struct errand *errand)
{
	(void)context;
	(void)errand;
	fail();
}

static void the_feed_says_when_to_ask_again(void **state)
{
	(void)state;
	int64_t calls[2] = {0, 0};
	struct worker_feed feed = {timed_next, timed_done, calls};
	int64_t before_ms = clock_mono_ms(&clock_system);
	struct worker_pool *pool = worker_pool_create(1, 1, feed, &clock_system, NULL);
	sleep_ms(300);
	worker_pool_destroy(pool, 0);
	assert_int_equal(calls[0], 5);
	assert_in_range(calls[1] - before_ms, 78, 250);
}

static void a_dry_run_stays_at_home(void **state)
{
	(void)state;
	struct world *world = world_create(2, 4);
	world->workspace.mode = CONF_MODE_DRY_RUN;
	/* Not into the test's own output. */
	fflush(stdout);
	int keep = dup(1);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert_true(keep >= 0 && null >= 0);
	dup2(null, 1);
	for (int i = 0; i < ERRANDS_MAX; i++)
		feed_add(&world->feed, "POST", "/events", "{}");
	worker_pool_wake(world->pool);
	feed_wait(&world->feed, ERRANDS_MAX);
	fflush(stdout);
	dup2(keep, 1);
	close(keep);
	close(null);
	for (int i = 0; i < ERRANDS_MAX; i++)
		assert_int_equal(world->feed.errands[i].reply.status, 202);
	assert_int_equal(atomic_load(&world->server->connections), 0);
	world_destroy(world);
}

static void one_call_by_itself(void **state)
{
	(void)state;
	struct world *world = world_create(1, 1);
	struct call call;
	struct reply reply;
	call_init(&call);
	reply_init(&reply);
	intercom_me(&call);
	assert_true(worker_call_once(&world->workspace, &call, &reply));
	assert_int_equal(reply.status, 200);
	assert_request_has(world, "GET /me HTTP/1.1\r\n");
	assert_request_has(world, "Bearer secret-token\r\n");
	assert_true(worker_call_once(&world->workspace, &call, &reply));
	uint16_t port;
	int fd = listen_anywhere(&port);
	(void)snprintf(
		world->base_url, sizeof(world->base_url), "http://127.0.0.1:%u", (unsigned)port);
	assert_false(worker_call_once(&world->workspace, &call, &reply));
	assert_int_equal(reply.wire, WIRE_UNREACHABLE);
	close(fd);
	call_finish(&call);
	reply_finish(&reply);
	world_destroy(world);
}

/* SUBRELAY_BENCH=1: calls per second, 2 threads, 32 connections. */
static void bench_calls_2_threads_32_connections(void **state)
{
	(void)state;
	if (!getenv("SUBRELAY_BENCH"))
		skip();
	enum { CALLS = 200000 };
	struct world *world = world_create(2, 32);
	for (int i = 0; i < ERRANDS_MAX; i++)
		set_call(&world->feed.errands[i], "POST", "/ok",
			"{\"event_name\":\"rc_renewal_event\",\"created_at\":1763704800}");
	int64_t before_ms = clock_mono_ms(&clock_system);
	pthread_mutex_lock(&world->feed.lock);
	world->feed.count = CALLS;
	pthread_mutex_unlock(&world->feed.lock);
	worker_pool_wake(world->pool);
	feed_wait(&world->feed, CALLS);
	int64_t span_ms = clock_mono_ms(&clock_system) - before_ms;
	print_message("%d calls in %lld ms: %lld/s over %d connections\n", CALLS,
		(long long)span_ms, CALLS * 1000LL / (long long)span_ms,
		atomic_load(&world->server->connections));
	world_destroy(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_goes_out_whole),
		cmocka_unit_test(methods_do_not_mix),
		cmocka_unit_test(a_new_token_is_used_at_once),
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(redirects_are_not_followed),
		cmocka_unit_test(many_calls_share_few_connections),
		cmocka_unit_test(closed_idle_connections_are_not_noticed),
		cmocka_unit_test(half_answers_are_broken),
		cmocka_unit_test(huge_bodies_are_cut),
		cmocka_unit_test(too_large_calls_are_refused_here),
		cmocka_unit_test(nobody_there_is_unreachable),
		cmocka_unit_test(a_loopback_address_needs_no_proxy),
		cmocka_unit_test(stopping_breaks_off_what_hangs),
		cmocka_unit_test(stopping_waits_for_what_is_answered),
		cmocka_unit_test(the_feed_says_when_to_ask_again),
		cmocka_unit_test(a_dry_run_stays_at_home),
		cmocka_unit_test(one_call_by_itself),
		cmocka_unit_test(bench_calls_2_threads_32_connections),
	};
	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
