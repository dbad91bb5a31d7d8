/*
 * backup: the whole store over the control socket.
 *
 * The daemon owns the file and may write nowhere else; who asks may write where they are. So the
 * pages travel, and the asking side makes the file, as itself.
 *
 *   {"bytes":N}                  how long the file will be
 *   {"at":OFFSET,"size":LEN}     and after the line LEN bytes that belong there; again and again
 *   {"ok":true}                  as after every answer; without it there is no copy
 *
 * A thread of its own, for it may last minutes, in which the socket answers others; one at a time.
 * A peer that takes nothing for PATIENCE_MS is dropped, because while it copies the database's log
 * only grows (see store/sqlite_copy.c).
 */

#include "control_backup_private.h"

#include "admin/control.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "store/copy.h"
#include "store/store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define LOG_GROWTH_MAX ((int64_t)512 * 1024 * 1024)
#define PIECE_BYTES ((size_t)256 * 1024)
#define LINE_BYTES ((size_t)1024)

struct control_backup {
	const struct control_options *options;
	int stop_fd; /* readable: the daemon stops */
	pthread_t thread;
	bool has_thread; /* to be joined */
	atomic_bool is_running;

	/* the thread's */
	int fd;
	struct buf piece; /* what is to be sent for `piece_at` */
	int64_t piece_at;
};

/* ---- sending ---- */

static bool wait_writable(const struct control_backup *backup, struct error *err)
{
	const struct clock *clock = backup->options->clock;
	const int64_t until_ms = clock_mono_ms(clock) + PATIENCE_MS;
	struct pollfd fds[] = {
		{.fd = backup->fd, .events = POLLOUT},
		{.fd = backup->stop_fd, .events = POLLIN},
	};

	for (;;) {
		const int64_t left_ms = until_ms - clock_mono_ms(clock);
		if (left_ms <= 0)
			return error_set(err, "nobody takes the copy");
		const int ready = poll(fds, 2, (int)left_ms);
		if (ready < 0 && errno != EINTR)
			return error_set(err, "poll: %s", strerror(errno));
		if (ready > 0 && fds[1].revents != 0)
			return error_set(err, "the daemon is stopping");
		if (ready > 0)
			return true;
	}
}

static bool send_all(
	const struct control_backup *backup, const char *data, size_t len, struct error *err)
{
	for (size_t sent = 0; sent < len;) {
		if (!wait_writable(backup, err))
			return false;
		const ssize_t put = send(backup->fd, data + sent, len - sent, MSG_NOSIGNAL);
		if (put < 0 && errno != EINTR && errno != EAGAIN)
			return error_set(err, "who asked is gone: %s", strerror(errno));
		if (put > 0)
			sent += (size_t)put;
	}
	return true;
}

static bool send_pair(const struct control_backup *backup, const char *key, int64_t value,
	const char *key_2, int64_t value_2, struct error *err)
{
	struct json_out out;
	struct buf line;

	buf_init(&line, LINE_BYTES);
	json_out_init(&out, &line);
	json_out_object(&out);
	json_out_key_integer(&out, key, value);
	if (key_2)
		json_out_key_integer(&out, key_2, value_2);
	json_out_object_end(&out);
	(void)buf_add_char(&line, '\n');
	const bool done = send_all(backup, line.data, line.len, err);
	buf_finish(&line);
	return done;
}

static void send_end(const struct control_backup *backup, const char *error)
{
	struct json_out out;
	struct buf line;

	buf_init(&line, LINE_BYTES);
	json_out_init(&out, &line);
	json_out_object(&out);
	json_out_key_boolean(&out, "ok", error == NULL);
	if (error)
		json_out_key_text(&out, "error", error);
	json_out_object_end(&out);
	(void)buf_add_char(&line, '\n');
	/* Without waiting: it fits, unless nobody reads, and then nobody would. */
	(void)send(backup->fd, line.data, line.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_finish(&line);
}

/* ---- the store's side ---- */

static bool flush(struct control_backup *backup, struct error *err)
{
	const bool done = backup->piece.len == 0 ||
		(send_pair(
			 backup, "at", backup->piece_at, "size", (int64_t)backup->piece.len, err) &&
			send_all(backup, backup->piece.data, backup->piece.len, err));

	buf_clear(&backup->piece);
	return done;
}

static bool begin(void *context, int64_t bytes, struct error *err)
{
	return send_pair(context, "bytes", bytes, NULL, 0, err);
}

static bool add(void *context, int64_t offset, const void *data, size_t len, struct error *err)
{
	struct control_backup *backup = context;
	const bool follows = offset == backup->piece_at + (int64_t)backup->piece.len &&
		backup->piece.len + len <= PIECE_BYTES;

	if (!follows) {
		if (!flush(backup, err))
			return false;
		backup->piece_at = offset;
	}
	return buf_add(&backup->piece, data, len) || error_set(err, "a page is too large");
}

static bool copy_store(struct control_backup *backup, struct error *err)
{
	struct store *store = backup->options->store;
	const struct store_backend *ops = store_ops(store);
	const struct copy_sink sink = {
		.begin = begin, .write = add, .context = backup, .log_growth_max = LOG_GROWTH_MAX};

	if (!ops->copy)
		return error_set(
			err, "this store is backed up by means of its own (%s)", ops->name);
	struct backend *reader = store_reader(store, err);
	const bool done = reader && ops->copy(reader, &sink, err) && flush(backup, err);
	if (reader)
		store_reader_close(store, reader);
	return done;
}

/* ---- the thread ---- */

static void *run(void *context)
{
	struct control_backup *backup = context;
	struct error err = {0};

	buf_init(&backup->piece, PIECE_BYTES);
	const bool done = copy_store(backup, &err);
	send_end(backup, done ? NULL : err.text);
	if (done)
		log_info("the store was copied for a backup");
	else
		log_warn("a backup failed", LOG_TEXT("why", err.text));
	buf_finish(&backup->piece);
	(void)close(backup->fd);
	atomic_store(&backup->is_running, false);
	return NULL;
}

static void join(struct control_backup *backup)
{
	if (backup->has_thread)
		(void)pthread_join(backup->thread, NULL);
	backup->has_thread = false;
}

struct control_backup *control_backup_create(const struct control_options *options, int stop_fd)
{
	struct control_backup *backup = xcalloc(1, sizeof(*backup));

	backup->options = options;
	backup->stop_fd = stop_fd;
	return backup;
}

void control_backup_destroy(struct control_backup *backup)
{
	if (!backup)
		return;
	join(backup);
	free(backup);
}

bool control_backup_start(struct control_backup *backup, int fd, struct error *err)
{
	if (atomic_load(&backup->is_running))
		return error_set(err, "another backup is being made");
	join(backup);
	backup->fd = fd;
	atomic_store(&backup->is_running, true);
	const int failure = pthread_create(&backup->thread, NULL, run, backup);
	if (failure != 0) {
		atomic_store(&backup->is_running, false);
		return error_set(err, "no thread: %s", strerror(failure));
	}
	(void)pthread_setname_np(backup->thread, "subrelay-backup"); /* only for people */
	backup->has_thread = true;
	return true;
}
