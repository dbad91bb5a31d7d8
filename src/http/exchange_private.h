#ifndef SUBRELAY_HTTP_EXCHANGE_PRIVATE_H
#define SUBRELAY_HTTP_EXCHANGE_PRIVATE_H

/*
 * One request and its answer, between libmicrohttpd's callbacks and the route's handler.
 *
 * A connection has one struct exchange for as long as it is open, used again for each of its
 * requests: begin (request line read), proceed (each time libmicrohttpd has something or wants
 * something), end. All three from the connection's thread.
 */

#include "http/door_private.h"
#include "http/listener.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

/* What the exchanges of one listener share. */
struct exchange_host {
	struct http_router router;
	struct door *door;
	size_t body_max;
	size_t bodies_max;      /* bytes held for all bodies together */
	atomic_bool is_parting; /* every answer closes its connection */
	atomic_size_t active;   /* requests between begin and end */
	atomic_size_t fresh;    /* connections accepted, no request begun; door counts them up */
	atomic_size_t kept;     /* connections between two requests */
	atomic_size_t bodies_bytes; /* held right now */
	atomic_uint_fast64_t requests;
	atomic_uint_fast64_t refused;

	pthread_mutex_t lock;
	pthread_cond_t all_answered;
	size_t unanswered; /* lock: given to a handler, exchange_answer has not returned */
	bool is_draining;  /* lock: handlers get no more requests */
};

/* `door` is set by the caller before the first connection. */
void exchange_host_init(
	struct exchange_host *host, const struct http_router *router, size_t body_max);
void exchange_host_finish(struct exchange_host *host);
/* Gives no more requests to handlers, and waits until every exchange_answer that was begun has
 * returned; false when one is still to come. */
bool exchange_host_drain(struct exchange_host *host, int64_t wait_ms);

struct exchange *exchange_create(struct exchange_host *host, int fd);
/* Before the connection's socket is closed. */
void exchange_destroy(struct exchange *exchange);

/* `uri` is as it came, with the query. */
void exchange_begin(struct exchange *exchange, const char *uri);
enum MHD_Result exchange_proceed(struct exchange *exchange, struct MHD_Connection *connection,
	const char *path, const char *method, const char *version, const char *data,
	size_t *data_len);
void exchange_end(struct exchange *exchange);

#endif
