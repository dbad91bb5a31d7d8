/*
 * The listener: libmicrohttpd's thread pool between the door (door.c) and the exchanges
 * (exchange.c).
 *
 * The door accepts and hands sockets to the pool; each worker runs epoll over its share; exchange.c
 * gathers requests and sends answers. This file starts and stops all that, in this order: socket,
 * certificate, door, pool, door's thread; and back.
 *
 * What must stay true: no worker has 128 descriptors (CONNECTIONS_PER_THREAD, and one that wakes
 * it). libmicrohttpd 0.9.75 reads epoll events 128 at a time and, when exactly 128 are ready, goes
 * to sleep before serving them. Hence the number of threads: a worker gets the sockets whose number
 * leaves its rest when divided by the number of workers, the kernel gives the lowest free numbers, so
 * no worker has more than its share of all the process's descriptors, and that is what
 * DESCRIPTORS_BESIDE is for. connections_max is kept by the door alone. The pool has a limit of its
 * own, and it must never be reached: 0.9.75 then returns with its lock held, and that worker stands
 * still for ever.
 *
 * Why not poll, which doesn't stall at 128 and is content with two threads: it looks at every
 * connection in each round, so strangers who only sit there are paid for by those who work. On 2
 * cores, POST of 1,380 bytes answered from another thread, CPU of the server per request, range
 * over runs on a shared machine:
 *
 *   kept connections   64     512    64 + 900 idle   1 + 900 idle
 *   epoll, 9 threads   15-20  15-19  15-18           24-54         us
 *   poll, 2 threads    11-13  11-17  26              121-232       us
 *
 * A new connection for each request costs 47 us with either.
 */

#include "http/listener.h"

#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "http/address_private.h"
#include "http/door_private.h"
#include "http/exchange_private.h"
#include "http/tls_private.h"

#include <assert.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS_PER_THREAD 126
#define DESCRIPTORS_BESIDE 256 /* files, calls in flight, and a few to spare */
#define THREADS_MIN 2
#define POOL_LIMIT_FACTOR 8 /* out of reach */
/* Headers up to half of it; the other half for the first bytes of a body and the answer's headers.
 */
#define CONNECTION_MEMORY ((size_t)16 * 1024)
/* For an exchange_answer that is just returning in another thread. */
#define ANSWER_GRACE_MS 2000

struct listener {
	struct MHD_Daemon *pool;
	struct door *door;
	struct exchange_host host;
	uint16_t port;
	bool is_starting; /* the log's lines are kept as the reason of a failure */
	char reason[128]; /* the first of them */
};

/* -- libmicrohttpd's callbacks: from its workers -- */

__attribute__((format(printf, 2, 0))) static void on_log(
	void *context, const char *format, va_list args)
{
	struct listener *listener = context;
	if (!listener->is_starting && !log_wants(LOG_DEBUG_LEVEL))
		return;
	char text[256];
	(void)vsnprintf(text, sizeof(text), format, args); /* may be cut */
	text[strcspn(text, "\n")] = '\0';
	if (listener->is_starting && listener->reason[0] == '\0')
		(void)snprintf(listener->reason, sizeof(listener->reason), "%.*s",
			(int)sizeof(listener->reason) - 1, text);
	log_debug("libmicrohttpd", LOG_TEXT("text", text));
}

static struct exchange *exchange_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info->socket_context;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	struct listener *listener = context;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*socket_context = exchange_create(&listener->host, info->connect_fd);
	} else {
		/* libmicrohttpd closes the socket after this (MHD_cleanup_connections). */
		exchange_destroy(*socket_context);
		*socket_context = NULL;
	}
}

static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
	(void)context;
	struct exchange *exchange = exchange_of(connection);
	exchange_begin(exchange, uri);
	return exchange;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_len,
	void **request_context)
{
	(void)context;
	return exchange_proceed(*request_context, connection, url, method, version, data, data_len);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
	enum MHD_RequestTerminationCode code)
{
	(void)context;
	(void)connection;
	(void)code;
	exchange_end(*request_context);
	*request_context = NULL;
}

/* -- starting and stopping -- */

/* The door's thread: a socket for the pool. */
static bool admit(void *context, int fd, const struct sockaddr *address, socklen_t len)
{
	struct listener *listener = context;
	/* A worker will meet it later; until then it is counted here. */
	atomic_fetch_add(&listener->host.fresh, 1);
	/* Closes the socket when it fails. */
	if (MHD_add_connection(listener->pool, fd, address, len) == MHD_YES)
		return true;
	atomic_fetch_sub(&listener->host.fresh, 1);
	return false;
}

static unsigned thread_count(int64_t connections_max)
{
	int64_t descriptors =
		connections_max + DOOR_LEAVING_MAX(connections_max) + DESCRIPTORS_BESIDE;
	int64_t threads = (descriptors + CONNECTIONS_PER_THREAD - 1) / CONNECTIONS_PER_THREAD;
	return threads > THREADS_MIN ? (unsigned)threads : THREADS_MIN;
}

static bool start_pool(struct listener *listener, const struct conf_server *conf,
	const struct tls_pair *tls, struct error *err)
{
	unsigned threads = thread_count(conf->connections_max);
	/* SOCK_NONBLOCK sockets, MSG_NOSIGNAL and TCP_NODELAY are its own habits. */
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
		MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	const struct MHD_OptionItem with_tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, tls->certificate},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, tls->key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (char[]){"NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"}},
		{MHD_OPTION_END, 0, NULL},
	};
	const struct MHD_OptionItem without_tls[] = {{MHD_OPTION_END, 0, NULL}};
	if (tls->certificate)
		flags |= MHD_USE_TLS;
	listener->is_starting = true;
	listener->pool = MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener,
		MHD_OPTION_EXTERNAL_LOGGER, on_log,
		(void *)listener,                     /* first, to hear of the rest */
		MHD_OPTION_THREAD_POOL_SIZE, threads, /**/
		MHD_OPTION_CONNECTION_LIMIT,
		threads * CONNECTIONS_PER_THREAD * POOL_LIMIT_FACTOR,           /**/
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,          /**/
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, (void *)listener,  /**/
		MHD_OPTION_URI_LOG_CALLBACK, on_request_line, (void *)listener, /**/
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, (void *)listener,    /**/
		MHD_OPTION_ARRAY, tls->certificate ? with_tls : without_tls, MHD_OPTION_END);
	listener->is_starting = false;
	if (!listener->pool)
		return error_set(err, "cannot start the HTTP server: %s",
			listener->reason[0] ? listener->reason : "libmicrohttpd does not say why");
	return true;
}

/* The threads get no signals: they are main's. */
static bool start_threads(struct listener *listener, const struct conf_server *conf,
	const struct tls_pair *tls, struct error *err)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(
		SIG_SETMASK, &all, &before); /* fails only on a wrong first argument */
	bool is_started = start_pool(listener, conf, tls, err) && door_start(listener->door, err);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return is_started;
}

static int open_socket(const struct conf_server *conf, int passed_fd, struct error *err)
{
	if (passed_fd < 0)
		return address_listen(&conf->listen, err);
	if (address_adopt(passed_fd, err))
		return passed_fd;
	(void)close(passed_fd); /* taken over, and of no use */
	return -1;
}

struct listener *listener_create(
	const struct conf *conf, struct http_router router, int listen_fd, struct error *err)
{
	const struct conf_server *server = &conf->server;
	struct tls_pair tls = {0};
	bool is_started = false;
	struct listener *listener = NULL;

	int fd = open_socket(server, listen_fd, err);
	if (fd < 0)
		return NULL;
	listener = xcalloc(1, sizeof(*listener));
	exchange_host_init(&listener->host, &router, (size_t)server->body_max);
	listener->port = address_port(fd);
	if (server->tls_certificate &&
		!tls_pair_load(server->tls_certificate, server->tls_key, &tls, err))
		goto out;
	const struct door_options options = {
		.listen_fd = fd,
		.open_max = (size_t)server->connections_max,
		.timeout_ms = server->request_timeout_ms,
		.admit = admit,
		.context = listener,
	};
	listener->door = door_create(&options, err);
	if (!listener->door)
		goto out;
	listener->host.door = listener->door;
	is_started = start_threads(listener, server, &tls, err);
out:
	tls_pair_finish(&tls);
	if (is_started)
		return listener;
	(void)close(fd); /* the door takes it only when all is well */
	listener_destroy(listener);
	return NULL;
}

uint16_t listener_port(const struct listener *listener)
{
	return listener->port;
}

void listener_part(struct listener *listener)
{
	atomic_store(&listener->host.is_parting, true);
}

void listener_quiesce(struct listener *listener)
{
	listener_part(listener);
	door_close(listener->door);
}

size_t listener_active(const struct listener *listener)
{
	return atomic_load(&listener->host.active);
}

size_t listener_kept(const struct listener *listener)
{
	return atomic_load(&listener->host.kept);
}

size_t listener_expected(const struct listener *listener)
{
	return atomic_load(&listener->host.fresh) + door_lingering(listener->door);
}

void listener_cut_gone(struct listener *listener)
{
	door_cut_gone(listener->door);
}

void listener_count(const struct listener *listener, struct listener_counts *ret_counts)
{
	door_count(listener->door, ret_counts);
	ret_counts->requests = atomic_load(&listener->host.requests);
	ret_counts->refused = atomic_load(&listener->host.refused);
}

/* libmicrohttpd would abort too, without a word on whose mistake it is. A request that arrives from
 * here on, on a connection that is still open, is refused rather than handled. */
static void require_all_answered(struct listener *listener)
{
	if (exchange_host_drain(&listener->host, ANSWER_GRACE_MS))
		return;
	log_error("listener_destroy: an exchange was never answered");
	abort();
}

void listener_destroy(struct listener *listener)
{
	if (!listener)
		return;
	if (listener->door)
		door_close(listener->door);
	if (listener->pool) {
		require_all_answered(listener);
		MHD_stop_daemon(listener->pool);
	}
	door_destroy(listener->door);
	exchange_host_finish(&listener->host);
	free(listener);
}
