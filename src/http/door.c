/*
 * The door: accepts, enforces deadlines, lets the refused finish talking.
 *
 * libmicrohttpd could accept by itself; that it doesn't has three reasons. Its quiesce takes the
 * listening socket out of each worker's epoll set from the calling thread while the worker may be
 * doing the same, and panics when it comes second. Its stop shuts the listening socket down, which
 * for a socket of systemd's kills it for the next start, too. And every worker would wake for every
 * new connection. One thread that accepts costs one hand-over a connection and has none of that.
 *
 * Deadlines: libmicrohttpd's own timeout counts inactivity, so one byte a second keeps a connection
 * for ever. Here each peer has one atomic deadline, set by the thread that serves it, without a
 * lock; the door looks at all of them when the earliest it saw may be due. Every span is the same,
 * so one that is armed after the look cannot be due before look + timeout_ms, and the door never
 * sleeps longer than that: none is missed. Looks are at least SCAN_GAP_MS apart.
 *
 * What must stay true: a socket is cut only while its peer is registered, under the lock, and
 * removing takes the lock before the socket is closed; so a number that was reused for somebody
 * else's file is never touched. `listen_fd` and the stragglers' sockets are the door thread's
 * alone.
 *
 * Stragglers: a socket that is closed with bytes unread answers with a reset, and a reset that
 * overtakes the 413 throws it away at the client's side. So the door keeps a duplicate of such a
 * socket, whose sending half libmicrohttpd has shut already, and reads until the client is done or
 * timeout_ms is over. MSG_TRUNC lets the kernel drop the bytes without copying. A straggler counts
 * as open.
 */

#include "http/door_private.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NEVER INT64_MAX
#define SCAN_GAP_MS 10
/* accept(2) fails for want of descriptors or memory: the socket stays ready, so look away a while.
 */
#define ACCEPT_PAUSE_MS 100
#define ACCEPTS_PER_ROUND 64
#define DROP_BYTES ((size_t)16 * 1024)

struct straggler {
	int fd;
	int64_t deadline_mono_ms;
	size_t slot; /* the door thread's: its place in `polled`, 0 when it isn't there yet */
	struct straggler *next;
};

struct door {
	struct door_options options;
	pthread_t thread;
	bool is_running;
	int wake_fd;

	/* the door thread's own */
	int listen_fd;
	int64_t scan_at_mono_ms;
	int64_t accept_at_mono_ms;
	bool is_full_logged;
	bool is_failing_logged;
	struct pollfd *polled;
	size_t polled_capacity;

	pthread_mutex_t lock;
	pthread_cond_t closed;
	struct peer *peers;           /* lock */
	struct straggler *stragglers; /* lock; others only add at the head */
	size_t open;                  /* lock: peers and stragglers */
	bool close_wanted;            /* lock */
	bool is_closed;               /* lock */
	bool stop_wanted;             /* lock */

	atomic_uint_fast64_t accepted;
	atomic_uint_fast64_t turned_away;
	atomic_uint_fast64_t timed_out;
};

static int64_t now_mono_ms(void)
{
	return clock_mono_ms(&clock_system);
}

struct door *door_create(const struct door_options *options, struct error *err)
{
	int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0) {
		error_set(err, "eventfd: %s", strerror(errno));
		return NULL;
	}
	struct door *door = xcalloc(1, sizeof(*door));
	door->options = *options;
	door->wake_fd = wake_fd;
	door->listen_fd = -1;
	(void)pthread_mutex_init(&door->lock, NULL); /* cannot fail without attributes */
	(void)pthread_cond_init(&door->closed, NULL);
	return door;
}

static void wake(const struct door *door)
{
	const uint64_t one = 1;
	/* Full (EAGAIN) means that it is awake already. */
	ssize_t written = write(door->wake_fd, &one, sizeof(one));
	(void)written;
}

/* -- deadlines -- */

void door_arm(const struct door *door, struct peer *peer)
{
	atomic_store_explicit(&peer->deadline_mono_ms, now_mono_ms() + door->options.timeout_ms,
		memory_order_relaxed);
}

void door_disarm(struct peer *peer)
{
	atomic_store_explicit(&peer->deadline_mono_ms, NEVER, memory_order_relaxed);
}

void door_add_peer(struct door *door, struct peer *peer, int fd)
{
	*peer = (struct peer){.fd = fd};
	door_arm(door, peer);
	pthread_mutex_lock(&door->lock);
	peer->next = door->peers;
	if (peer->next)
		peer->next->previous = peer;
	door->peers = peer;
	door->open++;
	pthread_mutex_unlock(&door->lock);
}

static struct straggler *straggler_create(int fd, int64_t deadline_mono_ms)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return NULL; /* out of descriptors: then the client risks the reset */
	struct straggler *straggler = xcalloc(1, sizeof(*straggler));
	straggler->fd = copy;
	straggler->deadline_mono_ms = deadline_mono_ms;
	return straggler;
}

void door_remove_peer(struct door *door, struct peer *peer)
{
	struct straggler *straggler = NULL;
	if (peer->lingers)
		straggler = straggler_create(peer->fd, now_mono_ms() + door->options.timeout_ms);
	pthread_mutex_lock(&door->lock);
	if (peer->previous)
		peer->previous->next = peer->next;
	else
		door->peers = peer->next;
	if (peer->next)
		peer->next->previous = peer->previous;
	if (straggler) {
		straggler->next = door->stragglers;
		door->stragglers = straggler;
	} else {
		assert(door->open > 0);
		door->open--;
	}
	pthread_mutex_unlock(&door->lock);
	if (straggler)
		wake(door);
}

/* Cuts what is overdue and returns when to look again. */
static int64_t scan_locked(struct door *door, int64_t now)
{
	int64_t next = now + door->options.timeout_ms;
	for (struct peer *peer = door->peers; peer; peer = peer->next) {
		int64_t deadline =
			atomic_load_explicit(&peer->deadline_mono_ms, memory_order_relaxed);
		if (deadline > now) {
			next = deadline < next ? deadline : next;
			continue;
		}
		/* Not if its thread has just moved the deadline. */
		if (!atomic_compare_exchange_strong(&peer->deadline_mono_ms, &deadline, NEVER))
			continue;
		atomic_fetch_add_explicit(&door->timed_out, 1, memory_order_relaxed);
		/* Its thread sees the end of the stream and closes; gone already is fine too. */
		(void)shutdown(peer->fd, SHUT_RDWR);
	}
	return next > now + SCAN_GAP_MS ? next : now + SCAN_GAP_MS;
}

/* -- stragglers -- */

/* True when it is done: the client closed, or is gone, or had its time. */
static bool straggler_drop(const struct straggler *straggler, bool is_ready, int64_t now)
{
	if (straggler->deadline_mono_ms <= now)
		return true;
	if (!is_ready)
		return false;
	char dropped_bytes[DROP_BYTES];
	ssize_t dropped = recv(straggler->fd, dropped_bytes, sizeof(dropped_bytes), MSG_DONTWAIT);
	return dropped == 0 || (dropped < 0 && errno != EAGAIN && errno != EINTR);
}

static void straggler_remove(struct door *door, struct straggler *straggler)
{
	pthread_mutex_lock(&door->lock);
	struct straggler **link = &door->stragglers;
	while (*link != straggler)
		link = &(*link)->next;
	*link = straggler->next;
	assert(door->open > 0);
	door->open--;
	pthread_mutex_unlock(&door->lock);
	(void)close(straggler->fd); /* nothing is left to lose */
	free(straggler);
}

static void serve_stragglers(struct door *door)
{
	int64_t now = now_mono_ms();
	pthread_mutex_lock(&door->lock);
	struct straggler *straggler = door->stragglers;
	pthread_mutex_unlock(&door->lock);
	while (straggler) {
		struct straggler *next = straggler->next;
		bool is_ready = straggler->slot > 0 && door->polled[straggler->slot].revents;
		if (straggler_drop(straggler, is_ready, now))
			straggler_remove(door, straggler);
		straggler = next;
	}
}

/* -- accepting -- */

static bool is_full(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	size_t open = door->open;
	pthread_mutex_unlock(&door->lock);
	if (open < door->options.open_max) {
		/* Said once each time it fills up, not for each at the threshold. */
		if (open < door->options.open_max - door->options.open_max / 10)
			door->is_full_logged = false;
		return false;
	}
	if (!door->is_full_logged)
		log_warn("connections_max is reached, new connections are closed",
			LOG_INT("connections", (int64_t)open));
	door->is_full_logged = true;
	return true;
}

/* True when there may be more to accept at once. */
static bool accept_failed(struct door *door, int error)
{
	switch (error) {
	case EAGAIN: return false;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		if (!door->is_failing_logged)
			log_warn("cannot accept connections", LOG_TEXT("reason", strerror(error)));
		door->is_failing_logged = true;
		door->accept_at_mono_ms = now_mono_ms() + ACCEPT_PAUSE_MS;
		return false;
	default: return true; /* that one client is gone again: accept(2), "Error handling" */
	}
}

static void accept_some(struct door *door)
{
	for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		struct sockaddr_storage address;
		socklen_t len = sizeof(address);
		int fd = accept4(door->listen_fd, (struct sockaddr *)&address, &len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (!accept_failed(door, errno))
				return;
			continue;
		}
		door->is_failing_logged = false;
		if (is_full(door)) {
			(void)close(fd); /* nothing was sent on it */
			atomic_fetch_add_explicit(&door->turned_away, 1, memory_order_relaxed);
			continue;
		}
		atomic_fetch_add_explicit(&door->accepted, 1, memory_order_relaxed);
		door->options.admit(
			door->options.context, fd, (const struct sockaddr *)&address, len);
	}
}

/* -- the thread -- */

static size_t polled_add(struct door *door, size_t *count, int fd)
{
	if (*count == door->polled_capacity) {
		door->polled_capacity = door->polled_capacity ? 2 * door->polled_capacity : 16;
		door->polled =
			xrealloc(door->polled, door->polled_capacity * sizeof(*door->polled));
	}
	door->polled[*count] = (struct pollfd){.fd = fd, .events = POLLIN};
	return (*count)++;
}

/* Fills `polled` with all that is waited for: wake_fd, perhaps listen_fd, the stragglers. */
static size_t gather(struct door *door, int64_t now, size_t *ret_listen_slot, int64_t *ret_until)
{
	size_t count = 0;
	int64_t until = door->scan_at_mono_ms;
	(void)polled_add(door, &count, door->wake_fd); /* always the first */
	*ret_listen_slot = 0;
	if (door->listen_fd >= 0 && door->accept_at_mono_ms <= now)
		*ret_listen_slot = polled_add(door, &count, door->listen_fd);
	else if (door->listen_fd >= 0 && door->accept_at_mono_ms < until)
		until = door->accept_at_mono_ms;
	pthread_mutex_lock(&door->lock);
	for (struct straggler *s = door->stragglers; s; s = s->next) {
		s->slot = polled_add(door, &count, s->fd);
		until = s->deadline_mono_ms < until ? s->deadline_mono_ms : until;
	}
	pthread_mutex_unlock(&door->lock);
	*ret_until = until;
	return count;
}

static void close_listen_socket(struct door *door)
{
	(void)close(door->listen_fd); /* a listening socket holds nothing that could be lost */
	door->listen_fd = -1;
	pthread_mutex_lock(&door->lock);
	door->is_closed = true;
	pthread_cond_broadcast(&door->closed);
	pthread_mutex_unlock(&door->lock);
}

/* Sleeps until something is to be done, and does it. */
static void wait_and_serve(struct door *door, int64_t now)
{
	int64_t until;
	size_t listen_slot;
	size_t count = gather(door, now, &listen_slot, &until);
	int64_t wait_ms = until > now ? until - now : 0;
	if (poll(door->polled, count, wait_ms < INT_MAX ? (int)wait_ms : INT_MAX) < 0)
		return; /* EINTR or ENOMEM: again */
	if (door->polled[0].revents) {
		uint64_t wakes;
		ssize_t got = read(door->wake_fd, &wakes, sizeof(wakes));
		(void)got; /* the flags say what it was for */
	}
	if (listen_slot > 0 && door->polled[listen_slot].revents)
		accept_some(door);
	serve_stragglers(door);
}

static void *run(void *context)
{
	struct door *door = context;
	for (;;) {
		int64_t now = now_mono_ms();
		pthread_mutex_lock(&door->lock);
		bool must_close = door->close_wanted && door->listen_fd >= 0;
		bool must_stop = door->stop_wanted;
		if (door->scan_at_mono_ms <= now)
			door->scan_at_mono_ms = scan_locked(door, now);
		pthread_mutex_unlock(&door->lock);
		if (must_close)
			close_listen_socket(door);
		if (must_stop)
			return NULL;
		wait_and_serve(door, now);
	}
}

bool door_start(struct door *door, struct error *err)
{
	assert(!door->is_running);
	door->listen_fd = door->options.listen_fd;
	int error = pthread_create(&door->thread, NULL, run, door);
	if (error) {
		door->listen_fd = -1;
		return error_set(err, "cannot start a thread: %s", strerror(error));
	}
	door->is_running = true;
	return true;
}

void door_close(struct door *door)
{
	if (!door->is_running)
		return;
	pthread_mutex_lock(&door->lock);
	door->close_wanted = true;
	wake(door);
	while (!door->is_closed)
		pthread_cond_wait(&door->closed, &door->lock);
	pthread_mutex_unlock(&door->lock);
}

void door_destroy(struct door *door)
{
	if (!door)
		return;
	assert(!door->peers);
	if (door->is_running) {
		door_close(door);
		pthread_mutex_lock(&door->lock);
		door->stop_wanted = true;
		pthread_mutex_unlock(&door->lock);
		wake(door);
		(void)pthread_join(door->thread, NULL); /* it is ours and runs */
	}
	while (door->stragglers)
		straggler_remove(door, door->stragglers);
	(void)close(door->wake_fd);
	(void)pthread_cond_destroy(&door->closed);
	(void)pthread_mutex_destroy(&door->lock);
	free(door->polled);
	free(door);
}

void door_count(struct door *door, struct listener_counts *counts)
{
	counts->accepted = atomic_load_explicit(&door->accepted, memory_order_relaxed);
	counts->turned_away = atomic_load_explicit(&door->turned_away, memory_order_relaxed);
	counts->timed_out = atomic_load_explicit(&door->timed_out, memory_order_relaxed);
}
