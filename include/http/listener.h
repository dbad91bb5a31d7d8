#ifndef SUBRELAY_HTTP_LISTENER_H
#define SUBRELAY_HTTP_LISTENER_H

/*
 * The HTTP listener: libmicrohttpd with its own threads, and the limits that keep strangers cheap.
 *
 * It gathers one request's body (up to body_max), then hands the whole request to the route's
 * handler, on the connection's thread. A handler either answers at once (exchange_answer) or keeps
 * the exchange and answers later from any thread; until then the connection is suspended and costs
 * no thread. Every exchange is answered exactly once.
 *
 * The listener itself answers: framing that two servers could read differently 400, unknown path
 * 404, wrong method 405 with Allow, a GET with a body 400, what the route's `screen` doesn't want
 * 401, a compressed body 415, a body over body_max 413 (from Content-Length; a chunked body is
 * dropped as it streams in, answered at its end, and cut when it goes on for 8 MiB more), 503 when
 * the bodies of all connections together hold 64 MiB. HEAD is served wherever GET is. What can be
 * said from the headers is said at once, nothing of the body is kept, and the connection is closed:
 * whatever else a stranger has sent on it, or slipped in between somebody else's requests, is never
 * read as a request.
 *
 * A connection is closed when its first request isn't complete within request_timeout of the
 * connection's beginning (TLS handshake included), a later one within request_timeout of its
 * request line, when it stays idle so long between requests, or when it takes so long to fetch an
 * answer; however slowly the bytes trickle. While an exchange waits for its answer no time runs.
 * When connections_max are open, a new one takes the place of a stranger's oldest (see door.c); it is
 * closed at once when all belong to known senders or wait for an answer.
 *
 * Memory, at most, over what the idle daemon takes: 48 KiB a connection (libmicrohttpd's buffer and
 * two kept ones, 16 KiB each), 64 with TLS, for connections_max and a sixteenth more that are being
 * closed; 64 MiB for the bodies over 16 KiB (four times body_max if that is more); and what a handler
 * needs, for an event 8 MiB a thread. With the defaults that is 196 MiB, 212 with TLS; the connections'
 * part, 52 or 68, is all that strangers can cause where `screen` knows them by their headers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct error;
struct exchange;
struct listener;

/* One request, complete. Borrowed by the handler until it is answered. */
struct http_request {
	const char *method;
	const char *path; /* without the query */
	const char *body; /* "" when there is none; NUL-terminated one past its end */
	size_t body_len;
};

struct http_answer {
	unsigned status;
	const char *body; /* JSON text; copied */
	size_t body_len;
	int retry_after_s;        /* 0: no Retry-After header */
	const char *content_type; /* NULL: application/json; copied, under 64 bytes */
	bool close;               /* close the connection after this answer */
	bool is_known; /* the sender has shown who it is: its connection isn't cut for newcomers */
};

struct http_route {
	const char *method; /* "POST", "GET" */
	const char *path;   /* exact */
	void (*handle)(
		void *context, struct exchange *exchange, const struct http_request *request);
	void *context;
	/* Once the headers are there, before any of the body is taken: false answers 401. It may
	 * ask for headers. NULL: everybody may send a body. */
	bool (*screen)(void *context, struct exchange *exchange);
};

/*
 * Finds the route table of this moment, for each request anew, so that a reload can change paths.
 * The table ends with a NULL path; it must stay valid until `release` is called with it (NULL: it
 * never dies). Called from any listener thread.
 */
struct http_router {
	const struct http_route *(*acquire)(void *context);
	void (*release)(void *context, const struct http_route *routes);
	void *context;
};

/* Since the start. */
struct listener_counts {
	uint64_t accepted;    /* connections */
	uint64_t turned_away; /* connections closed at once: there was no room */
	uint64_t evicted;     /* connections cut to make room for others */
	uint64_t timed_out;   /* connections cut at their deadline, idle ones included */
	uint64_t requests;
	uint64_t refused; /* requests the listener answered itself */
};

/*
 * Listens and serves. `listen_fd` >= 0: a listening socket passed in (systemd), used instead of
 * opening conf's address, and taken over even on failure. NULL with err set when the address is
 * taken, the certificate is unreadable … Only conf's server section is read, and only during the
 * call.
 */
struct listener *listener_create(
	const struct conf *conf, struct http_router router, int listen_fd, struct error *err);
/* The port that is listened on (when 0 was asked for). */
uint16_t listener_port(const struct listener *listener);
/* Stopping without a request lost takes two steps, with a wait after each.
 *
 * From listener_part on every answer says `Connection: close` and closes its connection; new ones
 * are accepted as before. A client that goes on sending learns from its next answer that it has to
 * connect anew; wait until none is kept, or for as long as you grant the silent ones.
 *
 * listener_quiesce stops accepting as well (what has come to a passed socket waits there for the
 * next process). Requests on open connections go on; wait until none is active or expected.
 *
 * What remains is HTTP's own: a client that was silent until then and sends its next request at the
 * very moment at which its connection is closed finds it closed.
 */
void listener_part(struct listener *listener);
void listener_quiesce(struct listener *listener);
/* Connections that were served and wait for their next request. */
size_t listener_kept(const struct listener *listener);
/* Requests that are being received or answered. */
size_t listener_active(const struct listener *listener);
/* Connections that were accepted and haven't begun their first request, and those that have their
 * last answer and are still sending (to close on these would destroy the answer). */
size_t listener_expected(const struct listener *listener);
/* Closes connections whose client hung up in the middle of a request: called now and then while
 * waiting, they don't hold it. */
void listener_cut_gone(struct listener *listener);
void listener_count(const struct listener *listener, struct listener_counts *ret_counts);
/* Quiesces, closes what is left (answers not yet sent as well) and ends the threads. Takes NULL.
 * Every exchange must be answered; one that isn't is a broken invariant and aborts. */
void listener_destroy(struct listener *listener);

/* From the handler's thread while it handles or screens: a header by name, in any case; NULL:
 * absent. */
const char *exchange_header(struct exchange *exchange, const char *name);
/* Answers; the exchange is gone afterwards. From any thread. */
void exchange_answer(struct exchange *exchange, const struct http_answer *answer);

#endif
