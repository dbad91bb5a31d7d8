#ifndef SUBRELAY_DELIVER_WORKER_H
#define SUBRELAY_DELIVER_WORKER_H

/*
 * The wire: threads that each drive many transfers with one curl multi handle.
 *
 * A worker asks its feed for the next call whenever it has a free transfer, sends it, and gives the
 * reply back. Connections are kept and reused, HTTP/2 is used where it is offered (ALPN), names are
 * resolved by curl's cache, Debian's default CAPATH is turned off (it costs 20 ms of CPU per TLS
 * connection; CAINFO stays). Timeouts: connect 10 s, total 30 s. A kept connection that the peer
 * had closed is retried once on a fresh one by libcurl itself. Redirects are not followed. Only
 * http and https. Headers on each call: Authorization, Intercom-Version, Accept and Content-Type
 * application/json, User-Agent subrelay/VERSION.
 *
 * Proxies come from libcurl's environment variables (https_proxy, no_proxy …); a loopback address
 * is always reached directly. A call too large to be sent is answered 414 by the worker itself.
 *
 * A workspace in dry-run mode never touches the network: dry_run.c prints the call and makes up the
 * answer.
 */

#include "deliver/call.h"

#include <stdbool.h>
#include <stdint.h>

struct clock;
struct conf_workspace;
struct error;
struct worker_pool;

/* One call on its way. Owned by the feed; the worker borrows it between next and done. */
struct errand {
	struct call call;
	const struct conf_workspace *workspace; /* stays valid until done */
	struct reply reply;                     /* filled by the worker */
	void *owner;                            /* the feed's own */
};

/* Where calls come from: the dispatcher, or a test. Called from worker threads, concurrently. */
struct worker_feed {
	/* The next errand that may be sent now; NULL when there is none, then *ret_wake_mono_ms
	 * says when to ask again at the latest (INT64_MAX: only after worker_pool_wake). */
	struct errand *(*next)(void *context, int64_t *ret_wake_mono_ms);
	/* The reply is filled. Exactly once for each errand, on the thread that took it, which asks
	 * next again right after. */
	void (*done)(void *context, struct errand *errand);
	void *context;
};

/* connections: transfers in flight over all threads together. */
struct worker_pool *worker_pool_create(int threads, int connections, struct worker_feed feed,
	const struct clock *clock, struct error *err);
/* Something may be sendable sooner than `next` said. From any thread; cheap. */
void worker_pool_wake(struct worker_pool *pool);
/* No more errands are asked for; waits until none is in flight or the span is over, then breaks off
 * the rest (their done is called with WIRE_BROKEN) and ends the threads. */
void worker_pool_destroy(struct worker_pool *pool, int64_t drain_ms);

/* One call, now, on the calling thread: for `check --online` and `setup`. ret_reply is initialised.
 * False: its wire and wire_error say why there is no answer. */
bool worker_call_once(
	const struct conf_workspace *workspace, const struct call *call, struct reply *ret_reply);

#endif
