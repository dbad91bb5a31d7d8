/*
 * The control socket: who may ask, and how a question and its answer travel.
 *
 * One thread, one connection after the other, each bounded in time: 5 s for the request, 5 s
 * without progress or 30 s in all for the answer. The thread waits in poll on its peer and on a
 * pipe that is closed to end it, so that it never outlives the daemon's patience. Of the mode: the
 * socket is bound, made 0660, and only then listened on, so there is no moment at which it is open
 * to others.
 */

#include "admin/control.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "control_backup_private.h"
#include "control_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define ANSWER_TIME_MS 30000
#define ACCEPT_PAUSE_MS 100

struct control {
	struct control_options options;
	char *path;
	int listen_fd;
	int stop_fds[2]; /* readable from [0] once [1] is closed */
	dev_t device;    /* of the socket we made */
	ino_t inode;
	struct backend *reader; /* the thread's */
	struct control_backup *backup;
	pthread_t thread;
	bool has_thread;
};

/* Without `answer`: a backup, which takes the whole connection. */
static const struct {
	const char *name;
	bool (*answer)(struct control_call *call, struct error *err);
} verbs[] = {
	{"backup", NULL},
	{"events", control_events},
	{"retry", control_retry},
	{"show", control_show},
	{"status", control_status},
};

/* ---- one connection ---- */

/* False: not within the time, or the daemon stops. */
static bool wait_for(const struct control *control, int fd, short events, int64_t until_mono_ms)
{
	struct pollfd fds[] = {
		{.fd = fd, .events = events},
		{.fd = control->stop_fds[0], .events = POLLIN},
	};
	for (;;) {
		int64_t left_ms = until_mono_ms - clock_mono_ms(control->options.clock);
		if (left_ms <= 0)
			return false;
		int ready = poll(fds, 2, (int)left_ms);
		if (ready < 0 && errno != EINTR)
			return false;
		if (ready > 0)
			return fds[1].revents == 0;
	}
}

static bool receive(struct control *control, int fd, struct buf *ret, struct error *err)
{
	int64_t until_ms = clock_mono_ms(control->options.clock) + PATIENCE_MS;
	char chunk[4096];

	for (;;) {
		if (!wait_for(control, fd, POLLIN, until_ms))
			return error_set(err, "the request didn't come whole within %d s",
				PATIENCE_MS / 1000);
		ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return error_set(err, "the request ends before its line does");
		const char *end = memchr(chunk, '\n', (size_t)got);
		if (!buf_add(ret, chunk, end ? (size_t)(end - chunk) : (size_t)got))
			return error_set(err, "the request is over %zu bytes", ret->max);
		if (end)
			return true;
	}
}

static void deliver(struct control *control, int fd, const struct buf *answer)
{
	int64_t end_ms = clock_mono_ms(control->options.clock) + ANSWER_TIME_MS;
	size_t sent = 0;

	while (sent < answer->len) {
		int64_t until_ms = clock_mono_ms(control->options.clock) + PATIENCE_MS;
		if (!wait_for(control, fd, POLLOUT, until_ms < end_ms ? until_ms : end_ms))
			return;
		ssize_t put = send(fd, answer->data + sent, answer->len - sent, MSG_NOSIGNAL);
		if (put < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (put > 0)
			sent += (size_t)put;
	}
}

static void add_end(struct buf *answer, const char *error)
{
	struct json_out out;

	json_out_init(&out, answer);
	json_out_object(&out);
	json_out_key_boolean(&out, "ok", error == NULL);
	if (error)
		json_out_key_text(&out, "error", error);
	json_out_object_end(&out);
	(void)buf_add_char(answer, '\n');
}

/* What is said in the answer's place. */
static void answer_error(struct buf *answer, const char *error)
{
	buf_clear(answer);
	add_end(answer, error);
}

static bool run_verb(const struct control_options *options, struct backend *reader,
	struct control_taker *taker, const json_t *request, struct buf *answer, struct error *err)
{
	struct control_call call = {
		.options = options,
		.ops = store_ops(options->store),
		.reader = reader,
		.request = request,
		.answer = answer,
	};
	const char *verb = json_string_value(json_object_get(request, "verb"));

	if (!verb)
		return error_set(err, "the request has no verb");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verb, verbs[i].name) != 0)
			continue;
		if (verbs[i].answer)
			return verbs[i].answer(&call, err);
		taker->is_taken = taker->take(taker->context, err);
		return taker->is_taken;
	}
	return error_set(err, "this daemon (version %s) doesn't know the verb", SUBRELAY_VERSION);
}

void control_answer(const struct control_options *options, struct backend *reader,
	struct control_taker *taker, const struct buf *line, struct buf *answer)
{
	struct error err = {0};
	json_error_t problem;
	json_t *request = json_loadb(buf_text(line), line->len, JSON_REJECT_DUPLICATES, &problem);

	if (!json_is_object(request))
		answer_error(answer, "the request is not a JSON object");
	else if (!run_verb(options, reader, taker, request, answer, &err))
		answer_error(answer, err.text);
	else
		add_end(answer, NULL);
	if (answer->overflowed)
		answer_error(answer, "the answer is too long; ask for less");
	json_decref(request);
}

/* A connection that a backup may take. */
struct connection {
	struct control *control;
	int fd;
};

static bool take_for_backup(void *context, struct error *err)
{
	const struct connection *connection = context;

	return control_backup_start(connection->control->backup, connection->fd, err);
}

/* Closes the connection in the end, itself or by who has taken it. */
static void serve(struct control *control, int fd)
{
	struct connection connection = {.control = control, .fd = fd};
	struct control_taker taker = {.take = take_for_backup, .context = &connection};
	struct buf line, answer;
	struct error err = {0};

	buf_init(&line, CONTROL_REQUEST_MAX);
	buf_init(&answer, CONTROL_ANSWER_MAX);
	if (receive(control, fd, &line, &err))
		control_answer(&control->options, control->reader, &taker, &line, &answer);
	else
		answer_error(&answer, err.text);
	if (!taker.is_taken) {
		deliver(control, fd, &answer);
		(void)close(fd);
	}
	buf_finish(&line);
	buf_finish(&answer);
}

static void *run(void *context)
{
	struct control *control = context;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = control->listen_fd, .events = POLLIN},
			{.fd = control->stop_fds[0], .events = POLLIN},
		};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents != 0)
			break;
		int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			serve(control, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			/* Others will give some back; until then poll would return at once. */
			(void)poll(&fds[1], 1, ACCEPT_PAUSE_MS);
		}
	}
	return NULL;
}

/* ---- the socket ---- */

static bool address_of(const char *path, struct sockaddr_un *ret, struct error *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return error_set(err, "control socket %s: the path is over %zu bytes", path,
			sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return true;
}

/* Takes away what a dead daemon left; nothing else. */
static bool clear_path(const struct sockaddr_un *address, struct error *err)
{
	const char *path = address->sun_path;
	struct stat status;
	bool done = false;

	if (lstat(path, &status) != 0)
		return errno == ENOENT ||
			error_set(err, "control socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_set(
			err, "control socket %s: something is there that is no socket", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, "control socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		(void)error_set(err, "control socket %s: another daemon answers there", path);
	else if (errno != ECONNREFUSED)
		(void)error_set(err, "control socket %s: %s", path, strerror(errno));
	else if (unlink(path) != 0 && errno != ENOENT)
		(void)error_set(err, "control socket %s: the old one can't be removed: %s", path,
			strerror(errno));
	else
		done = true;
	(void)close(fd);
	return done;
}

static bool listen_on(struct control *control, struct error *err)
{
	struct sockaddr_un address;
	struct stat status;

	if (!address_of(control->path, &address, err) || !clear_path(&address, err))
		return false;
	control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listen_fd < 0)
		return error_set(err, "control socket: %s", strerror(errno));
	if (bind(control->listen_fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return error_set(err, "control socket %s: %s%s", control->path, strerror(errno),
			errno == ENOENT ? " (its folder isn't there)" : "");
	if (lstat(control->path, &status) == 0) {
		control->device = status.st_dev;
		control->inode = status.st_ino;
	}
	if (chmod(control->path, 0660) != 0 || listen(control->listen_fd, 16) != 0)
		return error_set(err, "control socket %s: %s", control->path, strerror(errno));
	return true;
}

/* Not one that somebody else put there meanwhile. */
static void remove_socket(const struct control *control)
{
	struct stat status;

	if (control->inode != 0 && lstat(control->path, &status) == 0 &&
		status.st_ino == control->inode && status.st_dev == control->device)
		(void)unlink(control->path);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

struct control *control_create(const struct control_options *options, struct error *err)
{
	struct control *control = xcalloc(1, sizeof(*control));

	*control = (struct control){
		.options = *options,
		.path = xstrdup(options->path),
		.listen_fd = -1,
		.stop_fds = {-1, -1},
	};
	control->options.path = control->path;
	control->reader = store_reader(options->store, err);
	if (!control->reader)
		goto fail;
	if (pipe2(control->stop_fds, O_CLOEXEC) != 0) {
		(void)error_set(err, "control socket: %s", strerror(errno));
		goto fail;
	}
	control->backup = control_backup_create(&control->options, control->stop_fds[0]);
	if (!listen_on(control, err))
		goto fail;
	int failure = pthread_create(&control->thread, NULL, run, control);
	if (failure != 0) {
		(void)error_set(err, "control socket: no thread: %s", strerror(failure));
		goto fail;
	}
	control->has_thread = true;
	return control;
fail:
	control_destroy(control);
	return NULL;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	close_fd(control->stop_fds[1]); /* ends the thread */
	if (control->has_thread)
		(void)pthread_join(control->thread, NULL);
	control_backup_destroy(control->backup);
	remove_socket(control);
	close_fd(control->listen_fd);
	close_fd(control->stop_fds[0]);
	if (control->reader)
		store_reader_close(control->options.store, control->reader);
	free(control->path);
	free(control);
}
