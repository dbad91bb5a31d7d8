#ifndef SUBRELAY_ADMIN_CONTROL_BACKUP_PRIVATE_H
#define SUBRELAY_ADMIN_CONTROL_BACKUP_PRIVATE_H

/*
 * The verb backup: a thread that sends the store's pages to one peer. See control_backup.c for what
 * travels.
 *
 * Threads: the control socket's calls all three.
 */

#include <stdbool.h>

struct control_backup;
struct control_options;
struct error;

/* `stop_fd` becomes readable when the daemon stops; a backup that runs ends then. Both are
 * borrowed. */
struct control_backup *control_backup_create(const struct control_options *options, int stop_fd);
/* Waits for the thread: make stop_fd readable before. Takes NULL. */
void control_backup_destroy(struct control_backup *backup);
/* True: the connection, non-blocking, is the backup's from now on and gets the whole answer. False:
 * it is the caller's still; another backup is running, or there is no thread. */
bool control_backup_start(struct control_backup *backup, int fd, struct error *err);

#endif
