/*
 * Asking the daemon. Everything is read before it is printed, because a pager that waits for its
 * reader would otherwise keep the daemon waiting, and be cut off.
 */

#include "client_private.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "cli_private.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/subrelay/control.sock"
#define FILE_MAX ((size_t)1024 * 1024)
#define ANSWER_MAX ((size_t)128 * 1024 * 1024)
#define PATIENCE_S 60 /* others may be asking, and a busy disk commits slowly */
#define NAME_MAX_LEN 64

/* ---- where ---- */

/* The last [control] socket of an INI text, cut in place; NULL: none. */
static const char *find_socket_setting(char *text)
{
	const char *found = NULL;
	bool in_control = false;
	char *rest = text;
	char *line;

	while ((line = strsep(&rest, "\n"))) {
		line = text_trim(line);
		if (line[0] == '[') {
			in_control = text_starts_with(line, "[control]");
			continue;
		}
		char *value = line + strcspn(line, "=:");
		if (!in_control || line[0] == '#' || line[0] == ';' || *value == '\0')
			continue;
		*value++ = '\0';
		if (text_equal(text_trim(line), "socket"))
			found = text_trim(value);
	}
	return found && found[0] != '\0' ? found : NULL;
}

bool client_find_socket(const struct client_place *place, struct buf *ret, struct error *err)
{
	const char *from_environment = getenv("SUBRELAY_CONTROL_SOCKET");
	struct buf file;

	if (place->socket) {
		(void)buf_add_text(ret, place->socket);
		return true;
	}
	if (from_environment && from_environment[0] != '\0') {
		(void)buf_add_text(ret, from_environment);
		return true;
	}
	buf_init(&file, FILE_MAX);
	bool is_read = cli_read_file(place->config, &file, err);
	const char *setting = is_read && file.len > 0 ? find_socket_setting(file.data) : NULL;
	(void)buf_add_text(ret, setting ? setting : DEFAULT_SOCKET);
	buf_finish(&file);
	return is_read;
}

/* ---- connecting ---- */

/* "it belongs to USER and group GROUP": of the socket, or of the folder that hides it. */
static bool say_forbidden(const char *path, struct error *err)
{
	char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	const char *what = path;
	struct stat status;

	(void)snprintf(folder, sizeof(folder), "%s", path);
	if (stat(path, &status) != 0) {
		char *slash = strrchr(folder, '/');
		if (slash)
			slash[slash == folder] = '\0';
		what = folder;
		if (!slash || stat(folder, &status) != 0)
			return error_set(err, "%s: permission denied", path);
	}
	const struct passwd *user = getpwuid(status.st_uid);
	char user_name[NAME_MAX_LEN];
	(void)snprintf(user_name, sizeof(user_name), "%s", user ? user->pw_name : "?");
	const struct group *group = getgrgid(status.st_gid);
	return error_set(err,
		"%s: permission denied: %s is for user %s and group %s only (join the group, or "
		"ask "
		"as that user or root)",
		path, what, user_name, group ? group->gr_name : "?");
}

static bool say_unconnected(const char *path, int number, struct error *err)
{
	switch (number) {
	case EACCES:
	case EPERM: return say_forbidden(path, err);
	case ECONNREFUSED:
	case ENOENT:
	case ENOTDIR:
		return error_set(err,
			"no daemon answers on %s (is it running? is -c the right file?)", path);
	default: return error_set(err, "no daemon answers on %s: %s", path, strerror(number));
	}
}

/* -1 with err. */
static int connect_to(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = PATIENCE_S};

	if (strlen(path) >= sizeof(address.sun_path)) {
		(void)error_set(err, "%s: too long for a socket's path", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		(void)error_set(err, "no socket: %s", strerror(errno));
		return -1;
	}
	/* Without them it would only wait longer. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		(void)say_unconnected(path, errno, err);
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* ---- one exchange ---- */

static bool send_request(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	size_t sent = 0;

	if (!text)
		return false;
	text[len] = '\n'; /* in the place of the NUL */
	while (sent <= len) {
		ssize_t put = send(fd, text + sent, len + 1 - sent, MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			break;
		sent += (size_t)put;
	}
	free(text);
	return sent == len + 1;
}

static bool receive_all(int fd, struct buf *ret, struct error *err)
{
	char chunk[65536];

	for (;;) {
		ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return error_set(err, "the daemon doesn't answer");
		if (got < 0 && ret->len == 0)
			return error_set(err, "the daemon broke off: %s", strerror(errno));
		if (got <= 0)
			return true; /* whether it is whole, its last line tells */
		if (!buf_add(ret, chunk, (size_t)got))
			return error_set(err, "the answer is over %zu bytes", ret->max);
	}
}

static json_t *parse_line(const char *line, size_t len)
{
	return json_loadb(line, len, JSON_ALLOW_NUL, NULL);
}

/* The rows before the last line, if that says that all went well. */
static json_t *read_rows(const struct buf *answer, struct error *err)
{
	json_t *rows = json_array();
	json_t *row = NULL;
	const char *line = buf_text(answer);
	const char *end;

	while ((end = strchr(line, '\n'))) {
		row = parse_line(line, (size_t)(end - line));
		if (!json_is_object(row)) {
			(void)error_set(err, "the daemon's answer can't be understood");
			goto fail;
		}
		const json_t *ok = json_object_get(row, "ok");
		if (json_is_true(ok)) {
			json_decref(row);
			return rows;
		}
		if (ok) {
			const char *why = json_string_value(json_object_get(row, "error"));
			(void)error_set(err, "%s", why ? why : "the daemon refused");
			if (err)
				(void)cli_printable(err->text);
			goto fail;
		}
		(void)json_array_append_new(rows, row);
		row = NULL;
		line = end + 1;
	}
	(void)error_set(err, "the daemon broke off in the middle of its answer");
fail:
	json_decref(row);
	json_decref(rows);
	return NULL;
}

json_t *client_ask(const char *path, const json_t *request, struct error *err)
{
	json_t *rows = NULL;
	struct buf answer;

	buf_init(&answer, ANSWER_MAX);
	int fd = connect_to(path, err);
	if (fd < 0)
		goto out;
	/* A request that was not taken whole was refused, and the answer says why. */
	(void)send_request(fd, request);
	if (receive_all(fd, &answer, err))
		rows = read_rows(&answer, err);
out:
	if (fd >= 0)
		(void)close(fd);
	buf_finish(&answer);
	return rows;
}

json_t *client_run_take(
	const struct cli_command *command, const struct client_place *place, json_t *request)
{
	struct error err = {0};
	struct error doubt = {0};
	struct buf path;

	buf_init(&path, FILE_MAX);
	bool is_known = client_find_socket(place, &path, &doubt);
	json_t *rows = client_ask(buf_text(&path), request, &err);
	if (!rows && !is_known)
		cli_note(command, "%s; trying %s", doubt.text, buf_text(&path));
	if (!rows)
		(void)cli_failed(command, "%s", err.text);
	buf_finish(&path);
	json_decref(request);
	return rows;
}

int client_open_take(
	const struct cli_command *command, const struct client_place *place, json_t *request)
{
	struct error err = {0};
	struct error doubt = {0};
	struct buf path;

	buf_init(&path, FILE_MAX);
	bool is_known = client_find_socket(place, &path, &doubt);
	int fd = connect_to(buf_text(&path), &err);
	if (fd < 0 && !is_known)
		cli_note(command, "%s; trying %s", doubt.text, buf_text(&path));
	if (fd < 0)
		(void)cli_failed(command, "%s", err.text);
	else
		(void)send_request(fd, request); /* see client_ask */
	buf_finish(&path);
	json_decref(request);
	return fd;
}

/* ---- printing ---- */

void client_print_json(const json_t *json)
{
	/* 15 digits: a price stays 9.99. What can't be written, cli_main notices at stdout. */
	(void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY);
	(void)fputc('\n', stdout);
}

const char *client_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

void client_print_text(const char *text)
{
	char *copy = cli_printable(xstrdup(text));
	(void)fputs(copy, stdout);
	free(copy);
}

int64_t client_integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *client_time(const json_t *object, const char *key, char ret[32])
{
	const char *iso = client_text(object, key);
	/* The day, a blank for the T, the time without its milliseconds. */
	if (strlen(iso) < 19)
		(void)snprintf(ret, 32, "-");
	else
		(void)snprintf(ret, 32, "%.10s %.8s", iso, iso + 11);
	return cli_printable(ret);
}
