#ifndef SUBRELAY_ADMIN_CONTROL_H
#define SUBRELAY_ADMIN_CONTROL_H

/*
 * The control socket: the running daemon answers the command line's questions.
 *
 * A Unix stream socket, mode 0660. One request a connection: a line of JSON
 * {"verb":"show","id":"12"}, answered by lines of JSON: any number of rows, then {"ok":true} or
 * {"ok":false,"error":"…"}, then the daemon closes. A request over 64 KiB, one that isn't JSON, or
 * one that isn't complete within 5 s is refused. Verbs are a table in control.c; a new verb is a
 * row and a function. One is answered otherwise: `backup`, see control_backup.c.
 *
 * Threads: one of its own, which serves one connection after the other and reads the store by a
 * handle of its own; a peer that doesn't read its answer is dropped after 5 s. While a backup is
 * made a second one, for that.
 */

#include <stdint.h>

struct clock;
struct control;
struct dispatcher;
struct error;
struct intake;
struct store;

struct control_options {
	const char *path;
	struct store *store;
	struct dispatcher *dispatcher;
	struct intake *intake;
	const struct clock *clock;
	int64_t started_at_ms; /* wall */
};

/* NULL with err: the folder isn't there, another daemon answers on the path … A socket that a dead
 * daemon left is replaced. */
struct control *control_create(const struct control_options *options, struct error *err);
/* Stops answering and removes the socket. */
void control_destroy(struct control *control);

#endif
