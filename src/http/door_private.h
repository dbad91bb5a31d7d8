#ifndef SUBRELAY_HTTP_DOOR_PRIVATE_H
#define SUBRELAY_HTTP_DOOR_PRIVATE_H

/*
 * The door: lets connections in, shows those out that take too long. One thread of its own.
 *
 * It accepts on the listening socket and hands each socket to `admit`. When `open_max` are open
 * already, the oldest connection of a stranger is cut for the newcomer (see door.c); only when all
 * belong to known senders, or are in a handler's hands, the newcomer is closed at once. Who serves the
 * socket registers it as a peer and arms the peer's deadline; a peer past its deadline gets
 * shutdown(2), whatever it does. A peer that `lingers` when it is removed was answered while its
 * request was still on the way: the door reads and drops the rest, so that the answer isn't
 * destroyed by a reset.
 *
 * Errors: only creating can fail. Threads: any function from any thread, but one peer's functions
 * from one thread at a time.
 */

#include "http/listener.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct door;

/* How many that were cut, and are still on their way out, may be open over open_max. */
#define DOOR_LEAVING_MAX(open_max) ((open_max) / 16 + 1)

struct door_options {
	int listen_fd; /* taken by door_start; non-blocking */
	size_t open_max;
	int64_t timeout_ms;
	/* From the door's thread. Takes the socket. True: door_add_peer will be called for it. */
	bool (*admit)(void *context, int fd, const struct sockaddr *address, socklen_t len);
	void *context;
};

/* An open connection; the memory is the caller's, from door_add_peer to door_remove_peer. */
struct peer {
	int fd; /* borrowed: whoever closes it removes the peer first */
	bool lingers;
	bool is_known; /* written under the lock, by the peer's own thread */
	_Atomic int64_t deadline_mono_ms;
	atomic_bool wants_more; /* nothing becomes of it unless more arrives; the server's to set */
	bool was_gone;          /* lock: at the last look of door_cut_gone */
	bool is_leaving;        /* lock: cut, and not removed yet */
	struct peer *newer, *older; /* lock */
};

struct door *door_create(const struct door_options *options, struct error *err);
/* Starts the thread. From here on the door owns the listening socket. */
bool door_start(struct door *door, struct error *err);
/* Stops accepting; the listening socket is closed on return. Peers stay. */
void door_close(struct door *door);
/* Takes NULL. No peer may be left. */
void door_destroy(struct door *door);

/* Registers one that was admitted, armed. */
void door_add_peer(struct door *door, struct peer *peer, int fd);
/* Before the socket is closed. */
void door_remove_peer(struct door *door, struct peer *peer);
/* It belongs to a known sender: it is not cut for a newcomer. */
void door_trust(struct door *door, struct peer *peer);
/* The deadline is timeout_ms from now. */
void door_arm(const struct door *door, struct peer *peer);
/* No deadline. */
void door_disarm(struct peer *peer);

/* Cuts peers that want more of a client that has hung up. One has to be found so twice: what has
 * just been read may not have been looked at yet. */
void door_cut_gone(struct door *door);
/* Those that are being heard out. */
size_t door_lingering(struct door *door);
/* Fills in accepted, turned_away, evicted, timed_out. */
void door_count(struct door *door, struct listener_counts *counts);

#endif
