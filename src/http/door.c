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
 *
 * A full house: strangers must not keep senders out, and no limit per address can see to that,
 * because behind a reverse proxy all have one address. So a newcomer always gets in, and somebody
 * leaves for it: first the oldest straggler, who has had an answer; then, of those who haven't
 * shown yet that they are a known sender (door_trust), the one that came first. Whoever keeps
 * connecting to keep others out throws out his own, and a sender who speaks at once is served as
 * long as fewer than open_max connections come between its beginning and its request. Nobody in a
 * handler's hands is cut, and nobody known: when there are only such, the newcomer is turned away.
 * A peer that was cut is gone when its thread has seen it; until then `leaving` counts it, and up to
 * DOOR_LEAVING_MAX may be over open_max. While it would be more, or more than ARRIVING_MAX wait for
 * their thread to register them, the door doesn't accept, and newcomers wait in the kernel's queue.
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
#define ARRIVING_MAX 64
#define DROP_BYTES ((size_t)16 * 1024)
#define LOG_GAP_MS 60000 /* between two lines about the same trouble */

struct straggler {
	int fd;
	int64_t deadline_mono_ms;
	size_t slot; /* the door thread's: its place in `polled`, 0 when it isn't there yet */
	struct straggler *next;
};

/* In the order they came. */
struct peer_list {
	struct peer *newest, *oldest;
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
	int64_t full_log_at_mono_ms;    /* not before then */
	int64_t failing_log_at_mono_ms; /* the same */
	struct pollfd *polled;
	size_t polled_capacity;

	pthread_mutex_t lock;
	pthread_cond_t closed;
	struct peer_list strangers;   /* lock */
	struct peer_list known;       /* lock */
	struct straggler *stragglers; /* lock; newest first; others only add at the head */
	size_t open;                  /* lock: the arriving, peers and stragglers */
	size_t arriving;              /* lock: admitted, not registered yet */
	size_t leaving;               /* lock: peers that were cut and are still there */
	bool is_waiting_for_room;     /* lock: doesn't accept until somebody has left */
	size_t straggler_count;       /* lock */
	bool close_wanted;            /* lock */
	bool is_closed;               /* lock */
	bool stop_wanted;             /* lock */

	atomic_uint_fast64_t accepted;
	atomic_uint_fast64_t turned_away;
	atomic_uint_fast64_t evicted;
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

/* -- peers -- */

static void list_add(struct peer_list *list, struct peer *peer)
{
	peer->newer = NULL;
	peer->older = list->newest;
	if (peer->older)
		peer->older->newer = peer;
	else
		list->oldest = peer;
	list->newest = peer;
}

static void list_remove(struct peer_list *list, const struct peer *peer)
{
	if (peer->newer)
		peer->newer->older = peer->older;
	else
		list->newest = peer->older;
	if (peer->older)
		peer->older->newer = peer->newer;
	else
		list->oldest = peer->newer;
}

/* True when the door waits for that and must be woken. */
static bool stop_waiting_locked(struct door *door)
{
	bool was_waiting = door->is_waiting_for_room;
	door->is_waiting_for_room = false;
	return was_waiting;
}

void door_add_peer(struct door *door, struct peer *peer, int fd)
{
	*peer = (struct peer){.fd = fd, .wants_more = true};
	door_arm(door, peer);
	pthread_mutex_lock(&door->lock);
	list_add(&door->strangers, peer);
	assert(door->arriving > 0);
	door->arriving--;
	bool must_wake = stop_waiting_locked(door);
	pthread_mutex_unlock(&door->lock);
	if (must_wake)
		wake(door);
}

void door_trust(struct door *door, struct peer *peer)
{
	if (peer->is_known)
		return;
	pthread_mutex_lock(&door->lock);
	list_remove(&door->strangers, peer);
	peer->is_known = true;
	list_add(&door->known, peer);
	pthread_mutex_unlock(&door->lock);
}

/* One connection less. True when the door must be woken. */
static bool leave_locked(struct door *door)
{
	assert(door->open > 0);
	door->open--;
	return stop_waiting_locked(door);
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
	pthread_mutex_lock(&door->lock);
	list_remove(peer->is_known ? &door->known : &door->strangers, peer);
	if (peer->is_leaving)
		door->leaving--;
	else if (peer->lingers)
		straggler = straggler_create(peer->fd, now_mono_ms() + door->options.timeout_ms);
	bool must_wake = true;
	if (straggler) {
		straggler->next = door->stragglers;
		door->stragglers = straggler;
		door->straggler_count++;
	} else {
		must_wake = leave_locked(door);
	}
	pthread_mutex_unlock(&door->lock);
	if (must_wake)
		wake(door);
}

/* False when its thread has just moved the deadline, or it has none: it is being handled. */
static bool cut_locked(struct door *door, struct peer *peer, int64_t deadline)
{
	if (deadline == NEVER ||
		!atomic_compare_exchange_strong(&peer->deadline_mono_ms, &deadline, NEVER))
		return false;
	if (!peer->is_leaving)
		door->leaving++;
	peer->is_leaving = true;
	/* Its thread sees the end of the stream and closes; gone already is fine too. */
	(void)shutdown(peer->fd, SHUT_RDWR);
	return true;
}

static int64_t deadline_of(const struct peer *peer)
{
	return atomic_load_explicit(&peer->deadline_mono_ms, memory_order_relaxed);
}

/* Cuts what is overdue; the earliest deadline of the others, or `next`. */
static int64_t scan_list_locked(
	struct door *door, const struct peer_list *list, int64_t now, int64_t next)
{
	for (struct peer *peer = list->newest; peer; peer = peer->older) {
		int64_t deadline = deadline_of(peer);
		if (deadline > now)
			next = deadline < next ? deadline : next;
		else if (cut_locked(door, peer, deadline))
			atomic_fetch_add_explicit(&door->timed_out, 1, memory_order_relaxed);
	}
	return next;
}

/* Cuts what is overdue and returns when to look again. */
static int64_t scan_locked(struct door *door, int64_t now)
{
	int64_t next = now + door->options.timeout_ms;
	next = scan_list_locked(door, &door->strangers, now, next);
	next = scan_list_locked(door, &door->known, now, next);
	return next > now + SCAN_GAP_MS ? next : now + SCAN_GAP_MS;
}

/* libmicrohttpd sees a hang-up only as an edge of its own: an end that comes together with the last
 * bytes is lost on it (0.9.75: a read that fills its buffer halfway is taken for the last). */
static bool is_gone(const struct peer *peer)
{
	char byte;
	return atomic_load(&peer->wants_more) &&
		recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void cut_gone_locked(const struct peer_list *list)
{
	for (struct peer *peer = list->newest; peer; peer = peer->older) {
		bool is_gone_now = is_gone(peer);
		if (is_gone_now && peer->was_gone)
			(void)shutdown(peer->fd, SHUT_RDWR); /* as in scan_locked */
		peer->was_gone = is_gone_now;
	}
}

void door_cut_gone(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	cut_gone_locked(&door->strangers);
	cut_gone_locked(&door->known);
	pthread_mutex_unlock(&door->lock);
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
	assert(door->straggler_count > 0);
	door->straggler_count--;
	(void)leave_locked(door); /* it is the door's thread that does this */
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

/* False for a while after it was true. */
static bool is_log_due(int64_t *log_at_mono_ms)
{
	int64_t now = now_mono_ms();
	if (now < *log_at_mono_ms)
		return false;
	*log_at_mono_ms = now + LOG_GAP_MS;
	return true;
}

static void log_full(struct door *door)
{
	if (is_log_due(&door->full_log_at_mono_ms))
		log_warn("connections_max is reached, strangers' connections are closed",
			LOG_INT("connections", (int64_t)door->options.open_max));
}

/* True when one who may go was cut. */
static bool evict_stranger_locked(struct door *door)
{
	struct peer *peer = door->strangers.oldest;
	while (peer && !cut_locked(door, peer, deadline_of(peer)))
		peer = peer->newer;
	if (peer)
		atomic_fetch_add_explicit(&door->evicted, 1, memory_order_relaxed);
	return peer != NULL;
}

/* NULL when there is none. */
static struct straggler *oldest_straggler_locked(const struct door *door)
{
	struct straggler *straggler = door->stragglers;
	while (straggler && straggler->next)
		straggler = straggler->next;
	return straggler;
}

/* True when a straggler went, or a stranger is about to. */
static bool evict(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	struct straggler *straggler = oldest_straggler_locked(door);
	bool is_evicted = straggler || evict_stranger_locked(door);
	pthread_mutex_unlock(&door->lock);
	if (straggler) {
		straggler_remove(door, straggler);
		atomic_fetch_add_explicit(&door->evicted, 1, memory_order_relaxed);
	}
	return is_evicted;
}

/* False when so many are on their way out that nobody may come in before one has left. */
static bool may_accept(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	size_t open_max = door->options.open_max;
	bool may = door->arriving < ARRIVING_MAX &&
		(door->leaving == 0 || door->open < open_max + DOOR_LEAVING_MAX(open_max));
	door->is_waiting_for_room = !may;
	pthread_mutex_unlock(&door->lock);
	return may;
}

/* A place for one more; false when all are taken by those who may stay. */
static bool make_room(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	bool has_room = door->open - door->leaving < door->options.open_max;
	pthread_mutex_unlock(&door->lock);
	if (has_room)
		return true;
	log_full(door);
	return evict(door);
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
		if (is_log_due(&door->failing_log_at_mono_ms))
			log_warn("cannot accept connections", LOG_TEXT("reason", strerror(error)));
		(void)evict(door); /* or wait until somebody leaves */
		door->accept_at_mono_ms = now_mono_ms() + ACCEPT_PAUSE_MS;
		return false;
	default: return true; /* that one client is gone again: accept(2), "Error handling" */
	}
}

static void enter(struct door *door, int fd, const struct sockaddr_storage *address, socklen_t len)
{
	pthread_mutex_lock(&door->lock);
	door->open++;
	door->arriving++;
	pthread_mutex_unlock(&door->lock);
	if (door->options.admit(door->options.context, fd, (const struct sockaddr *)address, len))
		return;
	pthread_mutex_lock(&door->lock);
	door->open--;
	door->arriving--;
	pthread_mutex_unlock(&door->lock);
}

static void accept_some(struct door *door)
{
	for (int i = 0; i < ACCEPTS_PER_ROUND && may_accept(door); i++) {
		struct sockaddr_storage address;
		socklen_t len = sizeof(address);
		int fd = accept4(door->listen_fd, (struct sockaddr *)&address, &len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (!accept_failed(door, errno))
				return;
			continue;
		}
		if (!make_room(door)) {
			(void)close(fd); /* nothing was sent on it */
			atomic_fetch_add_explicit(&door->turned_away, 1, memory_order_relaxed);
			continue;
		}
		atomic_fetch_add_explicit(&door->accepted, 1, memory_order_relaxed);
		enter(door, fd, &address, len);
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
	pthread_mutex_lock(&door->lock);
	bool wants_more = door->listen_fd >= 0 && !door->is_waiting_for_room;
	if (wants_more && door->accept_at_mono_ms <= now)
		*ret_listen_slot = polled_add(door, &count, door->listen_fd);
	else if (wants_more && door->accept_at_mono_ms < until)
		until = door->accept_at_mono_ms;
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
	assert(!door->strangers.newest && !door->known.newest);
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

size_t door_lingering(struct door *door)
{
	pthread_mutex_lock(&door->lock);
	size_t count = door->straggler_count;
	pthread_mutex_unlock(&door->lock);
	return count;
}

void door_count(struct door *door, struct listener_counts *counts)
{
	/* Who sees a cut sees it counted: both are done under the lock. */
	pthread_mutex_lock(&door->lock);
	counts->accepted = atomic_load_explicit(&door->accepted, memory_order_relaxed);
	counts->turned_away = atomic_load_explicit(&door->turned_away, memory_order_relaxed);
	counts->evicted = atomic_load_explicit(&door->evicted, memory_order_relaxed);
	counts->timed_out = atomic_load_explicit(&door->timed_out, memory_order_relaxed);
	pthread_mutex_unlock(&door->lock);
}
